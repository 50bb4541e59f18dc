"""Compare fastbp's MLPClassifier with scikit-learn's: accuracy and time of `fit` with equal settings and seeds.

    FASTBP_DATA=FOLDER python -m benchmarks.estimators

The two classifiers are timed in turn, once for each of ten seeds. Mean accuracies are compared, and times as the ratio
for each seed. The network has one hidden layer of 100 neurons, and is trained in float32 with Adam on mini-batches of
32. The first data set is the bundled digits: 100 epochs of training, and accuracy on the test part. The second data set
is MNIST: ten epochs on the first 20,000 images, and accuracy on the 10,000 test images. MNIST is used only if its IDX
files, gzipped or not, are in the folder FASTBP_DATA or in its subfolder `mnist`. The exit code is 1 if fastbp is less
than 5 times as fast as scikit-learn, or if its mean accuracy is lower by more than 0.3 percentage points.

`--json FILE` saves the ratios. `--baseline FILE` compares them with those of an earlier run.
"""

import argparse
import statistics
import sys
import time
import warnings
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as TheirClassifier

import fastbp
from benchmarks import baseline
from benchmarks.mnist import mnist_parts
from fastbp.bench.timing import Spread, in_turn, ratio, spread, warn_if_busy
from fastbp.estimators import MLPClassifier

SEEDS, EXAMPLES, MIN_SPEEDUP, MAX_LOSS = 10, 20_000, 5.0, 0.003
KINDS: dict[str, Any] = {"fastbp": MLPClassifier, "scikit-learn": TheirClassifier}
Part = tuple[Any, Any]


def compare(name: str, training: Part, test: Part, **settings: Any) -> tuple[float, Spread]:
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

    rounds = list(in_turn({kind: partial(task, kind) for kind in KINDS}, range(SEEDS), _fail))
    ours, theirs = (statistics.mean(accuracies[kind]) for kind in KINDS)
    fast, slow = (spread([figures[kind] for figures in rounds]).median for kind in KINDS)
    speedup = ratio(rounds, "scikit-learn", "fastbp")
    print(f"{name}: mean accuracy of {SEEDS} seeds {ours:.4%}, scikit-learn {theirs:.4%}")
    print(f"{name}: fit {fast:.3f} s, scikit-learn {slow:.3f} s")
    print(f"{name}: ratio {speedup.median:.1f}, {speedup.low:.1f} to {speedup.high:.1f}", flush=True)
    return ours - theirs, speedup


def _fail(name: str, error: Exception) -> None:
    raise error


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description=__doc__.partition("\n")[0])
    baseline.add_options(parser)
    options = parser.parse_args()
    before = baseline.checked(parser, options)
    warnings.simplefilter("ignore", ConvergenceWarning)
    warn_if_busy()
    (x, labels), (x_test, test_labels) = fastbp.datasets.digits()
    digits = (np.ascontiguousarray(x.T), labels), (x_test.T, test_labels)
    MLPClassifier((100,), max_iter=1).fit(*digits[0])  # compiles the kernels, or loads them
    results = {"digits": compare("digits", *digits, max_iter=100)}
    if parts := mnist_parts():
        training, _, test = ((images / np.float32(255), labels) for images, labels, _ in parts)
        first = tuple(array[:EXAMPLES] for array in training)
        results["MNIST"] = compare("MNIST", first, test, max_iter=10)
    else:
        print("MNIST is left out: FASTBP_DATA is not a folder with its IDX files")
    print(f"bounds: a ratio of at least {MIN_SPEEDUP:g}, and an accuracy at most {MAX_LOSS:.1%} lower")
    slower = baseline.finish(options, before, {name: baseline.inverse(times) for name, (_, times) in results.items()})
    met = all(gained >= -MAX_LOSS and times.meets(lower=MIN_SPEEDUP) for gained, times in results.values())
    return 0 if met and not slower else 1


if __name__ == "__main__":
    sys.exit(main())
