"""Each CPU kernel alone: it agrees with NumPy in float64, is vectorised, and allocates nothing."""

import platform
import re

import numpy as np
import pytest
from numba import njit
from numba.core.runtime import _nrt_python, rtsys

from fastbp.activations import gelu, relu, sigmoid, softmax, softplus
from fastbp.costs import cross_entropy, log_likelihood, output_rule, quadratic
from fastbp.optimizers import Adam
from fastbp_kernels import softmax as columns
from fastbp_kernels.cpu import blas, jit_cache
from fastbp_kernels.cpu import loops as cpu

DTYPES = ["float32", "float64"]
SHAPES = [(1, 1), (1, 7), (5, 1), (3, 8), (10, 30)]  # (m, n): rows in memory are examples
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}


@njit
def call(kernel, arguments):
    """Call a compiled kernel as the compiled equations do."""
    kernel(*arguments)


def run(kernel, *arguments):
    call(kernel, arguments)


def blocks(rng, shape, dtype, count):
    return [rng.standard_normal(shape).astype(dtype) for _ in range(count)]


def close(got, expected, dtype):
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def wide(array):
    return array.astype(np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("keep_z", [True, False])
def test_activate_adds_the_bias_and_applies_sigma_in_place(dtype, shape, bias, keep_z, rng):
    z, a = blocks(rng, shape, dtype, 2)
    b = rng.standard_normal((1, shape[1])).astype(dtype)
    weighted = wide(z if keep_z else a) + (wide(b) if bias else 0)
    before = z.copy()
    run(cpu.activate(sigmoid.f, dtype, bias=bias, keep_z=keep_z), z, a, b)
    close(a, 1 / (1 + np.exp(-weighted)), dtype)
    close(z, weighted if keep_z else before, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_softmax(dtype, shape, bias, rng):
    z, a = blocks(rng, shape, dtype, 2)
    z *= 50
    b = rng.standard_normal((1, shape[1])).astype(dtype)
    weighted = wide(z) + (wide(b) if bias else 0)
    run(cpu.softmax(dtype, bias=bias), z, a, b)
    e = np.exp(weighted - weighted.max(axis=1, keepdims=True))
    rtol = {"float32": 3e-5, "float64": 1e-13}[dtype]  # of e^−100, whose argument is rounded
    np.testing.assert_allclose(a, e / e.sum(axis=1, keepdims=True), rtol=rtol, atol=1e-30)
    close(a.sum(axis=1), 1, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("g", [sigmoid, relu, softplus], ids=lambda g: g.name)
def test_hadamard_multiplies_delta_by_sigma_prime(dtype, shape, g, rng):
    z, delta = blocks(rng, shape, dtype, 2)
    a = g.f(z)
    before = wide(delta)
    sums = np.empty((1, shape[1]), dtype)
    run(cpu.hadamard(g.prime, dtype), z, a, delta, sums)
    close(delta, before * g.prime(wide(z), wide(a)), dtype)
    close(sums[0], wide(delta).sum(axis=0), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("g", "cost"), [(sigmoid, quadratic), (sigmoid, cross_entropy), (softmax, log_likelihood)])
@pytest.mark.parametrize("weighted", [True, False])
def test_output_error_and_cost(dtype, shape, g, cost, weighted, rng):
    z, delta = blocks(rng, shape, dtype, 2)
    a = g.f(z.T).T.copy()
    y = rng.random(shape).astype(dtype)
    rule = output_rule(g, cost)
    s = rng.random((shape[0], 1)).astype(dtype) if weighted else np.empty((shape[0], 0), dtype)
    factor = wide(s) if weighted else 1.0
    sums = np.empty((1, shape[1]), dtype)
    run(cpu.output_error(rule.error, dtype, weighted=weighted), z, a, y, s, delta, sums)
    close(delta, factor * rule.error(wide(z), wide(a), wide(y)), dtype)
    close(sums[0], wide(delta).sum(axis=0), dtype)
    total = np.array([2.0])
    if g is softmax:
        run(cpu.add_log_likelihood(dtype, weighted=weighted), z, a, y, s, total)
        expected = (factor * columns.log_likelihood(wide(z).T, wide(y).T).T).sum()
    else:
        run(cpu.add_cost(rule.cost, dtype, weighted=weighted), z, a, y, s, total)
        expected = (factor * rule.cost(wide(z), wide(a), wide(y))).sum()
    assert total[0] == pytest.approx(2.0 + expected, rel=3e-6 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("source", ["same", "uint8"])
def test_gather_converts_the_rows_of_the_indices(dtype, source, rng):
    x = rng.integers(0, 256, (6, 5)).astype(dtype if source == "same" else source)
    indices = np.array([4, 0, 4])
    x.flags.writeable = indices.flags.writeable = False
    out = np.empty((3, 5), dtype)
    run(cpu.gather(x.dtype.name, dtype), x, indices, 0.25, out)
    np.testing.assert_array_equal(out, 0.25 * x[[4, 0, 4]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_add_column_sums_adds_alpha_times_the_sum_over_the_examples(dtype, shape, rng):
    (delta,) = blocks(rng, shape, dtype, 1)
    b = rng.standard_normal((1, shape[1])).astype(dtype)
    expected = 0.9 * wide(b) - 0.3 * wide(delta).sum(axis=0)
    run(cpu.add_column_sums(dtype), -0.3, delta, 0.9, b)
    close(b, expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("state", range(4))
def test_optimizer_step_writes_a_parameter_and_its_state(dtype, shape, state, rng):
    formulas = {
        0: lambda w, g, eta, decay, t, k, l: w - eta * g + decay * w + t + l,
        1: lambda w, g, a, eta, decay, t, k, l: (w - eta * g + decay * w + t + l, k * a + g),
        2: lambda w, g, a, b, eta, decay, t, k, l: (w - eta * g + decay * w + t + l, k * a + g, b + l * a),
        3: lambda w, g, a, b, c, eta, decay, t, k, l: (w - eta * g + decay * w + t + l, k * a + g, b + l * a, c - b),
    }
    nabla, a, b, c, w = blocks(rng, shape, dtype, 5)
    arrays = [array if i < state else np.zeros((0, 0), dtype) for i, array in enumerate((a, b, c))]
    expected = formulas[state](wide(w), wide(nabla), *map(wide, arrays[:state]), 0.5, 0.1, 7.0, 2.0, 3.0)
    kernel = cpu.optimizer_step(formulas[state], dtype, state=state, constants=2)
    run(kernel, 0.5, 0.1, 7.0, np.array([2.0, 3.0, 0, 0, 0, 0]), nabla, *arrays, w)
    for got, value in zip((w, *arrays[:state]), expected if state else (expected,), strict=True):
        close(got, value, dtype)


def test_no_step_changes_nothing(rng):
    w, *others = blocks(rng, (3, 8), "float32", 5)
    before = w.copy()
    run(cpu.no_step("float32"), 0.5, 0.1, 1.0, np.zeros(6), *others, w)
    np.testing.assert_array_equal(w, before)


@pytest.fixture(scope="module", params=["small_gemm", "BLAS"])
def add_outer(request):
    """`cpu.add_outer` of processors on which small products use `small_gemm`, and on which they use BLAS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blas, "multiplies_few_columns", lambda: request.param == "BLAS")
        kernels = {dtype: cpu.add_outer.__wrapped__(dtype) for dtype in DTYPES}
    return kernels.get


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("m", "n", "k"), [(1, 1, 1), (1, 3, 2), (4, 1, 3), (7, 5, 6), (13, 6, 33), (20, 7, 9), (21, 5, 8)]
)
def test_products(dtype, m, n, k, add_outer, rng):
    w, a, delta = (rng.standard_normal(shape).astype(dtype) for shape in ((n, k), (m, k), (m, n)))
    z, out = np.full((m, n), np.nan, dtype), np.full((m, k), np.nan, dtype)
    run(cpu.matmul(dtype), w, a, z)
    close(z.T, wide(w) @ wide(a).T, dtype)
    run(cpu.matmul_transposed(dtype), w, delta, out)
    close(out.T, wide(w).T @ wide(delta).T, dtype)
    expected = 0.9 * wide(w) - 0.5 * wide(delta).T @ wide(a)
    run(add_outer(dtype), -0.5, delta, a, 0.9, w)
    close(w, expected, dtype)


VECTORISED = {
    "activate": lambda dtype: cpu.activate(sigmoid.f, dtype, bias=True, keep_z=False),
    "activate, z kept": lambda dtype: cpu.activate(softplus.f, dtype, bias=True, keep_z=True),
    "activate with erf": lambda dtype: cpu.activate(gelu.f, dtype, bias=True, keep_z=True),
    "hadamard": lambda dtype: cpu.hadamard(sigmoid.prime, dtype),
    "output error": lambda dtype: cpu.output_error(output_rule(sigmoid, quadratic).error, dtype, weighted=False),
    "optimizer step": lambda dtype: cpu.optimizer_step(Adam().formula, dtype, state=2, constants=4),
    "gather": lambda dtype: cpu.gather("uint8", dtype),
    "matmul": lambda dtype: cpu.matmul(dtype),
    "add outer": lambda dtype: cpu.add_outer(dtype),
}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the names of x86-64 instructions")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", VECTORISED)
def test_the_machine_code_is_vectorised(dtype, kernel, monkeypatch):
    """Newly compiled code has packed arithmetic (…ps, …pd); that of gather has a packed conversion."""
    monkeypatch.setattr(blas, "multiplies_few_columns", lambda: False)  # else add_outer only calls BLAS
    monkeypatch.setattr(jit_cache, "ForgivingCFunctionCache", None)  # code loaded from the disk has no assembly text
    factories = (
        cpu.activate,
        cpu.hadamard,
        cpu.output_error,
        cpu.gather,
        cpu.matmul,
        cpu.add_outer,
        cpu.optimizer_step,
    )
    for factory in factories:
        factory.cache_clear()
    code = VECTORISED[kernel](dtype)._library.get_asm_str()
    for factory in factories:
        factory.cache_clear()
    letter = {"float32": "s", "float64": "d"}[dtype]
    packed = rf"v?cvtdq2p{letter}" if kernel == "gather" else rf"v?(mul|add|fmadd\d+|fnmadd\d+)p{letter}"
    assert re.search(packed, code)


def test_kernels_allocate_nothing(rng):
    _nrt_python.memsys_enable_stats()
    z, a, y, delta = blocks(rng, (10, 30), "float32", 4)
    b, s, total = np.zeros((1, 30), "float32"), np.ones((10, 1), "float32"), np.zeros(1)
    w = np.zeros((30, 30), "float32")
    calls = [
        (cpu.matmul("float32"), (w, a, z)),
        (cpu.activate(sigmoid.f, "float32", bias=True, keep_z=True), (z, a, b)),
        (cpu.softmax("float32", bias=True), (z, a, b)),
        (cpu.output_error(output_rule(sigmoid, quadratic).error, "float32", weighted=True), (z, a, y, s, delta, b)),
        (cpu.hadamard(sigmoid.prime, "float32"), (z, a, delta, b)),
        (cpu.add_column_sums("float32"), (0.1, b, 1.0, b.copy())),
        (
            cpu.optimizer_step(Adam().formula, "float32", state=2, constants=4),
            ((0.1,) * 3 + (np.ones(6),) + tuple(np.ones((5, 30, 30), "float32"))),
        ),
        (cpu.add_log_likelihood("float32", weighted=True), (z, a, y, s, total)),
    ]
    for kernel, arguments in calls:
        call(kernel, arguments)  # compiles
        before = rtsys.get_allocation_stats().alloc
        call(kernel, arguments)
        unboxing = rtsys.get_allocation_stats().alloc - before  # one per NumPy array passed from Python
        assert unboxing <= sum(isinstance(v, np.ndarray) for v in arguments)
