"""The kernels for CUDA: the loops of `fastbp_kernels.cpu.loops` as grid-stride loops around the same scalar formulas.

A block of columns is memory of m rows of n numbers, one row per example, as on the CPU. Threads along x run over the n
neurons, whose numbers are contiguous, and threads along y over the m examples. Sizes are unsigned 64-bit integers: a
loop over them may wrap around, so LLVM cannot count its iterations and does not unroll it. Loops over signed integers
are unrolled four times, which takes 48 registers instead of 29.

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

Formula = Callable[..., Any]
EXAMPLES_PER_SUM = 16
"""Number of examples that one thread sums: large enough that sums are few, small enough that threads are many."""
_SHARED_BYTES = 48 * 1024  # of a block, on any device, without opting in to more


def n_partial_sums(m: int) -> int:
    """Return the number p of partial sums over m examples. For each neuron, p threads add every p-th example.

    >>> n_partial_sums(1), n_partial_sums(16), n_partial_sums(17)
    (1, 1, 2)
    """
    return -(-m // EXAMPLES_PER_SUM)


def max_softmax_outputs(dtype: str) -> int:
    """Return the largest number of outputs of a softmax: a block keeps one column in its shared memory.

    >>> max_softmax_outputs("float32")
    12256
    """
    return _SHARED_BYTES // np.dtype(dtype).itemsize - WARP


def _thread_per_partial_sum(m: int, n: int) -> Geometry:
    """Return one thread per neuron and partial sum."""
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
    """Compile (z, a, b, m, n): z ← z + b, a ← f(z). Without `keep_z`, z is passed in a, and only a is written."""
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

    return checked(Kernel("activate", body, pointers(dtype, 3), thread_per_element), dtype, {f: 1})


@cache
def softmax(dtype: str, *, bias: bool) -> Kernel:
    """Compile (z, a, b, m, n): z ← z + b, a ← e^z / Σ e^z per column, shifted by its largest z. One warp per column."""
    real, zero, start = real_type(dtype), np.uint64(0), np.uint64(WARP)

    def body(z: Any, a: Any, b: Any, m: Any, n: Any) -> None:
        column = cuda.shared.array(0, real)  # the warp's own numbers, then e^z
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

    return Kernel("softmax", body, pointers(dtype, 3), warp_per_example(dtype))


@cache_by_formula
def hadamard(prime: Formula, dtype: str, *, bias: bool) -> Kernel:
    """Compile (z, a, delta, sums, m, n): delta ← delta ⊙ prime(z, a), sums ← partial sums of delta over examples."""
    scalar_prime, real = lowered(prime, dtype), real_type(dtype)

    def body(z: Any, a: Any, delta: Any, sums: Any, m: Any, n: Any) -> None:
        threads, t = _n_partial_sums(m) * n, _x()
        while t < threads:
            total = real(0)
            k = t  # then strides by a multiple of n, which stay with the same neuron
            while k < m * n:
                value = real(delta[k] * scalar_prime(z[k], a[k]))
                delta[k] = value
                total += value
                k += threads
            if bias:
                sums[t] = total
            t += _stride_x()

    return checked(Kernel("hadamard", body, pointers(dtype, 4), _thread_per_partial_sum), dtype, {prime: 2})


@cache_by_formula
def output_error(error: Formula, dtype: str, *, weighted: bool, bias: bool) -> Kernel:
    """Compile (z, a, y, s, delta, sums, m, n): delta ← s error(z, a, y), sums as in `hadamard`; s if `weighted`."""
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

    return checked(Kernel("output_error", body, pointers(dtype, 6), _thread_per_partial_sum), dtype, {error: 3})


@cache_by_formula
def add_cost(cost: Formula, dtype: str, *, weighted: bool) -> Kernel:
    """Compile (z, a, y, s, total, m, n): add Σ s cost(z, a, y) to total, two numbers per neuron and partial sum.

    Each thread adds one partial sum, without strides, and divides to find the index of a weight. With strides, the
    cross-entropy in float64 needs 42 registers on sm_120.
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

    return checked(Kernel("add_cost", body, pointers(dtype, 5), _thread_per_partial_sum), dtype, {cost: 3})


@cache
def add_log_likelihood(dtype: str, *, weighted: bool) -> Kernel:
    """Compile (z, a, y, s, total, m, n): add −Σ s y ln softmax(z) to total, two numbers per example."""
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

    return Kernel("add_log_likelihood", body, pointers(dtype, 5), warp_per_example(dtype))


@cache
def gather(source: str, dtype: str) -> Kernel:
    """Compile (x, indices, scale, out, m, n): row i of out ← scale × row indices[i] of x, converted to dtype."""
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
    return Kernel("gather", body, (data, indices, real, types.CPointer(real)), thread_per_element)


@cache
def add_column_sums(dtype: str) -> Kernel:
    """Compile (alpha, sums, beta, b, m, n): b ← beta b + alpha Σ sums, of m sums, in a fixed order."""
    real = real_type(dtype)

    def body(alpha: Any, sums: Any, beta: Any, b: Any, m: Any, n: Any) -> None:
        j = _x()
        while j < n:
            total = real(0)
            for r in range(types.int64(m)):  # signed, to be unrolled: four loads are then in flight at a time
                total += sums[uint64(r) * n + j]
            b[j] = beta * b[j] + alpha * total
            j += _stride_x()

    return Kernel("add_column_sums", body, (real, types.CPointer(real), real, types.CPointer(real)), thread_per_neuron)


@cache_by_formula
def optimizer_step(formula: Formula, dtype: str, *, two: bool) -> Kernel:
    """Compile (eta, decay, k_1, k_2, k_3, nabla, first, second, w, m, n): the update of a parameter and its moments.

    w, first, second ← formula(w, nabla + decay w, first, second, eta, k_1, k_2, k_3), element-wise, in one pass. With
    one moment, not `two`, `second` is neither read nor written. Each thread updates one element, without strides; with
    strides, Adam in float64 needs 46 registers.
    """
    scalar_formula, real = lowered(formula, dtype), real_type(dtype)

    def body(
        eta: Any, decay: Any, k_1: Any, k_2: Any, k_3: Any, nabla: Any, first: Any, second: Any, w: Any, m: Any, n: Any
    ) -> None:
        k = _x()
        if k < m * n:
            w_k = w[k]
            rest = second[k] if two else real(0)
            moved = scalar_formula(w_k, nabla[k] + decay * w_k, first[k], rest, eta, k_1, k_2, k_3)
            first[k] = moved[1]
            if two:
                second[k] = moved[2]
            w[k] = moved[0]

    return checked(
        Kernel("optimizer_step", body, (*[real] * 5, *pointers(dtype, 4)), flat_thread_per_element), dtype, {}
    )


# ---- Sums and maxima of a warp


@inlined
def _warp_max(column: Any, t: Any, value: Any) -> Any:
    """Return the largest of the warp's values, by a tree reduction in the first 32 numbers of the column's memory."""
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
    """Return the sum of the warp's values, by a tree reduction, in a fixed order."""
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
    """Add a value to the first of two numbers, and the rounding error to the second (two-sum, TAOCP 4.2.2).

    With it, float32 kernels add the costs of an epoch without float64 instructions.
    """
    first = i + i
    old = total[first]
    new = old + value
    part = new - old
    total[first] = new
    total[first + uint64(1)] += (old - (new - part)) + (value - part)
