"""Convert the book's examples to matrices.

An example of the book is a pair (x, y). x is a column, and y is a column or a label. Arrays of any other shape are
refused, so that NumPy never broadcasts them.
"""

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
    """Return `value`, which is one or more columns of `size` rows, as an array.

    If `size` is 1, a single number counts as a column. Raises `InputError` for other shapes.
    """
    array = np.asarray(value)
    if array.size == size == 1:
        return array.reshape(1, 1)
    if array.ndim != 2 or len(array) != size:
        raise InputError(f"{name} must have shape ({size}, 1), got {array.shape}")
    return array


def rows_of(name: str, columns: list[Any], size: int) -> Array:
    """Return a C-ordered matrix with the given columns as its rows, in the dtype of the columns.

    Raises `InputError` if a column does not have `size` rows, or if the columns do not contain real numbers.
    """
    if _distinct("shape", columns) != {(size, 1)}:
        for i, column in enumerate(columns):
            if np.shape(column) != (size, 1) and not np.size(column) == size == 1:
                raise InputError(f"{name}[{i}] must have a column of shape ({size}, 1), got {np.shape(column)}")
        columns = [np.reshape(column, (size, 1)) for column in columns]
    rows = _joined(columns).reshape(len(columns), size)
    if rows.dtype.kind not in "buif":
        raise InputError(f"{name} must contain real numbers, got columns of dtype {rows.dtype}")
    return rows


def _joined(columns: list[Any]) -> Array:
    """Join columns of equal shape into one array, column after column.

    For 10,000 columns of 784 float32 numbers, `bytes.join` takes 2.3 ms, and `np.array` takes 4.7 ms. An epoch on these
    columns takes 24 ms. `np.hstack` took 1.9 s for 50,000 columns.
    """
    if len(_distinct("dtype", columns)) == 1:
        with suppress(BufferError, TypeError, ValueError):  # for columns that are not contiguous, or not numbers
            return np.frombuffer(b"".join(columns), columns[0].dtype)
    return np.array(columns)


def _distinct(attribute: str, columns: list[Any]) -> set[Any]:
    """Return the set of all values of one attribute of the columns, or an empty set if a column lacks the attribute.

    This takes 0.4 ms for 10,000 columns.
    """
    try:
        return set(map(attrgetter(attribute), columns))
    except AttributeError:
        return set()


def labels_of(name: str, labels: list[Any]) -> Array:
    """Return labels as a vector.

    Raises `InputError` if a label is not a single value.
    """
    with suppress(ValueError):  # takes 1 ms for 10,000 labels; np.size of each label takes 10 ms
        if (array := np.asarray(labels)).size == len(labels):
            return array.ravel()
    for i, label in enumerate(labels):
        if np.size(label) != 1:
            raise InputError(f"{name}[{i}] must have one integer as its label, got shape {np.shape(label)}")
    return np.concatenate(labels, axis=None)


def unzipped(name: str, pairs: Sequence[Pair]) -> tuple[list[Any], list[Any]]:
    """Return two lists for pairs (x, y): a list of all x, and a list of all y.

    Raises `InputError` if `pairs` contains something that is not a pair.
    """
    try:
        return [x for x, _ in pairs], [y for _, y in pairs]
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a list of pairs (x, y): {error}") from error


class Pairs:
    """Examples (x, y) for a network, as a list of pairs and as matrices.

    Each matrix is made once, when it is first needed.
    """

    def __init__(self, name: str, pairs: Sequence[Pair], sizes: tuple[int, ...]) -> None:
        self.name, self.pairs, self.sizes = name, pairs, sizes

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def xs_and_ys(self) -> tuple[list[Any], list[Any]]:
        """The list of all x and the list of all y.

        This property and the properties `x`, `y` and `labels` raise `InputError` if an example is invalid.
        """
        return unzipped(self.name, self.pairs)

    @cached_property
    def x(self) -> Array:
        """A matrix with the inputs x as its rows."""
        return rows_of(self.name, self.xs_and_ys[0], self.sizes[0])

    @cached_property
    def y(self) -> Array:
        """A matrix with the targets y as its rows, for targets that are columns."""
        return rows_of(self.name, self.xs_and_ys[1], self.sizes[-1])

    @cached_property
    def labels(self) -> Array:
        """A vector of the targets y, for targets that are labels."""
        return labels_of(self.name, self.xs_and_ys[1])


def vectorized_result(j: Any) -> Array:
    """Return the unit vector e_j, which is the target for the digit j.

    Parameters
    ----------
    j : int
        The digit, from 0 to 9.

    Returns
    -------
    ndarray of shape (10, 1), float64
        1 in row j, and 0 elsewhere.

    Raises
    ------
    InputError
        If j is not an integer from 0 to 9.

    References
    ----------
    Chapter 1.

    Examples
    --------
    >>> vectorized_result(3).ravel().tolist()
    [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    label = np.asarray(j)
    if label.size != 1 or label.dtype.kind not in "iu" or not 0 <= label.item() <= 9:
        raise InputError(f"the label of a digit must be an integer from 0 to 9, got {brief(label.tolist())}")
    unit = np.zeros((10, 1))
    unit[label.item()] = 1.0
    return unit
