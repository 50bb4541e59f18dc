"""How many threads are used: by an option, by FASTBP_THREADS, or within a `with` block.

It is BLAS that is told. Where it may use two or more, training takes a second thread of fastbp's own as well
(`fastbp.backends.numpy.second_thread`), and has BLAS use one meanwhile, or leaves BLAS its threads. From the same
number come the same results, bit for bit, of one training at a time: one on another thread may find BLAS with one
thread meanwhile.
"""

import ctypes
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple, cast

from fastbp.backends.interrupts import uninterrupted
from fastbp.errors import InputError, brief, whole_number

VARIABLE = "FASTBP_THREADS"


class ThreadPool(NamedTuple):
    """The threads of a library: its file, the function that returns their number, and the one that sets it."""

    path: str
    threads: Callable[[], int]
    take: Callable[[int], Any]


class Limit:
    """A number of threads for some libraries, while the limit is open."""

    def __init__(self, count: int, libraries: Iterable[ThreadPool]) -> None:
        self.count, self.libraries, self.thread = count, tuple(libraries), threading.get_ident()


class _Limits:
    """The limits that are open now, by `use_threads` and by trainings, and what they have to restore in the end.

    A library follows the last limit that was opened, whichever thread opened it; a training's goes before all others,
    since it has the threads' place taken by its own. When no limit is left, the library has as many threads as it had
    before the first.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._blocks: list[Limit] = []
        self._trainings: list[Limit] = []
        self._before: dict[str, int] = {}

    def open(self, limit: Limit, *, training: bool = False) -> None:
        """Have libraries follow a limit."""
        with uninterrupted(), self.lock:
            for library in limit.libraries:
                self._before.setdefault(library.path, library.threads())
            (self._trainings if training else self._blocks).append(limit)
            self._apply(limit)

    def close(self, limit: Limit) -> None:
        """Have libraries follow what is left without a limit; do nothing if it is not open."""
        with uninterrupted(), self.lock:
            for limits in (self._blocks, self._trainings):
                if limit in limits:
                    limits.remove(limit)
                    self._apply(limit)

    def keep(self, limit: Limit) -> None:
        """Have libraries follow a limit for good, wherever no other is open."""
        with uninterrupted(), self.lock:
            for library in limit.libraries:
                if library.path in self._before:
                    self._before[library.path] = limit.count
                else:
                    library.take(limit.count)

    def without_training(self, library: ThreadPool) -> int:
        """Return how many threads a library may use but for trainings."""
        with self.lock:
            found = self._last(library, self._blocks)
            return self._before.get(library.path, library.threads()) if found is None else found

    def forked(self) -> None:
        """Close what other threads had opened in a process that has been forked, and release its lock."""
        for limit in [*self._blocks, *self._trainings]:
            if limit.thread != threading.get_ident():
                self.close(limit)
        self.lock.release()

    def _apply(self, changed: Limit) -> None:
        for library in changed.libraries:
            count = self._last(library, [*self._blocks, *self._trainings])
            library.take(self._before.pop(library.path) if count is None else count)

    @staticmethod
    def _last(library: ThreadPool, limits: list[Limit]) -> int | None:
        """Return the count of the last limit of a library, if there is one."""
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
    """Let BLAS, and OpenMP where a library has loaded it, use so many threads within a `with` block.

    Raises `InputError` unless `count` is a whole number of at least 1. More than there are processors is more than
    helps. The limit is the process's, not the thread's: of blocks that overlap, the last one entered decides.

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
        except KeyboardInterrupt:  # before it was closed, maybe
            limits.close(limit)
            raise


def obey_environment() -> None:
    """Limit the threads for good to what FASTBP_THREADS says, if it is set; raises `InputError` for no number."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{VARIABLE} is {brief(text)}; wanted is a whole number of at least 1")
    limits.keep(Limit(int(text), libraries()))
    _warn_if_without_effect(VARIABLE)


def _warn_if_without_effect(what: str) -> None:
    """Warn where compiled code calls a BLAS whose number of threads cannot be set while the process runs."""
    from fastbp_kernels.cpu.blas_library import library

    called = library(os.environ.get("FASTBP_BLAS") or "scipy")
    if called.controller is None:
        hint = "; set VECLIB_MAXIMUM_THREADS before Python starts" if called.name() == "Accelerate" else ""
        warnings.warn(f"{what} has no effect on {called.name()}, the BLAS that fastbp calls{hint}", stacklevel=4)


def in_use() -> dict[str, int]:
    """Return how many threads each library that has been loaded would use now, by its name.

    >>> all(count >= 1 for count in in_use().values())
    True
    """
    from threadpoolctl import threadpool_info

    return {f"{pool['internal_api']} {pool['version']}": pool["num_threads"] for pool in threadpool_info()}


def libraries() -> list[ThreadPool]:
    """Return the libraries loaded so far that have a number of threads, SciPy's BLAS among them."""
    from scipy.linalg import cython_blas  # noqa: F401 (the BLAS that Numba calls; a limit reaches what is loaded)
    from threadpoolctl import ThreadpoolController

    return [thread_pool(found) for found in ThreadpoolController().lib_controllers]


def thread_pool(found: Any) -> ThreadPool:
    """Return the thread pool of a library that threadpoolctl has found."""
    return ThreadPool(found.filepath, found.get_num_threads, _setter(found))


def _setter(found: Any) -> Callable[[int], Any]:
    """Return the function that sets a library's number of threads, from whichever thread it is called.

    threadpoolctl's own has no effect on OpenBLAS in any thread but the first that called it.
    """
    if getattr(found, "threading_layer", "") == "pthreads":
        library = ctypes.CDLL(found.filepath)
        for prefix, suffix in product(("scipy_", ""), ("", "64_", "_64")):
            setter = getattr(library, f"{prefix}openblas_set_num_threads{suffix}", None)
            if setter is not None:
                return cast(Callable[[int], Any], setter)
    return cast(Callable[[int], Any], found.set_num_threads)
