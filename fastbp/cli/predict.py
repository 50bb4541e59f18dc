"""`fastbp predict`."""

import csv
import io
from pathlib import Path
from typing import Any

import click
import numpy as np

from fastbp import datasets
from fastbp.cli import options
from fastbp.files.atomic import write_atomically
from fastbp.files.outputs import print_line
from fastbp.network import load


@click.command(
    short_help="Apply a saved network to the inputs in a file.",
    help="Apply a saved network to the inputs in a file (IDX, .npz or .csv); print the predicted classes and the "
    "outputs as CSV.",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--label", default=None, help="Name of the .csv column with the labels; it is not used as an input.")
@click.option("--output", type=click.Path(path_type=Path), help="Output file.  [default: standard output]")
@options.backend
@options.threads_option
def predict(model: Path, file: Path, label: str | None, output: Path | None, backend: Any) -> None:
    """Print the predicted class and the outputs for each example, one example per line."""
    net = load(model, backend=backend)
    x = datasets.read_inputs(file, label)
    options.check_inputs(net, x, file)
    outputs = np.asarray(net.to("numpy").feedforward(x))
    header = [f"output_{j}" for j in range(len(outputs))]
    rows = [[f"{value:.9g}" for value in column] for column in outputs.T]
    if len(outputs) > 1:
        header = ["class", *header]
        rows = [[str(column.argmax()), *row] for column, row in zip(outputs.T, rows, strict=True)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    if output is None:
        print_line(text.getvalue(), end="")
    else:
        with write_atomically(output) as target:
            target.write(text.getvalue().encode())
