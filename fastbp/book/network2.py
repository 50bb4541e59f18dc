"""The book's `network2.py` in Python 3: M. Nielsen, *Neural Networks and Deep Learning*, chapter 3.

Names, signatures, defaults, printed lines and files are those of the book. Random numbers are drawn from `random` and
`numpy.random` as in the book. The argument `early_stopping_n` comes from the best known version of the book's code for
Python 3, by M. D. Dobrzański. A training example is a pair of columns, x with shape (n_0, 1) and y with shape (n_L, 1).
An evaluation example is a pair of such an x and an integer label.

You can use your own cost, and replace methods in a subclass, on an instance or by patching the module. Such costs and
methods are called where the book calls them, with one example at a time. If nothing is replaced, `SGD` runs in compiled
code, and the other methods work on many columns as matrices.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastbp.book.examples import Pair, Pairs, columns, rows_of, vectorized_result
from fastbp.book.json_files import read_network, write_network
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
from fastbp.errors import InputError, brief, choose, whole_number
from fastbp.files.reading import StrPath, reading

T = TypeVar("T")
Array = npt.NDArray[Any]
MonitoredLists = tuple[list[float], list[int], list[float], list[int]]


class QuadraticCost:
    """The quadratic cost, C_x = ½ ‖a − y‖².

    References
    ----------
    Chapter 3; equations (6) and (BP1).

    Examples
    --------
    >>> net = Network([2, 3, 1], cost=QuadraticCost)
    """

    @staticmethod
    def fn(a: Any, y: Any) -> Any:
        """Return C_x = ½ ‖a − y‖².

        Parameters
        ----------
        a, y : ndarray of shape (n_L, 1)
            Outputs and targets.

        Returns
        -------
        float
            The cost of the example.

        Examples
        --------
        >>> float(QuadraticCost.fn(np.array([[0.5], [1.0]]), np.array([[0.0], [1.0]])))
        0.125
        """
        return np.sum(_quadratic_costs(a, y))

    @staticmethod
    def delta(z: Any, a: Any, y: Any) -> Any:
        """Return the output error δ = (a − y) ⊙ σ′(z).

        Parameters
        ----------
        z, a, y : float or ndarray
            Weighted inputs, outputs and targets, all with the same shape.

        Returns
        -------
        float or ndarray
            δ, with the same shape.

        Examples
        --------
        >>> float(QuadraticCost.delta(0.0, 0.5, 1.0))
        -0.125
        """
        return (a - y) * sigmoid_prime(z)


class CrossEntropyCost:
    """The cross-entropy cost, C_x = −Σ y ln a + (1 − y) ln(1 − a).

    References
    ----------
    Chapter 3, equations (57) and (63).

    Examples
    --------
    >>> net = Network([2, 3, 1], cost=CrossEntropyCost)
    """

    @staticmethod
    def fn(a: Any, y: Any) -> Any:
        """Return C_x = −Σ y ln a + (1 − y) ln(1 − a), where 0 ln 0 is 0 and ln 0 is the lowest finite number.

        Parameters
        ----------
        a, y : ndarray of shape (n_L, 1)
            Outputs and targets.

        Returns
        -------
        float
            The cost of the example.

        Examples
        --------
        >>> float(CrossEntropyCost.fn(np.array([[0.5], [1.0]]), np.array([[0.0], [1.0]])))  # ln 2
        0.6931471805599453
        """
        return np.sum(_cross_entropies(a, y))

    @staticmethod
    def delta(z: Any, a: Any, y: Any) -> Any:
        """Return the output error δ = a − y, which does not depend on z.

        Parameters
        ----------
        z, a, y : float or ndarray
            Weighted inputs, outputs and targets, all with the same shape.

        Returns
        -------
        float or ndarray
            δ, with the same shape.

        Examples
        --------
        >>> float(CrossEntropyCost.delta(0.0, 0.5, 1.0))
        -0.5
        """
        return a - y


class Network:
    """The book's second network. It has sigmoid layers, a choice of cost, and L2 regularization, in float64.

    Parameters
    ----------
    sizes : sequence of int
        Number of neurons of each layer, beginning with the input.
    cost : class or object, default=CrossEntropyCost
        Cost with methods `fn(a, y)` and `delta(z, a, y)`. The methods of a custom cost are called for one example at a
        time, with columns.

    Attributes
    ----------
    num_layers : int
        Number of layers, including the input.
    sizes, cost
        The parameters `sizes` and `cost`.
    biases : list of ndarray
        Biases with shapes (n_l, 1), drawn by `default_weight_initializer`.
    weights : list of ndarray
        Weights with shapes (n_l, n_{l−1}), drawn in the same way.

    Raises
    ------
    InputError
        If `cost` has no method `delta`.

    Notes
    -----
    `biases`, `weights` and the arrays in these lists can be read and assigned at any time. Training assigns new arrays
    and never changes the old ones in place.

    References
    ----------
    Chapter 3.

    Examples
    --------
    >>> net = Network([2, 3, 1], cost=QuadraticCost)
    >>> net.num_layers, [w.shape for w in net.weights], [b.shape for b in net.biases]
    (3, [(3, 2), (1, 3)], [(3, 1), (1, 1)])
    """

    biases: list[Array]
    weights: list[Array]

    def __init__(self, sizes: Sequence[int], cost: Any = CrossEntropyCost) -> None:
        if not callable(getattr(cost, "delta", None)):
            expected = "fn(a, y) and delta(z, a, y), like CrossEntropyCost"
            raise InputError(f"cost must have the methods {expected}, got {brief(cost)}")
        self.num_layers = len(sizes)
        self.sizes = sizes
        self.default_weight_initializer()
        self.cost = cost

    def default_weight_initializer(self) -> None:
        """Draw biases from N(0, 1) and weights from N(0, 1/n_in), where n_in is the number of inputs of the layer.

        References
        ----------
        Chapter 3.

        Examples
        --------
        >>> net = Network([10_000, 2])
        >>> net.default_weight_initializer()
        >>> bool(abs(net.weights[0]).max() < 0.1)
        True
        """
        self.biases, weights = standard_normal_parameters(self.sizes)
        self.weights = [w / np.sqrt(w.shape[1]) for w in weights]

    def large_weight_initializer(self) -> None:
        """Draw biases and weights from N(0, 1), as in chapter 1.

        Examples
        --------
        >>> net = Network([10_000, 2])
        >>> net.large_weight_initializer()
        >>> bool(abs(net.weights[0]).max() > 1.0)
        True
        """
        self.biases, self.weights = standard_normal_parameters(self.sizes)

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
        lmbda: float = 0.0,
        evaluation_data: Iterable[Pair] | None = None,
        monitor_evaluation_cost: bool = False,
        monitor_evaluation_accuracy: bool = False,
        monitor_training_cost: bool = False,
        monitor_training_accuracy: bool = False,
        early_stopping_n: int = 0,
    ) -> MonitoredLists:
        """Train by mini-batch stochastic gradient descent, and print and return the monitored results.

        Each epoch shuffles a copy of the training data with `random.shuffle`, and divides it into mini-batches. The
        last mini-batch may be smaller than the others.

        Parameters
        ----------
        training_data : iterable of pairs (x, y)
            Columns x with shape (n_0, 1) and y with shape (n_L, 1).
        epochs : int
            Largest number of epochs.
        mini_batch_size : int
            Number of examples in a mini-batch.
        eta : float
            Learning rate η.
        lmbda : float, default=0.0
            Strength λ of the L2 regularization.
        evaluation_data : iterable of pairs (x, label), optional
            Columns x and integer labels.
        monitor_evaluation_cost, monitor_evaluation_accuracy : bool, default=False
            Whether to compute, print and return the cost or the accuracy on the evaluation data after each epoch. The
            accuracy is the number of correct outputs.
        monitor_training_cost, monitor_training_accuracy : bool, default=False
            Whether to do the same for the training data.
        early_stopping_n : int, default=0
            Stop after this many consecutive epochs without a better accuracy on the evaluation data. The accuracy need
            not be monitored for this. With 0, training never stops early.

        Returns
        -------
        evaluation_cost, evaluation_accuracy, training_cost, training_accuracy : lists
            The monitored results, with one entry per epoch. The list of a result that is not monitored is empty.
            Accuracies are numbers of correct outputs.

        Raises
        ------
        InputError
            If shapes are wrong, or if evaluation data are needed but not given. In these cases, nothing is changed.
        DivergedError
            If the cost is no longer finite.
        KeyboardInterrupt
            On Ctrl-C. The network keeps the parameters that it had after the last complete mini-batch.

        References
        ----------
        Chapter 3.

        Examples
        --------
        >>> net = Network([2, 2, 1])
        >>> data = [(np.ones((2, 1)), np.zeros((1, 1)))] * 5
        >>> _, _, costs, _ = net.SGD(data, 1, 3, 0.5, lmbda=0.1, monitor_training_cost=True)
        Epoch 0 training complete
        Cost on training data: ...
        >>> len(costs)
        1
        """
        patience = whole_number("early_stopping_n", early_stopping_n, least=0)
        training = _Examples(self, "training_data", training_data, labelled=False)
        evaluation = _Examples(self, "evaluation_data", evaluation_data or (), labelled=True)
        on_training = _Monitor(training, lmbda, monitor_training_cost, monitor_training_accuracy)
        on_evaluation = _Monitor(
            evaluation, lmbda, monitor_evaluation_cost, monitor_evaluation_accuracy, count_always=patience > 0
        )
        epoch = self._epoch(training, mini_batch_size, eta, lmbda)
        best, waited = 0, 0
        for number in range(epochs):
            random.shuffle(training.order)
            epoch(training.order)
            print(f"Epoch {number} training complete")
            on_training.record()
            correct = on_evaluation.record()
            print()
            best, waited = (correct, 0) if correct > best else (best, waited + 1)
            if waited == patience > 0:
                break
        return on_evaluation.costs, on_evaluation.accuracies, on_training.costs, on_training.accuracies

    def update_mini_batch(self, mini_batch: Sequence[Pair], eta: float, lmbda: float, n: int) -> None:
        """Take one step of gradient descent: W ← (1 − ηλ/n) W − (η/m) Σ ∂C_x/∂W, b ← b − (η/m) Σ ∂C_x/∂b.

        Parameters
        ----------
        mini_batch : sequence of pairs (x, y)
            m pairs of columns with shapes (n_0, 1) and (n_L, 1).
        eta : float
            Learning rate η.
        lmbda : float
            Strength λ of the L2 regularization.
        n : int
            Number of examples in the whole training set.

        Raises
        ------
        InputError
            If shapes are wrong. In this case, nothing is changed.

        References
        ----------
        Chapter 3.

        Examples
        --------
        >>> net = Network([1, 1])
        >>> net.weights, net.biases = [np.zeros((1, 1))], [np.zeros((1, 1))]
        >>> net.update_mini_batch([(np.array([[2.0]]), np.array([[1.0]]))], 0.8, 0.0, 1)  # δ = ½ − 1
        >>> net.biases[0].tolist(), net.weights[0].tolist()
        ([[0.4]], [[0.8]])
        """
        update_parameters(self, self._summed_gradient(mini_batch), eta / len(mini_batch), eta * (lmbda / n))

    def backprop(self, x: Any, y: Any) -> tuple[list[Array], list[Array]]:
        """Return the gradient for one example as two lists, nabla_b with all ∂C_x/∂b and nabla_w with all ∂C_x/∂W.

        Parameters
        ----------
        x : array_like of shape (n_0, 1)
            The input.
        y : array_like of shape (n_L, 1)
            The target. For a custom cost, y may be anything that its `delta` accepts.

        Returns
        -------
        nabla_b, nabla_w : lists of ndarray
            Arrays with the shapes of `biases` and `weights`.

        Raises
        ------
        InputError
            If shapes are wrong.

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
        if _lookup(_DELTAS, self.cost.delta):
            y = columns("y", y, sizes[-1])  # a label like 7 would be broadcast, to a − 7 for every output
        delta = self.cost.delta(zs[-1], activations[-1], y)
        return backward(self.weights, zs, activations, delta, sigmoid_prime)

    def accuracy(self, data: Iterable[Pair], convert: bool = False) -> int:
        """Return the number of pairs (x, y) that the network classifies correctly.

        An output is correct if the index of its largest number is the label y. If y is a column, its label is the index
        of its largest number.

        Parameters
        ----------
        data : iterable of pairs (x, y)
            Each x is a column with shape (n_0, 1). Each y is a label, as in evaluation data, unless `convert` is True.
        convert : bool, default=False
            Set this to True if each y is a column with shape (n_L, 1), as in training data.

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
        Chapter 3.

        Examples
        --------
        >>> Network([2, 1]).accuracy([(np.zeros((2, 1)), 0), (np.ones((2, 1)), 1)])
        1
        """
        examples = _Examples(self, "data", data, labelled=not convert)
        return examples.count_correct(examples.outputs()) if len(examples) else 0

    def total_cost(self, data: Iterable[Pair], lmbda: float, convert: bool = False) -> float:
        """Return the cost C = (1/n) Σ C_x + (λ/2n) Σ ‖W‖² of n pairs (x, y).

        Parameters
        ----------
        data : iterable of pairs (x, y)
            Each x is a column with shape (n_0, 1). Each y is a column with shape (n_L, 1), as in training data, unless
            `convert` is True.
        lmbda : float
            Strength λ of the L2 regularization.
        convert : bool, default=False
            Set this to True if each y is a label from 0 to 9, as in evaluation data.

        Returns
        -------
        float
            The cost.

        Raises
        ------
        InputError
            If shapes are wrong, or if there are no pairs.

        References
        ----------
        Chapter 3, equations (85) and (87).

        Examples
        --------
        >>> net = Network([1, 1], cost=QuadraticCost)
        >>> net.weights, net.biases = [np.array([[2.0]])], [np.array([[0.0]])]
        >>> float(net.total_cost([(np.zeros((1, 1)), np.ones((1, 1)))], 0.5))  # ½ (½ − 1)² + ½ 0.5 · 2²
        1.125
        """
        examples = _Examples(self, "data", data, labelled=convert)
        return examples.cost(lmbda, examples.outputs())

    def save(self, filename: StrPath) -> None:
        """Write the network to a JSON file with the fields "sizes", "weights", "biases" and "cost".

        The field "cost" is the name of the cost. The file is written atomically.

        Parameters
        ----------
        filename : str or os.PathLike
            The file.

        Raises
        ------
        InputError
            If the file cannot be written, or if parameters are not finite.

        References
        ----------
        Chapter 3.

        Examples
        --------
        >>> import tempfile
        >>> net = Network([2, 1])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(folder + "/net")
        ...     same = load(folder + "/net")
        >>> same.weights[0].tolist() == net.weights[0].tolist()
        True
        """
        cost = getattr(self.cost, "__name__", type(self.cost).__name__)
        write_network(filename, sizes_of(self.weights), self.weights, self.biases, cost)

    def _epoch(self, training: Pairs, mini_batch_size: int, eta: float, lmbda: float) -> Epoch:
        """Return a function that trains for one epoch.

        The function runs in compiled code, unless a method or function called in its steps has been replaced.
        """
        n = len(training)
        cost = _lookup(_DELTAS, self.cost.delta)
        if not n or not cost or not _is_original(self, "update_mini_batch", "backprop"):
            return stepwise_epoch(
                lambda batch: self.update_mini_batch(batch, eta, lmbda, n), training.pairs, mini_batch_size
            )
        return compiled_epoch(self, cost, training, mini_batch_size, eta, lmbda)

    def _summed_gradient(self, mini_batch: Sequence[Pair]) -> Gradient:
        """Return the gradient (nabla_b, nabla_w) summed over the examples of a mini-batch."""
        if not _is_original(self, "backprop"):
            return sum_gradients(self, mini_batch)
        pairs = Pairs("mini_batch", mini_batch, sizes_of(self.weights))
        if _lookup(_DELTAS, self.cost.delta):
            return sum_over_columns(self.backprop(pairs.x.T, pairs.y.T))
        zs, activations = forward(self.weights, self.biases, pairs.x.T, sigmoid)
        each = zip(_single_columns(zs[-1]), _single_columns(activations[-1]), pairs.xs_and_ys[1], strict=True)
        # A custom cost gets one column at a time, because its δ may depend on the column as a whole.
        delta = np.hstack([self.cost.delta(z, a, y) for z, a, y in each])
        return sum_over_columns(backward(self.weights, zs, activations, delta, sigmoid_prime))


