"""Proof, here and now, that a backend computes what it should: what `fastbp check` prints."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp import datasets
from fastbp.activations import ACTIVATIONS, softmax
from fastbp.costs import COSTS, output_rule
from fastbp.errors import InputError
from fastbp.gradients import check_gradients
from fastbp.network import Network
from fastbp.optimizers import OPTIMIZERS, Adam, Optimizer

Array = npt.NDArray[Any]


class Check(NamedTuple):
    """What was checked, how far it was off, and how far it may be."""

    what: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """Whether it is as near as it should be; NaN is not."""
        return self.error <= self.bound


def checks(backend: Any = None) -> Iterator[Check]:
    """Yield the checks of a backend, each as it is done: kernels, gradients, one training.

    >>> all(check.passed for check in checks("numpy-plain"))
    True
    """
    for dtype, bound in (("float32", 1e-6), ("float64", 1e-14)):
        for name in ACTIVATIONS:
            yield Check(f"{name} in {dtype} against plain float64", _activation_error(name, dtype, backend), bound)
    yield from gradients(backend)
    yield from trainings(backend)


def gradients(backend: Any) -> Iterator[Check]:
    """Yield the checks of the gradient, one for each cost."""
    for cost in COSTS:
        yield Check(f"gradient of {cost} against differences of it", _gradient_error(cost, backend), 1e-6)


def trainings(backend: Any) -> Iterator[Check]:
    """Yield the checks of a short training, one for each optimizer."""
    for name, optimizer in OPTIMIZERS.items():
        yield Check(f"an epoch on digits by {name} against a loop", _training_error(optimizer, backend), 1e-9)


def _activation_error(name: str, dtype: str, backend: Any) -> float:
    """Return the largest error of σ(z), relative to 1 or to what is larger, for z from −20 to 20."""
    cost = "log-likelihood" if name == softmax.name else "quadratic"
    n = 8
    net = Network([n, n], name, cost, bias=False, dtype=dtype, backend=backend)
    net.weights = [np.eye(n)]
    z = np.linspace(-20, 20, 64 * n).reshape(n, 64).astype(dtype)
    exact = ACTIVATIONS[name].f(z.astype(np.float64))
    got = net._plan.backend.to_host(net.feedforward(z))
    return float(np.max(np.abs(got - exact) / np.maximum(1.0, np.abs(exact))))


def _gradient_error(cost: str, backend: Any) -> float:
    """Return the largest relative error over every last layer that goes with the cost, after every smooth layer."""
    rng = np.random.default_rng(0)
    x, y = rng.random((5, 6)), np.arange(6) % 3
    errors = []
    for last in ACTIVATIONS:
        try:
            output_rule(ACTIVATIONS[last], COSTS[cost])
        except InputError:
            continue
        net = Network([5, 4, 4, 4, 3], ["tanh", "softplus", "sigmoid", last], cost, backend=backend, rng=0)
        errors.append(check_gradients(net, x, y, tolerance=np.inf))
    return max(errors)


def _training_error(optimizer: Optimizer, backend: Any) -> float:
    """Return how far the parameters are from those of a loop over examples, after an epoch on real digits."""
    eta = optimizer.default_eta
    (x, labels), _ = datasets.digits()
    x, labels = x[:, :300].astype(np.float64), labels[:300]
    net = Network([64, 12, 10], dtype="float64", backend=backend, rng=0)
    start = net.to("numpy")
    weights, biases = start.weights, start.biases
    net.train(x, labels, epochs=1, mini_batch_size=7, optimizer=optimizer, progress=False)
    order = start._rng.permutation(300)
    thetas = [*weights, *biases]
    moments = [(np.zeros_like(theta), np.zeros_like(theta)) for theta in thetas]
    for t, first in enumerate(range(0, 300, 7), 1):
        gradient = _gradient_one_by_one(weights, biases, x, np.eye(10)[labels].T, order[first : first + 7])
        for theta, g, (m, v) in zip(thetas, gradient, moments, strict=True):
            _step(optimizer, theta, g, m, v, eta, t)
    here = net.to("numpy")
    pairs = zip([*here.weights, *here.biases], [*weights, *biases], strict=True)
    return max(float(np.max(np.abs(a - b))) for a, b in pairs)


def _gradient_one_by_one(
    weights: list[Array], biases: list[Array], x: Array, y: Array, batch: npt.NDArray[np.int64]
) -> list[Array]:
    """Return ∂C/∂W and ∂C/∂b over a mini-batch, example after example, for sigmoids and the quadratic cost."""
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


def _step(optimizer: Optimizer, theta: Array, g: Array, m: Array, v: Array, eta: float, t: int) -> None:
    """Take step t on one array along its gradient, in place, by the textbooks; m is the velocity where there is one."""
    if isinstance(optimizer, Adam):
        m[...] = optimizer.beta_1 * m + (1 - optimizer.beta_1) * g
        v[...] = optimizer.beta_2 * v + (1 - optimizer.beta_2) * g**2
        eta_t = eta * np.sqrt(1 - optimizer.beta_2**t) / (1 - optimizer.beta_1**t)
        theta -= eta_t * m / (np.sqrt(v) + optimizer.epsilon)
    else:
        m[...] = optimizer.momentum * m - eta * g
        theta += optimizer.momentum * m - eta * g if optimizer.nesterov else m
