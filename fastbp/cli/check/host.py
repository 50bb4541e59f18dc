"""The self-test of any backend, and the lines of the table that `fastbp check` prints.

The self-test checks activations, gradients and short trainings.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp import datasets
from fastbp.activations import ACTIVATIONS, Activation, exponential, sigmoid, softmax
from fastbp.backends import BackendLike
from fastbp.costs import COSTS, Cost, OutputRule, output_rule, quadratic
from fastbp.errors import InputError
from fastbp.gradients import check_gradients
from fastbp.network import DTypeName, Network
from fastbp.optimizers import OPTIMIZERS, Optimizer

Array = npt.NDArray[Any]
_ROUNDING: dict[DTypeName, float] = {"float32": 1e-6, "float64": 1e-14}

HEAD = f"{'check (value: largest error, or a count)':<57}{'value':>8}{'limit':>8}"
"""The first line of the table. All lines of the table have at most 80 characters."""


class Check(NamedTuple):
    """The result of a check.

    `what` says what was measured. `value` is an error or a count. `limit` is the largest value that passes.
    """

    what: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the value is within the limit. For NaN this is False."""
        return self.value <= self.limit


def row(check: Check) -> str:
    """Return the line of a check in the table.

    >>> row(Check("host copies", 3, 3)).split()
    ['host', 'copies', '3', '3', 'ok']
    """
    value, limit = (f"{x:>8}" if isinstance(x, int) else f"{x:8.1e}" for x in (check.value, check.limit))
    return f"{check.what:<57}{value}{limit} {'ok' if check.passed else 'FAILED'}"


def checks(backend: BackendLike | None = None) -> Iterator[Check]:
    """Run the self-test of a backend and yield each check when it is done: activations, gradients, trainings.

    >>> all(check.passed for check in checks("numpy-plain"))
    True
    """
    for dtype, limit in _ROUNDING.items():
        for g in ACTIVATIONS.values():
            yield Check(f"{g.name} in {dtype} vs NumPy in float64", _activation_error(g, dtype, backend), limit)
    yield from gradients(backend)
    yield from trainings(backend)


def output_rules() -> Iterator[OutputRule]:
    """Yield output rules that cover all formulas: each activation, each cost, and each pair with formulas of its own.

    Other pairs only multiply the same derivatives, and compiling all of them would take a minute.
    """
    for cost in COSTS.values():
        for activation in ACTIVATIONS.values() if cost == quadratic else (sigmoid, exponential, softmax):
            with suppress(InputError):
                yield output_rule(activation, cost)


def gradients(backend: BackendLike | None) -> Iterator[Check]:
    """Yield one check of the gradient for each cost."""
    for name, cost in COSTS.items():
        last = [rule.activation for rule in output_rules() if rule.cost_function == cost]
        yield Check(f"gradient of {name} vs finite differences", _gradient_error(cost, last, backend), 1e-6)


def trainings(backend: BackendLike | None) -> Iterator[Check]:
    """Yield one check of a short training for each optimizer."""
    for name, optimizer in OPTIMIZERS.items():
        yield Check(f"one epoch with {name} vs a loop over examples", _training_error(optimizer, backend), 1e-9)


def _activation_error(g: Activation, dtype: DTypeName, backend: BackendLike | None) -> float:
    """Return the largest error of g(z) for z from −20 to 20, relative to max(1, |g(z)|)."""
    cost = COSTS["log-likelihood" if g == softmax else "quadratic"]
    n = 8
    net = Network([n, n], g, cost, bias=False, dtype=dtype, backend=backend)
    net.weights = [np.eye(n)]
    z = np.linspace(-20, 20, 64 * n).reshape(n, 64).astype(dtype)
    exact = g.f(z.astype(np.float64))
    got = net._plan.backend.to_host(net.feedforward(z))
    return float(np.max(np.abs(got - exact) / np.maximum(1.0, np.abs(exact))))


def _gradient_error(cost: Cost, last: list[Activation], backend: BackendLike | None) -> float:
    """Return the largest relative error of the gradient, for each of these activations in the last layer.

    The hidden layers have smooth activations.
    """
    rng = np.random.default_rng(0)
    x, y = rng.random((5, 6)), np.arange(6) % 3
    errors = []
    for g in last:
        net = Network([5, 4, 4, 4, 3], ["tanh", "softplus", "sigmoid", g], cost, backend=backend, rng=0)
        errors.append(check_gradients(net, x, y, tolerance=np.inf))
    return max(errors)


def _training_error(optimizer: Optimizer, backend: BackendLike | None) -> float:
    """Return the largest difference between parameters trained by `Network.train` and by a loop over examples."""
    eta = optimizer.default_eta
    (x, labels), _ = datasets.digits()
    x, labels = x[:, :300].astype(np.float64), labels[:300]
    net = Network([64, 12, 10], dtype="float64", backend=backend, rng=0)
    start = net.to("numpy")
    weights, biases = start.weights, start.biases
    net.train(x, labels, epochs=1, mini_batch_size=7, optimizer=optimizer, progress=False)
    order = start._rng.permutation(300)
    thetas = [*weights, *biases]
    states = [[np.zeros_like(theta) for _ in optimizer.state] for theta in thetas]
    for t, first in enumerate(range(0, 300, 7), 1):
        gradient = _gradient_one_by_one(weights, biases, x, np.eye(10)[labels].T, order[first : first + 7])
        constants = optimizer.constants_of_steps(eta, t - 1, 1)[0, : len(optimizer.constants)]
        for theta, g, state in zip(thetas, gradient, states, strict=True):
            found = optimizer.formula(theta, g, *state, eta, 0.0, float(t), *constants)
            for array, value in zip((theta, *state), found if state else (found,), strict=True):
                array[...] = value
    here = net.to("numpy")
    pairs = zip([*here.weights, *here.biases], [*weights, *biases], strict=True)
    return max(float(np.max(np.abs(a - b))) for a, b in pairs)


def _gradient_one_by_one(
    weights: list[Array], biases: list[Array], x: Array, y: Array, batch: npt.NDArray[np.int64]
) -> list[Array]:
    """Return ∂C/∂W and ∂C/∂b of a mini-batch for sigmoid layers and the quadratic cost, example by example."""
    nabla_w, nabla_b = [np.zeros_like(w) for w in weights], [np.zeros_like(b) for b in biases]
    for i in batch:
        a = [x[:, [i]]]
        for w, b in zip(weights, biases, strict=True):
            a.append(1 / (1 + np.exp(-(w @ a[-1] + b))))
        delta = (a[-1] - y[:, [i]]) * a[-1] * (1 - a[-1])
        for l in range(len(weights) - 1, -1, -1):
            nabla_w[l] += delta @ a[l].T
            nabla_b[l] += delta
            delta = (weights[l].T @ delta) * a[l] * (1 - a[l])
    return [nabla / len(batch) for nabla in (*nabla_w, *nabla_b)]
