"""Cache kernels by the formulas they are made of, and diagnose formulas that cannot be compiled, for all targets."""

import re
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import numpy as np
from numba import njit, types

from fastbp_kernels.cpu.vector_math import MATH, jitable, words_on_cpu
from fastbp_kernels.specialize import FormulaError, fingerprint, lower

Formula = Callable[..., Any]
Kernel = Any


MAX_KERNELS = 32
"""Number of kernels that each factory keeps. The kernels of one activation take 0.3 MB; loading one takes 10 ms."""


class _Comparable:
    """A formula that equals every formula with the same fingerprint."""

    def __init__(self, formula: Formula) -> None:
        self.formula, self._fingerprint = formula, fingerprint(formula)

    def __hash__(self) -> int:
        return hash(self._fingerprint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Comparable) and self._fingerprint == other._fingerprint


def cache_by_formula(factory: Formula) -> Any:
    """Cache the kernels of a factory by what their formulas compute, so that an edited formula gives a new kernel."""

    @lru_cache(maxsize=MAX_KERNELS)
    def make(formula: _Comparable, dtype: str, **options: bool) -> Kernel:
        return factory(formula.formula, dtype, **options)

    @wraps(factory)
    def cached(formula: Formula, dtype: str, **options: bool) -> Kernel:
        return make(_Comparable(formula), dtype, **options)

    vars(cached)["cache_clear"] = make.cache_clear
    return cached


def diagnose_formula(formula: Formula, arity: int, dtype: str) -> None:
    """Raise `FormulaError` if a formula alone does not compile, or does not return a real number of its dtype."""
    real = getattr(types, dtype)
    lowered = lower(formula, jitable, words_on_cpu(dtype), np.dtype(dtype).type)
    location = f"{formula.__qualname__} ({formula.__code__.co_filename}, line {formula.__code__.co_firstlineno})"
    defaults = (getattr(lowered, "__defaults__", None) or ())[: max(0, formula.__code__.co_argcount - arity)]
    try:
        compiled = njit(**MATH)(lowered)
        compiled.compile((real,) * arity + tuple(types.Omitted(value) for value in defaults))
    except Exception as error:
        raise FormulaError(f"{location} cannot be compiled: {_reason(error)}") from error
    result = compiled.nopython_signatures[0].return_type
    if not isinstance(result, (types.Float, types.Integer, types.Boolean)):
        raise FormulaError(f"{location} must return a real number, got {result}")
    if isinstance(result, types.Float) and result != real:
        advice = "write numbers with a decimal point (1.0, not 1), and give constants a name (pi = math.pi)"
        raise FormulaError(f"{location} must compute in {dtype}, got {result}: {advice}")


def _reason(error: Exception) -> str:
    """Return the line of Numba's long message that gives the reason: it follows the innermost "Failed in …"."""
    innermost = re.split(r"Failed in \w+ mode pipeline \(.*\)", str(error))[-1]
    return next((line.strip() for line in innermost.splitlines() if line.strip()), type(error).__name__)
