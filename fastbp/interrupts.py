"""Ctrl-C at a moment of our choosing: between mini-batches, never in the middle of one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends, then raise KeyboardInterrupt; a second Ctrl-C is not held back.

    Outside the main thread, or where somebody else handles SIGINT, nothing changes.

    >>> with uninterrupted():
    ...     pass
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or handler is not signal.default_int_handler:
        yield
        return
    held_back = False

    def hold_back(number: int, frame: Any) -> None:
        nonlocal held_back
        if held_back:
            raise KeyboardInterrupt
        held_back = True

    signal.signal(signal.SIGINT, hold_back)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if held_back:
        raise KeyboardInterrupt
