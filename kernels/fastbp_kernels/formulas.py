"""Cache kernels of the CPU and of CUDA by their formulas, and find out why a formula cannot be compiled."""

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
"""Number of kernels kept for each factory, that is, for each function that makes kernels.

The kernels of one activation take 0.3 MB. Loading one kernel takes 10 ms."""


class _Comparable:
    """A wrapper around a formula. Two wrappers are equal if their formulas have the same fingerprint."""

    def __init__(self, formula: Formula) -> None:
        self.formula, self._fingerprint = formula, fingerprint(formula)

    def __hash__(self) -> int:
        return hash(self._fingerprint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Comparable) and self._fingerprint == other._fingerprint


def cache_by_formula(factory: Formula) -> Any:
    """Return a factory that keeps the kernels it has made. For an edited formula, it makes a new kernel.

    A factory is a function that makes a kernel from a formula and a dtype.
    """

    @lru_cache(maxsize=MAX_KERNELS)
    def make(formula: _Comparable, dtype: str, **options: int) -> Kernel:
        return factory(formula.formula, dtype, **options)

    @wraps(factory)
    def cached(formula: Formula, dtype: str, **options: int) -> Kernel:
        return make(_Comparable(formula), dtype, **options)

    vars(cached)["cache_clear"] = make.cache_clear
    return cached


def diagnose_formula(formula: Formula, arity: int, dtype: str, results: int = 1) -> None:
    """Raise `FormulaError` if a formula does not compile by itself, or does not return real numbers of type `dtype`.

    `arity` is the number of arguments of the formula. `results` is the number of values that it returns. Two or more
    are returned as a tuple.
    """
    real = getattr(types, dtype)
    lowered = lower(formula, jitable, words_on_cpu(dtype), np.dtype(dtype).type)
    location = f"{formula.__qualname__} ({formula.__code__.co_filename}, line {formula.__code__.co_firstlineno})"
    defaults = (getattr(lowered, "__defaults__", None) or ())[: max(0, formula.__code__.co_argcount - arity)]
    try:
        compiled = njit(**MATH)(lowered)
        compiled.compile((real,) * arity + tuple(types.Omitted(value) for value in defaults))
    except Exception as error:
        raise FormulaError(f"{location} cannot be compiled: {_reason(error)}") from error
    returned = compiled.nopython_signatures[0].return_type
    if results > 1 and not (isinstance(returned, types.BaseTuple) and len(returned) == results):
        raise FormulaError(f"{location} must return a tuple of {results} numbers, got {returned}")
    for result in returned if results > 1 else (returned,):
        if not isinstance(result, (types.Float, types.Integer, types.Boolean)):
            expected = "real numbers" if results > 1 else "a real number"
            raise FormulaError(f"{location} must return {expected}, got {result}")
        if isinstance(result, types.Float) and result != real:
            advice = "write numbers with a decimal point (1.0, not 1), and give constants a name (pi = math.pi)"
            raise FormulaError(f"{location} must compute in {dtype}, got {result}: {advice}")


def _reason(error: Exception) -> str:
    """Return the reason from Numba's long message. It is the first line after the last "Failed in … pipeline (…)"."""
    innermost = re.split(r"Failed in \w+ mode pipeline \(.*\)", str(error))[-1]
    return next((line.strip() for line in innermost.splitlines() if line.strip()), type(error).__name__)
