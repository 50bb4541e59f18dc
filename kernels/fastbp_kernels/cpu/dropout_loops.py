"""The kernel of dropout for the CPU. LLVM vectorises its loop over the units."""

from functools import cache
from typing import Any

import numpy as np
from numba import types

from fastbp_kernels.cpu.jit_cache import Kernel, compiled_kernel
from fastbp_kernels.cpu.vector_math import MATH, jitable
from fastbp_kernels.cpu.work_sharing import parallel_for_two, range_body
from fastbp_kernels.numba_private import make_task
from fastbp_kernels.specialize import lower
from fastbp_kernels.threefry import low_word, threefry_2x32

_MIN_UNITS = 2**10  # above this number, half of the loop is offered to the worker; a unit takes 3 ns


@jitable
def _low_word(x: Any) -> Any:
    return np.uint32(x)


@cache
def dropout(dtype: str) -> Kernel:
    """Compile a kernel with the arguments (threshold, scale, key_0, key_1, examples, a, out).

    It writes `a` times `scale` into `out` where the random word of an example and a unit is at least `threshold`, and 0
    elsewhere. `out` may be `a`. For a layer of n units, the words of the units j and j + ⌈n/2⌉ are those of Threefry
    for the counter (j, number of the example).
    """
    real = np.dtype(dtype).type
    zero, words = real(0), jitable(lower(threefry_2x32, jitable, {low_word: _low_word}))

    @range_body(MATH)
    def rows(args: Any, start: Any, end: Any) -> None:
        threshold, scale, key_0, key_1, examples, a, out = args
        half = (out.shape[1] + 1) // 2
        rest, limit = out.shape[1] - half, np.uint32(threshold)
        for i in range(start, end):
            for j in range(out.shape[1]):
                out[i, j] = real(scale) * a[i, j]
            example, units = examples[i] & 0xFFFFFFFF, out[i]
            # LLVM vectorises this loop because each half is an array of its own, and is read and written in place.
            # Otherwise, a unit takes 9 ns, not 3.
            p, q = units[:half], units[half:]
            for j in range(rest):
                word_0, word_1 = words(key_0, key_1, j, example)
                p_j, q_j = p[j], q[j]
                p[j] = p_j if word_0 >= limit else zero
                q[j] = q_j if word_1 >= limit else zero
            if rest < half:
                word_0, _ = words(key_0, key_1, rest, example)
                p[rest] = p[rest] if word_0 >= limit else zero

    def kernel(threshold: Any, scale: Any, key_0: Any, key_1: Any, examples: Any, a: Any, out: Any) -> None:
        code, args = make_task(rows, (threshold, scale, key_0, key_1, examples, a, out))
        parallel_for_two(code, args, out.shape[0], out.size > _MIN_UNITS)

    block = types.Array(getattr(types, dtype), 2, "C")
    examples = types.Array(types.int64, 1, "C", readonly=True)
    integer = types.int64
    signature = types.void(integer, types.float64, integer, integer, examples, block, block)
    compiled: Kernel = compiled_kernel(kernel, signature)
    return compiled
