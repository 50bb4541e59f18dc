"""Notify a listener before a kernel is compiled. Compiling takes seconds, in which nothing else is shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType

COMPILERS: set[CodeType] = set()
"""The code of Numba's compiling functions, once Numba is imported. Where a stack has one, Ctrl-C may interrupt."""

_listener: ContextVar[Callable[[], None] | None] = ContextVar("fastbp_compiling", default=None)


@contextmanager
def on_compile(listener: Callable[[], None]) -> Iterator[None]:
    """Within a `with` block, call a function before each compilation.

    >>> with on_compile(lambda: print("compiling")):
    ...     notify_compile()
    compiling
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def notify_compile() -> None:
    """Call the listener, if there is one: something is about to be compiled that was not in the cache."""
    listener = _listener.get()
    if listener is not None:
        listener()
