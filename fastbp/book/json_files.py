"""The book's files of networks: JSON with "sizes", "weights" and "biases" as lists, and the "cost" by its name."""

import json
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from fastbp.book.mini_batches import network_plan
from fastbp.errors import InputError, brief
from fastbp.files.tensors import StrPath, field, json_object, open_regular, read_bounded, reading, write_whole
from fastbp.parameters import checked_parameters

Array = npt.NDArray[Any]
_LARGEST = 2**28
"""Bytes of a file: 13 million weights; those of a network of 784-1000-10 take 17 MB."""


def write_network(path: StrPath, sizes: Sequence[int], weights: Any, biases: Any, cost: str) -> None:
    """Write a network as the book's `save` does, whole or not at all. Chapter 3.

    Raises `InputError` for parameters that are not finite or not of the shapes that the sizes say, and if the file
    cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_network(folder + "/net", [2, 1], [[[0.5, 0.25]]], [[[1.0]]], "CrossEntropyCost")
    ...     read_network(folder + "/net")
    ([2, 1], [array([[0.5 , 0.25]])], [array([[1.]])], 'CrossEntropyCost')
    """
    plan = network_plan(tuple(sizes), "quadratic")  # for its sizes alone
    arrays = {  # copied, since only what is copied is looked at for NaN
        "weights": checked_parameters("weights", weights, plan, copied=True),
        "biases": checked_parameters("biases", biases, plan, copied=True),
    }
    lists = {name: [array.tolist() for array in listed] for name, listed in arrays.items()}
    text = json.dumps({"sizes": [int(n) for n in sizes], **lists, "cost": cost})
    with write_whole(path) as file:
        file.write(text.encode())


def read_network(path: StrPath) -> tuple[list[int], list[Array], list[Array], str]:
    """Return (sizes, weights, biases, cost) of a file that the book's `save` or `write_network` wrote.

    Weights and biases are float64, finite, and of the shapes that the sizes say. Raises `InputError` for any other
    file, and for one of more than 256 MiB. Reading takes about 4 times the memory of the file, and at most 50 times,
    whatever is in it. Chapter 3; see `write_network`.
    """
    with reading(path), open_regular(path) as file:
        data = json_object("JSON", read_bounded(file, _LARGEST))
        sizes = field(data, "sizes", list)
        if not all(type(n) is int and 0 < n < 2**31 for n in sizes):
            raise InputError(f"its sizes are {brief(sizes)}; wanted are whole numbers, like [784, 30, 10]")
        plan = network_plan(tuple(sizes), "quadratic")  # for its sizes alone
        weights = checked_parameters("weights", field(data, "weights", list), plan)
        biases = checked_parameters("biases", field(data, "biases", list), plan)
        return sizes, weights, biases, field(data, "cost", str)
