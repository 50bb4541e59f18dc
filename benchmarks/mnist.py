"""The examples of the benchmarks: MNIST, or random images of the same size."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbp.datasets.mnist_files import missing_files, split_folder

EXAMPLES = 50_000


class Rows(NamedTuple):
    """Images in uint8, one per row, with their labels and a description of the data."""

    images: Any
    labels: Any
    source: str


def mnist_parts() -> list[Rows] | None:
    """Return MNIST's training, validation and test part, or None if its files are not there.

    The four IDX files, gzipped or not, may be in the folder FASTBP_DATA or in its subfolder `mnist`. Nothing is
    downloaded.
    """
    named = os.environ.get("FASTBP_DATA")
    for folder in [Path(named), Path(named) / "mnist"] if named else []:
        if not missing_files(folder):
            return [Rows(np.ascontiguousarray(x.T), labels, "MNIST") for x, labels in split_folder(folder)]
    return None


def training_rows() -> Rows:
    """Return MNIST's training part, or the same number of random images if its files are not there."""
    if parts := mnist_parts():
        return parts[0]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (EXAMPLES, 784), np.uint8)
    source = "random images of MNIST's size; FASTBP_DATA is not a folder with MNIST"
    return Rows(images, rng.integers(0, 10, EXAMPLES), source)
