"""Notify a listener before a kernel is compiled. Compiling takes seconds, and nothing else is shown meanwhile."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType

COMPILERS: set[CodeType] = set()
"""The code objects of those functions of Numba that compile. The set is empty until Numba is imported.

While one of these functions is on the call stack, Ctrl-C may interrupt."""

_listener: ContextVar[Callable[[], None] | None] = ContextVar("fastbp_compiling", default=None)


@contextmanager
def on_compile(listener: Callable[[], None]) -> Iterator[None]:
    """Call a function before each compilation in a `with` block.

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
    """Call the listener, if there is one. This function is called when a kernel is not in the cache."""
    listener = _listener.get()
    if listener is not None:
        listener()
