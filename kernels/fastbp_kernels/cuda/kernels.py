"""The kernels on CUDA: the loops of `fastbp_kernels.cpu.loops` as grid-stride loops around the same scalar formulas.

Numba compiles a kernel to PTX, nvJitLink links that for a device, CuPy loads and launches it on its current stream.
Nothing but the launch needs a GPU: `ptx` and `cubin` can be looked at anywhere, and `python -m fastbp_kernels.cuda`
lists what is in them.

A block of columns is memory of m rows of n numbers, a row an example, as on the CPU. Threads along x go over the n
neurons, whose numbers lie side by side, and along y over the m examples. Sizes are unsigned 64-bit numbers: LLVM cannot
count the rounds of a loop over them, which may wrap, and leaves it as it is; over signed ones it unrolls each loop four
times, for 48 registers where 29 do.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
from numba import cuda, types, uint64

from fastbp_kernels import words
from fastbp_kernels.compile_events import compiling
from fastbp_kernels.formulas import cache_by_formula, diagnose_formula
from fastbp_kernels.specialize import FormulaError, lower
from fastbp_kernels.words import exp, sqrt

Formula = Callable[..., Any]
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
"""What tests link for: Turing, two of Ampere, Ada, Hopper, two of Blackwell."""
EXAMPLES_A_PART = 16
"""How many examples a thread goes over where it sums: enough that sums are few, few enough that threads are many."""
_MOST_ALONG_Y = 65_535  # blocks, CUDA's limit
_WARP = 32
_SHARED_BYTES = 48 * 1024  # what a block of any device has without being asked for more
_TILE = (32, 8)  # threads of a block along x and y
_FLAT = 128  # threads of a block along x alone


class Geometry(NamedTuple):
    """A launch: how many blocks, of how many threads, with how many bytes of shared memory."""

    grid: tuple[int, int]
    block: tuple[int, int]
    shared_bytes: int = 0


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel of one signature: pointers and scalars as in its docstring, then m and n, which `geometry` goes by."""

    name: str
    body: Formula
    parameters: tuple[Any, ...]
    geometry: Callable[[int, int], Geometry]

    @cached_property
    def ptx(self) -> str:
        """The kernel as PTX for compute capability 7.5, which every later device can run; its entry has its name."""
        compiling()
        signature = types.void(*self.parameters, types.uint64, types.uint64)
        text, _ = cuda.compile(self.body, signature, device=False, abi="numba", cc=(7, 5))
        mangled = re.search(r"\.entry\s+(\w+)", text)
        assert mangled is not None
        return str(text).replace(mangled[1], self.name)

    def linked(self, architecture: str) -> tuple[bytes, str]:
        """Return the kernel's cubin for an architecture like "sm_90", and what the assembler says of it."""
        from cuda.core import Linker, LinkerOptions, ObjectCode

        options = LinkerOptions(arch=architecture, ptxas_options=["-v"])
        linker = Linker(ObjectCode.from_ptx(self.ptx.encode()), options=options)
        return bytes(linker.link("cubin").code), linker.get_info_log()

    def packed(self, *arguments: Any) -> tuple[Any, ...]:
        """Return arguments as the kernel takes them, of which arrays stay as they are: `launch` adds no conversion."""
        kinds = (*self.parameters, types.uint64, types.uint64)
        return tuple(
            value if isinstance(kind, types.CPointer) else np.dtype(kind.name).type(value)
            for kind, value in zip(kinds, arguments, strict=True)
        )


class Specification(NamedTuple):
    """A kernel by its dtype, with an example's formula, and what it reads and writes for each element it goes over.

    What is not named is touched once a thread: a neuron's bias, an example's weight, the sum of a part.
    """

    make: Callable[[str], Kernel]
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def ptx(kernel: str | Kernel, dtype: str = "float32") -> str:
    """Return the text in PTX of a kernel, or of one of `KERNELS` by its name and a dtype.

    >>> ".entry gather" in ptx("gather", "float64")
    True
    """
    return (KERNELS[kernel].make(dtype) if isinstance(kernel, str) else kernel).ptx


