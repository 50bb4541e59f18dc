"""Time an epoch of the book's `SGD` with fastbp.book, and with a loop over examples like the one in the book.

    FASTBP_DATA=FOLDER python -m benchmarks.book

A network 784-30-10 is trained in float64 on 10,000 examples of MNIST's size, in mini-batches of 10. There are three
cases. The first is `network`. The second is `network2` with the cross-entropy and L2 regularization. The third is the
second with all four monitors, on these examples and on 10,000 more. The data are lists of pairs of columns, in float32
as in the book's pickle. Their conversion is part of the time. After a short warm-up, fastbp and the loop are timed in
turn for seven epochs each, so that a change in the machine's speed affects both alike. The ratios within each round
are compared. The exit code is 1 if the loop takes less than 10 times as long in one of the cases.
"""

import contextlib
import io
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.mnist import training_rows
from fastbp.bench.timing import Spread, in_turn, ratio, spread, warn_if_busy
from fastbp.book import network, network2

SIZES, EXAMPLES, MINI_BATCH_SIZE, ETA, LMBDA = [784, 30, 10], 10_000, 10, 3.0, 5.0
ROUNDS, MIN_RATIO = 7, 10.0


def sigmoid(z: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z: Any) -> Any:
    return sigmoid(z) * (1.0 - sigmoid(z))


class OneByOne:
    """The algorithm in section 5 of the notes, with the same steps and arrays, one example at a time."""

    weights: list[Any]
    biases: list[Any]

    def descend(self, mini_batch: Any, eta: float, keep: float) -> None:
        sum_b, sum_w = ([np.zeros(p.shape) for p in parameters] for parameters in (self.biases, self.weights))
        for x, y in mini_batch:
            nabla_b, nabla_w = self.backprop(x, y)
            sum_b = [total + nabla for total, nabla in zip(sum_b, nabla_b, strict=True)]
            sum_w = [total + nabla for total, nabla in zip(sum_w, nabla_w, strict=True)]
        factor = eta / len(mini_batch)
        self.weights = [keep * w - factor * total for w, total in zip(self.weights, sum_w, strict=True)]
        self.biases = [b - factor * total for b, total in zip(self.biases, sum_b, strict=True)]

    def backprop(self, x: Any, y: Any) -> tuple[list[Any], list[Any]]:
        nabla_b, nabla_w = ([np.zeros(p.shape) for p in parameters] for parameters in (self.biases, self.weights))
        a, zs = [x], []
        for w, b in zip(self.weights, self.biases, strict=True):
            zs.append(np.dot(w, a[-1]) + b)
            a.append(sigmoid(zs[-1]))
        delta = self.output_error(zs[-1], a[-1], y)
        for l in range(len(zs) - 1, -1, -1):
            nabla_b[l], nabla_w[l] = delta, np.dot(delta, a[l].T)
            if l:
                delta = np.dot(self.weights[l].T, delta) * sigmoid_prime(zs[l - 1])
        return nabla_b, nabla_w

    def output_error(self, z: Any, a: Any, y: Any) -> Any:
        return (a - y) * sigmoid_prime(z)

    def feedforward(self, a: Any) -> Any:
        for w, b in zip(self.weights, self.biases, strict=True):
            a = sigmoid(np.dot(w, a) + b)
        return a


class Loop(OneByOne, network.Network):
    def update_mini_batch(self, mini_batch: Any, eta: float) -> None:
        self.descend(mini_batch, eta, 1.0)


