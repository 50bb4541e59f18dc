"""The kernels for the CPU: loops around scalar formulas. LLVM vectorises the loops.

Each public function here compiles a kernel with Numba and returns it. The machine code is kept on disk. A kernel is a C
function with a fixed signature, and other compiled code can take it as an argument.

A block of columns (z, a, delta or y) has one column per example, and shape (n, m). A kernel gets the transpose of a
block. This is a C-ordered matrix of shape (m, n), so that one row in memory is one example. `dtype` is "float32" or
"float64". A formula is a plain function of numbers, written with the functions of `fastbp_kernels.words`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from fastbp_kernels import words
from fastbp_kernels.cpu import blas, small_gemm
from fastbp_kernels.cpu.blas import AS_IT_IS, TRANSPOSED, at
from fastbp_kernels.cpu.jit_cache import compiled_kernel
from fastbp_kernels.cpu.vector_math import MATH, jitable, words_on_cpu
from fastbp_kernels.cpu.work_sharing import parallel_for_two, range_body
from fastbp_kernels.formulas import cache_by_formula, diagnose_formula
from fastbp_kernels.numba_private import TypingError, make_task
from fastbp_kernels.specialize import lower

Formula = Callable[..., Any]
Kernel = Any
"""A `fastbp_kernels.cpu.jit_cache.Kernel`."""

_MIN_ELEMENTS, _MIN_MULTIPLICATIONS = 2**12, 2**16
"""Sizes above which half of a kernel's loop is offered to the worker thread (`work_sharing`).

