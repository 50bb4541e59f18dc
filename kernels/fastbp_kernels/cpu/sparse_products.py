"""The products W x and δ xᵀ for sparse inputs x, computed only from the stored entries of x.

Like every block, a block of sparse inputs is a matrix with one example per row. A row holds the number of the example's
entries, and then the index and the value of each entry:

    count, index, value, index, value, …

The rest of the row is not used. `count` and the indices are integers. They are stored in the bits of the floating-point
numbers of the matrix.

The kernels take four rows of W at a time, for all examples of a mini-batch. So the four rows stay in the cache.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from fastbp_kernels.cpu.jit_cache import compiled_kernel
from fastbp_kernels.cpu.vector_math import MATH, jitable
from fastbp_kernels.cpu.work_sharing import parallel_for_two, range_body
from fastbp_kernels.numba_private import make_task
from fastbp_kernels.sparse_rows import SparseRows

Kernel = Any
INTEGERS: dict[str, Callable[..., Any]] = {"float32": np.int32, "float64": np.int64}
"""The type of the integers in a block of floating-point numbers of a dtype."""

_MIN_MULTIPLICATIONS = 2**14
"""The number of multiplications above which half of the rows of W is offered to the worker thread (`work_sharing`)."""


@cache
def gather(dtype: str) -> Kernel:
    """Compile a kernel with the arguments (x, indices, scale, out). It copies the entries of examples into a block.

    Row i of `out` becomes example `indices[i]` of the `SparseRows` x, multiplied by `scale`.
    """
    real, integer = np.dtype(dtype).type, INTEGERS[dtype]

    def kernel(x: Any, indices: Any, scale: Any, out: Any) -> None:
        integers, factor = out.view(integer), real(scale)
        for i in range(out.shape[0]):
            start = x.starts[indices[i]]
            count = x.starts[indices[i] + 1] - start
            integers[i, 0] = count
            for k in range(count):
                integers[i, 1 + 2 * k] = x.inputs[start + k]
                out[i, 2 + 2 * k] = factor * x.values[start + k]

    indices, block = types.Array(types.int64, 1, "C", readonly=True), types.Array(getattr(types, dtype), 2, "C")
    return compiled_kernel(kernel, types.void(_rows(dtype), indices, types.float64, block))


@cache
def matmul(dtype: str) -> Kernel:
    """Compile a kernel with the arguments (w, x, z). It writes the product W x of sparse inputs x into `z`."""
    integer, zero = INTEGERS[dtype], np.dtype(dtype).type(0)

    @range_body(MATH)
    def rows(args: Any, start: Any, end: Any) -> None:
        w, x, z = args
        integers = x.view(integer)
        fours = start + (end - start) // 4 * 4
        for j in range(start, fours, 4):
            for i in range(z.shape[0]):
                z_0, z_1, z_2, z_3 = zero, zero, zero, zero
                for k in range(1, 2 * integers[i, 0], 2):
                    value, column = x[i, k + 1], np.uintp(integers[i, k])
                    z_0 += w[j, column] * value
                    z_1 += w[j + 1, column] * value
                    z_2 += w[j + 2, column] * value
                    z_3 += w[j + 3, column] * value
                z[i, j], z[i, j + 1], z[i, j + 2], z[i, j + 3] = z_0, z_1, z_2, z_3
        for j in range(fours, end):
            for i in range(z.shape[0]):
                z_0 = zero
                for k in range(1, 2 * integers[i, 0], 2):
                    z_0 += w[j, np.uintp(integers[i, k])] * x[i, k + 1]
                z[i, j] = z_0

    def kernel(w: Any, x: Any, z: Any) -> None:
        code, args = make_task(rows, (w, x, z))
        parallel_for_two(code, args, w.shape[0], w.shape[0] * x.size > _MIN_MULTIPLICATIONS)

    return compiled_kernel(kernel, types.void(*[types.Array(getattr(types, dtype), 2, "C")] * 3))


@cache
def matmul_of_rows(dtype: str) -> Kernel:
    """Compile a kernel with the arguments (w_t, x, start, z). It writes products W x into the rows of `z`.

    `w_t` is Wᵀ in C order, and x are `SparseRows`. Row i of `z` is for the example with the number `start` + i.
    """
    zero = np.dtype(dtype).type(0)

    def kernel(w_t: Any, x: Any, start: Any, z: Any) -> None:
        n = z.shape[1]
        for i in range(z.shape[0]):
            for j in range(n):
                z[i, j] = zero
            first, end = x.starts[start + i], x.starts[start + i + 1]
            fours = first + (end - first) // 4 * 4
            for k in range(first, fours, 4):  # four at a time, so that z is read and written less often
                v_0, v_1, v_2, v_3 = x.values[k], x.values[k + 1], x.values[k + 2], x.values[k + 3]
                r_0, r_1 = np.uintp(x.inputs[k]), np.uintp(x.inputs[k + 1])
                r_2, r_3 = np.uintp(x.inputs[k + 2]), np.uintp(x.inputs[k + 3])
                for j in range(n):
                    two = (z[i, j] + v_0 * w_t[r_0, j]) + v_1 * w_t[r_1, j]
                    z[i, j] = (two + v_2 * w_t[r_2, j]) + v_3 * w_t[r_3, j]
            for k in range(fours, end):
                v_0, r_0 = x.values[k], np.uintp(x.inputs[k])
                for j in range(n):
                    z[i, j] += v_0 * w_t[r_0, j]

    block = types.Array(getattr(types, dtype), 2, "C")
    return compiled_kernel(kernel, types.void(block, _rows(dtype), types.int64, block))


@cache
def add_outer(dtype: str) -> Kernel:
    """Compile a kernel with the arguments (alpha, delta, x, beta, w). It writes beta w + alpha delta xᵀ into w.

    x is a block of sparse inputs.
    """
    real, integer = np.dtype(dtype).type, INTEGERS[dtype]

    @range_body(MATH)
    def rows(args: Any, start: Any, end: Any) -> None:
        alpha, delta, x, beta, w = args
        integers, factor = x.view(integer), real(alpha)
        if beta != 1.0:
            _scale_rows(w, start, end, real(beta))
        fours = start + (end - start) // 4 * 4
        for j in range(start, fours, 4):
            for i in range(x.shape[0]):
                d_0, d_1, d_2, d_3 = delta[i, j], delta[i, j + 1], delta[i, j + 2], delta[i, j + 3]
                d_0, d_1, d_2, d_3 = factor * d_0, factor * d_1, factor * d_2, factor * d_3
                for k in range(1, 2 * integers[i, 0], 2):
                    value, column = x[i, k + 1], np.uintp(integers[i, k])
                    w[j, column] += d_0 * value
                    w[j + 1, column] += d_1 * value
                    w[j + 2, column] += d_2 * value
                    w[j + 3, column] += d_3 * value
        for j in range(fours, end):
            for i in range(x.shape[0]):
                d_0 = factor * delta[i, j]
                for k in range(1, 2 * integers[i, 0], 2):
                    w[j, np.uintp(integers[i, k])] += d_0 * x[i, k + 1]

    def kernel(alpha: Any, delta: Any, x: Any, beta: Any, w: Any) -> None:
        code, args = make_task(rows, (alpha, delta, x, beta, w))
        parallel_for_two(code, args, w.shape[0], w.shape[0] * x.size > _MIN_MULTIPLICATIONS)

    block = types.Array(getattr(types, dtype), 2, "C")
    return compiled_kernel(kernel, types.void(types.float64, block, block, types.float64, block))


@jitable
def _scale_rows(w: Any, start: Any, end: Any, beta: Any) -> None:
    """Multiply rows of w by beta. If beta is 0, set them to 0, whatever they contain."""
    for j in range(start, end):
        for k in range(w.shape[1]):
            w[j, k] = w[j, k] * beta if beta != 0 else beta


def _rows(dtype: str) -> Any:
    parts = (types.Array(number, 1, "C") for number in (types.int64, types.int32, getattr(types, dtype)))
    return types.NamedTuple(parts, SparseRows)
