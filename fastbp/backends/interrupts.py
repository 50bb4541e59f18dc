"""Delay KeyboardInterrupt until a safe moment, for example until a mini-batch is complete.

By default, Python may raise KeyboardInterrupt at any bytecode. This may be between two statements that belong together.
It may also be in a Python function that was called from C code. There the exception can get lost: llvmlite, which
compiles, ignores exceptions in its callbacks.
"""

# The functions of `signal` would take ten times as long, because they convert numbers to enums and back.
import _signal  # type: ignore[import-not-found]
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from fastbp_kernels.compile_events import COMPILERS

_SIGINT = int(_signal.SIGINT)
_default = _signal.default_int_handler


class uninterrupted:  # noqa: N801 (it is used like a function)
    """Hold Ctrl-C back until the `with` block ends.

    If Ctrl-C was pressed, the end of the block raises KeyboardInterrupt, even if the block raises another exception. A
    compilation may take long, so a second Ctrl-C during a compilation raises KeyboardInterrupt at once. At other times,
    a second Ctrl-C is held back too. Blocks can be nested; only the outermost block raises. Outside the main thread,
    and in programs that have set their own SIGINT handler, the block does nothing.

    >>> with uninterrupted():
    ...     pass
    """

    # Our handler raises only during a compilation. `_signal.signal` first runs the handler of a pending signal. Only
    # then does it replace the handler. So there is no bytecode at which an interrupt could leave our handler installed,
    # or end the block early.

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
        """Call a function that Ctrl-C may interrupt.

        If Ctrl-C has already been pressed in this block, raise KeyboardInterrupt instead of calling the function.
        """
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
        if second and is_compiling(frame):
            raise KeyboardInterrupt


def is_compiling(frame: FrameType | None) -> bool:
    """Return whether a compiler is in the call stack of a frame. In that case, no kernel has started to compute."""
    while frame is not None:
        if frame.f_code in COMPILERS:
            return True
        frame = frame.f_back
    return False
