"""The book's examples, pairs of columns, as matrices: what has another shape is refused, and never broadcast."""

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import InputError, brief

Array = npt.NDArray[Any]
Pair = tuple[Any, Any]


def columns(name: str, value: Any, size: int) -> Array:
    """Return one column or more of a size as an array; for size 1 a number is one. Raises `InputError`."""
    array = np.asarray(value)
    if array.size == size == 1:
        return array.reshape(1, 1)
    if array.ndim != 2 or len(array) != size:
        raise InputError(f"{name} has shape {array.shape}; wanted is ({size}, 1)")
    return array


def rows_of(name: str, columns: list[Any], size: int) -> Array:
    """Return columns as the rows of a C-ordered matrix, of their own dtype. Raises `InputError`."""
    if _each("shape", columns) != {(size, 1)}:
        for i, column in enumerate(columns):
            if np.shape(column) != (size, 1) and not np.size(column) == size == 1:
                raise InputError(f"{name}[{i}] holds a column of shape {np.shape(column)}; wanted is ({size}, 1)")
        columns = [np.reshape(column, (size, 1)) for column in columns]
    rows = _joined(columns).reshape(len(columns), size)
    if rows.dtype.kind not in "buif":
        raise InputError(f"{name} holds columns of dtype {rows.dtype}; wanted are real numbers")
    return rows


def _joined(columns: list[Any]) -> Array:
    """Return the numbers of columns of one shape in one array, the first column's first.

    For 10,000 columns of 784 float32 `bytes.join` takes 2.3 ms and `np.array` 4.7, where an epoch of them takes 24;
    `np.hstack` took 1.9 s for 50,000.
    """
    if len(_each("dtype", columns)) == 1:
        with suppress(BufferError, TypeError, ValueError):  # not contiguous, or no numbers
            return np.frombuffer(b"".join(columns), columns[0].dtype)
    return np.array(columns)


def _each(attribute: str, columns: list[Any]) -> set[Any]:
    """Return the values of an attribute that columns have, or nothing if one has none; 0.4 ms for 10,000 columns."""
    try:
        return set(map(attrgetter(attribute), columns))
    except AttributeError:
        return set()


def labels_of(name: str, labels: list[Any]) -> Array:
    """Return what the index of the largest output is compared with, one number a test. Raises `InputError`."""
    with suppress(ValueError):  # for 10,000 labels 1 ms, where np.size takes 10
        if (array := np.asarray(labels)).size == len(labels):
            return array.ravel()
    for i, label in enumerate(labels):
        if np.size(label) != 1:
            raise InputError(f"{name}[{i}] has a label of shape {np.shape(label)}; wanted is one integer")
    return np.concatenate(labels, axis=None)


def unzipped(name: str, pairs: Sequence[Pair]) -> tuple[list[Any], list[Any]]:
    """Return the xs and the ys of pairs. Raises `InputError`."""
    try:
        return [x for x, _ in pairs], [y for _, y in pairs]
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is no list of pairs (x, y): {error}") from error


class Pairs:
    """Pairs (x, y) of a network's examples, and the matrices of them, made where they are first asked for, once."""

    def __init__(self, name: str, pairs: Sequence[Pair], sizes: tuple[int, ...]) -> None:
        self.name, self.pairs, self.sizes = name, pairs, sizes

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def xs_and_ys(self) -> tuple[list[Any], list[Any]]:
        """The xs and the ys. Raises `InputError`, as the others do."""
        return unzipped(self.name, self.pairs)

    @cached_property
    def x(self) -> Array:
        """The inputs as rows."""
        return rows_of(self.name, self.xs_and_ys[0], self.sizes[0])

    @cached_property
    def y(self) -> Array:
        """The targets, columns in the pairs, as rows."""
        return rows_of(self.name, self.xs_and_ys[1], self.sizes[-1])

    @cached_property
    def labels(self) -> Array:
        """The ys of pairs that have labels for them."""
        return labels_of(self.name, self.xs_and_ys[1])


def vectorized_result(j: Any) -> Array:
    """Return the unit vector e_j, shape (10, 1): the outputs wanted for the digit j. Raises `InputError`. Chapter 1.

    >>> vectorized_result(3).ravel().tolist()
    [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    label = np.asarray(j)
    if label.size != 1 or label.dtype.kind not in "iu" or not 0 <= label.item() <= 9:
        raise InputError(f"the label {brief(label.tolist())} is no digit; wanted is a whole number from 0 to 9")
    unit = np.zeros((10, 1))
    unit[label.item()] = 1.0
    return unit
