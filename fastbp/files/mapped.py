"""Checks of memory-mapped data files, which other processes may truncate or change while training reads them."""

import mmap
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fastbp.errors import InputError

Array = Any


class MappedFile(NamedTuple):
    """A memory-mapped file, and what was known about it when `mapped_files` found it.

    If the map is read-only, `stat` is the result of `os.stat`. Otherwise it is None.
    """

    map: mmap.mmap
    size: int
    path: str
    stat: os.stat_result | None


def mapped_files(arrays: Iterable[Array]) -> list[MappedFile]:
    """Return the mapped files whose memory these NumPy arrays use, directly or as views of other arrays.

    >>> mapped_files([np.ones(3)])
    []
    """
    files = {}
    for array in arrays:
        path, stat = "a mapped file", None
        while isinstance(array, (np.ndarray, memoryview)):
            if isinstance(array, np.memmap) and array.filename is not None:
                path = str(array.filename)
                # Changes made through a writable map alter the modification time too, at the moment when the system
                # writes them to the file.
                stat = _stat(path) if array.mode in ("r", "c") else None
            array = array.base if isinstance(array, np.ndarray) else array.obj
        if isinstance(array, mmap.mmap):
            files[id(array)] = MappedFile(array, _size(array), path, stat)
    return list(files.values())


def check_unchanged(files: Iterable[MappedFile]) -> None:
    """Raise `InputError` if a mapped file has become shorter, or if a file that was mapped read-only was written to.

    Reading a page that is no longer in the file ends the process (SIGBUS on POSIX systems), and a program cannot
    prevent this. A change is therefore noticed in time only if this function is called between the change and the next
    read. If another file was moved to the path, the old file stays mapped, and there is no error.
    """
    for file in files:
        size, now = _size(file.map), None if file.stat is None else _stat(file.path)
        if size < file.size:
            change = f"was cut short from {file.size:,} to {size:,} bytes"
        elif now and file.stat and os.path.samestat(now, file.stat) and now.st_mtime_ns != file.stat.st_mtime_ns:
            change = "was changed"
        else:
            continue
        raise InputError(
            f"{file.path!r} {change} while training read from it; restore the file, and resume if there is a checkpoint"
        )


def _size(map: mmap.mmap) -> int:
    try:
        return map.size()
    except (OSError, ValueError):  # a map without a file, or one that keeps no descriptor of it
        return len(map)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
