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

from numba.extending import register_jitable

from fastbp_kernels.vector_math import MATH, jitable

FEW_COLUMNS = 40
"""Up to here W a goes by tiles: at 32 columns and W (100, 784) 31 µs against BLAS's 67 on one thread, float32, and 59
against 169, float64. At 64 they are still ahead of one thread (71 against 108, float32), but not of several."""

SMALL_W = 2**18
"""Bytes of W up to which δ aᵀ by tiles beats BLAS: 0.6 of its time for (30, 784), but 1.2 for (100, 784) in float32;
where BLAS has kernels for AVX-512 it never does (`blas.multiplies_few_columns`)."""

_SUMS: dict[str, Any] = {**MATH, "fastmath": {"contract", "nsz", "reassoc"}}
# A sum is vectorised only if its order is free, as it is in BLAS; NaN and infinity are kept.


@register_jitable(forceinline=True, **_SUMS)  # type: ignore[untyped-decorator]
def affine(w: Any, a: Any, z: Any) -> None:
    """Write z = w a into z; a, z are blocks of columns, C-ordered (m, n). Edges of tiles are computed twice or more."""
    m, n = z.shape
    for j in range(0, n, 3):
        j1, j2 = min(j + 1, n - 1), min(j + 2, n - 1)
        for i in range(0, m, 5):
            i1, i2, i3, i4 = min(i + 1, m - 1), min(i + 2, m - 1), min(i + 3, m - 1), min(i + 4, m - 1)
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


@jitable
def add_outer(alpha: Any, delta: Any, a: Any, beta: Any, w: Any) -> None:
    """Write w ← beta w + alpha delta aᵀ; delta, a are blocks of columns, C-ordered (m, n). w must be finite."""
    m, n = delta.shape
    real = w.dtype.type
    for j in range(0, n, 2):
        j1 = min(j + 1, n - 1)
        scale = real(beta)  # w's, the first time that it is gone through
        for i in range(0, m - m % 5, 5):
            d0, e0 = real(alpha) * delta[i, j], real(alpha) * delta[i, j1]
            d1, e1 = real(alpha) * delta[i + 1, j], real(alpha) * delta[i + 1, j1]
            d2, e2 = real(alpha) * delta[i + 2, j], real(alpha) * delta[i + 2, j1]
            d3, e3 = real(alpha) * delta[i + 3, j], real(alpha) * delta[i + 3, j1]
            d4, e4 = real(alpha) * delta[i + 4, j], real(alpha) * delta[i + 4, j1]
            for k in range(w.shape[1]):
                a0, a1, a2, a3, a4 = a[i, k], a[i + 1, k], a[i + 2, k], a[i + 3, k], a[i + 4, k]
                # Both are read before one is written: they are the same row where n is odd.
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
