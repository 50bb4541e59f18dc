"""Reading of tables: text (.csv, .tsv, also compressed by gzip), Parquet, Feather, and standard input."""

import atexit
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.datasets.rows_and_labels import Advance
from fastbp.datasets.table_fields import number_in
from fastbp.datasets.table_text import text_table
from fastbp.errors import InputError, brief, one_line
from fastbp.files.reading import DEFLATE_LIMIT, StrPath, bad_file, display_path, regular_file, translate_errors

STDIN = "-"
_EXPECTED = "a table: .csv, .tsv (plain or .gz), .parquet or .feather"
_ARROW = {b"PAR1": "parquet", b"ARRO": "feather"}
_REMEDIES = {
    b"PK": ("is a zip archive, such as an Excel file", "a .csv file; export the sheet as CSV, or unpack the archive"),
    b"\x80": ("is a pickle, which is never loaded", "a table in another format, written by frame.to_csv or to_parquet"),
    b"\x89HDF": ("is an HDF5 file", "a table in another format, written by frame.to_csv or to_parquet"),
    b"SQLi": ("is a database of SQLite", "a .csv file; export the table with sqlite3 -header -csv"),
    b"BZh": ("is compressed by bzip2", "a file that is plain or compressed by gzip"),
    b"\xfd7zX": ("is compressed by xz", "a file that is plain or compressed by gzip"),
    b"\x28\xb5\x2f\xfd": ("is compressed by zstd", "a file that is plain or compressed by gzip"),
    b"FEA1": ("is a Feather file of version 1", "version 2, as pandas and pyarrow write it"),
    b"\xd0\xcf\x11\xe0": ("is an old Excel file", "a .csv file; export the sheet as CSV"),
    b"\x89PNG": ("is an image", "a table, or a folder with a sub-folder of images for each class"),
    b"\xff\xd8\xff": ("is an image", "a table, or a folder with a sub-folder of images for each class"),
    b"%PDF": ("is a PDF file", "a table in text form, such as .csv"),
    b"[{": ("is a JSON file", "a .csv file, as written by pandas.read_json(path).to_csv(path, index=False)"),
    b'{"': ("is a JSON file", "a .csv file, as written by pandas.read_json(path).to_csv(path, index=False)"),
    b"<": ("is an HTML or XML file", "a table in text form, such as .csv"),
    b"@rel": ("is an ARFF file", "a .csv file; scipy.io.arff.loadarff reads ARFF"),
    b"@REL": ("is an ARFF file", "a .csv file; scipy.io.arff.loadarff reads ARFF"),
}
_FEWEST_BYTES = 2**28  # a table of this size is accepted however well it is compressed


@dataclass(frozen=True)
class Table:
    """A table, one example per row.

    Attributes
    ----------
    frame : pandas.DataFrame
        The columns.
    header : bool
        Whether the columns have names. If not, they are called "column 0", "column 1" and so on.
    where : str
        The name of the table in messages, such as the name of the file.
    place : callable
        A function whose arguments are the index of a row and the name of a column. It returns two texts: the place of
        the value, such as "line 7, column 'age'", and the value as it is written in the file.
    notes : tuple of str
        Messages about columns that were left out, such as an index column.
    """

    frame: Any
    header: bool
    where: str
    place: Callable[[int, str], tuple[str, str]]
    notes: tuple[str, ...] = ()

    def bad_value(self, row: int, column: str, expected: str, found: str | None = None) -> InputError:
        """Return an `InputError` about the value in a row and a column.

        `expected` is a noun phrase that says what the value should be. `found` is a clause that says what is wrong. By
        default, the message quotes the value.
        """
        place, written = self.place(row, column)
        given = found or (f"is {brief(written)}" if written else "is empty")
        return InputError(f"{self.where}: {place} {given}; expected {expected}")

    def column(self, name: str) -> str:
        """Return the name of a column as it appears in messages, such as "column 'age'"."""
        return f"column {brief(name)}" if self.header else name


def read_table(
    path: StrPath,
    *,
    header: bool | None = None,
    text_columns: Any = (),
    advance: Advance | None = None,
) -> Table:
    r"""Read a table from a file, or from standard input.

    Parameters
    ----------
    path : str or os.PathLike
        A text file such as .csv or .tsv, plain or compressed by gzip; a Parquet file; or a Feather file. "-" is
        standard input. In a text file, fields are separated by commas, semicolons, tabs, vertical bars or spaces, and
        the decimal mark is a point or a comma. The separator and the decimal mark are detected from the first lines.
        The encoding is UTF-8, or UTF-16 with a byte-order mark. Parquet and Feather need the package pyarrow.
    header : bool, optional
        Whether the first row of a text file has the names of the columns. By default, this is detected.
    text_columns : iterable of str
        Names of columns that are kept as text, even if their values look like numbers.
    advance : callable, optional
        A function that is called with the number of bytes read since its last call.

    Returns
    -------
    Table
        The table. If the first column has no name and counts the rows, as the index that pandas writes, it is left out.
        Columns that have neither a name nor values are left out too.

    Raises
    ------
    InputError
        If the file is not a table, if it is damaged, or if it declares more values than a file of its size can hold.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "flowers.csv")
    ...     _ = path.write_text("length;species\n5,1;setosa\n6,3;virginica\n")
    ...     table = read_table(path)
    ...     table.frame["length"].tolist(), table.place(1, "species")
    ([5.1, 6.3], ("line 3, column 'species'", 'virginica'))
    """
    if path == STDIN:
        return _read(_standard_input(), "standard input", header, text_columns, advance)
    file = regular_file(path, _EXPECTED)
    return _read(file, display_path(path), header, text_columns, advance)


