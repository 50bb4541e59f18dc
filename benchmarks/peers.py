"""The peers that fastbp is compared with: other libraries, or NumPy code, that train the same network.

Each library is used as its documentation does it. `begin` copies the parameters of a network to the peer. `epoch`
trains for one epoch: it shuffles the examples, gathers mini-batches, computes gradients and updates the parameters.
`parameters` returns the parameters. The gradient of a peer is the change of the parameters in an epoch of a single
mini-batch, divided by η. So the code that is checked is the code that is timed.

All peers except scikit-learn minimise the mean of ½‖y − a‖² over a mini-batch, with sigmoids in every layer.
scikit-learn has this loss only for regression, without a sigmoid at the output. So its peer uses softmax at the output
and the log-likelihood cost. Its matrix products are the same.
"""

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

import fastbp
from benchmarks.book import OneByOne

Array = Any
Arrays = list[Any]
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}  # relative to the largest element of each array of the gradient


class Peer(ABC):
    """A way to train a network. Each row of `x` is an example. The same row of `y` is the unit vector of its label."""

    name: str
    package: str | None = None
    activations: tuple[str, str] = ("sigmoid", "sigmoid")  # of the hidden layers, and of the last layer
    cost = "quadratic"
    dtype = "float32"
    largest_net = 10**9  # number of weights above which an epoch takes too long

    def missing(self) -> str | None:
        """Return why the peer cannot be used, or None."""
        if self.package is None or find_spec(self.package.replace("scikit-learn", "sklearn")):
            return None
        return f"not installed: pip install {self.package}"

    def version(self) -> str:
        """Return the name and the version of the package."""
        return f"NumPy {np.__version__}" if self.package is None else f"{self.package} {version(self.package)}"

    @abstractmethod
    def begin(self, weights: Arrays, biases: Arrays, x: Array, y: Array, m: int, eta: float) -> None:
        """Set the parameters and the examples. Arrays that training changes are copied first."""

    @abstractmethod
    def epoch(self) -> None:
        """Train for one epoch, and wait until it is complete."""

    @abstractmethod
    def parameters(self) -> tuple[Arrays, Arrays]:
        """Return the weights and the biases."""

    def seconds(self) -> float:
        """Train for one epoch; return the seconds that it took."""
        start = time.perf_counter()
        self.epoch()
        return time.perf_counter() - start

    def gradient(self, weights: Arrays, biases: Arrays, x: Array, y: Array) -> tuple[Arrays, Arrays]:
        """Return the gradient (nabla_b, nabla_w), summed over the examples. They form one mini-batch."""
        eta = 1e3  # so large that the rounding error of the difference comes from the step, not from the parameters
        self.begin(weights, biases, x, y, len(x), eta)
        self.epoch()
        after_w, after_b = self.parameters()
        scale = len(x) / eta
        nabla_w = [(before - np.asarray(after)) * scale for before, after in zip(weights, after_w, strict=True)]
        return [(b - np.asarray(a)) * scale for b, a in zip(biases, after_b, strict=True)], nabla_w

    def check(self, weights: Arrays, biases: Arrays, x: Array, y: Array) -> None:
        """Raise ValueError unless the gradient equals that of `fastbp.backprop` in float64, up to rounding errors."""
        gradient = self.gradient(weights, biases, x, y)
        wide = [[np.asarray(p, np.float64) for p in arrays] for arrays in (weights, biases)]
        hidden, last = self.activations
        activations = [hidden] * (len(weights) - 1) + [last]
        expected = fastbp.backprop(
            *wide, x.T.astype(np.float64), y.T.astype(np.float64), activations=activations, cost=self.cost
        )
        for one, other in zip([*gradient[0], *gradient[1]], [*expected[0], *expected[1]], strict=True):
            error = np.abs(one.reshape(other.shape) - other).max() / np.abs(other).max()
            if not error <= TOLERANCE[self.dtype]:
                raise ValueError(f"its gradient differs by {error:.1e} of the largest element")


