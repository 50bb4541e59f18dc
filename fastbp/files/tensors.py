"""Files that are whole or not there: written aside and moved into place; tensors with a description, checked when read.

Tensors are kept in the safetensors format, which any of its readers opens. Its metadata hold, as "fastbp", a
description in JSON, whose "kind" and "version" say what the file is, with a "sha256" over the rest of it and the
tensors. That is one entry and not two, since safetensors writes entries in any order, and equal content should make
equal files. Nothing is ever unpickled.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt

from fastbp.errors import InputError, brief, one_line
from fastbp.files import locks
from fastbp.files.disk import replace, to_disk

T = TypeVar("T")
StrPath = str | os.PathLike[str]
Tensors = dict[str, npt.NDArray[Any]]

_LONGEST_HEADER = 2**22
"""Bytes of names, shapes and description: JSON may take 50 times its length in memory, so this bounds that too."""

_DRAFT = re.compile(r"\.fastbp-[0-9a-f]{16}\.tmp")
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_MOST_LINKS = 40  # in one path, as on Linux

_IN_DISGUISE = {
    b"\x80": "a pickle",
    b"PK": "a zip archive, as .npz files and PyTorch's are",
    b"\x93NUMPY": "an .npy file",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "compressed by gzip",
}


def check_target(path: StrPath) -> str:
    """Return the real path of a file that is to be written, links followed, or raise `InputError` if it cannot be.

    For a look before the work whose result is to be saved; nothing is written. A link that another user made in a
    folder where others can write is not followed: it might lead to any file of yours.

    >>> check_target("/no/such/folder/net.safetensors")
    Traceback (most recent call last):
    fastbp.errors.InputError: cannot write '/no/such/folder/net.safetensors': '/no/such/folder' is no folder that can be
    written to; nothing was changed
    """
    name = _name(path)
    target, planted = _resolved(name)
    folder = os.path.dirname(target)
    if planted:
        reason = f"{planted!r} is a link that another user made in a folder where others can write"
    elif os.path.isdir(target):
        reason = "it is a folder"
    elif not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        reason = f"{folder!r} is no folder that can be written to"
    elif os.path.lexists(target) and not os.path.isfile(target):
        reason = "it is no regular file"
    elif os.path.isfile(target) and not os.access(target, os.W_OK):
        reason = "it may not be written to"
    else:
        return target
    raise InputError(f"cannot write {name!r}: {reason}; nothing was changed")


@contextmanager
def write_whole(path: StrPath) -> Iterator[BinaryIO]:
    """Give a file to write to, which takes its place at the path as the block ends, and vanishes if the block fails.

    Whoever opens the path finds the old file or the new one, whole, whatever happens meanwhile: the new one is written
    under another name in the same folder (`.fastbp-….tmp`), flushed to the disk, and moved. A draft that a killed
    process left there is removed by the next write. Of a symbolic link the file it leads to is replaced; a hard link is
    left with the old file. The mode is the old file's, from the first byte of the draft on, or what the umask gives.
    Raises `InputError` if writing fails, and then nothing was changed.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with write_whole(folder + "/greeting") as file:
    ...         _ = file.write(b"hello")
    ...     pathlib.Path(folder, "greeting").read_text()
    'hello'
    """
    target = check_target(path)
    folder = os.path.dirname(target)
    _sweep(folder)  # before there is a new draft: the disk may be full of old ones
    try:
        mode = stat.S_IMODE(os.lstat(target).st_mode) if os.path.lexists(target) else None
        draft, descriptor = _draft(folder, 0o666 if mode is None else mode)
        try:
            with open(descriptor, "wb", closefd=not locks.AVAILABLE) as file:  # Windows moves closed files only
                yield file
                file.flush()
                to_disk(descriptor)
                if mode is not None:
                    os.chmod(descriptor if hasattr(os, "fchmod") else draft, mode)
            replace(draft, target)
        finally:
            with suppress(OSError):  # where all went well there is none
                os.unlink(draft)
            if locks.AVAILABLE:
                os.close(descriptor)
    except OSError as error:
        raise InputError(f"cannot write {_name(path)!r}: {error.strerror or error}; nothing was changed") from error
    _sync(folder)


def write_tensors(path: StrPath, tensors: Mapping[str, npt.NDArray[Any]], description: Mapping[str, Any]) -> None:
    """Write tensors, of any shape and layout, bool, integers or floats, and a description of them, as one whole file.

    `description` is what JSON can hold, with "kind", a name, and "version", a whole number, as `read_tensors` wants
    them; "sha256" is added to it. Long lists of numbers belong among the tensors. Equal content makes equal files.
    Raises `InputError` if the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensors(folder + "/t", {"a": np.ones((2, 3))}, {"kind": "example", "version": 1, "colour": "red"})
    ...     tensors, description = read_tensors(folder + "/t", "example", 1)
    >>> tensors["a"].shape, description["colour"]
    ((2, 3), 'red')
    """
    from safetensors.numpy import save

    check_target(path)  # before a copy of all that there is
    arrays = {name: np.asarray(a, a.dtype.newbyteorder("<"), order="C") for name, a in tensors.items()}
    data = save(arrays, {"fastbp": json.dumps({**description, "sha256": _checksum(description, arrays)})})
    if int.from_bytes(data[:8], "little") > _LONGEST_HEADER:
        raise InputError(f"cannot write {_name(path)!r}: its header would have more than {_LONGEST_HEADER:,} bytes")
    with write_whole(path) as file:
        file.write(data)


def read_tensors(path: StrPath, kind: str, version: int) -> tuple[Tensors, dict[str, Any]]:
    r"""Return the tensors, free to be written to, and the description of a file that `write_tensors` wrote.

    Raises `InputError` for any other file, for a damaged one, for one whose description is of another kind, or of a
    later version than the one given. Which tensors and fields there are is for the caller to check, with `reading` and
    `field`. Memory is bounded by three times the size of the file, and 200 MiB for the largest header.

    >>> import contextlib, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    ...     _ = pathlib.Path("m.pkl").write_bytes(b"\x80\x04N.")
    ...     read_tensors("m.pkl", "model", 1)
    Traceback (most recent call last):
    fastbp.errors.InputError: cannot load 'm.pkl': it is a pickle; fastbp reads safetensors, and unpickles nothing
    """
    with reading(path), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        description = _description(_header(file, size), kind, version)
        checksum = field(description, "sha256", str)
        del description["sha256"]
        file.seek(0)
        tensors = _tensors(file.read(size))
        if _checksum(description, tensors) != checksum:
            raise InputError("it is damaged: its content is not that of its checksum")
        return tensors, description


@contextmanager
def reading(path: StrPath) -> Iterator[None]:
    """Put what was read in front of an `InputError` raised within the block; make one of an OSError or MemoryError.

    >>> with reading("net.safetensors"):
    ...     field({"sizes": 3}, "sizes", list)
    Traceback (most recent call last):
    fastbp.errors.InputError: cannot load 'net.safetensors': its description has 'sizes': 3; wanted is of type list
    """
    name = _name(path)
    try:
        yield
    except InputError as error:
        raise InputError(f"cannot load {name!r}: {error}") from error
    except OSError as error:
        raise InputError(f"cannot load {name!r}: {error.strerror or error}") from error
    except MemoryError as error:
        raise InputError(f"cannot load {name!r}: it takes more memory than there is") from error


def field(description: Mapping[str, Any], name: str, wanted: type[T]) -> T:
    """Return a field of a description, or raise `InputError` if it is missing or of another type; a bool is no int.

    >>> field({"bias": True}, "bias", bool)
    True
    """
    if name not in description:
        raise InputError(f"its description has no {name!r}")
    value = description[name]
    if type(value) is not wanted:
        raise InputError(f"its description has {name!r}: {brief(value)}; wanted is of type {wanted.__name__}")
    return value


def open_regular(path: StrPath) -> BinaryIO:
    """Return an ordinary file, opened to be read, or raise `InputError`, and `OSError` where it is not there."""
    name = _name(path)
    mode = os.stat(name).st_mode  # before it is opened: a pipe would wait for its writer
    if not stat.S_ISREG(mode):
        raise InputError("it is a folder" if stat.S_ISDIR(mode) else "it is no regular file")
    return open(name, "rb")


def read_bounded(file: BinaryIO, most: int) -> bytes:
    """Return the bytes of a file, or raise `InputError`, before any memory is taken, if there are more than `most`."""
    size = os.fstat(file.fileno()).st_size
    if size > most:
        raise InputError(f"it has {size:,} bytes; wanted are at most {most:,}")
    return file.read(size)  # read(most) would first allocate that much


def json_object(what: str, text: bytes | str) -> dict[str, Any]:
    """Return the object that a text in JSON is, or raise `InputError`; takes at most 50 times the memory of the text.

    >>> json_object("description", '{"sizes": [2, 1]}')
    {'sizes': [2, 1]}
    """
    try:
        value = json.loads(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"its {what} is damaged: {one_line(error)}") from error
    if not isinstance(value, dict):
        raise InputError(f"its {what} is damaged: {brief(value)}")
    return value


def _name(path: StrPath) -> str:
    try:
        name = os.fspath(path)
    except TypeError:
        name = ""
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"path is {brief(path)}; wanted is the name of a file, a str or an os.PathLike")
    return name


def _resolved(name: str) -> tuple[str, str]:
    """Return a path with its links followed, up to one that another user may have planted, and that link or ""."""
    if not hasattr(os, "geteuid"):
        return os.path.realpath(name), ""
    done, rest, links = "/", os.path.join(os.getcwd(), name).split("/"), 0
    while rest:
        part = rest.pop(0)
        if part in ("", ".", ".."):
            done = os.path.dirname(done) if part == ".." else done
            continue
        step = os.path.join(done, part)
        with suppress(OSError):
            found = os.lstat(step)
            if stat.S_ISLNK(found.st_mode) and links < _MOST_LINKS:
                if _is_foreign(found, os.lstat(done)):
                    return step, step
                target = os.readlink(step)
                done, rest, links = "/" if target.startswith("/") else done, target.split("/") + rest, links + 1
                continue
        done = step
    return done, ""


def _is_foreign(link: os.stat_result, folder: os.stat_result) -> bool:
    """Return whether a link in a folder may be planted: made by another than root, this user and the folder's owner."""
    shared = folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return bool(shared) and link.st_uid not in (0, os.geteuid(), folder.st_uid)


