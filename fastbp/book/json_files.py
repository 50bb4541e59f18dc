"""The book's file format of networks: JSON with "sizes", "weights" and "biases" as lists, and "cost" as a name."""

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
"""Most bytes of a file: 13 million weights. A network of 784-1000-10 takes 17 MB."""


def write_network(path: StrPath, sizes: Sequence[int], weights: Any, biases: Any, cost: str) -> None:
    """Write a network in the format of the book's `save` (chapter 3), atomically.

    Raises `InputError` if parameters are not finite or do not have the shapes that follow from the sizes, and if the
    file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_network(folder + "/net", [2, 1], [[[0.5, 0.25]]], [[[1.0]]], "CrossEntropyCost")
    ...     read_network(folder + "/net")
    ([2, 1], [array([[0.5 , 0.25]])], [array([[1.]])], 'CrossEntropyCost')
    """
    plan = network_plan(tuple(sizes), "quadratic")  # only for its sizes
    arrays = {  # copied, because only copies are checked for NaN
        "weights": checked_parameters("weights", weights, plan, copied=True),
        "biases": checked_parameters("biases", biases, plan, copied=True),
    }
    lists = {name: [array.tolist() for array in listed] for name, listed in arrays.items()}
    text = json.dumps({"sizes": [int(n) for n in sizes], **lists, "cost": cost})
    with write_atomically(path) as file:
        file.write(text.encode())


def read_network(path: StrPath) -> tuple[list[int], list[Array], list[Array], str]:
    """Return (sizes, weights, biases, cost) from a file that `write_network`, or the book's `save`, has written.

    Weights and biases are float64 and finite, with the shapes that follow from the sizes. Raises `InputError` for any
    other file, and for files of more than 256 MiB. Reading takes about 4 times the memory of the file, and at most 50
    times, whatever the file contains. Chapter 3; see `write_network` for an example.
    """
    with reading(path), open_regular(path) as file:
        data = json_object("JSON", read_bounded(file, _LARGEST))
        sizes = field(data, "sizes", list)
        if not all(type(n) is int and 0 < n < 2**31 for n in sizes):
            raise InputError(f"its sizes must be positive integers, like [784, 30, 10], got {brief(sizes)}")
        plan = network_plan(tuple(sizes), "quadratic")  # only for its sizes
        weights = checked_parameters("weights", field(data, "weights", list), plan)
        biases = checked_parameters("biases", field(data, "biases", list), plan)
        return sizes, weights, biases, field(data, "cost", str)
