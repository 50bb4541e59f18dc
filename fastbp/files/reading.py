"""Reading files safely. Only regular files are read, memory is limited, and an error is one line that names the file.

Errors have one of two forms. Readers of data files use `bad_file` and `translate_errors`. Their errors also say what
the file should contain, for example "digits.csv has no rows; expected a table of numbers". Loaders of models,
checkpoints and results use `reading`. Their errors say why a file cannot be loaded, for example "cannot load
'net.safetensors': it is a folder".
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fastbp.errors import InputError, brief, one_line

T = TypeVar("T")
StrPath = str | os.PathLike[str]
DEFLATE_LIMIT = 1032  # most bytes from one compressed byte: zlib's technical notes, "maximum compression factor"
_CHUNK = 2**18  # bytes read at a time


def display_path(path: StrPath) -> str:
    r"""Return a path as text for a one-line message.

    >>> display_path("digits.csv"), display_path("two\nlines.csv")
    ('digits.csv', "'two\\nlines.csv'")
    """
    text = str(path)
    return text if text.isprintable() else repr(text)


def bad_file(path: StrPath, found: str, expected: str) -> InputError:
    """Return the error for a file that cannot be used.

    `found` is a clause that says what is wrong. `expected` is a noun phrase that says what the file should be.

    >>> bad_file("digits.csv", "has no rows", "a table of numbers")
    InputError('digits.csv has no rows; expected a table of numbers')
    """
    return InputError(f"{display_path(path)} {found}; expected {expected}")


def regular_file(path: StrPath, expected: str) -> Path:
    """Return the path of a regular file; raise `InputError` for anything else.

    Reading a pipe or a device might never end.
    """
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
    """Translate `OSError`, `MemoryError` and exceptions of the given kinds into an `InputError` about the file."""
    caught: tuple[type[Exception], ...] = (OSError, MemoryError, *kinds)
    try:
        yield
    except InputError:  # a subclass of ValueError, which may be among the kinds
        raise
    except caught as error:
        raise bad_file(path, f"cannot be read ({one_line(error)})", expected) from error


def read_exact(path: StrPath, stream: BinaryIO, size: int, expected: str) -> bytearray:
    """Read the rest of a stream; raise `InputError` unless it has exactly the `size` bytes that a header declares.

    The buffer grows as bytes are read, so a header that declares too many bytes costs no memory. Nothing beyond the
    declared size is decompressed.
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


def path_name(path: StrPath) -> str:
    """Return a path as a string; raise `InputError` if it cannot be the name of a file.

    >>> path_name("net.safetensors")
    'net.safetensors'
    """
    try:
        name = os.fspath(path)
    except TypeError:
        name = ""
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"path must be the name of a file, a str or os.PathLike, got {brief(path)}")
    return name


@contextmanager
def reading(path: StrPath) -> Iterator[None]:
    """Turn errors raised within the block into `InputError`, with the name of the file in front of the message.

    This applies to `InputError`, `OSError` and `MemoryError`. Other exceptions pass through.

    >>> with reading("net.safetensors"):
    ...     field({"sizes": 3}, "sizes", list)
    Traceback (most recent call last):
    fastbp.errors.InputError: cannot load 'net.safetensors': 'sizes' in its description must be of type list, got 3
    """
    name = path_name(path)
    try:
        yield
    except InputError as error:
        raise InputError(f"cannot load {name!r}: {error}") from error
    except OSError as error:
        raise InputError(f"cannot load {name!r}: {error.strerror or error}") from error
    except MemoryError as error:
        raise InputError(f"cannot load {name!r}: not enough memory") from error


def open_regular(path: StrPath) -> BinaryIO:
    """Open a regular file for reading.

    Raises `InputError` for a folder, pipe or device, and `OSError` if the file is missing. The file is examined before
    it is opened, since opening a pipe would wait for a writer.
    """
    name = path_name(path)
    mode = os.stat(name).st_mode
    if not stat.S_ISREG(mode):
        raise InputError("it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file")
    return open(name, "rb")


def read_bounded(file: BinaryIO, most: int) -> bytes:
    """Return the content of a file; raise `InputError` if it has more than `most` bytes.

    The size is checked before memory is allocated.
    """
    size = os.fstat(file.fileno()).st_size
    if size > most:
        raise InputError(f"it has {size:,} bytes, more than the maximum of {most:,}")
    return file.read(size)  # read(most) would first allocate `most` bytes


def json_object(what: str, text: bytes | str) -> dict[str, Any]:
    """Parse a JSON object; raise `InputError` if the text is anything else.

    Parsing takes at most 50 times the memory of the text. `what` names the text in the error.

    >>> json_object("description", '{"sizes": [2, 1]}')
    {'sizes': [2, 1]}
    """
    try:
        value = json.loads(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"its {what} is damaged: {one_line(error)}") from error
    if not isinstance(value, dict):
        raise InputError(f"its {what} is damaged: expected a JSON object, got {brief(value)}")
    return value


def field(description: Mapping[str, Any], name: str, expected: type[T]) -> T:
    """Return a field of a description, or raise `InputError` if it is missing or of another type.

    The type must be exactly the expected one: a bool is not accepted as an int.

    >>> field({"bias": True}, "bias", bool)
    True
    """
    if name not in description:
        raise InputError(f"{name!r} is missing from its description")
    value = description[name]
    if type(value) is not expected:
        raise InputError(f"{name!r} in its description must be of type {expected.__name__}, got {brief(value)}")
    return value
