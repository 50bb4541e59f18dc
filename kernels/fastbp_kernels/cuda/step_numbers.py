"""Kernels that write the numbers of a training step into memory, where the kernels of the step read them.

So the arguments of a step's launches are the same in all steps, and a recorded step can be replayed.
"""

from functools import cache
from typing import Any

from numba import cuda, types, uint64

from fastbp_kernels.cuda.compilation import WARP, Geometry, Kernel, pointers, real_type

STEP_NUMBERS = 8
"""Number of an optimizer's numbers that may differ between steps: η, t, and the constants k_1 to k_6."""
_ONE_BLOCK = 256  # number of threads of the only block of `next_mini_batch`


@cache
def set_numbers(dtype: str) -> Kernel:
    """Make a kernel with the arguments (eta, t, k_1, …, k_6, numbers, m, n). It writes these numbers into `numbers`."""
    real = real_type(dtype)

    def body(
        eta: Any, t: Any, k_1: Any, k_2: Any, k_3: Any, k_4: Any, k_5: Any, k_6: Any, numbers: Any, m: Any, n: Any
    ) -> None:
        if cuda.threadIdx.x == 0:
            numbers[0], numbers[1], numbers[2], numbers[3] = eta, t, k_1, k_2
            numbers[4], numbers[5], numbers[6], numbers[7] = k_3, k_4, k_5, k_6

    parameters = (*[real] * STEP_NUMBERS, *pointers(dtype, 1))
    return Kernel("set_numbers", body, parameters, lambda m, n: Geometry((1, 1), (WARP, 1)), ())


@cache
def next_mini_batch(dtype: str) -> Kernel:
    """Make a kernel with the arguments (order, table, position, indices, numbers, m, n).

    `position` is an array of one number, the number of a step. The kernel copies the m indices of this step from
    `order` to `indices`, copies row `position` of `table`, which has n numbers, to `numbers`, and adds 1 to `position`.
    So a recorded step, whose arguments are fixed, can be replayed for one mini-batch after another.
    """

    def body(order: Any, table: Any, position: Any, indices: Any, numbers: Any, m: Any, n: Any) -> None:
        step, stride = uint64(position[0]), uint64(cuda.blockDim.x)
        i = uint64(cuda.threadIdx.x)
        while i < m:
            indices[i] = order[step * m + i]
            i += stride
        i = uint64(cuda.threadIdx.x)
        while i < n:
            numbers[i] = table[step * n + i]
            i += stride
        cuda.syncthreads()  # there is one block, so all threads have read the position
        if cuda.threadIdx.x == 0:
            position[0] = types.int64(step + uint64(1))

    integers, reals = types.CPointer(types.int64), types.CPointer(real_type(dtype))
    parameters = (integers, reals, integers, integers, reals)
    return Kernel("next_mini_batch", body, parameters, lambda m, n: Geometry((1, 1), (_ONE_BLOCK, 1)), ())
