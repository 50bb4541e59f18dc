"""Make `os.fork` safe while other threads import modules or compile: the fork waits for these threads first.

A child process has only the thread that called fork. Another thread may hold a lock at that moment, such as an import
lock or the lock of Numba's compiler. In the child, this lock would never be released, and the child would hang as soon
as it trains. The backend "numpy" imports this module just before it imports Numba.
"""

import _thread
import logging  # noqa: F401 (for the reason given at `register_at_fork` below)
import os
import signal
import sys
import threading
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from fastbp.backends.interrupts import uninterrupted

_PACKAGES = ("fastbp", "fastbp_kernels", "numba", "llvmlite", "scipy", "numpy", "threadpoolctl")


class _Fork(threading.local):
    """The state of a fork that this thread has begun. Each thread has its own state.

    `compiler` is the lock of Numba's compiler, or None while this thread has not acquired the lock. `waited` contains
    the names of the modules whose imports this thread has already waited for. `ctrl_c` holds Ctrl-C back during the
    fork.
    """

    def __init__(self) -> None:
        self.compiler: Any = None
        self.waited: set[str] = set()
        self.ctrl_c = uninterrupted()  # an exception in a fork handler would be printed and ignored


_fork = _Fork()
_pressed: list[int] = []
# A fork handler without Python code, so that KeyboardInterrupt is raised where `os.fork` returns and not in a handler.
# `sort` calls `interrupt_main(entry)` for each entry of `_pressed`.
_press_again = partial(_pressed.sort, key=_thread.interrupt_main)


def _before() -> None:
    _fork.ctrl_c.__enter__()
    _fork.waited.clear()
    _pressed.clear()
    _acquire()
    while names := _imported_elsewhere():
        _release()  # the import may need the compiler's lock
        _fork.waited.add(names[0])
        with suppress(Exception):  # if the import fails, the other thread raises the exception
            import_module(names[0])  # waits for the other thread, or returns at once if the import is in this thread
        _acquire()


def _acquire() -> None:
    _fork.compiler = getattr(sys.modules.get("numba.core.compiler_lock"), "global_compiler_lock", None)
    if _fork.compiler is not None:
        _fork.compiler.acquire()


def _release() -> None:
    compiler, _fork.compiler = _fork.compiler, None
    if compiler is not None:
        compiler.release()


def _after_in_parent() -> None:
    _release()
    try:
        _fork.ctrl_c.__exit__(None, None, None)
    except KeyboardInterrupt:
        _pressed.append(signal.SIGINT)


def _after_in_child() -> None:
    _release()
    with suppress(KeyboardInterrupt):
        _fork.ctrl_c.__exit__(None, None, None)
    for name in _imported_elsewhere():  # started during the fork; with None, a later import fails and does not hang
        sys.modules[name] = None  # type: ignore[assignment]


def _imported_elsewhere() -> list[str]:
    """Return the names of modules that are being imported now and are needed for training.

    Modules that this thread has already waited for are left out.
    """
    named = [(name, module) for name, module in list(sys.modules.items()) if name.partition(".")[0] in _PACKAGES]
    specs = [(name, getattr(module, "__spec__", None)) for name, module in named if name not in _fork.waited]
    return [name for name, spec in specs if getattr(spec, "_initializing", False)]


# Before a fork, handlers run in reverse order of registration. `logging` is imported above, so its handler is
# registered first, and takes the lock of `logging` only after `_before`. Compilers need this lock, because they log.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
    os.register_at_fork(after_in_parent=_press_again)
