"""The command `fastbp check`."""

import sys
from typing import Any

import click

from fastbp import __version__
from fastbp.cli import options
from fastbp.files.outputs import print_line


@click.command(
    short_help="Run a self-test of a backend.",
    help="Run a self-test of a backend: kernels, gradients, a short training. Exit code 1 if a check fails.\n\n"
    "For cupy it also checks streams, memory and transfers, and its output is a report on the GPU.",
)
@options.backend
@options.threads_option
def check(backend: Any) -> None:
    """Run the checks, and print one line for each."""
    from fastbp.backends import get

    tested = get(backend)
    failed = _check_gpu(tested) if tested.name.startswith("cupy") else _check_host(tested)
    print_line("all passed" if not failed else f"{failed} failed")
    if failed:
        sys.exit(1)


def _check_host(backend: Any) -> int:
    """Print the table of the checks of a backend; return how many failed."""
    from fastbp.backends.environment import called_blas
    from fastbp.cli.check.host import HEAD, checks, row

    print_line(f"fastbp {__version__} on {backend.name}")
    if backend.kind == "numpy":
        print_line(f"BLAS {called_blas()}")
    print_line(HEAD)
    failed = 0
    for done in checks(backend):
        failed += not done.passed
        print_line(row(done))
    return failed


def _check_gpu(backend: Any) -> int:
    """Print the report on a GPU; return how many checks failed."""
    from fastbp.backends.cupy.instruments import Instruments
    from fastbp.cli.check.gpu import checks, head
    from fastbp.cli.check.host import row

    instruments, failed = Instruments(), 0
    for line in head(backend, instruments):
        print_line(line)
    for done in checks(backend, instruments):
        failed += not done.passed
        print_line(row(done))
    return failed