def cubin(kernel: str | Kernel, dtype: str = "float32", architecture: str = "sm_90") -> bytes:
    """Return a kernel, or one of `KERNELS` by its name and a dtype, linked for an architecture: an ELF file.

    >>> cubin("gather", "float64", "sm_120")[1:4]
    b'ELF'
    """
    return (KERNELS[kernel].make(dtype) if isinstance(kernel, str) else kernel).linked(architecture)[0]


def launch(kernel: Kernel, *arguments: Any) -> None:
    """Launch a kernel on CuPy's current device and stream, with CuPy's arrays for its pointers; returns at once."""
    import cupy

    grid, block, shared_bytes = kernel.geometry(*arguments[-2:])
    _function(kernel, cupy.cuda.runtime.getDevice())(grid, block, kernel.packed(*arguments), shared_mem=shared_bytes)


@cache
def _function(kernel: Kernel, device: int) -> Any:
    """Return a kernel loaded on a device."""
    import cupy

    module = cupy.cuda.function.Module()
    module.load(cubin(kernel, architecture=f"sm_{cupy.cuda.Device(device).compute_capability}"))
    return module.get_function(kernel.name)


def parts(m: int) -> int:
    """Return in how many parts m examples are summed, each by one thread a neuron, of every so-manieth example.

    >>> parts(1), parts(16), parts(17)
    (1, 1, 2)
    """
    return -(-m // EXAMPLES_A_PART)


def most_outputs(dtype: str) -> int:
    """Return how many outputs a softmax can have: a block holds a column of them in its shared memory.

    >>> most_outputs("float32")
    12256
    """
    return _SHARED_BYTES // np.dtype(dtype).itemsize - _WARP


# What a thread is, as the loops of kernels need it.


def _inlined(function: Formula) -> Formula:
    """Make a device function of a function, inlined: a call would have Numba link device code, and ask for a driver."""
    return cuda.jit(device=True, inline="always")(function)  # type: ignore[no-any-return]


@_inlined
def _x() -> Any:
    return uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)


@_inlined
def _y() -> Any:
    return uint64(cuda.blockIdx.y) * uint64(cuda.blockDim.y) + uint64(cuda.threadIdx.y)


@_inlined
def _stride_x() -> Any:
    return uint64(cuda.gridDim.x) * uint64(cuda.blockDim.x)


@_inlined
def _stride_y() -> Any:
    return uint64(cuda.gridDim.y) * uint64(cuda.blockDim.y)


@_inlined
def _parts(m: Any) -> Any:
    return (m + uint64(EXAMPLES_A_PART - 1)) // uint64(EXAMPLES_A_PART)


def _elements(m: int, n: int) -> Geometry:
    """Return a thread an element, as far as CUDA lets blocks lie along y; a thread goes on by strides."""
    return Geometry((_blocks(n, _TILE[0]), min(_blocks(m, _TILE[1]), _MOST_ALONG_Y)), _TILE)


def _flat(m: int, n: int) -> Geometry:
    """Return a thread an element, whatever its place: 2³¹ − 1 blocks may lie along x."""
    return Geometry((_blocks(m * n, _FLAT), 1), (_FLAT, 1))


def _neurons(m: int, n: int) -> Geometry:
    """Return a thread a neuron."""
    return _flat(1, n)


def _neurons_and_parts(m: int, n: int) -> Geometry:
    """Return a thread a neuron and part of the examples."""
    return _flat(parts(m), n)


def _warp_a_column(dtype: str) -> Callable[[int, int], Geometry]:
    """Return a block of one warp an example, with memory for the example's numbers and one more a thread."""
    itemsize = np.dtype(dtype).itemsize
    return lambda m, n: Geometry((_blocks(m, 1), 1), (_WARP, 1), (_WARP + n) * itemsize)


