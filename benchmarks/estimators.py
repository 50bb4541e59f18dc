"""Compare fastbp's estimators with scikit-learn's, with equal settings and seeds: time of `fit`, and accuracy.

    FASTBP_DATA=FOLDER python -m benchmarks.estimators [--threads N] [--part fit|lbfgs|accuracy]

The two estimators are timed in turn, and times are compared as the ratio in each round. BLAS uses N threads, by default
two. There are three parts, by default all of them:

* fit: networks of several sizes, in both dtypes, with Adam on random data. The bounds are a ratio of 5 for 100 hidden
  neurons and mini-batches of 32, 2.5 for scikit-learn's default mini-batches of 200, and 1.5 for wide networks.
* lbfgs: the time per evaluation of the solver "lbfgs", with SciPy's own time. The bounds are 1.5 from 100 hidden
  neurons on 2,000 rows, and 1 below.
* accuracy: ten seeds in float32 with Adam and mini-batches of 32. The first data set is the bundled digits: 100 epochs,
  and accuracy on the test part. The second is MNIST: ten epochs on the first 20,000 images, and accuracy on the 10,000
  test images. MNIST is used only if its IDX files, gzipped or not, are in the folder FASTBP_DATA or in its subfolder
  `mnist`. The bounds are a ratio of 5, and a mean accuracy that is at most 0.3 percentage points lower.

The exit code is 1 if a bound is missed. `--json FILE` saves the ratios. `--baseline FILE` compares them with those of
an earlier run.
"""

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as TheirClassifier
from threadpoolctl import threadpool_limits

import fastbp
from benchmarks import baseline
from benchmarks.mnist import mnist_parts
from fastbp.bench.timing import Spread, in_turn, ratio, spread, warn_if_busy
from fastbp.estimators import MLPClassifier

SEEDS, EXAMPLES, MIN_SPEEDUP, MAX_LOSS = 10, 20_000, 5.0, 0.003
ROUNDS = 7
KINDS: dict[str, Any] = {"fastbp": MLPClassifier, "scikit-learn": TheirClassifier}
Data = tuple[Any, Any]


class Case(NamedTuple):
    """A network, the number of rows and of columns of X, a dtype, other settings, and the bound on the ratio."""

    hidden: tuple[int, ...]
    rows: int
    columns: int
    dtype: str
    settings: dict[str, Any]
    bound: float

    def __str__(self) -> str:
        hidden, batch = "-".join(map(str, self.hidden)), self.settings.get("batch_size", "auto")
        solver = "lbfgs" if self.settings.get("solver") == "lbfgs" else f"x {batch}"
        return f"{hidden} {solver}, {self.rows} x {self.columns}, {self.dtype}"


FITS = [
    Case(hidden, rows, columns, dtype, settings, bound)
    for hidden, rows, columns, settings, bound in (
        ((100,), 2000, 64, {"batch_size": 32, "max_iter": 10}, 5.0),
        ((100,), 2000, 784, {"batch_size": 32, "max_iter": 3}, 5.0),
        ((100,), 2000, 64, {"max_iter": 20}, 2.5),
        ((100,), 2000, 784, {"max_iter": 5}, 2.5),
        ((1000,), 2000, 784, {"max_iter": 1}, 1.5),
        ((500, 500), 2000, 64, {"max_iter": 2}, 1.5),
    )
    for dtype in ("float32", "float64")
]
LBFGS = [
    Case(hidden, rows, columns, dtype, {"solver": "lbfgs", "max_iter": iterations, "tol": 0.0}, bound)
    for hidden, rows, columns, iterations, bound in (
        ((10,), 150, 4, 60, 1.0),
        ((50,), 500, 20, 40, 1.0),
        ((100,), 2000, 64, 20, 1.5),
        ((100,), 2000, 784, 8, 1.5),
        ((300, 100), 2000, 64, 8, 1.5),
        ((1000,), 2000, 64, 6, 1.5),
    )
    for dtype in ("float32", "float64")
]


def timed(kind: str, data: Data, seed: int, case: Case) -> float:
    """Return the seconds of one fit, or of one evaluation in it if the solver is "lbfgs"."""
    evaluations, minimize = 1, scipy.optimize.minimize

    def counting(*arguments: Any, **options: Any) -> Any:
        nonlocal evaluations
        found = minimize(*arguments, **options)
        evaluations = found.nfev
        return found

    net = KINDS[kind](case.hidden, random_state=seed, **case.settings)
    with mock.patch.object(scipy.optimize, "minimize", counting):
        start = time.perf_counter()
        net.fit(*data)
        return (time.perf_counter() - start) / evaluations


