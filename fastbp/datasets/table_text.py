"""Tables in text form: .csv, .tsv and similar files, plain or compressed by gzip. pandas parses the rows.

The text is read in chunks, so that little memory is needed in addition to the table itself. The integers in a chunk are
kept as bytes if they are all from 0 to 255. pandas does not report the place of an invalid value. `TextTable.place`
therefore reads the text again with the csv module, which is slower but counts lines.
"""

import contextlib
import csv
import gzip
import io
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from fastbp.datasets.idx import GZIP_MAGIC
from fastbp.datasets.rows_and_labels import Advance
from fastbp.datasets.table_fields import MISSING, is_grouped, like_numbers, number_in
from fastbp.datasets.table_layout import SEPARATORS, Layout, find_layout
from fastbp.errors import InputError, brief, one_line, plural
from fastbp.files.reading import bad_file, translate_errors

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SAMPLE_LINES, _SAMPLE_CHARACTERS = 200, 2**20
_LONGEST_ROW = 2**22  # bytes, enough for 200,000 numbers; the parser and the sample hold whole rows in memory
_CELLS_PER_CHUNK = 2**21
_EXPECTED = "a table in text form, one example per row"


@dataclass(frozen=True)
class TextTable:
    """A file with a table in text form. `shown` is the name of the file in messages."""

    path: Path
    shown: str
    encoding: str
    layout: Layout

    def frame(
        self, text_columns: frozenset[str] = frozenset(), advance: Advance | None = None
    ) -> tuple[Any, dict[str, str]]:
        """Return the table as a pandas DataFrame, and examples of numbers with thousands separators by column.

        The columns in `text_columns` are kept as text.

        Raises `InputError` if a row has too many fields, a quotation mark is not closed, or the text cannot be decoded.
        """
        import pandas as pd

        chunks: list[Any] = []
        grouped: dict[str, str] = {}
        with self._translated_errors(), warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # all rows have too many fields
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            for chunk in self._chunks(text_columns, advance):
                for name, (values, example) in self._written_otherwise(chunk, text_columns).items():
                    chunk[name] = values
                    if example is not None:
                        grouped.setdefault(name, example)
                if changed := _mixed(chunks[0] if chunks else chunk, chunk):
                    return self.frame(text_columns | changed, advance)  # read them as text
                chunks.append(_in_bytes(chunk))
        if not sum(map(len, chunks)):
            raise bad_file(self.shown, "has column names and no rows", _EXPECTED)
        return (chunks[0] if len(chunks) == 1 else pd.concat(chunks, ignore_index=True)), grouped

    def place(self, row: int, column: str) -> tuple[str, str]:
        """Return the place of a value, such as "line 7, column 'age'", and the value as it is written in the file.

        `row` is the index of the row, without the row of column names. Raises `InputError` if the row is too short.
        """
        separator, names = self.layout.separator, self.layout.names
        if not self.path.is_file():  # the file was removed after it was read
            return f"row {row + 1}, {self.called(column)}", ""
        with _opened(self.path, self.shown) as binary, io.TextIOWrapper(binary, self.encoding, newline="") as file:
            lines = [""]  # the last line read
            reader = csv.reader(_noting(file, lines), delimiter=separator, skipinitialspace=True)
            for index, fields in enumerate(fields for fields in reader if lines[-1].strip()):
                if index == row + self.layout.header:
                    fields = " ".join(fields).split() if separator == " " else fields
                    if len(fields) < len(names):
                        found = f"line {reader.line_num} has {plural(len(fields), 'field')}"
                        raise InputError(f"{self.shown}: {found}; expected {len(names)}, as in the first line")
                    where = f"line {reader.line_num}, {self.called(column)}"
                    return where, fields[names.index(column)].strip()
        raise AssertionError(f"no row {row}")

    def called(self, column: str) -> str:
        """Return the name of a column as it appears in messages, such as "column 'age'"."""
        return f"column {brief(column)}" if self.layout.header else column

    def _chunks(self, text_columns: frozenset[str], advance: Advance | None) -> Iterator[Any]:
        import pandas as pd

        separator, decimal, header, names = self.layout
        with _opened(self.path, self.shown, advance) as file:
            yield from pd.read_csv(
                file, sep=r"\s+" if separator == " " else separator, decimal=decimal, header=0 if header else None,
                names=list(names), index_col=False, dtype=dict.fromkeys(text_columns & set(names), "str"),
                na_values=[*MISSING], skipinitialspace=True, encoding=self.encoding,
                chunksize=max(100, _CELLS_PER_CHUNK // len(names)), low_memory=False,
            )  # fmt: skip

    def _written_otherwise(self, chunk: Any, text_columns: frozenset[str]) -> dict[str, tuple[Any, str | None]]:
        """Return the numbers in columns that pandas takes for text, by the name of the column.

        These are columns of numbers with thousands separators, or with a mark like "-" for missing values. The second
        value is one of the numbers with thousands separators, or None.
        """
        decimal, found = self.layout.decimal, {}
        for name in chunk.columns:
            if chunk[name].dtype.kind in "biuf" or name in text_columns:
                continue
            texts = chunk[name].dropna()
            if not (all(isinstance(text, str) for text in texts.iloc[:50]) and like_numbers(texts.iloc[:50], decimal)):
                continue  # most columns of text are recognised by their first fields
            if like_numbers(texts, decimal):
                values = np.full(len(chunk), np.nan)
                values[chunk[name].notna().to_numpy()] = [number_in(text, decimal) for text in texts]
                whole = bool((np.abs(values) < 2**53).all() and (values == np.trunc(values)).all())
                example = next((text for text in texts if is_grouped(text, decimal)), None)
                found[name] = (values.astype(np.int64) if whole else values, example)
        return found

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Translate the errors of pandas, which are ValueErrors, into an `InputError` with the number of the line."""
        import pandas as pd

        width = len(self.layout.names)
        expected = f"{width} fields in every row, separated by {SEPARATORS[self.layout.separator]}"
        try:
            with _readable(self.path, self.shown):
                yield
        except pd.errors.ParserWarning as warning:
            raise bad_file(
                self.shown, f"has rows with more fields than its {width} column names", expected
            ) from warning
        except pd.errors.ParserError as error:
            text = one_line(error)
            if ragged := re.search(r"in line (\d+), saw (\d+)", text):
                line, count = ragged.groups()
                raise InputError(f"{self.shown}: line {line} has {count} fields; expected {expected}") from error
            if "EOF inside string" in text:
                raise bad_file(self.shown, "has a quotation mark that is not closed", expected) from error
            raise bad_file(self.shown, f"cannot be read ({text})", expected) from error


def text_table(path: Path, shown: str, header: bool | None) -> TextTable:
    """Return the table in a file. Its layout is detected from the first lines.

    `header` says whether the first row has the names of the columns. None means that this is detected. Raises
    `InputError` if the file has no rows, or if several columns have the same name.
    """
    with _readable(path, shown), _opened(path, shown) as file:
        encoding = "utf-16" if file.peek(2)[:2] in _UTF_16 else "utf-8-sig"
        lines = _sample(io.TextIOWrapper(file, encoding, newline=""))
        if not lines:
            raise bad_file(shown, "has no rows", _EXPECTED)
        layout = find_layout(lines, header)
    names = tuple(name or f"Unnamed: {j}" for j, name in enumerate(layout.names))  # as pandas calls them
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        expected = "different names in the first line, or --no-header if it is an example"
        raise bad_file(shown, f"has {count} columns {brief(name)}", expected)
    return TextTable(path, shown, encoding, layout._replace(names=names))


def _sample(file: io.TextIOWrapper) -> list[str]:
    lines: list[str] = []
    characters = 0
    while len(lines) < _SAMPLE_LINES and characters < _SAMPLE_CHARACTERS and (line := file.readline()):
        characters += len(line)
        if line.strip():
            lines.append(line)
    return lines


@contextlib.contextmanager
def _readable(path: Path, shown: str) -> Iterator[None]:
    try:
        with translate_errors(shown, _EXPECTED, EOFError, zlib.error, csv.Error):
            yield
    except UnicodeError as error:
        remedy = f"UTF-8; to convert it: iconv -f latin1 -t utf-8 {path.name} > utf8-{path.name}"
        raise bad_file(shown, "has another encoding", remedy) from error


def _mixed(first: Any, chunk: Any) -> frozenset[str]:
    """Return the names of columns that have numbers in one of two chunks, and text or booleans in the other."""
    kinds = (["number" if dtype.kind in "iuf" else dtype.kind for dtype in frame.dtypes] for frame in (first, chunk))
    changed = [name for name, before, now in zip(chunk.columns, *kinds, strict=True) if before != now]
    return frozenset(name for name in changed if not chunk[name].isna().all())


def _in_bytes(chunk: Any) -> Any:
    """Return the chunk, with its columns of integers converted to bytes if all of these integers are from 0 to 255."""
    integers = [name for name, dtype in zip(chunk.columns, chunk.dtypes, strict=True) if dtype.kind in "iu"]
    all_integers = len(integers) == chunk.shape[1]
    values = (chunk if all_integers else chunk[integers]).to_numpy()
    if not integers or values.min() < 0 or values.max() > 255:
        return chunk
    return chunk.astype(np.uint8 if all_integers else dict.fromkeys(integers, np.uint8))


def _noting(file: Iterable[str], lines: list[str]) -> Iterator[str]:
    """Yield the lines of a file. Meanwhile, the last item of `lines` is the line yielded last."""
    for lines[-1] in file:
        yield lines[-1]


def _opened(path: Path, shown: str, advance: Advance | None = None) -> io.BufferedReader:
    return io.BufferedReader(_BoundedRows(path, shown, advance), 2**18)


class _BoundedRows(io.RawIOBase):
    """The content of a file, decompressed if necessary. Reading raises `InputError` if a row is too long.

    Without this bound, a small compressed file could fill the memory with a row that never ends.
    """

    def __init__(self, path: Path, shown: str, advance: Advance | None) -> None:
        self._file = path.open("rb")
        start = self._file.read(2)
        self._file.seek(0)
        self._content = cast(BinaryIO, gzip.GzipFile(fileobj=self._file)) if start == GZIP_MAGIC else self._file
        self._shown, self._advance, self._read, self._row = shown, advance, 0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._content.read(len(buffer))
        buffer[: len(data)] = data
        end = data.rfind(b"\n")
        self._row = self._row + len(data) if end < 0 else len(data) - end - 1
        if self._row > _LONGEST_ROW:
            raise bad_file(self._shown, f"has a row of more than {_LONGEST_ROW:,} bytes", _EXPECTED)
        if self._advance is not None:
            position = self._file.tell()
            self._advance(position - self._read)
            self._read = position
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._content.close()
            self._file.close()
        super().close()
