"""Options shared by several commands, and functions that choose the sizes of layers and the input scale for data."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.shell_completion import CompletionItem

from fastbp.backends import NAMES
from fastbp.backends.numpy import threads
from fastbp.datasets.fit_features import FILLS, SCALES
from fastbp.datasets.mnist_files import image_file_names
from fastbp.datasets.targets import TASKS
from fastbp.errors import InputError, brief, whole_number
from fastbp.network import Network

NAMED_DATA = ("digits", "mnist")
DATA = (
    "digits, mnist, a table (.csv, .tsv, .parquet, .feather; - is standard input), an .npz or .npy file, or a folder "
    "of IDX files or images"
)


def complete(names: Iterable[str]) -> Callable[..., list[str]]:
    """Return a function that completes the given names for the shell, also in a list separated by commas."""

    def completed(context: Any, parameter: Any, incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in names if name.startswith(last)]

    return completed


def _complete_data(context: Any, parameter: Any, incomplete: str) -> list[CompletionItem]:
    names = [CompletionItem(name) for name in NAMED_DATA if name.startswith(incomplete)]
    return [*names, CompletionItem(incomplete, type="file")]


def _together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decorator that adds several options, in this order."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


backend = click.option(
    "--backend",
    default=None,
    shell_complete=complete([*NAMES, "auto"]),
    help=f"Backend: {', '.join(NAMES)} or auto; cupy:1 is the second GPU.  [default: FASTBP_BACKEND, or numpy]",
)
threads_option = click.option(
    "--threads",
    type=int,
    expose_value=False,
    callback=lambda context, option, count: _limit_threads(count),
    help="Number of threads for matrix products.  [default: FASTBP_THREADS, or all processors]",
)
data = click.option("--data", default="digits", show_default=True, shell_complete=_complete_data, help=f"Data: {DATA}.")
label = click.option(
    "--label",
    default=None,
    metavar="NAME|INDEX",
    help="Label column of a table, or array of labels in an .npz file.  [default: the column called label, target, "
    "class or y, otherwise the last column]",
)
header = click.option(
    "--header/--no-header",
    default=None,
    help="Whether the first line of a table has column names.  [default: detected from the first lines]",
)
table_options = _together(
    click.option(
        "--task",
        shell_complete=complete(TASKS),
        help="Task: classification or regression.  [default: detected from the label column]",
    ),
    header,
    click.option(
        "--scale",
        shell_complete=complete(SCALES),
        help="Scaling of each column: standard (mean 0, standard deviation 1), minmax (from 0 to 1), max (divide by "
        "the largest absolute value) or none.  [default: standard; pixels are divided by 255]",
    ),
    click.option(
        "--missing",
        shell_complete=complete(FILLS),
        help="What to do with missing values: replace them by the mean or median, or drop the rows.  [default: error]",
    ),
    click.option("--drop", multiple=True, metavar="NAME|INDEX", help="Leave out this column; may be repeated."),
)


def is_images(data: str) -> bool:
    """Return whether the data are images that come with labels: digits, mnist, or a folder of IDX files."""
    return data in NAMED_DATA or (Path(data).is_dir() and bool(image_file_names(Path(data))))


def dataset_name(data: str) -> str:
    """Return the name of a data set in lower case; other data are returned unchanged.

    >>> dataset_name("MNIST"), dataset_name("Own.csv")
    ('mnist', 'Own.csv')
    """
    return data.lower() if data.lower() in NAMED_DATA and not Path(data).exists() else data


def check_sizes(sizes: str | None, hidden: str | None) -> list[int] | None:
    """Return the numbers in `--sizes` or `--hidden`, or None if there are none; raise `InputError` for invalid text."""
    if sizes is not None and hidden is not None:
        raise InputError(
            "--sizes and --hidden cannot be combined; --hidden has only the layers between input and output"
        )
    text, option, like = (sizes, "--sizes", "64-30-10") if sizes is not None else (hidden, "--hidden", "100 or 100-50")
    if text is None:
        return None
    parts = text.replace(",", "-").split("-") if hidden is not None else text.split("-")
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise InputError(f"{option} must be integers separated by '-', like {like}, got {brief(text)}")
    if sizes is not None and len(parts) < 2:
        raise InputError(f"--sizes must have at least two layers, like {like}, got {brief(text)}")
    return [whole_number(f"sizes[{l}]", int(part)) for l, part in enumerate(parts, hidden is not None)]


def choose_sizes(sizes: str | None, hidden: str | None, inputs: int, outputs: int, *, exact: bool) -> list[int]:
    """Return the sizes of the layers, by default with 30 hidden neurons.

    Raises `InputError` unless the sizes fit the data. With `exact=False`, there may be more outputs than needed.
    """
    given = check_sizes(sizes, hidden)
    if sizes is None:
        return [inputs, *(given or [30]), outputs]
    assert given is not None
    if given[0] != inputs or given[-1] < outputs or (exact and given[-1] != outputs):
        found = (
            f"got {brief(sizes)}; the data have {inputs} inputs and {outputs} {'classes' if outputs > 1 else 'output'}"
        )
        raise InputError(f"--sizes must be {inputs}-…-{outputs}, {found}")
    return given


def count_classes(*labels: Any) -> int:
    """Return the number of classes: one more than the largest label."""
    return 1 + max(int(part.max()) for part in labels if len(part))


def parse_dropout(text: str) -> float | list[float]:
    """Return the dropout rate in a text, or the list of rates if the text has commas.

    >>> parse_dropout("0.5"), parse_dropout("0.2,0.5")
    (0.5, [0.2, 0.5])
    """
    try:
        rates = [float(rate) for rate in text.split(",")]
    except ValueError:
        message = "--dropout must be a rate, or rates separated by ',', like 0.2,0.5"
        raise InputError(f"{message}; got {brief(text)}") from None
    return rates if "," in text else rates[0]


def input_scale(x: Any) -> float:
    """Return the factor that scales the largest input to 1. For bytes, this is usually 1/255.

    If all inputs are within [−1, 1], the factor is 1.
    """
    largest = max(float(x.max()), -float(x.min()))  # this does not copy mapped data
    return 1.0 / largest if np.isfinite(largest) and largest > 1 else 1.0


def check_inputs(net: Network, x: Any, data: Any) -> None:
    """Raise `InputError` unless the examples have as many inputs as the network."""
    if x.shape[0] != net.sizes[0]:
        raise InputError(f"the network has {net.sizes[0]} inputs, but the examples of {data} have {x.shape[0]}")


def _limit_threads(count: int | None) -> None:
    if count is not None:
        os.environ[threads.VARIABLE] = str(whole_number("threads", count))
