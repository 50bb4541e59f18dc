"""The products W a and δ aᵀ for a few columns, computed by loops that are then faster than BLAS.

Before BLAS multiplies matrices, it packs them, that is, it copies them in another order. For a few columns, packing
takes longer than the product. The loops here do not pack. They read both matrices row by row, as they are in memory.
They compute the result in tiles. For W a, a tile has 5 columns by 3 rows of W. For δ aᵀ, it has 5 columns by 2 rows of
W. The 15 sums in a tile of W a, together with one factor, fill the registers of AVX.

The table gives pairs of times in µs. The first time of a pair is the time of OpenBLAS with its AVX2 kernels. The second
is the time of the loops in this file. W has shape (30, 784). Each time is the shortest of seven or more runs. The runs
used one of two busy cores of an AMD EPYC with AVX-512, and Numba 0.68, on 2026-11-23.

| columns | W a, float32 | W a, float64 | W + δ aᵀ, float32 | W + δ aᵀ, float64 |
| --- | --- | --- | --- | --- |
| 1 | 9.6 : 1.1 | 6.7 : 2.3 | | |
| 10 | 16 : 2.1 | 19 : 5.6 | 6.8 : 3.4 | 12 : 7.4 |
| 20 | 18 : 5.9 | 27 : 12 | 14 : 9.6 | 23 : 20 |

The limits below were measured on the same machine on the same day.
"""

from typing import Any

from fastbp_kernels.cpu.vector_math import MATH, jitable
from fastbp_kernels.cpu.work_sharing import range_body

MAX_BATCH_BYTES = 160
"""Largest number of columns × itemsize for which `matmul` is used: 40 columns in float32, 20 in float64.

For W of shape (100, 784) and 32 columns in float32, `matmul` takes 25 µs. Two threads of BLAS take 40 µs with AVX2 and
32 µs with AVX-512. In float64, `matmul` takes 71 µs, and BLAS takes 60 µs with AVX2 and 44 µs with AVX-512."""

MAX_W_BYTES = 2**23
"""Largest size of W in bytes for which `matmul` is used.

For W of shape (1024, 1024) and 10 columns in float32, `matmul` takes 138 µs. BLAS takes 334 µs with AVX2 and 298 µs
with AVX-512. For W of shape (2048, 2048) and 10 columns in float64, `matmul` takes 3.0 ms. BLAS takes 2.5 ms with AVX2
and 1.4 ms with AVX-512."""

L1_BYTES = 2**15
"""Size in bytes of a block of columns. A block of this size stays in the L1 cache while W is read.

If a column has 784 numbers, a block has 10 columns in float32 and 5 in float64."""

MAX_OUTER_W_BYTES = 2**18
"""Largest size of W in bytes for which `add_outer` is used.

In float32, `add_outer` takes 0.6 times as long as BLAS for W of shape (30, 784). For W of shape (100, 784), it takes
1.2 times as long as BLAS. BLAS with kernels for AVX-512 is always faster (`blas.multiplies_few_columns`)."""

SUMS: dict[str, Any] = {**MATH, "fastmath": {"contract", "nsz", "reassoc"}}
# LLVM vectorises a sum only if it may reorder the terms. BLAS reorders them too. NaN and infinity are not lost.


@jitable
def fits_small_gemm(w: Any, a: Any) -> Any:
    """Return whether w and `a` are small enough for `matmul`."""
    return a.shape[0] * a.itemsize <= MAX_BATCH_BYTES and w.size * w.itemsize <= MAX_W_BYTES


