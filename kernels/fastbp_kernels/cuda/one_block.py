"""A kernel that trains a small network on many mini-batches in one launch.

A step of a small network has little work, so most of its time goes into starting its launches. This kernel has only one
block, whose threads wait for one another between the parts of a step. So it takes any number of steps in one launch. It
computes what `fastbp.equations.train_mini_batches` computes for a network with one hidden layer and plain gradient
descent, in float32. It adds up the terms of a product in another order than cuBLAS.

The weights and the inputs are in global memory, and z, a, δ, y and s in the shared memory of the block. The threads of
a warp compute a tile of z or of W: each of them reads a value once and uses it for several elements of the tile. A
thread reads several values before it uses the first one, because it would wait for each of them otherwise.
"""

from collections.abc import Callable
from typing import Any

from numba import cuda, types, uint64

from fastbp_kernels.cuda.compilation import WARP, Geometry, Kernel, checked, inlined, lowered, pointers, real_type
from fastbp_kernels.cuda.kernels import _SHARED_BYTES, _add_exactly, _n_partial_sums, n_partial_sums
from fastbp_kernels.formulas import cache_by_formula

Formula = Callable[..., Any]
_THREADS = 512
_WARPS = _THREADS // WARP
_NEURONS, _EXAMPLES = 4, 5  # of a tile of z
_ROWS, _COLUMNS = 5, 4  # of a tile of W, for each thread of the warp
_COPIED = 8  # inputs that a thread copies at once
_UNROLLED = 3  # columns of a tile of z that a thread adds at once; LLVM would not unroll a longer loop
_TERMS, _SUMS, _PLACES = _NEURONS * _EXAMPLES, _ROWS * _COLUMNS, _NEURONS + _EXAMPLES
_PITCH = _WARPS * _TERMS + 1  # from a lane's terms to those of the next; odd, so that their memory banks differ


def fits(m: int, n_1: int, n_2: int) -> bool:
    """Return whether a mini-batch fits into a block's shared memory.

    >>> fits(10, 30, 10), fits(100, 30, 10)
    (True, False)
    """
    numbers = WARP * _PITCH + m * (3 * (n_1 + n_2) + 2 * (n_2 + 1))
    return 4 * numbers <= _SHARED_BYTES and n_partial_sums(m) * n_2 <= _THREADS


def input_numbers(m: int, n_0: int, n_1: int) -> int:
    """Return the size of the argument `inputs` of the kernel."""
    return m * (2 * n_0 + n_1)


@cache_by_formula
def train_in_one_block(
    f: Formula, dtype: str, *, prime: Formula, f_output: Formula, error: Formula, cost: Formula, source: str,
    weighted: bool, bias: bool,
) -> Kernel:  # fmt: skip
    """Compile a kernel that trains a network n_0-n_1-n_2 in float32.

    f and f_output are the activations of its layers. The arguments of the kernel are (x, y, s, order, scale, w_1, b_1,
    w_2, b_2, alpha, beta, total, inputs, first, count, n_0, n_2, m, n_1). It takes `count` steps. Each step uses the
    next m examples of `order`, from order[first] on. The rows of x, y and s are examples. A step computes the equations
    (1) and (2), (BP1) and (BP2), and

        W ← beta W + alpha δ aᵀ and b ← b + alpha δ 1.

    It adds the costs before the update to `total`, as `fastbp_kernels.cuda.kernels.add_cost` does. `inputs` is memory
    for the inputs of two mini-batches, and for those of the second layer.
    """
    hidden, output, derivative = lowered(f, dtype), lowered(f_output, dtype), lowered(prime, dtype)
    feedforward = _feedforward(hidden, output, lowered(error, dtype), weighted=weighted, bias=bias)
    body = _body(
        _copy_examples(weighted=weighted), feedforward, _backpropagate(derivative),
        _add_costs(lowered(cost, dtype), weighted=weighted), _add_gradient(bias=bias),
    )  # fmt: skip
    parameters = (
        types.CPointer(real_type(source)), *pointers(dtype, 2), types.CPointer(types.int64), real_type(dtype),
        *pointers(dtype, 4), *(real_type(dtype),) * 2, *pointers(dtype, 2), *(types.uint64,) * 4,
    )  # fmt: skip
    made_from = (f, prime, f_output, error, cost, source, weighted, bias)
    kernel = Kernel("train_in_one_block", body, parameters, _geometry, made_from, _THREADS)
    return checked(kernel, dtype, {f: 1, prime: 2, f_output: 1, error: 3, cost: 3})


