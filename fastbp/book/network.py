"""The book's `network.py` in Python 3: M. Nielsen, *Neural Networks and Deep Learning*, chapters 1 and 2.

Names, signatures, defaults, printed lines, and what is drawn from `random` and `numpy.random` are the book's. Examples
are pairs of columns, x (n_0, 1) and y (n_L, 1), and of x and an integer label for tests. What a subclass, an instance
or a patched module replaces is called where the book calls it, one example at a time; what nobody has replaced runs
compiled (`SGD`) or on whole mini-batches as matrices.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from types import MethodType
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import backends
from fastbp.backends.operations import Examples, Plan
from fastbp.book.examples import Pair, columns, labels_of, rows_of, unzipped
from fastbp.checks import InputError, whole_number
from fastbp.optimizers import SGD
from fastbp.parameters import as_parameters, checked_parameters, moments_at_rest, plan_of
from fastbp.training import MiniBatches, State, Watcher

Array = npt.NDArray[Any]
_TEST_COLUMNS = 4096  # fed forward together: MNIST's in float64 take 25 MB


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
        # The book's generator, and biases first: the same seed gives the book's network.
        self.biases: list[Array] = [np.random.randn(n, 1) for n in sizes[1:]]  # noqa: NPY002
        self.weights: list[Array] = [
            np.random.randn(n, n_in)  # noqa: NPY002
            for n, n_in in zip(sizes[1:], sizes[:-1], strict=True)
        ]

    def feedforward(self, a: Any) -> Array:
        """Return aᴸ, shape (n_L, 1), for an input a, shape (n_0, 1): a ← σ(W a + b), layer by layer.

        More columns, (n_0, m), give (n_L, m). Raises `InputError` for another shape. Chapter 1, equations (1) and (2).

        >>> Network([2, 3]).feedforward(np.zeros((2, 1))).shape
        (3, 1)
        """
        activation = columns("a", a, _sizes_of(self.weights)[0])
        for w, b in zip(self.weights, self.biases, strict=True):
            activation = sigmoid(_weighted_input(w, activation, b))
        return activation

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
        replaced = not _is_the_books(self, "update_mini_batch", "backprop", "cost_derivative")
        train = self._step_by_step if replaced or not examples else self._compiled
        epoch = train(examples, mini_batch_size, eta)
        right = self._right(tests) if _is_the_books(self, "evaluate") else lambda: self.evaluate(tests)
        for number in range(epochs):
            epoch(number)
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
        factor = eta / len(mini_batch)
        nabla_b, nabla_w = self._summed(mini_batch)
        weights = [w - factor * nabla for w, nabla in zip(map(np.asarray, self.weights), nabla_w, strict=True)]
        biases = [b - factor * nabla for b, nabla in zip(map(np.asarray, self.biases), nabla_b, strict=True)]
        self.weights, self.biases = weights, biases

    def backprop(self, x: Any, y: Any) -> tuple[list[Array], list[Array]]:
        """Return (nabla_b, nabla_w), ∂C_x/∂b and ∂C_x/∂W of one example, lists like `biases` and `weights`.

        `x` is (n_0, 1); `y` (n_L, 1), or whatever an overridden `cost_derivative` takes. For columns (n_0, m) and
        (n_L, m) nabla_b are (n_l, m), one column an example, and nabla_w their sum. Raises `InputError` for other
        shapes. Chapter 2, equations (BP1) to (BP4).

        >>> nabla_b, nabla_w = Network([2, 3, 1]).backprop(np.zeros((2, 1)), np.ones((1, 1)))
        >>> [nabla.shape for nabla in nabla_w]
        [(3, 2), (1, 3)]
        """
        sizes = _sizes_of(self.weights)
        zs: list[Array] = []
        activations = [columns("x", x, sizes[0])]
        for w, b in zip(self.weights, self.biases, strict=True):
            zs.append(_weighted_input(w, activations[-1], b))
            activations.append(sigmoid(zs[-1]))
        if _is_the_books(self, "cost_derivative"):
            y = columns("y", y, sizes[-1])  # a label would broadcast: a − 7 for every output
        delta = self.cost_derivative(activations[-1], y) * sigmoid_prime(zs[-1])  # (BP1)
        if np.shape(delta) != zs[-1].shape:
            raise InputError(f"the output error has shape {np.shape(delta)} and the output {zs[-1].shape}; see y")
        deltas = [delta]
        for w, z in zip(self.weights[:0:-1], zs[-2::-1], strict=True):
            deltas.insert(0, np.dot(np.transpose(w), deltas[0]) * sigmoid_prime(z))  # (BP2)
        return deltas, [np.dot(delta, a.T) for delta, a in zip(deltas, activations[:-1], strict=True)]  # (BP3), (BP4)

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

    def _step_by_step(self, examples: list[Pair], mini_batch_size: int, eta: float) -> Callable[[int], None]:
        """Return an epoch that calls `update_mini_batch`, which somebody may have replaced, or what it calls."""

        def epoch(number: int) -> None:
            random.shuffle(examples)
            for start in range(0, len(examples), mini_batch_size):
                self.update_mini_batch(examples[start : start + mini_batch_size], eta)

        return epoch

    def _compiled(self, examples: list[Pair], mini_batch_size: int, eta: float) -> Callable[[int], None]:
        """Return an epoch that runs compiled, over examples converted once."""
        plan = _plan_of(_sizes_of(self.weights))
        xs, ys = unzipped("training_data", examples)
        x, y = rows_of("training_data", xs, plan.sizes[0]), rows_of("training_data", ys, plan.sizes[-1])
        source = x.dtype.name if x.dtype.name in ("float32", "uint8") else plan.dtype  # converted as it is gathered
        x, y = plan.backend.upload(np.asarray(x, source)), plan.backend.upload(np.asarray(y, plan.dtype))
        size = min(whole_number("mini_batch_size", mini_batch_size), len(examples))
        given = Examples(x, y, plan.block(0, len(examples)), 1.0)
        p = as_parameters(*self._copies(plan), plan)
        loop = MiniBatches(plan, p, given, source, size, len(examples), State(moments_at_rest(plan)), SGD())
        order = list(range(len(examples)))  # shuffled like the book's list: by the same swaps

        def epoch(number: int) -> None:
            # Read anew, since an `evaluate` of somebody's own may have assigned some, and put in place at once, so
            # that Ctrl-C leaves what has been trained.
            self.weights, self.biases = self._copies(plan)
            loop.p = as_parameters(self.weights, self.biases, plan)
            loop.state = State(loop.state.moments, epoch=number + 1)
            random.shuffle(order)
            loop.epoch(np.array(order, np.int64), float(eta), Watcher())

        return epoch

    def _copies(self, plan: Plan) -> tuple[list[Array], list[Array]]:
        """Return checked copies of weights and biases: compiled code works in place, and the book's does not."""
        weights = checked_parameters("weights", self.weights, plan, copied=True)
        return weights, checked_parameters("biases", self.biases, plan, copied=True)

    def _summed(self, mini_batch: Sequence[Pair]) -> tuple[list[Array], list[Array]]:
        """Return (nabla_b, nabla_w) summed over the examples of a mini-batch."""
        if _is_the_books(self, "backprop", "cost_derivative"):
            # NumPy, not the compiled step: for 784-30-10 × 10 this takes less than the call of compiled code does.
            sizes = _sizes_of(self.weights)
            xs, ys = unzipped("mini_batch", mini_batch)
            x, y = rows_of("mini_batch", xs, sizes[0]), rows_of("mini_batch", ys, sizes[-1])
            deltas, nabla_w = self.backprop(x.T, y.T)
            return [delta.sum(axis=1, keepdims=True) for delta in deltas], nabla_w
        nabla_b, nabla_w = ([np.zeros(np.shape(p)) for p in parameters] for parameters in (self.biases, self.weights))
        for x, y in mini_batch:
            delta_nabla_b, delta_nabla_w = self.backprop(x, y)
            nabla_b = [nabla + delta for nabla, delta in zip(nabla_b, delta_nabla_b, strict=True)]
            nabla_w = [nabla + delta for nabla, delta in zip(nabla_w, delta_nabla_w, strict=True)]
        return nabla_b, nabla_w

    def _right(self, tests: list[Pair]) -> Callable[[], int]:
        """Return what counts the tests that come out right: over matrices, converted once, if nothing is replaced."""
        if not _is_the_books(self, "feedforward"):
            return lambda: sum(int(np.argmax(self.feedforward(x)) == label) for x, label in tests)
        if not tests:
            return lambda: 0
        xs, ys = unzipped("test_data", tests)
        rows, labels = rows_of("test_data", xs, _sizes_of(self.weights)[0]), labels_of("test_data", ys)

        def right() -> int:
            parts = (slice(start, start + _TEST_COLUMNS) for start in range(0, len(rows), _TEST_COLUMNS))
            return sum(int(np.sum(self.feedforward(rows[part].T).argmax(axis=0) == labels[part])) for part in parts)

        return right


