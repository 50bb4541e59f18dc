"""Compare single calls of fastbp with plain NumPy, and calls of the estimators with scikit-learn's.

    python -m benchmarks.calls

Each call and its counterpart are timed in turn, with one thread. A ratio is fastbp's time over the other's, computed
within each round. A bound is missed if even the better quartile of the ratios misses it. The exit code is 1 if a bound
is missed.

The counterparts in NumPy are written as users would write them: equations (1) to (BP4) in matrix form, with the
sigmoid. The results of `net.feedforward` and `net.backprop` are first compared with theirs. `net.cost` is timed against
feedforward alone.

`--json FILE` saves the ratios. `--baseline FILE` compares them with those of an earlier run.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.neural_network import MLPClassifier as TheirClassifier

import fastbp
from benchmarks import baseline
from fastbp.backends.environment import information
from fastbp.bench.grid import name_of
from fastbp.bench.timing import Spread, Task, in_turn, ratio, spread, warn_if_busy
from fastbp.estimators import MLPClassifier

ROUNDS = 9
SECONDS = 0.02  # of one measurement, in which a call is repeated
Array = Any


class Call(NamedTuple):
    """A call of fastbp, the call that it is compared with, and the largest ratio of their times."""

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    bound: float | None


def feedforward(weights: list[Array], biases: list[Array], a: Array) -> Array:
    """Compute equations (1) and (2) with the sigmoid."""
    for w, b in zip(weights, biases, strict=True):
        a = 1 / (1 + np.exp(-(w @ a + b)))
    return a


def backprop(weights: list[Array], biases: list[Array], x: Array, y: Array) -> tuple[list[Array], list[Array]]:
    """Compute equations (BP1) to (BP4) for the quadratic cost, summed over the columns of x."""
    activations = [x]
    for w, b in zip(weights, biases, strict=True):
        activations.append(1 / (1 + np.exp(-(w @ activations[-1] + b))))
    delta = (activations[-1] - y) * activations[-1] * (1 - activations[-1])
    nabla_b, nabla_w = [], []
    for l in range(len(weights) - 1, -1, -1):
        nabla_b.insert(0, delta.sum(axis=1, keepdims=True))
        nabla_w.insert(0, delta @ activations[l].T)
        if l:
            delta = (weights[l].T @ delta) * activations[l] * (1 - activations[l])
    return nabla_b, nabla_w


def update_mini_batch(weights: list[Array], biases: list[Array], x: Array, y: Array, eta: float) -> None:
    """Take one step of gradient descent."""
    nabla_b, nabla_w = backprop(weights, biases, x, y)
    for l in range(len(weights)):
        weights[l] -= eta / x.shape[1] * nabla_w[l]
        biases[l] -= eta / x.shape[1] * nabla_b[l]


def calls_of_network(sizes: tuple[int, ...], m: int, dtype: str) -> list[Call]:
    """Return the calls of a network on m columns, after comparing the results of feedforward and backprop."""
    rng = np.random.default_rng(0)
    net = fastbp.Network(sizes, dtype=dtype, rng=0)
    x, y = rng.random((sizes[0], m)).astype(dtype), np.eye(sizes[-1], dtype=dtype)[:, rng.integers(0, sizes[-1], m)]
    weights, biases = [w.copy() for w in net.weights], [b.copy() for b in net.biases]
    np.testing.assert_allclose(net.feedforward(x), feedforward(weights, biases, x), rtol=1e-4)
    for ours, theirs in zip(chain(*net.backprop(x, y)), chain(*backprop(weights, biases, x, y)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    wide = sizes[0] > 64
    gradient = None if wide else {1: 2.0, 12: 1.75, 100: 1.5}[m]
    return [
        Call(
            "net.feedforward",
            lambda: net.feedforward(x),
            lambda: feedforward(weights, biases, x),
            (1.0 if m >= 10 else None) if wide else {1: 1.5, 12: 1.25, 100: 1.25}[m],
        ),
        Call("net.cost", lambda: net.cost(x, y), lambda: feedforward(weights, biases, x), None),
        Call("net.backprop", lambda: net.backprop(x, y), lambda: backprop(weights, biases, x, y), gradient),
        Call(
            "fastbp.backprop",
            lambda: fastbp.backprop(weights, biases, x, y),
            lambda: backprop(weights, biases, x, y),
            gradient,
        ),
        Call(
            "net.update_mini_batch",
            lambda: net.update_mini_batch(x, y, 1e-6),
            lambda: update_mini_batch(weights, biases, x, y, 1e-6),
            gradient,
        ),
    ]


def calls_of_estimators() -> list[Call]:
    """Return calls of the classifiers on 90 features and 10 classes, and on a sparse matrix."""
    rng = np.random.default_rng(0)
    x, y = rng.random((6_000, 90)), rng.integers(0, 10, 6_000)
    ours, theirs = (kind((50,), max_iter=3, random_state=0).fit(x, y) for kind in (MLPClassifier, TheirClassifier))
    calls = [
        Call(f"predict, {n:,} rows", lambda n=n: ours.predict(x[:n]), lambda n=n: theirs.predict(x[:n]), bound)
        for n, bound in ((1, 1.0), (1_000, 0.67), (6_000, 0.67))
    ]
    calls += [
        Call(
            f"partial_fit, {n:,} rows",
            lambda n=n: ours.partial_fit(x[:n], y[:n]),
            lambda n=n: theirs.partial_fit(x[:n], y[:n]),
            0.5,
        )
        for n in (10, 200, 2_000)
    ]
    few = sparse.random(2_000, 2_000, 0.01, format="csr", random_state=0)
    labels = rng.integers(0, 10, 2_000)
    ours_few, theirs_few = (
        kind((50,), max_iter=2, random_state=0).fit(few, labels) for kind in (MLPClassifier, TheirClassifier)
    )
    return [
        *calls,
        Call("predict, CSR with 1 %", lambda: ours_few.predict(few), lambda: theirs_few.predict(few), 1.0),
        Call(
            "partial_fit, CSR with 1 %",
            lambda: ours_few.partial_fit(few, labels),
            lambda: theirs_few.partial_fit(few, labels),
            0.67,
        ),
    ]


def _task(call: Callable[[], Any]) -> Task:
    call()
    start = time.perf_counter()
    call()
    repeats = max(1, round(SECONDS / (time.perf_counter() - start)))

    def seconds_per_call() -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - start) / repeats

    return seconds_per_call


def _fail(name: str, error: Exception) -> None:
    raise error


def measure(title: str, calls: list[Call], rounds: int, ratios: dict[str, Spread]) -> list[str]:
    """Print a line per call, and add its ratio to `ratios`; return the names of those that missed their bound."""
    print(f"\n{title}", flush=True)
    missed = []
    for call in calls:
        tasks = {"ours": _task(call.ours), "theirs": _task(call.theirs)}
        figures = list(in_turn(tasks, range(rounds), _fail))
        ours, theirs = (spread([figure[name] for figure in figures]) for name in tasks)
        ratios[f"{title}: {call.name}"] = measured = ratio(figures, "ours", "theirs")
        print(line(call, ours, theirs, measured), flush=True)
        if not measured.meets(call.bound):
            missed.append(f"{title}: {call.name}")
    return missed


def line(call: Call, ours: Spread, theirs: Spread, measured: Spread) -> str:
    """Return a line of the table, for 80 columns.

    >>> line(Call("net.cost", int, int, 0.5), Spread(1e-5, 1e-5, 1e-5, 1), Spread(1e-5, 1e-5, 1e-5, 1),
    ...      Spread(1.0, 1.0, 1.0, 1))
    '  net.cost                       10.0        10.0   1.00  1.00 to 1.00 ≤ 0.5 MISSED'
    """
    text = f"  {call.name:25} {1e6 * ours.median:9,.1f} {1e6 * theirs.median:11,.1f}"
    text += f" {measured.median:6.2f}  {measured.low:.2f} to {measured.high:.2f}"
    if call.bound is None:
        return text
    return f"{text} ≤ {call.bound:g}{'' if measured.meets(call.bound) else ' MISSED'}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds per call (default: %(default)s)")
    parser.add_argument("--only", choices=("network", "estimators"), help="measure only these calls")
    baseline.add_options(parser)
    options = parser.parse_args(arguments)
    before = baseline.checked(parser, options)
    warnings.simplefilter("ignore")  # scikit-learn's, about convergence
    print(*(f"{name}: {text}" for name, text in information().items()), sep="\n")
    warn_if_busy()
    print("columns: fastbp in µs, NumPy or scikit-learn in µs, ratio, its quartiles, bound")
    missed: list[str] = []
    ratios: dict[str, Spread] = {}
    with fastbp.use_threads(1):
        if options.only != "estimators":
            for sizes, batches in (((64, 30, 10), (1, 12, 100)), ((784, 100, 10), (10, 12, 100))):
                for dtype in ("float32", "float64"):
                    for m in batches:
                        title = f"{name_of(sizes)}, {m} columns, {dtype}"
                        missed += measure(title, calls_of_network(sizes, m, dtype), options.rounds, ratios)
        if options.only != "network":
            missed += measure("MLPClassifier", calls_of_estimators(), options.rounds, ratios)
    print("\nmissed: " + "; ".join(missed) if missed else "\nall bounds are met")
    slower = baseline.finish(options, before, ratios)
    return 1 if missed or slower else 0


if __name__ == "__main__":
    sys.exit(main())
