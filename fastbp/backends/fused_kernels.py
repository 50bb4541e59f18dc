"""Fused kernels of a network's formulas, for NumPy and CuPy alike; what cannot be compiled is blamed by its name.

`kernels` is the module that makes them, `fastbp_kernels.cpu.loops` or `fastbp_kernels.cuda.kernels`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastbp.activations import Activation, softmax
from fastbp.costs import OutputRule
from fastbp.errors import InputError, brief
from fastbp_kernels.specialize import FormulaError

Kernel = Any


def activate(kernels: Any, activation: Activation, dtype: str, *, bias: bool, keep_z: bool) -> Kernel:
    """Return the kernel a = σ(z + b); raises `InputError` if σ cannot be compiled."""
    if activation == softmax:
        return kernels.softmax(dtype, bias=bias)
    with _naming_owner(f"activation {brief(activation.name)}"):
        return kernels.activate(activation.f, dtype, bias=bias, keep_z=keep_z)


def hadamard(kernels: Any, activation: Activation, dtype: str, **options: bool) -> Kernel:
    """Return the kernel δ ← δ ⊙ σ′; raises `InputError` if σ′ cannot be compiled."""
    with _naming_owner(f"activation {brief(activation.name)}"):
        return kernels.hadamard(activation.prime, dtype, **options)


def output_error(kernels: Any, rule: OutputRule, dtype: str, **options: bool) -> Kernel:
    """Return the kernel of (BP1); raises `InputError` if one of its formulas cannot be compiled."""
    from fastbp_kernels.formulas import diagnose_formula

    try:
        return kernels.output_error(rule.error, dtype, **options)
    except FormulaError as error:
        with _naming_owner(f"activation {brief(rule.activation.name)}"):
            diagnose_formula(rule.activation.prime, 2, dtype)
        with _naming_owner(f"cost {brief(rule.cost_function.name)}"):
            diagnose_formula(rule.cost_function.prime, 2, dtype)
        raise InputError(f"cost {brief(rule.cost_function.name)}: {error}") from error


def add_cost(kernels: Any, rule: OutputRule, dtype: str, *, weighted: bool) -> Kernel:
    """Return the kernel that adds up C_x; raises `InputError` if its formula cannot be compiled."""
    from fastbp_kernels.formulas import diagnose_formula

    if rule.activation == softmax:
        return kernels.add_log_likelihood(dtype, weighted=weighted)
    try:
        return kernels.add_cost(rule.cost, dtype, weighted=weighted)
    except FormulaError as error:
        with _naming_owner(f"cost {brief(rule.cost_function.name)}"):
            diagnose_formula(rule.cost_function.f, 2, dtype)
        raise InputError(f"cost {brief(rule.cost_function.name)}: {error}") from error


@contextmanager
def _naming_owner(owner: str) -> Iterator[None]:
    """Say whose formula it is that cannot be compiled."""
    try:
        yield
    except FormulaError as error:
        raise InputError(f"{owner}: {error}") from error
