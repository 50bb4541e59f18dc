"""Proof for a network at hand that its gradient is the cost's: backpropagation against finite differences."""

from typing import Any

import numpy as np

from fastbp.network import Network
from fastbp_kernels.words import namespace

Array = Any
_STEP = 1e-5  # near the cube root of float64's precision, where rounding and truncation are both about 1e-10


class GradientError(ArithmeticError):
    """Backpropagation and finite differences disagree; the message says where and by how much."""


def check_gradients(net: Network, x: Array, y: Array, *, tolerance: float = 1e-6) -> float:
    """Compare ∂C/∂W and ∂C/∂b of a network with central differences of its cost; return the largest relative error.

    On a copy in float64, for each W and b along one random direction v of length 1, ⟨∇C, v⟩ is compared with
    (C(θ + hv) − C(θ − hv)) / 2h. The difference counts relative to the larger of the two, or to |∇C|/√N, which is what
    one random direction sees of a gradient of N entries, or to what can be told from the rounding of C. `x` are
    columns, `y` targets or labels as everywhere.

    Raises `GradientError` where the error exceeds the tolerance. Where an activation has a kink, as relu has, a step
    across it is an error too; other data then pass.

    >>> check_gradients(Network([4, 3, 2], rng=0), [[0.1], [0.2], [0.3], [0.4]], [1]) < 1e-7
    True
    """
    net = net.to(dtype="float64")
    nabla_b, nabla_w = net.backprop(x, y)
    outputs = net.feedforward(x)
    examples = 1 if outputs.ndim == 1 else outputs.shape[1]
    rng = np.random.default_rng(0)
    worst = 0.0
    for kind, parameters, nablas in (("weights", net.weights, nabla_w), ("biases", net.biases, nabla_b)):
        for l, (theta, nabla) in enumerate(zip(parameters, nablas, strict=True)):
            with net._plan.backend.current():
                expected, measured, scale, rounding = _along_a_direction(net, theta, nabla / examples, x, y, rng)
            least = max(rounding / tolerance, np.finfo(float).tiny)  # of a gradient that rounding lets be told from 0
            error = abs(expected - measured) / max(abs(expected), abs(measured), scale, least)
            if not error <= tolerance:
                raise GradientError(
                    f"the gradient by {kind}[{l}] is {expected:.10g} along a random direction, and central differences "
                    f"of the cost give {measured:.10g}: relative error {error:.1e}, tolerance {tolerance:.1e}"
                )
            worst = max(worst, error)
    return worst


def _along_a_direction(
    net: Network, theta: Array, nabla: Array, x: Array, y: Array, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Return ⟨∇C, v⟩, the central difference of C along v, |∇C|/√N, and what rounding of C may make of a difference."""
    xp = namespace(theta)
    direction = rng.standard_normal(tuple(theta.shape))
    v = xp.asarray(direction / np.linalg.norm(direction))
    start = xp.asarray(theta, copy=True)
    costs = []
    for step in (_STEP, -_STEP):
        theta[...] = start + step * v
        costs.append(net.cost(x, y))
    theta[...] = start
    scale = float(xp.sum(nabla * nabla)) ** 0.5 / direction.size**0.5
    rounding = 4 * np.finfo(float).eps * max(map(abs, costs)) / _STEP
    return float(xp.sum(nabla * v)), (costs[0] - costs[1]) / (2 * _STEP), scale, rounding