class Fastbp(Peer):
    """fastbp itself. The time is that of an epoch of `Network.train`, with shuffling, gathering and the cost.

    `Network.train` also checks the data once per call, before the first epoch. The time does not include this check.
    """

    package = "fastbp"

    def __init__(self, dtype: str = "float32", backend: str = "numpy") -> None:
        self.dtype, self.backend = dtype, backend
        self.name = f"fastbp {dtype}" if backend == "numpy" else f"fastbp {dtype} on {backend}"

    def begin(self, weights: Arrays, biases: Arrays, x: Array, y: Array, m: int, eta: float) -> None:
        sizes = [weights[0].shape[1], *(len(w) for w in weights)]
        self.net = fastbp.Network(sizes, dtype=self.dtype, backend=self.backend, rng=0)
        self.net.weights, self.net.biases = weights, biases
        self.x, self.y, self.m, self.eta = x.T, y.T, m, eta

    def epoch(self) -> None:
        self.seconds()

    def seconds(self) -> float:
        options = {"epochs": 1, "mini_batch_size": self.m, "eta": self.eta, "progress": False}
        return float(self.net.train(self.x, self.y, **options).seconds[0])

    def parameters(self) -> tuple[Arrays, Arrays]:
        return self.net.weights, self.net.biases


def _sigmoid(z: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-z))


class MatrixForm(Peer):
    """The algorithm of the notes in matrix form, written with NumPy expressions."""

    name = "NumPy, matrix form"

    def begin(self, weights: Arrays, biases: Arrays, x: Array, y: Array, m: int, eta: float) -> None:
        self.weights, self.biases = [w.copy() for w in weights], [b.ravel().copy() for b in biases]
        self.x, self.y, self.m, self.eta, self.rng = x, y, m, eta, np.random.default_rng(0)

    def epoch(self) -> None:
        order = self.rng.permutation(len(self.x))
        for start in range(0, len(order), self.m):
            mini_batch = order[start : start + self.m]
            self.descend(self.x[mini_batch], self.y[mini_batch])

    def descend(self, x: Array, y: Array) -> None:
        activations = [x]
        for w, b in zip(self.weights, self.biases, strict=True):
            activations.append(_sigmoid(activations[-1] @ w.T + b))
        step = self.eta / len(x)
        delta = (activations[-1] - y) * activations[-1] * (1 - activations[-1])
        for l in range(len(self.weights) - 1, -1, -1):
            nabla_w, nabla_b = delta.T @ activations[l], delta.sum(axis=0)
            if l:
                delta = (delta @ self.weights[l]) * activations[l] * (1 - activations[l])
            self.weights[l] -= step * nabla_w
            self.biases[l] -= step * nabla_b

    def parameters(self) -> tuple[Arrays, Arrays]:
        return self.weights, [b[:, None] for b in self.biases]


class LoopOverExamples(OneByOne, Peer):
    """The algorithm of the book: one example at a time, in float64, with examples as pairs of columns."""

    name, dtype, largest_net = "loop over examples", "float64", 100_000

    def begin(self, weights: Arrays, biases: Arrays, x: Array, y: Array, m: int, eta: float) -> None:
        self.weights = [np.array(w, np.float64) for w in weights]
        self.biases = [np.array(b, np.float64).reshape(-1, 1) for b in biases]
        self.pairs = [
            (np.array(row, np.float64)[:, None], np.array(unit)[:, None]) for row, unit in zip(x, y, strict=True)
        ]
        self.m, self.eta = m, eta

    def epoch(self) -> None:
        random.shuffle(self.pairs)
        for start in range(0, len(self.pairs), self.m):
            self.descend(self.pairs[start : start + self.m], self.eta, 1.0)

    def parameters(self) -> tuple[Arrays, Arrays]:
        return self.weights, self.biases


class ScikitLearn(Peer):
    """scikit-learn: an epoch of SGD by `MLPClassifier.partial_fit`, with logistic hidden layers and softmax output."""

    name = package = "scikit-learn"
    activations, cost = ("sigmoid", "softmax"), "log-likelihood"

    def begin(self, weights: Arrays, biases: Arrays, x: Array, y: Array, m: int, eta: float) -> None:
        from sklearn.neural_network import MLPClassifier

        self.net = MLPClassifier(
            tuple(len(w) for w in weights[:-1]), activation="logistic", solver="sgd", alpha=0.0, batch_size=m,
            learning_rate_init=eta, momentum=0.0, nesterovs_momentum=False, random_state=0,
        )  # fmt: skip
        self.x, self.labels = x, y.argmax(axis=1)
        self.net.partial_fit(x[:m], self.labels[:m], classes=np.arange(y.shape[1]))  # to allocate its arrays
        for own, w in zip(self.net.coefs_, weights, strict=True):
            own[...] = w.T
        for own, b in zip(self.net.intercepts_, biases, strict=True):
            own[...] = b.ravel()

    def epoch(self) -> None:
        self.net.partial_fit(self.x, self.labels)

    def parameters(self) -> tuple[Arrays, Arrays]:
        return [w.T for w in self.net.coefs_], [b[:, None] for b in self.net.intercepts_]