def sigmoid(z: Any) -> Any:
    """Return σ(z) = 1/(1 + e^(−z)), a number or an array of any shape. Chapter 1, equation (3).

    >>> float(sigmoid(0.0))
    0.5
    """
    with np.errstate(over="ignore"):  # e^(−z) = ∞ gives σ = 0, which is right
        return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z: Any) -> Any:
    """Return σ′(z) = σ(z) (1 − σ(z)), a number or an array of any shape. Chapter 2.

    >>> float(sigmoid_prime(0.0))
    0.25
    """
    a = sigmoid(z)
    return a * (1.0 - a)


_METHODS = {
    name: getattr(Network, name)
    for name in ("update_mini_batch", "backprop", "cost_derivative", "feedforward", "evaluate")
}
_FUNCTIONS = (sigmoid, sigmoid_prime)


def _is_the_books(net: Network, *names: str) -> bool:
    """Say whether these methods of a network, and σ and σ′, are those above: not overridden, assigned or patched."""
    return (sigmoid, sigmoid_prime) == _FUNCTIONS and all(
        getattr(net, name) == MethodType(_METHODS[name], net) for name in names
    )


def _sizes_of(weights: Sequence[Any]) -> tuple[int, ...]:
    """Return the sizes of the layers by the weights, which count where they differ from `Network.sizes`."""
    shapes = [np.shape(w) for w in weights]
    if not shapes or any(len(shape) != 2 for shape in shapes):
        raise InputError(f"weights have shapes {shapes}; wanted is a list of one or more (n_l, n_{{l-1}}) arrays")
    return (shapes[0][1], *(shape[0] for shape in shapes))


@cache  # a new plan has new formulas of its own, whose kernels take 10 ms to load even when they have been compiled
def _plan_of(sizes: tuple[int, ...]) -> Plan:
    # Always NumPy's backend, whichever is the current one: the parameters are NumPy arrays before and after.
    return plan_of(sizes, "sigmoid", "quadratic", bias=True, dtype="float64", backend=backends.get("numpy"))


def _weighted_input(w: Any, a: Array, b: Any) -> Array:
    """Return z = W a + b, or raise `InputError` where b has a shape that would broadcast to something else."""
    z = np.dot(w, a) + b
    wanted = (np.shape(w)[0], a.shape[1])
    if z.shape != wanted:
        raise InputError(
            f"biases of shape {np.shape(b)} for weights of shape {np.shape(w)}; wanted is ({wanted[0]}, 1)"
        )
    return np.asarray(z)
