"""How many threads are used: by an option, by FASTBP_THREADS, or within a `with` block.

It is BLAS that is told. Where it may use two or more, training takes a second thread of fastbp's own as well
(`fastbp.backends.second_thread`), and has BLAS use one meanwhile, or leaves BLAS its threads. From the same number come
the same results, bit for bit, of one training at a time: one on another thread may find BLAS with one thread meanwhile.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastbp.checks import InputError, brief, whole_number

VARIABLE = "FASTBP_THREADS"


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Let BLAS, and OpenMP where a library has loaded it, use so many threads within a `with` block.

    Raises `InputError` unless `count` is a whole number of at least 1. More than there are processors is more than
    helps. The limit is the process's, not the thread's.

    >>> with use_threads(1):
    ...     pass
    """
    limits = _limits(whole_number("threads", count))
    try:
        yield
    finally:
        limits.restore_original_limits()


def obey_environment() -> None:
    """Limit the threads for good to what FASTBP_THREADS says, if it is set; raises `InputError` for no number."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{VARIABLE} is {brief(text)}; wanted is a whole number of at least 1")
    _limits(int(text))


def in_use() -> dict[str, int]:
    """Return how many threads each library that has been loaded would use now, by its name.

    >>> all(count >= 1 for count in in_use().values())
    True
    """
    from threadpoolctl import threadpool_info

    return {f"{pool['internal_api']} {pool['version']}": pool["num_threads"] for pool in threadpool_info()}


def _limits(count: int) -> Any:
    from scipy.linalg import cython_blas  # noqa: F401 (the BLAS that Numba calls; a limit reaches what is loaded)
    from threadpoolctl import threadpool_limits

    return threadpool_limits(count)