def _geometry(m: int, n: int) -> Geometry:
    return Geometry((1, 1), (_THREADS, 1), _SHARED_BYTES)


def _body(copy_examples: Any, feedforward: Any, backpropagate: Any, add_costs: Any, add_gradient: Any) -> Formula:
    def body(
        x: Any, y: Any, s: Any, order: Any, scale: Any, w_1: Any, b_1: Any, w_2: Any, b_2: Any, alpha: Any, beta: Any,
        total: Any, inputs: Any, first: Any, count: Any, n_0: Any, n_2: Any, m: Any, n_1: Any,
    ) -> None:  # fmt: skip
        memory = cuda.shared.array(0, types.float32)
        sums, old = cuda.local.array(_SUMS, types.float32), cuda.local.array(_SUMS, types.float32)
        at = cuda.local.array(_PLACES, types.uint64)
        # the places in `memory`: the terms of z, and the blocks of the mini-batch
        z_1 = uint64(WARP * _PITCH)
        z_2, delta_1 = z_1 + m * n_1, z_1 + m * (n_1 + n_2)
        delta_2, a_1 = delta_1 + m * n_1, delta_1 + m * (n_1 + n_2)
        a_2 = a_1 + m * n_1
        y_now, y_next = a_2 + m * n_2, a_2 + uint64(2) * m * n_2
        s_now, s_next = y_next + m * n_2, y_next + m * n_2 + m
        x_now, x_next, x_2 = uint64(0), m * n_0, uint64(2) * m * n_0  # the places in `inputs`
        end, started = first + count * m, False
        while started or first < end:
            # the next mini-batch is copied while others still compute (BP2), or before the first step
            if first < end:
                copy_examples(x, y, s, order, scale, inputs, memory, sums, x_next, y_next, s_next, first, n_0, n_2, m)
            cuda.syncthreads()
            for l in range(2):
                if started:
                    w, b, n_in, n_out = (w_1, b_1, n_0, n_1) if l == 0 else (w_2, b_2, n_1, n_2)
                    at_a, delta = (x_now, delta_1) if l == 0 else (x_2, delta_2)
                    add_gradient(w, b, inputs, memory, sums, old, at_a, delta, alpha, beta, m, n_in, n_out)
            cuda.syncthreads()
            started = first < end
            if started:
                x_now, x_next, y_now, y_next, s_now, s_next = x_next, x_now, y_next, y_now, s_next, s_now
                first += m
                for l in range(2):
                    w, b, n_in, n_out = (w_1, b_1, n_0, n_1) if l == 0 else (w_2, b_2, n_1, n_2)
                    at_a, z, a = (x_now, z_1, a_1) if l == 0 else (x_2, z_2, a_2)
                    feedforward(
                        w, b, inputs, memory, sums, at, l, at_a, z, a, x_2, delta_2, y_now, s_now, m, n_in, n_out
                    )  # fmt: skip
                backpropagate(w_2, memory, z_1, a_1, delta_1, delta_2, m, n_1, n_2)
                add_costs(memory, z_2, a_2, y_now, s_now, total, m, n_2)

    return body


# ---- The parts of a step. Arguments that start with "at_", and z, a, δ, y and s, are places in `inputs` or `memory`.


def _copy_examples(*, weighted: bool) -> Any:
    @inlined
    def copy_examples(
        x: Any, y: Any, s: Any, order: Any, scale: Any, inputs: Any, memory: Any, values: Any, at_x: Any, y_m: Any,
        s_m: Any, first: Any, n_0: Any, n_2: Any, m: Any,
    ) -> None:  # fmt: skip
        """Copy m examples: x to `inputs`, y and s to the shared memory."""
        t = uint64(cuda.threadIdx.x)
        across = _tiles(n_0, _COPIED * WARP)
        part = t // uint64(WARP)
        while part < m * across:
            i = _quotient(part, across)
            k = (part - i * across) * uint64(_COPIED * WARP) + t % uint64(WARP)
            here, there = uint64(order[first + i]) * n_0 + k, at_x + i * n_0 + k
            if k + uint64((_COPIED - 1) * WARP) < n_0:
                for c in range(_COPIED):
                    values[c] = scale * types.float32(x[here + uint64(c * WARP)])
                for c in range(_COPIED):
                    inputs[there + uint64(c * WARP)] = values[c]
                k = n_0
            while k < n_0:
                inputs[there] = scale * types.float32(x[here])
                k, here, there = k + uint64(WARP), here + uint64(WARP), there + uint64(WARP)
            part += uint64(_WARPS)
        k = t
        while k < m * n_2:
            i = _quotient(k, n_2)
            memory[y_m + k] = y[uint64(order[first + i]) * n_2 + (k - i * n_2)]
            k += uint64(_THREADS)
        if weighted and t < m:
            memory[s_m + t] = s[order[first + t]]

    return copy_examples