class Loop2(OneByOne, network2.Network):
    def update_mini_batch(self, mini_batch: Any, eta: float, lmbda: float, n: int) -> None:
        self.descend(mini_batch, eta, 1 - eta * (lmbda / n))

    def output_error(self, z: Any, a: Any, y: Any) -> Any:
        return a - y

    def accuracy(self, data: Any, convert: bool = False) -> int:
        return sum(int(np.argmax(self.feedforward(x)) == (np.argmax(y) if convert else y)) for x, y in data)

    def total_cost(self, data: Any, lmbda: float, convert: bool = False) -> float:
        cost = 0.0
        for x, y in data:
            a, y = self.feedforward(x), network2.vectorized_result(y) if convert else y
            cost += np.sum(np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a))) / len(data)
        return cost + 0.5 * (lmbda / len(data)) * sum(np.linalg.norm(w) ** 2 for w in self.weights)


def examples() -> tuple[list[tuple[Any, Any]], list[tuple[Any, Any]], str]:
    """Return training data and evaluation data in the book's form, and a description of them."""
    images, labels, source = training_rows()
    units = np.eye(10)
    columns = [row.reshape(784, 1) / np.float32(255) for row in images[: 2 * EXAMPLES]]
    training = [(x, units[:, [label]]) for x, label in zip(columns[:EXAMPLES], labels[:EXAMPLES], strict=True)]
    evaluation = list(zip(columns[EXAMPLES:], labels[EXAMPLES : 2 * EXAMPLES].astype(np.int64), strict=True))
    return training, evaluation, source


def seconds(kind: type[Any], train: Callable[[Any], Any]) -> tuple[float, Any]:
    """Train a new network for one epoch; return the seconds and the network."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (the generator that the book uses)
    net = kind(SIZES)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        train(net)
    return time.perf_counter() - start, net


def compare(name: str, kinds: tuple[type[Any], type[Any]], train: Callable[[Any], Any]) -> Spread:
    """Time both classes in turn, and print a line; return how many times as fast fastbp is."""
    nets: dict[str, Any] = {}

    def task(side: str, kind: type[Any]) -> float:
        taken, nets[side] = seconds(kind, train)
        return taken

    tasks = {side: partial(task, side, kind) for side, kind in zip(("fastbp", "loop"), kinds, strict=True)}
    rounds = list(in_turn(tasks, range(ROUNDS), _fail))
    worst = max(np.abs(a - b).max() for a, b in zip(nets["fastbp"].weights, nets["loop"].weights, strict=True))
    fast, slow = (spread([figures[side] for figures in rounds]).median for side in tasks)
    times = ratio(rounds, "loop", "fastbp")
    print(f"{name:20} {fast:.4f} s   loop over examples {slow:.4f} s")
    print(f"{'':20} ratio {times.median:.1f}, {times.low:.1f} to {times.high:.1f}   weights within {worst:.1e}")
    return times


def _fail(name: str, error: Exception) -> None:
    raise error


def main() -> int:
    warn_if_busy()
    data, evaluation, source = examples()
    monitored = {f"monitor_{part}_{what}": True for part in ("evaluation", "training") for what in ("cost", "accuracy")}
    print(f"{EXAMPLES:,} examples, {source}, {'-'.join(map(str, SIZES))} × {MINI_BATCH_SIZE}, conversion included")
    seconds(network.Network, lambda net: net.SGD(data[:100], 1, MINI_BATCH_SIZE, ETA))
    seconds(network2.Network, lambda net: net.SGD(data[:100], 1, MINI_BATCH_SIZE, ETA))
    ratios = [
        compare("network", (network.Network, Loop), lambda net: net.SGD(data, 1, MINI_BATCH_SIZE, ETA)),
        compare("network2", (network2.Network, Loop2), lambda net: net.SGD(data, 1, MINI_BATCH_SIZE, ETA / 6, LMBDA)),
        compare(
            "network2, monitored",
            (network2.Network, Loop2),
            lambda net: net.SGD(data, 1, MINI_BATCH_SIZE, ETA / 6, LMBDA, evaluation, **monitored),
        ),
    ]
    print(f"bound: ratios of at least {MIN_RATIO:g}")
    return 0 if all(times.meets(lower=MIN_RATIO) for times in ratios) else 1


if __name__ == "__main__":
    sys.exit(main())
