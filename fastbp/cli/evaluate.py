"""`fastbp evaluate`."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from fastbp import datasets
from fastbp.cli import options
from fastbp.files.outputs import print_line
from fastbp.network import load


@click.command(
    help="Test a saved network: accuracy, cost and confusion matrix.\n\n"
    "With --data digits, mnist or a folder, only the test examples are used; with a file, all of its examples."
)
@click.argument("model", type=click.Path(path_type=Path))
@options.data
@options.label
@options.backend
@options.threads_option
def evaluate(model: Path, data: str, label: str | None, backend: Any) -> None:
    """Print accuracy, cost and confusion matrix."""
    net = load(model, backend=backend)
    is_file = Path(data).is_file()
    x, labels = datasets.read_examples(data, label) if is_file else datasets.load(data, label)[2]
    options.check_inputs(net, x, data)
    print_line(f"{net!r}\n{len(labels):,} examples of {data}")
    print_line(f"accuracy {net.accuracy(x, labels):.2%}, cost {net.cost(x, labels):.4f}")
    print_line(_confusion_matrix(labels, net.predict(x), net.sizes[-1]))


def _confusion_matrix(labels: Any, predicted: Any, classes: int) -> str:
    """Return the confusion matrix as text: one row per label, one column per predicted class."""
    table = np.zeros((classes, classes), int)
    np.add.at(table, (labels, predicted), 1)
    width = max(5, len(str(table.max())) + 1)
    head = "label" + "".join(f"{j:>{width}}" for j in range(classes)) + "  predicted"
    rows = [f"{i:>5}" + "".join(f"{n or '·':>{width}}" for n in row) for i, row in enumerate(table)]
    return "\n".join([head, *rows])
