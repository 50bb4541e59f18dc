"""Checks of arrays that were read from files, and their conversion to rows of inputs and labels for training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import brief, plural
from fastbp.files.reading import StrPath, bad_file

Examples = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
"""Inputs x and labels. x has shape (n_0, n), one example per column, and dtype uint8, float32 or float64."""

Splits = tuple[Examples, Examples, Examples]
"""Training, validation and test set."""

Advance = Callable[[int], Any]
"""A function that receives the number of bytes of a file that were read since its last call."""

MOST_DIMENSIONS = 64  # NumPy's own limit
LARGEST_LABEL = 2**31 - 1  # far beyond any number of outputs, and exact in float64, in which csv files are parsed
_CHUNK = 2**20  # values checked at a time


def as_rows(path: StrPath, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return inputs of shape (n, …) as C-ordered rows of shape (n, n_0).

    Images are flattened row by row. uint8 and float64 stay as they are, bool becomes uint8, and other dtypes become
    float32. Arrays that already have the right dtype and layout are not copied. Raises `InputError` for a vector, and
    for NaN and infinity.
    """
    if inputs.ndim < 2 or not inputs.size:
        found = f"has inputs of shape {brief(inputs.shape)}"
        raise bad_file(path, found, "one example per row: shape (n, n_0), or (n, …) for images")
    rows = inputs.reshape(len(inputs), -1)
    if rows.dtype == np.uint8:
        return rows if rows.flags.c_contiguous else np.ascontiguousarray(rows)
    if rows.dtype == np.bool_:
        return rows.astype(np.uint8, order="C")
    dtype = np.float64 if rows.dtype.kind == "f" and rows.dtype.itemsize == 8 else np.float32
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are refused below
        rows = rows.astype(dtype, order="C", copy=not (rows.dtype == dtype and rows.flags.c_contiguous))
    _check_finite(path, rows)
    return rows


def as_label_vector(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return labels of shape (n, 1) and one-hot labels as a vector; other arrays are returned unchanged."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    if labels.ndim == 2 and ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all():
        return np.asarray(labels.argmax(axis=1))
    return labels


def as_labels(path: StrPath, labels: npt.NDArray[Any], examples: int) -> npt.NDArray[np.int64]:
    """Return labels as int64; raise `InputError` unless there is one integer >= 0 per example.

    Labels may also have the shape (n, 1), or be one-hot.
    """
    labels = as_label_vector(labels)
    if labels.ndim != 1:
        raise bad_file(path, f"has labels of shape {brief(labels.shape)}", "a vector with one label per example")
    if len(labels) != examples:
        found = f"has {plural(examples, 'example')} and {plural(len(labels), 'label')}"
        raise bad_file(path, found, "one label per example")
    if labels.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # for signalling NaNs
            labels = labels.astype(np.float64)  # float16 has no number as large as the largest label
    valid = (labels >= 0) & (labels <= LARGEST_LABEL)
    if labels.dtype.kind == "f":
        valid &= labels == np.trunc(labels)
    invalid = np.flatnonzero(~valid)
    if invalid.size:
        found = f"has the label {labels[invalid[0]]} (example {invalid[0]})"
        raise bad_file(path, found, f"integers from 0 to {LARGEST_LABEL}")
    return labels.astype(np.int64)


def _check_finite(path: StrPath, rows: npt.NDArray[Any]) -> None:
    step = max(1, _CHUNK // rows.shape[1])
    for start in range(0, len(rows), step):
        finite = np.isfinite(rows[start : start + step])
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            found = f"contains {rows[start + row, column]} (example {start + row}, input {column})"
            raise bad_file(path, found, "finite numbers, in the range of float32 unless the file has float64")
