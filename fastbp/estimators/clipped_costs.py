"""The costs with which the estimators decide when to stop. They are those of scikit-learn.

The gradient is the same as with the costs of `fastbp.costs`. But probabilities are clipped, so that the cost stays
finite, and the cost of "poisson" is half of the deviance, which is 0 for a perfect prediction.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from fastbp.costs import OutputRule
from fastbp.math import log, where
from fastbp_kernels.words import Array

Formula = Callable[[Array, Array, Array], Array]


def clipped(rule: OutputRule, dtype: str) -> OutputRule:
    """Return the output rule with scikit-learn's cost C_x in place of the cost of the rule.

    >>> from fastbp.costs import log_likelihood, output_rule
    >>> from fastbp.activations import softmax
    >>> round(float(clipped(output_rule(softmax, log_likelihood), "float64").cost(0.0, np.float64(0.0), 1.0)), 2)
    36.04
    """
    make = _COSTS.get(rule.cost_function.name)
    if make is None:
        return rule
    return OutputRule(rule.activation, rule.cost_function, make(dtype), rule.error, rule.activation.needs_z)


@cache
def _log_likelihood(dtype: str) -> Formula:
    low, high = _bounds(dtype)

    def cost(z: Array, a: Array, y: Array) -> Array:
        return -y * log(where(a > high, high, where(a < low, low, a)))

    return cost


@cache
def _cross_entropy(dtype: str) -> Formula:
    low, high = _bounds(dtype)

    def cost(z: Array, a: Array, y: Array) -> Array:
        p = where(a > high, high, where(a < low, low, a))
        return -y * log(p) - (1.0 - y) * log(1.0 - p)

    return cost


@cache
def _poisson(dtype: str) -> Formula:
    def cost(z: Array, a: Array, y: Array) -> Array:
        return where(y == 0.0, 0.0 * (y / a), y * log(y / a)) - y + a  # NaN for y < 0 and for y = a = 0

    return cost


def _bounds(dtype: str) -> tuple[float, float]:
    """Return the smallest and the largest probability."""
    epsilon = float(np.finfo(dtype).eps)
    return epsilon, 1.0 - epsilon


_COSTS = {"log-likelihood": _log_likelihood, "cross-entropy": _cross_entropy, "poisson": _poisson}