def as_table(frame: Any, name: str = "x") -> Table:
    """Return an object with named columns as a `Table`.

    The object may be a DataFrame of pandas or polars, a table of pyarrow, or a mapping from names to columns. `name` is
    the name of the argument in messages. Raises `InputError` if there are no columns, or if two columns have different
    lengths or the same name.
    """
    import pandas as pd

    if isinstance(frame, pd.DataFrame):
        names, columns = [str(column) for column in frame.columns], frame.reset_index(drop=True)
        columns = columns.set_axis(names, axis=1) if names != list(frame.columns) else columns
    else:
        listed = frame if isinstance(frame, Mapping) else getattr(frame, "column_names", frame.columns)
        try:
            columns = pd.DataFrame({str(column): np.asarray(frame[column]) for column in listed})
        except (ValueError, TypeError) as error:
            raise InputError(f"{name} must have columns of equal length ({one_line(error)})") from error
        names = list(columns.columns)
    twice, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count != 1:
        given = f"{count} columns {brief(twice)}" if names else "no columns"
        raise InputError(f"{name} must have columns with different names, got {given}")

    def place(row: int, column: str) -> tuple[str, str]:
        return f"row {row}, column {brief(column)}", str(columns[column].iloc[row])

    return Table(columns, True, name, place)


def has_named_columns(values: Any) -> bool:
    """Return whether an object has named columns: a DataFrame, a table of pyarrow, or a mapping."""
    if isinstance(values, np.ndarray):
        return False
    return isinstance(values, Mapping) or hasattr(values, "column_names") or hasattr(values, "columns")


def refuse_tables(x: Any) -> None:
    """Raise `InputError` if inputs are a table or one row of a table. They would have to be prepared first."""
    if has_named_columns(x):
        raise InputError(
            "x must be an array with one example per column, got an object with named columns; use net.predict(x) "
            "or net.score(x), or pass net.preparation.transform(x)"
        )
    index = getattr(getattr(x, "index", None), "dtype", None)  # that of a Series
    if index is not None and index.kind == "O":
        raise InputError("x must be a table or an array, got one row of a table; pass x.to_frame().T")


def _read(path: Path, where: str, header: bool | None, text_columns: Any, advance: Advance | None) -> Table:
    with translate_errors(where, _EXPECTED), path.open("rb") as file:
        start = file.read(8)
    for magic, (found, expected) in _REMEDIES.items():
        if start.startswith(magic):
            raise bad_file(where, found, expected)
    if start[:4] in _ARROW:
        if header is not None:
            given = "--header" if header else "--no-header"
            raise InputError(f"{given} is for tables in text form; {where} always has column names")
        return _without_index(_read_arrow(path, where, _ARROW[start[:4]]))
    text = text_table(path, where, header)
    frame, grouped = text.frame(frozenset(text_columns), advance)
    notes = ["numbers have a decimal comma"] * (text.layout.decimal == ",")
    if grouped:
        columns = [f"{text.called(name)} ({example} is {number_in(example, text.layout.decimal):.15g})"
                   for name, example in list(grouped.items())[:5]]  # fmt: skip
        notes.append(f"thousands separators in {', '.join(columns)}{', …' * (len(grouped) > 5)}")
    return _without_index(Table(frame, text.layout.header, where, text.place, tuple(notes)))


def _read_arrow(path: Path, where: str, kind: str) -> Table:
    if find_spec("pyarrow") is None:
        raise InputError(f"{where} needs pyarrow, which is not installed: pip install 'fastbp[parquet]'")
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds

    expected = f"a complete {kind.capitalize()} file"
    with translate_errors(where, expected, pa.ArrowException, ValueError, TypeError):
        source = ds.dataset(path, format=kind)
        rows, columns = source.count_rows(), len(source.schema.names)
        if rows * columns * 8 > max(_FEWEST_BYTES, DEFLATE_LIMIT * path.stat().st_size):
            found = f"declares {rows:,} rows of {columns:,} columns, more than {path.stat().st_size:,} bytes can hold"
            raise bad_file(where, found, expected)
        frame = pd.read_parquet(path) if kind == "parquet" else pd.read_feather(path)
    table = as_table(frame, where)
    if not rows:
        raise bad_file(where, "has no rows", "at least one example")
    return table


def _without_index(table: Table) -> Table:
    """Return the table without a first column that counts the rows, and without nameless columns that are empty."""
    frame, notes = table.frame, list(table.notes)
    first = frame.columns[0]
    if table.header and first.startswith(("Unnamed: ", "__index_level_")) and frame.shape[1] > 1:
        column = frame[first]
        numbers = column.to_numpy() if column.dtype.kind in "iu" else np.array([])
        if len(numbers) and any(np.array_equal(numbers, np.arange(len(frame)) + start) for start in (0, 1)):
            frame = frame.drop(columns=first)
            notes.append("column 0 has no name and counts the rows: left out")
    empty = [name for name in frame.columns if name.startswith("Unnamed: ") and frame[name].isna().all()]
    if empty:
        frame = frame.drop(columns=empty)
        notes.append(f"{len(empty)} column{'s' * (len(empty) > 1)} without name and values: left out")
    return Table(frame, table.header, table.where, table.place, tuple(notes))


def _standard_input() -> Path:
    """Copy standard input to a temporary file, and return the path of this file.

    The copy is needed because a table is read several times.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError("data '-' is standard input, which must be a file or a pipe: fastbp train --data - < FILE")
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder, "table")
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path