def _feedforward(hidden: Any, output: Any, output_error: Any, *, weighted: bool, bias: bool) -> Any:
    @inlined
    def feedforward(
        w: Any, b: Any, inputs: Any, memory: Any, sums: Any, at: Any, l: Any, at_a: Any, z_l: Any, a_l: Any,
        at_x_2: Any, delta_2: Any, y_m: Any, s_m: Any, m: Any, n_in: Any, n_out: Any,
    ) -> None:  # fmt: skip
        """Compute (1) and (2) in layer l, and (BP1) in the last layer."""
        t, down = uint64(cuda.threadIdx.x), _tiles(m, _EXAMPLES)
        first = uint64(0)  # number of the first warp's tile
        while first < down * _tiles(n_out, _NEURONS):
            _add_terms(w, inputs, memory, sums, at, at_a, first, down, m, n_in, n_out)
            cuda.syncthreads()
            # thread t has element r of the tile of a warp
            tile, r = first + t // uint64(_TERMS), t % uint64(_TERMS)
            column = _quotient(tile, down)
            i = (tile - column * down) * uint64(_EXAMPLES) + r % uint64(_EXAMPLES)
            j = column * uint64(_NEURONS) + r // uint64(_EXAMPLES)
            if t < uint64(_WARPS * _TERMS) and i < m and j < n_out:
                z, k = types.float32(0), i * n_out + j
                for lane in range(WARP):
                    z += memory[uint64(lane * _PITCH) + t]
                if bias:
                    z += b[j]
                if l == 0:
                    a = hidden(z)
                    inputs[at_x_2 + k] = a
                else:
                    a = output(z)
                    value = types.float32(output_error(z, a, memory[y_m + k]))
                    memory[delta_2 + k] = memory[s_m + i] * value if weighted else value
                memory[z_l + k], memory[a_l + k] = z, a
            cuda.syncthreads()
            first += uint64(_WARPS)

    return feedforward


@inlined
def _add_terms(
    w: Any,
    inputs: Any,
    memory: Any,
    sums: Any,
    at: Any,
    at_a: Any,
    first: Any,
    down: Any,
    m: Any,
    n_in: Any,
    n_out: Any,
) -> None:
    """Write to the shared memory, for each lane of a warp, the sums of some terms of a tile of z = W a."""
    lane, warp = uint64(cuda.threadIdx.x) % uint64(WARP), uint64(cuda.threadIdx.x) // uint64(WARP)
    column = _quotient(first + warp, down)
    j, i = column * uint64(_NEURONS), (first + warp - column * down) * uint64(_EXAMPLES)
    if j < n_out:
        for r in range(_TERMS):
            sums[r] = types.float32(0)
        for r in range(_NEURONS):
            at[r] = min(j + uint64(r), n_out - uint64(1)) * n_in
        for e in range(_EXAMPLES):
            at[_NEURONS + e] = at_a + min(i + uint64(e), m - uint64(1)) * n_in
        k = lane
        while k + uint64((_UNROLLED - 1) * WARP) < n_in:
            for part in range(_UNROLLED):
                _add_products(w, inputs, sums, at, k + uint64(part * WARP))
            k += uint64(_UNROLLED * WARP)
        while k < n_in:
            _add_products(w, inputs, sums, at, k)
            k += uint64(WARP)
        for r in range(_TERMS):
            memory[lane * uint64(_PITCH) + warp * uint64(_TERMS) + uint64(r)] = sums[r]


@inlined
def _add_products(w: Any, inputs: Any, sums: Any, at: Any, k: Any) -> None:
    """Add, to the sums of a tile of z, the products of W and `a` in column k of W and row k of `a`."""
    for e in range(_EXAMPLES):
        value = inputs[at[_NEURONS + e] + k]
        for r in range(_NEURONS):
            sums[r * _EXAMPLES + e] += w[at[r] + k] * value


