"""The compiled backend: equations and kernels compiled by Numba, on NumPy arrays.

A kernel is a compiled function that loops over its arrays. A block of columns has one column per example. It is passed
as its transpose, a C-ordered (m, n) matrix, because Numba would mistake a Fortran-ordered block of one row or one
column for a C-ordered block. The operations, such as a matrix product, are C functions. Like the arrays, they are
passed to the compiled equation as arguments. So one compiled equation serves all networks of the same depth and dtype,
and the next process finds this equation in the cache.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.activations import identity
from fastbp.backends import forks  # noqa: F401 (makes forks wait for the imports and compilations here)
from fastbp.backends import kernels_of_formulas as fused
from fastbp.backends.interrupts import uninterrupted
from fastbp.backends.numpy import worker_thread
from fastbp.backends.numpy.threads import limit_from_environment
from fastbp.errors import InputError
from fastbp.operations import Backend, Formulas, LayerOperations, Operations, Plan, WorkerContext
from fastbp.optimizers import UpdateRule
from fastbp_kernels.specialize import lower

Array = npt.NDArray[Any]


class CompiledNumPy(Backend):
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
        from fastbp_kernels.cpu import loops as cpu

        with uninterrupted():  # the kernels may have to be compiled
            hidden = formulas.activations[:-1]
            rule, bias = formulas.output, formulas.bias
            hadamards = [fused.hadamard(cpu, g, dtype) for g in hidden]
            # The last layer's `hadamard` is never called.
            hadamards.append(hadamards[-1] if hidden else fused.hadamard(cpu, identity, dtype))
            keeps_z = [keep_z or g.needs_z for g in hidden] + [keep_z or rule.needs_z]
            layers = zip(keeps_z, formulas.activations, hadamards, strict=True)
            return Operations(
                layers=tuple(
                    LayerOperations(keep, fused.activate(cpu, g, dtype, bias=bias, keep_z=keep), h)
                    for keep, g, h in layers
                ),
                gather_x=cpu.gather(source, dtype),
                gather=cpu.gather(dtype, dtype),
                matmul=cpu.matmul(dtype),
                matmul_transposed=cpu.matmul_transposed(dtype),
                add_outer=cpu.add_outer(dtype),
                add_column_sums=cpu.add_column_sums(dtype),
                optimizer_step=_optimizer_step(formulas.rule, dtype),
                output_error=fused.output_error(cpu, rule, dtype, weighted=formulas.weighted),
                add_cost=fused.add_cost(cpu, rule, dtype, weighted=formulas.weighted),
            )

    def run(self, equation: Callable[..., None], *arguments: Any) -> None:
        """Run an equation. It is compiled at its first call for each depth of the network and each dtype.

        Ctrl-C is held back until the equation returns. Numba runs Python code to inspect the arguments, and would
        replace a KeyboardInterrupt from this code by a TypeError.
        """
        with uninterrupted():
            _compiled(equation)(*arguments)

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


def _check_blas() -> None:
    from fastbp_kernels.cpu import blas_library

    try:
        blas_library.chosen()
    except blas_library.NoBLASError as error:
        raise InputError(str(error)) from error


@cache
def _compiled(equation: Callable[..., None]) -> Callable[..., None]:
    from numba.extending import register_jitable

    from fastbp_kernels.cpu.jit_cache import lazy_jit
    from fastbp_kernels.numba_private import INLINED_OPTIONS

    return lazy_jit(lower(equation, register_jitable(**INLINED_OPTIONS)))


def _optimizer_step(rule: UpdateRule | None, dtype: str) -> Any:
    from fastbp_kernels.cpu import loops as cpu

    return cpu.no_step(dtype) if rule is None else cpu.optimizer_step(rule.formula, dtype, two=rule.moments == 2)
