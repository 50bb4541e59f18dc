"""The float32 sigmoid kernel on every eleventh of all 2³² inputs: 390 million, in ten seconds."""

import numpy as np
import pytest
from numba import njit

from fastbp.activations import sigmoid
from fastbp_kernels.cpu import loops as cpu

STEP, CHUNK = 11, 2**22
SMALLEST_NORMAL = float(np.finfo(np.float32).smallest_normal)


@njit
def call(kernel, z, a, b):
    kernel(z, a, b)


@pytest.mark.slow
def test_sigmoid_is_within_3_ulp_where_its_value_is_normal():
    kernel = cpu.activate(sigmoid.f, "float32", bias=False, keep_z=True)
    without = np.empty((1, 0), np.float32)
    worst, counted = 0.0, 0
    for start in range(0, 2**32, STEP * CHUNK):
        bits = np.arange(start, min(start + STEP * CHUNK, 2**32), STEP, dtype=np.int64).astype(np.uint32)
        z = bits.view(np.float32)
        a = np.empty_like(z)
        call(kernel, z[None, :], a[None, :], without)
        np.testing.assert_array_equal(np.isnan(a), np.isnan(z))
        with np.errstate(all="ignore"):
            exact = 1 / (1 + np.exp(-z.astype(np.float64)))
        normal = exact >= SMALLEST_NORMAL
        ulps = np.abs(a - exact)[normal] / np.spacing(exact[normal].astype(np.float32))
        worst = max(worst, ulps.max(initial=0.0))
        below = exact < SMALLEST_NORMAL
        assert ((a[below] >= 0) & (a[below] <= SMALLEST_NORMAL)).all()
        counted += len(bits)
    assert counted == -(-(2**32) // STEP)
    print(f"largest error: {worst:.2f} ulp")
    assert worst <= 3
