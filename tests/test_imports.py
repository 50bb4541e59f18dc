"""What `import fastbp` does not import, and the metadata and docstrings of the package."""

import pytest

LAZY_IMPORTS = ["numba", "llvmlite", "cupy", "scipy", "matplotlib", "click", "tqdm", "torch", "pooch", "safetensors"]
LAZY_IMPORTS += ["sklearn", "pandas", "onnx", "skl2onnx"]
METHODS = ["feedforward", "cost", "backprop", "trace", "train", "update_mini_batch", "predict", "accuracy", "to"]
METHODS += ["save"]


def test_importing_fastbp_imports_no_large_package(run_python):
    done = run_python(f"import sys, fastbp\nprint([name for name in {LAZY_IMPORTS} if name in sys.modules])")
    assert done.stdout == "[]\n", done.stderr


def test_plots_import_no_large_package_before_they_draw(run_python):
    done = run_python(f"import sys, fastbp.plots\nprint([name for name in {LAZY_IMPORTS} if name in sys.modules])")
    assert done.stdout == "[]\n", done.stderr


def test_interpreted_training_does_not_import_numba(run_python):
    source = """
import sys, fastbp
net = fastbp.Network([2, 3, 2], backend="numpy-plain", rng=0)
net.train([[0.0, 1.0], [1.0, 0.0]], [0, 1], epochs=1, mini_batch_size=1, progress=False)
print("numba" in sys.modules)
"""
    done = run_python(source)
    assert done.stdout == "False\n", done.stderr


def test_kernels_from_the_cache_import_neither_scipy_linalg_nor_what_numba_compiles_with(run_python, tmp_path):
    source = """
import sys, fastbp
net = fastbp.Network([2, 3, 2], rng=0)
net.train([[0.0, 1.0], [1.0, 0.0]], [0, 1], epochs=1, mini_batch_size=1, progress=False)
print([name for name in ("scipy.linalg", "numba.np.arrayobj") if name in sys.modules])
import scipy.linalg.cython_blas  # SciPy's own import works afterwards
scipy.linalg.cython_blas.__pyx_capi__["dgemm"]
"""
    cold, warm = (run_python(source, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert cold.returncode == 0, cold.stderr
    assert warm.stdout == "[]\n", warm.stderr


def test_kernels_do_not_import_fastbp(run_python):
    source = "import sys, fastbp_kernels.cpu.loops as _\n"
    source += "print([name for name in sys.modules if name.split('.')[0] == 'fastbp'])"
    assert run_python(source).stdout == "[]\n"


@pytest.mark.parametrize("package", ["fastbp", "fastbp_kernels"])
def test_packages_are_marked_as_typed(package):
    from importlib.resources import files

    assert files(package).joinpath("py.typed").is_file()


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    import fastbp

    assert fastbp.__version__ == version("fastbp")


def test_everything_public_has_a_docstring_and_every_method_an_example():
    import fastbp

    for name in fastbp.__all__:
        thing = getattr(fastbp, name)
        assert thing.__doc__, name
    for method in METHODS:
        assert ">>>" in getattr(fastbp.Network, method).__doc__, method
