"""The functions of formulas: accurate on the CPU, correct for special values, and equal on arrays of any library."""

import math
from functools import cache

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from fastbp.activations import ACTIVATIONS, sigmoid
from fastbp_kernels import erf_series, words
from fastbp_kernels.cpu.vector_math import MATH, jitable, words_on_cpu
from fastbp_kernels.specialize import lower

DTYPES = ["float32", "float64"]
RANGES = {  # of arguments, and the largest error in units in the last place
    "exp": ([(-87, 88), (-1, 1)], 1),
    "expm1": ([(-17, 17), (-1e-3, 1e-3)], 3),
    "log": ([(1e-30, 1e30), (0.5, 2)], 2),
    "log1p": ([(-0.99, 5), (0, 1e6), (-1e-3, 1e-3)], 2),
    "sqrt": ([(1e-30, 1e30), (0.5, 2)], 1),
    "tanh": ([(-12, 12), (-1e-2, 1e-2)], 3),
    "erf": ([(-6, 6), (-1, 1), (-1e-3, 1e-3), (-1e-30, 1e-30)], 4),
}


@cache
def compiled(formula, dtype):
    """Return a formula compiled as a function of an array."""
    scalar = jitable(lower(formula, jitable, words_on_cpu(dtype), np.dtype(dtype).type))

    @njit(**MATH)
    def loop(x):
        out = np.empty_like(x)
        for i in range(x.size):
            out[i] = scalar(x[i])
        return out

    return loop


