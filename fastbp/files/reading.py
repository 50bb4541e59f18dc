"""Reading files safely: errors that name the file, only regular files, bounded sizes, checked fields of JSON.

Readers of data sets use `fastbp.files.bounded_reading`, whose errors also say what the file should have contained.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar

from fastbp.errors import InputError, brief, one_line
from fastbp.files.bounded_reading import StrPath

T = TypeVar("T")


def path_name(path: StrPath) -> str:
    """Return a path as a string, or raise `InputError` unless it can be the name of a file.

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
    """Put the name of the file in front of errors raised within the block, and make all of them `InputError`.

    `InputError`, `OSError` and `MemoryError` are caught; other exceptions pass through.

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
    """Open a regular file for reading; raise `InputError` for a folder, pipe or device, and `OSError` if it is missing.

    The file is examined before it is opened, since opening a pipe would wait for a writer.
    """
    name = path_name(path)
    mode = os.stat(name).st_mode
    if not stat.S_ISREG(mode):
        raise InputError("it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file")
    return open(name, "rb")


def read_bounded(file: BinaryIO, most: int) -> bytes:
    """Return the content of a file, or raise `InputError` before allocating memory if it has more than `most` bytes."""
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
