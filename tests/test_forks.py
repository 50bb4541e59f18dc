"""Processes forked while another thread imports or compiles: they train, and wait for no lock that nobody releases."""

import os
import sys
import threading
import types

import pytest

from fastbp import forks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

FORKED = """
import os, signal, sys, threading, warnings
warnings.filterwarnings("ignore", category=DeprecationWarning)  # of Python 3.12 and later, about fork and threads
import numpy as np
import fastbp
from fastbp_kernels.compiling import told_of_compiling

compiles = threading.Event()

def use():
    with told_of_compiling(compiles.set):
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
def test_a_process_forked_while_another_thread_imports_and_compiles(run_python, tmp_path):
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
def test_a_fork_waits_for_the_locks_and_releases_them_in_parent_and_child(monkeypatch):
    lock, held, release = threading.RLock(), threading.Event(), threading.Event()
    monkeypatch.setattr(forks, "_locks", [*forks._locks, lock])

    def hold():
        with lock:
            held.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    waiting = threading.Thread(target=release.set)
    monkeypatch.setattr(forks, "_imported_elsewhere", list)
    acquire, acquired = forks._acquire, []
    monkeypatch.setattr(forks, "_acquire", lambda: (waiting.start(), acquire(), acquired.append(len(forks._fork.held))))

    def work():
        assert lock.acquire(blocking=False)
        assert not forks._fork.held

    assert exit_code_of_child(work) == 0
    assert acquired[0] >= len(forks._locks)
    work()
    holder.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_import_begun_at_the_last_moment_is_an_error_in_the_child(monkeypatch):
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
