import gc
import os
import signal
import subprocess

if "PYTEST_XDIST_WORKER" in os.environ:  # before BLAS is loaded, here and in processes that tests start
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one BLAS thread per worker: idle BLAS threads spin

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts background jobs
    signal.signal(signal.SIGINT, signal.default_int_handler)

gc.set_threshold(100_000, 50, 100)  # a tenth of the time of tests that compile went into garbage collection

import hypothesis
import numpy as np
import pytest
from commands import PYTHON
from hypothesis.database import InMemoryExampleDatabase

if not os.access(os.curdir, os.W_OK):  # hypothesis would warn that it cannot write its examples there
    hypothesis.settings.register_profile("read-only", database=InMemoryExampleDatabase())
    hypothesis.settings.load_profile("read-only")

collect_ignore = ["mpi_programs.py"]  # programs that tests start under mpiexec; they need mpi4py


def pytest_make_parametrize_id(val):
    """Do not use bytes as test ids: gzip files contain the time, and the workers of `-n 2` must agree on the ids."""
    return "bytes" if isinstance(val, bytes) else None


@pytest.fixture
def rng():
    return np.random.default_rng(20_240_321)


@pytest.fixture(params=["numpy", "numpy-plain", "array_api_strict", "torch"])
def backend(request):
    """Return the name of a backend. A test with this fixture runs on every backend that needs no GPU."""
    if request.param == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    return request.param


@pytest.fixture
def run_python(tmp_path):
    """Return a function that runs a script in a new process in a temporary folder, and returns that process."""

    def run(source, *arguments, name="script.py", timeout=600, **environment):
        script = tmp_path / name
        if not script.exists() or script.read_text(encoding="utf-8") != source:  # Numba's cache depends on its time
            script.write_text(source, encoding="utf-8")
        command = [*PYTHON, str(script), *arguments]
        merged = {**os.environ, **environment}
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=tmp_path, env=merged)

    return run


@pytest.fixture
def small_disk(tmp_path):
    """Return the folder of a file system of 64 KiB; skip the test where mounting one is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True, text=True
        )
    except OSError as error:
        pytest.skip(f"a file system cannot be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def two_threads(monkeypatch):
    """Give BLAS two threads, so that training uses fastbp's worker thread, for work of any size."""
    from fastbp.backends.numpy import threads, worker_thread

    monkeypatch.setattr(worker_thread, "_MIN_MULTIPLICATIONS", 0)
    worker_thread._times_of.cache_clear()
    with threads.use_threads(2):
        yield
