"""Sharing a kernel's loop with one worker thread.

A kernel that loops over a range posts the second half of it, as a task, in a slot of memory that all threads share, and
runs the first half. Then it reclaims the task and runs it too, unless the worker has claimed it; in that case it waits
until the task is done. The kernel therefore never waits for a worker that has not begun, for instance because the
system has not scheduled it. A task that is claimed costs 0.2 µs.

The slot goes through these states. The kernel locks, posts, reclaims and frees it; the worker claims a task and marks
it done. Locking, claiming and reclaiming are compare-and-swaps, so that one thread succeeds.

    FREE → LOCKED → POSTED → CLAIMED → DONE → FREE
                       └→ LOCKED (reclaimed) → FREE

Where a range is split depends on whether a worker is present (`WORKER_PRESENT`). It does not depend on whether kernels
post their tasks (`POSTING`), nor on which thread runs them. So one number of threads always gives the same bits.
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
"""Whether this platform has a worker: it has been tested on these alone."""

WORKER_PRESENT, POSTING, STATE, CODE, ARGS, START, END = range(7)  # indices into the slot
FREE, LOCKED, POSTED, CLAIMED, DONE = range(5)  # values of slot[STATE]

slot = shared_words
"""The one slot. It holds at most one task."""

_SPINS = 2000  # polls, about 50 µs, before a thread that waits yields its processor to others
_yield_processor = types.ExternalFunction("sched_yield", types.intc())
RangeBody = Callable[[Any, Any, Any], None]


def range_body(options: dict[str, Any]) -> Callable[[RangeBody], RangeBody]:
    """Mark a function `body(args, start, end)` as one whose range may be split; options are Numba's for it."""
    error_model, fastmath = options["error_model"], sorted(options["fastmath"])  # a set's order differs by process,

    def marked(function: RangeBody) -> RangeBody:
        function.options = error_model, fastmath  # type: ignore[attr-defined] # and this is part of the cache's keys
        return register_jitable(function)  # type: ignore[no-any-return]

    return marked


@register_jitable(**INLINED_OPTIONS)  # type: ignore[untyped-decorator]
def _run_alone(code: Any, args: Any, n: Any, large_enough: Any) -> None:
    call_task(code, args, 0, n)


@register_jitable(**INLINED_OPTIONS)  # type: ignore[untyped-decorator]
def _run_shared(code: Any, args: Any, n: Any, large_enough: Any) -> None:
    middle = n
    if large_enough and load_word(WORKER_PRESENT) != 0:
        unit = 1 if n <= 32 else 3 if n < 256 else 16  # of a longer range: the rows of a tile, or of a cache line
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


parallel_for_two = _run_shared if AVAILABLE else _run_alone  # which names neither the slot nor the system's functions
"""(code, args, n, large_enough): run a task from `make_task` on 0 to n; if `large_enough`, post half for the worker."""


def worker_loop() -> None:
    """Claim and run posted tasks for as long as a worker is to be present. Compile this for the worker to run."""
    spins = 0
    while load_word(WORKER_PRESENT) != 0:
        if load_word(STATE) == POSTED and compare_and_swap_word(STATE, POSTED, CLAIMED):
            call_task(load_word(CODE), load_word(ARGS), load_word(START), load_word(END))
            store_word(STATE, DONE)
            spins = 0
        elif spins < _SPINS:
            spins += 1
            pause()
        else:
            _yield_processor()
