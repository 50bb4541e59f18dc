"""Reading of a single file of examples: inputs with their labels, or inputs alone."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.idx import GZIP_MAGIC, read_idx
from fastbp.datasets.npz import ZIP_MAGIC, npz_examples, npz_inputs
from fastbp.datasets.rows_and_labels import LARGEST_LABEL, Examples, as_labels, as_rows
from fastbp.datasets.table_files import Table, read_table
from fastbp.datasets.targets import CLASSIFICATION, Target, find_column, label_column, numbers
from fastbp.errors import InputError, brief
from fastbp.files.reading import StrPath, bad_file, regular_file, translate_errors

_EXPECTED = "an .npz or .csv file"
_SHEETS = (".xlsx", ".xlsm", ".ods")  # zip archives too, which `read_table` refuses


def read_examples(path: StrPath, label: str | None = None) -> Examples:
    r"""Read inputs and labels from an .npz file, or from a table such as a .csv file.

    An .npz file holds inputs of shape (n, …) and labels of shape (n,). Their names are "x" and "y", "x" and "labels",
    "images" and "labels", "X" and "y", "data" and "target", "data" and "labels", or "arr_0" and "arr_1". A table
    has one example per row. Its inputs are numbers, and its labels are integers. `read_table` describes the formats of
    tables.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    label : str, optional
        Name of the labels: an array in an .npz file, or a column of a table. By default, the label column of a table is
        the one called label, target, class or y. If there is no such column, it is the last one.

    Returns
    -------
    x : ndarray of shape (n_0, n)
        Inputs, one example per column. Each column is contiguous in memory. Images are flattened row by row. In an .npz
        file, uint8 and float64 stay as they are, and other dtypes become float32. A table gives uint8 if all of its
        inputs are integers from 0 to 255, and float32 otherwise.
    labels : ndarray of shape (n,), int64
        The labels.

    Raises
    ------
    InputError
        If the file is damaged, or has another format, shape or dtype. The error is also raised if an input is NaN or
        infinite, or if a label is not an integer >= 0.

    Examples
    --------
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
    path = regular_file(path, _EXPECTED)
    kind = file_kind(path)
    if kind == "idx":
        raise bad_file(path, "has only inputs or labels", "one file of inputs and labels, or a folder of IDX files")
    if kind == "npz":
        inputs, given = npz_examples(path, label)
        rows = as_rows(path, inputs)
        return rows.T, as_labels(path, given, len(rows))
    if kind == "npy":
        raise bad_file(path, "has inputs without labels", "an .npz file with inputs and labels, or a table")
    return table_examples(read_table(path), label)[0]


def table_examples(table: Table, label: str | int | None, classes: tuple[str, ...] = ()) -> tuple[Examples, str]:
    """Return the inputs and the labels in a table, and the name of the label column.

    The labels are integers. If `classes` are given and the label column has text, it has names of these classes.
    """
    name, _ = label_column(table, label)
    rows = _numeric_rows(table, [column for column in table.frame.columns if column != name])
    if classes and table.frame[name].dtype.kind not in "biuf":
        return (rows.T, Target(name, CLASSIFICATION, classes).labels(table, np.arange(len(rows)))), name
    return (rows.T, _integer_labels(table, name)), name


def read_inputs(path: StrPath, label: str | None = None) -> npt.NDArray[Any]:
    r"""Read inputs without labels from a table, such as a .csv file, or from an IDX, .npz or .npy file.

    In an .npz file, the inputs are the only array, or the array named "x", "images", "X", "data" or "arr_0". Other
    arrays are ignored. In a table, all columns are inputs except the one named `label`.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    label : str, optional
        Name of a column that is not an input. Only for tables.

    Returns
    -------
    x : ndarray of shape (n_0, n)
        Inputs, one example per column. The dtype is chosen as in `read_examples`. For a plain IDX file of bytes, x is a
        view of the memory-mapped file.

    Raises
    ------
    InputError
        If the file is damaged, or has another format, shape or dtype, or if an input is NaN or infinite.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "flowers.csv")
    ...     _ = path.write_text("5.1,3.5\n6.3,2.9\n")
    ...     read_inputs(path)
    array([[5.1, 6.3],
           [3.5, 2.9]], dtype=float32)
    """
    _check_label(label)
    path = regular_file(path, "an IDX, .npz or .csv file")
    kind = file_kind(path)
    if kind != "table":
        return as_rows(path, {"npz": npz_inputs, "npy": read_npy, "idx": read_idx}[kind](path)).T
    table = read_table(path)
    left_out = None if label is None else find_column(table, label)
    return _numeric_rows(table, [column for column in table.frame.columns if column != left_out]).T


