"""`fastbp predict`."""

import csv
import io
from pathlib import Path
from typing import Any

import click
import numpy as np

from fastbp import datasets
from fastbp.cli import options
from fastbp.datasets.preparation import Preparation
from fastbp.datasets.sources import read_inputs_of
from fastbp.errors import InputError
from fastbp.files.atomic import check_target, write_atomically
from fastbp.files.outputs import print_line, warn
from fastbp.network import Network, load
from fastbp.training.progress import reading


@click.command(
    short_help="Apply a saved network to the inputs in a file.",
    help="Apply a saved network to the inputs in a file, and print the predictions as CSV. The file is a table, an "
    ".npz, .npy or IDX file, a folder of images, or - for standard input.\n\n"
    "If the network was trained on a table, its columns are found by name, in any order, and the predictions are "
    "classes or numbers. For other networks, the class and all outputs are printed. Standard input and folders "
    "of images need a network that was trained on a table or on a folder of images.",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--probabilities", is_flag=True, help="Also print the probability of each class.")
@click.option(
    "--label", default=None, help="Column that is not an input; only for networks that were not trained on a table."
)
@options.header
@click.option("--output", type=click.Path(path_type=Path), help="Output file.  [default: standard output]")
@options.backend
@options.threads_option
def predict(
    model: Path,
    file: Path,
    probabilities: bool,
    label: str | None,
    header: bool | None,
    output: Path | None,
    backend: Any,
) -> None:
    """Print the prediction for each example, one example per line."""
    if output is not None:
        check_target(output)
    net = load(model, backend=backend)
    if net.preparation is None:
        if header is not None:
            raise InputError("--header and --no-header are for networks that were trained on a table")
        rows = _plain(net, file, label)
    else:
        if label is not None:
            raise InputError(f"--label is not needed: the network knows its columns, see fastbp info {model}")
        rows = _prepared(net, net.preparation, file, header, probabilities)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    if output is None:
        print_line(text.getvalue(), end="")
    else:
        with write_atomically(output) as target:
            target.write(text.getvalue().encode())


def _prepared(
    net: Network, preparation: Preparation, file: Path, header: bool | None, probabilities: bool
) -> list[list[str]]:
    """Return a row of names and one row per example, with the prediction of a network that has a preparation."""
    target = preparation.target
    if probabilities and not target.classes:
        raise InputError("--probabilities is for classes; the network predicts numbers")
    with reading(file) as advance:
        table = read_inputs_of(str(file), header=header, text_columns=preparation.texts, advance=advance)
    if ignored := preparation.ignored(table):
        warn(f"columns that are not used: {', '.join(ignored[:8])}{', ...' if len(ignored) > 8 else ''}")
    outputs = np.asarray(net.to("numpy").feedforward(preparation.transform(table)))
    answers = target.answers(outputs)
    if not target.classes:
        return [[target.name], *([f"{value:.9g}"] for value in answers)]
    if not probabilities:
        return [[target.name], *([str(name)] for name in answers)]
    head = [target.name, *target.classes]
    return [head, *([str(a), *(f"{p:.6g}" for p in column)] for a, column in zip(answers, outputs.T, strict=True))]


def _plain(net: Network, file: Path, label: str | None) -> list[list[str]]:
    """Return a row of names and one row per example, with the class and the outputs, without a preparation."""
    x = datasets.read_inputs(file, label)
    options.check_inputs(net, x, file)
    outputs = np.asarray(net.to("numpy").feedforward(x))
    several = len(outputs) > 1
    header = list(net.classes or ()) if several else []
    header = header or [f"output_{j}" for j in range(len(outputs))]
    rows = [[f"{value:.9g}" for value in column] for column in outputs.T]
    if several or net.classes:
        header = ["class", *header]
        rows = [[str(answer), *row] for answer, row in zip(net.predict(x), rows, strict=True)]
    return [header, *rows]
