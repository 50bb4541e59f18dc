"""Processes forked while another thread imports or compiles can train, and do not wait for a lock forever."""

import os
import signal
import sys
import threading
import types

import pytest
from numba.core.compiler_lock import global_compiler_lock

from fastbp.backends import forks
from fastbp.backends.numpy import threads, worker_thread

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

FORKED = """
import os, signal, sys, threading, warnings
warnings.filterwarnings("ignore", category=DeprecationWarning)  # Python 3.12 and later warn about fork and threads
import numpy as np
import fastbp
from fastbp_kernels.compile_events import on_compile

compiles = threading.Event()

def use():
    with on_compile(compiles.set):
        fastbp.Network([3, 2], rng=0).feedforward(np.ones((3, 4)))

def forked():
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        use()
        os._exit(0)
    return child

other = threading.Thread(target=use)
other.start()
while not getattr(getattr(sys.modules.get("numba"), "__spec__", None), "_initializing", False):
    assert not compiles.is_set()
children = [forked()]
compiles.wait(60)
children.append(forked())
other.join()
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


@pytest.mark.slow
def test_a_process_forked_while_another_thread_imports_and_compiles_can_train(run_python, tmp_path):
    done = run_python(FORKED, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.stdout == "[0, 0]\n", done.stderr


def exit_code_of_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_waits_for_other_threads_and_leaves_the_locks_free_in_parent_and_child(monkeypatch):
    held, release, acquire = threading.Event(), threading.Event(), forks._acquire
    locks = [worker_thread._worker.lock, threads.limits.lock, global_compiler_lock._lock]

    def hold():
        with locks[2]:
            held.set()
            release.wait(60)

    def acquired():
        release.set()
        acquire()

    monkeypatch.setattr(forks, "_acquire", acquired)
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)

    def work():
        tried = threading.Thread(target=lambda: free.extend(lock.acquire(blocking=False) for lock in locks))
        free = []
        tried.start()
        tried.join()
        assert free == [True, True, True]

    assert exit_code_of_child(work) == 0
    holder.join()
    assert not any(lock._is_owned() for lock in locks)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_thread_limits_of_other_threads_end_in_a_forked_child(monkeypatch):
    counts, entered, leave = [8], threading.Event(), threading.Event()
    library = threads.ThreadPool("blas", lambda: counts[-1], counts.append)
    monkeypatch.setattr(threads, "libraries", lambda: [library])

    def within():
        with threads.use_threads(1):
            entered.set()
            leave.wait(60)

    other = threading.Thread(target=within)
    other.start()
    entered.wait(60)

    def work():
        assert counts[-1] == 8

    assert exit_code_of_child(work) == 0
    assert counts[-1] == 1
    leave.set()
    other.join()
    assert counts[-1] == 8


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_import_that_starts_during_the_fork_fails_in_the_child(monkeypatch):
    module = types.ModuleType("fastbp.never_imported")
    module.__spec__ = types.SimpleNamespace(_initializing=False, name=module.__name__)
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def work():
        module.__spec__._initializing = True
        forks._fork.ctrl_c.__enter__()
        forks._after_in_child()
        with pytest.raises(ModuleNotFoundError, match=r"import of fastbp\.never_imported halted"):
            import fastbp.never_imported  # noqa: F401

    assert exit_code_of_child(work) == 0
    assert sys.modules[module.__name__] is module


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ctrl_c_while_a_fork_waits_is_raised_after_it(monkeypatch):
    acquire = forks._acquire

    def pressed():
        signal.raise_signal(signal.SIGINT)
        acquire()

    def fork_and_wait():
        exit_code_of_child(lambda: None)
        threading.Event().wait(60)

    monkeypatch.setattr(forks, "_acquire", pressed)
    with pytest.raises(KeyboardInterrupt):
        fork_and_wait()
    assert not global_compiler_lock._lock._is_owned()
