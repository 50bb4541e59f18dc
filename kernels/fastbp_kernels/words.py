"""The functions to write formulas with: exp, expm1, log, log1p, sqrt, tanh, erf, where, maximum.

In this module, they work on numbers and on arrays of any library. For an array, they call the functions of its library.
In compiled code, `specialize` replaces them by other functions (on the CPU, by the functions of `cpu.vector_math`). A
formula may also use arithmetic, comparisons, `abs`, and numbers with a decimal point. These numbers are converted to
the dtype of the arrays.
"""

import math
from typing import Any

import numpy as np

from fastbp_kernels import erf_series

Array = Any
"""An array of any library with an array API namespace, or a Python number."""


def namespace(x: Array) -> Any:
    """Return the array API namespace of an array, such as the module `numpy`.

    >>> namespace(np.zeros(3)).__name__
    'numpy'
    """
    if isinstance(x, (np.ndarray, np.generic)):
        return np
    from array_api_compat import array_namespace  # imported late: it takes as long as NumPy

    return array_namespace(x)


def exp(x: Array) -> Array:
    """Return eˣ, element-wise.

    >>> exp(0.0)
    1.0
    """
    return _elementwise("exp", x)


def expm1(x: Array) -> Array:
    """Return eˣ − 1. The result is accurate for small x.

    >>> expm1(1e-20)
    1e-20
    """
    return _elementwise("expm1", x)


def log(x: Array) -> Array:
    """Return the natural logarithm of x.

    >>> log(1.0)
    0.0
    """
    return _elementwise("log", x)


def log1p(x: Array) -> Array:
    """Return ln(1 + x). The result is accurate for small x.

    >>> log1p(1e-20)
    1e-20
    """
    return _elementwise("log1p", x)


def sqrt(x: Array) -> Array:
    """Return the square root of x, or NaN where x < 0.

    >>> sqrt(4.0)
    2.0
    """
    return _elementwise("sqrt", x)


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent of x.

    >>> tanh(0.0)
    0.0
    """
    return _elementwise("tanh", x)


def erf(x: Array) -> Array:
    """Return the error function of x, (2/√π) ∫₀ˣ e^(−t²) dt.

    SciPy computes it for NumPy arrays. If an array's library has no erf, a formula with expm1 is used. The error of
    this formula is at most 4 units in the last place, if the library's expm1 is accurate.

    >>> erf(0.0)
    0.0
    """
    if isinstance(x, float):
        return math.erf(x)
    xp = namespace(x)
    if xp is np:
        from scipy.special import erf as erf_of  # imported late, because it takes 0.1 s

        return erf_of(x)
    return xp.erf(x) if hasattr(xp, "erf") else _erf_by_formula(x)


def _erf_by_formula(x: Array) -> Array:
    limit, coefficients = erf_series.FLOAT64
    distance = where(abs(x) > limit, limit, abs(x))
    p = 0.0
    for c in reversed(coefficients):
        p = p * distance + c
    e = expm1(-distance * p)
    return where(x > 0.0, -e, where(x < 0.0, e, x))  # x itself for NaN, 0 and −0


def where(condition: Array, p: Array, q: Array) -> Array:
    """Return p where the condition holds, and q elsewhere. Both p and q are computed everywhere.

    >>> import numpy as np
    >>> where(np.array([True, False]), 1.0, 2.0).tolist()
    [1.0, 2.0]
    """
    if isinstance(condition, bool):
        return p if condition else q
    xp = namespace(condition)
    dtype = next((v.dtype for v in (p, q) if hasattr(v, "dtype")), xp.float64)  # float64 if both are numbers
    p, q = (v if hasattr(v, "dtype") else xp.asarray(v, dtype=dtype, device=condition.device) for v in (p, q))
    return xp.where(condition, p, q)


def maximum(x: Array, floor: Array) -> Array:
    """Return the larger of x and `floor`. Where x is NaN, the result is NaN.

    >>> maximum(-1.0, 0.0)
    0.0
    """
    return where(x < floor, floor, x)


def _elementwise(name: str, x: Array) -> Array:
    if isinstance(x, float):
        return float(getattr(np, name)(x))
    return getattr(namespace(x), name)(x)
