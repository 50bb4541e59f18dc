"""Options shared by several commands, and functions that choose the sizes of layers and the input scale for data."""

import os
from typing import Any

import click
import numpy as np

from fastbp.backends import NAMES
from fastbp.backends.numpy import threads
from fastbp.errors import InputError, brief, whole_number
from fastbp.network import Network

DATA = "digits, mnist, an .npz or .csv file, or a folder with MNIST's four files"

backend = click.option(
    "--backend",
    default=None,
    help=f"Backend: {', '.join(NAMES)} or auto; cupy:1 is the second GPU.  [default: FASTBP_BACKEND, or numpy]",
)
threads_option = click.option(
    "--threads",
    type=int,
    expose_value=False,
    callback=lambda context, option, count: _limit_threads(count),
    help="Number of threads for matrix products.  [default: FASTBP_THREADS, or all processors]",
)
data = click.option("--data", default="digits", show_default=True, help=f"Data: {DATA}.")
label = click.option("--label", default=None, help="Label column of a .csv file.  [default: the last column]")


def parse_sizes(text: str | None, inputs: int, classes: int) -> list[int]:
    """Return the sizes of the layers, by default with 30 hidden neurons.

    Raises `InputError` unless the sizes fit the data.
    """
    if text is None:
        return [inputs, 30, classes]
    parts = text.split("-")
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        like = f"{inputs}-30-{classes}"
        raise InputError(f"--sizes must be integers separated by '-', like {like}, got {brief(text)}")
    sizes = [int(part) for part in parts]
    if sizes[0] != inputs or sizes[-1] < classes:
        given = f"got {brief(text)}; the data have {inputs} inputs and {classes} classes"
        raise InputError(f"--sizes must be {inputs}-…-{classes}, {given}")
    return sizes


def count_classes(*labels: Any) -> int:
    """Return the number of classes: one more than the largest label."""
    return 1 + max(int(part.max()) for part in labels if len(part))


def parse_dropout(text: str) -> float | list[float]:
    """Return the number in a text, or the list of numbers if there are commas.

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
