"""Arrays out of files: rows of inputs and labels, checked, in the dtypes that training takes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import brief, plural
from fastbp.files.bounded_reading import StrPath, bad_file

Examples = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
"""Columns x, shape (n_0, m), of uint8, float32 or float64, and m labels."""

Splits = tuple[Examples, Examples, Examples]
"""Training, validation and test."""

MOST_DIMENSIONS = 64  # NumPy's own limit
LARGEST_LABEL = 2**31 - 1  # far beyond any number of outputs, and exact in float64, as which csv is read
_CHUNK = 2**20  # values looked at together


def as_rows(path: StrPath, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return inputs (n, …) as rows (n, n_0), in C order: uint8 and float64 stay, all else becomes float32.

    Images are flattened in row order. What already lies as wanted is not copied. Raises `InputError` for a vector, and
    for NaN and infinity.
    """
    if inputs.ndim < 2 or not inputs.size:
        found = f"has inputs of shape {brief(inputs.shape)}"
        raise bad_file(path, found, "are examples of some inputs each: (n, n_0) or images")
    rows = inputs.reshape(len(inputs), -1)
    if rows.dtype == np.uint8:
        return rows if rows.flags.c_contiguous else np.ascontiguousarray(rows)
    if rows.dtype == np.bool_:
        return rows.astype(np.uint8, order="C")
    dtype = np.float64 if rows.dtype.kind == "f" and rows.dtype.itemsize == 8 else np.float32
    with np.errstate(over="ignore", invalid="ignore"):  # to infinity or NaN, which are refused below
        rows = rows.astype(dtype, order="C", copy=not (rows.dtype == dtype and rows.flags.c_contiguous))
    _check_finite(path, rows)
    return rows


def as_labels(path: StrPath, labels: npt.NDArray[Any], examples: int) -> npt.NDArray[np.int64]:
    """Return labels as int64, or raise `InputError` unless they are whole, not negative, and one an example."""
    if labels.ndim != 1:
        raise bad_file(path, f"has labels of shape {brief(labels.shape)}", "is a vector, one label an example")
    if len(labels) != examples:
        raise bad_file(
            path, f"has {plural(examples, 'example')} and {plural(len(labels), 'label')}", "is one label each"
        )
    if labels.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # a signalling NaN
            labels = labels.astype(np.float64)  # float16 could not be compared with the largest
    right = (labels >= 0) & (labels <= LARGEST_LABEL)
    if labels.dtype.kind == "f":
        right &= labels == np.trunc(labels)
    wrong = np.flatnonzero(~right)
    if wrong.size:
        found = f"has the label {labels[wrong[0]]} (example {wrong[0]})"
        raise bad_file(path, found, f"are whole numbers from 0 to {LARGEST_LABEL}")
    return labels.astype(np.int64)


def _check_finite(path: StrPath, rows: npt.NDArray[Any]) -> None:
    step = max(1, _CHUNK // rows.shape[1])
    for start in range(0, len(rows), step):
        fit = np.isfinite(rows[start : start + step])
        if not fit.all():
            row, column = np.argwhere(~fit)[0]
            found = f"holds {rows[start + row, column]} (example {start + row}, input {column})"
            raise bad_file(path, found, "are finite numbers, within float32 unless given as float64")
