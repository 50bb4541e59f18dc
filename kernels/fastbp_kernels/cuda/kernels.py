"""The kernels for CUDA: grid-stride loops around the same scalar formulas as in `fastbp_kernels.cpu.loops`.

Every public function here makes a kernel, except `n_partial_sums` and `max_softmax_outputs`. The last arguments of a
kernel are m, the number of examples, and n, the number of neurons. A block of columns is stored as on the CPU: m rows
of n numbers, one row per example. Threads along x run over the neurons, whose numbers are contiguous in memory. Threads
along y run over the examples. In a grid-stride loop, a thread goes on to further elements if there are more elements
than threads.

Sizes are unsigned 64-bit integers. A loop over unsigned integers may wrap around, so LLVM cannot count its iterations
and does not unroll it. LLVM unrolls loops over signed integers four times, and a thread then needs 48 registers instead
of 29.

`python -m fastbp_kernels.cuda` prints the registers, instructions and memory traffic of each kernel.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import cuda, types, uint64

from fastbp_kernels.cuda.compilation import (
    WARP,
    Geometry,
    Kernel,
    checked,
    flat_thread_per_element,
    inlined,
    lowered,
    pointers,
    real_type,
    thread_per_element,
    thread_per_neuron,
    warp_per_example,
)
from fastbp_kernels.formulas import cache_by_formula
from fastbp_kernels.specialize import lower
from fastbp_kernels.threefry import kept_units, low_word

Formula = Callable[..., Any]
EXAMPLES_PER_SUM = 16
"""Number of examples that one thread adds up.

