"""The product W a for few columns, without BLAS, which first copies W into an order of its own.

For a few columns that copy costs more than the product. Here tiles of 2 columns by 4 rows of W are summed along the
memory of both, and need no copy. Times of one W a in µs, OpenBLAS against this, W (30, 784), the least of seven runs on
one of two busy cores of an AMD EPYC with AVX-512, Numba 0.68, 2026-11-23:

| columns | float32 | float64 |
| --- | --- | --- |
| 1 | 18 : 1.0 | 14 : 1.9 |
| 10 | 17 : 3.5 | 22 : 7.0 |
| 20 | 20 : 7.0 | 30 : 16 |
"""

from typing import Any

from numba.extending import register_jitable

from fastbp_kernels.vector_math import MATH

FEW_COLUMNS = 20
"""Up to here tiles beat BLAS for W of (30, 784) and of (100, 784), in both dtypes; at 64 BLAS is ahead."""

_SUMS: dict[str, Any] = {**MATH, "fastmath": {"contract", "nsz", "reassoc"}}
# A sum is vectorised only if its order is free, as it is in BLAS; NaN and infinity are kept.


@register_jitable(forceinline=True, **_SUMS)  # type: ignore[untyped-decorator]
def affine(w: Any, a: Any, z: Any) -> None:
    """Write z = w a into z; a, z are blocks of columns, C-ordered (m, n). Edges of tiles are computed twice or more."""
    m, n = z.shape
    for j in range(0, n, 4):
        j1, j2, j3 = min(j + 1, n - 1), min(j + 2, n - 1), min(j + 3, n - 1)
        for i in range(0, m, 2):
            i1 = min(i + 1, m - 1)
            p0 = p1 = p2 = p3 = q0 = q1 = q2 = q3 = w.dtype.type(0)
            for k in range(w.shape[1]):
                p, q = a[i, k], a[i1, k]
                w0, w1, w2, w3 = w[j, k], w[j1, k], w[j2, k], w[j3, k]
                p0, p1, p2, p3 = p0 + p * w0, p1 + p * w1, p2 + p * w2, p3 + p * w3
                q0, q1, q2, q3 = q0 + q * w0, q1 + q * w1, q2 + q * w2, q3 + q * w3
            z[i, j], z[i, j1], z[i, j2], z[i, j3] = p0, p1, p2, p3
            z[i1, j], z[i1, j1], z[i1, j2], z[i1, j3] = q0, q1, q2, q3