def read_images(path: StrPath) -> npt.NDArray[Any]:
    """Return the images of an IDX file as rows of shape (n, n_0); raise `InputError` if it holds labels."""
    images = read_idx(path)
    if images.ndim < 2:
        raise bad_file(path, f"holds a vector of {len(images)} values, like labels", "images: two dimensions or more")
    return as_rows(path, images)


def read_labels(path: StrPath, examples: int) -> npt.NDArray[np.int64]:
    """Return the labels of an IDX file; raise `InputError` unless it holds `examples` labels, one per example."""
    labels = read_idx(path)
    if labels.ndim != 1:
        raise bad_file(path, f"holds an array of shape {brief(labels.shape)}, like images", "labels: one dimension")
    return as_labels(path, labels, examples)


def _check_label(label: str | None) -> None:
    if not (label is None or isinstance(label, str)):
        raise InputError(f"label must be the name of an array or a column, got {brief(label)}")


def file_kind(path: Path) -> str:
    """Return the format of a file: "idx", "npz", "npy" or "table".

    If the name ends in .npz or .npy, the name decides, so that error messages are about the format that the user
    expects. Otherwise the format is found from the first bytes of the file, or from "idx" anywhere in its name.
    """
    if path.suffix.lower() in (".npz", ".npy"):
        return path.suffix.lower()[1:]
    with translate_errors(path, _EXPECTED), path.open("rb") as file:
        magic = file.read(6)
    if magic == b"\x93NUMPY":
        return "npy"
    if magic[:4] in ZIP_MAGIC and path.suffix.lower() not in _SHEETS:
        return "npz"
    if magic[:2] == GZIP_MAGIC:
        with translate_errors(path, _EXPECTED, EOFError, zlib.error), gzip.open(path) as content:
            magic = content.read(2)
    return "idx" if magic[:2] == b"\0\0" or ("idx" in path.name and ".csv" not in path.name) else "table"


def read_npy(path: Path) -> npt.NDArray[Any]:
    """Return the array in an .npy file, memory-mapped; raise `InputError` unless it has real numbers."""
    with translate_errors(path, "a complete .npy file of numbers", ValueError, EOFError):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype.kind not in "buif" or array.dtype.itemsize > 8:
        raise bad_file(path, f"has dtype {array.dtype}", "real numbers")
    return np.asarray(array)


def _numeric_rows(table: Table, names: list[str]) -> npt.NDArray[Any]:
    """Return columns of numbers as rows, in uint8 if all are integers from 0 to 255, and in float32 otherwise."""
    frame, every = table.frame[names], np.arange(len(table.frame))
    if not names:
        raise bad_file(table.where, "has no columns beside the label", "at least one column of inputs")
    if all(dtype == np.uint8 for dtype in frame.dtypes):
        return np.ascontiguousarray(frame.to_numpy(np.uint8))
    limit = np.finfo(np.float32).max
    if all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in frame.dtypes):
        values = frame.to_numpy(np.float64)
        if (np.abs(values) <= limit).all():
            return np.ascontiguousarray(values, np.float32)
    rows = np.empty(frame.shape, np.float32)
    for j, name in enumerate(names):
        values = numbers(table, name, every)
        if (bad := np.flatnonzero(~(np.abs(values) <= limit))).size:
            raise table.bad_value(int(bad[0]), name, "a finite number in the range of float32")
        rows[:, j] = values
    return rows


def _integer_labels(table: Table, name: str) -> npt.NDArray[np.int64]:
    values = numbers(table, name, np.arange(len(table.frame)))
    valid = (values >= 0) & (values <= LARGEST_LABEL) & (values == np.trunc(values))
    if (bad := np.flatnonzero(~valid)).size:
        expected = f"an integer label from 0 to {LARGEST_LABEL}; for other labels, see fastbp.datasets.prepare"
        raise table.bad_value(int(bad[0]), name, expected)
    return values.astype(np.int64)
