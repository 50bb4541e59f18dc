"""Threads: how many are used, and why training uses two.

The number of threads is limited with `--threads`, with FASTBP_THREADS, or with `use_threads` in a `with` block. The
limit applies to BLAS. If BLAS may use two threads or more, training can use a worker thread instead
(`fastbp.backends.numpy.worker_thread`). On small networks, the worker thread is faster than two threads of BLAS,
because each thread keeps its rows of the weights in its own cache. BLAS is then set to one thread during the training.

The same number of threads gives the same results, bit for bit, if only one training runs at a time. During a training,
other threads of the program may find BLAS limited to one thread.
"""

import ctypes
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from typing import Any, NamedTuple, cast

from fastbp.backends.interrupts import uninterrupted
from fastbp.errors import InputError, brief, whole_number

VARIABLE = "FASTBP_THREADS"


class ThreadPool(NamedTuple):
    """The thread pool of a library: the library's file, and functions that return and set the number of threads."""

    path: str
    threads: Callable[[], int]
    set_threads: Callable[[int], Any]


class Limit:
    """A limit of the number of threads of some libraries. It applies while it is open (see `_Limits`)."""

    def __init__(self, count: int, libraries: Iterable[ThreadPool]) -> None:
        self.count, self.libraries, self.thread = count, tuple(libraries), threading.get_ident()


class _Limits:
    """The open limits, and the number of threads that each library had before they were opened.

    A limit is opened by a `use_threads` block or by a training. A library follows the limit that was opened last,
    whichever thread opened it. Limits of trainings take precedence, because the worker thread of a training replaces
    the threads of BLAS. When the last limit is closed, the library gets back the number of threads that it had before
    the first limit.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._blocks: list[Limit] = []
        self._trainings: list[Limit] = []
        self._before: dict[str, int] = {}

    def open(self, limit: Limit, *, training: bool = False) -> None:
        """Apply a limit to its libraries."""
        with uninterrupted(), self.lock:
            for library in limit.libraries:
                self._before.setdefault(library.path, library.threads())
            (self._trainings if training else self._blocks).append(limit)
            self._apply(limit)

    def close(self, limit: Limit) -> None:
        """Remove a limit and apply the remaining limits. Do nothing if the limit is not open."""
        with uninterrupted(), self.lock:
            for limits in (self._blocks, self._trainings):
                if limit in limits:
                    limits.remove(limit)
                    self._apply(limit)

    def keep(self, limit: Limit) -> None:
        """Apply a limit permanently. When no other limit is open, its libraries use the number of threads it sets."""
        with uninterrupted(), self.lock:
            for library in limit.libraries:
                if library.path in self._before:
                    self._before[library.path] = limit.count
                else:
                    library.set_threads(limit.count)

    def without_training(self, library: ThreadPool) -> int:
        """Return the number of threads that a library would have without the limits of trainings."""
        with self.lock:
            found = self._last(library, self._blocks)
            return self._before.get(library.path, library.threads()) if found is None else found

    def forked(self) -> None:
        """Close the limits opened by threads that a forked child process does not have, and release the lock."""
        for limit in [*self._blocks, *self._trainings]:
            if limit.thread != threading.get_ident():
                self.close(limit)
        self.lock.release()

    def _apply(self, changed: Limit) -> None:
        for library in changed.libraries:
            count = self._last(library, [*self._blocks, *self._trainings])
            library.set_threads(self._before.pop(library.path) if count is None else count)

    @staticmethod
    def _last(library: ThreadPool, limits: list[Limit]) -> int | None:
        """Return the number of threads in the last limit that includes a library, or None if there is no such limit."""
        for limit in reversed(limits):
            if any(limited.path == library.path for limited in limit.libraries):
                return limit.count
        return None


limits = _Limits()
if hasattr(os, "register_at_fork"):
    lock = limits.lock
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=limits.forked)


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Limit the number of threads of BLAS and OpenMP within a `with` block.

    Parameters
    ----------
    count : int
        Number of threads, at least 1. More threads than processors do not help.

    Raises
    ------
    InputError
        If `count` is not a positive integer.

    Warns
    -----
    UserWarning
        If fastbp calls a BLAS whose number of threads cannot be set.

    Notes
    -----
    The limit applies to the whole process, not only to the current thread. OpenMP is limited only if a library has
    loaded it. If blocks overlap, the block that was entered last decides.

    Examples
    --------
    >>> with use_threads(1):
    ...     pass
    """
    limit = Limit(whole_number("threads", count), libraries())
    _warn_if_without_effect("use_threads")
    try:
        limits.open(limit)
        yield
    finally:
        try:
            limits.close(limit)
        except KeyboardInterrupt:  # Ctrl-C may have come before the limit was closed
            limits.close(limit)
            raise


