"""Preparation of tables: conversion of their columns to the inputs of a network, and of their label column to targets.

A `Preparation` is fitted on training examples. A network can have a preparation, which is saved in its model file.
Tables are then prepared for predictions exactly as they were for training.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.table_files import Table, as_table
from fastbp.datasets.targets import REGRESSION, TASKS, Target, as_texts, numbers
from fastbp.errors import InputError, brief, choose, plural, truncate
from fastbp.files.reading import field

NUMBER, BOOLEAN, CATEGORIES = "number", "boolean", "categories"

_CELLS = 2**21  # values prepared at a time, in float64
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Feature:
    """A column of a table, and its conversion to inputs of a network.

    Attributes
    ----------
    name : str
        The name of the column.
    position : int
        The position of the column in the table. Tables without column names are read by position.
    kind : "number", "boolean" or "categories"
        A column of numbers gives one input, (value − offset) · factor. A column of booleans gives one input, 0 or 1. A
        column of categories gives one input per category, which is 1 for the examples of this category and 0 for the
        others.
    offset, factor : float
        The offset and the factor in this formula, for a column of numbers.
    categories : tuple of str
        The categories in the order of their inputs, for a column of categories. Empty for other columns.
    fill : float, str or None
        The value that replaces missing values. None means that a missing value is an error.
    """

    name: str
    position: int
    kind: str
    offset: float = 0.0
    factor: float = 1.0
    categories: tuple[str, ...] = ()
    fill: float | str | None = None

    @property
    def inputs(self) -> int:
        """The number of inputs that the column gives."""
        return len(self.categories) or 1


@dataclass(frozen=True)
class Preparation:
    """The conversion of the rows of a table to the inputs and targets of a network.

    Attributes
    ----------
    features : tuple of Feature
        The input columns, in the order of the inputs.
    target : Target
        The label column, and the meaning of the network's outputs.
    columns, label_position : int
        The number of columns of the table that the preparation was fitted on, and the position of its label column.
    header : bool
        Whether this table had column names. If not, columns are matched by position.
    input_scale : float
        The value for a network's `input_scale`. For pixels, this is 1/255, or 1 over the largest of them if it is at
        most 127. For other inputs, it is 1.

    Examples
    --------
    >>> frame = {"size": [1.0, 2.0, 3.0, 4.0], "colour": ["red", "blue", "red", "blue"], "kind": ["a", "b", "a", "b"]}
    >>> from fastbp.datasets import fit
    >>> preparation = fit(frame, "kind")
    >>> preparation.inputs, preparation.target.classes
    (('size', 'colour=blue', 'colour=red'), ('a', 'b'))
    >>> preparation.transform({"colour": ["red"], "size": [2.5]})
    array([[0.],
           [0.],
           [1.]], dtype=float32)
    """

    features: tuple[Feature, ...]
    target: Target
    columns: int
    label_position: int
    header: bool = True
    input_scale: float = 1.0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs. The inputs of a column of categories are called "column=category"."""
        names = ((f"{f.name}={c}" for c in f.categories) if f.categories else (f.name,) for f in self.features)
        return tuple(name for group in names for name in group)

    def check_sizes(self, sizes: Sequence[int]) -> None:
        """Raise `InputError` unless the first and the last of these layer sizes fit the preparation."""
        needed = (len(self.inputs), self.target.outputs)
        if (sizes[0], sizes[-1]) != needed:
            given = f"got {sizes[0]} and {sizes[-1]}"
            raise InputError(f"the preparation needs {needed[0]} inputs and {needed[1]} outputs, {given}")

    def transform(self, frame: Any, rows: Rows | None = None) -> npt.NDArray[Any]:
        """Return the inputs for a table, one example per column.

        Parameters
        ----------
        frame : object with named columns, or Table
            One example per row. Input columns are found by name, in any order. Other columns are ignored.
        rows : ndarray of int64, optional
            The indices of the rows to convert. By default, all rows are converted.

        Returns
        -------
        ndarray of shape (n_0, n)
            The inputs, in uint8 if all columns are bytes that need no scaling, and in float32 otherwise.

        Raises
        ------
        InputError
            If an input column is missing, if a value is missing in a column without a `fill` value, or if a value has
            the wrong kind, such as text in a column of numbers.
        """
        table = frame if isinstance(frame, Table) else as_table(frame)
        rows = np.arange(len(table.frame)) if rows is None else rows
        names = self._columns_of(table)
        columns = table.frame[names]
        if self._keeps_bytes() and all(dtype == np.uint8 for dtype in columns.dtypes):
            return np.ascontiguousarray(columns.iloc[rows].to_numpy(np.uint8)).T
        inputs = np.empty((len(rows), len(self.inputs)), np.float32)
        step = max(1, _CELLS // inputs.shape[1])
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            self._fill_in(inputs[part], table, names, rows[part])
        return inputs.T

    def labels(self, frame: Any, rows: Rows | None = None) -> npt.NDArray[Any]:
        """Return the labels for training: class numbers of shape (n,), or scaled targets of shape (1, n)."""
        table = frame if isinstance(frame, Table) else as_table(frame)
        rows = np.arange(len(table.frame)) if rows is None else rows
        target = replace(self.target, name=self.label_of(table))
        labels = target.labels(table, rows)
        if target.task != REGRESSION:
            return labels
        if (missing := np.flatnonzero(np.isnan(labels))).size:
            raise table.bad_value(int(rows[missing[0]]), target.name, "a number", "is empty")
        return ((labels - target.offset) * target.factor)[None]

    def label_of(self, table: Table) -> str:
        """Return the name of the label column in a table; raise `InputError` if the table does not have it."""
        columns = list(table.frame.columns)
        if self.header and table.header:
            if self.target.name not in columns:
                raise InputError(f"{table.where} has no column {brief(self.target.name)}, which is the label")
            return self.target.name
        if len(columns) != self.columns:
            expected = f"{self.columns}, with the label at position {self.label_position}"
            raise InputError(f"{table.where} has {plural(len(columns), 'column')}; expected {expected}")
        return str(columns[self.label_position])

    def ignored(self, table: Table) -> list[str]:
        """Return the names of the columns of a table that are neither inputs nor the label."""
        used = {*self._columns_of(table), self.target.name}
        return [name for name in table.frame.columns if name not in used] if self.header and table.header else []

    @property
    def texts(self) -> frozenset[str]:
        """The names of the columns of categories. `read_table` must not convert their values to numbers."""
        return frozenset(f.name for f in self.features if f.kind == CATEGORIES)

    def summary(self) -> list[str]:
        """Return a readable description: one line for the label, and one for each of the first twenty input columns."""
        target = self.target
        meaning = f"classes {', '.join(target.classes)}" if target.classes else "a number"
        lines = [f"label  {target.name}: {target.task}, {truncate(meaning, 200)}"]
        shown = [f"input  {_described(feature)}" for feature in self.features[:20]]
        rest = len(self.features) - len(shown)
        scale = [f"input  scaled by 1/{1 / self.input_scale:g}"] if self.input_scale != 1.0 else []
        return lines + shown + ([f"input  … and {rest} more columns"] if rest else []) + scale

    def description(self) -> dict[str, Any]:
        """Return the preparation as a dictionary that can be written as JSON; `from_description` is the inverse."""
        return asdict(self)

    def _keeps_bytes(self) -> bool:
        return all(f.kind == NUMBER and (f.offset, f.factor) == (0.0, 1.0) for f in self.features)

    def _columns_of(self, table: Table) -> list[str]:
        """Return the names that the input columns have in a table, in the order of the features."""
        columns = list(table.frame.columns)
        if self.header and table.header:
            there = set(columns)
            missing = [f.name for f in self.features if f.name not in there]
            if missing:
                named = ", ".join(brief(name) for name in missing[:8]) + (", …" if len(missing) > 8 else "")
                word = "column" if len(missing) == 1 else "columns"
                raise InputError(f"{table.where} has no {word} {named}, which the network needs as input")
            return [f.name for f in self.features]
        if len(columns) == self.columns - 1:  # the table has no label column
            columns.insert(self.label_position, "")
        if len(columns) != self.columns:
            expected = f"{self.columns - 1}, or {self.columns} with the label, as in the table of the training"
            raise InputError(f"{table.where} has {plural(len(columns), 'column')}; expected {expected}")
        return [columns[f.position] for f in self.features]

    def _fill_in(self, inputs: npt.NDArray[np.float32], table: Table, names: list[str], rows: Rows) -> None:
        """Write the inputs for the given rows into the array `inputs`, one example per row."""
        frame = table.frame[names]
        if all(f.kind == NUMBER for f in self.features) and all(map(is_plain, frame.dtypes)):
            values = frame.iloc[rows].to_numpy(np.float64)
            if np.isfinite(values).all():
                offsets, factors = (np.array([getattr(f, a) for f in self.features]) for a in ("offset", "factor"))
                np.multiply(values - offsets, factors, out=inputs, casting="unsafe")
                return
        j = 0
        for feature, name in zip(self.features, names, strict=True):
            inputs[:, j : j + feature.inputs] = _inputs_of(feature, table, name, rows)
            j += feature.inputs


def check_preparation(preparation: Preparation | None, sizes: Sequence[int]) -> None:
    """Raise `InputError` unless a preparation fits the layer sizes of a network, or is None."""
    if preparation is not None:
        if not isinstance(preparation, Preparation):
            raise InputError(f"preparation must be a fastbp.datasets.Preparation, got {brief(preparation)}")
        preparation.check_sizes(sizes)


def from_description(description: Mapping[str, Any]) -> Preparation:
    """Return the preparation for a description from a file; raise `InputError` if the description is not valid."""
    target = field(description, "target", dict)
    features = field(description, "features", list)
    if not features or not all(isinstance(feature, dict) for feature in features):
        raise InputError("'features' in its description must be a list of columns")
    made = Preparation(
        tuple(_feature_from(feature) for feature in features),
        Target(
            field(target, "name", str), field(target, "task", str), _names(target, "classes"),
            field(target, "offset", float), field(target, "factor", float),
        ),
        field(description, "columns", int),
        field(description, "label_position", int),
        field(description, "header", bool),
        field(description, "input_scale", float),
    )  # fmt: skip
    choose("task", made.target.task, dict.fromkeys(TASKS))
    positions = [made.label_position, *(feature.position for feature in made.features)]
    if not all(0 <= position < made.columns for position in positions) or made.target.factor == 0.0:
        raise InputError("the preparation in its description is not valid")
    return made


def _feature_from(description: Mapping[str, Any]) -> Feature:
    kind = field(description, "kind", str)
    choose("kind", kind, dict.fromkeys((NUMBER, BOOLEAN, CATEGORIES)))
    fill = description.get("fill")
    if not (fill is None or isinstance(fill, str if kind == CATEGORIES else float)):
        raise InputError(f"'fill' in its description is not valid: {brief(fill)}")
    return Feature(
        field(description, "name", str), field(description, "position", int), kind,
        field(description, "offset", float), field(description, "factor", float),
        _names(description, "categories"), fill,
    )  # fmt: skip


def _names(description: Mapping[str, Any], name: str) -> tuple[str, ...]:
    names = field(description, name, list)
    if not all(isinstance(text, str) for text in names):
        raise InputError(f"{name!r} in its description must be a list of texts")
    return tuple(names)


def _inputs_of(feature: Feature, table: Table, name: str, rows: Rows) -> npt.NDArray[np.float64]:
    """Return the inputs that a column gives for the given rows, as an array of shape (rows, inputs)."""
    if feature.kind == CATEGORIES:
        import pandas as pd

        texts = as_texts(table.frame[name].iloc[rows])
        gone = np.array([text is None for text in texts])
        _refuse_missing(feature, table, name, rows, gone)
        texts[gone] = feature.fill
        codes = pd.Index(np.array(feature.categories, object)).get_indexer(texts)
        if (unknown := np.flatnonzero(codes < 0)).size:
            place, _ = table.place(int(rows[unknown[0]]), name)
            given = f"{table.where}: {place} is {brief(texts[unknown[0]])}"
            more = f" (and {unknown.size - 1:,} more)" if unknown.size > 1 else ""
            logging.getLogger("fastbp").warning(f"{given}{more}, not in the training examples: its inputs are 0")
        return np.asarray(codes[:, None] == np.arange(len(feature.categories)), np.float64)
    values = (booleans if feature.kind == BOOLEAN else numbers)(table, name, rows)
    gone = np.isnan(values)
    _refuse_missing(feature, table, name, rows, gone)
    if gone.any():
        values = values.copy()
        values[gone] = feature.fill
    return ((values - feature.offset) * feature.factor)[:, None]


def _refuse_missing(feature: Feature, table: Table, name: str, rows: Rows, gone: npt.NDArray[np.bool_]) -> None:
    if feature.fill is None and gone.any():
        expected = "a value, because the network was trained without missing ones in this column"
        raise table.bad_value(int(rows[np.flatnonzero(gone)[0]]), name, expected)


def booleans(table: Table, name: str, rows: Rows) -> npt.NDArray[np.float64]:
    """Return a column of booleans as the numbers 0 and 1, with NaN for missing values."""
    texts = as_texts(table.frame[name].iloc[rows])
    meaning = {"true": 1.0, "1": 1.0, "false": 0.0, "0": 0.0, "none": np.nan}
    values = np.array([meaning.get(str(text).lower(), np.inf) for text in texts])
    if (wrong := np.flatnonzero(np.isinf(values))).size:
        raise table.bad_value(int(rows[wrong[0]]), name, "True or False")
    return values


def is_plain(dtype: Any) -> bool:
    """Return whether a dtype is an integer or float type of NumPy, and not one of pandas with missing values."""
    return isinstance(dtype, np.dtype) and dtype.kind in "iuf"


def _described(feature: Feature) -> str:
    if feature.kind == CATEGORIES:
        text = f"one of {truncate(', '.join(feature.categories), 120)}"
    elif feature.kind == BOOLEAN:
        text = "boolean"
    else:
        scaled = f", (value - {feature.offset:g}) * {feature.factor:g}"
        text = "number" + (scaled if (feature.offset, feature.factor) != (0.0, 1.0) else "")
    filled = f"{feature.fill:g}" if isinstance(feature.fill, float) else brief(feature.fill)
    fill = "" if feature.fill is None else f", {filled} if missing"
    return f"{feature.name}: {text}{fill}"
