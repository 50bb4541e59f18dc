"""Writing files atomically: a file is written under another name first, and then moved into place.

If the system crashes, the process is killed or the disk is full, either the old file or the complete new file remains.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from fastbp.errors import InputError
from fastbp.files import locks
from fastbp.files.disk import flush_to_disk, replace_file
from fastbp.files.reading import StrPath, path_name

_DRAFT = re.compile(r"\.fastbp-[0-9a-f]{16}\.tmp")
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_MOST_LINKS = 40  # the most links followed in one path, as on Linux


def check_target(path: StrPath) -> str:
    """Follow the links in a path; return the path of the file to write, or raise `InputError` if it is not writable.

    Nothing is written. Call this function before the work whose result is to be saved. In a folder that other users can
    write to, their links are not followed, because such a link could lead to any file of this user.

    >>> check_target("/no/such/folder/net.safetensors")
    Traceback (most recent call last):
    fastbp.errors.InputError: cannot write '/no/such/folder/net.safetensors': '/no/such/folder' is not a writable
    folder; nothing was changed
    """
    name = path_name(path)
    target, foreign_link = _follow_links(name)
    folder = os.path.dirname(target)
    if foreign_link:
        reason = f"{foreign_link!r} is a link that another user made in a folder where others can write"
    elif os.path.isdir(target):
        reason = "it is a folder"
    elif not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        reason = f"{folder!r} is not a writable folder"
    elif os.path.lexists(target) and not os.path.isfile(target):
        reason = "it is not a regular file"
    elif os.path.isfile(target) and not os.access(target, os.W_OK):
        reason = "it is not writable"
    else:
        return target
    raise InputError(f"cannot write {name!r}: {reason}; nothing was changed")


@contextmanager
def write_atomically(path: StrPath) -> Iterator[BinaryIO]:
    """Yield a file to write to, and move it to `path` at the end of the block; if the block raises, delete it.

    A program that reads the path finds either the complete old file or the complete new file. The new content goes into
    a draft, which is a file in the same folder (`.fastbp-….tmp`). At the end, the draft is flushed to the disk and
    moved. Drafts left by killed processes are removed by the next write in that folder. If the path is a symbolic link,
    the file that it leads to is replaced. Other hard links to that file keep the old content. From its first byte on,
    the draft has the mode of the old file. If there is no old file, it has the mode given by the umask. Raises
    `InputError` if writing fails. In this case, nothing has been changed.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with write_atomically(folder + "/greeting") as file:
    ...         _ = file.write(b"hello")
    ...     pathlib.Path(folder, "greeting").read_text()
    'hello'
    """
    target = check_target(path)
    folder = os.path.dirname(target)
    _remove_abandoned_drafts(folder)  # before a new draft is written: old ones may have filled the disk
    try:
        mode = stat.S_IMODE(os.lstat(target).st_mode) if os.path.lexists(target) else None
        draft, descriptor = _create_draft(folder, 0o666 if mode is None else mode)
        try:
            with open(descriptor, "wb", closefd=not locks.AVAILABLE) as file:  # Windows moves closed files only
                yield file
                file.flush()
                flush_to_disk(descriptor)
                if mode is not None:
                    os.chmod(descriptor if hasattr(os, "fchmod") else draft, mode)
            replace_file(draft, target)
        finally:
            with suppress(OSError):  # after success the draft no longer exists
                os.unlink(draft)
            if locks.AVAILABLE:
                os.close(descriptor)
    except OSError as error:
        raise InputError(f"cannot write {path_name(path)!r}: {error.strerror or error}; nothing was changed") from error
    _flush_folder(folder)


def _follow_links(name: str) -> tuple[str, str]:
    """Follow the links in a path. Return the resulting path, and the first link that is not trusted, or "".

    If all links are trusted, the second value is "". Following stops at a link that is not trusted (see `_is_foreign`).
    """
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
    """Return whether a link is not trusted, because other users can write to its folder and one of them made the link.

    Links made by this user, by root or by the owner of the folder are trusted.
    """
    shared = folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return bool(shared) and link.st_uid not in (0, os.geteuid(), folder.st_uid)


def _create_draft(folder: str, mode: int) -> tuple[str, int]:
    """Create a draft in a folder and lock it; return its name and descriptor.

    The mode of the draft is `mode` without the bits in the umask.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | getattr(os, "O_BINARY", 0)
    while True:
        name = os.path.join(folder, f".fastbp-{os.urandom(8).hex()}.tmp")
        descriptor = os.open(name, flags, mode)
        with suppress(OSError):
            locks.lock(descriptor, wait=True)
        if locks.is_at(descriptor, name):
            return name, descriptor
        os.close(descriptor)  # another process removed the draft before it was locked


def _remove_abandoned_drafts(folder: str) -> None:
    """Remove the drafts that killed processes left in a folder.

    These are the drafts that no process has locked.
    """
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


def _flush_folder(folder: str) -> None:
    """Flush a folder's entries to the disk, so that the moved file survives a crash."""
    with suppress(OSError):  # Windows opens no folders, and some network file systems cannot flush them
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
