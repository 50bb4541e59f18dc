"""What fastbp stands on here: what `fastbp info` prints, and what a report of a fault should hold."""

import os
import platform
from importlib.metadata import version

from fastbp import backends
from fastbp.threads import VARIABLE as THREADS
from fastbp.threads import in_use
from fastbp.version import __version__

_NOT_KEPT = "not kept: no writable folder; set NUMBA_CACHE_DIR to one"


def information() -> dict[str, str]:
    """Return versions, backends, BLAS, threads and the folder of compiled code, by name, in words.

    >>> information()["fastbp"] == __version__
    True
    """
    from fastbp_kernels import cpu

    backends.get("numpy")  # which obeys the environment, or refuses it
    reasons = backends.available()
    return {
        "fastbp": __version__,
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **{name: version(name.lower()) for name in ("NumPy", "Numba", "SciPy")},
        "BLAS": _blas(),
        "threads": f"{os.cpu_count()} processors; {_threads()}",
        "compiled code": cpu.affine("float32")._cache.cache_path or _NOT_KEPT,
        **{f"backend {name}": reason or "can be used" for name, reason in reasons.items()},
    }


def _threads() -> str:
    """Return how many threads the libraries take that have been loaded, and what the environment says."""
    taken = [f"{name} takes {count}" for name, count in in_use().items()]
    names = (THREADS, "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return "; ".join([*taken, *(f"{name}={os.environ[name]}" for name in names if name in os.environ)])


def _blas() -> str:
    from scipy import __config__ as scipy_built

    from fastbp_kernels import blas

    if blas.chosen() == "mkl":
        return f"MKL, by {blas.VARIABLE}"
    built = scipy_built.show(mode="dicts")["Build Dependencies"]["blas"]
    return f"{built['name']} {built['version']}, SciPy's"
