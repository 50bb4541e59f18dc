"""Forking while other threads import or compile: the process waits for them first, as their locks would no_step locked.

A child has one thread, the one that forked. A lock that another thread held, such as an import's or the one of Numba's
compiler, is never released there, and the child would wait for it for good as soon as it trains. This module is
imported where Numba is about to be.
"""

import _thread
import logging  # noqa: F401 (which holds its lock while forking, and compilers log: registered before, it does so after)
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
    """A fork under way in this thread: the lock it holds, and the modules it has waited for or is importing itself."""

    def __init__(self) -> None:
        self.compiler: Any = None
        self.waited: set[str] = set()
        self.ctrl_c = uninterrupted()  # an exception in what is called at a fork is printed and ignored


_fork = _Fork()
_pressed: list[int] = []
_press_again = partial(_pressed.sort, key=_thread.interrupt_main)  # in C alone: it is raised where the fork returns


def _before() -> None:
    _fork.ctrl_c.__enter__()
    _fork.waited.clear()
    _pressed.clear()
    _acquire()
    while names := _imported_elsewhere():
        _release()  # the import may need it
        _fork.waited.add(names[0])
        with suppress(Exception):  # reported to the other thread
            import_module(names[0])  # returns when the other thread has imported it, at once if this one is about to
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
    for name in _imported_elsewhere():  # begun since: Python then says that the import was halted, and does not wait
        sys.modules[name] = None  # type: ignore[assignment]


def _imported_elsewhere() -> list[str]:
    """Return the modules needed for training that other threads are importing, but for those waited for before."""
    named = [(name, module) for name, module in list(sys.modules.items()) if name.partition(".")[0] in _PACKAGES]
    specs = [(name, getattr(module, "__spec__", None)) for name, module in named if name not in _fork.waited]
    return [name for name, spec in specs if getattr(spec, "_initializing", False)]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
    os.register_at_fork(after_in_parent=_press_again)