class Torch(Peer):
    """PyTorch on the CPU: autograd and `torch.optim.SGD`. Parts of a permutation select the mini-batches."""

    name, package = "PyTorch, eager", "torch"

    def begin(self, weights: Arrays, biases: Arrays, x: Array, y: Array, m: int, eta: float) -> None:
        import torch

        self.torch, self.m = torch, m
        layers: Sequence[Any] = [torch.nn.Linear(w.shape[1], len(w)) for w in weights]
        for layer, w, b in zip(layers, weights, biases, strict=True):
            layer.weight.data, layer.bias.data = torch.tensor(w), torch.tensor(b.ravel())
        self.layers = layers
        self.net = torch.nn.Sequential(*(part for layer in layers for part in (layer, torch.nn.Sigmoid())))
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=eta)
        self.loss = self.make_loss()

    def make_loss(self) -> Any:
        """Return the function that computes the loss of a mini-batch."""
        net = self.net
        return lambda x, y: 0.5 * (net(x) - y).square().sum() / len(x)

    def epoch(self) -> None:
        for mini_batch in self.torch.randperm(len(self.x)).split(self.m):
            self.optimizer.zero_grad()
            self.loss(self.x[mini_batch], self.y[mini_batch]).backward()
            self.optimizer.step()

    def parameters(self) -> tuple[Arrays, Arrays]:
        return [l.weight.detach().numpy() for l in self.layers], [l.bias.detach().numpy()[:, None] for l in self.layers]


class CompiledTorch(Torch):
    """PyTorch as in `Torch`, but with the loss and its gradient compiled by `torch.compile`."""

    name = "PyTorch, compiled"

    def make_loss(self) -> Any:
        self.torch._dynamo.reset()  # or else networks compiled before would use up the limit of recompilations
        return self.torch.compile(super().make_loss(), dynamic=False)


class Jax(Peer):
    """JAX on the CPU: an epoch is one jitted `lax.scan` over its mini-batches, with donated parameters."""

    name, package = "JAX, jit + scan", "jax"

    def begin(self, weights: Arrays, biases: Arrays, x: Array, y: Array, m: int, eta: float) -> None:
        import jax

        self.device = jax.devices("cpu")[0]
        with jax.default_device(self.device):
            self.p = [(jax.numpy.array(w), jax.numpy.array(b.ravel())) for w, b in zip(weights, biases, strict=True)]
            self.x, self.y = jax.numpy.array(x), jax.numpy.array(y)
        self.rng, self.train_epoch = np.random.default_rng(0), _jitted_epoch(m, eta)

    def epoch(self) -> None:
        order = self.rng.permutation(len(self.x)).astype(np.int32)
        self.p = self.train_epoch(self.p, self.x, self.y, order)
        self.p[0][0].block_until_ready()

    def parameters(self) -> tuple[Arrays, Arrays]:
        return [np.asarray(w) for w, _ in self.p], [np.asarray(b)[:, None] for _, b in self.p]


def _jitted_epoch(m: int, eta: float) -> Any:
    import jax

    def cost(p: Any, x: Array, y: Array) -> Any:
        a = x
        for w, b in p:
            a = jax.nn.sigmoid(a @ w.T + b)
        return 0.5 * ((a - y) ** 2).sum() / len(x)

    def epoch(p: Any, x: Array, y: Array, order: Array) -> Any:
        def step(p: Any, mini_batch: Array) -> Any:
            nabla = jax.grad(cost)(p, x[mini_batch], y[mini_batch])
            return jax.tree.map(lambda theta, g: theta - eta * g, p, nabla), None

        whole = len(order) // m * m
        p, _ = jax.lax.scan(step, p, order[:whole].reshape(-1, m))
        return p if whole == len(order) else step(p, order[whole:])[0]

    return jax.jit(epoch, donate_argnums=0)


PEERS: tuple[type[Peer], ...] = (MatrixForm, LoopOverExamples, ScikitLearn, Torch, CompiledTorch, Jax)


def parameters(sizes: Sequence[int], dtype: str) -> tuple[Arrays, Arrays]:
    """Return weights from N(0, 1/n_in), of shape (n_l, n_{l−1}), and biases from N(0, 1), of shape (n_l, 1)."""
    rng = np.random.default_rng(0)
    layers = zip(sizes[1:], sizes[:-1], strict=True)
    weights = [(rng.standard_normal(shape) / np.sqrt(shape[1])).astype(dtype) for shape in layers]
    return weights, [rng.standard_normal((n, 1)).astype(dtype) for n in sizes[1:]]
