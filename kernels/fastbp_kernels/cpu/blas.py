"""Matrix products by BLAS for compiled code. They are computed in place: C ← α op(A) op(B) + β C.

Numba's `@` has no factors α and β and no transposed operands. The products here therefore call SciPy's BLAS themselves.
With `FASTBP_BLAS=mkl` in the environment, they call Intel's MKL instead. MKL is a library that does not come with
SciPy. Compiled code refers to the function by its symbol, not by its address, so that the code can be cached. Each of
the two libraries has its own product functions, with their own names. By these names, Numba's cache distinguishes the
kernels for SciPy's BLAS from the kernels for MKL.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from fastbp_kernels.cpu.blas_library import chosen, library, product_address
from fastbp_kernels.cpu.vector_math import jitable
from fastbp_kernels.numba_private import add_symbol, address_of_entry, address_of_number

AS_IT_IS, TRANSPOSED = np.int32(ord("N")), np.int32(ord("T"))
_COLUMN_MAJOR = np.int32(102)  # CBLAS's constant for Fortran order


def product(dtype: str) -> Callable[..., None]:
    """Return a function that computes Cᵀ ← alpha op(Aᵀ) op(Bᵀ) + beta Cᵀ with the chosen BLAS.

    Only compiled code can call the function. Its arguments are

        (op_a, op_b, m, n, k, alpha, a, a_row, b, b_row, beta, c, c_row)

    `op_a` and `op_b` are `AS_IT_IS` or `TRANSPOSED`. C has m columns and n rows, and each sum in the product has k
    terms. `a`, `b` and `c` are the addresses of the first entries of A, B and C (see `at`). `a_row`, `b_row` and
    `c_row` are the lengths of the rows in memory. A matrix may therefore be a block of a larger matrix, with the rows
    of the larger matrix. The matrices are in C order. BLAS reads memory in Fortran order, and therefore sees their
    transposes.
    """
    if chosen() == "scipy":
        return _scipy_float32 if dtype == "float32" else _scipy_float64
    return _mkl_float32 if dtype == "float32" else _mkl_float64


def whole_product(dtype: str) -> Callable[..., None]:
    """Return a function that computes the same product as `product`, but takes whole arrays.

    Its arguments are (op_a, op_b, k, alpha, a, b, beta, c). `a`, `b` and `c` are the arrays. Each sum in the product
    has k terms.
    """
    multiply = product(dtype)

    @jitable
    def of_whole(op_a: Any, op_b: Any, k: Any, alpha: Any, a: Any, b: Any, beta: Any, c: Any) -> None:
        m, n, a_, b_, c_ = c.shape[1], c.shape[0], at(a, 0, 0), at(b, 0, 0), at(c, 0, 0)
        multiply(op_a, op_b, m, n, k, alpha, a_, a.shape[1], b_, b.shape[1], beta, c_, m)

    return of_whole


@jitable
def at(matrix: Any, i: Any, j: Any) -> Any:
    """Return the address of entry (i, j) of a matrix. A block of the matrix begins there.

    Kernels call this function, because they must not call the intrinsic `address_of_entry` themselves. The functions
    called by a kernel are pickled for the keys of the cache, and an intrinsic pickles differently in each process.
    """
    return address_of_entry(matrix, i, j)


@cache
def multiplies_few_columns() -> bool:
    """Return whether the BLAS multiplies small matrices without packing them.

    This is the case for OpenBLAS with AVX-512. For 10 columns and W of shape (30, 784), it computes δ aᵀ in 2.3 µs.
    `small_gemm` takes 3.5 µs, and OpenBLAS with AVX2 takes 6.8 µs.
    """
    controller = library(chosen()).controller
    return getattr(controller, "architecture", None) in ("SkylakeX", "Cooperlake", "SapphireRapids")


def _scipy_product(name: str) -> Any:
    """Return SciPy's matrix product for compiled code. Its 13 arguments are addresses (see `product_address`)."""
    symbol = f"fastbp_{name}"
    add_symbol(symbol, product_address(name))
    return types.ExternalFunction(symbol, types.void(*[types.voidptr] * 13))


