"""Start programs under mpiexec. Each rank has one BLAS thread, and every run ends after a bounded time."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).with_name("mpi_programs.py")
_beside = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(_beside) if _beside.exists() else shutil.which("mpiexec")
needs_mpi = [
    pytest.mark.mpi,
    pytest.mark.skipif(
        find_spec("mpi4py") is None or MPIEXEC is None, reason="needs mpi4py and mpiexec: pip install mpi4py mpich"
    ),
]


def over_mpi(test):
    """Mark one test like `pytestmark = needs_mpi` marks a file."""
    for mark in needs_mpi:
        test = mark(test)
    return test


ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def command(ranks, *arguments):
    return [MPIEXEC, "-n", str(ranks), sys.executable, *map(str, arguments)]


def mpiexec(ranks, *arguments, timeout=120, **environment):
    """Run Python on several ranks, and return the finished process."""
    merged = {**os.environ, **ENVIRONMENT, **environment}
    options = {"capture_output": True, "text": True, "timeout": timeout, "stdin": subprocess.DEVNULL}
    return subprocess.run(command(ranks, *arguments), env=merged, **options)


def program(ranks, name, *arguments, **environment):
    """Run a program of `mpi_programs.py`, and return what its first rank has reported."""
    done = mpiexec(ranks, PROGRAMS, name, *arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])
