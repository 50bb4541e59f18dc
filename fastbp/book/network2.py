"""The book's `network2.py` in Python 3: M. Nielsen, *Neural Networks and Deep Learning*, chapter 3.

Names, signatures, defaults, printed lines, files, and what is drawn from `random` and `numpy.random` are the book's;
`early_stopping_n` is that of its best known version for Python 3, by M. D. Dobrzański. Examples to train on are pairs
of columns, x (n_0, 1) and y (n_L, 1); those to evaluate on are pairs of x and an integer label. What a subclass, an
instance, a cost of one's own or a patched module replaces is called where the book calls it, one example at a time;
what nobody has replaced runs compiled (`SGD`) or on many columns as matrices.
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
from fastbp.errors import InputError, brief, choose, whole_number
from fastbp.files.tensors import StrPath, reading

T = TypeVar("T")
Array = npt.NDArray[Any]
Lists = tuple[list[float], list[int], list[float], list[int]]


class QuadraticCost:
    """The quadratic cost, C_x = ½ ‖a − y‖². Chapter 3; equations (6) and (BP1)."""

    @staticmethod
    def fn(a: Any, y: Any) -> Any:
        """Return C_x for outputs a and targets y, both (n_L, 1).

        >>> float(QuadraticCost.fn(np.array([[0.5], [1.0]]), np.array([[0.0], [1.0]])))
        0.125
        """
        return np.sum(_quadratic_costs(a, y))

    @staticmethod
    def delta(z: Any, a: Any, y: Any) -> Any:
        """Return the output error δ = (a − y) ⊙ σ′(z), all of one shape.

        >>> float(QuadraticCost.delta(0.0, 0.5, 1.0))
        -0.125
        """
        return (a - y) * sigmoid_prime(z)


class CrossEntropyCost:
    """The cross-entropy cost, C_x = −Σ y ln a + (1 − y) ln(1 − a). Chapter 3, equations (57) and (63)."""

    @staticmethod
    def fn(a: Any, y: Any) -> Any:
        """Return C_x for outputs a and targets y, both (n_L, 1); 0 ln 0 is 0, and ln 0 the lowest finite number.

        >>> float(CrossEntropyCost.fn(np.array([[0.5], [1.0]]), np.array([[0.0], [1.0]])))  # ln 2
        0.6931471805599453
        """
        return np.sum(_cross_entropies(a, y))

    @staticmethod
    def delta(z: Any, a: Any, y: Any) -> Any:
        """Return the output error δ = a − y, whatever z.

        >>> float(CrossEntropyCost.delta(0.0, 0.5, 1.0))
        -0.5
        """
        return a - y


class Network:
    """The book's second network: sigmoid layers trained on a cost of choice, with L2 regularization, in float64.

    `sizes` counts the neurons of each layer, the input first. `cost` has `fn(a, y)` and `delta(z, a, y)`; one of one's
    own is called with columns, one example at a time. `biases`, arrays (n_l, 1), and `weights`, arrays (n_l, n_{l−1}),
    are drawn by `default_weight_initializer`; both lists and what is in them can be read and assigned at any time.
    Training makes new arrays and leaves those that were read before as they are. Chapter 3.

    >>> net = Network([2, 3, 1], cost=QuadraticCost)
    >>> net.num_layers, [w.shape for w in net.weights], [b.shape for b in net.biases]
    (3, [(3, 2), (1, 3)], [(3, 1), (1, 1)])
    """

    biases: list[Array]
    weights: list[Array]

    def __init__(self, sizes: Sequence[int], cost: Any = CrossEntropyCost) -> None:
        if not callable(getattr(cost, "delta", None)):
            raise InputError(f"cost is {brief(cost)}; wanted has fn(a, y) and delta(z, a, y), like CrossEntropyCost")
        self.num_layers = len(sizes)
        self.sizes = sizes
        self.default_weight_initializer()
        self.cost = cost

    def default_weight_initializer(self) -> None:
        """Draw biases from N(0, 1), and weights from N(0, 1/n_in), n_in the inputs of their layer. Chapter 3.

        >>> net = Network([10_000, 2])
        >>> net.default_weight_initializer()
        >>> bool(abs(net.weights[0]).max() < 0.1)
        True
        """
        self.biases, weights = drawn(self.sizes)
        self.weights = [w / np.sqrt(w.shape[1]) for w in weights]

    def large_weight_initializer(self) -> None:
        """Draw biases and weights from N(0, 1), as in chapter 1.

        >>> net = Network([10_000, 2])
        >>> net.large_weight_initializer()
        >>> bool(abs(net.weights[0]).max() > 1.0)
        True
        """
        self.biases, self.weights = drawn(self.sizes)

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
        lmbda: float = 0.0,
        evaluation_data: Iterable[Pair] | None = None,
        monitor_evaluation_cost: bool = False,
        monitor_evaluation_accuracy: bool = False,
        monitor_training_cost: bool = False,
        monitor_training_accuracy: bool = False,
        early_stopping_n: int = 0,
    ) -> Lists:
        """Train by mini-batch stochastic gradient descent; print what is monitored, and return it.

        `training_data` are pairs (x, y) of columns (n_0, 1) and (n_L, 1), `evaluation_data` pairs of x and an integer
        label. Each epoch shuffles the former by `random.shuffle`, in a list of this method's own, and cuts it into
        mini-batches, of which the last may be shorter; `lmbda` is λ of the L2 term. With `early_stopping_n` training
        ends after so many epochs in a row without a better accuracy on `evaluation_data`, monitored or not.

        Returns (evaluation_cost, evaluation_accuracy, training_cost, training_accuracy): lists with one entry an epoch,
        empty where nothing is monitored; accuracies count the examples that come out right. Chapter 3.

        Raises `InputError` for wrong shapes and for evaluation without data, before anything is changed;
        `DivergedError` when the cost is no longer finite. Ctrl-C raises KeyboardInterrupt and leaves the parameters of
        the last whole mini-batch.

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
        watched = _Watched(training, lmbda, monitor_training_cost, monitor_training_accuracy)
        judged = _Watched(evaluation, lmbda, monitor_evaluation_cost, monitor_evaluation_accuracy, counted=patience > 0)
        epoch = self._epoch(training, mini_batch_size, eta, lmbda)
        best, waited = 0, 0
        for number in range(epochs):
            random.shuffle(training.order)
            epoch(training.order)
            print(f"Epoch {number} training complete")
            watched.look()
            right = judged.look()
            print()
            best, waited = (right, 0) if right > best else (best, waited + 1)
            if waited == patience > 0:
                break
        return judged.costs, judged.accuracies, watched.costs, watched.accuracies

    def update_mini_batch(self, mini_batch: Sequence[Pair], eta: float, lmbda: float, n: int) -> None:
        """Take one step of gradient descent: W ← (1 − ηλ/n) W − (η/m) Σ ∂C_x/∂W, b ← b − (η/m) Σ ∂C_x/∂b.

        `mini_batch` is a list of m pairs (x, y) of columns (n_0, 1) and (n_L, 1), and n counts the examples of the
        whole training set. Raises `InputError` for other shapes, before anything is changed. Chapter 3.

        >>> net = Network([1, 1])
        >>> net.weights, net.biases = [np.zeros((1, 1))], [np.zeros((1, 1))]
        >>> net.update_mini_batch([(np.array([[2.0]]), np.array([[1.0]]))], 0.8, 0.0, 1)  # δ = ½ − 1
        >>> net.biases[0].tolist(), net.weights[0].tolist()
        ([[0.4]], [[0.8]])
        """
        step(self, self._summed(mini_batch), eta / len(mini_batch), eta * (lmbda / n))

    def backprop(self, x: Any, y: Any) -> tuple[list[Array], list[Array]]:
        """Return (nabla_b, nabla_w), ∂C_x/∂b and ∂C_x/∂W of one example, lists like `biases` and `weights`.

        `x` is (n_0, 1); `y` (n_L, 1), or whatever the `delta` of a cost of one's own takes. Raises `InputError` for
        other shapes. Chapter 2, equations (BP1) to (BP4).

        >>> nabla_b, nabla_w = Network([2, 3, 1]).backprop(np.zeros((2, 1)), np.ones((1, 1)))
        >>> [nabla.shape for nabla in nabla_w]
        [(3, 2), (1, 3)]
        """
        sizes = sizes_of(self.weights)
        zs, activations = forward(self.weights, self.biases, columns("x", x, sizes[0]), sigmoid)
        if _among(_DELTAS, self.cost.delta):
            y = columns("y", y, sizes[-1])  # a label would broadcast: a − 7 for every output
        delta = self.cost.delta(zs[-1], activations[-1], y)
        return backward(self.weights, zs, activations, delta, sigmoid_prime)

    def accuracy(self, data: Iterable[Pair], convert: bool = False) -> int:
        """Return for how many of the pairs (x, y) the largest output is that of y.

        y is a label, as in evaluation data, or with `convert` a column (n_L, 1), as in training data. Raises
        `InputError` where an x is not (n_0, 1) or a label not one number. Chapter 3.

        >>> Network([2, 1]).accuracy([(np.zeros((2, 1)), 0), (np.ones((2, 1)), 1)])
        1
        """
        examples = _Examples(self, "data", data, labelled=not convert)
        return examples.right(examples.outputs()) if len(examples) else 0

    def total_cost(self, data: Iterable[Pair], lmbda: float, convert: bool = False) -> float:
        """Return C = (1/n) Σ C_x + (λ/2n) Σ ‖W‖² over n pairs (x, y).

        y is a column (n_L, 1), as in training data, or with `convert` the label of one of ten, as in evaluation data.
        Raises `InputError` for other shapes, and for no pairs. Chapter 3, equations (85) and (87).

        >>> net = Network([1, 1], cost=QuadraticCost)
        >>> net.weights, net.biases = [np.array([[2.0]])], [np.array([[0.0]])]
        >>> float(net.total_cost([(np.zeros((1, 1)), np.ones((1, 1)))], 0.5))  # ½ (½ − 1)² + ½ 0.5 · 2²
        1.125
        """
        examples = _Examples(self, "data", data, labelled=convert)
        return examples.cost(lmbda, examples.outputs())

    def save(self, filename: StrPath) -> None:
        """Write the network as JSON: "sizes", "weights", "biases", and the "cost" by its name. Chapter 3.

        The file is written whole or not at all. Raises `InputError` if it cannot be, or for parameters that are not
        finite.

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
        """Return an epoch: compiled, unless somebody has replaced what a step of it would call."""
        n = len(training)
        cost = _among(_DELTAS, self.cost.delta)
        if not n or not cost or not _is_the_books(self, "update_mini_batch", "backprop"):
            return step_by_step(
                lambda batch: self.update_mini_batch(batch, eta, lmbda, n), training.pairs, mini_batch_size
            )
        return compiled(self, cost, training, mini_batch_size, eta, lmbda)

    def _summed(self, mini_batch: Sequence[Pair]) -> Gradient:
        """Return (nabla_b, nabla_w) summed over the examples of a mini-batch."""
        if not _is_the_books(self, "backprop"):
            return summed_one_by_one(self, mini_batch)
        pairs = Pairs("mini_batch", mini_batch, sizes_of(self.weights))
        if _among(_DELTAS, self.cost.delta):
            return summed_columns(self.backprop(pairs.x.T, pairs.y.T))
        zs, activations = forward(self.weights, self.biases, pairs.x.T, sigmoid)
        each = zip(_single_columns(zs[-1]), _single_columns(activations[-1]), pairs.xs_and_ys[1], strict=True)
        delta = np.hstack([self.cost.delta(z, a, y) for z, a, y in each])  # may look at all of a column, and no more
        return summed_columns(backward(self.weights, zs, activations, delta, sigmoid_prime))


def load(filename: StrPath) -> Network:
    """Return the network in a file that `Network.save`, or the book's, wrote; see `Network.save`. Chapter 3.

    A cost of one's own is found by its name once it has been put into this module: `network2.Mine = Mine`. Raises
    `InputError` for a file that is anything else.
    """
    sizes, weights, biases, cost = read_network(filename)
    costs = {name: c for name, c in globals().items() if hasattr(c, "fn") and hasattr(c, "delta")}
    with reading(filename):
        net = Network(sizes, cost=choose("cost", cost[:60], costs))
    net.weights, net.biases = weights, biases
    return net


class _Examples(Pairs):
    """Examples of a network, on which it is judged: the pairs, the order in which they stand now, and matrices."""

    def __init__(self, net: Network, name: str, pairs: Iterable[Pair], *, labelled: bool) -> None:
        super().__init__(name, list(pairs), sizes_of(net.weights))
        self.net, self.labelled = net, labelled
        self.order = list(range(len(self)))  # shuffled like the book's list: by the same swaps

    @cached_property
    def targets(self) -> Array:
        """The columns that the outputs should be, as rows."""
        if not self.labelled:
            return self.y
        labels, places = np.unique(self.labels, return_inverse=True)
        return rows_of(self.name, [vectorized_result(label) for label in labels], self.sizes[-1])[places]

    @cached_property
    def classes(self) -> Array:
        """The index that the largest output should have, for each example."""
        if self.labelled:
            return self.labels
        with suppress(InputError):
            return np.asarray(np.argmax(self.y, axis=1))
        return np.array([np.argmax(y) for y in self.xs_and_ys[1]])  # a cost of one's own may take other targets

    def ordered(self) -> list[Pair]:
        """Return the pairs in their order."""
        return [self.pairs[i] for i in self.order]

    def outputs(self) -> Array:
        """Return aᴸ for each example, one column each."""
        if not len(self):
            raise InputError(f"{self.name} is empty; wanted is a pair (x, y) or more")
        if _is_the_books(self.net, "feedforward"):
            return outputs(self.net, self.x)
        return np.array([self.net.feedforward(x) for x in self.xs_and_ys[0]]).reshape(len(self), -1).T

    def cost(self, lmbda: float, a: Array) -> float:
        """Return the cost of outputs, with the L2 term."""
        n, net = len(self), self.net
        by_columns = _among(_FNS, net.cost.fn)
        if by_columns:
            costs = by_columns(a, self.targets.T)
        else:
            ys = map(vectorized_result, self.xs_and_ys[1]) if self.labelled else self.xs_and_ys[1]
            costs = np.array([net.cost.fn(column, y) for column, y in zip(_single_columns(a), ys, strict=True)])
        decay = 0.5 * (lmbda / n) * sum(np.linalg.norm(w) ** 2 for w in net.weights)
        total: float = np.sum(costs / n) + decay
        return total

    def right(self, a: Array) -> int:
        """Return for how many examples the largest of the outputs is the right one."""
        return int(np.sum(a.argmax(axis=0) == self.classes))


@dataclass
class _Watched:
    """What `SGD` says of some examples after each epoch; `counted` has their accuracy found but not said."""

    examples: _Examples
    lmbda: float
    cost: bool
    accuracy: bool
    counted: bool = False
    costs: list[float] = field(default_factory=list)
    accuracies: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the matrices, so that what cannot be used is refused before training."""
        examples, net = self.examples, self.examples.net
        if not (self.cost or self.accuracy or self.counted):
            return
        if not len(examples):
            raise InputError(f"{examples.name} is empty; wanted are pairs (x, y) to monitor or to stop early by")
        if _is_the_books(net, "feedforward", "total_cost", "accuracy"):
            _ = examples.x
        if self.cost and _is_the_books(net, "total_cost") and _among(_FNS, net.cost.fn) is not None:
            _ = examples.targets
        if (self.accuracy or self.counted) and _is_the_books(net, "accuracy"):
            _ = examples.classes

    def look(self) -> int:
        """Print what is monitored and take it down; return how many examples come out right if that is wanted."""
        one_pass = _is_the_books(self.examples.net, "feedforward")
        outputs = cache(self.examples.outputs) if one_pass else self.examples.outputs
        name, right = self.examples.name.replace("_", " "), 0
        if self.cost:
            self.costs.append(self._total_cost(outputs))
            print(f"Cost on {name}: {self.costs[-1]}")
        if self.accuracy or self.counted:
            right = self._right(outputs)
        if self.accuracy:
            self.accuracies.append(right)
            print(f"Accuracy on {name}: {right} / {len(self.examples)}")
        return right

    def _total_cost(self, outputs: Callable[[], Array]) -> float:
        net, labelled = self.examples.net, self.examples.labelled
        if _is_the_books(net, "total_cost"):
            return self.examples.cost(self.lmbda, outputs())
        return net.total_cost(self.examples.ordered(), self.lmbda, **({"convert": True} if labelled else {}))

    def _right(self, outputs: Callable[[], Array]) -> int:
        net, labelled = self.examples.net, self.examples.labelled
        if _is_the_books(net, "accuracy"):
            return self.examples.right(outputs())
        return net.accuracy(self.examples.ordered(), **({} if labelled else {"convert": True}))