def units(got, exact):
    """Return the largest error of results, in units in the last place of their type."""
    spacing = [abs(np.spacing(got.dtype.type(float(value)))) for value in exact]
    return max(abs(mpmath.mpf(float(g)) - value) / float(s) for g, value, s in zip(got, exact, spacing, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RANGES)
def test_compiled_functions_are_accurate(name, dtype, rng):
    word = getattr(words, name)
    ranges, most = RANGES[name]
    with mpmath.workdps(40):
        for low, high in ranges:
            x = rng.uniform(low, high, 3000).astype(dtype)
            exact = [getattr(mpmath, name)(mpmath.mpf(float(v))) for v in x]
            assert units(compiled(word, dtype)(x), exact) <= most


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_is_within_3_ulp_and_exact_at_infinity(dtype, rng):
    loop = compiled(sigmoid.f, dtype)
    edge, tiny = (87, 1e-38) if dtype == "float32" else (708, 1e-308)
    with mpmath.workdps(40):
        x = np.concatenate([rng.uniform(-edge, edge, 4000), rng.uniform(-2, 2, 1000)]).astype(dtype)
        assert units(loop(x), [1 / (1 + mpmath.exp(-mpmath.mpf(float(v)))) for v in x]) <= 3
        beyond = rng.uniform(edge, 3 * edge, 1000).astype(dtype)
        assert (loop(beyond) == 1).all()
        exact = [1 / (1 + mpmath.exp(mpmath.mpf(float(v)))) for v in beyond]
        assert max(abs(float(g - e)) for g, e in zip(loop(-beyond).tolist(), exact, strict=True)) <= tiny
    ends = loop(np.array([-math.inf, math.inf, -1e4, 1e4, math.nan], dtype))
    assert ends[:4].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert math.isnan(ends[4])


def normal_distribution(z):
    return mpmath.erfc(-z / mpmath.sqrt(2)) / 2


def logistic(z):
    return 1 / (1 + mpmath.exp(-z))


def gelu_tanh_argument(z):
    return mpmath.sqrt(2 / mpmath.pi) * (z + mpmath.mpf("0.044715") * z**3)


def derivative_of(g):
    f, prime = g.f, g.prime
    return lambda z: prime(z, f(z))


EXACT = {
    "gelu": lambda z: z * normal_distribution(z),
    "gelu-tanh": lambda z: z * logistic(2 * gelu_tanh_argument(z)),
    "silu": lambda z: z * logistic(z),
    "elu": lambda z: z if z > 0 else mpmath.expm1(z),
    "exponential": mpmath.exp,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_activations_and_derivatives_are_accurate(name, dtype, rng):
    """The bound is relative to max(1, |value|), since 1 + erf(z/√2) and 1 + tanh u cancel for z < 0."""
    g, eps = ACTIVATIONS[name], np.finfo(dtype).eps
    z = np.concatenate([rng.uniform(-20, 20, 200), rng.uniform(-2, 2, 200), [0.0, -0.0]]).astype(dtype)
    a = compiled(g.f, dtype)(z)
    prime = compiled(derivative_of(g), dtype)(z)
    with mpmath.workdps(40):
        for got, exact in ((a, EXACT[name]), (prime, lambda v: mpmath.diff(EXACT[name], v))):
            expected = [exact(mpmath.mpf(float(v))) for v in z[:-2]]
            error = max(
                abs(mpmath.mpf(float(value)) - e) / max(1, abs(e)) for value, e in zip(got[:-2], expected, strict=True)
            )
            assert error <= 6 * eps
    assert a[-2:].tolist() == ([1, 1] if name == "exponential" else [0, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"softmax"}))
def test_activations_and_derivatives_of_huge_numbers_are_not_nan(name, dtype):
    g = ACTIVATIONS[name]
    z = np.array([-1e38, -1e20, -1e4, 1e4, 1e20, 1e38, math.nan], dtype)
    a = compiled(g.f, dtype)(z)
    assert np.isnan(a).tolist() == [False] * 6 + [True]
    prime = compiled(derivative_of(g), dtype)(z[:-1])
    assert not np.isnan(prime).any()


@pytest.mark.parametrize("kind", ["numpy", "array_api_strict", "torch", "formula"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_erf_of_arrays_of_any_library(kind, dtype, rng):
    xp = pytest.importorskip("numpy" if kind == "formula" else kind)
    erf = words._erf_by_formula if kind == "formula" else words.erf
    x = np.concatenate([rng.uniform(-6, 6, 500), rng.uniform(-1e-3, 1e-3, 500)]).astype(dtype)
    got = erf(xp.asarray(x))
    assert got.dtype == getattr(xp, dtype)
    with mpmath.workdps(40):
        assert units(np.asarray(got), [mpmath.erf(mpmath.mpf(float(v))) for v in x]) <= 4
    special = np.asarray(erf(xp.asarray(np.array([-np.inf, -0.0, 0.0, np.inf, np.nan], dtype))))
    np.testing.assert_array_equal(special, np.array([-1, -0.0, 0.0, 1, np.nan], dtype))
    assert np.signbit(special[:4]).tolist() == [True, True, False, False]
    assert words.erf(0.5) == math.erf(0.5)


@pytest.mark.parametrize(("series", "degree"), [(erf_series.FLOAT32, 8), (erf_series.FLOAT64, 23)])
def test_the_coefficients_of_erf_are_those_of_the_least_squares_fit(series, degree):
    """Each error of P is weighted by the error of erf that it causes: x e^(−x P)/(1 − e^(−x P))."""
    n = 4 * degree
    with mpmath.workdps(60):
        nodes = [mpmath.mpf(series.limit) / 2 * (1 - mpmath.cos(mpmath.pi * (2 * i + 1) / (2 * n))) for i in range(n)]
        matrix, values = mpmath.matrix(n, degree + 1), mpmath.matrix(n, 1)
        for i, x in enumerate(nodes):
            weight = x * mpmath.erfc(x) / mpmath.erf(x)
            values[i] = weight * -mpmath.log(mpmath.erfc(x)) / x
            for k in range(degree + 1):
                matrix[i, k] = weight * (x / series.limit) ** k
        fit = mpmath.lu_solve(matrix.T * matrix, matrix.T * values)
        expected = [float(fit[k] / mpmath.mpf(series.limit) ** k) for k in range(degree + 1)]
    np.testing.assert_allclose(series.coefficients, expected, rtol=1e-7 if degree == 8 else 1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_compiled_functions_of_special_values(dtype):
    x = np.array([-math.inf, -0.0, math.inf, math.nan], dtype)
    expected = {
        words.exp: [0, 1, math.inf, math.nan],
        words.expm1: [-1, 0, math.inf, math.nan],
        words.log: [math.nan, -math.inf, math.inf, math.nan],
        words.log1p: [math.nan, 0, math.inf, math.nan],
        words.sqrt: [math.nan, -0.0, math.inf, math.nan],
        words.tanh: [-1, 0, 1, math.nan],
        words.erf: [-1, 0, 1, math.nan],
    }
    for word, values in expected.items():
        np.testing.assert_array_equal(compiled(word, dtype)(x), np.array(values, dtype), err_msg=word.__name__)
    smallest = np.array([np.finfo(dtype).smallest_subnormal, np.finfo(dtype).smallest_normal], dtype)
    np.testing.assert_allclose(compiled(words.log, dtype)(smallest), np.log(smallest.astype(np.longdouble)), rtol=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e4, 1e4, width=32), st.sampled_from(sorted(set(ACTIVATIONS) - {"softmax"})))
def test_activations_on_numbers_on_arrays_and_compiled_agree(z, name):
    g = ACTIVATIONS[name]
    with np.errstate(over="ignore"):
        on_array = g.f(np.array([z]))
    np.testing.assert_allclose(compiled(g.f, "float64")(np.array([z])), on_array, rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"softmax"}))
def test_derivatives_agree_with_finite_differences(name):
    z = np.array([-3.0, -0.7, 0.2, 1.9])
    g = ACTIVATIONS[name]
    measured = (g.f(z + 1e-6) - g.f(z - 1e-6)) / 2e-6
    np.testing.assert_allclose(g.prime(z, g.f(z)) * np.ones(4), measured, rtol=1e-8)


def test_where_takes_numbers_and_arrays_of_any_library(backend):
    from fastbp import backends

    xp = backends.get(backend).xp
    x = xp.asarray([-1.0, 2.0], dtype=xp.float32)
    assert words.where(x > 0.0, x, 0.0).dtype == xp.float32
    assert words.maximum(x, 0.5).dtype == xp.float32
    assert [float(v) for v in words.where(x > 0.0, 0.1, 0.2)] == [0.2, 0.1]
    assert words.where(True, 1.0, 2.0) == 1.0
