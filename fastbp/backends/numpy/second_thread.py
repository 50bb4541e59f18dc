"""The second thread of the compiled backend, which takes half of every larger kernel; at rest when none is wanted.

BLAS has one thread meanwhile, since products are cut in halves like all else. For small networks that is faster than
threads of BLAS's own: each thread keeps its half of W, of ∇C and of the moments in its own cache.
"""

import math
import os
import sys
import threading
from functools import cache, lru_cache
from itertools import pairwise

from fastbp.backends.numpy.threads import Limit, ThreadPool, limits, thread_pool
from fastbp.operations import Plan, WorkerContext

_ENOUGH = 2**26  # multiplications, about a millisecond, for which a thread is woken, which takes a twentieth of one
_LARGE = 2**22  # multiplications in one product above which halves pay anyway, or more than two threads of BLAS do
_MANY = 512  # examples in a mini-batch above which BLAS's threads, which divide these among them, do as well
_TELLING, _FIRST = 0.005, 1  # seconds of mini-batches from which on they say something; the first loads what it needs
_AGAIN = 64  # times that mini-batches were timed, after which the way that was slower is tried again


def worker_context(plan: Plan, source: str, m: int, n: int) -> WorkerContext:
    """Return the second thread's help for n examples, of a dtype, that a network is trained on by ms, if worth it.

    It is to be had where BLAS may use two threads or more.
    """
    products = [columns * rows for columns, rows in pairwise(plan.sizes)]
    if n * sum(products) < _ENOUGH or m > _MANY:
        return WorkerContext()
    return _HelpOfThread(m * max(products), _times_of(plan, source, m))


class _Times:
    """The least that a mini-batch took where halves were offered, and where not, slowly forgotten."""

    def __init__(self) -> None:
        self._least, self._count = {True: math.inf, False: math.inf}, 0

    def add(self, offered: bool, seconds: float) -> None:
        """Take down how long one took."""
        self._least[offered] = min(seconds, 1.05 * self._least[offered])
        self._count += 1

    def best(self) -> bool:
        """Return whether to offer: each way twice in turn, then the better one, and now and then the other, to see."""
        if self._count < 4:
            return self._count % 2 == 0
        best = self._least[True] <= self._least[False]
        return not best if self._count % _AGAIN == 0 else best


@lru_cache(maxsize=64)  # bounded: a plan holds its formulas
def _times_of(plan: Plan, source: str, m: int) -> _Times:
    """Return the times of the networks, examples and mini-batches of a kind in this process."""
    return _Times()


class _HelpOfThread(WorkerContext):
    """A context in which kernels are cut in halves, and the second of them offered as long as that is faster.

    It is not where processors are far from each other, or busy with something else. What comes out is the same.
    """

    def __init__(self, largest: int, times: _Times) -> None:
        self._largest, self._times, self._has_it, self._offers = largest, times, False, True

    def __enter__(self) -> WorkerContext:
        self._has_it = _second.begin(self, self._largest)
        if self._has_it:
            self._offer()
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_it:
            _second.end(self)

    def record_time(self, count: int, seconds: float) -> None:
        """Take down how long mini-batches took, and go on in the way that was faster lately."""
        if not self._has_it or self._largest > _LARGE or seconds < _TELLING or count <= _FIRST:
            return
        self._times.add(self._offers, seconds / count)
        self._offer()

    def _offer(self) -> None:
        self._offers = self._times.best()
        _second.offer(self._offers)


class _SecondThread:
    """The thread, started when first wanted, and the contexts that want it now."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._reset()

    def _reset(self) -> None:
        self._wanted = threading.Event()
        self._users: set[WorkerContext] = set()
        self._limit, self._started = Limit(1, ()), False

    def begin(self, user: WorkerContext, largest: int) -> bool:
        """Be there from now on, if threads are to be had; return whether it is. `largest` is that of the products."""
        from fastbp_kernels.cpu import halves

        with self.lock:
            if not self._users:
                blas = _blas() if halves.AVAILABLE else None
                count = limits.without_training(blas) if blas else 1
                if blas is None or count < 2 or (count > 2 and largest > _LARGE):
                    return False
                if not self._started and not self._start():
                    return False
                self._limit = Limit(1, [blas])
                limits.open(self._limit, training=True)
                halves.board[halves.PRESENT] = 1
                self._wanted.set()
            self._users.add(user)
            return True

    def end(self, user: WorkerContext) -> None:
        """Rest when all who wanted it have ended."""
        from fastbp_kernels.cpu import halves

        with self.lock:
            if user in self._users and len(self._users) == 1:
                self._wanted.clear()
                halves.board[halves.PRESENT] = halves.board[halves.OFFERING] = 0
                limits.close(self._limit)
            self._users.discard(user)

    def offer(self, offers: bool) -> None:
        """Have kernels offer their second halves, or not."""
        from fastbp_kernels.cpu import halves

        halves.board[halves.OFFERING] = offers

    def forget(self) -> None:
        """Start over in a process that has been forked, whose thread is not there."""
        if "fastbp_kernels.cpu.halves" in sys.modules:
            sys.modules["fastbp_kernels.cpu.halves"].board[:] = 0
        limits.close(self._limit)
        self._reset()
        self.lock.release()

    def _start(self) -> bool:
        """Start the thread; return whether the system has one to give."""
        from fastbp_kernels.cpu import halves
        from fastbp_kernels.cpu.jit_cache import lazy_jit

        serve = lazy_jit(halves.serve)
        serve()  # for nobody, so that it is compiled here

        def run() -> None:
            while self._wanted.wait():
                serve()

        try:
            threading.Thread(target=run, name="fastbp", daemon=True).start()
        except RuntimeError:
            return False
        self._started = True
        return True


@cache
def _blas() -> ThreadPool | None:
    """Return the BLAS whose products compiled code calls, if its number of threads is one for all who call it."""
    from fastbp_kernels.cpu import blas
    from fastbp_kernels.cpu.blas_library import library

    called = library(blas.chosen()).controller
    layer = getattr(called, "threading_layer", "")  # by OpenMP, each thread has a number of its own
    return thread_pool(called) if layer == "pthreads" or getattr(called, "internal_api", "") == "mkl" else None


_second = _SecondThread()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_second.lock.acquire, after_in_parent=_second.lock.release, after_in_child=_second.forget
    )
