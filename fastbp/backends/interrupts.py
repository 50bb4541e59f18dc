"""Delay KeyboardInterrupt to a safe point: between mini-batches, not in the middle of one.

By default Python raises KeyboardInterrupt at any bytecode: between two statements that belong together, or in a Python
function called from C code that replaces its exceptions (Numba's dispatcher) or ignores them (llvmlite's callbacks).
"""

# The functions of `signal` convert to and from enums, which takes ten times longer.
import _signal  # type: ignore[import-not-found]
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from fastbp_kernels.compile_events import COMPILERS

_SIGINT = int(_signal.SIGINT)
_default = _signal.default_int_handler


class uninterrupted:  # noqa: N801 (it is used like a function)
    """Hold Ctrl-C back until the block ends, then raise KeyboardInterrupt, even if the block raises something else.

    During a compilation, which may take long, a second Ctrl-C raises KeyboardInterrupt at once; elsewhere it is also
    held back. Blocks can be nested; the outermost one raises. The block does nothing outside the main thread and in
    programs that have set their own SIGINT handler.

    >>> with uninterrupted():
    ...     pass
    """

    # The handler raises only during a compilation, and `signal` runs the handler of a pending signal before it changes
    # anything. So there is no bytecode at which an interrupt could leave the handler installed or end the block early.

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
        """Call a function that Ctrl-C may interrupt; if Ctrl-C has been pressed, raise KeyboardInterrupt instead."""
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
    """Return whether a compiler is in the call stack of a frame. If so, the kernel has not started to compute."""
    while frame is not None:
        if frame.f_code in COMPILERS:
            return True
        frame = frame.f_back
    return False
