"""The worker: a thread of the pool that runs half of each larger kernel during training.

The kernels are the compiled loops and matrix products of the backend. A kernel posts the second half of its work as a
task, that is, it offers this half to the worker, and the worker takes it (`fastbp_kernels.cpu.work_sharing`). BLAS uses
one thread during training, because matrix products are split in the same way. For small networks, the worker is faster
than the threads of BLAS, because each of the two threads keeps its half of W, ∇C and the moments in its own cache.

FASTBP_WORKER=0 in the environment turns the worker off. BLAS then uses its threads during training too. The default is
1, which means on. Results with and without the worker are the same up to rounding errors. If the number of threads is
limited to one, no worker is used, so the setting does not change the results at all.

This mechanism may be deleted when something simpler is nearly as fast. Examples are a parallel region of Numba, and an
ordinary thread that sleeps between kernels. On the book's networks, the time per epoch of the simpler mechanism has to
be within 10 % of the time of this one. benchmarks/NOTES.md has the measurement.
"""

import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache
from itertools import pairwise

from fastbp.backends.numpy.thread_pool import pool
from fastbp.backends.numpy.threads import Limit, blas_thread_pool, limits
from fastbp.errors import InputError, brief
from fastbp.operations import Plan, WorkerContext

VARIABLE = "FASTBP_WORKER"

_MIN_MULTIPLICATIONS = 2**26  # in a training; they take about 1 ms, and waking the worker takes a twentieth of that
# Multiplications in one product. Above this number, the better way is known without timing: the worker if there are two
# threads, and the threads of BLAS if there are more.
_LARGE_PRODUCT = 2**22
_MAX_BATCH = 512  # examples per mini-batch; above, the threads of BLAS are as fast, because they divide the examples
# Shorter calls are not timed, because their times are too noisy, and because the first call also loads code.
_MIN_SECONDS, _MIN_BATCHES = 0.005, 2
_RETRY_EVERY = 64  # number of timed calls after which the slower way is tried once more


def worker_context(plan: Plan, source: str, m: int, n: int) -> WorkerContext:
    """Return a context in which the worker helps with a training.

    The training is on n examples, which have the dtype `source`, in mini-batches of m. The context does nothing if the
    work is too small, or if the worker is off or not available.
    """
    products = [columns * rows for columns, rows in pairwise(plan.sizes)]
    if n * sum(products) < _MIN_MULTIPLICATIONS or m > _MAX_BATCH or not turned_on():
        return WorkerContext()
    return _SharingContext(m * max(products), _times_of(plan, source, m))


def turned_on() -> bool:
    """Return whether FASTBP_WORKER allows the worker; raise `InputError` if its value is invalid."""
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "0", "1"):
        raise InputError(f"{VARIABLE} must be 0 (off) or 1 (on), got {brief(value)}")
    return value != "0"


def describe() -> str:
    """Return a text for `fastbp info`: "on", or the reason why the worker is not used."""
    from fastbp_kernels.cpu import work_sharing

    if not work_sharing.AVAILABLE:
        return "not available on this platform"
    if not turned_on():
        return f"off by {VARIABLE}"
    return "on" if blas_thread_pool() else "not available with this BLAS"


class _BatchTimes:
    """The shortest time of a mini-batch with tasks posted to the worker, and the shortest time without.

    At each measurement, the earlier shortest time is increased by 5 %, so that old times lose their influence.
    """

    def __init__(self) -> None:
        self._shortest, self._count = {True: math.inf, False: math.inf}, 0

    def add(self, posting: bool, seconds: float) -> None:
        """Record the time of a mini-batch."""
        self._shortest[posting] = min(seconds, 1.05 * self._shortest[posting])
        self._count += 1

    def should_post(self) -> bool:
        """Return whether the next mini-batches are to post tasks.

        At first, both ways are tried twice, in turn. Then the faster way is used. Sometimes the slower way is tried
        again.
        """
        if self._count < 4:
            return self._count % 2 == 0
        faster = self._shortest[True] <= self._shortest[False]
        return not faster if self._count % _RETRY_EVERY == 0 else faster


