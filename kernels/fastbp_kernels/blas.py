"""BLAS from compiled code: C ← α op(A) op(B) + β C in place, by SciPy's BLAS or by Intel's MKL.

Numba's `@` has neither α nor β nor transposes in place; `numba_xxgemm` is the function behind it, which calls the BLAS
of SciPy. MKL is a library of its own, taken where the environment says `FASTBP_BLAS=mkl`. Compiled code that names
either by symbol, not by address, can be cached, and kernels of one are no kernels of the other: their products have
names of their own, by which Numba's cache knows them.
"""

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
    """Return `gemm`, or the like of it by the BLAS that is chosen, for compiled code to call."""
    if chosen() == "scipy":
        return gemm
    return _mkl_float32 if dtype == "float32" else _mkl_float64


@cache
def multiplies_few_columns() -> bool:
    """Say whether the BLAS has kernels for small products, without a copy of their matrices: OpenBLAS with AVX-512.

    δ aᵀ of 10 columns and (30, 784) then takes 2.3 µs by BLAS and 3.5 by tiles, where with AVX2 it took 6.8.
    """
    from scipy.linalg import cython_blas  # noqa: F401 (loaded, so that it can be asked)
    from threadpoolctl import threadpool_info

    kernels = [pool.get("architecture") for pool in threadpool_info() if "scipy" in pool["filepath"]]
    return chosen() == "scipy" and any(name in ("SkylakeX", "Cooperlake", "SapphireRapids") for name in kernels)


@cache
def _load_mkl() -> None:
    """Make MKL's symbols known to compiled code, from the package mkl or from where the system finds libraries."""
    try:
        files = metadata.files("mkl") or []
    except metadata.PackageNotFoundError:
        files = []
    ending = (".so", ".dylib", ".dll")
    found = [str(f.locate()) for f in files if "mkl_rt" in f.name and any(part in f.name for part in ending)]
    try:
        llvm.load_library_permanently(next(iter(found), "libmkl_rt.so"))
    except RuntimeError as error:
        raise NoBLASError(f"{VARIABLE} is 'mkl', which is not installed: pip install 'fastbp[mkl]'") from error


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
def _mkl_float32(op_a: Any, op_b: Any, inner: Any, alpha: Any, a: Any, b: Any, beta: Any, c: Any) -> None:
    """Do what `gemm` does by MKL, in float32."""
    m, n = np.int32(c.shape[1]), np.int32(c.shape[0])
    a_ld, b_ld, c_ld = np.int32(a.shape[1]), np.int32(b.shape[1]), np.int32(c.shape[1])
    left, right, k = _operation(op_a), _operation(op_b), np.int32(inner)
    scale, keep = np.float32(alpha), np.float32(beta)
    _cblas_sgemm(_COLUMN_MAJOR, left, right, m, n, k, scale, a.ctypes, a_ld, b.ctypes, b_ld, keep, c.ctypes, c_ld)


@jitable
def _mkl_float64(op_a: Any, op_b: Any, inner: Any, alpha: Any, a: Any, b: Any, beta: Any, c: Any) -> None:
    """Do what `gemm` does by MKL, in float64."""
    m, n = np.int32(c.shape[1]), np.int32(c.shape[0])
    a_ld, b_ld, c_ld = np.int32(a.shape[1]), np.int32(b.shape[1]), np.int32(c.shape[1])
    left, right, k = _operation(op_a), _operation(op_b), np.int32(inner)
    scale, keep = np.float64(alpha), np.float64(beta)
    _cblas_dgemm(_COLUMN_MAJOR, left, right, m, n, k, scale, a.ctypes, a_ld, b.ctypes, b_ld, keep, c.ctypes, c_ld)
