"""The book's `network.py` in Python 3: M. Nielsen, *Neural Networks and Deep Learning*, chapters 1 and 2.

Names, signatures, defaults and printed lines are those of the book. Random numbers are drawn from `random` and
`numpy.random` as in the book. A training example is a pair of columns, x with shape (n_0, 1) and y with shape (n_L, 1).
A test example is a pair of such an x and an integer label.

You can replace methods in a subclass, on an instance or by patching the module. Replaced methods are called where the
book calls them, with one example at a time. If nothing is replaced, `SGD` runs in compiled code, and the other methods
work on whole mini-batches as matrices.
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
    """The book's first network. It has sigmoid layers, aˡ = σ(Wˡ aˡ⁻¹ + bˡ), and the quadratic cost, in float64.

    Parameters
    ----------
    sizes : sequence of int
        Number of neurons of each layer, beginning with the input.

    Attributes
    ----------
    num_layers : int
        Number of layers, including the input.
    sizes : sequence of int
        The parameter `sizes`.
    biases : list of ndarray
        Biases with shapes (n_l, 1), drawn from N(0, 1) by `numpy.random.randn`.
    weights : list of ndarray
        Weights with shapes (n_l, n_{l−1}), drawn after the biases in the same way.

    Notes
    -----
    `biases`, `weights` and the arrays in these lists can be read and assigned at any time. Training assigns new arrays
    and never changes the old ones in place.

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
        """Return the output aᴸ for an input `a`, computed layer by layer as a ← σ(W a + b).

        Parameters
        ----------
        a : array_like of shape (n_0, 1)
            The input, or several inputs as the columns of an (n_0, m) matrix.

        Returns
        -------
        ndarray of shape (n_L, 1) or (n_L, m), float64
            The outputs, one column for each column of `a`.

        Raises
        ------
        InputError
            If `a` does not have n_0 rows.

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

        Each epoch shuffles a copy of the training data with `random.shuffle`, and divides it into mini-batches. The
        last mini-batch may be smaller than the others.

        Parameters
        ----------
        training_data : iterable of pairs (x, y)
            Columns x with shape (n_0, 1) and y with shape (n_L, 1).
        epochs : int
            Number of epochs.
        mini_batch_size : int
            Number of examples in a mini-batch.
        eta : float
            Learning rate η.
        test_data : iterable of pairs (x, label), optional
            Columns x and integer labels. The number of correct outputs is printed after each epoch.

        Raises
        ------
        InputError
            If shapes are wrong. In this case, nothing is changed.
        DivergedError
            If the cost is no longer finite.
        KeyboardInterrupt
            On Ctrl-C. The network keeps the parameters that it had after the last complete mini-batch.

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
        order = list(range(len(examples)))  # shuffled like the book's list, with the same swaps
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
            If shapes are wrong. In this case, nothing is changed.

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
        """Return the gradient for one example as two lists, nabla_b with all ∂C_x/∂b and nabla_w with all ∂C_x/∂W.

        Parameters
        ----------
        x : array_like of shape (n_0, 1)
            The input.
        y : array_like of shape (n_L, 1)
            The target. If `cost_derivative` is overridden, y may be anything that this method accepts.

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
        x and y may also be matrices with one column per example, of shapes (n_0, m) and (n_L, m). The arrays in nabla_b
        then have shapes (n_l, m), with one column per example. The arrays in nabla_w are sums over the examples.

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
            y = columns("y", y, sizes[-1])  # a label like 7 would be broadcast, to a − 7 for every output
        delta = self.cost_derivative(activations[-1], y) * sigmoid_prime(zs[-1])  # (BP1)
        return backward(self.weights, zs, activations, delta, sigmoid_prime)

    def evaluate(self, test_data: Iterable[Pair]) -> int:
        """Return the number of pairs (x, label) whose label is the index of the largest output.

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

        To train on another cost, override this method in a subclass.

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
        """Return a function that trains for one epoch.

        The function runs in compiled code, unless a method called in its steps has been replaced.
        """
        if not examples or not _is_original(self, "update_mini_batch", "backprop", "cost_derivative"):
            return stepwise_epoch(lambda batch: self.update_mini_batch(batch, eta), examples, mini_batch_size)
        pairs = Pairs("training_data", examples, sizes_of(self.weights))
        return compiled_epoch(self, "quadratic", pairs, mini_batch_size, eta)

    def _summed_gradient(self, mini_batch: Sequence[Pair]) -> Gradient:
        """Return the gradient (nabla_b, nabla_w) summed over the examples of a mini-batch."""
        if not _is_original(self, "backprop", "cost_derivative"):
            return sum_gradients(self, mini_batch)
        # The step is not compiled. For a network 784-30-10 and 10 examples, the whole step takes less time in NumPy
        # than the mere call of compiled code.
        pairs = Pairs("mini_batch", mini_batch, sizes_of(self.weights))
        return sum_over_columns(self.backprop(pairs.x.T, pairs.y.T))

    def _counter(self, tests: list[Pair]) -> Callable[[], int]:
        """Return a function that counts the correct outputs.

        If `feedforward` has not been replaced, this function works on matrices, which are made only once.
        """
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
    """Return whether `sigmoid`, `sigmoid_prime` and the named methods of a network are all the original ones.

    The result is False if one of them has been overridden or patched.
    """
    return (sigmoid, sigmoid_prime) == _FUNCTIONS and are_methods(net, _METHODS, names)
