"""What fastbp stands on here: what `fastbp info` prints, and what a report of a fault should hold."""

import os
import platform
from importlib.metadata import version

from fastbp import backends
from fastbp.threads import VARIABLE, in_use
from fastbp.version import __version__


def information() -> dict[str, str]:
    """Return versions, backends, BLAS, threads and the folder of compiled code, by name, in words.

    >>> information()["fastbp"] == __version__
    True
    """
    from scipy import __config__ as scipy_built

    from fastbp_kernels import cpu

    blas = scipy_built.show(mode="dicts")["Build Dependencies"]["blas"]
    reasons = backends.available()
    return {
        "fastbp": __version__,
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **{name: version(name.lower()) for name in ("NumPy", "Numba", "SciPy")},
        "BLAS": f"{blas['name']} {blas['version']}, SciPy's",
        "threads": f"{os.cpu_count()} processors; {_threads()}",
        "compiled code": str(cpu.affine("float32")._cache.cache_path),
        **{f"backend {name}": reason or "can be used" for name, reason in reasons.items()},
    }


def _threads() -> str:
    """Return how many threads the libraries take that have been loaded, and what the environment says."""
    backends.get("numpy")  # which obeys FASTBP_THREADS
    taken = [f"{name} takes {count}" for name, count in in_use().items()]
    names = (VARIABLE, "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return "; ".join([*taken, *(f"{name}={os.environ[name]}" for name in names if name in os.environ)])
