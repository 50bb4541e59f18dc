"""Fitting of a `Preparation`: the kind and scaling of each column of a table, and the replacement of missing values."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.preparation import BOOLEAN, CATEGORIES, NUMBER, Feature, Preparation, Rows, booleans, is_plain
from fastbp.datasets.table_fields import has_unit, is_date, is_grouped, is_number, is_time
from fastbp.datasets.table_files import Table, as_table
from fastbp.datasets.targets import REGRESSION, Target, as_texts, find_column, fit_target, label_column, numbers
from fastbp.errors import InputError, brief, choose

SCALES = ("standard", "minmax", "max", "none")
FILLS = ("mean", "median", "drop")
MOST_CATEGORIES = 100
_MANY = 10  # texts from which on most of them decide what a column has
PIXEL_COLUMNS = 64
"""The fewest input columns that are taken as pixels, if all of their values are integers from 0 to 255."""


def fit(
    frame: Any,
    label: str | int | None = None,
    *,
    task: str | None = None,
    scale: str | None = None,
    missing: str | None = None,
    drop: Sequence[str | int] = (),
) -> Preparation:
    """Return the preparation of a table, fitted on all of its rows.

    Parameters
    ----------
    frame : object with named columns, or Table
        One example per row: a DataFrame of pandas or polars, a table of pyarrow, or a mapping from names to columns.
    label : str or int, optional
        The name or the position of the label column. By default, it is the column called label, target, class or y. If
        there is no such column, it is the last one.
    task : "classification" or "regression", optional
        Whether the label column has classes, or numbers that are to be predicted. By default, text, booleans and a few
        different integers are classes, and other numbers are to be predicted.
    scale : "standard", "minmax", "max" or "none", optional
        The scaling of each column of numbers. "standard" gives mean 0 and standard deviation 1. "minmax" gives the
        range from 0 to 1. "max" divides by the largest absolute value. "none" leaves the numbers unchanged. The default
        is "standard", with one exception. If there are 64 input columns or more, and all of their values are integers
        from 0 to 255, they are taken as pixels. Pixels are divided by 255, or by the largest of them if it is at most
        127.
    missing : "mean", "median" or "drop", optional
        What to do with missing values. "mean" and "median" replace them in columns of numbers. In other columns, the
        most frequent value replaces them. "drop" leaves out the examples that have missing values. By default, a
        missing value is an error. Rows without a label are left out if this argument is given.
    drop : sequence of str or int
        Names or positions of columns to leave out.

    Returns
    -------
    Preparation
        The preparation, fitted on all rows.

    Raises
    ------
    InputError
        If an argument is invalid, or if a column cannot be used. An input column cannot be used if it has dates, more
        than 100 different texts, or no values at all. A missing value is an error unless `missing` is given.
    """
    table = without_columns(frame if isinstance(frame, Table) else as_table(frame, "frame"), drop)
    name, _ = label_column(table, label)
    rows = complete_rows(table, missing, name)
    return fit_on_rows(table, fit_target(table, name, task, rows), rows, rows, scale, missing)


def without_columns(table: Table, drop: Iterable[str | int]) -> Table:
    """Return the table without the columns whose names or positions are in `drop`."""
    names = [find_column(table, column) for column in drop]
    return replace(table, frame=table.frame.drop(columns=names)) if names else table


def complete_rows(table: Table, missing: str | None, label: str) -> Rows:
    """Return the indices of the rows that are used.

    These are all rows if `missing` is None, the rows with a label if it is "mean" or "median", and the rows without any
    missing value if it is "drop".
    """
    if missing is None:
        return np.arange(len(table.frame))
    choose("missing", missing, dict.fromkeys(FILLS))
    needed = table.frame if missing == "drop" else table.frame[[label]]
    rows = np.flatnonzero(~needed.isna().any(axis=1).to_numpy())
    if not rows.size:
        raise InputError(f"{table.where} has no row without a missing value; choose --missing mean or median")
    return rows


def fit_on_rows(
    table: Table, target: Target, training: Rows, everything: Rows, scale: str | None, missing: str | None
) -> Preparation:
    """Return a preparation that is fitted on the training rows.

    `training` has the indices of these rows. `everything` has the indices of all rows that are used, and includes the
    training rows. All rows in `everything` are checked for missing and invalid values.
    """
    if scale is not None:
        choose("scale", scale, dict.fromkeys(SCALES))
    columns = list(table.frame.columns)
    names = [name for name in columns if name != target.name]
    place = {name: position for position, name in enumerate(columns)}
    pixel_scale = _pixel_scale(table.frame[names], training) if scale is None else None
    if pixel_scale is not None and all(dtype.kind in "iu" and is_plain(dtype) for dtype in table.frame[names].dtypes):
        features = [Feature(name, place[name], NUMBER) for name in names]  # without a look at each column
    else:
        chosen = "none" if pixel_scale is not None else scale or "standard"
        kinds = _kinds(table, names, training, everything)
        features = [
            _fit_feature(table, name, place[name], kinds[name], training, everything, chosen, missing) for name in names
        ]
    if target.task == REGRESSION:
        values = target.labels(table, training)
        spread = float(values.std())
        target = replace(target, offset=float(values.mean()), factor=1 / spread if spread > 0 else 1.0)
    return Preparation(tuple(features), target, len(columns), place[target.name], table.header, pixel_scale or 1.0)


def _pixel_scale(frame: Any, training: Rows) -> float | None:
    """Return the factor that scales the columns if they are pixels in the training rows, and None otherwise.

    The factor is 1/255. If no value is above 127, it is 1 over the largest value.
    """
    if frame.shape[1] < PIXEL_COLUMNS or not all(map(is_plain, frame.dtypes)):
        return None
    seen = frame.iloc[training].to_numpy()
    if not (seen.min() >= 0 and seen.max() <= 255):  # also for NaN
        return None
    if seen.dtype.kind == "f" and not (seen == np.trunc(seen)).all():
        return None
    largest = int(seen.max())
    return 1.0 / (255 if largest > 127 or largest == 0 else largest)


class _UnusableColumnError(InputError):
    """A column cannot be an input. `found` is the reason, a clause such as "has dates"; `advice` is what to do."""

    def __init__(self, where: str, name: str, found: str, advice: str = "") -> None:
        super().__init__(f"{where} {found}; {advice}leave it out: {_drop_option(name)}")
        self.found = found


def _kinds(table: Table, names: list[str], training: Rows, everything: Rows) -> dict[str, str]:
    """Return the kind of each column; raise `InputError` with the names of all columns that cannot be inputs."""
    kinds: dict[str, str] = {}
    unusable: dict[str, _UnusableColumnError] = {}
    for name in names:
        try:
            kinds[name] = _kind(table, name, training, everything)
        except _UnusableColumnError as error:
            unusable[name] = error
    if len(unusable) == 1:
        raise next(iter(unusable.values()))
    if unusable:
        listed = "; ".join(f"{table.column(name)} {error.found}" for name, error in list(unusable.items())[:8])
        more = f"; and {len(unusable) - 8} more" if len(unusable) > 8 else ""
        drops = " ".join(map(_drop_option, unusable))
        raise InputError(
            f"{table.where}: {len(unusable)} columns cannot be inputs: {listed}{more}; leave them out: {drops}"
        )
    return kinds


def _drop_option(name: str) -> str:
    return f"--drop {shlex.quote(name) if name.isprintable() and len(name) <= 60 else brief(name)}"


def _fit_feature(
    table: Table, name: str, position: int, kind: str, training: Rows, everything: Rows, scale: str, missing: str | None
) -> Feature:
    """Return the feature for one column of a kind; raise `InputError` if a value is missing or cannot be used."""
    column = table.frame[name]
    gone = np.flatnonzero(column.iloc[everything].isna().to_numpy())
    if gone.size and missing is None:
        expected = "a value; for tables with missing values: --missing mean, median or drop"
        raise table.bad_value(int(everything[gone[0]]), name, expected)
    if kind == NUMBER:
        values = numbers(table, name, training)
        values = values[~np.isnan(values)]
        numbers(table, name, everything)  # raises an error for infinity in the rows not used for training
        fill = float(np.median(values) if missing == "median" else values.mean()) if gone.size else None
        return Feature(name, position, kind, *_offset_and_factor(values, scale), (), fill)
    if kind == BOOLEAN:
        values = booleans(table, name, training)
        return Feature(name, position, kind, fill=float(np.nanmean(values) >= 0.5) if gone.size else None)
    texts = as_texts(column.iloc[training].dropna())
    categories, counts = np.unique(texts.astype(str), return_counts=True)
    most = str(categories[counts.argmax()]) if gone.size else None
    return Feature(name, position, kind, categories=tuple(map(str, categories)), fill=most)


def _offset_and_factor(values: npt.NDArray[np.float64], scale: str) -> tuple[float, float]:
    """Return the offset to subtract from the values of a column, and the factor to multiply the difference by."""
    low, high = float(values.min()), float(values.max())
    offset, spread = {
        "standard": (float(values.mean()), float(values.std())),
        "minmax": (low, high - low),
        "max": (0.0, max(high, -low)),
        "none": (0.0, 1.0),
    }[scale]
    constant = low == high and scale in ("standard", "minmax")  # its standard deviation may be a rounding error
    return offset, 1.0 if constant or spread == 0.0 else 1.0 / spread


def _kind(table: Table, name: str, training: Rows, rows: Rows) -> str:
    """Return the kind of a column; raise `InputError` if it cannot be an input."""
    column = table.frame[name]
    where = f"{table.where}: {table.column(name)}"
    if column.iloc[training].isna().all():
        raise _UnusableColumnError(where, name, "has no values")
    if column.dtype.kind in "biuf":
        return BOOLEAN if column.dtype.kind == "b" else NUMBER
    values = column.iloc[rows].dropna()
    if column.dtype.kind == "O" and all(isinstance(value, (bool, np.bool_)) for value in values):
        return BOOLEAN
    texts = list(dict.fromkeys(as_texts(values.drop_duplicates())))
    such = f"such as {brief(texts[0])}"
    if column.dtype.kind == "M" or all(map(is_date, texts)):
        advice = "replace them by numbers, such as year and month, or the days since a first day, or "
        raise _UnusableColumnError(where, name, f"has dates, {such}", advice)
    if column.dtype.kind == "m" or all(map(is_time, texts)):
        raise _UnusableColumnError(where, name, f"has times, {such}", "replace them by numbers, such as minutes, or ")
    if column.dtype.kind == "c":
        raise InputError(f"{where} has complex numbers; expected real numbers, text or booleans")
    if len(texts) > _MANY and all(map(has_unit, texts)):
        raise _UnusableColumnError(where, name, f"has numbers with a unit, {such}", "write the numbers alone, or ")
    wrong = [text for text in texts if not (is_number(text) or is_grouped(text))]
    if len(texts) > _MANY and len(wrong) < 0.2 * len(texts):
        row = int(rows[np.flatnonzero(as_texts(column.iloc[rows]) == wrong[0])[0]])
        raise table.bad_value(row, name, f"a number, as in most rows; or leave the column out: {_drop_option(name)}")
    if len(texts) > MOST_CATEGORIES:
        raise _UnusableColumnError(
            where, name, f"has {len(texts):,} different texts, {such}, more than {MOST_CATEGORIES}"
        )
    return CATEGORIES