def limit_from_environment() -> None:
    """Apply the limit in FASTBP_THREADS, if there is one; raises `InputError` unless it is a positive integer."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{VARIABLE} must be an integer >= 1, got {brief(text)}")
    limits.keep(Limit(int(text), libraries()))
    _warn_if_without_effect(VARIABLE)


def _warn_if_without_effect(what: str) -> None:
    """Warn if compiled code calls a BLAS whose number of threads cannot be set at run time."""
    from fastbp_kernels.cpu.blas_library import library

    called = library(os.environ.get("FASTBP_BLAS") or "scipy")
    if called.controller is None:
        hint = "; set VECLIB_MAXIMUM_THREADS before Python starts" if called.name() == "Accelerate" else ""
        warnings.warn(f"{what} has no effect on {called.name()}, the BLAS that fastbp calls{hint}", stacklevel=4)


def in_use() -> dict[str, int]:
    """Return a dictionary that maps the name of each loaded library to its current number of threads.

    >>> all(count >= 1 for count in in_use().values())
    True
    """
    from threadpoolctl import threadpool_info

    return {f"{pool['internal_api']} {pool['version']}": pool["num_threads"] for pool in threadpool_info()}


def libraries() -> list[ThreadPool]:
    """Return the thread pools of the libraries loaded so far, including SciPy's BLAS."""
    from threadpoolctl import ThreadpoolController

    from fastbp_kernels.cpu.blas_library import cython_blas

    cython_blas()  # loads the BLAS that compiled code calls; only loaded libraries are found
    return [thread_pool(found) for found in ThreadpoolController().lib_controllers]


@cache
def blas_thread_pool() -> ThreadPool | None:
    """Return the BLAS called by compiled code, or None if each calling thread has its own number of BLAS threads."""
    from fastbp_kernels.cpu import blas_library
    from fastbp_kernels.cpu.blas_library import library

    called = library(blas_library.chosen()).controller
    layer = getattr(called, "threading_layer", "")  # with OpenMP, each calling thread has its own number
    return thread_pool(called) if layer == "pthreads" or getattr(called, "internal_api", "") == "mkl" else None


def thread_pool(found: Any) -> ThreadPool:
    """Return the thread pool of a library found by threadpoolctl."""
    return ThreadPool(found.filepath, found.get_num_threads, _setter(found))


def _setter(found: Any) -> Callable[[int], Any]:
    """Return a function that sets a library's number of threads, whichever thread calls the function.

    threadpoolctl's own setter for OpenBLAS has an effect only in the first thread that calls it.
    """
    if getattr(found, "threading_layer", "") == "pthreads":
        library = ctypes.CDLL(found.filepath)
        for prefix, suffix in product(("scipy_", ""), ("", "64_", "_64")):
            setter = getattr(library, f"{prefix}openblas_set_num_threads{suffix}", None)
            if setter is not None:
                return cast(Callable[[int], Any], setter)
    return cast(Callable[[int], Any], found.set_num_threads)