def _blocks(threads: int, size: int) -> int:
    return max(1, -(-threads // size))


@cache_by_formula
def activate(f: Formula, dtype: str, *, bias: bool, keep_z: bool) -> Kernel:
    """Compile (z, a, b, m, n): z ← z + b, a ← f(z); where z is not kept, it comes in a, and only a is written."""
    scalar_f = _lowered(f, dtype)

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

    return _checked(Kernel("activate", body, _pointers(dtype, 3), _elements), dtype, {f: 1})


@cache
def softmax(dtype: str, *, bias: bool) -> Kernel:
    """Compile (z, a, b, m, n): z ← z + b, a ← e^z / Σ e^z over each column, less its largest z; a warp a column."""
    real, zero, start = _real(dtype), _uint(0), _uint(_WARP)

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
            top = _largest(column, t, top)
            total = real(zero)
            j = t
            while j < n:
                e = math.exp(column[start + j] - top)
                column[start + j] = e
                total += e
                j += start
            total = _summed(column, t, total)
            j = t
            while j < n:
                a[i * n + j] = column[start + j] / total
                j += start
            i += uint64(cuda.gridDim.x)

    return Kernel("softmax", body, _pointers(dtype, 3), _warp_a_column(dtype))


@cache_by_formula
def hadamard(prime: Formula, dtype: str, *, bias: bool) -> Kernel:
    """Compile (z, a, delta, sums, m, n): delta ← delta ⊙ prime(z, a), sums ← delta's over parts of the examples."""
    scalar_prime, real = _lowered(prime, dtype), _real(dtype)

    def body(z: Any, a: Any, delta: Any, sums: Any, m: Any, n: Any) -> None:
        threads, t = _parts(m) * n, _x()
        while t < threads:
            total = real(0)
            k = t  # and on by a multiple of n, within the same neuron
            while k < m * n:
                value = real(delta[k] * scalar_prime(z[k], a[k]))
                delta[k] = value
                total += value
                k += threads
            if bias:
                sums[t] = total
            t += _stride_x()

    return _checked(Kernel("hadamard", body, _pointers(dtype, 4), _neurons_and_parts), dtype, {prime: 2})


@cache_by_formula
def output_error(error: Formula, dtype: str, *, weighted: bool, bias: bool) -> Kernel:
    """Compile (z, a, y, s, delta, sums, m, n): delta ← s error(z, a, y); sums as in `hadamard`; s for `weighted`."""
    scalar_error, real = _lowered(error, dtype), _real(dtype)

    def body(z: Any, a: Any, y: Any, s: Any, delta: Any, sums: Any, m: Any, n: Any) -> None:
        threads, t = _parts(m) * n, _x()
        while t < threads:
            total = real(0)
            i, k = t // n, t
            while k < m * n:
                value = real(scalar_error(z[k], a[k], y[k]))
                if weighted:
                    value *= s[i]
                    i += _parts(m)
                delta[k] = value
                total += value
                k += threads
            if bias:
                sums[t] = total
            t += _stride_x()

    return _checked(Kernel("output_error", body, _pointers(dtype, 6), _neurons_and_parts), dtype, {error: 3})


@cache_by_formula
def add_cost(cost: Formula, dtype: str, *, weighted: bool) -> Kernel:
    """Compile (z, a, y, s, total, m, n): add Σ s cost(z, a, y) to total, of two numbers for each neuron and part.

    A thread has one place and takes no strides, and a weight's place is found by a division: registers are short where
    the cost is a cross-entropy in float64 (42 of them on sm_120 otherwise).
    """
    scalar_cost, real = _lowered(cost, dtype), _real(dtype)

    def body(z: Any, a: Any, y: Any, s: Any, total: Any, m: Any, n: Any) -> None:
        threads, t = _parts(m) * n, _x()
        if t < threads:
            value = real(0)
            k = t
            while k < m * n:
                term = real(scalar_cost(z[k], a[k], y[k]))
                value += s[k // n] * term if weighted else term
                k += threads
            _add_exactly(total, t, value)

    return _checked(Kernel("add_cost", body, _pointers(dtype, 5), _neurons_and_parts), dtype, {cost: 3})


@cache
def add_log_likelihood(dtype: str, *, weighted: bool) -> Kernel:
    """Compile (z, a, y, s, total, m, n): add −Σ s y ln a for a = softmax(z), from z, to two numbers an example."""
    real, zero, start = _real(dtype), _uint(0), _uint(_WARP)

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
            top = _largest(column, t, top)
            partition = real(0)
            j = t
            while j < n:
                partition += math.exp(column[start + j] - top)
                j += start
            log_partition = math.log(_summed(column, t, partition))
            value = real(0)
            j = t
            while j < n:
                value += y[i * n + j] * ((top - column[start + j]) + log_partition)
                j += start
            value = _summed(column, t, value)
            if t == zero:
                _add_exactly(total, i, s[i] * value if weighted else value)
            i += uint64(cuda.gridDim.x)

    return Kernel("add_log_likelihood", body, _pointers(dtype, 5), _warp_a_column(dtype))


@cache
def gather(source: str, dtype: str) -> Kernel:
    """Compile (x, indices, scale, out, m, n): out's row i ← scale times x's row indices[i], from its dtype."""
    real = _real(dtype)

    def body(x: Any, indices: Any, scale: Any, out: Any, m: Any, n: Any) -> None:
        i = _y()
        while i < m:
            row = uint64(indices[i])
            j = _x()
            while j < n:
                out[i * n + j] = scale * real(x[row * n + j])
                j += _stride_x()
            i += _stride_y()

    data, indices = types.CPointer(_real(source)), types.CPointer(types.int64)
    return Kernel("gather", body, (data, indices, real, types.CPointer(real)), _elements)


@cache
def add_column_sums(dtype: str) -> Kernel:
    """Compile (alpha, sums, beta, b, m, n): b ← beta b + alpha sums 1, of m sums; no atomics, so always the same."""
    real = _real(dtype)

    def body(alpha: Any, sums: Any, beta: Any, b: Any, m: Any, n: Any) -> None:
        j = _x()
        while j < n:
            total = real(0)
            for r in range(types.int64(m)):  # signed: unrolled, so that four loads are under way at a time
                total += sums[uint64(r) * n + j]
            b[j] = beta * b[j] + alpha * total
            j += _stride_x()

    return Kernel("add_column_sums", body, (real, types.CPointer(real), real, types.CPointer(real)), _neurons)


@cache_by_formula
def optimizer_step(formula: Formula, dtype: str, *, two: bool) -> Kernel:
    """Compile (eta, decay, k_1, k_2, k_3, nabla, first, second, w, m, n), one pass over a parameter and its moments.

    w, first, second ← formula(w, nabla + decay w, first, second, eta, k_1, k_2, k_3), element by element; `second` is
    neither read nor written unless there are two moments. A thread has one element and takes no strides, for which
    Adam in float64 would want 46 registers.
    """
    scalar_formula, real = _lowered(formula, dtype), _real(dtype)

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

    return _checked(Kernel("optimizer_step", body, (*[real] * 5, *_pointers(dtype, 4)), _flat), dtype, {})


@_inlined
def _largest(column: Any, t: Any, value: Any) -> Any:
    """Return the largest of the warp's values, halving by halving in the first places of the column's memory."""
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


@_inlined
def _summed(column: Any, t: Any, value: Any) -> Any:
    """Return the sum of the warp's values, in an order that is always the same."""
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


@_inlined
def _add_exactly(total: Any, place: Any, value: Any) -> None:
    """Add to a place of two numbers: to the first, and to the second what rounding cuts off (two-sum, TAOCP 4.2.2).

    So a float32 kernel adds up an epoch of costs without a float64 instruction.
    """
    first = place + place
    old = total[first]
    new = old + value
    part = new - old
    total[first] = new
    total[first + uint64(1)] += (old - (new - part)) + (value - part)


@_inlined
def _where(condition: Any, p: Any, q: Any) -> Any:
    return p if condition else q


@_inlined
def _maximum(x: Any, floor: Any) -> Any:
    return floor if x < floor else x


CUDA_WORDS: dict[Formula, Formula] = {
    words.exp: math.exp,
    words.expm1: math.expm1,
    words.log: math.log,
    words.log1p: math.log1p,
    words.sqrt: math.sqrt,
    words.tanh: math.tanh,
    words.where: _where,
    words.maximum: _maximum,
}
"""The meaning on CUDA of every word of formulas; Numba makes libdevice's functions of Python's."""


def _lowered(formula: Formula, dtype: str) -> Formula:
    return _inlined(lower(formula, _inlined, CUDA_WORDS, np.dtype(dtype).type))


def _checked(kernel: Kernel, dtype: str, formulas: dict[Formula, int]) -> Kernel:
    """Return a kernel after compiling it; raises `FormulaError` if that fails, or if float32 became float64 in it.

    Blamed is the formula, of those given with their numbers of arguments, which does so by itself.
    """
    try:
        widened = ".f64" in kernel.ptx and dtype == "float32"
    except Exception as error:  # Numba answers what it cannot compile with errors of many types
        for formula, arity in formulas.items():
            diagnose_formula(formula, arity, dtype)
        raise FormulaError(f"{kernel.name} cannot be compiled for CUDA: {str(error).splitlines()[0]}") from error
    if widened:
        raise FormulaError(f"{kernel.name} computes in float64 where float32 is wanted")
    return kernel


def _real(dtype: str) -> Any:
    return getattr(types, dtype)


def _pointers(dtype: str, count: int) -> tuple[Any, ...]:
    return (types.CPointer(_real(dtype)),) * count


def _uint(number: int) -> Any:
    return np.uint64(number)


def _sigmoid(z: Any) -> Any:
    return 1.0 / (1.0 + exp(-z))


def _sigmoid_prime(z: Any, a: Any) -> Any:
    return a * (1.0 - a)


def _quadratic(z: Any, a: Any, y: Any) -> Any:
    return 0.5 * (a - y) * (a - y)


def _quadratic_error(z: Any, a: Any, y: Any) -> Any:
    return (a - y) * a * (1.0 - a)


def _momentum(w: Any, g: Any, v: Any, unused: Any, eta: Any, mu: Any, k_2: Any, k_3: Any) -> Any:
    v = mu * v - eta * g
    return w + v, v, unused


def _adam(w: Any, g: Any, m: Any, v: Any, eta: Any, rho_1: Any, rho_2: Any, epsilon: Any) -> Any:
    m = m + rho_1 * (g - m)
    v = v + rho_2 * (g * g - v)
    return w - eta * m / (sqrt(v) + epsilon), m, v


KERNELS: dict[str, Specification] = {
    "activate": Specification(lambda dtype: activate(_sigmoid, dtype, bias=True, keep_z=False), ("a",), ("a",)),
    "activate, z kept": Specification(
        lambda dtype: activate(_sigmoid, dtype, bias=True, keep_z=True), ("z",), ("z", "a")
    ),
    "softmax": Specification(lambda dtype: softmax(dtype, bias=True), ("z", "b"), ("z", "a")),
    "output_error": Specification(
        lambda dtype: output_error(_quadratic_error, dtype, weighted=False, bias=True), ("a", "y"), ("delta",)
    ),
    "output_error, weighted": Specification(
        lambda dtype: output_error(_quadratic_error, dtype, weighted=True, bias=True), ("a", "y", "s"), ("delta",)
    ),
    "hadamard": Specification(lambda dtype: hadamard(_sigmoid_prime, dtype, bias=True), ("a", "delta"), ("delta",)),
    "add_column_sums": Specification(add_column_sums, ("sums",), ()),
    "optimizer_step": Specification(
        lambda dtype: optimizer_step(_momentum, dtype, two=False), ("nabla", "first", "w"), ("first", "w")
    ),
    "move, two moments": Specification(
        lambda dtype: optimizer_step(_adam, dtype, two=True),
        ("nabla", "first", "second", "w"),
        ("first", "second", "w"),
    ),
    "gather": Specification(lambda dtype: gather(dtype, dtype), ("x",), ("out",)),
    "gather from uint8": Specification(lambda dtype: gather("uint8", dtype), ("x",), ("out",)),
    "add_cost": Specification(lambda dtype: add_cost(_quadratic, dtype, weighted=False), ("a", "y"), ()),
    "add_cost, weighted": Specification(lambda dtype: add_cost(_quadratic, dtype, weighted=True), ("a", "y", "s"), ()),
    "add_log_likelihood": Specification(lambda dtype: add_log_likelihood(dtype, weighted=True), ("z", "y"), ()),
}
"""Every kernel by name, with the sigmoid and the quadratic cost where a formula belongs."""
