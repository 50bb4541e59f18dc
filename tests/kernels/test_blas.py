"""The BLAS of matrix products: SciPy's, or MKL if the environment asks for it."""

import ctypes
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from scipy.linalg import cython_blas

import fastbp
from fastbp import cli
from fastbp.backends import environment as information
from fastbp.backends.numpy import compiled as numpy_backend
from fastbp_kernels.cpu import blas_library
from fastbp_kernels.cpu.blas_library import Library, file_of_product, identify, library, mkl_files

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


def test_an_unknown_blas_is_an_error_of_one_line(run_python):
    done = run_python("import fastbp; fastbp.Network([2, 2])", FASTBP_BLAS="atlas")
    assert done.stderr.splitlines()[-1].endswith("InputError: FASTBP_BLAS must be scipy or mkl, got 'atlas'")


@pytest.mark.skipif(has_mkl, reason="MKL is installed")
def test_without_mkl_the_error_gives_the_command_that_installs_it(run_python):
    done = run_python("import fastbp; fastbp.Network([2, 2])", FASTBP_BLAS="mkl")
    message = "FASTBP_BLAS is 'mkl', which is not installed: pip install 'fastbp[mkl]'"
    assert done.stderr.splitlines()[-1].endswith(message)


@pytest.mark.skipif(not has_mkl, reason="MKL is not installed: pip install 'fastbp[mkl]'")
def test_mkl_gives_the_same_results_and_one_cache_serves_both(run_python, tmp_path):
    """Three processes share a cache: code compiled for one BLAS is not used for the other."""
    cache = str(tmp_path / "cache")
    scipy, mkl, again = (
        run_python(SCRIPT, NUMBA_CACHE_DIR=cache, FASTBP_BLAS=name) for name in ("scipy", "mkl", "mkl")
    )
    assert (scipy.returncode, mkl.returncode, again.returncode) == (0, 0, 0), mkl.stderr
    assert scipy.stdout == mkl.stdout == again.stdout
    assert "mkl" not in scipy.stderr
    assert "mkl" in mkl.stderr
    assert "mkl" in again.stderr


def controller(path, api="openblas", **attributes):
    return SimpleNamespace(filepath=str(path), internal_api=api, version="0.3", user_api="blas", **attributes)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no dladdr")
def test_the_file_with_scipys_product_exports_it():
    path = file_of_product(cython_blas.__file__)
    loaded = ctypes.CDLL(path)
    assert any(hasattr(loaded, name) for name in blas_library._PRODUCTS)
    assert library("scipy").path == path or "mkl" in path


CONDA = Path("/opt/conda/lib")


@pytest.mark.parametrize(
    ("path", "loaded", "expected", "described"),
    [
        ("/env/scipy.libs/libopenblas.so", ["/env/numpy.libs/libopenblas.so", "/env/scipy.libs/libopenblas.so"], 1, ""),
        ("/scipy/conda/libopenblas.so", ["/scipy/conda/libopenblas.so", "/scipy/cv2.libs/libopenblas.so"], 0, ""),
        (CONDA / "libmkl_intel_lp64.so.2", [CONDA / "libmkl_rt.so.2"], 0, "mkl 0.3"),  # MKL in several files
        ("/System/Accelerate.framework/libBLAS.dylib", ["/env/cv2.libs/libopenblas.dylib"], None, "Accelerate, whose"),
        ("/usr/lib/libblas.so.3", [], None, "libblas.so.3, whose number of threads cannot be set"),
        ("", ["/env/numpy.libs/libopenblas64.dll", "/env/scipy.libs/libopenblas.dll"], 1, ""),  # Windows, pip
        ("", ["/conda/Library/bin/libopenblas.dll"], 0, ""),  # Windows, conda
        ("", ["/conda/cv2/libopenblas.dll", "/conda/Library/bin/libopenblas.dll"], None, "an unknown BLAS, whose"),
        ("", [], None, "an unknown BLAS, whose number of threads cannot be set"),
    ],
)  # fmt: skip
def test_the_library_is_identified_among_all_that_are_loaded(path, loaded, expected, described):
    controllers = [controller(name, "mkl" if "mkl" in str(name) else "openblas") for name in loaded]
    found = identify(str(path), controllers, folder=Path("/env/scipy"))
    assert found.controller is (None if expected is None else controllers[expected])
    assert found.describe().startswith(described)


def test_a_symbolic_link_to_the_library_is_followed(tmp_path):
    """conda's libblas.so.3 is such a link."""
    real = tmp_path / "libopenblasp-r0.3.30.so"
    real.touch()
    link = tmp_path / "libblas.so.3"
    try:
        link.symlink_to(real)
    except OSError:
        pytest.skip("no links here")
    openmp = controller(real, threading_layer="openmp")
    found = identify(str(link), [controller("/env/libother.so"), openmp], folder=Path("/env/scipy"))
    assert found.controller is openmp
    assert found.describe() == "openblas 0.3, threads by openmp"


@pytest.mark.parametrize(("folder", "name"), [("lib", "libmkl_rt.so.2"), ("Library/bin", "mkl_rt.2.dll")])
def test_condas_mkl_is_searched_in_the_environment(folder, name, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / name).touch()
    assert mkl_files([])[0] == str(tmp_path / folder / name)
    assert mkl_files(["/env/lib/libmkl_rt.so.2", "/env/lib/libmkl_core.so.2"])[0] == "/env/lib/libmkl_rt.so.2"


def test_the_limit_of_the_environment_is_set_after_the_blas_is_loaded(monkeypatch):
    done = []
    monkeypatch.setenv("FASTBP_BLAS", "mkl")
    monkeypatch.setattr(numpy_backend, "_check_blas", lambda: done.append("loaded"))
    monkeypatch.setattr(numpy_backend, "limit_from_environment", lambda: done.append("limited"))
    numpy_backend.CompiledNumPy()
    assert done == ["loaded", "limited"]


ACCELERATE = Library("/System/Library/Frameworks/Accelerate.framework/Versions/A/libBLAS.dylib", None)


def test_if_the_number_of_threads_cannot_be_set_a_limit_warns_and_check_reports_it(monkeypatch):
    monkeypatch.setattr(blas_library, "library", lambda choice: ACCELERATE)
    advice = "set VECLIB_MAXIMUM_THREADS before Python starts"
    with (
        pytest.warns(UserWarning, match=f"use_threads has no effect on Accelerate, .*; {advice}"),
        fastbp.use_threads(1),
    ):
        pass
    monkeypatch.setenv("FASTBP_THREADS", "1000")
    monkeypatch.setattr("fastbp.backends.numpy.threads.limits.keep", lambda limit: None)
    with pytest.warns(UserWarning, match=f"FASTBP_THREADS has no effect on Accelerate, .*; {advice}"):
        fastbp.backends.numpy.threads.limit_from_environment()
    description = "Accelerate, whose number of threads cannot be set"
    assert information.called_blas().startswith(description)
    monkeypatch.delenv("FASTBP_THREADS")
    monkeypatch.setattr("fastbp.cli.check.host.checks", lambda backend: [])
    assert description in CliRunner().invoke(cli.fastbp, ["check", "--backend", "numpy"]).output
