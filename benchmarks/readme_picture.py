"""Draw the picture of the README: seconds per epoch of fastbp, JAX, NumPy, scikit-learn and PyTorch.

    FASTBP_DATA=FOLDER python -m benchmarks.readme_picture docs/images/epoch_times.png

The networks are those of the first two rows of `benchmarks.bounds`. For each network, the libraries are timed in turn.
A check before the timing shows that each library computes the same gradient. All libraries must be installed
(`pip install -e '.[test,peers]'`), and the machine should be idle. The data are MNIST if its files are in the folder
FASTBP_DATA. Otherwise they are random. The text below the chart says which data were used.
"""

import argparse
import datetime
import platform
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.bounds import ROWS, Row, prepare, print_failure
from benchmarks.mnist import Rows, training_rows
from fastbp.backends.environment import information
from fastbp.bench.candidates import cpu_count, cpu_name
from fastbp.bench.grid import name_of
from fastbp.bench.timing import Spread, in_turn, spread
from fastbp.errors import InputError
from fastbp.files.atomic import write_atomically
from fastbp.plots.curves import check_picture

LABELS = {  # from the fastest to the slowest in the first row
    "fastbp float32": "fastbp",
    peers.Jax.name: "JAX",
    peers.MatrixForm.name: "NumPy",
    peers.ScikitLearn.name: "scikit-learn",
    peers.Torch.name: "PyTorch",
}
KINDS = (peers.Jax, peers.MatrixForm, peers.ScikitLearn, peers.Torch)
Times = dict[str, Spread]
"""The seconds per epoch, by the label of the library."""


def measure(row: Row, data: Rows, rounds: int) -> Times:
    """Time an epoch of each library; raises `InputError` if one of them is not installed or fails."""
    print(row, flush=True)
    x = data.images / np.float32(255)
    tasks = {}
    for peer in (peers.Fastbp("float32"), *(kind() for kind in KINDS)):
        if (task := prepare(peer, row, x, data.labels)) is None:
            raise InputError(f"all peers must be timed, but {peer.name} was not; pip install -e '.[test,peers]'")
        tasks[peer.name] = task
    figures = list(in_turn(tasks, range(rounds), print_failure))
    times = {label: spread([figure[name] for figure in figures]) for name, label in LABELS.items()}
    print(*(f"  {label:12} {taken.median:.4f} s" for label, taken in times.items()), sep="\n", flush=True)
    return times


def title(row: Row) -> str:
    """Return the title of a panel.

    >>> title(ROWS[0])
    '784-30-10, mini-batch 10'
    """
    return f"{name_of(row.sizes)}, mini-batch {row.m}"


def caption(data: Rows, rounds: int) -> str:
    """Return a text with what was measured, the machine, the versions and the date."""
    installed = information()
    blas = installed["BLAS"].partition(",")[0]  # without its path
    versions = [f"Python {platform.python_version()}", peers.Fastbp().version(), *(kind().version() for kind in KINDS)]
    versions += [f"Numba {installed['Numba']}", f"SciPy {installed['SciPy']} with {blas}"]
    return (
        f"Medians of {rounds} rounds. {len(data.images):,} examples ({data.source.partition(';')[0]}), sigmoid layers, "
        f"plain gradient descent, float32. {cpu_name()}, {cpu_count()} cores. {', '.join(versions)}. "
        f"{datetime.date.today()}."
    )


def draw(results: dict[str, Times], text: str) -> Any:
    """Return the figure: one panel per network, one bar per library, and a text below."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.0, 3.1), facecolor="white")
    axes = figure.subplots(1, len(results), sharey=True)
    figure.subplots_adjust(left=0.15, right=0.98, top=0.83, bottom=0.30, wspace=0.1)
    figure.suptitle("Seconds per epoch (less is better)", fontsize=12)
    for panel, (net, times) in zip(axes, results.items(), strict=True):
        seconds = [taken.median for taken in times.values()]
        colors = ["#0072B2" if label == "fastbp" else "#BBBBBB" for label in times]
        bars = panel.barh(list(times), seconds, color=colors)
        panel.bar_label(bars, [f"{value:.3f}" if value < 0.1 else f"{value:.2f}" for value in seconds], padding=3)
        panel.set_title(net, fontsize=10)
        panel.set_xlim(0, 1.2 * max(seconds))
        panel.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5]))
        panel.tick_params(left=False, labelsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()  # applies to both panels, which share the axis
    figure.text(0.015, 0.015, textwrap.fill(text, 104), fontsize=7.5, va="bottom", color="#444444")
    return figure


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme_picture", description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="picture to write, .png or .svg")
    parser.add_argument("--rounds", type=int, default=9, help="rounds per network (default: 9)")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds must be an integer >= 1, got {arguments.rounds}")
    return arguments


def main() -> int:
    arguments, data = _arguments(), training_rows()
    try:
        path = check_picture(arguments.file)
        results = {title(row): measure(row, data, arguments.rounds) for row in ROWS[:2]}
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    figure = draw(results, caption(data, arguments.rounds))
    with write_atomically(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=200)
    print(f"picture in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
