"""The pool of threads that fastbp's parallel work runs on.

Inference gives its parts to the threads of the pool (`parallel_parts`). A training borrows one of them as its worker
(`worker_thread`). Between calls, the threads wait and use no processor.

The threads are daemon threads, so a training in another daemon thread does not keep the process alive. The threads of
`concurrent.futures.ThreadPoolExecutor` would do that, because Python waits for them when it exits.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from fastbp.backends.interrupts import uninterrupted

_Call = tuple[Callable[[], Any], "Future[Any]"]


class CallPool:
    """Threads that wait for calls. They are started when they are first needed."""

    def __init__(self) -> None:
        self._lock, self._calls, self._count = threading.Lock(), SimpleQueue[_Call](), 0

    def submit(self, function: Callable[[], Any], size: int) -> "Future[Any]":
        """Call a function on one of at least `size` threads; raise `RuntimeError` if no thread can be started.

        Ctrl-C is held back, because it could come between the start of a thread and its being counted.
        """
        future: Future[Any] = Future()
        with uninterrupted(), self._lock:
            while self._count < size:
                threading.Thread(target=_run_calls, args=(self._calls,), name="fastbp", daemon=True).start()
                self._count += 1
            self._calls.put((function, future))
        return future

    def forget(self) -> None:
        """Start again without threads, in a forked process, which does not have them."""
        self.__init__()  # type: ignore[misc]


def _run_calls(calls: "SimpleQueue[_Call]") -> None:
    while True:
        function, future = calls.get()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
        del function, future  # keep nothing in memory while the thread waits


pool = CallPool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.forget)