def speedup(case: Case) -> Spread:
    """Print the times of both estimators, and return how many times as fast fastbp is."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((case.rows, case.columns)), rng.integers(0, 10, case.rows)
    data = np.asarray(x, case.dtype), labels
    timed("fastbp", data, 0, case)  # compiles the kernels, or loads them
    return compare(str(case), {kind: partial(timed, kind, data, 0, case) for kind in KINDS}, ROUNDS, case.bound)


def compare(name: str, tasks: dict[str, Callable[[], float]], rounds: int, bound: float) -> Spread:
    """Print the times of both tasks, and return the ratio."""
    found = list(in_turn(tasks, range(rounds), _fail))
    fast, slow = (spread([figures[kind] for figures in found]).median for kind in KINDS)
    result = ratio(found, "scikit-learn", "fastbp")
    verdict = "" if result.meets(lower=bound) else "  MISSED"
    print(
        f"{name:40} {fast * 1e3:10.2f} ms {slow * 1e3:10.2f} ms  ratio {result.median:5.2f}, "
        f"{result.low:.2f} to {result.high:.2f}, bound {bound:g}{verdict}",
        flush=True,
    )
    return result


def compare_accuracy(name: str, training: Data, test: Data, **settings: Any) -> tuple[float, Spread]:
    """Print the accuracies and times of both classifiers; return fastbp's gain in accuracy, and its speedup."""
    accuracies: dict[str, list[float]] = {kind: [] for kind in KINDS}

    def task(kind: str) -> float:
        seed = len(accuracies[kind])
        net = KINDS[kind]((100,), batch_size=32, random_state=seed, **settings)
        start = time.perf_counter()
        net.fit(*training)
        seconds = time.perf_counter() - start
        accuracies[kind].append(net.score(*test))
        return seconds

    result = compare(name, {kind: partial(task, kind) for kind in KINDS}, SEEDS, MIN_SPEEDUP)
    ours, theirs = (statistics.mean(accuracies[kind]) for kind in KINDS)
    print(f"{name}: mean accuracy of {SEEDS} seeds {ours:.4%}, scikit-learn {theirs:.4%}")
    return ours - theirs, result


def accuracy() -> tuple[dict[str, Spread], bool]:
    """Return the ratios on the digits and on MNIST, and whether all accuracies are as good as scikit-learn's."""
    (x, labels), (x_test, test_labels) = fastbp.datasets.digits()
    digits = (np.ascontiguousarray(x.T), labels), (x_test.T, test_labels)
    MLPClassifier((100,), max_iter=1).fit(*digits[0])  # compiles the kernels, or loads them
    results = {"digits": compare_accuracy("digits", *digits, max_iter=100)}
    if parts := mnist_parts():
        training, _, test = ((images / np.float32(255), labels) for images, labels, _ in parts)
        first = tuple(array[:EXAMPLES] for array in training)
        results["MNIST"] = compare_accuracy("MNIST", first, test, max_iter=10)
    else:
        print("MNIST is left out: FASTBP_DATA is not a folder with its IDX files")
    print(f"bound on the loss of accuracy: {MAX_LOSS:.1%}")
    met = all(gained >= -MAX_LOSS for gained, _ in results.values())
    return {name: times for name, (_, times) in results.items()}, met


def _fail(name: str, error: Exception) -> None:
    raise error


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="number of threads of BLAS (default: 2)")
    parser.add_argument("--part", choices=("fit", "lbfgs", "accuracy"), help="run only this part")
    baseline.add_options(parser)
    options = parser.parse_args()
    before = baseline.checked(parser, options)
    warnings.simplefilter("ignore", ConvergenceWarning)
    warn_if_busy()
    results: dict[str, Spread] = {}
    met = True
    with fastbp.use_threads(options.threads), threadpool_limits(options.threads):
        for part, cases in (("fit", FITS), ("lbfgs", LBFGS)):
            if options.part in (None, part):
                print(f"{part}, {options.threads} threads: fastbp, scikit-learn, and how many times as fast fastbp is")
                found = {f"{case}": (case, speedup(case)) for case in cases}
                met = met and all(times.meets(lower=case.bound) for case, times in found.values())
                results |= {name: times for name, (_, times) in found.items()}
        if options.part in (None, "accuracy"):
            ratios, accurate = accuracy()
            met = met and accurate and all(times.meets(lower=MIN_SPEEDUP) for times in ratios.values())
            results |= ratios
    slower = baseline.finish(options, before, {name: baseline.inverse(times) for name, times in results.items()})
    return 0 if met and not slower else 1


if __name__ == "__main__":
    sys.exit(main())
