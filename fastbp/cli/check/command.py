"""The command `fastbp check`."""

import sys
from collections.abc import Iterable
from itertools import chain
from typing import Any

import click

from fastbp import __version__
from fastbp.cli import options
from fastbp.files.outputs import print_line
from fastbp.training.ranks import Ranks, keep_first_rank_output, on_ranks, started_by_mpiexec, world


@click.command(
    short_help="Run a self-test of a backend.",
    help="Run a self-test of a backend: kernels, gradients, a short training. Exit code 1 if a check fails.\n\n"
    "For cupy it also checks streams, memory and transfers, and its output is a report on the GPU. Under mpiexec, it "
    "also checks training on several ranks.",
)
@options.backend
@options.threads_option
def check(backend: Any) -> None:
    """Run the checks, and print one line for each."""
    from fastbp.backends import get

    with on_ranks(world() if started_by_mpiexec() else None) as ranks:
        keep_first_rank_output(ranks)
        with ranks.agreement():
            tested = get(backend)
        failed = _check_gpu(tested, ranks) if _has_kernels(tested) else _check_host(tested, ranks)
        print_line("all passed" if not failed else f"{failed} failed")
    if failed:
        sys.exit(1)


def _has_kernels(backend: Any) -> bool:
    return str(backend.name).startswith("cupy") and not backend.name.startswith("cupy-plain")


def _check_host(backend: Any, ranks: Ranks) -> int:
    """Print the table of the checks of a backend; return how many failed."""
    from fastbp.backends.environment import called_blas
    from fastbp.cli.check.host import HEAD, checks

    print_line(f"fastbp {__version__} on {backend.name}")
    if backend.kind == "numpy":
        print_line(f"BLAS {called_blas()}")
    print_line(HEAD)
    return _print_rows(chain(checks(backend), _on_ranks(backend, ranks)))


def _check_gpu(backend: Any, ranks: Ranks) -> int:
    """Print the report on a GPU; return how many checks failed."""
    from fastbp.backends.cupy.instruments import Instruments
    from fastbp.cli.check.gpu import checks, head

    instruments = Instruments()
    for line in head(backend, instruments):
        print_line(line)
    return _print_rows(chain(checks(backend, instruments), _on_ranks(backend, ranks)))


def _on_ranks(backend: Any, ranks: Ranks) -> Iterable[Any]:
    """Return the checks of training on several ranks, if there are several."""
    from fastbp.cli.check import several_ranks

    return several_ranks.checks(backend, ranks) if ranks.size > 1 else ()


def _print_rows(checks: Iterable[Any]) -> int:
    """Run checks, and print one line for each; return how many failed."""
    from fastbp.cli.check.host import row

    failed = 0
    for done in checks:
        failed += not done.passed
        print_line(row(done))
    return failed
