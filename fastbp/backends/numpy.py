"""The compiled backend: the equations and the kernels through Numba, on NumPy arrays.

A block of columns is handed over as its transpose, a C-ordered (m, n) matrix: Numba would type a Fortran-ordered block
of one row or one column as C. The operations are C functions, arguments of the compiled equation like the arrays, so
that one compiled equation serves every network of its depth and dtype and is found in the cache by the next process.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.activations import Activation, identity, softmax
from fastbp.backends.operations import Backend, Formulas, LayerOperations, Operations
from fastbp.checks import InputError
from fastbp.costs import OutputRule
from fastbp.optimizers import Rule
from fastbp_kernels.lowering import FormulaError, lower

Array = npt.NDArray[Any]


class CompiledNumPy(Backend):
    """The equations compiled for the CPU, over fused kernels and BLAS."""

    name = kind = "numpy"
    xp = np

    def operations(self, formulas: Formulas, dtype: str, source: str, *, keep_z: bool = False) -> Operations:
        """Return compiled kernels; raises `InputError` with the name of a formula that Numba cannot compile."""
        from fastbp_kernels import cpu

        hidden = formulas.activations[:-1]
        rule, bias = formulas.output, formulas.bias
        hadamards = [_hadamard(g, dtype) for g in hidden]
        hadamards.append(hadamards[-1] if hidden else _hadamard(identity, dtype))  # the last layer's is never called
        keeps_z = [keep_z or g.needs_z for g in hidden] + [keep_z or rule.needs_z]
        layers = zip(keeps_z, formulas.activations, hadamards, strict=True)
        return Operations(
            layers=tuple(LayerOperations(keep, _activate(g, dtype, bias, keep), h) for keep, g, h in layers),
            gather_x=cpu.gather(source, dtype),
            gather=cpu.gather(dtype, dtype),
            affine=cpu.affine(dtype),
            backproject=cpu.backproject(dtype),
            add_outer=cpu.add_outer(dtype),
            add_columns=cpu.add_columns(dtype),
            move=_move(formulas.rule, dtype),
            output_error=_output_error(rule, dtype, weighted=formulas.weighted),
            add_cost=_add_cost(rule, dtype, weighted=formulas.weighted),
        )

    def run(self, equation: Callable[..., None], *arguments: Any) -> None:
        """Carry out an equation, compiled at its first call for each depth and dtype."""
        _compiled(equation)(*arguments)

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


@cache
def _compiled(equation: Callable[..., None]) -> Callable[..., None]:
    from numba.extending import register_jitable

    from fastbp_kernels.caching import compiled_by_need

    return compiled_by_need(lower(equation, register_jitable))


def _activate(activation: Activation, dtype: str, bias: bool, keep_z: bool) -> Any:
    from fastbp_kernels import cpu

    if activation == softmax:
        return cpu.softmax(dtype, bias=bias)
    with _named(f"activation {activation.name!r}"):
        return cpu.activate(activation.f, dtype, bias=bias, keep_z=keep_z)


def _hadamard(activation: Activation, dtype: str) -> Any:
    from fastbp_kernels import cpu

    with _named(f"activation {activation.name!r}"):
        return cpu.hadamard(activation.prime, dtype)


def _move(rule: Rule | None, dtype: str) -> Any:
    from fastbp_kernels import cpu

    return cpu.stay(dtype) if rule is None else cpu.move(rule.formula, dtype, two=rule.moments == 2)


def _output_error(rule: OutputRule, dtype: str, *, weighted: bool) -> Any:
    from fastbp_kernels import cpu

    try:
        return cpu.output_error(rule.error, dtype, weighted=weighted)
    except FormulaError as error:
        with _named(f"activation {rule.activation.name!r}"):
            cpu.blame(rule.activation.prime, 2, dtype)
        with _named(f"cost {rule.cost_function.name!r}"):
            cpu.blame(rule.cost_function.prime, 2, dtype)
        raise InputError(f"cost {rule.cost_function.name!r}: {error}") from error


def _add_cost(rule: OutputRule, dtype: str, *, weighted: bool) -> Any:
    from fastbp_kernels import cpu

    if rule.activation == softmax:
        return cpu.add_log_likelihood(dtype, weighted=weighted)
    try:
        return cpu.add_cost(rule.cost, dtype, weighted=weighted)
    except FormulaError as error:
        with _named(f"cost {rule.cost_function.name!r}"):
            cpu.blame(rule.cost_function.f, 2, dtype)
        raise InputError(f"cost {rule.cost_function.name!r}: {error}") from error


@contextmanager
def _named(owner: str) -> Iterator[None]:
    """Say whose formula it is that cannot be compiled."""
    try:
        yield
    except FormulaError as error:
        raise InputError(f"{owner}: {error}") from error
