"""The products W a and δ aᵀ for few columns, without BLAS, which first copies its matrices into an order of its own.

For a few columns that copy costs more than the product. Here tiles of 5 columns by 3 rows of W, or by 2 rows, are gone
through along the memory of both, and need no copy; 15 sums and a number to multiply by fill the registers of AVX. Times
in µs, OpenBLAS (its kernels for AVX2) against this, W (30, 784), the least of seven runs or more on one of two busy
cores of an AMD EPYC with AVX-512, Numba 0.68, 2026-11-23:

| columns | W a, float32 | float64 | W + δ aᵀ, float32 | float64 |
| --- | --- | --- | --- | --- |
| 1 | 9.6 : 1.1 | 6.7 : 2.3 | | |
| 10 | 16 : 2.1 | 19 : 5.6 | 6.8 : 3.4 | 12 : 7.4 |
| 20 | 18 : 5.9 | 27 : 12 | 14 : 9.6 | 23 : 20 |
"""

from typing import Any

from fastbp_kernels.cpu.halves import part
from fastbp_kernels.cpu.vector_math import MATH, jitable

MAX_BATCH_BYTES = 160
"""Bytes of as many numbers as there are columns up to which W a goes by tiles: 40 in float32, 20 in float64. 32 of
(100, 784) take 25 µs against 40 by two threads of BLAS for AVX2 and 32 for AVX-512, but in float64 71, 60 and 44."""

MAX_W_BYTES = 2**23
"""Bytes of W up to which it does: 10 columns of (1024, 1024) take 138 µs against 334 and 298, but in float64 ones of
(2048, 2048) 3.0 ms against 2.5 and 1.4."""

L1_BYTES = 2**15
"""Bytes of columns that stay in the first cache while W goes by: 10 of 784 in float32, 5 in float64."""

MAX_OUTER_W_BYTES = 2**18
"""Bytes of W up to which δ aᵀ by tiles beats BLAS: 0.6 of its time for (30, 784), but 1.2 for (100, 784) in float32;
where BLAS has kernels for AVX-512 it never does (`blas.multiplies_few_columns`)."""

_SUMS: dict[str, Any] = {**MATH, "fastmath": {"contract", "nsz", "reassoc"}}
# A sum is vectorised only if its order is free, as it is in BLAS; NaN and infinity are kept.


@jitable
def fits_small_gemm(w: Any, a: Any) -> Any:
    """Say whether there are few enough columns in a that w a is for `matmul` here."""
    return a.shape[0] * a.itemsize <= MAX_BATCH_BYTES and w.size * w.itemsize <= MAX_W_BYTES


@part(_SUMS)
def matmul(given: Any, start: Any, end: Any) -> None:
    """Write rows start to end of z = w a, given (w, a, z); a, z are blocks of columns, C-ordered (m, n).

    Edges of tiles are computed twice or more.
    All of w goes by as many columns as stay near, then by the next: 32 of (100, 784) take 25 µs, and all at once 32.
    """
    w, a, z = given
    m = z.shape[0]
    near = max(5, L1_BYTES // (a.shape[1] * a.itemsize) // 5 * 5)
    for first in range(0, m, near):
        last = min(first + near, m)
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


@part(MATH)
def add_outer(given: Any, start: Any, end: Any) -> None:
    """Write rows start to end of w ← beta w + alpha delta aᵀ, given (alpha, delta, a, beta, w), of which w is finite.

    delta, a are blocks of columns, C-ordered (m, n).
    """
    alpha, delta, a, beta, w = given
    m = delta.shape[0]
    real = w.dtype.type
    for j in range(start, end, 2):
        j1 = min(j + 1, end - 1)
        scale = real(beta)  # w's, the first time that it is gone through
        for i in range(0, m - m % 5, 5):
            d0, e0 = real(alpha) * delta[i, j], real(alpha) * delta[i, j1]
            d1, e1 = real(alpha) * delta[i + 1, j], real(alpha) * delta[i + 1, j1]
            d2, e2 = real(alpha) * delta[i + 2, j], real(alpha) * delta[i + 2, j1]
            d3, e3 = real(alpha) * delta[i + 3, j], real(alpha) * delta[i + 3, j1]
            d4, e4 = real(alpha) * delta[i + 4, j], real(alpha) * delta[i + 4, j1]
            for k in range(w.shape[1]):
                a0, a1, a2, a3, a4 = a[i, k], a[i + 1, k], a[i + 2, k], a[i + 3, k], a[i + 4, k]
                # Both are read before one is written: they are one row at an odd end.
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