_sgemm, _dgemm = _scipy_product("sgemm"), _scipy_product("dgemm")


@jitable
def _scipy_float32(
    op_a: Any, op_b: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, a_row: Any, b: Any, b_row: Any, beta: Any,
    c: Any, c_row: Any,
) -> None:  # fmt: skip
    alpha_, beta_ = address_of_number(np.float32(alpha)), address_of_number(np.float32(beta))
    op_a_, op_b_ = address_of_number(np.uint8(op_a)), address_of_number(np.uint8(op_b))
    m_, n_, k_ = address_of_number(np.int32(m)), address_of_number(np.int32(n)), address_of_number(np.int32(k))
    a_row_, b_row_ = address_of_number(np.int32(a_row)), address_of_number(np.int32(b_row))
    c_row_ = address_of_number(np.int32(c_row))
    _sgemm(op_a_, op_b_, m_, n_, k_, alpha_, a, a_row_, b, b_row_, beta_, c, c_row_)


@jitable
def _scipy_float64(
    op_a: Any, op_b: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, a_row: Any, b: Any, b_row: Any, beta: Any,
    c: Any, c_row: Any,
) -> None:  # fmt: skip
    alpha_, beta_ = address_of_number(np.float64(alpha)), address_of_number(np.float64(beta))
    op_a_, op_b_ = address_of_number(np.uint8(op_a)), address_of_number(np.uint8(op_b))
    m_, n_, k_ = address_of_number(np.int32(m)), address_of_number(np.int32(n)), address_of_number(np.int32(k))
    a_row_, b_row_ = address_of_number(np.int32(a_row)), address_of_number(np.int32(b_row))
    c_row_ = address_of_number(np.int32(c_row))
    _dgemm(op_a_, op_b_, m_, n_, k_, alpha_, a, a_row_, b, b_row_, beta_, c, c_row_)


def _cblas(name: str, real: Any) -> Any:
    """Return a function of CBLAS. Its arguments are (order, opA, opB, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc)."""
    number, pointer = types.intc, types.voidptr
    return types.ExternalFunction(
        name,
        types.void(*[number] * 6, real, pointer, number, pointer, number, real, pointer, number),
    )


_cblas_sgemm, _cblas_dgemm = _cblas("cblas_sgemm", types.float32), _cblas("cblas_dgemm", types.float64)


@jitable
def _operation(op: Any) -> Any:
    """Return CBLAS's constant for an operation: 111 for `AS_IT_IS`, 112 for `TRANSPOSED`."""
    return np.int32(112) if op == TRANSPOSED else np.int32(111)


@jitable
def _mkl_float32(
    op_a: Any, op_b: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, a_row: Any, b: Any, b_row: Any, beta: Any,
    c: Any, c_row: Any,
) -> None:  # fmt: skip
    op_a, op_b, alpha_, beta_ = _operation(op_a), _operation(op_b), np.float32(alpha), np.float32(beta)
    m, n, k = np.int32(m), np.int32(n), np.int32(k)
    a_row, b_row, c_row = np.int32(a_row), np.int32(b_row), np.int32(c_row)
    _cblas_sgemm(_COLUMN_MAJOR, op_a, op_b, m, n, k, alpha_, a, a_row, b, b_row, beta_, c, c_row)


@jitable
def _mkl_float64(
    op_a: Any, op_b: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, a_row: Any, b: Any, b_row: Any, beta: Any,
    c: Any, c_row: Any,
) -> None:  # fmt: skip
    op_a, op_b, alpha_, beta_ = _operation(op_a), _operation(op_b), np.float64(alpha), np.float64(beta)
    m, n, k = np.int32(m), np.int32(n), np.int32(k)
    a_row, b_row, c_row = np.int32(a_row), np.int32(b_row), np.int32(c_row)
    _cblas_dgemm(_COLUMN_MAJOR, op_a, op_b, m, n, k, alpha_, a, a_row, b, b_row, beta_, c, c_row)
