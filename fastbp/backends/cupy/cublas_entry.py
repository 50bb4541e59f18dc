"""cuBLAS by its own entry points, for products that are made ready once and can be captured in a CUDA graph.

CuPy's functions for cuBLAS refuse to be called while a stream is capturing, although cuBLAS can be captured. So cuBLAS
is called here through ctypes. The library and the handle are CuPy's.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

Array = Any
_OPS = {"N": 0, "T": 1}  # cublasOperation_t
_REALS = {"float32": ctypes.c_float, "float64": ctypes.c_double}
_DEFAULT_MATH, _TF32_TENSOR_OP_MATH = 0, 3  # cublasMath_t
_POINTERS_ON_HOST = 0  # cublasPointerMode_t
_WORKSPACE_MIB = {9: 32, 10: 32, 12: 12}  # cuBLAS's defaults by major compute capability; 4 MiB for others


def workspace_bytes(major: int) -> int:
    """Return the size of cuBLAS's default workspace on GPUs of a compute capability. Another size may change the bits.

    >>> workspace_bytes(8) == 4 * 2**20
    True
    """
    return _WORKSPACE_MIB.get(major, 4) * 2**20


def product_shape(op_a: str, op_b: str, a: Array, b: Array, out: Array) -> tuple[str, str, int, int, int, int, int]:
    """Return the arguments (op_a, op_b, m, n, k, lda, ldb) of a GEMM for arrays in C or Fortran order.

    cuBLAS takes matrices in Fortran order. A matrix in C order is the transpose of one in Fortran order. `out` must be
    in Fortran order.
    """
    m, n = out.shape
    k = a.shape[1] if op_a == "N" else a.shape[0]
    (op_a, lda), (op_b, ldb) = _in_fortran_order(a, op_a), _in_fortran_order(b, op_b)
    return op_a, op_b, m, n, k, lda, ldb


def _in_fortran_order(matrix: Array, op: str) -> tuple[str, int]:
    """Return the operation on the matrix in Fortran order that has the same memory, and its leading dimension."""
    if matrix.flags.f_contiguous:
        return op, matrix.shape[0]
    return {"N": "T", "T": "N"}[op], matrix.shape[1]


class CuBLAS:
    """The entry points of a cuBLAS library."""

    def __init__(self, library: Any) -> None:
        self._gemm = {"float32": library.cublasSgemm_v2, "float64": library.cublasDgemm_v2}
        self._set_stream, self._set_workspace = library.cublasSetStream_v2, library.cublasSetWorkspace_v2
        self._set_math, self._set_pointer_mode = library.cublasSetMathMode, library.cublasSetPointerMode_v2
        for function in (*self._gemm.values(), self._set_stream, self._set_workspace, self._set_math):
            function.restype = _checked
        self._set_pointer_mode.restype = _checked

    def gemm(
        self, handle: int, op_a: str, op_b: str, a: Array, b: Array, out: Array, alpha: float, beta: float
    ) -> Callable[[], Any]:
        """Return a function that computes out ← alpha op(a) op(b) + beta out. It keeps the arrays alive."""
        real = _REALS[str(out.dtype)]
        op_a, op_b, m, n, k, lda, ldb = product_shape(op_a, op_b, a, b, out)
        call = partial(
            self._gemm[str(out.dtype)], ctypes.c_void_p(handle), ctypes.c_int(_OPS[op_a]), ctypes.c_int(_OPS[op_b]),
            ctypes.c_int(m), ctypes.c_int(n), ctypes.c_int(k), ctypes.byref(real(alpha)), _pointer(a),
            ctypes.c_int(lda), _pointer(b), ctypes.c_int(ldb), ctypes.byref(real(beta)), _pointer(out), ctypes.c_int(m),
        )  # fmt: skip
        vars(call)["arrays"] = (a, b, out)
        return call

    @contextmanager
    def on_stream(self, handle: int, stream: int, workspace: Array = None, *, tf32: bool) -> Iterator[None]:
        """Within a `with` block, the products with this handle run on a stream.

        They use a workspace of the caller, an array of bytes, or else cuBLAS's own.
        """
        there = ctypes.c_void_p(handle)
        self._set_stream(there, ctypes.c_void_p(stream))  # also resets the workspace, so this comes first
        if workspace is not None:
            self._set_workspace(there, _pointer(workspace), ctypes.c_size_t(workspace.nbytes))
        self._set_pointer_mode(there, _POINTERS_ON_HOST)
        if tf32:
            self._set_math(there, _TF32_TENSOR_OP_MATH)
        try:
            yield
        finally:
            if tf32:
                self._set_math(there, _DEFAULT_MATH)
            if workspace is not None:
                self._set_stream(there, None)  # resets the workspace; CuPy sets the stream before each of its calls


@cache
def cublas() -> CuBLAS:
    """Return the entry points of the library that CuPy has loaded."""
    from cuda.pathfinder import load_nvidia_dynamic_lib

    return CuBLAS(ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path))


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.data.ptr)


def _checked(status: int) -> None:
    if status:
        from cupy_backends.cuda.libs.cublas import CUBLASError

        raise CUBLASError(status)
