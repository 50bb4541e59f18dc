"""Tables of comma-separated numbers, one example per row, with or without a row of column names.

NumPy's `loadtxt` parses the numbers. Its C parser takes about 1.5 s for 60,000 rows of 785 columns; the csv module with
`float` takes 4 s (one core of a shared machine, NumPy 2.4, Python 3.11). The errors of `loadtxt` name neither the line
nor the column. Rows that `loadtxt` refuses are therefore parsed again with the csv module, which is slow but finds the
bad field.
"""

import csv
import difflib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from fastbp.datasets.rows_and_labels import LARGEST_LABEL
from fastbp.errors import InputError, brief, one_line, plural, truncate
from fastbp.files.reading import bad_file, display_path, translate_errors

Line = tuple[int, str]  # the line's number in the file, and its text
_EXPECTED = "a table of numbers separated by commas, in UTF-8"
_ROWS_PER_CHUNK = 1000  # rows parsed at a time: besides the result, only their float64 values take much memory
_CHUNK_CHARACTERS = 2**20  # a chunk of rows ends as soon as it has more characters than this
_LONGEST_ROW = 2**22  # characters, for 200,000 floats or a million bytes; parsing takes up to 50 times as much memory


def csv_rows(
    path: Path, label: str | None, *, last_is_label: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64] | None]:
    """Return the inputs of a table, as an array of shape (n, n_0), and the labels, or None if it has no labels.

    The labels are in the column whose name is `label`. If `label` is None, the argument `last_is_label` decides: either
    the last column contains the labels, or there are no labels. Inputs are uint8 if all of them are integers from 0 to
    255, and float32 otherwise. The first row holds column names if one of its fields is neither empty nor a number.
    Empty lines are skipped. Raises `InputError` for a bad value. The message names the line and the column of this
    value.
    """
    with translate_errors(path, _EXPECTED, UnicodeError, csv.Error), path.open(encoding="utf-8-sig") as file:
        lines = _lines(path, file)
        first = next(lines, None)
        if first is None:
            raise bad_file(path, "has no rows", _EXPECTED)
        fields = _fields(first[1])
        names = fields if any(field and not _is_number(field) for field in fields) else None
        label_column = _label_column(path, names, len(fields), label, last_is_label)
        rows = lines if names else itertools.chain([first], lines)
        return _read_rows(path, rows, names or [""] * len(fields), label_column)


def _lines(path: Path, file: TextIO) -> Iterator[Line]:
    """Yield the lines that are not empty, with their numbers."""
    for number in itertools.count(1):
        line = file.readline(_LONGEST_ROW + 1)
        if len(line) > _LONGEST_ROW:
            raise _bad_line(path, number, f"has more than {_LONGEST_ROW:,} characters", _EXPECTED)
        if not line:
            return
        if line.strip():
            yield number, line


