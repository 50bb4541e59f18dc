"""Compare fastbp's MLPClassifier with scikit-learn's: accuracy and time of `fit` with equal settings and seeds.

    FASTBP_DATA=FOLDER python -m benchmarks.estimators

The two classifiers are timed in turn, once for each of ten seeds. Mean accuracies and median times are compared. The
network has one hidden layer of 100 neurons, and is trained in float32 with Adam on mini-batches of 32. The first data
set is the bundled digits: 100 epochs of training, and accuracy on the test part. The second data set is MNIST: ten
epochs on the first 20,000 images, and accuracy on the 10,000 test images. MNIST is used only if its IDX files, gzipped
or not, are in the folder FASTBP_DATA or in its subfolder `mnist`. The exit code is 1 if fastbp is less than 5 times as
fast as scikit-learn, or if its mean accuracy is lower by more than 0.3 percentage points.
"""

import statistics
import sys
import time
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as TheirClassifier

import fastbp
from benchmarks.mnist import mnist_parts
from fastbp.bench.timing import PAUSE
from fastbp.estimators import MLPClassifier

SEEDS, EXAMPLES, MIN_SPEEDUP, MAX_LOSS = range(10), 20_000, 5.0, 0.003
Part = tuple[Any, Any]


def compare(name: str, training: Part, test: Part, **settings: Any) -> tuple[float, float]:
    """Print the accuracies and times of both classifiers; return fastbp's gain in accuracy, and its speedup."""
    accuracies: dict[Any, list[float]] = {MLPClassifier: [], TheirClassifier: []}
    seconds: dict[Any, list[float]] = {MLPClassifier: [], TheirClassifier: []}
    for seed in SEEDS:
        for kind in (MLPClassifier, TheirClassifier):
            net = kind((100,), batch_size=32, random_state=seed, **settings)
            time.sleep(PAUSE)
            start = time.perf_counter()
            net.fit(*training)
            seconds[kind].append(time.perf_counter() - start)
            accuracies[kind].append(net.score(*test))
    fast, slow = (statistics.median(seconds[kind]) for kind in (MLPClassifier, TheirClassifier))
    ours, theirs = (statistics.mean(accuracies[kind]) for kind in (MLPClassifier, TheirClassifier))
    print(f"{name}: mean accuracy of {len(SEEDS)} seeds {ours:.4%}, scikit-learn {theirs:.4%}")
    print(f"{name}: fit {fast:.3f} s, scikit-learn {slow:.3f} s, ratio {slow / fast:.1f}")
    return ours - theirs, slow / fast


def main() -> int:
    warnings.simplefilter("ignore", ConvergenceWarning)
    (x, labels), (x_test, test_labels) = fastbp.datasets.digits()
    digits = (np.ascontiguousarray(x.T), labels), (x_test.T, test_labels)
    MLPClassifier((100,), max_iter=1).fit(*digits[0])  # compiles the kernels, or loads them
    results = [compare("digits", *digits, max_iter=100)]
    if parts := mnist_parts():
        training, _, test = ((images / np.float32(255), labels) for images, labels, _ in parts)
        first = tuple(array[:EXAMPLES] for array in training)
        results.append(compare("MNIST", first, test, max_iter=10))
    else:
        print("MNIST is left out: FASTBP_DATA is not a folder with its IDX files")
    print(f"bounds: a ratio of at least {MIN_SPEEDUP:g}, and an accuracy at most {MAX_LOSS:.1%} lower")
    return 0 if all(gained >= -MAX_LOSS and ratio >= MIN_SPEEDUP for gained, ratio in results) else 1


if __name__ == "__main__":
    sys.exit(main())
