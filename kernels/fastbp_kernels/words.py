"""The words that formulas are written in: exp, expm1, log, log1p, sqrt, tanh, where, maximum.

On arrays, as here, a word means what the arrays' own namespace says. A compiled target puts its own meaning in a word's
place (`vector_math` on the CPU). Besides the words a formula may use arithmetic, comparisons, `abs` and numbers written
with a decimal point, which take the type of the arrays.
"""

from typing import Any

import numpy as np

Array = Any
"""An array of any namespace of the array API standard, or a Python number."""


def namespace(x: Array) -> Any:
    """Return the array module that an array belongs to.

    >>> namespace(np.zeros(3)).__name__
    'numpy'
    """
    if isinstance(x, (np.ndarray, np.generic)):
        return np
    from array_api_compat import array_namespace  # late: its import takes as long as NumPy's own

    return array_namespace(x)


def exp(x: Array) -> Array:
    """Return eˣ, element by element.

    >>> exp(0.0)
    1.0
    """
    return _elementwise("exp", x)


def expm1(x: Array) -> Array:
    """Return eˣ − 1, accurate where x is small.

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
    """Return ln(1 + x), accurate where x is small.

    >>> log1p(1e-20)
    1e-20
    """
    return _elementwise("log1p", x)


def sqrt(x: Array) -> Array:
    """Return the square root of x, NaN below 0.

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


def where(condition: Array, p: Array, q: Array) -> Array:
    """Return p where the condition holds and q elsewhere; both are computed.

    >>> import numpy as np
    >>> where(np.array([True, False]), 1.0, 2.0).tolist()
    [1.0, 2.0]
    """
    if isinstance(condition, bool):
        return p if condition else q
    xp = namespace(condition)
    dtype = next((v.dtype for v in (p, q) if hasattr(v, "dtype")), xp.float64)  # the wider, of two numbers
    p, q = (v if hasattr(v, "dtype") else xp.asarray(v, dtype=dtype, device=condition.device) for v in (p, q))
    return xp.where(condition, p, q)


def maximum(x: Array, floor: Array) -> Array:
    """Return the larger of x and a floor; NaN in x stays.

    >>> maximum(-1.0, 0.0)
    0.0
    """
    return where(x < floor, floor, x)


def _elementwise(name: str, x: Array) -> Array:
    if isinstance(x, float):
        return float(getattr(np, name)(x))
    return getattr(namespace(x), name)(x)
