"""Results that the commands print: accuracy, errors, confusion matrix, and a comparison with a constant answer."""

import shutil
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.files.outputs import Outputs
from fastbp.network import Network
from fastbp.training.history import r_squared

WIDEST_MATRIX = 20
"""The maximum number of classes for which a confusion matrix is printed."""


def print_results(net: Network, splits: Any, outputs: Outputs) -> None:
    """Print the accuracy of a network on the test examples, or its errors on the validation and the test examples.

    Errors are printed for networks that predict numbers. If there are no test examples, the training examples are used
    instead.
    """
    training, validation, test = splits
    parts = [("validation", validation)] if net.sizes[-1] == 1 else []
    parts.append(("test", test) if test[0].shape[1] else ("training", training))
    for name, (x, y) in parts:
        if x.shape[1]:
            result = errors_line(net, x, y) if net.sizes[-1] == 1 else f"accuracy {net.accuracy(x, y):.2%}"
            outputs.print(f"{result} on the {x.shape[1]:,} {name} example{'' if x.shape[1] == 1 else 's'}")


def errors_line(net: Network, x: Any, y: Any) -> str:
    """Return the root mean square error, the mean absolute error and R², in the unit of the label column."""
    outputs = np.asarray(net.to("numpy").feedforward(x), np.float64).reshape(-1)
    values = np.asarray(y, np.float64).reshape(-1)
    error = outputs - values
    if net.preparation is not None:
        error = error / net.preparation.target.factor
    rmse, mae = float(np.sqrt(np.mean(error**2))), float(np.mean(np.abs(error)))
    return f"RMSE {_four_digits(rmse)}, MAE {_four_digits(mae)}, R² {r_squared(outputs[None], values[None]):.4f}"


def chance_line(net: Network, splits: Any) -> str | None:
    """Return a warning with advice if the network is no better than a constant answer, and None otherwise.

    The constant answer is the most frequent class, or the mean of the label column. The comparison uses the test
    examples, or the training examples if there are no test examples.
    """
    x, y = splits[2] if splits[2][0].shape[1] else splits[0]
    examples = "test examples" if splits[2][0].shape[1] else "training examples"
    if net.sizes[-1] == 1:
        outputs = np.asarray(net.to("numpy").feedforward(x), np.float64)
        if r_squared(outputs, y) > 0.0:
            return None
        constant = "the mean of the label column"
    else:
        counts = np.bincount(splits[0][1], minlength=net.sizes[-1])
        most = int(counts.argmax())
        share = float(np.mean(np.asarray(y) == most))
        if net.accuracy(x, y) > share:
            return None
        name = net.preparation.target.classes[most] if net.preparation else str(most)
        constant = f"the most frequent class, {name} ({share:.2%})"
    tries = "another learning rate (--eta), more epochs (--epochs), --optimizer adam, or other columns"
    return f"This is not better on the {examples} than always answering {constant}. Try {tries}."


def confusion_matrix(labels: npt.NDArray[Any], predicted: npt.NDArray[Any], names: list[str]) -> str:
    """Return the confusion matrix as text: one row per class, one column per predicted class.

    If it has too many columns for the terminal, the most frequent confusions are listed instead.
    """
    table = np.zeros((len(names), len(names)), int)
    np.add.at(table, (labels, predicted), 1)
    width = max(5, len(str(table.max())) + 1, *(len(name) + 1 for name in names))
    first = max(5, *map(len, names))
    if len(names) <= WIDEST_MATRIX and first + width * len(names) + 11 <= shutil.get_terminal_size((100, 24)).columns:
        head = f"{'label':>{first}}" + "".join(f"{name:>{width}}" for name in names) + "  predicted"
        rows = [
            f"{name:>{first}}" + "".join(f"{n or '·':>{width}}" for n in row)
            for name, row in zip(names, table, strict=True)
        ]
        return "\n".join([head, *rows])
    wrong = [(n, i, j) for (i, j), n in np.ndenumerate(table) if i != j and n]
    lines = [f"{n:>6}  {names[i]} predicted as {names[j]}" for n, i, j in sorted(wrong, reverse=True)[:10]]
    return "\n".join(["most frequent errors:" if lines else "no errors", *lines])


def _four_digits(value: float) -> str:
    """Return a number with four digits, or with all digits before the decimal point.

    >>> _four_digits(0.12345), _four_digits(76530.12)
    ('0.1235', '76,530')
    """
    return f"{value:,.0f}" if value >= 10_000 else f"{value:.4g}"
