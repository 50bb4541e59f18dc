"""Process the parts of a data set on several threads, each part by compiled code that uses one thread.

The threads are those of `thread_pool`. Compiled code releases the GIL, so the threads run at the same time. BLAS
uses one thread meanwhile. How the data are split does not depend on the number of threads, so the results do not depend
on it either.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from typing import TypeVar

from fastbp.backends.numpy.thread_pool import pool
from fastbp.backends.numpy.threads import Limit, blas_thread_pool, limits

R = TypeVar("R")
MIN_PARALLEL = 2**24
"""The number of multiplications from which several threads are used.

So many multiplications take about 1 ms on one thread, and waking a thread takes about 0.05 ms."""

MIN_SPLIT = 2**18
"""The number of multiplications up to which OpenBLAS uses one thread, whatever its number of threads is."""


def for_each(work: Callable[[int], None], parts: Sequence[int], multiplications: int) -> None:
    """Call a function with each of the parts, on as many threads as BLAS may use.

    If several calls fail, the exception of the lowest part that failed is raised. KeyboardInterrupt has priority.
    """
    blas = blas_thread_pool() if multiplications >= MIN_PARALLEL else None
    count = min(limits.without_training(blas), len(parts)) if blas is not None else 1
    queue = _Queue(work, parts)
    on_one_blas_thread(partial(_run_on_threads, queue, count))
    queue.raise_first()


def on_one_blas_thread(function: Callable[[], R]) -> R:
    """Call a function while BLAS uses one thread, if its number of threads can be set; return what it returns."""
    blas = blas_thread_pool()
    if blas is None or blas.threads() == 1:
        return function()
    limit = Limit(1, [blas])
    try:
        limits.open(limit, training=True)
        result = function()
    finally:
        try:
            limits.close(limit)
        except KeyboardInterrupt:  # Ctrl-C may have come before the limit was closed
            limits.close(limit)
            raise
    return result


def _run_on_threads(queue: "_Queue", count: int) -> None:
    others: list[Future[None]] = []
    try:
        with suppress(RuntimeError):  # the operating system may allow no more threads
            others.extend(pool.submit(queue.run, count - 1) for _ in range(count - 1))
        queue.run()
    finally:
        queue.stopped = True
        wait([other for other in others if not other.cancel()])


class _Queue:
    """The parts that no thread has taken yet, and the exceptions raised so far."""

    def __init__(self, work: Callable[[int], None], parts: Sequence[int]) -> None:
        self._work, self._remaining, self.stopped = work, iter(parts), False
        self._failures: dict[int, BaseException] = {}

    def run(self) -> None:
        """Take one part after the other, until none is left or a call has failed."""
        for part in self._remaining:
            if self.stopped:
                return
            try:
                self._work(part)
            except BaseException as error:
                self._failures[part], self.stopped = error, True

    def raise_first(self) -> None:
        """Raise KeyboardInterrupt if it has come, or the exception of the lowest part that failed, if there is one."""
        for _, error in sorted(self._failures.items(), key=lambda item: (isinstance(item[1], Exception), item[0])):
            raise error