def _backpropagate(derivative: Any) -> Any:
    @inlined
    def backpropagate(
        w_2: Any, memory: Any, z_1: Any, a_1: Any, delta_1: Any, delta_2: Any, m: Any, n_1: Any, n_2: Any
    ) -> None:
        """Compute (BP2)."""
        k = uint64(cuda.threadIdx.x)
        while k < m * n_1:
            i = _quotient(k, n_1)
            at_w, here, value = k - i * n_1, delta_2 + i * n_2, types.float32(0)
            end = here + n_2
            while here + uint64(3) < end:
                for r in range(4):
                    value += w_2[at_w + uint64(r) * n_1] * memory[here + uint64(r)]
                at_w, here = at_w + uint64(4) * n_1, here + uint64(4)
            while here < end:
                value += w_2[at_w] * memory[here]
                at_w, here = at_w + n_1, here + uint64(1)
            memory[delta_1 + k] = value * derivative(memory[z_1 + k], memory[a_1 + k])
            k += uint64(_THREADS)

    return backpropagate


def _add_costs(cost: Any, *, weighted: bool) -> Any:
    @inlined
    def add_costs(memory: Any, z_2: Any, a_2: Any, y_m: Any, s_m: Any, total: Any, m: Any, n_2: Any) -> None:
        """Add the costs to the total, as the kernel `add_cost` does. The last threads do it: they have less to do."""
        t, threads = uint64(_THREADS - 1) - uint64(cuda.threadIdx.x), _n_partial_sums(m) * n_2
        if t < threads:
            value, k = types.float32(0), t
            while k < m * n_2:
                term = types.float32(cost(memory[z_2 + k], memory[a_2 + k], memory[y_m + k]))
                value += memory[s_m + _quotient(k, n_2)] * term if weighted else term
                k += threads
            _add_exactly(total, t, value)

    return add_costs


def _add_gradient(*, bias: bool) -> Any:
    @inlined
    def add_gradient(
        w: Any, b: Any, inputs: Any, memory: Any, sums: Any, old: Any, at_a: Any, delta: Any, alpha: Any, beta: Any,
        m: Any, n_in: Any, n_out: Any,
    ) -> None:  # fmt: skip
        """Compute (BP3) and (BP4), and add them to W and b."""
        t, across = uint64(cuda.threadIdx.x), _tiles(n_in, _COLUMNS * WARP)
        part = t // uint64(WARP)
        while part < across * _tiles(n_out, _ROWS):
            row = _quotient(part, across)
            j, k = row * uint64(_ROWS), (part - row * across) * uint64(_COLUMNS * WARP) + t % uint64(WARP)
            if k + uint64((_COLUMNS - 1) * WARP) < n_in:
                _add_to_rows(w, inputs, memory, sums, old, at_a, delta, j, k, _COLUMNS, alpha, beta, m, n_in, n_out)
                k = n_in
            while k < n_in:
                _add_to_rows(w, inputs, memory, sums, old, at_a, delta, j, k, 1, alpha, beta, m, n_in, n_out)
                k += uint64(WARP)
            part += uint64(_WARPS)
        j = t
        while bias and j < n_out:
            value, here = types.float32(0), delta + j
            while here < delta + m * n_out:
                value += memory[here]
                here += n_out
            b[j] += alpha * value
            j += uint64(_THREADS)

    return add_gradient


@inlined
def _add_to_rows(
    w: Any, inputs: Any, memory: Any, sums: Any, old: Any, at_a: Any, delta: Any, j: Any, k: Any, columns: Any,
    alpha: Any, beta: Any, m: Any, n_in: Any, n_out: Any,
) -> None:  # fmt: skip
    """Compute W ← beta W + alpha δ aᵀ in a few rows from j on, and in the columns k, k + 32, …

    In the last tile, rows that do not exist are computed with numbers that mean nothing, and not written.
    """
    for r in range(_ROWS):
        row = min(j + uint64(r), n_out - uint64(1)) * n_in + k
        for c in range(columns):
            sums[r * columns + c] = types.float32(0)
            old[r * columns + c] = w[row + uint64(c * WARP)]
    at, here, end = at_a + k, delta + j, delta + j + m * n_out
    while here < end:
        for c in range(columns):
            value = inputs[at + uint64(c * WARP)]
            for r in range(_ROWS):
                sums[r * columns + c] += memory[here + uint64(r)] * value
        at, here = at + n_in, here + n_out
    for r in range(_ROWS):
        if j + uint64(r) < n_out:
            for c in range(columns):
                value = beta * old[r * columns + c] + alpha * sums[r * columns + c]
                w[(j + uint64(r)) * n_in + k + uint64(c * WARP)] = value


@inlined
def _tiles(size: Any, of: Any) -> Any:
    return _quotient(size + uint64(of - 1), uint64(of))


@inlined
def _quotient(p: Any, q: Any) -> Any:
    return uint64(types.uint32(p)) // uint64(types.uint32(q))  # of 32 bits, which is faster
