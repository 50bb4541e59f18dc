"""Word of a compilation, to whom it may concern: it takes seconds, in which nothing else is to be seen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType
from typing import Any

INLINED_OPTIONS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Numba's options for what compiled code alone calls: the ways in from outside take a tenth of the time to compile."""

COMPILERS: set[CodeType] = set()
"""The code of the functions that compile, once Numba has been imported: who finds it in a stack may interrupt there."""

_listener: ContextVar[Callable[[], None] | None] = ContextVar("fastbp_compiling", default=None)


@contextmanager
def on_compile(listener: Callable[[], None]) -> Iterator[None]:
    """Have a function called, within a `with` block, whenever something has to be compiled.

    >>> with on_compile(lambda: print("compiling")):
    ...     compiling()
    compiling
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def compiling() -> None:
    """Say that something is about to be compiled which was not found in a cache."""
    listener = _listener.get()
    if listener is not None:
        listener()
