"""What every compiled target needs of formulas: kernels kept by what they compute, and blame for what does not."""

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


KEPT = 32
"""Number of kernels that each factory keeps. An activation takes 0.3 MB of them; to load one anew takes 10 ms."""


class _Comparable:
    """A formula that is equal to every formula that computes the same."""

    def __init__(self, formula: Formula) -> None:
        self.formula, self._fingerprint = formula, fingerprint(formula)

    def __hash__(self) -> int:
        return hash(self._fingerprint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Comparable) and self._fingerprint == other._fingerprint


def cache_by_formula(factory: Formula) -> Any:
    """Keep the kernels that a factory made last by what their formulas compute: one edited in a session is another."""

    @lru_cache(maxsize=KEPT)
    def made(formula: _Comparable, dtype: str, **options: bool) -> Kernel:
        return factory(formula.formula, dtype, **options)

    @wraps(factory)
    def kept(formula: Formula, dtype: str, **options: bool) -> Kernel:
        return made(_Comparable(formula), dtype, **options)

    vars(kept)["cache_clear"] = made.cache_clear
    return kept


def diagnose_formula(formula: Formula, arity: int, dtype: str) -> None:
    """Raise `FormulaError` if a formula does not compile by itself, or computes in another type than its arguments'."""
    real = getattr(types, dtype)
    lowered = lower(formula, jitable, words_on_cpu(dtype), np.dtype(dtype).type)
    place = f"{formula.__qualname__} ({formula.__code__.co_filename}, line {formula.__code__.co_firstlineno})"
    defaults = (getattr(lowered, "__defaults__", None) or ())[: max(0, formula.__code__.co_argcount - arity)]
    try:
        compiled = njit(**MATH)(lowered)
        compiled.compile((real,) * arity + tuple(types.Omitted(value) for value in defaults))
    except Exception as error:
        raise FormulaError(f"{place} cannot be compiled: {_reason(error)}") from error
    result = compiled.nopython_signatures[0].return_type
    if not isinstance(result, (types.Float, types.Integer, types.Boolean)):
        raise FormulaError(f"{place} gives {result} where a real number is wanted")
    if isinstance(result, types.Float) and result != real:
        advice = "write numbers with a decimal point (1.0, not 1), and name constants (pi = math.pi)"
        raise FormulaError(f"{place} computes in {result} where {dtype} is wanted: {advice}")


def _reason(error: Exception) -> str:
    """Return, of Numba's many lines, the one that says what is wrong, which follows the innermost "Failed in …"."""
    innermost = re.split(r"Failed in \w+ mode pipeline \(.*\)", str(error))[-1]
    return next((line.strip() for line in innermost.splitlines() if line.strip()), type(error).__name__)
