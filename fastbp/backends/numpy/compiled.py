"""The compiled backend: equations and kernels compiled by Numba, on NumPy arrays.

A kernel is a compiled function that loops over its arrays. A block of columns has one column per example. It is passed
as its transpose, a C-ordered (m, n) matrix, because Numba would mistake a Fortran-ordered block of one row or one
column for a C-ordered block. The operations, such as a matrix product, are C functions. Like the arrays, they are
arguments of the compiled equation, which get there through memory (`fastbp_kernels.cpu.packed_arguments`). So one
compiled equation serves all networks of the same dtype, and the next process finds this equation in the cache.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastbp.activations import identity
from fastbp.backends import forks  # noqa: F401 (makes forks wait for the imports and compilations here)
from fastbp.backends import kernels_of_formulas as fused
from fastbp.backends.interrupts import uninterrupted
from fastbp.backends.numpy import parallel_parts, worker_thread
from fastbp.backends.numpy.threads import limit_from_environment
from fastbp.errors import InputError
from fastbp.operations import (
    Formulas,
    InputOperations,
    LayerOperations,
    Operation,
    Operations,
    Plan,
    PreparingBackend,
    ReadyCall,
    WorkerContext,
)
from fastbp_kernels.specialize import lower

Array = npt.NDArray[Any]
R = TypeVar("R")


class CompiledNumPy(PreparingBackend):
    """The equations compiled for the CPU, with fused kernels and BLAS."""

    name = kind = "numpy"
    xp = np

    def __init__(self) -> None:
        if os.environ.get("FASTBP_BLAS"):
            _check_blas()
        limit_from_environment()  # after MKL has been loaded; otherwise the limit would not apply to it
        worker_thread.turned_on()  # raises InputError for an invalid FASTBP_WORKER

    def operations(self, formulas: Formulas, dtype: str, source: str, *, keep_z: bool = False) -> Operations:
        """Return the operations as compiled kernels. If Numba cannot compile a formula, an `InputError` names it."""
        return _operations(formulas, dtype, source, keep_z)

    def dropout(self, dtype: str) -> Operation:
        """Return the operation of dropout, a compiled kernel."""
        from fastbp_kernels.cpu import dropout_loops

        with uninterrupted():
            operation: Operation = dropout_loops.dropout(dtype)
            return operation

    def dropout_of_sparse(self, dtype: str) -> Operation:
        """Return the operation of dropout for sparse inputs, a compiled kernel."""
        from fastbp_kernels.cpu import dropout_loops

        with uninterrupted():
            operation: Operation = dropout_loops.dropout_of_sparse(dtype)
            return operation

    def run(self, equation: Callable[..., None], *arguments: Any) -> None:
        """Run an equation. It is compiled at its first call for each dtype."""
        self.prepare(equation, *arguments)()

    def prepare(self, equation: Callable[..., None], *arguments: Any) -> ReadyCall:
        """Return a call of an equation with these arguments.

        Ctrl-C cannot interrupt the compiled code, and is held back while it is compiled.
        """
        from fastbp_kernels.cpu.packed_arguments import PackedCall

        with uninterrupted():
            return PackedCall(_lowered(equation), *arguments)

    def input_operations(self, dtype: str) -> InputOperations:
        """Return the operations on inputs as compiled kernels."""
        from fastbp_kernels.cpu import loops as cpu

        with uninterrupted():
            return InputOperations(cpu.matmul_of_columns(dtype), cpu.sum_of_squares(dtype))

    def matmul_of_sparse(self, dtype: str) -> Operation:
        """Return the product with sparse inputs, a compiled kernel."""
        from fastbp_kernels.cpu import sparse_products

        with uninterrupted():
            operation: Operation = sparse_products.matmul_of_rows(dtype)
            return operation

    def for_each(self, work: Callable[[int], None], parts: Sequence[int], multiplications: int) -> None:
        """Call a function with each of the parts, on several threads unless the work is small."""
        parallel_parts.for_each(work, parts, multiplications)

    def on_one_thread(self, function: Callable[[], R], multiplications: int) -> R:
        """Call a function while BLAS uses one thread, if its number of threads matters for so small a product."""
        if multiplications <= parallel_parts.MIN_SPLIT:
            return function()
        return parallel_parts.on_one_blas_thread(function)

    def worker_context(self, plan: Plan, source: str, m: int, n: int) -> WorkerContext:
        """Return a context in which a second thread computes half of each kernel, if the work is large enough."""
        return worker_thread.worker_context(plan, source, m, n)

    def columns(self, rows: Array) -> Array:
        """Return the rows unchanged, because they are this backend's form of a block."""
        return rows

    def empty(self, shape: Sequence[int], dtype: str) -> Array:
        """Return a new, uninitialized C-ordered array."""
        return np.empty(shape, dtype)

    def upload(self, host: npt.NDArray[Any]) -> Array:
        """Return the array as read-only, C-ordered and aligned. Compiled code accepts only such arrays as data."""
        view = np.require(host, requirements=["C", "A"]).view(np.ndarray)  # a plain array, also for a memory map
        view.flags.writeable = False
        return view

    def to_host(self, array: Array) -> Array:
        """Return a copy."""
        return array.copy()

    def synchronize(self) -> None:
        """Do nothing, because compiled code runs synchronously."""

    def n_partial_sums(self, m: int) -> int:
        """Return 1, or 0 if there are no columns, because kernels write to the sums while they read columns."""
        return min(m, 1)

    def sum_over_ranks(self, comm: Any, block: Array) -> tuple[Operation, npt.NDArray[np.int64]]:
        """Return the operation as compiled code, which calls the function MPI_Allreduce itself."""
        from fastbp_kernels.cpu import all_reduce

        with uninterrupted():
            handles = all_reduce.handles(comm, block)
            operation: Operation = all_reduce.all_reduce(block.dtype.name, all_reduce.handle_size())
            return operation, handles


