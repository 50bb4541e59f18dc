"""The compiled backend: the equations and the kernels through Numba, on NumPy arrays.

A block of columns is handed over as its transpose, a C-ordered (m, n) matrix: Numba would type a Fortran-ordered block
of one row or one column as C. The operations are C functions, arguments of the compiled equation like the arrays, so
that one compiled equation serves every network of its depth and dtype and is found in the cache by the next process.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.activations import identity
from fastbp.backends import forks  # noqa: F401 (a fork waits for what is imported and compiled here)
from fastbp.backends import fused_kernels as fused
from fastbp.backends.interrupts import uninterrupted
from fastbp.backends.numpy.threads import obey_environment
from fastbp.errors import InputError
from fastbp.operations import Backend, Formulas, LayerOperations, Operations, Plan, WorkerContext
from fastbp.optimizers import UpdateRule
from fastbp_kernels.specialize import lower

Array = npt.NDArray[Any]


class CompiledNumPy(Backend):
    """The equations compiled for the CPU, over fused kernels and BLAS."""

    name = kind = "numpy"
    xp = np

    def __init__(self) -> None:
        if os.environ.get("FASTBP_BLAS"):
            _check_blas()
        obey_environment()  # when MKL has been loaded, or the limit would not reach it

    def operations(self, formulas: Formulas, dtype: str, source: str, *, keep_z: bool = False) -> Operations:
        """Return compiled kernels; raises `InputError` with the name of a formula that Numba cannot compile."""
        from fastbp_kernels.cpu import loops as cpu

        with uninterrupted():  # they may have to be compiled
            hidden = formulas.activations[:-1]
            rule, bias = formulas.output, formulas.bias
            hadamards = [fused.hadamard(cpu, g, dtype) for g in hidden]
            hadamards.append(
                hadamards[-1] if hidden else fused.hadamard(cpu, identity, dtype)
            )  # the last layer's is never called
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
                optimizer_step=_move(formulas.rule, dtype),
                output_error=fused.output_error(cpu, rule, dtype, weighted=formulas.weighted),
                add_cost=fused.add_cost(cpu, rule, dtype, weighted=formulas.weighted),
            )

    def run(self, equation: Callable[..., None], *arguments: Any) -> None:
        """Carry out an equation, compiled at its first call for each depth and dtype.

        Ctrl-C waits until that is done: Numba calls Python while it looks at the arguments, and would replace a
        KeyboardInterrupt from there by a TypeError.
        """
        with uninterrupted():
            _compiled(equation)(*arguments)

    def worker_context(self, plan: Plan, source: str, m: int, n: int) -> WorkerContext:
        """Return a context in which a second thread takes its halves, where that is worth its while."""
        from fastbp.backends.numpy import second_thread

        return second_thread.worker_context(plan, source, m, n)

    def columns(self, rows: Array) -> Array:
        """Return the rows as they are."""
        return rows

    def empty(self, shape: Sequence[int], dtype: str) -> Array:
        """Return a new C-ordered array."""
        return np.empty(shape, dtype)

    def upload(self, host: npt.NDArray[Any]) -> Array:
        """Return a read-only view, C-ordered and aligned: compiled code knows data by that one type."""
        view = np.require(host, requirements=["C", "A"]).view(np.ndarray)  # of a memory map, too
        view.flags.writeable = False
        return view

    def to_host(self, array: Array) -> Array:
        """Return a copy."""
        return array.copy()

    def synchronize(self) -> None:
        """Do nothing: compiled code is done when it returns."""


def _check_blas() -> None:
    from fastbp_kernels.cpu import blas

    try:
        blas.chosen()
    except blas.NoBLASError as error:
        raise InputError(str(error)) from error


@cache
def _compiled(equation: Callable[..., None]) -> Callable[..., None]:
    from numba.extending import register_jitable

    from fastbp_kernels.compile_events import INLINED_OPTIONS
    from fastbp_kernels.cpu.jit_cache import lazy_jit

    return lazy_jit(lower(equation, register_jitable(**INLINED_OPTIONS)))


def _move(rule: UpdateRule | None, dtype: str) -> Any:
    from fastbp_kernels.cpu import loops as cpu

    return cpu.no_step(dtype) if rule is None else cpu.optimizer_step(rule.formula, dtype, two=rule.moments == 2)
