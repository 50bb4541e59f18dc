"""The label column of a table: which column it is, and whether its values are classes or numbers."""

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.table_files import Table
from fastbp.errors import InputError, brief, choose, truncate
from fastbp.files.reading import bad_file

CLASSIFICATION, REGRESSION = "classification", "regression"
TASKS = (CLASSIFICATION, REGRESSION)
LABEL_NAMES = ("label", "target", "class", "y")
"""If the user chooses no label column, it is the column with one of these names, in upper or lower case."""

MOST_CLASSES = 1000
_FEW_CLASSES = 20


@dataclass(frozen=True)
class Target:
    """What a network predicts: the classes or the numbers in one column.

    Attributes
    ----------
    name : str
        The name of the label column.
    task : "classification" or "regression"
        Whether the column has classes or numbers.
    classes : tuple of str
        The names of the classes, in the order of the outputs. Empty for regression.
    offset, factor : float
        For regression, the target of the network is (value − offset) · factor. Both are fitted on training examples.
    """

    name: str
    task: str
    classes: tuple[str, ...] = ()
    offset: float = 0.0
    factor: float = 1.0

    @property
    def outputs(self) -> int:
        """The number of outputs that a network needs: one per class, or one for regression."""
        return len(self.classes) or 1

    def labels(self, table: Table, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return the labels of the given rows: class numbers (int64), or the numbers in the column (float64).

        Offset and factor are not applied. Raises `InputError` for a value that is not one of the classes, or not a
        number.
        """
        if self.task == REGRESSION:
            return numbers(table, self.name, rows)
        texts = as_texts(table.frame[self.name].iloc[rows])
        labels = _index(self.classes).get_indexer(texts)
        if (labels < 0).any():
            row = int(rows[np.flatnonzero(labels < 0)[0]])
            raise table.bad_value(row, self.name, f"one of the classes {_listed(self.classes)}")
        return np.asarray(labels, np.int64)

    def answers(self, outputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the predictions for outputs of shape (n_L, m): names of classes, or numbers in the unit of the column.

        If the names of all classes are integers, they are returned as int64.
        """
        if self.task == REGRESSION:
            return np.asarray(outputs[0], np.float64) / self.factor + self.offset
        answers: npt.NDArray[Any] = self.answers_by_class()[np.asarray(outputs).argmax(axis=0)]
        return answers

    def answers_by_class(self) -> npt.NDArray[Any]:
        """Return the names of the classes; if the names of all classes are integers, as int64."""
        names = np.array(self.classes, object)
        return names.astype(np.int64) if all(n.removeprefix("-").isdecimal() for n in self.classes) else names


def label_column(table: Table, label: str | int | None) -> tuple[str, str]:
    """Return the name of the label column, and the reason for this choice as a phrase for messages.

    `label` is the name of a column, or its position, which may be negative. By default, the label column is the one
    called label, target, class or y. If there is no such column, it is the last one. Raises `InputError` if there are
    several such columns, or if the table has only one column.
    """
    names = list(table.frame.columns)
    if len(names) < 2:
        raise InputError(f"{table.where} has 1 column; expected inputs and a label column, separated by commas or tabs")
    if label is not None:
        return find_column(table, label), "as given"
    known = [name for name in names if name.strip().lower() in LABEL_NAMES] if table.header else []
    if len(known) > 1:
        raise InputError(f"{table.where} has the columns {_listed(known)}; choose the label with --label {known[0]}")
    return (known[0], "by its name") if known else (names[-1], "the last column")


def find_column(table: Table, column: str | int) -> str:
    """Return the name of the column with this name or position; raise `InputError` if there is no such column."""
    names = list(table.frame.columns)
    if column in names:
        return str(column)
    text = str(column)
    if text.removeprefix("-").isdecimal() and -len(names) <= int(text) < len(names):
        return str(names[int(text)])
    positions = f"a position from {-len(names)} to {len(names) - 1}"
    if not table.header:
        raise bad_file(table.where, f"has no column names, and so no column {brief(text)}", positions)
    near = difflib.get_close_matches(text[:60], [name[:60] for name in names[:1000]], n=1)
    hint = f"did you mean {brief(near[0])}? " if near else ""
    raise InputError(f"{table.where} has no column {brief(text)}; {hint}valid: {_listed(names)}, or {positions}")


def fit_target(table: Table, label: str, task: str | None, rows: npt.NDArray[np.int64]) -> Target:
    """Return the target for the column `label`, with its classes. Its offset and factor are not fitted yet.

    Without a `task`, text, booleans and a few different integers are classes, and other numbers are to be predicted.
    Raises `InputError` if a value is missing, if there is only one class, if there are too many classes, or if a value
    to be predicted is not a number.
    """
    if task is not None:
        choose("task", task, dict.fromkeys(TASKS))
    column = table.frame[label].iloc[rows]
    if (missing := np.flatnonzero(column.isna().to_numpy())).size:
        expected = "a label; --missing mean, median or drop leaves out such rows"
        raise table.bad_value(int(rows[missing[0]]), label, expected, "is empty")
    chosen = task or _guess(column)
    if chosen == REGRESSION:
        numbers(table, label, rows)
        return Target(label, chosen)
    classes = _classes(column)
    where = f"{table.where}: the label {table.column(label)}"
    if len(classes) < 2:
        expected = "at least 2; choose another column with --label"
        raise InputError(f"{where} has only the value {brief(classes[0])}; expected {expected}")
    if len(classes) > MOST_CLASSES or (len(classes) > 2 and len(classes) > len(rows) / 2):
        numeric = column.dtype.kind in "iuf"
        remedy = (
            "choose --task regression, or another column with --label" if numeric else "choose another with --label"
        )
        raise InputError(
            f"{where} has {len(classes):,} different values in {len(rows):,} rows, too many for classes; {remedy}"
        )
    return Target(label, chosen, classes)


def describe(target: Target, table: Table, rows: npt.NDArray[np.int64], why: str) -> str:
    """Return one line about the label column, such as "label: column 'species' (text), 3 classes: setosa 50, …"."""
    column = table.frame[target.name]
    name = table.column(target.name)
    if target.task == REGRESSION:
        values = numbers(table, target.name, rows)
        spread = f"from {values.min():,.7g} to {values.max():,.7g}"
        return f"label: {name} ({why}), numbers {spread}: regression; --task classification for classes"
    kind = "integers" if column.dtype.kind in "iuf" else "booleans" if column.dtype.kind == "b" else "text"
    counts = np.bincount(target.labels(table, rows), minlength=target.outputs)
    shown = [f"{truncate(c, 30)} {n:,}" for c, n in zip(target.classes[:10], counts, strict=False)]
    rest = ", …" if target.outputs > 10 else ""
    hint = f"; --task {REGRESSION} for numbers" if kind == "integers" and target.outputs > 2 else ""
    return f"label: {name} ({why}; {kind}), {target.outputs:,} classes: {', '.join(shown)}{rest}{hint}"


def numbers(table: Table, name: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return a column as float64, with NaN for missing values; raise `InputError` for text and for infinity."""
    import pandas as pd

    column = table.frame[name].iloc[rows]
    if column.dtype.kind in "buif" and isinstance(column.dtype, np.dtype):
        values = column.to_numpy(np.float64)
    else:
        values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        if (wrong := np.flatnonzero(np.isnan(values) & ~column.isna().to_numpy())).size:
            raise table.bad_value(int(rows[wrong[0]]), name, "a number")
    if (wrong := np.flatnonzero(np.isinf(values))).size:
        raise table.bad_value(int(rows[wrong[0]]), name, "a finite number")
    return np.asarray(values, np.float64)


def as_texts(column: Any) -> npt.NDArray[Any]:
    """Return the values of a column as strings, with None for missing values.

    Whole numbers have no decimal point. Booleans are "True" and "False".
    """
    codes, different = column.factorize()  # the code of missing values is −1
    if column.dtype.kind == "f":
        different = [int(value) if float(value).is_integer() else value for value in different]
    texts: npt.NDArray[Any] = np.array([*map(str, different), None], object)[codes]
    return texts


def _guess(column: Any) -> str:
    """Return the task that fits the values of a column."""
    return REGRESSION if column.dtype.kind in "iuf" and not _are_few(column) else CLASSIFICATION


def _are_few(column: Any) -> bool:
    """Return whether a column of numbers has integers with so few different values that they are taken as classes.

    This is the case if there are at most 20 different values, with three examples or more of each on average. The
    average does not matter if there are only two values. This is also the case if the values are the integers from 0 to
    k − 1 or from 1 to k, with ten examples or more of each on average, and k is at most 1000.
    """
    different = np.sort(np.asarray(column.unique(), np.float64))
    if (different != np.trunc(different)).any():
        return False
    count, n = len(different), len(column)
    if count <= min(_FEW_CLASSES, max(2, n // 3)):
        return True
    consecutive = different[-1] - different[0] == count - 1 and different[0] in (0, 1)
    return bool(consecutive and count <= MOST_CLASSES and n >= 10 * count)


def _classes(column: Any) -> tuple[str, ...]:
    """Return the names of the classes in a column, in numerical or alphabetical order."""
    different = column.drop_duplicates()
    if column.dtype.kind in "iuf":
        different = different.sort_values()
        return tuple(as_texts(different))
    return tuple(sorted(as_texts(different)))


def _index(names: tuple[str, ...]) -> Any:
    import pandas as pd

    return pd.Index(np.array(names, object))


def _listed(names: Any) -> str:
    shown = ", ".join(truncate(str(name), 30) for name in names[:8]) + (", …" if len(names) > 8 else "")
    return shown if shown.isprintable() else repr(shown)