A larger number gives fewer threads. A smaller number gives more partial sums."""
_ONE_BLOCK = 256  # number of threads of a kernel that has one block
_SHARED_BYTES = 48 * 1024  # bytes of shared memory that every device offers to a block without special settings


def n_partial_sums(m: int) -> int:
    """Return the number p of partial sums over m examples.

    Each neuron has p threads. Each of these threads computes one partial sum, to which it adds every p-th example.

    >>> n_partial_sums(1), n_partial_sums(16), n_partial_sums(17)
    (1, 1, 2)
    """
    return -(-m // EXAMPLES_PER_SUM)


def max_softmax_outputs(dtype: str) -> int:
    """Return the largest possible number of outputs of a softmax. The outputs must fit into a block's shared memory.

    >>> max_softmax_outputs("float32")
    12256
    """
    return _SHARED_BYTES // np.dtype(dtype).itemsize - WARP


def _thread_per_partial_sum(m: int, n: int) -> Geometry:
    """Return the sizes of a launch with one thread for each partial sum of each neuron."""
    return flat_thread_per_element(n_partial_sums(m), n)


# ---- The indices and strides of a thread


@inlined
def _x() -> Any:
    return uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)


@inlined
def _y() -> Any:
    return uint64(cuda.blockIdx.y) * uint64(cuda.blockDim.y) + uint64(cuda.threadIdx.y)


@inlined
def _stride_x() -> Any:
    return uint64(cuda.gridDim.x) * uint64(cuda.blockDim.x)


@inlined
def _stride_y() -> Any:
    return uint64(cuda.gridDim.y) * uint64(cuda.blockDim.y)


@inlined
def _n_partial_sums(m: Any) -> Any:
    return (m + uint64(EXAMPLES_PER_SUM - 1)) // uint64(EXAMPLES_PER_SUM)


# ---- The kernels


@cache_by_formula
def activate(f: Formula, dtype: str, *, bias: bool, keep_z: bool) -> Kernel:
    """Compile a kernel with the arguments (z, a, b, m, n). It writes z + b into z, and f(z + b) into `a`.

    If `bias` is False, b is not added. If `keep_z` is False, the caller passes z in `a`, and only `a` is written.
    """
    scalar_f = lowered(f, dtype)

    def body(z: Any, a: Any, b: Any, m: Any, n: Any) -> None:
        j = _x()
        while j < n:
            if bias:
                b_j = b[j]
            i = _y()
            while i < m:
                k = i * n + j
                value = z[k] if keep_z else a[k]
                if bias:
                    value += b_j
                if keep_z:
                    z[k] = value
                a[k] = scalar_f(value)
                i += _stride_y()
            j += _stride_x()

    return checked(Kernel("activate", body, pointers(dtype, 3), thread_per_element, (f, bias, keep_z)), dtype, {f: 1})


@cache
def softmax(dtype: str, *, bias: bool) -> Kernel:
    """Make a kernel with the arguments (z, a, b, m, n). It writes z + b into z, and the softmax of z + b into `a`.

    The softmax is e^z / Σ e^z for each column. The largest z of the column is subtracted first, so that exp does not
    overflow. One warp (32 threads) computes one column. If `bias` is False, b is not added.
    """
    real, zero, start = real_type(dtype), np.uint64(0), np.uint64(WARP)

    def body(z: Any, a: Any, b: Any, m: Any, n: Any) -> None:
        column = cuda.shared.array(0, real)  # 32 numbers for the warp's reductions, then z or e^z of the column
        t, i = uint64(cuda.threadIdx.x), uint64(cuda.blockIdx.x)
        while i < m:
            top = real(-np.inf)
            j = t
            while j < n:
                value = z[i * n + j]
                if bias:
                    value += b[j]
                    z[i * n + j] = value
                column[start + j] = value
                top = value if value > top else top
                j += start
            top = _warp_max(column, t, top)
            total = real(zero)
            j = t
            while j < n:
                e = math.exp(column[start + j] - top)
                column[start + j] = e
                total += e
                j += start
            total = _warp_sum(column, t, total)
            j = t
            while j < n:
                a[i * n + j] = column[start + j] / total
                j += start
            i += uint64(cuda.gridDim.x)

    return Kernel("softmax", body, pointers(dtype, 3), warp_per_example(dtype), (bias,))


@cache_by_formula
def hadamard(prime: Formula, dtype: str, *, bias: bool) -> Kernel:
    """Compile a kernel with the arguments (z, a, delta, sums, m, n). It multiplies delta by prime(z, a).

    The product is element by element. If `bias` is True, the kernel writes the partial sums of the new delta into
    `sums`. Each of them is a sum over some of the examples.
    """
    scalar_prime, real = lowered(prime, dtype), real_type(dtype)

    def body(z: Any, a: Any, delta: Any, sums: Any, m: Any, n: Any) -> None:
        threads, t = _n_partial_sums(m) * n, _x()
        while t < threads:
            total = real(0)
            k = t  # the stride is a multiple of n, so the thread stays with its neuron
            while k < m * n:
                value = real(delta[k] * scalar_prime(z[k], a[k]))
                delta[k] = value
                total += value
                k += threads
            if bias:
                sums[t] = total
            t += _stride_x()

    kernel = Kernel("hadamard", body, pointers(dtype, 4), _thread_per_partial_sum, (prime, bias))
    return checked(kernel, dtype, {prime: 2})


@cache_by_formula
def output_error(error: Formula, dtype: str, *, weighted: bool, bias: bool) -> Kernel:
    """Compile a kernel with the arguments (z, a, y, s, delta, sums, m, n). It writes error(z, a, y) into delta.

    If `weighted` is True, the errors of each example are multiplied by its weight in `s`. If `bias` is True, the kernel
    writes the partial sums of delta into `sums`. Each of them is a sum over some of the examples.
    """
    scalar_error, real = lowered(error, dtype), real_type(dtype)

    def body(z: Any, a: Any, y: Any, s: Any, delta: Any, sums: Any, m: Any, n: Any) -> None:
        threads, t = _n_partial_sums(m) * n, _x()
        while t < threads:
            total = real(0)
            i, k = t // n, t
            while k < m * n:
                value = real(scalar_error(z[k], a[k], y[k]))
                if weighted:
                    value *= s[i]
                    i += _n_partial_sums(m)
                delta[k] = value
                total += value
                k += threads
            if bias:
                sums[t] = total
            t += _stride_x()

    kernel = Kernel("output_error", body, pointers(dtype, 6), _thread_per_partial_sum, (error, weighted, bias))
    return checked(kernel, dtype, {error: 3})


@cache_by_formula
def add_cost(cost: Formula, dtype: str, *, weighted: bool) -> Kernel:
    """Compile a kernel with the arguments (z, a, y, s, total, m, n). It adds Σ cost(z, a, y) to total.

    If `weighted` is True, the costs of each example are multiplied by its weight in `s`. For each partial sum of each
    neuron, `total` holds the sum and its rounding error (see `_add_exactly`). Each thread computes only one partial
    sum. It finds the index of a weight by a division. If a thread went on to other partial sums, the cross-entropy in
    float64 would need 42 registers per thread on sm_120.
    """
    scalar_cost, real = lowered(cost, dtype), real_type(dtype)

    def body(z: Any, a: Any, y: Any, s: Any, total: Any, m: Any, n: Any) -> None:
        threads, t = _n_partial_sums(m) * n, _x()
        if t < threads:
            value = real(0)
            k = t
            while k < m * n:
                term = real(scalar_cost(z[k], a[k], y[k]))
                value += s[k // n] * term if weighted else term
                k += threads
            _add_exactly(total, t, value)

    kernel = Kernel("add_cost", body, pointers(dtype, 5), _thread_per_partial_sum, (cost, weighted))
    return checked(kernel, dtype, {cost: 3})


@cache
def add_log_likelihood(dtype: str, *, weighted: bool) -> Kernel:
    """Make a kernel with the arguments (z, a, y, s, total, m, n). It subtracts Σ y ln softmax(z) from total.

    If `weighted` is True, the terms of each example are multiplied by its weight in `s`. For each example,
    `total` holds a sum and its rounding error (see `_add_exactly`).
    """
    real, zero, start = real_type(dtype), np.uint64(0), np.uint64(WARP)

    def body(z: Any, a: Any, y: Any, s: Any, total: Any, m: Any, n: Any) -> None:
        column = cuda.shared.array(0, real)
        t, i = uint64(cuda.threadIdx.x), uint64(cuda.blockIdx.x)
        while i < m:
            top = real(-np.inf)
            j = t
            while j < n:
                value = z[i * n + j]
                column[start + j] = value
                top = value if value > top else top
                j += start
            top = _warp_max(column, t, top)
            partition = real(0)
            j = t
            while j < n:
                partition += math.exp(column[start + j] - top)
                j += start
            log_partition = math.log(_warp_sum(column, t, partition))
            value = real(0)
            j = t
            while j < n:
                value += y[i * n + j] * ((top - column[start + j]) + log_partition)
                j += start
            value = _warp_sum(column, t, value)
            if t == zero:
                _add_exactly(total, i, s[i] * value if weighted else value)
            i += uint64(cuda.gridDim.x)

    return Kernel("add_log_likelihood", body, pointers(dtype, 5), warp_per_example(dtype), (weighted,))


@cache
def add_squares(dtype: str) -> Kernel:
    """Make a kernel with the arguments (factor, w, total, m, n). It adds factor Σ w² to the first entry of total.

    Every thread of the only block adds some of the squares. The first thread adds up the sums of all threads, in their
    order. `total` is as in `add_cost`.
    """
    real, zero = real_type(dtype), np.uint64(0)

    def body(factor: Any, w: Any, total: Any, m: Any, n: Any) -> None:
        partial_sums = cuda.shared.array(0, real)  # one per thread
        t, threads = uint64(cuda.threadIdx.x), uint64(cuda.blockDim.x)
        value = real(0)
        k = t
        while k < m * n:
            value += w[k] * w[k]
            k += threads
        partial_sums[t] = value
        cuda.syncthreads()
        if t == zero:
            value = real(0)
            i = zero
            while i < threads:
                value += partial_sums[i]
                i += uint64(1)
            _add_exactly(total, zero, factor * value)

    geometry = Geometry((1, 1), (_ONE_BLOCK, 1), _ONE_BLOCK * np.dtype(dtype).itemsize)
    return Kernel("add_squares", body, (real, *pointers(dtype, 2)), lambda m, n: geometry, ())


@cache
def gather(source: str, dtype: str) -> Kernel:
    """Make a kernel with the arguments (x, indices, scale, out, m, n). It copies rows of x into `out`.

    Row i of `out` becomes row `indices[i]` of x, converted to `dtype` and multiplied by `scale`. `source` is the dtype
    of x.
    """
    real = real_type(dtype)

    def body(x: Any, indices: Any, scale: Any, out: Any, m: Any, n: Any) -> None:
        i = _y()
        while i < m:
            row = uint64(indices[i])
            j = _x()
            while j < n:
                out[i * n + j] = scale * real(x[row * n + j])
                j += _stride_x()
            i += _stride_y()

    data, indices = types.CPointer(real_type(source)), types.CPointer(types.int64)
    return Kernel("gather", body, (data, indices, real, types.CPointer(real)), thread_per_element, ())


@cache
def add_column_sums(dtype: str) -> Kernel:
    """Make a kernel with the arguments (alpha, sums, beta, b, m, n). It writes beta b + alpha Σ sums into b.

    `sums` has m partial sums for each neuron. They are added in a fixed order.
    """
    real = real_type(dtype)

    def body(alpha: Any, sums: Any, beta: Any, b: Any, m: Any, n: Any) -> None:
        j = _x()
        while j < n:
            total = real(0)
            for r in range(types.int64(m)):  # signed, so that LLVM unrolls the loop and starts four loads at once
                total += sums[uint64(r) * n + j]
            b[j] = beta * b[j] + alpha * total
            j += _stride_x()

    parameters = (real, types.CPointer(real), real, types.CPointer(real))
    return Kernel("add_column_sums", body, parameters, thread_per_neuron, ())


@cache_by_formula
def optimizer_step(formula: Formula, dtype: str, *, state: int, constants: int) -> Kernel:
    """Compile a kernel that updates a parameter w and its state by an optimizer's formula.

    The arguments of the kernel are (numbers, decay, nabla, first, second, third, w, m, n). `numbers` is an array of η,
    t and k_1 to k_6, which may differ between steps. They are in memory, so that a step can be replayed (see
    `step_numbers.py`). For each element the kernel computes

        w, first, second, third ← formula(w, nabla, first, second, third, η, decay, t, k_1, …, k_6)

    in one pass. `state` is the number of state arrays that the formula uses, from 0 to 3. The kernel neither reads nor
    writes the other state arrays. `constants` is the number of constants that the formula takes. Each thread updates
    only one element. If a thread went on to other elements, Adam in float64 would need 46 registers per thread.
    """
    real, write = real_type(dtype), _WRITE_STATE[state]
    call = inlined(_with_all_arguments(lowered(formula, dtype), state, constants))

    def body(numbers: Any, decay: Any, nabla: Any, first: Any, second: Any, third: Any, w: Any, m: Any, n: Any) -> None:
        k = _x()
        if k < m * n:
            a = first[k] if state > 0 else real(0)
            b = second[k] if state > 1 else real(0)
            c = third[k] if state > 2 else real(0)
            found = call(
                w[k], nabla[k], a, b, c, numbers[0], decay, numbers[1],
                numbers[2], numbers[3], numbers[4], numbers[5], numbers[6], numbers[7],
            )  # fmt: skip
            write(found, w, first, second, third, k)

    parameters = (*pointers(dtype, 1), real, *pointers(dtype, 5))
    kernel = Kernel("optimizer_step", body, parameters, flat_thread_per_element, (formula, state, constants))
    return checked(kernel, dtype, {formula: 5 + state + constants}, results=1 + state)


def _with_all_arguments(formula: Formula, state: int, constants: int) -> Formula:
    """Return a function that takes the arguments of all optimizers, and calls the formula with those that it needs.

    Numba inlines a call only if every argument is written out. So the source of the call is generated here.
    """
    names, numbers = ("a", "b", "c"), ("k_1", "k_2", "k_3", "k_4", "k_5", "k_6")
    taken = ", ".join(("w", "g", *names[:state], "eta", "decay", "t", *numbers[:constants]))
    everything = ", ".join(("w", "g", *names, "eta", "decay", "t", *numbers))
    return eval(f"lambda {everything}: formula({taken})", {"formula": formula})  # type: ignore[no-any-return]


@inlined
def _write_none(found: Any, w: Any, first: Any, second: Any, third: Any, k: Any) -> None:
    w[k] = found


@inlined
def _write_one(found: Any, w: Any, first: Any, second: Any, third: Any, k: Any) -> None:
    w[k], first[k] = found[0], found[1]


@inlined
def _write_two(found: Any, w: Any, first: Any, second: Any, third: Any, k: Any) -> None:
    w[k], first[k], second[k] = found[0], found[1], found[2]


@inlined
def _write_three(found: Any, w: Any, first: Any, second: Any, third: Any, k: Any) -> None:
    w[k], first[k], second[k], third[k] = found[0], found[1], found[2], found[3]


_WRITE_STATE = (_write_none, _write_one, _write_two, _write_three)


@inlined
def _low_word(x: Any) -> Any:
    return types.uint32(x)


@cache
def dropout(dtype: str) -> Kernel:
    """Make a kernel with the arguments (threshold, scale, key_0, key_1, examples, a, out, m, n).

    It writes `a` times `scale` into `out` where a unit is kept, and 0 elsewhere. `out` may be `a`. One thread computes
    the four units of one call of `fastbp_kernels.threefry.kept_units`.
    """
    real, integer = real_type(dtype), types.int64
    kept = inlined(lower(kept_units, inlined, {low_word: _low_word}))

    def body(
        threshold: Any, scale: Any, key_0: Any, key_1: Any, examples: Any, a: Any, out: Any, m: Any, n: Any
    ) -> None:
        quarter = (n + uint64(3)) >> uint64(2)
        i = _y()
        while i < m:
            example = examples[i]
            j = _x()
            while j < quarter:
                keep = kept(threshold, key_0, key_1, j, example)
                k = j
                for fourth in range(4):
                    if k < n:
                        value = scale * a[i * n + k]
                        out[i * n + k] = value if keep[fourth] else real(0)
                    k += quarter
                j += _stride_x()
            i += _stride_y()

    parameters = (integer, real, integer, integer, types.CPointer(integer), *pointers(dtype, 2))
    return Kernel("dropout", body, parameters, lambda m, n: thread_per_element(m, (n + 3) // 4), ())


# ---- Sums and maxima of a warp


@inlined
def _warp_max(column: Any, t: Any, value: Any) -> Any:
    """Return the largest of the values that the threads of a warp pass. `t` is the number of the calling thread.

    The values are reduced in a tree, in the first 32 numbers of the memory `column`.
    """
    column[t] = value
    cuda.syncthreads()
    half = uint64(16)
    while half > uint64(0):
        if t < half and column[t + half] > column[t]:
            column[t] = column[t + half]
        cuda.syncthreads()
        half >>= uint64(1)
    value = column[0]
    cuda.syncthreads()
    return value


@inlined
def _warp_sum(column: Any, t: Any, value: Any) -> Any:
    """Return the sum of the values that the threads of a warp pass (see `_warp_max`).

    The values are added in a tree, in a fixed order.
    """
    column[t] = value
    cuda.syncthreads()
    half = uint64(16)
    while half > uint64(0):
        if t < half:
            column[t] += column[t + half]
        cuda.syncthreads()
        half >>= uint64(1)
    value = column[0]
    cuda.syncthreads()
    return value


@inlined
def _add_exactly(total: Any, i: Any, value: Any) -> None:
    """Add a value to `total[2 * i]`, and add the rounding error of this addition to `total[2 * i + 1]`.

    This is the algorithm two-sum (TAOCP 4.2.2). With this algorithm, float32 kernels add up the costs of an epoch
    without float64 instructions.
    """
    first = i + i
    old = total[first]
    new = old + value
    part = new - old
    total[first] = new
    total[first + uint64(1)] += (old - (new - part)) + (value - part)
