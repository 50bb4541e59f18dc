"""Epochs of the book's `SGD`: compiled, over examples converted once, or step by step where somebody looks in."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import count
from types import MethodType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fastbp import backends
from fastbp.book.examples import Pair, Pairs
from fastbp.book.layers import sizes_of
from fastbp.errors import whole_number
from fastbp.operations import Examples, Plan
from fastbp.optimizers import SGD
from fastbp.parameters import as_parameters, checked_parameters, new_optimizer_state, plan_of
from fastbp.training.loop import MiniBatches, State, Watcher

Array = npt.NDArray[Any]
Gradient = tuple[list[Array], list[Array]]

Epoch = Callable[[list[int]], None]
"""Goes once through the examples in an order, and changes the network's parameters."""

TOGETHER = 1024  # columns fed forward together: MNIST's in float64 take 6 MB


class Net(Protocol):
    """What the book's networks have in common."""

    weights: list[Array]
    biases: list[Array]

    def feedforward(self, a: Any) -> Array:
        """Return aᴸ."""

    def backprop(self, x: Any, y: Any) -> Gradient:
        """Return (nabla_b, nabla_w) of one example."""


def are_methods(net: Net, methods: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Say whether what a network has by these names are those methods: not overridden, assigned or patched."""
    return all(getattr(net, name) == MethodType(methods[name], net) for name in names)


def step_by_step(update: Callable[[list[Pair]], None], pairs: Sequence[Pair], mini_batch_size: int) -> Epoch:
    """Return an epoch that calls a function with each mini-batch, a list of pairs."""

    def epoch(order: list[int]) -> None:
        for start in range(0, len(order), mini_batch_size):
            update([pairs[i] for i in order[start : start + mini_batch_size]])

    return epoch


def compiled(net: Net, cost: str, pairs: Pairs, mini_batch_size: int, eta: float, lmbda: float = 0.0) -> Epoch:
    """Return an epoch that runs compiled; each step takes ηλ/n, for n examples, off the weights.

    Raises `InputError` for wrong shapes, before anything is changed; the epoch raises `DivergedError`.
    """
    plan = network_plan(sizes_of(net.weights), cost)
    x, y = pairs.x, pairs.y
    source = x.dtype.name if x.dtype.name in ("float32", "uint8") else plan.dtype  # converted as it is gathered
    x, y = plan.backend.upload(np.asarray(x, source)), plan.backend.upload(np.asarray(y, plan.dtype))
    size = min(whole_number("mini_batch_size", mini_batch_size), len(x))
    given = Examples(x, y, plan.block(0, len(x)), 1.0)
    p = as_parameters(*_copies(net, plan), plan)
    state = State(new_optimizer_state(plan))
    loop = MiniBatches(plan, p, given, source, size, len(x), state, SGD(), lmbda=float(lmbda))
    numbers = count(1)

    def epoch(order: list[int]) -> None:
        # Read anew, since an `evaluate` of somebody's own may have assigned some, and put in place at once, so
        # that Ctrl-C leaves what has been trained.
        net.weights, net.biases = _copies(net, plan)
        loop.p = as_parameters(net.weights, net.biases, plan)
        loop.state = State(state.moments, epoch=next(numbers))
        loop.epoch(np.array(order, np.int64), float(eta), Watcher())

    return epoch


@cache  # a new plan has new formulas of its own, whose kernels take 10 ms to load even when they have been compiled
def network_plan(sizes: tuple[int, ...], cost: str) -> Plan:
    """Return the plan of sigmoid layers in float64, always on NumPy: the parameters are its arrays before and after."""
    return plan_of(sizes, "sigmoid", cost, bias=True, dtype="float64", backend=backends.get("numpy"))


def step(net: Net, gradient: Gradient, factor: float, shrink: float = 0.0) -> None:
    """Replace a network's parameters: W ← (1 − shrink) W − factor ∇W, b ← b − factor ∇b."""
    nabla_b, nabla_w = gradient
    kept = [w if shrink == 0.0 else (1.0 - shrink) * w for w in map(np.asarray, net.weights)]
    weights = [w - factor * nabla for w, nabla in zip(kept, nabla_w, strict=True)]
    biases = [b - factor * nabla for b, nabla in zip(map(np.asarray, net.biases), nabla_b, strict=True)]
    net.weights, net.biases = weights, biases


def summed_one_by_one(net: Net, mini_batch: Sequence[Pair]) -> Gradient:
    """Return (nabla_b, nabla_w) summed over a mini-batch, by one call of the network's `backprop` an example."""
    nabla_b, nabla_w = ([np.zeros(np.shape(p)) for p in parameters] for parameters in (net.biases, net.weights))
    for x, y in mini_batch:
        delta_nabla_b, delta_nabla_w = net.backprop(x, y)
        nabla_b = [nabla + delta for nabla, delta in zip(nabla_b, delta_nabla_b, strict=True)]
        nabla_w = [nabla + delta for nabla, delta in zip(nabla_w, delta_nabla_w, strict=True)]
    return nabla_b, nabla_w


def summed_columns(gradient: Gradient) -> Gradient:
    """Return what `backward` gives for the columns of a mini-batch with its deltas summed over them."""
    deltas, nabla_w = gradient
    return [delta.sum(axis=1, keepdims=True) for delta in deltas], nabla_w


def outputs(net: Net, rows: Array) -> Array:
    """Return aᴸ of examples that are rows, one column each, by calls of the network's `feedforward` with many."""
    parts = (rows[start : start + TOGETHER] for start in range(0, len(rows), TOGETHER))
    # As float64 by rows: `np.dot` would convert columns, against the order in which they lie, in thrice the time.
    return np.hstack([net.feedforward(np.asarray(part, np.float64).T) for part in parts])


def _copies(net: Net, plan: Plan) -> tuple[list[Array], list[Array]]:
    """Return checked copies of weights and biases: compiled code works in place, and the book's does not."""
    weights = checked_parameters("weights", net.weights, plan, copied=True)
    return weights, checked_parameters("biases", net.biases, plan, copied=True)
