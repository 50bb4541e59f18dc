"""BLAS from compiled code: C ← α op(A) op(B) + β C in place, by SciPy's BLAS or by Intel's MKL.

Numba's `@` has neither α nor β nor transposes in place; `numba_xxgemm` is the function behind it, which calls the BLAS
of SciPy. MKL is a library of its own, taken where the environment says `FASTBP_BLAS=mkl`. Compiled code that names
either by symbol, not by address, can be cached, and kernels of one are no kernels of the other: their products have
names of their own, by which Numba's cache knows them.
"""

import contextlib
import os
from collections.abc import Callable
from functools import cache
from importlib import metadata
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastbp_kernels.cpu.blas_library import library, mkl_files
from fastbp_kernels.cpu.vector_math import jitable

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


CHOICES = ("scipy", "mkl")
VARIABLE = "FASTBP_BLAS"
_COLUMN_MAJOR = np.int32(102)  # CBLAS's number for Fortran order


class NoBLASError(ValueError):
    """A BLAS that is not known or not there; the message says which there are, in one line."""


def chosen() -> str:
    """Return the BLAS that the environment asks for, one of `CHOICES`; raises `NoBLASError` if there is no such.

    >>> chosen() in CHOICES
    True
    """
    name = os.environ.get(VARIABLE) or "scipy"
    if name not in CHOICES:
        raise NoBLASError(f"{VARIABLE} is {name!r}; valid: {', '.join(CHOICES)}")
    if name == "mkl":
        _load_mkl()
    return name


def product(dtype: str) -> Callable[..., None]:
    """Return, for compiled code to call, the product by the BLAS that is chosen: Cᵀ ← alpha op(Aᵀ) op(Bᵀ) + beta Cᵀ.

    Its arguments are op_a, op_b, the columns and rows of C, the length that is summed over, alpha, A, the length of its
    rows, B and its, beta, C and its; `at` gives the matrices. Memory in C order is in Fortran order, which BLAS reads,
    the transpose; `op` is `AS_IT_IS` or `TRANSPOSED`.
    """
    if chosen() == "scipy":
        return _scipy_float32 if dtype == "float32" else _scipy_float64
    return _mkl_float32 if dtype == "float32" else _mkl_float64


def whole_product(dtype: str) -> Callable[..., None]:
    """Return the `product` of whole matrices: op_a, op_b, the length that is summed over, alpha, A, B, beta and C."""
    multiply = product(dtype)

    @jitable
    def of_whole(op_a: Any, op_b: Any, k: Any, alpha: Any, a: Any, b: Any, beta: Any, c: Any) -> None:
        m, n, a_, b_, c_ = c.shape[1], c.shape[0], at(a, 0, 0), at(b, 0, 0), at(c, 0, 0)
        multiply(op_a, op_b, m, n, k, alpha, a_, a.shape[1], b_, b.shape[1], beta, c_, m)

    return of_whole


@jitable
def at(matrix: Any, i: Any, j: Any) -> Any:
    """Return the address of an entry, where a block of a matrix begins.

    No intrinsic itself, for these have another pickle in each process, and pickles are keys of Numba's cache.
    """
    return _at(matrix, i, j)


@intrinsic  # type: ignore[untyped-decorator]
def _at(typing_context: Any, matrix: Any, i: Any, j: Any) -> Any:
    """Return the address of an entry."""

    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(matrix)(context, builder, arguments[0])
        place = cgutils.get_item_pointer(context, builder, matrix, array, arguments[1:])
        return builder.bitcast(place, cgutils.voidptr_t)

    return types.voidptr(matrix, types.intp, types.intp), lowered


@cache
def multiplies_few_columns() -> bool:
    """Say whether the BLAS has kernels for small products, without a copy of their matrices: OpenBLAS with AVX-512.

    δ aᵀ of 10 columns and (30, 784) then takes 2.3 µs by BLAS and 3.5 by tiles, where with AVX2 it took 6.8.
    """
    controller = library(chosen()).controller
    return getattr(controller, "architecture", None) in ("SkylakeX", "Cooperlake", "SapphireRapids")


