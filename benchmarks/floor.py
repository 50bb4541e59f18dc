"""An epoch of training over its floor: the bare matrix products of the same shapes, over the same rows in order.

    python benchmarks/floor.py

The floor is a compiled loop that does nothing but the products of feedforward, BP2, BP4 and descent, by BLAS, with
alpha ≠ 0 (BLAS returns at once for 0) and no gather. A ratio below 1 is due to `fastbp_kernels.tiles`. Floors and
epochs are timed in turn, nine of each after one to warm up, and their medians are compared, so that a drift of the
machine meets both. Data are synthetic, of the size of MNIST's training set.
"""

import statistics
import sys
import time
from typing import Any

import numpy as np
from numba import njit

import fastbp
from fastbp_kernels.blas import AS_IT_IS, TRANSPOSED, gemm

EXAMPLES = 50_000
CASES = [([784, 30, 10], 10), ([784, 100, 10], 10), ([784, 800, 10], 100), ([784, 1024, 1024, 10], 256)]
ROUNDS = 9


@njit
def affine(w: Any, a: Any, z: Any) -> None:
    gemm(TRANSPOSED, AS_IT_IS, w.shape[1], 1.0, w, a, 0.0, z)


@njit
def backproject(w: Any, delta: Any, out: Any) -> None:
    gemm(AS_IT_IS, AS_IT_IS, w.shape[0], 1.0, w, delta, 0.0, out)


@njit
def add_outer(alpha: float, delta: Any, a: Any, beta: float, w: Any) -> None:
    gemm(AS_IT_IS, TRANSPOSED, delta.shape[0], alpha, a, delta, beta, w)


@njit
def products(x: Any, m: int, weights: Any, zs: Any, deltas: Any) -> None:
    """The products of an epoch; z stands in for a, whose shape it has."""
    for start in range(0, x.shape[0] - m + 1, m):
        rows = x[start : start + m]
        affine(weights[0], rows, zs[0])
        for l in range(1, len(weights)):
            affine(weights[l], zs[l - 1], zs[l])
        for l in range(len(weights) - 1, 0, -1):
            backproject(weights[l], deltas[l], deltas[l - 1])
        add_outer(-1e-9, deltas[0], rows, 1.0, weights[0])
        for l in range(1, len(weights)):
            add_outer(-1e-9, deltas[l], zs[l - 1], 1.0, weights[l])


def floor(sizes: list[int], m: int, x: Any, dtype: str) -> float:
    """Return the seconds that the bare products of an epoch take."""
    layers = list(zip(sizes[1:], sizes[:-1], strict=True))
    weights = tuple(np.full(shape, 1e-3, dtype) for shape in layers)
    blocks = [tuple(np.full((m, n), 1e-3, dtype) for n, _ in layers) for _ in range(2)]
    start = time.perf_counter()
    products(x, m, weights, *blocks)
    return time.perf_counter() - start


def epoch(net: fastbp.Network, x: Any, labels: Any, m: int) -> float:
    """Return the seconds that an epoch of training takes, shuffle, gather and cost included."""
    return net.train(x.T, labels, epochs=1, mini_batch_size=m, eta=0.1, progress=False).seconds[0]


def ratio(sizes: list[int], m: int, dtype: str) -> tuple[float, float]:
    """Return the median seconds of an epoch and of its floor, timed in turn."""
    rng = np.random.default_rng(0)
    x = rng.random((EXAMPLES, sizes[0]), dtype=np.float32).astype(dtype)
    labels = rng.integers(0, sizes[-1], EXAMPLES)
    net = fastbp.Network(sizes, dtype=dtype, rng=0)
    times = [(epoch(net, x, labels, m), floor(sizes, m, x, dtype)) for _ in range(ROUNDS + 1)][1:]
    return statistics.median(t for t, _ in times), statistics.median(t for _, t in times)


def main() -> None:
    print(f"{'net':>20} {'mini-batch':>10} {'dtype':>8} {'epoch s':>9} {'floor s':>9} {'ratio':>6}")
    for sizes, m in CASES:
        for dtype in sys.argv[1:] or ["float32"]:
            seconds, least = ratio(sizes, m, dtype)
            name = "-".join(map(str, sizes))
            print(f"{name:>20} {m:>10} {dtype:>8} {seconds:9.4f} {least:9.4f} {seconds / least:6.3f}", flush=True)


if __name__ == "__main__":
    main()