def _draft(folder: str, mode: int) -> tuple[str, int]:
    """Return the name and the descriptor of a new file in a folder, locked, and of a mode less what the umask takes."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | getattr(os, "O_BINARY", 0)
    while True:
        name = os.path.join(folder, f".fastbp-{os.urandom(8).hex()}.tmp")
        descriptor = os.open(name, flags, mode)
        with suppress(OSError):
            locks.lock(descriptor, wait=True)
        if locks.is_at(descriptor, name):
            return name, descriptor
        os.close(descriptor)  # another process swept it before it was locked


def _sweep(folder: str) -> None:
    """Remove the drafts in a folder that killed processes left: those that no process has locked."""
    with suppress(OSError):
        for name in filter(_DRAFT.fullmatch, os.listdir(folder)):
            with suppress(OSError):
                path = os.path.join(folder, name)
                descriptor = os.open(path, os.O_WRONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0))
                try:
                    if locks.lock(descriptor, wait=False):
                        os.unlink(path)
                finally:
                    os.close(descriptor)


def _sync(folder: str) -> None:
    """Have the folder's new entry on the disk as well."""
    with suppress(OSError):  # Windows opens no folder, and some network file systems sync none
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _header(file: BinaryIO, size: int) -> dict[str, Any]:
    """Return the header of a safetensors file: eight bytes of length, then JSON."""
    start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    if start[8:] != b"{" or length > size - 8:
        for magic, words in _IN_DISGUISE.items():
            if start.startswith(magic):
                raise InputError(f"it is {words}; fastbp reads safetensors, and unpickles nothing")
        if start[8:] not in (b"{", b""):
            raise InputError("it is no safetensors file")
        raise InputError(f"it is cut short, or no safetensors file: {size:,} bytes, of which {length:,} are its header")
    if length > _LONGEST_HEADER:
        raise InputError(f"its header has {length:,} bytes; wanted are at most {_LONGEST_HEADER:,}")
    file.seek(8)
    return json_object("header", file.read(length))


def _description(header: Mapping[str, Any], kind: str, version: int) -> dict[str, Any]:
    metadata = header.get("__metadata__")
    text = metadata.get("fastbp") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise InputError("it is a safetensors file that fastbp did not write, or damaged: it has no description")
    description = json_object("description", text)
    if (given := field(description, "kind", str)) != kind:
        raise InputError(f"it is a {brief(given)[1:-1]}; wanted is a {kind}")
    if (later := field(description, "version", int)) > version:
        raise InputError(
            f"it was made by a later fastbp: version {brief(later)}, and this one reads up to {version}; "
            "upgrade: pip install -U fastbp"
        )
    if later < 1:
        raise InputError(f"its description has 'version': {brief(later)}; wanted is at least 1")
    return description


def _tensors(data: bytes) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(data))
    except (SafetensorError, KeyError, ValueError, OverflowError) as error:  # the others: what NumPy has no array for
        raise InputError(f"it is cut short or damaged: {one_line(error)}") from error


def _checksum(description: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return the sha256 of a description and of tensors, with their names, dtypes and shapes, sorted by name."""
    try:
        text = json.dumps(description)  # which gives back, to the letter, what was parsed of its own
    except RecursionError as error:
        raise InputError("its description is nested too deeply") from error
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
