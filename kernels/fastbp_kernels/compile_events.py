"""Notify a listener before a kernel is compiled.

A compilation takes seconds. Without a notice, the user would see nothing during this time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType

COMPILERS: set[CodeType] = set()
"""The code objects of the Numba functions that do the compiling. The set is empty until Numba is imported.

Ctrl-C may interrupt the program while one of these functions is on the call stack."""

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
