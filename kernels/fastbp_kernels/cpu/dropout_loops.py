"""The kernels of dropout for the CPU, for dense and for sparse blocks. LLVM vectorises the loop over dense units.

Their arguments are (threshold, scale, key_0, key_1, n, examples, a, out). The layer has n units. Row i of `a` has the
units of the example with the number `examples[i]`. The kernels write `a` times `scale` into `out`, and leave out the
units that are not kept (see `fastbp_kernels.threefry.kept_units`). `out` may be `a`.
"""

from functools import cache
from typing import Any

import numpy as np
from numba import types

from fastbp_kernels.cpu.jit_cache import Kernel, compiled_kernel
from fastbp_kernels.cpu.sparse_products import INTEGERS
from fastbp_kernels.cpu.vector_math import MATH, jitable
from fastbp_kernels.cpu.work_sharing import parallel_for_two, range_body
from fastbp_kernels.numba_private import make_task
from fastbp_kernels.specialize import lower
from fastbp_kernels.threefry import kept_units, low_word

_MIN_UNITS = 2**10  # above this number, half of the loop is offered to the worker; a unit takes 0.6 ns


@jitable
def _low_word(x: Any) -> Any:
    return np.uint32(x)


_kept = jitable(lower(kept_units, jitable, {low_word: _low_word}))


@cache
def dropout(dtype: str) -> Kernel:
    """Compile the kernel for dense blocks. Units that are not kept become 0."""
    real = np.dtype(dtype).type
    zero, kept = real(0), _kept

    @range_body(MATH)
    def rows(args: Any, start: Any, end: Any) -> None:
        threshold, scale, key_0, key_1, n, examples, a, out = args
        factor, quarter = real(scale), (n + 3) // 4
        fours = max(n - 3 * quarter, 0)
        for i in range(start, end):
            if a.ctypes.data != out.ctypes.data:
                # Copied first, because the loop below is vectorised only if each array is read and written in place.
                for j in range(n):
                    out[i, j] = a[i, j]
            example, units = examples[i], out[i]
            # For the same reason, each quarter is an array of its own.
            p, q = units[:quarter], units[quarter : 2 * quarter]
            r, s = units[2 * quarter : 3 * quarter], units[3 * quarter :]
            for j in range(fours):
                keep_p, keep_q, keep_r, keep_s = kept(threshold, key_0, key_1, j, example)
                p_j, q_j, r_j, s_j = factor * p[j], factor * q[j], factor * r[j], factor * s[j]
                p[j] = p_j if keep_p else zero
                q[j] = q_j if keep_q else zero
                r[j] = r_j if keep_r else zero
                s[j] = s_j if keep_s else zero
            for j in range(fours, quarter):  # at most three
                keep = kept(threshold, key_0, key_1, j, example)
                for k in range(j, n, quarter):
                    units[k] = factor * units[k] if keep[k // quarter] else zero

    def kernel(threshold: Any, scale: Any, key_0: Any, key_1: Any, n: Any, examples: Any, a: Any, out: Any) -> None:
        code, args = make_task(rows, (threshold, scale, key_0, key_1, n, examples, a, out))
        parallel_for_two(code, args, out.shape[0], out.size > _MIN_UNITS)

    return _compiled(kernel, dtype)


@cache
def dropout_of_sparse(dtype: str) -> Kernel:
    """Compile the kernel for blocks of sparse inputs. Entries that are not kept are removed from the block."""
    real, integer, kept = np.dtype(dtype).type, INTEGERS[dtype], _kept

    def kernel(threshold: Any, scale: Any, key_0: Any, key_1: Any, n: Any, examples: Any, a: Any, out: Any) -> None:
        quarter = (n + 3) // 4
        indices, kept_indices = a.view(integer), out.view(integer)
        for i in range(out.shape[0]):
            example, end = examples[i], 1
            for k in range(1, 2 * indices[i, 0], 2):
                unit = np.int64(indices[i, k])
                if kept(threshold, key_0, key_1, unit % quarter, example)[unit // quarter]:
                    kept_indices[i, end] = unit
                    out[i, end + 1] = real(scale) * a[i, k + 1]
                    end += 2
            kept_indices[i, 0] = end // 2

    return _compiled(kernel, dtype)


def _compiled(kernel: Any, dtype: str) -> Kernel:
    block = types.Array(getattr(types, dtype), 2, "C")
    examples = types.Array(types.int64, 1, "C", readonly=True)
    integer = types.int64
    signature = types.void(integer, types.float64, integer, integer, integer, examples, block, block)
    compiled: Kernel = compiled_kernel(kernel, signature)
    return compiled
