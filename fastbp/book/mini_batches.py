"""The epochs of training in the book's `SGD`.

An epoch normally runs in compiled code, on examples that have been converted once. If a script has replaced a method of
the network, the epoch runs step by step and calls this method.
"""

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
"""A function that trains once on all examples, in the given order, and assigns new parameters to the network."""

COLUMNS_PER_CALL = 1024  # passed to each call of `feedforward`; for MNIST they take 6 MB in float64


class BookNetwork(Protocol):
    """The attributes and methods that the networks of `network` and `network2` have in common."""

    weights: list[Array]
    biases: list[Array]

    def feedforward(self, a: Any) -> Array:
        """Return the output aᴸ for the input `a`."""

    def backprop(self, x: Any, y: Any) -> Gradient:
        """Return the gradient (nabla_b, nabla_w) for one example."""


def are_methods(net: BookNetwork, methods: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Return whether the network still has the given methods under the given names.

    The result is False if one of them has been overridden in a subclass or replaced by an assignment.
    """
    return all(getattr(net, name) == MethodType(methods[name], net) for name in names)


def stepwise_epoch(update: Callable[[list[Pair]], None], pairs: Sequence[Pair], mini_batch_size: int) -> Epoch:
    """Return an epoch function that calls `update` with each mini-batch, a list of pairs."""

    def epoch(order: list[int]) -> None:
        for start in range(0, len(order), mini_batch_size):
            update([pairs[i] for i in order[start : start + mini_batch_size]])

    return epoch


def compiled_epoch(
    net: BookNetwork, cost: str, pairs: Pairs, mini_batch_size: int, eta: float, lmbda: float = 0.0
) -> Epoch:
    """Return an epoch function that runs in compiled code.

    Each step shrinks the weights by the factor 1 − ηλ/n, where n is the number of examples. Raises `InputError` for
    wrong shapes. In this case, nothing is changed. The epoch function may raise `DivergedError`.
    """
    plan = network_plan(sizes_of(net.weights), cost)
    x, y = pairs.x, pairs.y
    # Inputs in float32 or uint8 are kept, and converted when they are gathered into mini-batches.
    source = x.dtype.name if x.dtype.name in ("float32", "uint8") else plan.dtype
    x, y = plan.backend.upload(np.asarray(x, source)), plan.backend.upload(np.asarray(y, plan.dtype))
    size = min(whole_number("mini_batch_size", mini_batch_size), len(x))
    given = Examples(x, y, plan.block(0, len(x)), 1.0)
    p = as_parameters(*_checked_copies(net, plan), plan)
    state = State(new_optimizer_state(plan))
    loop = MiniBatches(plan, p, given, source, size, len(x), state, SGD(), lmbda=float(lmbda))
    numbers = count(1)

    def epoch(order: list[int]) -> None:
        # The parameters are read in each epoch, because a replaced `evaluate` may have assigned others. The copies are
        # assigned to the network before training, so that it keeps what has been trained when Ctrl-C is pressed.
        net.weights, net.biases = _checked_copies(net, plan)
        loop.p = as_parameters(net.weights, net.biases, plan)
        loop.state = State(state.moments, epoch=next(numbers))
        loop.epoch(np.array(order, np.int64), float(eta), Watcher())

    return epoch


@cache  # the kernels of a new plan take 10 ms to load, even if they have been compiled before
def network_plan(sizes: tuple[int, ...], cost: str) -> Plan:
    """Return the plan of a network, which says what is computed and where.

    The layers are sigmoid, in float64. The backend is always NumPy, because the book's parameters are NumPy arrays.
    """
    return plan_of(sizes, "sigmoid", cost, bias=True, dtype="float64", backend=backends.get("numpy"))


def update_parameters(net: BookNetwork, gradient: Gradient, factor: float, shrink: float = 0.0) -> None:
    """Assign new parameters to a network: W ← (1 − shrink) W − factor ∇W, b ← b − factor ∇b."""
    nabla_b, nabla_w = gradient
    kept = [w if shrink == 0.0 else (1.0 - shrink) * w for w in map(np.asarray, net.weights)]
    weights = [w - factor * nabla for w, nabla in zip(kept, nabla_w, strict=True)]
    biases = [b - factor * nabla for b, nabla in zip(map(np.asarray, net.biases), nabla_b, strict=True)]
    net.weights, net.biases = weights, biases


def sum_gradients(net: BookNetwork, mini_batch: Sequence[Pair]) -> Gradient:
    """Return the gradient (nabla_b, nabla_w) summed over a mini-batch.

    The network's `backprop` is called once per example.
    """
    nabla_b, nabla_w = ([np.zeros(np.shape(p)) for p in parameters] for parameters in (net.biases, net.weights))
    for x, y in mini_batch:
        delta_nabla_b, delta_nabla_w = net.backprop(x, y)
        nabla_b = [nabla + delta for nabla, delta in zip(nabla_b, delta_nabla_b, strict=True)]
        nabla_w = [nabla + delta for nabla, delta in zip(nabla_w, delta_nabla_w, strict=True)]
    return nabla_b, nabla_w


def sum_over_columns(gradient: Gradient) -> Gradient:
    """Return the gradient (nabla_b, nabla_w), given the result (deltas, nabla_w) of `backward`.

    Each array in nabla_b is the sum of the columns of a delta.
    """
    deltas, nabla_w = gradient
    return [delta.sum(axis=1, keepdims=True) for delta in deltas], nabla_w


def outputs(net: BookNetwork, rows: Array) -> Array:
    """Return the outputs aᴸ, one column per example, for examples given as rows.

    Each call of `feedforward` gets many examples at once.
    """
    parts = (rows[start : start + COLUMNS_PER_CALL] for start in range(0, len(rows), COLUMNS_PER_CALL))
    # The rows are converted to float64 before they are transposed. Otherwise `np.dot` would convert the transposed
    # matrix. That conversion takes three times as long, because it does not follow the order in memory.
    return np.hstack([net.feedforward(np.asarray(part, np.float64).T) for part in parts])


def _checked_copies(net: BookNetwork, plan: Plan) -> tuple[list[Array], list[Array]]:
    """Return checked copies of a network's weights and biases.

    Compiled code changes its arrays in place. The book's code does not, so the network's old arrays must not change.
    """
    weights = checked_parameters("weights", net.weights, plan, copied=True)
    return weights, checked_parameters("biases", net.biases, plan, copied=True)
