"""What fastbp stands on here: what `fastbp info` prints, and what a report of a fault should hold."""

import os
import platform
from importlib.metadata import version

from fastbp import __version__, backends
from fastbp.backends.numpy.threads import VARIABLE as THREADS
from fastbp.backends.numpy.threads import in_use

_NOT_KEPT = "not kept: no writable folder; set NUMBA_CACHE_DIR to one"


def information() -> dict[str, str]:
    """Return versions, backends, BLAS, threads and the folder of compiled code, by name, in words.

    >>> information()["fastbp"] == __version__
    True
    """
    from fastbp_kernels.cpu import loops as cpu

    backends.get("numpy")  # which obeys the environment, or refuses it
    reasons = backends.available()
    return {
        "fastbp": __version__,
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **{name: version(name.lower()) for name in ("NumPy", "Numba", "SciPy")},
        "BLAS": called_blas(),
        "threads": f"{os.cpu_count()} processors; {_threads()}",
        "compiled code": cpu.matmul("float32")._cache.cache_path or _NOT_KEPT,
        **{f"backend {name}": reason or "can be used" for name, reason in reasons.items()},
    }


def _threads() -> str:
    """Return how many threads the libraries take that have been loaded, and what the environment says."""
    as_backend_array = [f"{name} takes {count}" for name, count in in_use().items()]
    names = (THREADS, "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    return "; ".join([*as_backend_array, *(f"{name}={os.environ[name]}" for name in names if name in os.environ)])


def called_blas() -> str:
    """Return which BLAS compiled code calls, where it is, and whether its number of threads can be set."""
    from fastbp_kernels.cpu import blas
    from fastbp_kernels.cpu.blas_library import library

    choice = blas.chosen()
    found = library(choice)
    source = "SciPy's" if choice == "scipy" else f"by {blas.VARIABLE}"
    return f"{found.describe()}; {source}{', ' if found.path else ''}{found.path}"