def _chunks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Yield the lines in lists, called chunks.

    A chunk has enough lines to make up for the start-up time of the parser, and few enough to take little memory.
    """
    chunk, size = [], 0
    for number, line in lines:
        chunk.append((number, line))
        size += len(line)
        if len(chunk) == _ROWS_PER_CHUNK or size > _CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _read_rows(
    path: Path, lines: Iterator[Line], names: list[str], label_column: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64] | None]:
    inputs, labels = [], []
    for chunk in _chunks(lines):
        values = _parse(path, chunk, names)
        _check(path, chunk, names, values, label_column)
        if label_column is not None:
            labels.append(values[:, label_column].astype(np.int64))
            values = np.delete(values, label_column, axis=1)
        bytes_ = values.astype(np.uint8) if values.min() >= 0 and values.max() <= 255 else None
        inputs.append(bytes_ if bytes_ is not None and (bytes_ == values).all() else values.astype(np.float32))
    if not inputs:
        raise bad_file(path, "has a row of column names and no other row", "at least one example")
    return np.concatenate(inputs), np.concatenate(labels) if labels else None


def _parse(path: Path, chunk: list[Line], names: list[str]) -> npt.NDArray[np.float64]:
    reason = "its rows have different numbers of fields"
    for number, line in chunk:
        if line.count('"') % 2:  # NumPy would continue the field in the next line, or close it at the end of the file
            raise _bad_line(path, number, "has an unclosed quotation mark", _EXPECTED)
    try:
        values = np.loadtxt([line for _, line in chunk], delimiter=",", quotechar='"', comments=None, ndmin=2)
        if values.shape == (len(chunk), len(names)):
            return values
    except ValueError as error:
        reason = one_line(error)
    raise _first_error(path, chunk, names) or bad_file(path, f"cannot be read ({reason})", _EXPECTED)


def _first_error(path: Path, chunk: list[Line], names: list[str]) -> InputError | None:
    """Return the error for the first bad line or field, or None if there is none."""
    for number, line in chunk:
        fields = _fields(line)
        if len(fields) != len(names):
            expected = f"{len(names)} fields separated by commas, as in the first row"
            return _bad_line(path, number, f"has {plural(len(fields), 'field')}", expected)
        for column, field in enumerate(fields):
            if not _is_number(field):
                given = brief(field) if field else "empty"
                return _bad_field(path, number, names, column, given, "a number")
    return None


def _check(
    path: Path, chunk: list[Line], names: list[str], values: npt.NDArray[np.float64], label_column: int | None
) -> None:
    """Raise `InputError` for an input outside the range of float32, or for an invalid label."""
    valid = np.abs(values) <= np.finfo(np.float32).max  # False for NaN
    if label_column is not None:
        labels = values[:, label_column]
        valid[:, label_column] = (labels >= 0) & (labels <= LARGEST_LABEL) & (labels == np.trunc(labels))
    if not valid.all():
        row, column = np.argwhere(~valid)[0]
        label = f"an integer label from 0 to {LARGEST_LABEL}"
        expected = label if column == label_column else "a finite number in the range of float32"
        raise _bad_field(path, chunk[row][0], names, column, f"{values[row, column]:g}", expected)


def _label_column(path: Path, names: list[str] | None, width: int, label: str | None, last: bool) -> int | None:
    """Return the index of the column of labels, or None if all columns are inputs."""
    if label is None:
        if last and width < 2:
            raise bad_file(path, "has 1 column", "inputs, and labels in the last column, separated by commas")
        return width - 1 if last else None
    if names is None:
        found = f"has no row of column names, and so no column {brief(label)}"
        raise bad_file(path, found, "column names in the first row, or labels in the last column")
    if names.count(label) != 1:
        near = difflib.get_close_matches(label, [name[:60] for name in names[:1000]], n=1)
        hint = f"did you mean {brief(near[0])}? " if near and near[0] != label else ""
        first_names = ", ".join(truncate(name, 40) for name in names[:8]) + (", …" if len(names) > 8 else "")
        count = f"{names.count(label)} columns" if label in names else "no column"
        raise InputError(f"{display_path(path)} has {count} {brief(label)}; {hint}valid: {_printable(first_names)}")
    if width < 2:
        raise bad_file(path, f"has only the column {brief(label)}", "at least one column of inputs beside it")
    return names.index(label)


def _fields(line: str) -> list[str]:
    return [field.strip() for field in next(csv.reader([line]))]


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field  # float accepts 1_000, but no program writes that to a csv file


def _bad_line(path: Path, number: int, found: str, expected: str) -> InputError:
    return InputError(f"{display_path(path)}: line {number} {found}; expected {expected}")


def _bad_field(path: Path, number: int, names: list[str], column: Any, value: str, expected: str) -> InputError:
    name = f" ({brief(names[column])})" if names[column] else ""
    place = f"{display_path(path)}: line {number}, column {column + 1}{name}"
    return InputError(f"{place} is {value}; expected {expected}")


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)
