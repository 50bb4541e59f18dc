"""Compile the formulas of a network to fused kernels, for the NumPy and the CuPy backend.

A fused kernel is a compiled function that applies several formulas in one pass over its arrays. If a formula cannot be
compiled, the error names the activation, the cost or the optimizer. The argument `kernels` is the module that compiles
the formulas, either `fastbp_kernels.cpu.loops` or `fastbp_kernels.cuda.kernels`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastbp.activations import Activation, softmax
from fastbp.costs import OutputRule, log_likelihood, output_rule
from fastbp.errors import InputError, brief
from fastbp.optimizers import UpdateRule
from fastbp_kernels.specialize import FormulaError

Kernel = Any


def activate(kernels: Any, activation: Activation, dtype: str, *, bias: bool, keep_z: bool) -> Kernel:
    """Return the kernel that computes a = σ(z + b); raises `InputError` if σ cannot be compiled."""
    if activation == softmax:
        return kernels.softmax(dtype, bias=bias)
    with _naming_owner(f"activation {brief(activation.name)}"):
        return kernels.activate(activation.f, dtype, bias=bias, keep_z=keep_z)


def hadamard(kernels: Any, activation: Activation, dtype: str, **options: bool) -> Kernel:
    """Return the kernel that computes δ ← δ ⊙ σ′; raises `InputError` if σ′ cannot be compiled."""
    with _naming_owner(f"activation {brief(activation.name)}"):
        return kernels.hadamard(activation.prime, dtype, **options)


def output_error(kernels: Any, rule: OutputRule, dtype: str, **options: bool) -> Kernel:
    """Return the kernel that computes the output error (BP1); raises `InputError` if a formula cannot be compiled."""
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
    """Return the kernel that adds the costs C_x to a total; raises `InputError` if the cost cannot be compiled."""
    from fastbp_kernels.formulas import diagnose_formula

    if rule == output_rule(softmax, log_likelihood):
        return kernels.add_log_likelihood(dtype, weighted=weighted)
    try:
        return kernels.add_cost(rule.cost, dtype, weighted=weighted)
    except FormulaError as error:
        with _naming_owner(f"cost {brief(rule.cost_function.name)}"):
            diagnose_formula(rule.cost_function.f, 2, dtype)
        raise InputError(f"cost {brief(rule.cost_function.name)}: {error}") from error


def optimizer_step(kernels: Any, rule: UpdateRule, dtype: str) -> Kernel:
    """Return the kernel of an optimizer's step; raises `InputError` if its formula cannot be compiled."""
    with _naming_owner(f"optimizer {brief(rule.name)}"):
        return kernels.optimizer_step(rule.formula, dtype, state=rule.state, constants=rule.constants)


@contextmanager
def _naming_owner(owner: str) -> Iterator[None]:
    """Turn a `FormulaError` within the block into an `InputError` that names the formula's owner."""
    try:
        yield
    except FormulaError as error:
        raise InputError(f"{owner}: {error}") from error
