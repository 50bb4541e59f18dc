"""The two formulas that need whole columns: softmax and the log-likelihood cost. They take arrays of any library."""

from typing import Any

from fastbp_kernels.words import exp, log, namespace

Array = Any


def softmax(z: Array) -> Array:
    """Return e^z / Σ e^z, where the sum is over each column of z. The shape of z is (n, m).

    >>> import numpy as np
    >>> softmax(np.array([[1000.0], [1000.0]])).ravel().tolist()
    [0.5, 0.5]
    """
    xp = namespace(z)
    e = exp(z - xp.max(z, axis=0, keepdims=True))  # z is shifted, so that exp does not overflow
    return e / xp.sum(e, axis=0, keepdims=True)


def log_likelihood(z: Array, y: Array) -> Array:
    """Return −y ln softmax(z), element by element. The shape of z and y is (n, m).

    The cost is computed from z, because softmax(z) may have underflowed to 0.

    >>> import numpy as np
    >>> log_likelihood(np.array([[1000.0], [0.0]]), np.array([[0.0], [1.0]])).ravel().tolist()
    [0.0, 1000.0]
    """
    xp = namespace(z)
    shifted = z - xp.max(z, axis=0, keepdims=True)
    return y * (log(xp.sum(exp(shifted), axis=0, keepdims=True)) - shifted)
