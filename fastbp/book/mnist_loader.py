"""The book's `mnist_loader.py` in Python 3: M. Nielsen, *Neural Networks and Deep Learning*, chapter 1.

MNIST comes from the book's own file, `mnist.pkl.gz`, which is read without unpickling anything, or where that is not
at hand from the four IDX files (see `fastbp.datasets.mnist`), with the same numbers.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastbp import datasets
from fastbp.book.array_pickles import read_three_pairs
from fastbp.book.examples import Pair, vectorized_result
from fastbp.datasets.rows_and_labels import as_labels, as_rows
from fastbp.files.bounded_reading import StrPath

__all__ = ["load_data", "load_data_wrapper", "vectorized_result"]
Part = tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]
_PLACES = ("../data/mnist.pkl.gz", "mnist.pkl.gz")


def load_data(path: StrPath | None = None) -> tuple[Part, Part, Part]:
    """Return (training, validation, test), each (x, y): images as rows, (n, 784), and their labels, (n,).

    x are float32 from 0 to 255/256, and y int64; there are 50,000, 10,000 and 10,000 of them. They are read from the
    book's file at `path`; without one from `../data/mnist.pkl.gz` or `mnist.pkl.gz`, if either is there, and else from
    MNIST's IDX files, which are looked for, or downloaded, as `fastbp.datasets.mnist` says. A file of other numbers in
    the same layout keeps its sizes, and float64 where it has that. Raises `InputError` for any other file. Chapter 1.

    >>> (x, y), validation, test = load_data()  # doctest: +SKIP
    >>> x.shape, x.dtype, y.shape  # doctest: +SKIP
    ((50000, 784), dtype('float32'), (50000,))
    """
    found = next((place for place in _PLACES if Path(place).exists()), None) if path is None else path
    if found is None:
        # The book's file has pixels over 256, not 255: its first image begins 3/256, 18/256, as the IDX file's 3, 18.
        first, second, third = ((x.T / np.float32(256), labels) for x, labels in datasets.load("mnist"))
    else:
        pairs = read_three_pairs(found)
        first, second, third = ((as_rows(found, x), as_labels(found, y, len(x))) for x, y in pairs)
    return first, second, third


def load_data_wrapper(path: StrPath | None = None) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Return (training, validation, test) as lists of pairs, as `SGD` takes them.

    Training pairs are (x, y), x (784, 1) and y (10, 1), the unit vector of the label; the others are x and the label.
    From where they come, and what is raised, is as `load_data` says. Chapter 1.

    >>> training_data, validation_data, test_data = load_data_wrapper()  # doctest: +SKIP
    >>> x, y = training_data[0]  # doctest: +SKIP
    >>> x.shape, y.shape  # doctest: +SKIP
    ((784, 1), (10, 1))
    """
    training, validation, test = (list(zip(x[:, :, np.newaxis], y, strict=True)) for x, y in load_data(path))
    return [(x, vectorized_result(y)) for x, y in training], validation, test
