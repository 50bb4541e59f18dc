"""Share a kernel's loop with one worker thread.

A kernel that loops over a range offers the second half of the range to the worker as a task. To do so, it writes the
task into the slot, a piece of memory that all threads share. This is called posting. The kernel then runs the first
half itself. The worker may meanwhile claim the task and run it. If the worker has claimed the task, the kernel waits
until the task is done. Otherwise, the kernel reclaims the task and runs it. The kernel therefore never waits for a
worker that has not begun, for instance because the system has not scheduled it. Handing over a task that the worker
claims costs 0.2 µs.

The slot goes through the states below. The kernel locks the slot, posts a task, reclaims the task and frees the slot.
The worker claims a task and marks it as done. Locking, claiming and reclaiming are compare-and-swap operations: if two
threads try at the same time, only one succeeds.

    FREE → LOCKED → POSTED → CLAIMED → DONE → FREE
                       └→ LOCKED (reclaimed) → FREE

The place where a range is split depends on whether a worker is present (`WORKER_PRESENT`). It does not depend on
whether kernels post their tasks (`POSTING`), nor on which thread runs a task. So with the same number of threads,
results are the same to the last bit.
"""

import platform
import sys
from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import register_jitable

from fastbp_kernels.numba_private import (
    INLINED_OPTIONS,
    call_task,
    compare_and_swap_word,
    load_word,
    pause,
    shared_words,
    store_word,
)

AVAILABLE = sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64")
"""Whether a worker can be used on this platform. Workers have been tested on Linux on x86-64 only."""

WORKER_PRESENT, POSTING, STATE, CODE, ARGS, START, END = range(7)  # indices into the slot
FREE, LOCKED, POSTED, CLAIMED, DONE = range(5)  # values of slot[STATE]

slot = shared_words
"""The one slot. It holds at most one task."""

# A waiting thread polls this many times, for about 50 µs, before it yields its processor to other threads.
_SPINS = 2000
_yield_processor = types.ExternalFunction("sched_yield", types.intc())
RangeBody = Callable[[Any, Any, Any], None]


def range_body(options: dict[str, Any]) -> Callable[[RangeBody], RangeBody]:
    """Return a decorator for functions with the arguments (args, start, end).

    Such a function loops over the range from `start` to `end`, and this range may be split between threads. `options`
    are Numba's options for compiling the function.
    """
    # The options are part of the cache's keys. They are sorted, because the order of a set differs between processes.
    error_model, fastmath = options["error_model"], sorted(options["fastmath"])

    def marked(function: RangeBody) -> RangeBody:
        function.options = error_model, fastmath  # type: ignore[attr-defined]
        return register_jitable(function)  # type: ignore[no-any-return]

    return marked


@register_jitable(**INLINED_OPTIONS)  # type: ignore[untyped-decorator]
def _run_alone(code: Any, args: Any, n: Any, large_enough: Any) -> None:
    call_task(code, args, 0, n)


@register_jitable(**INLINED_OPTIONS)  # type: ignore[untyped-decorator]
def _run_shared(code: Any, args: Any, n: Any, large_enough: Any) -> None:
    middle = n
    if large_enough and load_word(WORKER_PRESENT) != 0:
        # If a range has more than 32 rows, the number of rows in its first part is a multiple of 3 or of 16. A tile of
        # `small_gemm` has 3 rows, and 16 rows are a cache line.
        unit = 1 if n <= 32 else 3 if n < 256 else 16
        middle = ((n + 1) // 2 + unit - 1) // unit * unit
    posted = middle < n and load_word(POSTING) != 0 and compare_and_swap_word(STATE, FREE, LOCKED)
    if posted:
        store_word(CODE, code)
        store_word(ARGS, args)
        store_word(START, middle)
        store_word(END, n)
        store_word(STATE, POSTED)
    call_task(code, args, 0, middle)
    if middle < n:
        if not posted or compare_and_swap_word(STATE, POSTED, LOCKED):  # not posted, or reclaimed
            call_task(code, args, middle, n)
        else:
            spins = 0
            while load_word(STATE) != DONE:
                spins += 1
                if spins < _SPINS:
                    pause()
                else:
                    _yield_processor()
    if posted:
        store_word(STATE, FREE)


# `_run_alone` refers neither to the slot nor to functions of the system.
parallel_for_two = _run_shared if AVAILABLE else _run_alone
"""Run a task on the range from 0 to n. If `large_enough` is true, the second half is posted for the worker.

The arguments are (code, args, n, large_enough). `code` and `args` are the two addresses from `make_task`."""


def worker_loop() -> None:
    """Claim and run posted tasks as long as `WORKER_PRESENT` has the value that it has now, if this is not 0.

    The worker thread runs this function in compiled form. Each worker has a number, which is the value of
    `WORKER_PRESENT`. So a worker that is late to see the end of its training does not stay for the next one.
    """
    spins, number = 0, load_word(WORKER_PRESENT)
    while number != 0 and load_word(WORKER_PRESENT) == number:
        if load_word(STATE) == POSTED and compare_and_swap_word(STATE, POSTED, CLAIMED):
            call_task(load_word(CODE), load_word(ARGS), load_word(START), load_word(END))
            store_word(STATE, DONE)
            spins = 0
        elif spins < _SPINS:
            spins += 1
            pause()
        else:
            _yield_processor()
