"""Forking while other threads import or compile: the process waits for them first, as their locks would stay locked.

A child has one thread, the one that forked. A lock that another thread held, such as an import's or the one of Numba's
compiler, is never released there, and the child would wait for it for good as soon as it trains.
"""

import _thread
import logging  # noqa: F401 (which holds its lock while forking, and compilers log: registered before, it does so after)
import os
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import Any

from fastbp.interrupts import uninterrupted

_PACKAGES = ("fastbp", "fastbp_kernels", "numba", "llvmlite", "scipy", "numpy", "threadpoolctl")
_locks: list[Any] = []


def hold_while_forking(lock: Any) -> None:
    """Have a thread that forks acquire a reentrant lock, before those given earlier, and release it afterwards."""
    _locks.insert(0, lock)


class _Fork(threading.local):
    """A fork under way in this thread: the locks it holds, and the modules it has waited for or is importing itself."""

    def __init__(self) -> None:
        self.held: list[Any] = []
        self.waited: set[str] = set()
        self.ctrl_c = uninterrupted()  # an exception in what is called at a fork is printed and ignored


_fork = _Fork()


def _before() -> None:
    _fork.ctrl_c.__enter__()
    _fork.waited.clear()
    _acquire()
    while names := _imported_elsewhere():
        _release()  # the import may need them
        _fork.waited.add(names[0])
        with suppress(Exception):  # reported to the other thread
            import_module(names[0])  # returns when the other thread has imported it, at once if this one is about to
        _acquire()


def _acquire() -> None:
    compiler = getattr(sys.modules.get("numba.core.compiler_lock"), "global_compiler_lock", None)
    for lock in [*_locks, *([] if compiler is None else [compiler])]:
        lock.acquire()
        _fork.held.append(lock)


def _release() -> None:
    while _fork.held:
        _fork.held.pop().release()


def _after_in_parent() -> None:
    _release()
    try:
        _fork.ctrl_c.__exit__(None, None, None)
    except KeyboardInterrupt:
        threading.Thread(target=_thread.interrupt_main).start()


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