def _check_blas() -> None:
    from fastbp_kernels.cpu import blas_library

    try:
        blas_library.chosen()
    except blas_library.NoBLASError as error:
        raise InputError(str(error)) from error


@cache
def _lowered(equation: Callable[..., None]) -> Callable[..., None]:
    from numba.extending import register_jitable

    from fastbp_kernels.numba_private import INLINED_OPTIONS

    inlined = register_jitable(**INLINED_OPTIONS)
    lowered: Callable[..., None] = inlined(lower(equation, inlined))
    return lowered


@lru_cache(maxsize=64)
def _operations(formulas: Formulas, dtype: str, source: str, keep_z: bool) -> Operations:
    from fastbp_kernels.cpu import loops as cpu
    from fastbp_kernels.cpu import sparse_products
    from fastbp_kernels.cpu.all_reduce import no_sum

    with uninterrupted():  # the kernels may have to be compiled
        hidden = formulas.activations[:-1]
        rule, bias, step = formulas.output, formulas.bias, formulas.rule
        hadamards = [fused.hadamard(cpu, g, dtype) for g in hidden]
        # The last layer's `hadamard` is never called.
        hadamards.append(hadamards[-1] if hidden else fused.hadamard(cpu, identity, dtype))
        keeps_z = [keep_z or g.needs_z for g in hidden] + [keep_z or rule.needs_z]
        dense = cpu.matmul(dtype), cpu.add_outer(dtype)
        sparse = source == "sparse"
        first = (sparse_products.matmul(dtype), sparse_products.add_outer(dtype)) if sparse else dense
        products = [first, *[dense] * len(hidden)]
        layers = zip(keeps_z, products, formulas.activations, hadamards, strict=True)
        return Operations(
            layers=tuple(
                LayerOperations(keep, *two, fused.activate(cpu, g, dtype, bias=bias, keep_z=keep), h)
                for keep, two, g, h in layers
            ),
            gather_x=sparse_products.gather(dtype) if sparse else cpu.gather(source, dtype),
            gather=cpu.gather(dtype, dtype),
            matmul_transposed=cpu.matmul_transposed(dtype),
            add_column_sums=cpu.add_column_sums(dtype),
            optimizer_step=cpu.no_step(dtype) if step is None else fused.optimizer_step(cpu, step, dtype),
            output_error=fused.output_error(cpu, rule, dtype, weighted=formulas.weighted),
            add_cost=fused.add_cost(cpu, rule, dtype, weighted=formulas.weighted),
            add_squares=cpu.add_squares(dtype),
            sum_over_ranks=no_sum(dtype),
        )