def load(filename: StrPath) -> Network:
    """Load a network from a file written by `Network.save`, either the book's or this module's.

    Parameters
    ----------
    filename : str or os.PathLike
        The file.

    Returns
    -------
    Network
        The network, with the cost named in the file.

    Raises
    ------
    InputError
        If the file has another format.

    Notes
    -----
    A custom cost is looked up in this module by its name. Before you load a network with a custom cost, assign the cost
    to the module, for example by `network2.MyCost = MyCost`.

    References
    ----------
    Chapter 3. See `Network.save` for an example.
    """
    sizes, weights, biases, cost = read_network(filename)
    costs = {name: c for name, c in globals().items() if hasattr(c, "fn") and hasattr(c, "delta")}
    with reading(filename):
        net = Network(sizes, cost=choose("cost", cost[:60], costs))
    net.weights, net.biases = weights, biases
    return net


class _Examples(Pairs):
    """Examples for the evaluation of a network: the pairs, their current order, and their matrices."""

    def __init__(self, net: Network, name: str, pairs: Iterable[Pair], *, labelled: bool) -> None:
        super().__init__(name, list(pairs), sizes_of(net.weights))
        self.net, self.labelled = net, labelled
        self.order = list(range(len(self)))  # shuffled like the book's list, with the same swaps

    @cached_property
    def targets(self) -> Array:
        """A matrix with the targets for the outputs as its rows. The target for a label is a unit vector."""
        if not self.labelled:
            return self.y
        labels, inverse = np.unique(self.labels, return_inverse=True)
        return rows_of(self.name, [vectorized_result(label) for label in labels], self.sizes[-1])[inverse]

    @cached_property
    def classes(self) -> Array:
        """The class of each example: the index that its largest output should have."""
        if self.labelled:
            return self.labels
        with suppress(InputError):
            return np.asarray(np.argmax(self.y, axis=1))
        return np.array([np.argmax(y) for y in self.xs_and_ys[1]])  # a custom cost may use targets of another shape

    def ordered(self) -> list[Pair]:
        """Return the pairs in their current order."""
        return [self.pairs[i] for i in self.order]

    def outputs(self) -> Array:
        """Return a matrix of the outputs aᴸ, with one column per example."""
        if not len(self):
            raise InputError(f"{self.name} must contain at least one pair (x, y), got an empty list")
        if _is_original(self.net, "feedforward"):
            return outputs(self.net, self.x)
        return np.array([self.net.feedforward(x) for x in self.xs_and_ys[0]]).reshape(len(self), -1).T

    def cost(self, lmbda: float, a: Array) -> float:
        """Return the cost of the examples, given their outputs `a`. The L2 term is included."""
        n, net = len(self), self.net
        costs_of_columns = _lookup(_FNS, net.cost.fn)
        if costs_of_columns:
            costs = costs_of_columns(a, self.targets.T)
        else:
            ys = map(vectorized_result, self.xs_and_ys[1]) if self.labelled else self.xs_and_ys[1]
            costs = np.array([net.cost.fn(column, y) for column, y in zip(_single_columns(a), ys, strict=True)])
        decay = 0.5 * (lmbda / n) * sum(np.linalg.norm(w) ** 2 for w in net.weights)
        total: float = np.sum(costs / n) + decay
        return total

    def count_correct(self, a: Array) -> int:
        """Return the number of examples whose class is the index of their largest output in `a`."""
        return int(np.sum(a.argmax(axis=0) == self.classes))


