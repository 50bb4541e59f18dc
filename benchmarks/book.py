"""An epoch of the book's `SGD` by fastbp.book.network and by the loop over examples: 10,000 of MNIST's size.

    FASTBP_DATA=../shared/data/mnist python benchmarks/book.py

784-30-10, mini-batches of 10, float64. Data are the first 10,000 images of MNIST's training set if its IDX files,
gzipped or not, are in the folder FASTBP_DATA (or in its folder `mnist`), else synthetic; a list of (x, y) either way,
float32 columns as in the book's pickle, and its conversion is part of the time. The two are timed in turn, seven epochs
each after a short one to warm up, so that a drift of the machine meets both, and their medians are compared. Exit code
1 if the ratio is below 10.
"""

import contextlib
import gzip
import io
import os
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.book import network

SIZES, EXAMPLES, MINI_BATCH_SIZE, ETA = [784, 30, 10], 10_000, 10, 3.0
ROUNDS, WANTED = 7, 10.0


def sigmoid(z: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z: Any) -> Any:
    return sigmoid(z) * (1.0 - sigmoid(z))


class Loop(network.Network):
    """The notes' algorithm, one example at a time, in the steps and the arrays of their section 5."""

    def update_mini_batch(self, mini_batch: Any, eta: float) -> None:
        sum_b, sum_w = ([np.zeros(p.shape) for p in parameters] for parameters in (self.biases, self.weights))
        for x, y in mini_batch:
            nabla_b, nabla_w = self.backprop(x, y)
            sum_b = [total + nabla for total, nabla in zip(sum_b, nabla_b, strict=True)]
            sum_w = [total + nabla for total, nabla in zip(sum_w, nabla_w, strict=True)]
        factor = eta / len(mini_batch)
        self.weights = [w - factor * total for w, total in zip(self.weights, sum_w, strict=True)]
        self.biases = [b - factor * total for b, total in zip(self.biases, sum_b, strict=True)]

    def backprop(self, x: Any, y: Any) -> tuple[list[Any], list[Any]]:
        nabla_b, nabla_w = ([np.zeros(p.shape) for p in parameters] for parameters in (self.biases, self.weights))
        a, zs = [x], []
        for w, b in zip(self.weights, self.biases, strict=True):
            zs.append(np.dot(w, a[-1]) + b)
            a.append(sigmoid(zs[-1]))
        delta = self.cost_derivative(a[-1], y) * sigmoid_prime(zs[-1])
        for l in range(len(zs) - 1, -1, -1):
            nabla_b[l], nabla_w[l] = delta, np.dot(delta, a[l].T)
            if l:
                delta = np.dot(self.weights[l].T, delta) * sigmoid_prime(zs[l - 1])
        return nabla_b, nabla_w


def mnist() -> tuple[Any, Any] | None:
    """Return the first rows of real images, from 0 to 1, and labels, or None where they are not at hand."""
    for folder in (Path(os.environ.get("FASTBP_DATA", "/nonexistent")) / name for name in ("", "mnist")):
        for ending, opened in (("", open), (".gz", gzip.open)):
            files = [folder / f"train-{name}-ubyte{ending}" for name in ("images-idx3", "labels-idx1")]
            if all(file.exists() for file in files):
                with opened(files[0], "rb") as images, opened(files[1], "rb") as labels:
                    pixels = np.frombuffer(images.read(16 + 784 * EXAMPLES)[16:], np.uint8)
                    return pixels.reshape(-1, 784) / np.float32(255), np.frombuffer(
                        labels.read(8 + EXAMPLES)[8:], np.uint8
                    )
    return None


def examples() -> tuple[list[tuple[Any, Any]], str]:
    """Return the book's training data, and what they are."""
    rng = np.random.default_rng(0)
    found = mnist()
    x, labels = found or (rng.random((EXAMPLES, 784), np.float32), rng.integers(0, 10, EXAMPLES))
    units = np.eye(10)
    data = [(row.reshape(784, 1).copy(), units[:, [label]]) for row, label in zip(x, labels, strict=True)]
    return data, "synthetic" if found is None else "MNIST"


def seconds(kind: type[network.Network], data: list[tuple[Any, Any]]) -> tuple[float, network.Network]:
    """Return how long an epoch takes from fresh parameters, and what it leaves."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002, the book's generator
    net = kind(SIZES)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        net.SGD(data, 1, MINI_BATCH_SIZE, ETA)
    return time.perf_counter() - start, net


def main() -> int:
    data, source = examples()
    seconds(network.Network, data[:100])
    ours, theirs = [], []
    for _ in range(ROUNDS):
        time_ours, net = seconds(network.Network, data)
        ours.append(time_ours)
        time_loop, loop = seconds(Loop, data)
        theirs.append(time_loop)
    worst = max(np.abs(a - b).max() for a, b in zip(net.weights, loop.weights, strict=True))
    fast, slow = statistics.median(ours), statistics.median(theirs)
    print(f"{EXAMPLES:,} examples, {source}, {'-'.join(map(str, SIZES))} × {MINI_BATCH_SIZE}, conversion included")
    print(f"loop over examples {slow:.4f} s   fastbp.book.network {fast:.4f} s   ratio {slow / fast:.1f}")
    print(f"weights differ by {worst:.1e} at most; wanted is a ratio of {WANTED:g} or more")
    return 0 if slow / fast >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
