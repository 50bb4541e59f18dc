"""Collect versions, backends, BLAS and threads. `fastbp info` prints them, and a bug report should contain them."""

import os
import platform
from importlib.metadata import version

from fastbp import __version__, backends
from fastbp.backends.numpy.threads import VARIABLE as THREADS
from fastbp.backends.numpy.threads import in_use
from fastbp.errors import plural

_NOT_CACHED = "not cached: no writable folder; set NUMBA_CACHE_DIR to one"


def information() -> dict[str, str]:
    """Return versions, backends, BLAS, threads and the cache folder of compiled code, as text.

    >>> information()["fastbp"] == __version__
    True
    """
    from fastbp.backends.numpy import worker_thread
    from fastbp_kernels.cpu.jit_cache import cache_folder

    backends.get("numpy")  # applies the environment variables, or raises `InputError`
    reasons = backends.available()
    return {
        "fastbp": __version__,
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **{name: version(name.lower()) for name in ("NumPy", "Numba", "SciPy")},
        "BLAS": called_blas(),
        "threads": f"{os.cpu_count()} processors; {_threads()}",
        "worker thread": worker_thread.describe(),
        "compiled code": cache_folder() or _NOT_CACHED,
        **{f"backend {name}": reason or "available" for name, reason in reasons.items()},
    }


def _threads() -> str:
    """Return a text with each loaded library's number of threads, and the environment variables that set threads."""
    counts = [f"{name} uses {plural(count, 'thread')}" for name, count in in_use().items()]
    names = (THREADS, "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    return "; ".join([*counts, *(f"{name}={os.environ[name]}" for name in names if name in os.environ)])


def called_blas() -> str:
    """Describe the BLAS called by compiled code: its name, whether its number of threads can be set, and its file."""
    from fastbp_kernels.cpu import blas_library
    from fastbp_kernels.cpu.blas_library import library

    choice = blas_library.chosen()
    found = library(choice)
    source = "from SciPy" if choice == "scipy" else f"chosen with {blas_library.VARIABLE}"
    return f"{found.describe()}; {source}{', ' if found.path else ''}{found.path}"
