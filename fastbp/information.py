"""What fastbp stands on here: what `fastbp info` prints, and what a report of a fault should hold."""

import os
import platform
from importlib.metadata import version

from fastbp import backends
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
        "threads": f"{os.cpu_count()} processors; {_variables()}",
        "compiled code": str(cpu.affine("float32")._cache.cache_path),
        **{f"backend {name}": reason or "can be used" for name, reason in reasons.items()},
    }


def _variables() -> str:
    """Return the environment's word on threads."""
    names = [name for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS") if name in os.environ]
    return ", ".join(f"{name}={os.environ[name]}" for name in names) or "BLAS takes all"
