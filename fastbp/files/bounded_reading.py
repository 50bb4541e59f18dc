"""Helpers shared by all readers of data files: one-line errors, and memory bounded by the bytes the file really has."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from fastbp.errors import InputError, one_line

StrPath = str | PathLike[str]
DEFLATE_LIMIT = 1032  # bytes out of one compressed byte, at most: zlib's technical notes, "maximum compression factor"
_CHUNK = 2**18  # bytes read at a time


def display_path(path: StrPath) -> str:
    r"""Return a path as text for a one-line message.

    >>> display_path("digits.csv"), display_path("two\nlines.csv")
    ('digits.csv', "'two\\nlines.csv'")
    """
    text = str(path)
    return text if text.isprintable() else repr(text)


def bad_file(path: StrPath, found: str, expected: str) -> InputError:
    """Return the error for a file: a clause that says what was found, and a noun phrase for what was expected.

    >>> bad_file("digits.csv", "has no rows", "a table of numbers")
    InputError('digits.csv has no rows; expected a table of numbers')
    """
    return InputError(f"{display_path(path)} {found}; expected {expected}")


def regular_file(path: StrPath, expected: str) -> Path:
    """Return the path of a regular file, or raise `InputError`: reading a pipe or a device might never end."""
    try:
        path = Path(path)
        if path.is_file():
            return path
        found = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
    except (OSError, ValueError, TypeError) as error:  # no permission; a NUL in the name; not a path
        found = f"cannot be accessed ({one_line(error)})"
    raise bad_file(path, found, expected)


@contextmanager
def translate_errors(path: StrPath, expected: str, *kinds: type[Exception]) -> Iterator[None]:
    """Translate exceptions of these kinds, `OSError` and `MemoryError` into an `InputError` about the file."""
    caught: tuple[type[Exception], ...] = (OSError, MemoryError, *kinds)
    try:
        yield
    except InputError:  # a subclass of ValueError, which may be among the kinds
        raise
    except caught as error:
        raise bad_file(path, f"cannot be read ({one_line(error)})", expected) from error


def read_exact(path: StrPath, stream: BinaryIO, size: int, expected: str) -> bytearray:
    """Return the `size` bytes that a header declares, or raise `InputError` unless exactly that many follow.

    The buffer grows with the bytes that are read. A header that declares too much costs no memory, and nothing beyond
    the declared size is decompressed.
    """
    data = bytearray()
    while len(data) < size:
        chunk = stream.read(min(_CHUNK, size - len(data)))
        if not chunk:
            raise bad_file(path, f"ends after {len(data):,} of the {size:,} bytes that its header declares", expected)
        data += chunk
    if stream.read(1):  # reading at the end also makes gzip and zipfile compare checksums
        raise bad_file(path, f"has more than the {size:,} bytes that its header declares", expected)
    return data