@lru_cache(maxsize=64)  # bounded, because the cache keeps each plan and its formulas in memory
def _times_of(plan: Plan, source: str, m: int) -> _BatchTimes:
    """Return the times measured in this process for a network, the dtype of its examples and a mini-batch size."""
    return _BatchTimes()


class _SharingContext(WorkerContext):
    """A context in which kernels split their work into two halves.

    The kernels post the second half to the worker as long as this is faster. Posting is slower if the two processors
    are far apart, or busy with other programs. The results do not depend on whether tasks are posted.
    """

    def __init__(self, largest_product: int, times: _BatchTimes) -> None:
        self._largest_product, self._times, self._has_worker, self._posting = largest_product, times, False, True

    def __enter__(self) -> WorkerContext:
        self._has_worker = _worker.begin(self, self._largest_product)
        if self._has_worker:
            self._decide()
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_worker:
            _worker.end(self)

    def record_time(self, count: int, seconds: float) -> None:
        """Record how long `count` mini-batches took, and choose the faster way for the next ones."""
        too_short = seconds < _MIN_SECONDS or count < _MIN_BATCHES
        if too_short or not self._has_worker or self._largest_product > _LARGE_PRODUCT:
            return
        self._times.add(self._posting, seconds / count)
        self._decide()

    def _decide(self) -> None:
        self._posting = self._times.should_post()
        _worker.set_posting(self._posting)


class _Worker:
    """The worker, which is a thread of the pool while contexts use it, and these contexts."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._reset()

    def _reset(self) -> None:
        self._users: set[WorkerContext] = set()
        self._limit, self._call, self._number = Limit(1, ()), Future[None](), 0

    def begin(self, user: WorkerContext, largest_product: int) -> bool:
        """Wake a thread for a context. Return False if there is no worker, or if the threads of BLAS are faster."""
        from fastbp_kernels.cpu import work_sharing

        with self.lock:
            if not self._users:
                blas = blas_thread_pool() if work_sharing.AVAILABLE else None
                count = limits.without_training(blas) if blas else 1
                if blas is None or count < 2 or (count > 2 and largest_product > _LARGE_PRODUCT):
                    return False
                worker_loop = _compiled_worker_loop()
                worker_loop()  # compiles the loop in this thread; the call returns at once, as no worker is present
                self._number = self._number % 2**30 + 1
                work_sharing.slot[work_sharing.WORKER_PRESENT] = self._number
                try:
                    self._call = pool.submit(worker_loop, 1)
                except RuntimeError:  # the operating system may allow no more threads
                    work_sharing.slot[work_sharing.WORKER_PRESENT] = 0
                    return False
                self._limit = Limit(1, [blas])
                limits.open(self._limit, training=True)
            self._users.add(user)
            return True

    def end(self, user: WorkerContext) -> None:
        """Remove a context from the users of the worker. If no user is left, give its thread back to the pool."""
        from fastbp_kernels.cpu import work_sharing

        with self.lock:
            if user in self._users and len(self._users) == 1:
                work_sharing.slot[work_sharing.WORKER_PRESENT] = work_sharing.slot[work_sharing.POSTING] = 0
                self._call.cancel()  # if the thread of the pool has not begun it
                limits.close(self._limit)
            self._users.discard(user)

    def set_posting(self, posting: bool) -> None:
        """Set whether kernels post tasks."""
        from fastbp_kernels.cpu import work_sharing

        work_sharing.slot[work_sharing.POSTING] = posting

    def forget(self) -> None:
        """Return to the initial state in a forked process, which does not have the thread."""
        if "fastbp_kernels.cpu.work_sharing" in sys.modules:
            sys.modules["fastbp_kernels.cpu.work_sharing"].slot[:] = 0
        limits.close(self._limit)
        self._reset()
        self.lock.release()


@lru_cache(maxsize=1)
def _compiled_worker_loop() -> Callable[[], None]:
    from fastbp_kernels.cpu import work_sharing
    from fastbp_kernels.cpu.jit_cache import lazy_jit

    return lazy_jit(work_sharing.worker_loop)


_worker = _Worker()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_worker.lock.acquire, after_in_parent=_worker.lock.release, after_in_child=_worker.forget
    )