def _quadratic_costs(a: Any, y: Any) -> Any:
    return 0.5 * np.sum((a - y) ** 2, axis=0)


def _cross_entropies(a: Any, y: Any) -> Any:
    with np.errstate(all="ignore"):  # 0 ln 0 is NaN, and ln 0 infinite
        return np.sum(np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a)), axis=0)


def _single_columns(matrix: Array) -> list[Array]:
    return [matrix[:, [i]] for i in range(matrix.shape[1])]


def _among(pairs: tuple[tuple[Any, T], ...], function: Any) -> T | None:
    """Return what stands beside a function, if it is one of the book's."""
    return next((value for books, value in pairs if books is function), None)


_DELTAS = ((QuadraticCost.delta, "quadratic"), (CrossEntropyCost.delta, "cross-entropy"))
_FNS = ((QuadraticCost.fn, _quadratic_costs), (CrossEntropyCost.fn, _cross_entropies))
_METHODS = {
    name: getattr(Network, name) for name in ("update_mini_batch", "backprop", "feedforward", "accuracy", "total_cost")
}
_FUNCTIONS = (sigmoid, sigmoid_prime)


def _is_the_books(net: Network, *names: str) -> bool:
    """Say whether these methods of a network, and σ and σ′, are the book's: not overridden, assigned or patched."""
    return (sigmoid, sigmoid_prime) == _FUNCTIONS and are_methods(net, _METHODS, names)
