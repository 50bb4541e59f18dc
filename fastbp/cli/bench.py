"""`fastbp bench`."""

import sys
from pathlib import Path

import click

from fastbp.cli import options
from fastbp.errors import InputError


@click.command(
    short_help="Measure training: CPU against GPU.",
    help="Measure training on each backend, CPU against GPU, over layer widths and mini-batch sizes."
    "\n\nCtrl-C keeps the results so far.",
)
@click.option("--quick", is_flag=True, help="Measure only a few sizes; takes half a minute.")
@click.option(
    "--backend", "names", multiple=True, help="Backend; may be repeated.  [default: numpy, numpy-plain, cupy if usable]"
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
@click.option("--from", "source", type=click.Path(path_type=Path), help="Show saved results instead of measuring.")
def bench(
    quick: bool, names: tuple[str, ...], dtype: str | None, nets: tuple[str, ...], batches: tuple[int, ...],
    json: Path | None, plot: Path | None, html: Path | None, source: Path | None,
) -> None:  # fmt: skip
    """Measure the speed of training, or show the results of earlier measurements."""
    from fastbp.bench import run
    from fastbp.bench.grid import FULL, QUICK

    if source is None:
        sys.exit(run.bench(QUICK if quick else FULL, names, dtype or "float32", nets, batches, json, plot, html=html))
    if quick or names or dtype or nets or batches or json:
        raise InputError("--from shows saved results; it can be combined only with --plot and --html")
    sys.exit(run.show_saved_results(source, plot, html))
