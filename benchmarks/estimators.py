"""fastbp's MLPClassifier and scikit-learn's, same settings and seeds: how right, and how fast.

    FASTBP_DATA=FOLDER python -m benchmarks.estimators

Accuracy and time of `fit` are of ten seeds, the two in turn for each; accuracies are averaged, and medians of the times
compared. One hidden layer of 100, mini-batches of 32, adam, float32: 100 epochs of the bundled digits, tested on their
test part, and ten of the first 20,000 images of MNIST, tested on its 10,000. Images are those of MNIST's IDX files,
gzipped or not, in the folder FASTBP_DATA (or in its folder `mnist`); without them there are only the digits. Exit code
1 if fastbp is less than 5 times as fast, or its mean accuracy is more than 0.3 points below.
"""

import os
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as TheirClassifier

import fastbp
from benchmarks.timing import PAUSE
from fastbp.estimators import MLPClassifier

SEEDS, EXAMPLES, WANTED, MARGIN = range(10), 20_000, 5.0, 0.003
Part = tuple[Any, Any]


def mnist() -> tuple[Part, Part] | None:
    """Return the first rows of MNIST's images, from 0 to 1, with labels, and the test part; None without its files."""
    for folder in (Path(os.environ.get("FASTBP_DATA", "/nonexistent")) / name for name in ("", "mnist")):
        for ending in ("", ".gz"):
            names = [
                f"{part}-{kind}-ubyte{ending}" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
            ]
            if all((folder / name).exists() for name in names):
                x, labels, x_test, test_labels = (fastbp.datasets.read_idx(folder / name) for name in names)
                rows, test_rows = (
                    images.reshape(len(images), -1) / np.float32(255) for images in (x[:EXAMPLES], x_test)
                )
                return (rows, labels[:EXAMPLES]), (test_rows, test_labels)
    return None


def compared(name: str, training: Part, test: Part, **settings: Any) -> tuple[float, float]:
    """Print how right and how fast the two are; return how much more accurate fastbp is, and how many times as fast."""
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
    print(f"{name}: mean accuracy of {len(SEEDS)} seeds {ours:.4%}, scikit-learn's {theirs:.4%}")
    print(f"{name}: fit {fast:.3f} s, scikit-learn's {slow:.3f} s, ratio {slow / fast:.1f}")
    return ours - theirs, slow / fast


def main() -> int:
    warnings.simplefilter("ignore", ConvergenceWarning)
    (x, labels), (x_test, test_labels) = fastbp.datasets.digits()
    digits = (np.ascontiguousarray(x.T), labels), (x_test.T, test_labels)
    MLPClassifier((100,), max_iter=1).fit(*digits[0])  # to compile, or to find what is compiled
    results = [compared("digits", *digits, max_iter=100)]
    parts = mnist()
    if parts is None:
        print("no MNIST: FASTBP_DATA names no folder with its IDX files")
    else:
        results.append(compared("MNIST", *parts, max_iter=10))
    print(f"wanted is a ratio of {WANTED:g} or more, and no more than {MARGIN:.1%} less right")
    return 0 if all(gained >= -MARGIN and ratio >= WANTED for gained, ratio in results) else 1


if __name__ == "__main__":
    sys.exit(main())