`_MIN_ELEMENTS` is a number of elements. `_MIN_MULTIPLICATIONS` is a number of multiplications. Above these sizes, a
kernel takes about a microsecond or more."""


@cache_by_formula
def activate(f: Formula, dtype: str, *, bias: bool, keep_z: bool) -> Kernel:
    """Compile a kernel with the arguments (z, a, b). It writes z + b into z, and f(z + b) into `a`.

    If `bias` is False, b is not added. If `keep_z` is False, the caller passes z in `a`, and only `a` is written.
    """
    scalar_f = _lowered(f, dtype)

    def kernel(z: Any, a: Any, b: Any) -> None:
        for i in range(a.shape[0]):
            for j in range(a.shape[1]):
                value = z[i, j] if keep_z else a[i, j]
                if bias:
                    value += b[0, j]
                if keep_z:
                    z[i, j] = value
                a[i, j] = _in_type_of(value, scalar_f(value))

    return _compiled(kernel, types.void(*[_block(dtype)] * 3), {f: 1}, dtype)


@cache
def softmax(dtype: str, *, bias: bool) -> Kernel:
    """Compile a kernel with the arguments (z, a, b). It writes z + b into z, and the softmax of z + b into `a`.

    The softmax is e^z / Σ e^z for each column. The largest z of the column is subtracted first, so that exp does not
    overflow. If `bias` is False, b is not added.
    """
    exp = words_on_cpu(dtype)[words.exp]
    one = np.dtype(dtype).type(1)

    def kernel(z: Any, a: Any, b: Any) -> None:
        for i in range(z.shape[0]):
            if bias:
                for j in range(z.shape[1]):
                    z[i, j] += b[0, j]
            top = _largest(z, i)
            total = one - one
            for j in range(z.shape[1]):
                a[i, j] = exp(z[i, j] - top)
                total += a[i, j]
            for j in range(z.shape[1]):
                a[i, j] *= one / total

    return _compiled(kernel, types.void(*[_block(dtype)] * 3))


@cache_by_formula
def hadamard(prime: Formula, dtype: str) -> Kernel:
    """Compile a kernel with the arguments (z, a, delta, sums). It multiplies delta by prime(z, a), element by element.

    The kernel writes the sum of the new delta over the examples into `sums`, unless `sums` is empty.
    """
    scalar_prime = _lowered(prime, dtype)

    def kernel(z: Any, a: Any, delta: Any, sums: Any) -> None:
        for i in range(delta.shape[0]):
            for j in range(delta.shape[1]):
                delta[i, j] *= _in_type_of(delta[i, j], scalar_prime(z[i, j], a[i, j]))
            _add_row(delta, i, sums)

    return _compiled(kernel, types.void(*[_block(dtype)] * 4), {prime: 2}, dtype)


@cache_by_formula
def output_error(error: Formula, dtype: str, *, weighted: bool) -> Kernel:
    """Compile a kernel with the arguments (z, a, y, s, delta, sums). It writes error(z, a, y) into delta.

    If `weighted` is True, the errors of each example are multiplied by its weight in `s`. The kernel writes the sum of
    delta over the examples into `sums`, unless `sums` is empty.
    """
    scalar_error = _lowered(error, dtype)

    def kernel(z: Any, a: Any, y: Any, s: Any, delta: Any, sums: Any) -> None:
        for i in range(delta.shape[0]):
            for j in range(delta.shape[1]):
                value = _in_type_of(delta[i, j], scalar_error(z[i, j], a[i, j], y[i, j]))
                delta[i, j] = s[i, 0] * value if weighted else value
            _add_row(delta, i, sums)

    return _compiled(kernel, types.void(*[_block(dtype)] * 6), {error: 3}, dtype)


@cache_by_formula
def add_cost(cost: Formula, dtype: str, *, weighted: bool) -> Kernel:
    """Compile a kernel with the arguments (z, a, y, s, total). It adds Σ cost(z, a, y) to total.

    The sum is over all elements and is computed in float64. If `weighted` is True, the costs of each example are
    multiplied by its weight in `s`.
    """
    scalar_cost = _lowered(cost, dtype)

    def kernel(z: Any, a: Any, y: Any, s: Any, total: Any) -> None:
        for i in range(a.shape[0]):
            column = 0.0
            for j in range(a.shape[1]):
                column += scalar_cost(z[i, j], a[i, j], y[i, j])
            total[0] += s[i, 0] * column if weighted else column

    return _compiled(kernel, types.void(*[_block(dtype)] * 4, types.float64[::1]), {cost: 3}, dtype)


@cache
def add_log_likelihood(dtype: str, *, weighted: bool) -> Kernel:
    """Compile a kernel with the arguments (z, a, y, s, total). It subtracts Σ y ln softmax(z) from total.

    If `weighted` is True, the terms of each example are multiplied by its weight in `s`. The kernel computes the
    logarithm from z. It does not use the softmax in `a`, because values there may have underflowed to 0.
    """
    exp, log = words_on_cpu(dtype)[words.exp], words_on_cpu(dtype)[words.log]
    zero = np.dtype(dtype).type(0)

    def kernel(z: Any, a: Any, y: Any, s: Any, total: Any) -> None:
        for i in range(z.shape[0]):
            top = _largest(z, i)
            partition = zero
            for j in range(z.shape[1]):
                partition += exp(z[i, j] - top)
            log_partition = log(partition)
            column = 0.0
            for j in range(z.shape[1]):
                # top − z is computed first. In float32, adding the logarithm to a top of 10⁶ would lose the logarithm.
                column += y[i, j] * ((top - z[i, j]) + log_partition)
            total[0] += s[i, 0] * column if weighted else column

    return _compiled(kernel, types.void(*[_block(dtype)] * 4, types.float64[::1]))


@cache
def gather(source: str, dtype: str) -> Kernel:
    """Compile a kernel with the arguments (x, indices, scale, out). It copies rows of x into `out`.

    Row i of `out` becomes row `indices[i]` of x, converted to `dtype` and multiplied by `scale`. `source` is the dtype
    of x.
    """
    real = np.dtype(dtype).type

    @range_body(MATH)
    def columns(args: Any, start: Any, end: Any) -> None:
        x, indices, scale, out = args
        factor = real(scale)
        for i in range(start, end):
            # The index is read once per row. In the inner loop, LLVM would read it again and again, because it assumes
            # that `out` overlaps `indices`. An epoch would take 0.111 s instead of 0.076 s.
            row = indices[i]
            for j in range(out.shape[1]):
                out[i, j] = factor * real(x[row, j])

    def kernel(x: Any, indices: Any, scale: Any, out: Any) -> None:
        code, args = make_task(columns, (x, indices, scale, out))
        parallel_for_two(code, args, out.shape[0], out.size > _MIN_ELEMENTS)

    data = types.Array(getattr(types, source), 2, "C", readonly=True)  # accepts writeable data too
    indices = types.Array(types.int64, 1, "C", readonly=True)
    return _compiled(kernel, types.void(data, indices, types.float64, _block(dtype)))


@cache
def add_column_sums(dtype: str) -> Kernel:
    """Compile a kernel with the arguments (alpha, sums, beta, b). It writes beta b + alpha Σ sums into b.

    Σ sums is the sum of the columns of `sums`.
    """
    real = np.dtype(dtype).type

    def kernel(alpha: Any, sums: Any, beta: Any, b: Any) -> None:
        for j in range(b.shape[1]):
            b[0, j] *= real(beta)
        for i in range(sums.shape[0]):
            for j in range(b.shape[1]):
                b[0, j] += real(alpha) * sums[i, j]

    return _compiled(kernel, types.void(types.float64, _block(dtype), types.float64, _block(dtype)))


@cache_by_formula
def optimizer_step(formula: Formula, dtype: str, *, state: int, constants: int) -> Kernel:
    """Compile a kernel that updates a parameter w and its state by an optimizer's formula.

    The arguments of the kernel are (eta, decay, t, constants, nabla, first, second, third, w). For each element it
    computes

        w, first, second, third ← formula(w, nabla, first, second, third, eta, decay, t, *constants)

    in one pass. `state` is the number of state arrays that the formula uses, from 0 to 3. The kernel neither reads nor
    writes the other state arrays. `constants` is the number of constants that the formula takes. The array `constants`
    always has six.
    """
    real = np.dtype(dtype).type
    scalar_formula, read, write = _lowered(formula, dtype), _READ_STATE[state], _WRITE_STATE[state]

    @range_body(MATH)
    def rows(args: Any, start: Any, end: Any) -> None:
        eta, decay, t, numbers, nabla, first, second, third, w = args
        three = real(numbers[0]), real(numbers[1]), real(numbers[2])
        six = (*three, real(numbers[3]), real(numbers[4]), real(numbers[5]))
        last = (real(eta), real(decay), real(t), *six[:constants])
        for i in range(start, end):
            for j in range(w.shape[1]):
                found = scalar_formula(w[i, j], nabla[i, j], *read(first, second, third, i, j), *last)
                write(found, w, first, second, third, i, j)

    def kernel(
        eta: Any, decay: Any, t: Any, numbers: Any, nabla: Any, first: Any, second: Any, third: Any, w: Any
    ) -> None:
        code, args = make_task(rows, (eta, decay, t, numbers, nabla, first, second, third, w))
        parallel_for_two(code, args, w.shape[0], w.size > _MIN_ELEMENTS)

    return _compiled(kernel, _step_signature(dtype), {formula: 5 + state + constants}, dtype, results=1 + state)


@cache
def no_step(dtype: str) -> Kernel:
    """Compile a kernel that takes the arguments of an `optimizer_step` kernel and does nothing.

    It is used for plain gradient descent. Compiling it takes 0.02 s, and compiling the kernel of Adam
    takes 0.14 s.
    """

    def kernel(
        eta: Any, decay: Any, t: Any, numbers: Any, nabla: Any, first: Any, second: Any, third: Any, w: Any
    ) -> None:
        pass

    return _compiled(kernel, _step_signature(dtype))


@cache
def matmul(dtype: str) -> Kernel:
    """Compile a kernel with the arguments (w, a, z). It writes the matrix product of `w` and `a` into `z`."""
    product = blas.product(dtype)

    @range_body(MATH)
    def rows(args: Any, start: Any, end: Any) -> None:
        w, a, z = args
        m, n, k = a.shape[0], end - start, w.shape[1]
        w_, a_, z_ = at(w, start, 0), at(a, 0, 0), at(z, 0, start)
        product(TRANSPOSED, AS_IT_IS, n, m, k, 1.0, w_, k, a_, k, 0.0, z_, z.shape[1])

    def kernel(w: Any, a: Any, z: Any) -> None:
        if small_gemm.fits_small_gemm(w, a):
            code, args = make_task(small_gemm.matmul, (w, a, z))
        else:
            code, args = make_task(rows, (w, a, z))
        parallel_for_two(code, args, w.shape[0], w.size * a.shape[0] > _MIN_MULTIPLICATIONS)

    return _compiled(kernel, types.void(*[_block(dtype)] * 3))


@cache
def matmul_of_columns(dtype: str) -> Kernel:
    """Compile a kernel with the arguments (w, x, start, z). It writes the product of `w` and columns of x into `z`.

    x is a C-ordered matrix with one example per column. The columns are as many as `z` has rows, from column `start`.
    """
    product = blas.product(dtype)

    def kernel(w: Any, x: Any, start: Any, z: Any) -> None:
        m, n, k = z.shape[0], w.shape[0], w.shape[1]
        product(TRANSPOSED, TRANSPOSED, n, m, k, 1.0, at(w, 0, 0), k, at(x, 0, start), x.shape[1], 0.0, at(z, 0, 0), n)

    block = _block(dtype)
    return _compiled(kernel, types.void(block, block, types.int64, block))


@cache
def matmul_transposed(dtype: str) -> Kernel:
    """Compile a kernel with the arguments (w, delta, out). It writes the product wᵀ delta into `out`."""
    product = blas.product(dtype)

    @range_body(MATH)
    def rows(args: Any, start: Any, end: Any) -> None:
        w, delta, out = args
        m, n, k = delta.shape[0], w.shape[0], w.shape[1]
        w_, delta_, out_ = at(w, 0, start), at(delta, 0, 0), at(out, 0, start)
        product(AS_IT_IS, AS_IT_IS, end - start, m, n, 1.0, w_, k, delta_, n, 0.0, out_, k)

    def kernel(w: Any, delta: Any, out: Any) -> None:
        code, args = make_task(rows, (w, delta, out))
        parallel_for_two(code, args, w.shape[1], w.size * delta.shape[0] > _MIN_MULTIPLICATIONS)

    return _compiled(kernel, types.void(*[_block(dtype)] * 3))


@cache
def add_outer(dtype: str) -> Kernel:
    """Compile a kernel with the arguments (alpha, delta, a, beta, w). It writes beta w + alpha delta aᵀ into w."""
    small_gemm_pays = not blas.multiplies_few_columns()
    product = blas.product(dtype)

    @range_body(MATH)
    def rows(args: Any, start: Any, end: Any) -> None:
        alpha, delta, a, beta, w = args
        m, n, k = delta.shape[0], delta.shape[1], w.shape[1]
        delta_, a_, w_ = at(delta, 0, start), at(a, 0, 0), at(w, start, 0)
        product(AS_IT_IS, TRANSPOSED, k, end - start, m, alpha, a_, k, delta_, n, beta, w_, k)

    def kernel(alpha: Any, delta: Any, a: Any, beta: Any, w: Any) -> None:
        small = small_gemm_pays and small_gemm.fits_small_gemm(w, a) and delta.shape[0] > 0
        if small and w.size * w.itemsize <= small_gemm.MAX_OUTER_W_BYTES:
            code, args = make_task(small_gemm.add_outer, (alpha, delta, a, beta, w))
        else:
            code, args = make_task(rows, (alpha, delta, a, beta, w))
        parallel_for_two(code, args, w.shape[0], w.size * delta.shape[0] > _MIN_MULTIPLICATIONS)

    block = _block(dtype)
    return _compiled(kernel, types.void(types.float64, block, block, types.float64, block))


@cache
def sum_of_squares(dtype: str) -> Kernel:
    """Compile a kernel with the arguments (block, out). It writes the sum of the squares of all numbers into out[0].

    If the sum is finite, all numbers are.
    """
    zero = np.dtype(dtype).type(0)

    @range_body(small_gemm.SUMS)
    def rows(args: Any, start: Any, end: Any) -> None:
        block, out = args
        total = zero
        for i in range(start, end):
            for j in range(block.shape[1]):
                total += block[i, j] * block[i, j]
        out[0] = total

    def kernel(block: Any, out: Any) -> None:
        code, args = make_task(rows, (block, out))
        parallel_for_two(code, args, block.shape[0], False)

    return _compiled(kernel, types.void(_block(dtype), types.float64[::1]))


@cache
def add_squares(dtype: str) -> Kernel:
    """Compile a kernel with the arguments (factor, block, total). It adds factor Σ block² to total[0]."""
    zero = np.dtype(dtype).type(0)

    @range_body(small_gemm.SUMS)
    def rows(args: Any, start: Any, end: Any) -> None:
        factor, block, total = args
        squares = zero
        for i in range(start, end):
            for j in range(block.shape[1]):
                squares += block[i, j] * block[i, j]
        total[0] += factor * squares

    def kernel(factor: Any, block: Any, total: Any) -> None:
        code, args = make_task(rows, (factor, block, total))
        parallel_for_two(code, args, block.shape[0], False)

    return _compiled(kernel, types.void(types.float64, _block(dtype), types.float64[::1]))


@jitable
def _read_none(first: Any, second: Any, third: Any, i: Any, j: Any) -> Any:
    return ()


@jitable
def _read_one(first: Any, second: Any, third: Any, i: Any, j: Any) -> Any:
    return (first[i, j],)


@jitable
def _read_two(first: Any, second: Any, third: Any, i: Any, j: Any) -> Any:
    return first[i, j], second[i, j]


@jitable
def _read_three(first: Any, second: Any, third: Any, i: Any, j: Any) -> Any:
    return first[i, j], second[i, j], third[i, j]


@jitable
def _write_none(found: Any, w: Any, first: Any, second: Any, third: Any, i: Any, j: Any) -> None:
    w[i, j] = _in_type_of(w[i, j], found)


@jitable
def _write_one(found: Any, w: Any, first: Any, second: Any, third: Any, i: Any, j: Any) -> None:
    w[i, j], first[i, j] = _in_type_of(w[i, j], found[0]), _in_type_of(w[i, j], found[1])


@jitable
def _write_two(found: Any, w: Any, first: Any, second: Any, third: Any, i: Any, j: Any) -> None:
    _write_one(found, w, first, second, third, i, j)
    second[i, j] = _in_type_of(w[i, j], found[2])


@jitable
def _write_three(found: Any, w: Any, first: Any, second: Any, third: Any, i: Any, j: Any) -> None:
    _write_two(found, w, first, second, third, i, j)
    third[i, j] = _in_type_of(w[i, j], found[3])


_READ_STATE = (_read_none, _read_one, _read_two, _read_three)
_WRITE_STATE = (_write_none, _write_one, _write_two, _write_three)


@jitable
def _add_row(delta: Any, i: Any, sums: Any) -> None:
    """Add row i of delta to `sums`, or copy it to `sums` if i is 0. Do nothing if `sums` is empty."""
    for j in range(sums.shape[1]):
        sums[0, j] = delta[i, j] if i == 0 else sums[0, j] + delta[i, j]


@jitable
def _largest(z: Any, i: Any) -> Any:
    """Return the largest entry of row i of z. The row must have at least one entry."""
    top = z[i, 0]
    for j in range(1, z.shape[1]):
        top = z[i, j] if z[i, j] > top else top
    return top


def _block(dtype: str) -> Any:
    return types.Array(getattr(types, dtype), 2, "C")


def _step_signature(dtype: str) -> Any:
    constants = types.Array(types.float64, 1, "C")
    return types.void(*[types.float64] * 3, constants, *[_block(dtype)] * 5)


def _lowered(formula: Formula, dtype: str) -> Formula:
    return jitable(lower(formula, jitable, words_on_cpu(dtype), np.dtype(dtype).type))


def _compiled(
    kernel: Formula, signature: Any, formulas: dict[Formula, int] | None = None, dtype: str = "", results: int = 1
) -> Kernel:
    """Compile a kernel. If it cannot be compiled because of a formula, raise an error that names this formula.

    `formulas` maps each formula of the kernel to its number of arguments. `results` is the number of values that each
    of them returns.
    """
    try:
        return compiled_kernel(kernel, signature)
    except Exception:  # Numba raises errors of many types
        for formula, arity in (formulas or {}).items():
            diagnose_formula(formula, arity, dtype, results)
        raise


def _in_type_of(target: Any, value: Any) -> Any:
    """Return the value. A call compiles only if the value is a real number that is not wider than the target."""
    return value


@overload(_in_type_of, strict=False)  # type: ignore[untyped-decorator]
def _in_type_of_compiled(target: Any, value: Any) -> Any:
    if not isinstance(value, (types.Float, types.Integer, types.Boolean)):
        raise TypingError("not a number")
    if isinstance(value, types.Float) and value.bitwidth > target.bitwidth:
        raise TypingError("too wide a number")
    return lambda target, value: value