@dataclass
class _Monitor:
    """The results monitored by `SGD` on the training data or on the evaluation data.

    If `count_always` is True, correct outputs are counted even if the accuracy is not monitored.
    """

    examples: _Examples
    lmbda: float
    cost: bool
    accuracy: bool
    count_always: bool = False
    costs: list[float] = field(default_factory=list)
    accuracies: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the matrices of the examples now, so that unusable examples are refused before training."""
        examples, net = self.examples, self.examples.net
        if not (self.cost or self.accuracy or self.count_always):
            return
        if not len(examples):
            raise InputError(f"{examples.name} must contain pairs (x, y) for monitoring and early stopping, got none")
        if _is_original(net, "feedforward", "total_cost", "accuracy"):
            _ = examples.x
        if self.cost and _is_original(net, "total_cost") and _lookup(_FNS, net.cost.fn) is not None:
            _ = examples.targets
        if (self.accuracy or self.count_always) and _is_original(net, "accuracy"):
            _ = examples.classes

    def record(self) -> int:
        """Print and store the monitored results, and return the number of correct outputs.

        The number is 0 if correct outputs are not counted.
        """
        one_pass = _is_original(self.examples.net, "feedforward")
        outputs = cache(self.examples.outputs) if one_pass else self.examples.outputs
        name, correct = self.examples.name.replace("_", " "), 0
        if self.cost:
            self.costs.append(self._total_cost(outputs))
            print(f"Cost on {name}: {self.costs[-1]}")
        if self.accuracy or self.count_always:
            correct = self._count_correct(outputs)
        if self.accuracy:
            self.accuracies.append(correct)
            print(f"Accuracy on {name}: {correct} / {len(self.examples)}")
        return correct

    def _total_cost(self, outputs: Callable[[], Array]) -> float:
        net, labelled = self.examples.net, self.examples.labelled
        if _is_original(net, "total_cost"):
            return self.examples.cost(self.lmbda, outputs())
        return net.total_cost(self.examples.ordered(), self.lmbda, **({"convert": True} if labelled else {}))

    def _count_correct(self, outputs: Callable[[], Array]) -> int:
        net, labelled = self.examples.net, self.examples.labelled
        if _is_original(net, "accuracy"):
            return self.examples.count_correct(outputs())
        return net.accuracy(self.examples.ordered(), **({} if labelled else {"convert": True}))


def _quadratic_costs(a: Any, y: Any) -> Any:
    return 0.5 * np.sum((a - y) ** 2, axis=0)


def _cross_entropies(a: Any, y: Any) -> Any:
    with np.errstate(all="ignore"):  # NumPy's 0 ln 0 is NaN, and its ln 0 is −∞
        return np.sum(np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a)), axis=0)


def _single_columns(matrix: Array) -> list[Array]:
    return [matrix[:, [i]] for i in range(matrix.shape[1])]


def _lookup(pairs: tuple[tuple[Any, T], ...], function: Any) -> T | None:
    """Return the value that is paired with `function` in `pairs`, or None if there is no such pair."""
    return next((value for original, value in pairs if original is function), None)


_DELTAS = ((QuadraticCost.delta, "quadratic"), (CrossEntropyCost.delta, "cross-entropy"))
_FNS = ((QuadraticCost.fn, _quadratic_costs), (CrossEntropyCost.fn, _cross_entropies))
_METHODS = {
    name: getattr(Network, name) for name in ("update_mini_batch", "backprop", "feedforward", "accuracy", "total_cost")
}
_FUNCTIONS = (sigmoid, sigmoid_prime)


def _is_original(net: Network, *names: str) -> bool:
    """Return whether `sigmoid`, `sigmoid_prime` and the named methods of a network are all the original ones.

    The result is False if one of them has been overridden or patched.
    """
    return (sigmoid, sigmoid_prime) == _FUNCTIONS and are_methods(net, _METHODS, names)
