"""Ctrl-C at a moment of our choosing: between mini-batches, never in the middle of one.

Python raises KeyboardInterrupt wherever it happens to be: between two statements that belong together, or in a Python
function that C code has called and whose exceptions it replaces (Numba's dispatcher) or drops (llvmlite's callbacks).
"""

# The functions of `signal` convert to and from enums, which takes ten times as long.
import _signal  # type: ignore[import-not-found]
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from fastbp_kernels.compile_events import COMPILERS

_SIGINT = int(_signal.SIGINT)
_default = _signal.default_int_handler


class uninterrupted:  # noqa: N801 (it is used like a function)
    """Hold Ctrl-C back until the block ends, then raise KeyboardInterrupt, also in place of another exception.

    A second Ctrl-C ends a compilation, which may take long; all others are held back too. Blocks can be nested: the
    outermost one decides. Outside the main thread, or where the program has set its own handler of SIGINT, nothing
    changes.

    >>> with uninterrupted():
    ...     pass
    """

    # The handler in here never raises but in a compilation, and `signal` runs the handler of a signal that is pending
    # before it changes anything. So there is no bytecode at which an interrupt could leave the handler in place, or
    # end the block early.

    __slots__ = ("_holds", "_pressed")

    def __enter__(self) -> "uninterrupted":
        self._pressed = False
        self._holds = _signal.getsignal(_SIGINT) is _default and threading.current_thread() is threading.main_thread()
        if self._holds:
            _signal.signal(_SIGINT, self._hold_back)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._holds:
            _signal.signal(_SIGINT, _default)
            if self._pressed and not isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt

    def let_through(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function that Ctrl-C may interrupt; raise KeyboardInterrupt instead if it has been pressed before."""
        try:
            if self._holds:
                _signal.signal(_SIGINT, _default)
            if self._pressed:
                raise KeyboardInterrupt
            function(*arguments)
        finally:
            if self._holds:
                _signal.signal(_SIGINT, self._hold_back)

    def _hold_back(self, number: int, frame: FrameType | None) -> None:
        second, self._pressed = self._pressed, True
        if second and _is_compiling(frame):
            raise KeyboardInterrupt


def _is_compiling(frame: FrameType | None) -> bool:
    """Return whether a frame is that of a compiler, or called by one: nothing has been computed there so far."""
    while frame is not None:
        if frame.f_code in COMPILERS:
            return True
        frame = frame.f_back
    return False
