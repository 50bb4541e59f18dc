"""Deliberate faults in the CUDA kernels and their launches: the tests that need no GPU detect each of them."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")

from cuda_against_cpu import PAIRS, compare, execute, with_fault

from fastbp_kernels.cuda import kernels as cuda
from fastbp_kernels.specialize import FormulaError
from ptx import PTXError

pytestmark = pytest.mark.cuda


FAULTS = {
    "arguments of a formula swapped": (
        "hadamard tanh bias=True",
        "scalar_prime(z[k], a[k])",
        "scalar_prime(a[k], z[k])",
    ),
    "arguments of an error swapped": (
        "output_error sigmoid quadratic weighted=False bias=True",
        "scalar_error(z[k], a[k], y[k])",
        "scalar_error(z[k], y[k], a[k])",
    ),
    "wrong bias stride": ("activate sigmoid bias=True keep_z=False", "b_j = b[j]", "b_j = b[j * n]"),
    "bias of the wrong neuron": ("activate sigmoid bias=True keep_z=False", "b_j = b[j]", "b_j = b[0]"),
    "no bounds along y": ("activate sigmoid bias=True keep_z=False", "while i < m:", "while i < m + uint64(1):"),
    "no bounds along x": ("activate sigmoid bias=True keep_z=False", "while j < n:", "while j < n + uint64(1):"),
    "no bounds in a partial sum": ("hadamard sigmoid bias=True", "while k < m * n:", "while k <= m * n:"),
    "a stride too short": ("hadamard sigmoid bias=True", "k += threads", "k += n"),
    "a partial sum left out": ("hadamard sigmoid bias=True", "while t < threads:", "while t + uint64(1) < threads:"),
    "weights of the wrong example": (
        "add_cost sigmoid quadratic weighted=True",
        "s[k // n] * term",
        "s[k % m] * term",
    ),
    "the gather of the wrong row": ("gather uint8", "x[row * n + j]", "x[i * n + j]"),
    "beta forgotten": ("add_column_sums", "beta * b[j] + alpha * total", "b[j] + alpha * total"),
    "two threads add to one total": (
        "add_cost sigmoid quadratic weighted=False",
        "_add_exactly(total, t, value)",
        "_add_exactly(total, t // n, value)",
    ),
    "no barrier before the reduction": (
        "softmax bias=True",
        "    column[t] = value\n    cuda.syncthreads()",
        "    column[t] = value",
    ),
    "a float64 constant": (
        "hadamard sigmoid bias=True",
        "total = real(0)\n            k = t  #",
        "total = 0.0\n            k = t  #",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_kernel_is_detected(fault, rng):
    name, old, new = FAULTS[fault]
    pair, arguments = PAIRS[name], PAIRS[name].arguments(rng, 33, 9, "float32")
    compare(cuda, pair, "float32", arguments)
    with pytest.raises((AssertionError, PTXError, FormulaError)):
        compare(with_fault(cuda, old, new), pair, "float32", arguments)


@pytest.mark.parametrize("name", sorted({name for name, _, _ in FAULTS.values()}))
def test_a_copy_without_a_fault_passes(name, rng):
    compare(
        with_fault(cuda, "def activate", "def activate"),
        PAIRS[name],
        "float32",
        PAIRS[name].arguments(rng, 33, 9, "float32"),
    )


def test_every_fault_but_that_of_the_type_compiles():
    rejected = []
    for fault, (name, old, new) in FAULTS.items():
        try:
            assert ".entry" in PAIRS[name].make(with_fault(cuda, old, new), "float32").ptx
        except FormulaError:
            rejected.append(fault)
    assert rejected == ["a float64 constant"]


def launch_arguments(rng, dtype="float32"):
    z = rng.standard_normal((33, 9)).astype(dtype)
    return z, np.zeros_like(z), rng.standard_normal((1, 9)).astype(dtype)


def test_arguments_swapped_at_a_launch_are_detected(rng):
    kernel = cuda.activate(lambda z: z * z, "float32", bias=True, keep_z=True)
    z, a, b = launch_arguments(rng)
    execute(kernel, z, a, b, 33, 9)
    with pytest.raises(PTXError, match="out of bounds"):
        execute(kernel, z, b, a, 33, 9)
    with pytest.raises(PTXError, match="out of bounds"):
        execute(kernel, z, a, b, 9, 33 * 2)  # m and n


def test_a_float32_pointer_for_a_float64_kernel_is_detected(rng):
    kernel = cuda.activate(lambda z: z * z, "float64", bias=True, keep_z=True)
    z, a, b = launch_arguments(rng)
    with pytest.raises(PTXError, match="f64"):
        execute(kernel, z, a, b, 33, 9)


def test_a_missing_argument_is_detected(rng):
    z, a, _ = launch_arguments(rng)
    with pytest.raises(ValueError, match="zip"):
        execute(cuda.activate(lambda z: z * z, "float32", bias=True, keep_z=True), z, a, 33, 9)
