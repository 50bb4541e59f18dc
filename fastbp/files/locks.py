"""File locks. When a process ends, or is killed, the operating system releases its locks."""

import os
import socket
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO

from fastbp.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

AVAILABLE = fcntl is not None
_held: "weakref.WeakSet[FileIO]" = weakref.WeakSet()
"""Open lock files. A forked child closes its copies of these files.

Otherwise the copies would keep the locks for as long as the child lives.
"""


def lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file until it is closed; return False if it is already locked and `wait` is False.

    A lock belongs to the open file, not to the process. Therefore two threads of one process also exclude each other,
    if each of them opens the file. Raises `OSError` if the system or the file system has no locks.
    """
    if fcntl is None:
        raise OSError("this system has no file locks")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def is_at(descriptor: int, path: str) -> bool:
    """Return whether a path still leads to the open file with this descriptor."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold a lock on the file `path` + ".lock" within the block, or raise `InputError` if another process holds it.

    The lock file contains the name of the process that holds the lock, and the error shows this name. The lock file is
    removed at the end of the block. If a killed process left a lock file, it is used again. If the system or the file
    system has no locks, other processes are not detected.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked(folder + "/run"):
    ...     os.listdir(folder)
    ['run.lock']
    """
    name = path + ".lock"
    with _acquire(name, path) as file:
        _held.add(file)
        try:
            yield
        finally:
            with suppress(OSError, ValueError):  # ValueError: closed in a child that was forked within the block
                if is_at(file.fileno(), name):
                    os.unlink(name)


def _acquire(name: str, path: str) -> FileIO:
    """Create the lock file, lock it, write this process's name to it, and return it."""
    while True:
        try:
            file = FileIO(name, "r+", opener=_open)
        except OSError as error:
            raise InputError(f"cannot write {name!r}: {error.strerror or error}; nothing was changed") from error
        try:
            with suppress(OSError):
                if not lock(file.fileno(), wait=False):
                    holder = file.read(300).decode(errors="replace").strip() or "another process"
                    raise InputError(
                        f"checkpoint {path!r} is in use by {holder}; wait until that run ends, or use another path"
                    )
            if is_at(file.fileno(), name):  # otherwise the last holder removed it just before it was locked
                with suppress(OSError):  # a full disk
                    file.truncate(0)
                    file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _open(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)


def _close_after_fork() -> None:
    for file in list(_held):
        with suppress(OSError):
            file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_after_fork)
