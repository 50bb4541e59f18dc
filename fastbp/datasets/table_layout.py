"""Detection of the layout of a table in text form: its separator, its decimal mark and its column names."""

import csv
from typing import NamedTuple

from fastbp.datasets.table_fields import (
    MISSING,
    MISSING_AMONG_NUMBERS,
    has_decimal_comma,
    is_grouped,
    is_number,
    like_numbers,
)

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", " ": "spaces"}
"""The separators that are recognised, and their names in messages."""


class Layout(NamedTuple):
    """The separator and the decimal mark of a table, whether its first row has column names, and these names.

    Without a row of names, the columns are called "column 0", "column 1" and so on.
    """

    separator: str
    decimal: str
    header: bool
    names: tuple[str, ...]


def find_layout(lines: list[str], header: bool | None = None) -> Layout:
    r"""Return the layout of a table that begins with the given lines, none of which is empty.

    `header` says whether the first line has the names of the columns. By default, `has_header` decides this.

    >>> find_layout(["size;kind\n", "1,5;a\n", "2,5;b\n"])
    Layout(separator=';', decimal=',', header=True, names=('size', 'kind'))
    """
    separator = _separator(lines)
    rows = split(lines, separator)
    decimal = "," if separator != "," and _has_decimal_commas(rows) else "."
    if decimal == ",":
        rows = [[f.replace(",", ".") if has_decimal_comma(f) else f for f in row] for row in rows]
    named = has_header(rows, decimal) if header is None else header
    return Layout(separator, decimal, named, tuple(rows[0]) if named else default_names(len(rows[0])))


def default_names(count: int) -> tuple[str, ...]:
    """Return names for the columns of a table without column names."""
    return tuple(f"column {j}" for j in range(count))


def split(lines: list[str], separator: str) -> list[list[str]]:
    """Return the fields of each line, without the spaces around them."""
    if separator == " ":
        return [line.split() for line in lines]
    return [[field.strip() for field in row] for row in csv.reader(lines, delimiter=separator, skipinitialspace=True)]


def has_header(rows: list[list[str]], decimal: str = ".") -> bool:
    """Return whether the first of the given rows has the names of the columns.

    It has names if it counts 0, 1, 2, … or 1, 2, 3, …, as pandas does by default, and the second row does not count.
    Otherwise, the columns that have only numbers below the first row decide. The first row has names if it has text in
    at least one of these columns. If there are no such columns, it has names if all of its fields differ, none of them
    is a number or empty (except that the very first may be empty), and none of them occurs again in its column. If
    there is only one row, it has names if at least one of its fields is text.

    >>> has_header([["length", "species"], ["5.1", "setosa"]]), has_header([["5.1", "setosa"], ["4.9", "setosa"]])
    (True, False)
    """
    first, below = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    texts = [
        not (field in MISSING or field in MISSING_AMONG_NUMBERS or like_numbers([field], decimal)) for field in first
    ]
    if not below:
        return any(texts)
    if _counts(first) and not _counts(below[0]):
        return True
    columns = list(zip(*below, strict=True))
    numeric = [like_numbers(column, decimal) for column in columns]
    if any(numeric):
        return any(number and text for text, number in zip(texts, numeric, strict=True))
    if any(map(is_number, first)) or "" in first[1:]:
        return False
    return len(set(first)) == len(first) and not any(f in column for f, column in zip(first, columns, strict=True))


def _counts(row: list[str]) -> bool:
    return len(row) > 2 and row in ([str(j + start) for j in range(len(row))] for start in (0, 1))


def _separator(lines: list[str]) -> str:
    """Return the separator that divides the most lines into the same number of fields, at least two; otherwise a comma.

    If several separators fit equally many lines, the first of them in `SEPARATORS` is returned. A comma counts only
    half if the first line also has semicolons, tabs or vertical bars, because it is then probably a decimal mark. The
    separator need not fit all lines. Errors can then name the lines that it does not fit.
    """
    best, most = ",", 0.0
    for separator in SEPARATORS:
        try:
            counts = [len(row) for row in split(lines, separator)]
        except csv.Error:
            continue
        width = max(set(counts), key=counts.count) if counts else 0
        share = counts.count(width) / len(counts) if width > 1 else 0.0
        if separator == "," and share and any(len(split(lines[:1], s)[0]) > 1 for s in ";\t|"):
            share *= 0.5  # "1,5;2,5" has two commas in each row
        if share > most:
            best, most = separator, share
    return best


def _has_decimal_commas(rows: list[list[str]]) -> bool:
    """Return whether the decimal mark is a comma.

    It is, if more numbers have one comma than have a point. A comma in front of three digits may also be a thousands
    separator. If all commas are, such fields do not count when other numbers have a point or two commas.
    """
    fields = [field for row in rows for field in row]
    with_comma = [field for field in fields if has_decimal_comma(field)]
    with_point = sum("." in field and is_number(field) for field in fields)
    if all(map(is_grouped, with_comma)):
        return bool(with_comma) and not with_point and not any(f.count(",") > 1 and is_grouped(f) for f in fields)
    return len(with_comma) > with_point
