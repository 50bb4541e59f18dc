"""The book's `network.py` in Python 3: M. Nielsen, *Neural Networks and Deep Learning*, chapters 1 and 2.

Names, signatures, defaults, printed lines, and what is drawn from `random` and `numpy.random` are the book's. Examples
are pairs of columns, x (n_0, 1) and y (n_L, 1), and of x and an integer label for tests. What a subclass, an instance
or a patched module replaces is called where the book calls it, one example at a time; what nobody has replaced runs
compiled (`SGD`) or on whole mini-batches as matrices.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.book.examples import Pair, Pairs, columns
from fastbp.book.layers import backward, drawn, forward, sigmoid, sigmoid_prime, sizes_of
from fastbp.book.mini_batches import (
    Epoch,
    Gradient,
    are_methods,
    compiled,
    outputs,
    step,
    step_by_step,
    summed_columns,
    summed_one_by_one,
)

Array = npt.NDArray[Any]


class Network:
    """The book's network: aˡ = σ(Wˡ aˡ⁻¹ + bˡ), σ the sigmoid, trained on the quadratic cost, in float64.

    `sizes` counts the neurons of each layer, the input first. `biases`, arrays (n_l, 1), and then `weights`, arrays
    (n_l, n_{l−1}), are drawn by `numpy.random.randn`; both lists and what is in them can be read and assigned at any
    time. Training makes new arrays and leaves those that were read before as they are. Chapter 1.

    >>> net = Network([2, 3, 1])
    >>> net.num_layers, [w.shape for w in net.weights], [b.shape for b in net.biases]
    (3, [(3, 2), (1, 3)], [(3, 1), (1, 1)])
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.num_layers = len(sizes)
        self.sizes = sizes
        self.biases, self.weights = drawn(sizes)

    def feedforward(self, a: Any) -> Array:
        """Return aᴸ, shape (n_L, 1), for an input a, shape (n_0, 1): a ← σ(W a + b), layer by layer.

        More columns, (n_0, m), give (n_L, m). Raises `InputError` for another shape. Chapter 1, equations (1) and (2).

        >>> Network([2, 3]).feedforward(np.zeros((2, 1))).shape
        (3, 1)
        """
        return forward(self.weights, self.biases, columns("a", a, sizes_of(self.weights)[0]), sigmoid)[1][-1]

    def SGD(  # noqa: N802, the book's name
        self,
        training_data: Iterable[Pair],
        epochs: int,
        mini_batch_size: int,
        eta: float,
        test_data: Iterable[Pair] | None = None,
    ) -> None:
        """Train by mini-batch stochastic gradient descent; print a line an epoch.

        `training_data` are pairs (x, y) of columns (n_0, 1) and (n_L, 1), `test_data` pairs of x and an integer label.
        Each epoch shuffles the former by `random.shuffle`, in a list of this method's own, and cuts it into
        mini-batches, of which the last may be shorter. Chapter 1.

        Raises `InputError` for wrong shapes before anything is changed, `DivergedError` when the cost is no longer
        finite. Ctrl-C raises KeyboardInterrupt and leaves the parameters of the last whole mini-batch.

        >>> net = Network([2, 2, 1])
        >>> net.SGD([(np.ones((2, 1)), np.zeros((1, 1)))] * 5, 2, 3, 0.5)
        Epoch 0 complete
        Epoch 1 complete
        """
        examples = list(training_data)
        tests = [] if test_data is None else list(test_data)
        epoch = self._epoch(examples, mini_batch_size, eta)
        right = self._right(tests) if _is_the_books(self, "evaluate") else lambda: self.evaluate(tests)
        order = list(range(len(examples)))  # shuffled like the book's list: by the same swaps
        for number in range(epochs):
            random.shuffle(order)
            epoch(order)
            if tests:
                print(f"Epoch {number}: {right()} / {len(tests)}")
            else:
                print(f"Epoch {number} complete")

    def update_mini_batch(self, mini_batch: Sequence[Pair], eta: float) -> None:
        """Take one step of gradient descent: W ← W − (η/m) Σ ∂C_x/∂W, b ← b − (η/m) Σ ∂C_x/∂b.

        `mini_batch` is a list of m pairs (x, y) of columns (n_0, 1) and (n_L, 1). Raises `InputError` for other shapes,
        before anything is changed. Chapter 1.

        >>> net = Network([1, 1])
        >>> net.weights, net.biases = [np.zeros((1, 1))], [np.zeros((1, 1))]
        >>> net.update_mini_batch([(np.array([[2.0]]), np.array([[1.0]]))], 0.8)  # δ = (½ − 1)·½·½
        >>> net.biases[0].tolist(), net.weights[0].tolist()
        ([[0.1]], [[0.2]])
        """
        step(self, self._summed(mini_batch), eta / len(mini_batch))

    def backprop(self, x: Any, y: Any) -> tuple[list[Array], list[Array]]:
        """Return (nabla_b, nabla_w), ∂C_x/∂b and ∂C_x/∂W of one example, lists like `biases` and `weights`.

        `x` is (n_0, 1); `y` (n_L, 1), or whatever an overridden `cost_derivative` takes. For columns (n_0, m) and
        (n_L, m) nabla_b are (n_l, m), one column an example, and nabla_w their sum. Raises `InputError` for other
        shapes. Chapter 2, equations (BP1) to (BP4).

        >>> nabla_b, nabla_w = Network([2, 3, 1]).backprop(np.zeros((2, 1)), np.ones((1, 1)))
        >>> [nabla.shape for nabla in nabla_w]
        [(3, 2), (1, 3)]
        """
        sizes = sizes_of(self.weights)
        zs, activations = forward(self.weights, self.biases, columns("x", x, sizes[0]), sigmoid)
        if _is_the_books(self, "cost_derivative"):
            y = columns("y", y, sizes[-1])  # a label would broadcast: a − 7 for every output
        delta = self.cost_derivative(activations[-1], y) * sigmoid_prime(zs[-1])  # (BP1)
        return backward(self.weights, zs, activations, delta, sigmoid_prime)

    def evaluate(self, test_data: Iterable[Pair]) -> int:
        """Return for how many of the pairs (x, label) the largest output is that of the label.

        Raises `InputError` where an x is not (n_0, 1) or a label not one number. Chapter 1.

        >>> Network([2, 1]).evaluate([(np.zeros((2, 1)), 0), (np.ones((2, 1)), 1)])
        1
        """
        return self._right(list(test_data))()

    def cost_derivative(self, output_activations: Any, y: Any) -> Any:
        """Return ∂C_x/∂a = a − y, the derivative of the quadratic cost by the outputs, of the shape of both.

        A subclass that overrides it trains on another cost. Chapter 2.

        >>> Network([1, 1]).cost_derivative(0.75, 1.0)
        -0.25
        """
        return output_activations - y

    def _epoch(self, examples: list[Pair], mini_batch_size: int, eta: float) -> Epoch:
        """Return an epoch: compiled, unless somebody has replaced what a step of it would call."""
        if not examples or not _is_the_books(self, "update_mini_batch", "backprop", "cost_derivative"):
            return step_by_step(lambda batch: self.update_mini_batch(batch, eta), examples, mini_batch_size)
        pairs = Pairs("training_data", examples, sizes_of(self.weights))
        return compiled(self, "quadratic", pairs, mini_batch_size, eta)

    def _summed(self, mini_batch: Sequence[Pair]) -> Gradient:
        """Return (nabla_b, nabla_w) summed over the examples of a mini-batch."""
        if not _is_the_books(self, "backprop", "cost_derivative"):
            return summed_one_by_one(self, mini_batch)
        # NumPy, not the compiled step: for 784-30-10 × 10 this takes less than the call of compiled code does.
        pairs = Pairs("mini_batch", mini_batch, sizes_of(self.weights))
        return summed_columns(self.backprop(pairs.x.T, pairs.y.T))

    def _right(self, tests: list[Pair]) -> Callable[[], int]:
        """Return what counts the tests that come out right: over matrices, converted once, if nothing is replaced."""
        if not _is_the_books(self, "feedforward"):
            return lambda: sum(int(np.argmax(self.feedforward(x)) == label) for x, label in tests)
        if not tests:
            return lambda: 0
        pairs = Pairs("test_data", tests, sizes_of(self.weights))
        rows, labels = pairs.x, pairs.labels
        return lambda: int(np.sum(outputs(self, rows).argmax(axis=0) == labels))


_METHODS = {
    name: getattr(Network, name)
    for name in ("update_mini_batch", "backprop", "cost_derivative", "feedforward", "evaluate")
}
_FUNCTIONS = (sigmoid, sigmoid_prime)


def _is_the_books(net: Network, *names: str) -> bool:
    """Say whether these methods of a network, and σ and σ′, are the book's: not overridden, assigned or patched."""
    return (sigmoid, sigmoid_prime) == _FUNCTIONS and are_methods(net, _METHODS, names)
