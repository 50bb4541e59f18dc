"""BLAS from compiled code: C ← α op(A) op(B) + β C in place, through the entry that Numba itself uses.

Numba's `@` has neither α nor β nor transposes in place; `numba_xxgemm` is the function behind it, which calls the BLAS
of SciPy. Compiled code that names it by symbol, not by address, can be cached.
"""

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastbp_kernels.vector_math import jitable

_int, _size, _pointer = types.intc, types.intp, types.voidptr
_xxgemm = types.ExternalFunction(
    "numba_xxgemm",  # kind, transA, transB, m, n, k, alpha*, A*, lda, B*, ldb, beta*, C*, ldc; Fortran order
    _int(
        *(_int, _int, _int, _size, _size, _size, _pointer),
        *(_pointer, _size, _pointer, _size, _pointer, _pointer, _size),
    ),
)
_FLOAT32, _FLOAT64 = np.int32(ord("s")), np.int32(ord("d"))
AS_IT_IS, TRANSPOSED = np.int32(ord("N")), np.int32(ord("T"))


@intrinsic  # type: ignore[untyped-decorator]
def _address(typing_context: Any, number: Any) -> Any:
    """Return the address of a number, for BLAS takes alpha and beta by address."""

    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(cgutils.alloca_once_value(builder, arguments[0]), cgutils.voidptr_t)

    return types.voidptr(number), lowered


@jitable
def gemm(op_a: Any, op_b: Any, inner: Any, alpha: Any, a: Any, b: Any, beta: Any, c: Any) -> None:
    """Write cᵀ ← alpha op(aᵀ) op(bᵀ) + beta cᵀ into c, all three C-ordered matrices of one type.

    Memory in C order is in Fortran order, which BLAS reads, the transpose; `inner` is the length that the product
    sums over, and `op` is `AS_IT_IS` or `TRANSPOSED`.
    """
    real = type(c[0, 0])
    _xxgemm(
        _FLOAT32 if c.itemsize == 4 else _FLOAT64,
        op_a,
        op_b,
        c.shape[1],
        c.shape[0],
        inner,
        _address(real(alpha)),
        a.ctypes,
        a.shape[1],
        b.ctypes,
        b.shape[1],
        _address(real(beta)),
        c.ctypes,
        c.shape[1],
    )
