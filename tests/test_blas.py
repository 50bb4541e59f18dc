"""Which BLAS the products use: SciPy's, or MKL where the environment asks for it and it is installed."""

from importlib.metadata import PackageNotFoundError, version

import pytest

try:
    version("mkl")
except PackageNotFoundError:
    has_mkl = False
else:
    has_mkl = True

SCRIPT = """
import numpy as np
import fastbp
from threadpoolctl import threadpool_info
rng = np.random.default_rng(0)
x, y = rng.random((40, 300)), rng.integers(0, 3, 300)
for dtype in ("float32", "float64"):
    net = fastbp.Network([40, 30, 20, 3], dtype=dtype, rng=0)
    net.train(x, y, epochs=3, mini_batch_size=100, eta=0.5, progress=False)
    print(*(f"{float(w.sum()):.4f}" for w in net.weights))
print(*sorted({pool["internal_api"] for pool in threadpool_info()}), file=__import__("sys").stderr)
"""


def test_an_unknown_blas_is_refused_in_one_line(run_python):
    done = run_python("import fastbp; fastbp.Network([2, 2])", FASTBP_BLAS="atlas")
    assert done.stderr.splitlines()[-1].endswith("InputError: FASTBP_BLAS is 'atlas'; valid: scipy, mkl")


@pytest.mark.skipif(has_mkl, reason="MKL is installed")
def test_without_mkl_the_command_that_mends_it_is_said(run_python):
    done = run_python("import fastbp; fastbp.Network([2, 2])", FASTBP_BLAS="mkl")
    said = "FASTBP_BLAS is 'mkl', which is not installed: pip install 'fastbp[mkl]'"
    assert done.stderr.splitlines()[-1].endswith(said)


@pytest.mark.skipif(not has_mkl, reason="MKL is not installed: pip install 'fastbp[mkl]'")
def test_mkl_trains_to_the_same_and_both_are_found_in_one_cache(run_python, tmp_path):
    """Three processes over one cache of compiled code: what is compiled for one BLAS is not taken for the other."""
    cache = str(tmp_path / "cache")
    scipy, mkl, again = (
        run_python(SCRIPT, NUMBA_CACHE_DIR=cache, FASTBP_BLAS=name) for name in ("scipy", "mkl", "mkl")
    )
    assert (scipy.returncode, mkl.returncode, again.returncode) == (0, 0, 0), mkl.stderr
    assert scipy.stdout == mkl.stdout == again.stdout
    assert "mkl" not in scipy.stderr
    assert "mkl" in mkl.stderr
    assert "mkl" in again.stderr
