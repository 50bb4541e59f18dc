"""The two formulas that take whole columns, on arrays of any library: softmax, and its log-likelihood cost."""

from typing import Any

from fastbp_kernels.words import exp, log, namespace

Array = Any


def softmax(z: Array) -> Array:
    """Return e^z / Σ e^z over each column of z, shape (n, m).

    >>> import numpy as np
    >>> softmax(np.array([[1000.0], [1000.0]])).ravel().tolist()
    [0.5, 0.5]
    """
    xp = namespace(z)
    e = exp(z - xp.max(z, axis=0, keepdims=True))  # shifted, so that exp does not overflow
    return e / xp.sum(e, axis=0, keepdims=True)


def log_likelihood(z: Array, y: Array) -> Array:
    """Return −y ln a for a = softmax(z), shape (n, m). It is computed from z because a may have underflowed to 0.

    >>> import numpy as np
    >>> log_likelihood(np.array([[1000.0], [0.0]]), np.array([[0.0], [1.0]])).ravel().tolist()
    [0.0, 1000.0]
    """
    xp = namespace(z)
    shifted = z - xp.max(z, axis=0, keepdims=True)
    return y * (log(xp.sum(exp(shifted), axis=0, keepdims=True)) - shifted)
