"""`fastbp bench`."""

import sys
from pathlib import Path
from typing import Any, cast

import click

from fastbp.cli import options
from fastbp.errors import InputError, whole_number
from fastbp.files.outputs import Outputs
from fastbp.parameters import dtype_name


@click.command(
    short_help="Measure training: CPU against GPU.",
    help="Measure training on each backend, CPU against GPU, over layer widths and mini-batch sizes."
    "\n\nCtrl-C keeps the results so far.",
)
@click.option("--quick", is_flag=True, help="Measure only a few sizes; takes half a minute.")
@click.option(
    "--backend",
    "names",
    multiple=True,
    help="Backend; may be repeated.  [default: numpy, numpy-plain, and cupy and cupy-plain if usable]",
)
@click.option("--dtype", default=None, help="Data type: float32 or float64.  [default: float32]")
@click.option("--sizes", "nets", multiple=True, help="Network, like 784-30-10; may be repeated.  [default: a grid]")
@click.option(
    "--mini-batch-size", "batches", type=int, multiple=True, help="Mini-batch size; may be repeated.  [default: a grid]"
)
@options.threads_option
@click.option("--json", type=click.Path(path_type=Path), help="Save the results to this file.")
@click.option("--plot", type=click.Path(path_type=Path), help="Save charts of the results to this file (.png or .svg).")
@click.option("--html", type=click.Path(path_type=Path), help="Save a report with charts to this file, an HTML page.")
@click.option("--mpi", is_flag=True, help="Measure how training scales with the number of ranks, under mpiexec.")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Show saved results instead of measuring.")
def bench(
    quick: bool, names: tuple[str, ...], dtype: str | None, nets: tuple[str, ...], batches: tuple[int, ...],
    json: Path | None, plot: Path | None, html: Path | None, mpi: bool, source: Path | None,
) -> None:  # fmt: skip
    """Measure the speed of training, or show the results of earlier measurements."""
    from fastbp.bench import run
    from fastbp.bench.grid import FULL, QUICK

    if mpi:
        if quick or json or plot or html or source or len(names) > 1 or len(nets) > 1 or len(batches) > 1:
            raise InputError(
                "--mpi can be combined with --dtype, and with one --sizes, --mini-batch-size and --backend"
            )
        sys.exit(_bench_on_ranks(names, nets, batches, dtype))
    if source is None:
        sys.exit(run.bench(QUICK if quick else FULL, names, dtype or "float32", nets, batches, json, plot, html=html))
    if quick or names or dtype or nets or batches or json:
        raise InputError("--from shows saved results; it can be combined only with --plot and --html")
    sys.exit(run.show_saved_results(source, plot, html))


def _bench_on_ranks(names: tuple[str, ...], nets: tuple[str, ...], batches: tuple[int, ...], dtype: str | None) -> int:
    from fastbp.bench.grid import parse_sizes
    from fastbp.bench.scaling import bench_on_ranks

    sizes, m = parse_sizes((*nets, "784-1024-1024-10")[0]), whole_number("--mini-batch-size", (*batches, 512)[0])
    outputs = Outputs()
    bench_on_ranks(sizes, m, dtype_name(cast(Any, dtype or "float32")), (*names, None)[0], outputs)
    return outputs.code
