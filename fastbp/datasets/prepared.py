"""Conversion of your own file or folder to examples for a network.

`prepare` chooses the label column, splits the examples, and fits the scaling on the training examples alone.
`Prepared.said` describes these choices, so that a user can check them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.fit_features import complete_rows, fit_on_rows, without_columns
from fastbp.datasets.preparation import BOOLEAN, CATEGORIES, NUMBER, Preparation
from fastbp.datasets.rows_and_labels import Advance
from fastbp.datasets.sources import Rows, Source, read_source
from fastbp.datasets.splits import stratified
from fastbp.datasets.table_files import Table
from fastbp.datasets.targets import REGRESSION, Target, describe, fit_target, label_column
from fastbp.errors import InputError, plural
from fastbp.files.reading import StrPath

Examples = tuple[npt.NDArray[Any], npt.NDArray[Any]]


@dataclass(frozen=True)
class Prepared:
    """Examples for a network, and the preparation that made them.

    Attributes
    ----------
    training, validation, test : tuple of ndarray
        Inputs of shape (n_0, n), and labels of shape (n,) or scaled targets of shape (1, n). The validation set and the
        test set may be empty.
    preparation : Preparation
        The preparation, fitted on the training examples.
    said : tuple of str
        Lines of text about the label column, the columns that were left out, and the scaling.
    """

    training: Examples
    validation: Examples
    test: Examples
    preparation: Preparation
    said: tuple[str, ...]


def prepare(
    path: StrPath,
    label: str | int | None = None,
    *,
    task: str | None = None,
    header: bool | None = None,
    scale: str | None = None,
    missing: str | None = None,
    drop: Sequence[str | int] = (),
    seed: int = 0,
    advance: Advance | None = None,
) -> Prepared:
    """Read examples from a file or a folder of images, split them, and prepare them for a network.

    A tenth of the examples is the validation set, and another tenth is the test set. Each class is split in the same
    proportions. If an .npz archive has its own training and test sets, these are used instead.

    Parameters
    ----------
    path : str or os.PathLike
        A table (see `read_table`), an .npz or .npy file, or a folder with a sub-folder of images for each class.
    label, task, scale, missing, drop
        See `fit`.
    header : bool, optional
        Whether the first row of a table in text form has column names; see `read_table`.
    seed : int
        Seed of the split.
    advance : callable, optional
        A function that is called with the number of bytes read since its last call.

    Returns
    -------
    Prepared
        The three sets of examples, and their preparation.

    Raises
    ------
    InputError
        If the data cannot be read, if the label column is ambiguous, or if a column or a value cannot be used.
    """
    source = read_source(path, label=label, header=header, advance=advance)
    table = without_columns(source.table, drop)
    name, why = (source.label, "from the file") if source.label else label_column(table, label)
    rows = complete_rows(table, missing, name)
    target = fit_target(table, name, task, rows)
    parts = _split(source, target, rows, seed)
    preparation = fit_on_rows(table, target, parts[0], rows, scale, missing)
    training, validation, test = (
        (preparation.transform(table, part), preparation.labels(table, part)) for part in parts
    )
    said = [*table.notes, describe(target, table, rows, why), *_inputs_lines(preparation, table, scale)]
    said += _missing_lines(table, rows, preparation, missing)
    return Prepared(training, validation, test, preparation, tuple(said))


def _split(source: Source, target: Target, rows: Rows, seed: int) -> tuple[Rows, Rows, Rows]:
    """Return the indices of the rows for training, validation and test."""
    if source.parts is None:
        training, validation, test = (rows[part] for part in _deal(source.table, target, rows, (0.1, 0.1), seed))
    else:
        training, validation, test = (np.intersect1d(part, rows) for part in source.parts)
        if not len(validation):
            dealt = _deal(source.table, target, training, (0.1,), seed)
            training, validation = (training[part] for part in dealt)
    if not len(training):
        raise InputError(f"{source.table.where} has no examples for training")
    return training, validation, test


def _deal(table: Table, target: Target, rows: Rows, shares: tuple[float, ...], seed: int) -> list[Rows]:
    """Split rows at random into one part per share, after a first part that has all remaining rows.

    The parts are arrays of indices into `rows`. For classification, each class is split in the same proportions.
    """
    groups = np.zeros(len(rows), np.int64) if target.task == REGRESSION else target.labels(table, rows)
    return stratified(groups, shares, seed)


def _inputs_lines(preparation: Preparation, table: Table, scale: str | None) -> list[str]:
    """Return lines about the inputs: their scaling, and the columns that do not have numbers."""
    columns, inputs = len(preparation.features), len(preparation.inputs)
    if preparation.input_scale != 1.0:
        how = f"whole numbers up to {1 / preparation.input_scale:g} in {columns} columns: pixels, scaled to 0 ... 1"
    else:
        how = {
            "standard": "numbers scaled to mean 0 and standard deviation 1, column by column",
            "minmax": "numbers scaled to 0 ... 1, column by column",
            "max": "numbers divided by the largest absolute value of their column",
            "none": "numbers not scaled",
        }[scale or "standard"]
    texts = [f"{table.column(f.name)} ({len(f.categories)})" for f in preparation.features if f.kind == CATEGORIES]
    booleans = [table.column(f.name) for f in preparation.features if f.kind == BOOLEAN]
    others = [("text as categories", texts), ("true or false", booleans)]
    lines = [f"{what}: {', '.join(names[:8])}{', ...' * (len(names) > 8)}" for what, names in others if names]
    return [f"inputs: {inputs:,} from {plural(columns, 'column')}; {how}", *lines]


def _missing_lines(table: Table, rows: Rows, preparation: Preparation, missing: str | None) -> list[str]:
    lines = []
    if left_out := len(table.frame) - len(rows):
        counts = table.frame.isna().sum()
        most, count = (table.column(counts.idxmax()), counts.max()) if missing == "drop" else ("the label", left_out)
        lines = [
            f"missing values: {left_out:,} of {len(table.frame):,} rows left out, {count:,} of them because of {most}"
        ]
    filled = [feature for feature in preparation.features if feature.fill is not None]
    names = ", ".join(table.column(feature.name) for feature in filled[:8]) + (", ..." if len(filled) > 8 else "")
    numeric = all(feature.kind == NUMBER for feature in filled)
    most = "" if numeric else "; in text and booleans by the most frequent value"
    return [*lines, f"missing values replaced by the {missing}{most}: {names}"] if filled else lines
