"""The book's `network.py` in Python 3: M. Nielsen, *Neural Networks and Deep Learning*, chapters 1 and 2.

Names, signatures, defaults, printed lines and the draws from `random` and `numpy.random` are those of the book.
Examples are pairs of columns, x (n_0, 1) and y (n_L, 1); examples for tests are pairs of x and an integer label. A
method that a subclass, an instance or a patched module replaces is called where the book calls it, one example at a
time. Methods that are not replaced run compiled (`SGD`) or on whole mini-batches as matrices.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.book.examples import Pair, Pairs, columns
from fastbp.book.layers import backward, forward, sigmoid, sigmoid_prime, sizes_of, standard_normal_parameters
from fastbp.book.mini_batches import (
    Epoch,
    Gradient,
    are_methods,
    compiled_epoch,
    outputs,
    stepwise_epoch,
    sum_gradients,
    sum_over_columns,
    update_parameters,
)

Array = npt.NDArray[Any]


class Network:
    """The book's network: aˡ = σ(Wˡ aˡ⁻¹ + bˡ), with σ the sigmoid, trained on the quadratic cost, in float64.

    Parameters
    ----------
    sizes : sequence of int
        Number of neurons of each layer, beginning with the input.

    Attributes
    ----------
    num_layers : int
        Number of layers, including the input.
    sizes : sequence of int
        The parameter.
    biases : list of ndarray
        Biases with shapes (n_l, 1), drawn from N(0, 1) by `numpy.random.randn`.
    weights : list of ndarray
        Weights with shapes (n_l, n_{l−1}), drawn after the biases in the same way.

    Notes
    -----
    Both lists and their entries can be read and assigned at any time. Training assigns new arrays and never writes into
    the old ones.

    References
    ----------
    Chapter 1.

    Examples
    --------
    >>> net = Network([2, 3, 1])
    >>> net.num_layers, [w.shape for w in net.weights], [b.shape for b in net.biases]
    (3, [(3, 2), (1, 3)], [(3, 1), (1, 1)])
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.num_layers = len(sizes)
        self.sizes = sizes
        self.biases, self.weights = standard_normal_parameters(sizes)

    def feedforward(self, a: Any) -> Array:
        """Return aᴸ, the output for an input a: a ← σ(W a + b), layer by layer.

        Parameters
        ----------
        a : array_like of shape (n_0, 1)
            The input, or several inputs as the columns of an (n_0, m) matrix.

        Returns
        -------
        ndarray of shape (n_L, 1) or (n_L, m), float64
            The output of each column.

        Raises
        ------
        InputError
            If `a` has another number of rows.

        References
        ----------
        Chapter 1, equations (1) and (2).

        Examples
        --------
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
        """Train by mini-batch stochastic gradient descent, and print one line per epoch.

        Each epoch shuffles a copy of the training data with `random.shuffle`, and divides it into mini-batches, of
        which the last may be smaller.

        Parameters
        ----------
        training_data : iterable of pairs (x, y)
            Columns x with shape (n_0, 1) and y with shape (n_L, 1).
        epochs : int
            Number of epochs.
        mini_batch_size : int
            Examples per mini-batch.
        eta : float
            Learning rate η.
        test_data : iterable of pairs (x, label), optional
            Columns x and integer labels, evaluated after each epoch.

        Raises
        ------
        InputError
            If shapes are wrong, before anything is changed.
        DivergedError
            If the cost is no longer finite.
        KeyboardInterrupt
            On Ctrl-C. The network keeps the parameters of the last complete mini-batch.

        References
        ----------
        Chapter 1.

        Examples
        --------
        >>> net = Network([2, 2, 1])
        >>> net.SGD([(np.ones((2, 1)), np.zeros((1, 1)))] * 5, 2, 3, 0.5)
        Epoch 0 complete
        Epoch 1 complete
        """
        examples = list(training_data)
        tests = [] if test_data is None else list(test_data)
        epoch = self._epoch(examples, mini_batch_size, eta)
        correct = self._counter(tests) if _is_original(self, "evaluate") else lambda: self.evaluate(tests)
        order = list(range(len(examples)))  # shuffled as the book's list is, with the same swaps
        for number in range(epochs):
            random.shuffle(order)
            epoch(order)
            if tests:
                print(f"Epoch {number}: {correct()} / {len(tests)}")
            else:
                print(f"Epoch {number} complete")

    def update_mini_batch(self, mini_batch: Sequence[Pair], eta: float) -> None:
        """Take one step of gradient descent: W ← W − (η/m) Σ ∂C_x/∂W, b ← b − (η/m) Σ ∂C_x/∂b.

        Parameters
        ----------
        mini_batch : sequence of pairs (x, y)
            m pairs of columns with shapes (n_0, 1) and (n_L, 1).
        eta : float
            Learning rate η.

        Raises
        ------
        InputError
            If shapes are wrong, before anything is changed.

        References
        ----------
        Chapter 1.

        Examples
        --------
        >>> net = Network([1, 1])
        >>> net.weights, net.biases = [np.zeros((1, 1))], [np.zeros((1, 1))]
        >>> net.update_mini_batch([(np.array([[2.0]]), np.array([[1.0]]))], 0.8)  # δ = (½ − 1)·½·½
        >>> net.biases[0].tolist(), net.weights[0].tolist()
        ([[0.1]], [[0.2]])
        """
        update_parameters(self, self._summed_gradient(mini_batch), eta / len(mini_batch))

    def backprop(self, x: Any, y: Any) -> tuple[list[Array], list[Array]]:
        """Return (nabla_b, nabla_w), the gradient ∂C_x/∂b and ∂C_x/∂W for one example.

        Parameters
        ----------
        x : array_like of shape (n_0, 1)
            The input.
        y : array_like of shape (n_L, 1)
            The target, or what an overridden `cost_derivative` takes.

        Returns
        -------
        nabla_b, nabla_w : lists of ndarray
            Arrays with the shapes of `biases` and `weights`.

        Raises
        ------
        InputError
            If shapes are wrong.

        Notes
        -----
        For columns (n_0, m) and (n_L, m), nabla_b have shapes (n_l, m), one column per example, and nabla_w are sums
        over the examples.

        References
        ----------
        Chapter 2, equations (BP1) to (BP4).

        Examples
        --------
        >>> nabla_b, nabla_w = Network([2, 3, 1]).backprop(np.zeros((2, 1)), np.ones((1, 1)))
        >>> [nabla.shape for nabla in nabla_w]
        [(3, 2), (1, 3)]
        """
        sizes = sizes_of(self.weights)
        zs, activations = forward(self.weights, self.biases, columns("x", x, sizes[0]), sigmoid)
        if _is_original(self, "cost_derivative"):
            y = columns("y", y, sizes[-1])  # a label would broadcast: a − 7 for every output
        delta = self.cost_derivative(activations[-1], y) * sigmoid_prime(zs[-1])  # (BP1)
        return backward(self.weights, zs, activations, delta, sigmoid_prime)

    def evaluate(self, test_data: Iterable[Pair]) -> int:
        """Return the number of pairs (x, label) for which the largest output is that of the label.

        Parameters
        ----------
        test_data : iterable of pairs (x, label)
            Columns x with shape (n_0, 1), and integer labels.

        Returns
        -------
        int
            The number of correct outputs.

        Raises
        ------
        InputError
            If an x has another shape, or a label is not a single number.

        References
        ----------
        Chapter 1.

        Examples
        --------
        >>> Network([2, 1]).evaluate([(np.zeros((2, 1)), 0), (np.ones((2, 1)), 1)])
        1
        """
        return self._counter(list(test_data))()

    def cost_derivative(self, output_activations: Any, y: Any) -> Any:
        """Return ∂C_x/∂a = a − y, the derivative of the quadratic cost with respect to the outputs.

        A subclass that overrides this method trains on another cost.

        Parameters
        ----------
        output_activations : float or ndarray
            The outputs a.
        y : float or ndarray
            The targets, with the same shape.

        Returns
        -------
        float or ndarray
            The derivative, with the same shape.

        References
        ----------
        Chapter 2.

        Examples
        --------
        >>> Network([1, 1]).cost_derivative(0.75, 1.0)
        -0.25
        """
        return output_activations - y

    def _epoch(self, examples: list[Pair], mini_batch_size: int, eta: float) -> Epoch:
        """Return an epoch: compiled, unless a method that its steps would call has been replaced."""
        if not examples or not _is_original(self, "update_mini_batch", "backprop", "cost_derivative"):
            return stepwise_epoch(lambda batch: self.update_mini_batch(batch, eta), examples, mini_batch_size)
        pairs = Pairs("training_data", examples, sizes_of(self.weights))
        return compiled_epoch(self, "quadratic", pairs, mini_batch_size, eta)

    def _summed_gradient(self, mini_batch: Sequence[Pair]) -> Gradient:
        """Return (nabla_b, nabla_w) summed over the examples of a mini-batch."""
        if not _is_original(self, "backprop", "cost_derivative"):
            return sum_gradients(self, mini_batch)
        # Not the compiled step: for 784-30-10 × 10, NumPy takes less time than calling compiled code.
        pairs = Pairs("mini_batch", mini_batch, sizes_of(self.weights))
        return sum_over_columns(self.backprop(pairs.x.T, pairs.y.T))

    def _counter(self, tests: list[Pair]) -> Callable[[], int]:
        """Return a function that counts the correct outputs: on matrices, converted once, if nothing is replaced."""
        if not _is_original(self, "feedforward"):
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


def _is_original(net: Network, *names: str) -> bool:
    """Return whether these methods of a network, and σ and σ′, are the originals: not overridden or patched."""
    return (sigmoid, sigmoid_prime) == _FUNCTIONS and are_methods(net, _METHODS, names)
