"""Read and write networks in the book's file format.

A file is a JSON object. It has the lists "sizes", "weights" and "biases". Its field "cost" is the name of the cost.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from fastbp.book.mini_batches import network_plan
from fastbp.errors import InputError, brief
from fastbp.files.atomic import write_atomically
from fastbp.files.reading import StrPath, field, json_object, open_regular, read_bounded, reading
from fastbp.parameters import checked_parameters

Array = npt.NDArray[Any]
_LARGEST = 2**28
"""The largest size of a file in bytes, enough for 13 million weights. A network 784-1000-10 takes 17 MB."""


def write_network(path: StrPath, sizes: Sequence[int], weights: Any, biases: Any, cost: str) -> None:
    """Write a network to a file in the format of the book's `save` (chapter 3).

    The file is written atomically. Raises `InputError` if parameters are not finite, if they do not have the shapes
    that follow from the sizes, or if the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_network(folder + "/net", [2, 1], [[[0.5, 0.25]]], [[[1.0]]], "CrossEntropyCost")
    ...     read_network(folder + "/net")
    ([2, 1], [array([[0.5 , 0.25]])], [array([[1.]])], 'CrossEntropyCost')
    """
    plan = network_plan(tuple(sizes), "quadratic")  # only its sizes are used
    arrays = {  # copied, because only copies are checked for NaN
        "weights": checked_parameters("weights", weights, plan, copied=True),
        "biases": checked_parameters("biases", biases, plan, copied=True),
    }
    lists = {name: [array.tolist() for array in listed] for name, listed in arrays.items()}
    text = json.dumps({"sizes": [int(n) for n in sizes], **lists, "cost": cost})
    with write_atomically(path) as file:
        file.write(text.encode())


def read_network(path: StrPath) -> tuple[list[int], list[Array], list[Array], str]:
    """Read a network from a file written by `write_network` or by the book's `save` (chapter 3).

    Returns (sizes, weights, biases, cost). Weights and biases are float64 and finite, with the shapes that follow from
    the sizes. Raises `InputError` for any other file, and for files of more than 256 MiB. Reading usually takes about 4
    times as much memory as the size of the file. It never takes more than 50 times this size. See `write_network` for
    an example.
    """
    with reading(path), open_regular(path) as file:
        data = json_object("JSON", read_bounded(file, _LARGEST))
        sizes = field(data, "sizes", list)
        if not all(type(n) is int and 0 < n < 2**31 for n in sizes):
            raise InputError(f"its sizes must be positive integers, like [784, 30, 10], got {brief(sizes)}")
        plan = network_plan(tuple(sizes), "quadratic")  # only its sizes are used
        weights = checked_parameters("weights", field(data, "weights", list), plan)
        biases = checked_parameters("biases", field(data, "biases", list), plan)
        return sizes, weights, biases, field(data, "cost", str)
