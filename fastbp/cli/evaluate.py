"""`fastbp evaluate`."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from fastbp import datasets
from fastbp.cli import options
from fastbp.cli.metrics import confusion_matrix, errors_line
from fastbp.datasets.sources import read_source
from fastbp.datasets.table_files import STDIN, Table
from fastbp.datasets.tables import table_examples
from fastbp.datasets.targets import find_column
from fastbp.errors import InputError
from fastbp.files.outputs import print_text, warn
from fastbp.network import Network, load
from fastbp.training.progress import reading


@click.command(
    short_help="Test a saved network.",
    help="Test a saved network: accuracy, cost and confusion matrix, or the errors of predicted numbers.\n\n"
    "With --data digits, mnist or a folder of IDX files, only the test examples are used. With another file or folder, "
    "all examples are used, except that an .npz file may have test examples of its own. The columns of a table are "
    "found by name, in any order.",
)
@click.argument("model", type=click.Path(path_type=Path))
@options.data
@options.label
@options.header
@options.backend
@options.threads_option
def evaluate(model: Path, data: str, label: str | None, header: bool | None, backend: Any) -> None:
    """Print accuracy, cost and confusion matrix, or RMSE, MAE and R²."""
    net = load(model, backend=backend)
    data = options.dataset_name(data)
    x, y, said = examples_of(net, data, label, header)
    options.check_inputs(net, x, data)
    print_text("\n".join([f"{net!r}", *said, f"{x.shape[1]:,} examples of {data}"]))
    if net.sizes[-1] == 1 and not net.classes:
        print_text(f"{errors_line(net, x, y)}, cost {net.cost(x, y):.4f}")
        return
    accuracy = net.accuracy(x, y) if net.sizes[-1] > 1 else net.score(x, y)
    print_text(f"accuracy {accuracy:.2%}, cost {net.cost(x, y):.4f}")
    names, predicted = list(net.classes or map(str, range(net.sizes[-1]))), np.asarray(net.predict(x))
    numbers = predicted if predicted.dtype.kind == "i" else np.array([names.index(name) for name in predicted])
    print_text(confusion_matrix(y, numbers, names))


def examples_of(net: Network, data: str, label: str | None, header: bool | None) -> tuple[Any, Any, list[str]]:
    """Return the inputs and labels for a network, and lines of text about them for the user."""
    if options.is_images(data) or (data != STDIN and not Path(data).exists()):
        if label is not None:
            raise InputError(f"--label is for tables and other files with a label, not for {data}")
        x, y = datasets.load(data)[2]
        return x, y, []
    preparation = net.preparation
    with reading(data) as advance:
        texts = preparation.texts if preparation else frozenset()
        source = read_source(data, label=label, header=header, text_columns=texts, advance=advance)
    table = source.table
    if preparation is None:
        (x, y), name = table_examples(table, source.label or label, net.classes or ())
        said = [f"label: {table.column(name)}; --label for another one"]
        if source.parts is None:
            return x, y, said
        return x[:, source.parts[2]], y[source.parts[2]], [*said, "the test examples of the file"]
    rows = np.arange(len(table.frame)) if source.parts is None else source.parts[2]
    name = preparation.label_of(table) if label is None or source.label else find_column(table, label)
    if name in {feature.name for feature in preparation.features}:
        raise InputError(f"--label must not be an input of the network, got {table.column(name)}")
    named = Table(table.frame.rename(columns={name: preparation.target.name}), table.header, table.where, table.place)
    said = [f"label: {table.column(name)}"] + ([] if source.parts is None else ["the test examples of the file"])
    if ignored := preparation.ignored(table):
        warn(f"columns that are not used: {', '.join(ignored[:8])}{', ...' if len(ignored) > 8 else ''}")
    return preparation.transform(named, rows), preparation.labels(named, rows), said
