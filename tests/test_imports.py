"""What importing fastbp brings along, and what it must not."""

import pytest

LATE = ["numba", "llvmlite", "cupy", "scipy", "matplotlib", "click", "tqdm", "torch", "pooch", "safetensors"]
LATE += ["sklearn", "pandas"]
METHODS = ["feedforward", "cost", "backprop", "trace", "train", "update_mini_batch", "predict", "accuracy", "to"]
METHODS += ["save"]


def test_import_of_fastbp_brings_in_nothing_heavy(run_python):
    done = run_python(f"import sys, fastbp\nprint([name for name in {LATE} if name in sys.modules])")
    assert done.stdout == "[]\n", done.stderr


def test_interpreted_training_needs_no_numba(run_python):
    source = """
import sys, fastbp
net = fastbp.Network([2, 3, 2], backend="numpy-plain", rng=0)
net.train([[0.0, 1.0], [1.0, 0.0]], [0, 1], epochs=1, mini_batch_size=1, progress=False)
print("numba" in sys.modules)
"""
    done = run_python(source)
    assert done.stdout == "False\n", done.stderr


def test_kernels_import_nothing_of_fastbp(run_python):
    source = "import sys, fastbp_kernels.cpu.loops as _\n"
    source += "print([name for name in sys.modules if name.split('.')[0] == 'fastbp'])"
    assert run_python(source).stdout == "[]\n"


@pytest.mark.parametrize("package", ["fastbp", "fastbp_kernels"])
def test_packages_say_that_they_are_typed(package):
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