@range_body(SUMS)
def matmul(args: Any, start: Any, end: Any) -> None:
    """Write some rows of the matrix product of `w` and `a` into `z`. They are the rows from `start` to `end - 1`.

    `args` is the tuple (w, a, z). `a` and `z` are blocks of columns, passed as C-ordered matrices of shape (m, n).
    Where tiles do not fit, rows and columns at the edges are computed more than once.

    All of w is read for one block of columns, which stays in the cache. Then w is read again for the next block. For w
    of shape (100, 784) and 32 columns, this takes 25 µs. It would take 32 µs without blocks.
    """
    w, a, z = args
    m = z.shape[0]
    block = max(5, L1_BYTES // (a.shape[1] * a.itemsize) // 5 * 5)
    for first in range(0, m, block):
        last = min(first + block, m)
        for j in range(start, end, 3):
            j1, j2 = min(j + 1, end - 1), min(j + 2, end - 1)
            for i in range(first, last, 5):
                i1, i2, i3, i4 = min(i + 1, last - 1), min(i + 2, last - 1), min(i + 3, last - 1), min(i + 4, last - 1)
                p0 = p1 = p2 = q0 = q1 = q2 = r0 = r1 = r2 = s0 = s1 = s2 = t0 = t1 = t2 = w.dtype.type(0)
                for k in range(w.shape[1]):
                    w0, w1, w2 = w[j, k], w[j1, k], w[j2, k]
                    p, q, r, s, t = a[i, k], a[i1, k], a[i2, k], a[i3, k], a[i4, k]
                    p0, p1, p2 = p0 + p * w0, p1 + p * w1, p2 + p * w2
                    q0, q1, q2 = q0 + q * w0, q1 + q * w1, q2 + q * w2
                    r0, r1, r2 = r0 + r * w0, r1 + r * w1, r2 + r * w2
                    s0, s1, s2 = s0 + s * w0, s1 + s * w1, s2 + s * w2
                    t0, t1, t2 = t0 + t * w0, t1 + t * w1, t2 + t * w2
                z[i, j], z[i, j1], z[i, j2] = p0, p1, p2
                z[i1, j], z[i1, j1], z[i1, j2] = q0, q1, q2
                z[i2, j], z[i2, j1], z[i2, j2] = r0, r1, r2
                z[i3, j], z[i3, j1], z[i3, j2] = s0, s1, s2
                z[i4, j], z[i4, j1], z[i4, j2] = t0, t1, t2


@range_body(MATH)
def add_outer(args: Any, start: Any, end: Any) -> None:
    """Write some rows of beta w + alpha delta aᵀ into w. They are the rows from `start` to `end - 1`.

    `args` is the tuple (alpha, delta, a, beta, w). `delta` and `a` are blocks of columns, passed as C-ordered matrices
    of shape (m, n). The old entries of w must be finite, even if beta is 0, because they are multiplied by beta.
    """
    alpha, delta, a, beta, w = args
    m = delta.shape[0]
    real = w.dtype.type
    for j in range(start, end, 2):
        j1 = min(j + 1, end - 1)
        scale = real(beta)  # the factor of w, which is 1 after the first five columns
        for i in range(0, m - m % 5, 5):
            d0, e0 = real(alpha) * delta[i, j], real(alpha) * delta[i, j1]
            d1, e1 = real(alpha) * delta[i + 1, j], real(alpha) * delta[i + 1, j1]
            d2, e2 = real(alpha) * delta[i + 2, j], real(alpha) * delta[i + 2, j1]
            d3, e3 = real(alpha) * delta[i + 3, j], real(alpha) * delta[i + 3, j1]
            d4, e4 = real(alpha) * delta[i + 4, j], real(alpha) * delta[i + 4, j1]
            for k in range(w.shape[1]):
                a0, a1, a2, a3, a4 = a[i, k], a[i + 1, k], a[i + 2, k], a[i + 3, k], a[i + 4, k]
                # Both rows are read before one is written. If the number of rows is odd, the last two are the same row.
                p, q = scale * w[j, k], scale * w[j1, k]
                w[j, k] = p + d0 * a0 + d1 * a1 + d2 * a2 + d3 * a3 + d4 * a4
                w[j1, k] = q + e0 * a0 + e1 * a1 + e2 * a2 + e3 * a3 + e4 * a4
            scale = real(1)
        for i in range(m - m % 5, m):
            d0, e0 = real(alpha) * delta[i, j], real(alpha) * delta[i, j1]
            for k in range(w.shape[1]):
                p, q = scale * w[j, k], scale * w[j1, k]
                w[j, k] = p + d0 * a[i, k]
                w[j1, k] = q + e0 * a[i, k]
            scale = real(1)