@cache
def _load_mkl() -> None:
    """Make MKL's symbols known to compiled code, from pip's package, conda's, or where the system finds libraries."""
    try:
        installed = [str(file.locate()) for file in metadata.files("mkl") or []]
    except metadata.PackageNotFoundError:
        installed = []
    for path in mkl_files(installed):
        with contextlib.suppress(RuntimeError):
            return llvm.load_library_permanently(path)  # type: ignore[no-any-return]
    raise NoBLASError(f"{VARIABLE} is 'mkl', which is not installed: pip install 'fastbp[mkl]'")


@jitable
def _scipy_float32(
    op_a: Any, op_b: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, a_row: Any, b: Any, b_row: Any, beta: Any,
    c: Any, c_row: Any,
) -> None:  # fmt: skip
    scale, keep = _address(np.float32(alpha)), _address(np.float32(beta))
    _xxgemm(_FLOAT32, op_a, op_b, m, n, k, scale, a, a_row, b, b_row, keep, c, c_row)


@jitable
def _scipy_float64(
    op_a: Any, op_b: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, a_row: Any, b: Any, b_row: Any, beta: Any,
    c: Any, c_row: Any,
) -> None:  # fmt: skip
    scale, keep = _address(np.float64(alpha)), _address(np.float64(beta))
    _xxgemm(_FLOAT64, op_a, op_b, m, n, k, scale, a, a_row, b, b_row, keep, c, c_row)


@jitable
def gemm(op_a: Any, op_b: Any, inner: Any, alpha: Any, a: Any, b: Any, beta: Any, c: Any) -> None:
    """Do what a `product` of SciPy's BLAS does, for whole matrices, C-ordered, of one type."""
    real, kind = type(c[0, 0]), _FLOAT32 if c.itemsize == 4 else _FLOAT64
    scale, keep, m, n = _address(real(alpha)), _address(real(beta)), c.shape[1], c.shape[0]
    _xxgemm(kind, op_a, op_b, m, n, inner, scale, a.ctypes, a.shape[1], b.ctypes, b.shape[1], keep, c.ctypes, m)


def _cblas(name: str, real: Any) -> Any:
    """Return a function of CBLAS: order, opA, opB, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc."""
    return types.ExternalFunction(
        name,
        types.void(*[_int] * 6, real, _pointer, _int, _pointer, _int, real, _pointer, _int),
    )


_cblas_sgemm, _cblas_dgemm = _cblas("cblas_sgemm", types.float32), _cblas("cblas_dgemm", types.float64)


@jitable
def _operation(op: Any) -> Any:
    """Return CBLAS's number of an operation: 111 for a matrix as it is, 112 for its transpose."""
    return np.int32(112) if op == TRANSPOSED else np.int32(111)


@jitable
def _mkl_float32(
    op_a: Any, op_b: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, a_row: Any, b: Any, b_row: Any, beta: Any,
    c: Any, c_row: Any,
) -> None:  # fmt: skip
    left, right, scale, keep = _operation(op_a), _operation(op_b), np.float32(alpha), np.float32(beta)
    m, n, k, a_row, b_row, c_row = (
        np.int32(m),
        np.int32(n),
        np.int32(k),
        np.int32(a_row),
        np.int32(b_row),
        np.int32(c_row),
    )
    _cblas_sgemm(_COLUMN_MAJOR, left, right, m, n, k, scale, a, a_row, b, b_row, keep, c, c_row)


@jitable
def _mkl_float64(
    op_a: Any, op_b: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, a_row: Any, b: Any, b_row: Any, beta: Any,
    c: Any, c_row: Any,
) -> None:  # fmt: skip
    left, right, scale, keep = _operation(op_a), _operation(op_b), np.float64(alpha), np.float64(beta)
    m, n, k, a_row, b_row, c_row = (
        np.int32(m),
        np.int32(n),
        np.int32(k),
        np.int32(a_row),
        np.int32(b_row),
        np.int32(c_row),
    )
    _cblas_dgemm(_COLUMN_MAJOR, left, right, m, n, k, scale, a, a_row, b, b_row, keep, c, c_row)
