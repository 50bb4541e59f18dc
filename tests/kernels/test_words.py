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
from fastbp_kernels import words
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
