"""One file of one's own: examples with their labels, or inputs alone."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.csv_files import csv_rows
from fastbp.datasets.idx import GZIP_MAGIC, read_idx
from fastbp.datasets.npz import ZIP_MAGIC, npz_examples, npz_inputs
from fastbp.datasets.rows_and_labels import Examples, as_labels, as_rows
from fastbp.errors import InputError, brief
from fastbp.files.bounded_reading import StrPath, bad_file, regular_file, translate_errors

_WANTED = "is an .npz or .csv file"


def read_examples(path: StrPath, label: str | None = None) -> Examples:
    r"""Return (x, labels) from an .npz or a .csv file.

    x has shape (n_0, n), each example contiguous in memory, images flattened in row order; labels are n of int64. An
    .npz file holds inputs (n, …) and labels (n,) as x and y, x and labels, images and labels, X and y, or data and
    target; `label` gives the labels another name. A .csv file, in UTF-8, has one example a row; a first row with a
    field that is no number is one of names, and the label is the column that `label` names, or the last.

    uint8 stays uint8, float64 in .npz float64, and all else becomes float32; a .csv file gives uint8 if all its inputs
    are whole numbers from 0 to 255. Raises `InputError` for what is none of that.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "flowers.csv")
    ...     _ = path.write_text("length,width,species\n5.1,3.5,0\n6.3,2.9,2\n")
    ...     x, labels = read_examples(path)
    >>> x
    array([[5.1, 6.3],
           [3.5, 2.9]], dtype=float32)
    >>> labels
    array([0, 2])
    """
    _check_label(label)
    path = regular_file(path, _WANTED)
    kind = _kind(path)
    if kind == "idx":
        raise bad_file(path, "is neither .npz nor .csv", "is one file of inputs and labels, or a folder of IDX files")
    if kind == "npz":
        inputs, given = npz_examples(path, label)
        rows = as_rows(path, inputs)
        return rows.T, as_labels(path, given, len(rows))
    rows, labels = csv_rows(path, label, last_is_label=True)
    assert labels is not None
    return rows.T, labels


def read_inputs(path: StrPath, label: str | None = None) -> npt.NDArray[Any]:
    r"""Return the inputs x of a file without labels: IDX, .npz or .csv.

    x has shape (n_0, n) and dtypes as in `read_examples`; x of a plain IDX file of bytes is a view of the mapped file.
    An .npz file holds one array, or x, images, X or data, and others are let alone. All columns of a .csv file are
    inputs, but for the one that `label` names. Raises `InputError` for what is none of that.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "flowers.csv")
    ...     _ = path.write_text("5.1,3.5\n6.3,2.9\n")
    ...     read_inputs(path)
    array([[5.1, 6.3],
           [3.5, 2.9]], dtype=float32)
    """
    _check_label(label)
    path = regular_file(path, "is an IDX, .npz or .csv file")
    kind = _kind(path)
    if kind == "csv":
        return csv_rows(path, label, last_is_label=False)[0].T
    return as_rows(path, npz_inputs(path) if kind == "npz" else read_idx(path)).T


def read_images(path: StrPath) -> npt.NDArray[Any]:
    """Return the images of an IDX file as rows (n, n_0), or raise `InputError` if it holds labels."""
    images = read_idx(path)
    if images.ndim < 2:
        raise bad_file(path, f"holds a vector of {len(images)}, as labels are", "are images: two dimensions or more")
    return as_rows(path, images)


def read_labels(path: StrPath, examples: int) -> npt.NDArray[np.int64]:
    """Return the labels of an IDX file, or raise `InputError` if it holds images, or others than one an example."""
    labels = read_idx(path)
    if labels.ndim != 1:
        raise bad_file(
            path, f"holds an array of shape {brief(labels.shape)}, as images are", "are labels: one dimension"
        )
    return as_labels(path, labels, examples)


def _check_label(label: str | None) -> None:
    if not (label is None or isinstance(label, str)):
        raise InputError(f"label is {brief(label)}; wanted is a name")


def _kind(path: Path) -> str:
    """Return idx, npz or csv, by the name where it says so, since the errors then say what is wrong with it."""
    if path.suffix.lower() in (".npz", ".csv"):
        return path.suffix.lower()[1:]
    with translate_errors(path, _WANTED), path.open("rb") as file:
        magic = file.read(4)
    if magic in ZIP_MAGIC:
        return "npz"
    return "idx" if magic[:2] in (b"\0\0", GZIP_MAGIC, b"") or "idx" in path.name else "csv"
