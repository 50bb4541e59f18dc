"""What every reader of files shares: refusals in one line, and memory bounded by the bytes that really come."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from fastbp.errors import InputError, one_line

StrPath = str | PathLike[str]
DEFLATE_LIMIT = 1032  # bytes out of one compressed byte, at most: zlib's technical notes, "maximum compression factor"
_CHUNK = 2**18  # bytes unpacked at a time


def display_path(path: StrPath) -> str:
    r"""Return a path as it is written in a message of one line.

    >>> display_path("digits.csv"), display_path("two\nlines.csv")
    ('digits.csv', "'two\\nlines.csv'")
    """
    text = str(path)
    return text if text.isprintable() else repr(text)


def bad_file(path: StrPath, found: str, wanted: str) -> InputError:
    """Return the error that says of a file what was found in it and what is wanted."""
    return InputError(f"{display_path(path)} {found}; wanted {wanted}")


def regular_file(path: StrPath, wanted: str) -> Path:
    """Return the path of an ordinary file, or raise `InputError`: a pipe or a device would be waited for."""
    try:
        path = Path(path)
        if path.is_file():
            return path
        found = "is a folder" if path.is_dir() else "is no ordinary file" if path.exists() else "does not exist"
    except (OSError, ValueError, TypeError) as error:  # no permission; a NUL in the name; no path at all
        found = f"cannot be looked up ({one_line(error)})"
    raise bad_file(path, found, wanted)


@contextmanager
def translate_errors(path: StrPath, wanted: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn exceptions of these kinds, of the operating system and of memory into an `InputError` about the file."""
    caught: tuple[type[Exception], ...] = (OSError, MemoryError, *kinds)
    try:
        yield
    except InputError:  # a ValueError itself, and said already
        raise
    except caught as error:
        raise bad_file(path, f"cannot be read ({one_line(error)})", wanted) from error


def read_exact(path: StrPath, stream: BinaryIO, size: int, wanted: str) -> bytearray:
    """Return the `size` bytes that a header promised, or raise `InputError` unless just as many come.

    The buffer grows with what comes: a header that lies costs no memory, and nothing is unpacked beyond its promise.
    """
    data = bytearray()
    while len(data) < size:
        chunk = stream.read(min(_CHUNK, size - len(data)))
        if not chunk:
            raise bad_file(path, f"ends after {len(data):,} of the {size:,} bytes that its header promises", wanted)
        data += chunk
    if stream.read(1):  # at the end it is also here that gzip and zip compare checksums
        raise bad_file(path, f"holds more than the {size:,} bytes that its header promises", wanted)
    return data
