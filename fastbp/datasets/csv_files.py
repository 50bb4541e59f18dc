"""Tables of comma-separated numbers, one example a row, perhaps under a row of names.

NumPy's `loadtxt` does the reading: its parser in C takes 60,000 rows of 785 columns in about 1.5 s, where the csv
module and `float` take 4 (one core of a shared machine, NumPy 2.4, Python 3.11). What it says of a bad field has
neither the line's number nor the column's name, so the rows that it refuses are looked through once more with the csv
module, which is slow and precise.
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
from fastbp.files.bounded_reading import bad_file, display_path, translate_errors

Line = tuple[int, str]  # its number in the file, and its text
_WANTED = "is a table of numbers separated by commas, in UTF-8"
_ROWS = 1000  # parsed at a time: their float64 form is the only large thing beside the result
_MOST_TOGETHER = 2**20  # characters of the rows that are parsed together, but for a single row that is longer
_LONGEST_ROW = 2**22  # characters: 200,000 numbers in full, a million bytes; a row takes up to 50 times as much


def csv_rows(
    path: Path, label: str | None, *, last_is_label: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64] | None]:
    """Return the inputs of a table as rows (n, n_0), and its labels if `label` names a column, or the last is one.

    Inputs are uint8 if every one is a whole number from 0 to 255, and float32 otherwise. A first row with a field that
    is neither empty nor a number is one of names. Empty lines are passed over. Raises `InputError` with line and
    column.
    """
    with translate_errors(path, _WANTED, UnicodeError, csv.Error), path.open(encoding="utf-8-sig") as file:
        lines = _lines(path, file)
        first = next(lines, None)
        if first is None:
            raise bad_file(path, "has no rows", _WANTED)
        fields = _fields(first[1])
        names = fields if any(field and not _is_number(field) for field in fields) else None
        labelled = _label_column(path, names, len(fields), label, last_is_label)
        rows = lines if names else itertools.chain([first], lines)
        return _gather(path, rows, names or [""] * len(fields), labelled)


def _lines(path: Path, file: TextIO) -> Iterator[Line]:
    """Yield the lines that are not empty."""
    for number in itertools.count(1):
        line = file.readline(_LONGEST_ROW + 1)
        if len(line) > _LONGEST_ROW:
            raise bad_file(path, f"has more than {_LONGEST_ROW:,} characters in line {number}", _WANTED)
        if not line:
            return
        if line.strip():
            yield number, line


def _chunks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Yield lines together, so many that the parser's start costs little and their values little memory."""
    chunk, size = [], 0
    for number, line in lines:
        chunk.append((number, line))
        size += len(line)
        if len(chunk) == _ROWS or size > _MOST_TOGETHER:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _gather(
    path: Path, lines: Iterator[Line], names: list[str], labelled: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64] | None]:
    inputs, labels = [], []
    for chunk in _chunks(lines):
        values = _parse(path, chunk, names)
        _check(path, chunk, names, values, labelled)
        if labelled is not None:
            labels.append(values[:, labelled].astype(np.int64))
            values = np.delete(values, labelled, axis=1)
        bytes_ = values.astype(np.uint8) if values.min() >= 0 and values.max() <= 255 else None
        inputs.append(bytes_ if bytes_ is not None and (bytes_ == values).all() else values.astype(np.float32))
    if not inputs:
        raise bad_file(path, "has a row of names and no others", "is at least one example")
    return np.concatenate(inputs), np.concatenate(labels) if labels else None


def _parse(path: Path, chunk: list[Line], names: list[str]) -> npt.NDArray[np.float64]:
    reason = "its rows and fields do not line up"
    for number, line in chunk:
        if line.count('"') % 2:  # NumPy would go on into the next line, or take the end of the file for the mark
            raise bad_file(path, f"has a quotation mark in line {number} that is not closed there", _WANTED)
    try:
        values = np.loadtxt([line for _, line in chunk], delimiter=",", quotechar='"', comments=None, ndmin=2)
        if values.shape == (len(chunk), len(names)):
            return values
    except ValueError as error:
        reason = one_line(error)
    raise _refusal(path, chunk, names) or bad_file(path, f"cannot be read ({reason})", _WANTED)


def _refusal(path: Path, chunk: list[Line], names: list[str]) -> InputError | None:
    """Return the error that says where the first bad field is, if one is found."""
    for number, line in chunk:
        fields = _fields(line)
        if len(fields) != len(names):
            has = f"{display_path(path)}, line {number}, has {plural(len(fields), 'field')}"
            return InputError(f"{has}; wanted are {len(names)}, as in the first row, separated by commas")
        for column, field in enumerate(fields):
            if not _is_number(field):
                given = brief(field) if field else "empty"
                return InputError(f"{_place(path, number, names, column)} is {given}; wanted is a number")
    return None


def _check(
    path: Path, chunk: list[Line], names: list[str], values: npt.NDArray[np.float64], labelled: int | None
) -> None:
    right = np.abs(values) <= np.finfo(np.float32).max  # NaN is not
    if labelled is not None:
        column = values[:, labelled]
        right[:, labelled] = (column >= 0) & (column <= LARGEST_LABEL) & (column == np.trunc(column))
    if not right.all():
        row, wrong = np.argwhere(~right)[0]
        place = _place(path, chunk[row][0], names, wrong)
        kind = f"label, from 0 to {LARGEST_LABEL}" if wrong == labelled else "finite number within float32"
        whole = "whole number as " if wrong == labelled else ""
        raise InputError(f"{place} is {values[row, wrong]:g}; wanted is a {whole}{kind}")


def _label_column(path: Path, names: list[str] | None, width: int, label: str | None, last: bool) -> int | None:
    if label is None:
        if last and width < 2:
            raise bad_file(path, "has 1 column", "are inputs, and labels in the last column, separated by commas")
        return width - 1 if last else None
    if names is None:
        raise bad_file(
            path, f"has no row of names, so no column {brief(label)}", "is one, or labels in the last column"
        )
    if names.count(label) != 1:
        near = difflib.get_close_matches(label, [name[:60] for name in names[:1000]], n=1)
        hint = f"did you mean {brief(near[0])}? " if near and near[0] != label else ""
        few = ", ".join(truncate(name, 40) for name in names[:8]) + (", …" if len(names) > 8 else "")
        count = f"{names.count(label)} columns" if label in names else "no column"
        raise InputError(f"{display_path(path)} has {count} {brief(label)}; {hint}valid: {_printable(few)}")
    if width < 2:
        raise bad_file(path, f"has no column but {brief(label)}", "are inputs beside it")
    return names.index(label)


def _fields(line: str) -> list[str]:
    return [field.strip() for field in next(csv.reader([line]))]


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field  # which float takes, and no writer of csv


def _place(path: Path, number: int, names: list[str], column: Any) -> str:
    name = f" ({brief(names[column])})" if names[column] else ""
    return f"{display_path(path)}, line {number}, column {column + 1}{name}"


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)
