"""Data in memory-mapped files, which another process can cut short or change while they are read."""

import mmap
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fastbp.errors import InputError

Array = Any


class MappedFile(NamedTuple):
    """A mapped file as it was found: its map and size; of a read-only map also its path and what `os.stat` says."""

    map: mmap.mmap
    size: int
    path: str
    found: os.stat_result | None


def mapped_files(arrays: Iterable[Array]) -> list[MappedFile]:
    """Return the files that NumPy arrays, or what they are views of, are mapped from.

    >>> mapped_files([np.ones(3)])
    []
    """
    files = {}
    for array in arrays:
        path, found = "a mapped file", None
        while isinstance(array, (np.ndarray, memoryview)):
            if isinstance(array, np.memmap) and array.filename is not None:
                path = str(array.filename)
                # A map that may be written to can change the file's time itself, whenever the system writes it back.
                found = _found(path) if array.mode in ("r", "c") else None
            array = array.base if isinstance(array, np.ndarray) else array.obj
        if isinstance(array, mmap.mmap):
            files[id(array)] = MappedFile(array, _size(array), path, found)
    return list(files.values())


def check_unchanged(files: Iterable[MappedFile]) -> None:
    """Raise `InputError` if a mapped file has become shorter, or a read-only one was written to.

    Reading a page that is no longer in the file ends the process (SIGBUS on POSIX systems), which no program can
    prevent: this notices a change in time only if it is called between the change and the next reading. A file that
    was replaced by another of its name stays mapped as it was.
    """
    for file in files:
        size, now = _size(file.map), None if file.found is None else _found(file.path)
        if size < file.size:
            change = f"was cut short from {file.size:,} to {size:,} bytes"
        elif now and file.found and os.path.samestat(now, file.found) and now.st_mtime_ns != file.found.st_mtime_ns:
            change = "was changed"
        else:
            continue
        raise InputError(
            f"{file.path!r} {change} while training read from it; restore the file, and resume if there is a checkpoint"
        )


def _size(map: mmap.mmap) -> int:
    try:
        return map.size()
    except (OSError, ValueError):  # of no file, or of one that the map keeps no descriptor of
        return len(map)


def _found(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
