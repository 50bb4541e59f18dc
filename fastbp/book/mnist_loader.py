"""The book's `mnist_loader.py` in Python 3: M. Nielsen, *Neural Networks and Deep Learning*, chapter 1.

MNIST is read from the book's file, `mnist.pkl.gz`, without unpickling anything. Without that file it is read from
MNIST's four IDX files (see `fastbp.datasets.mnist`), which give the same numbers.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastbp import datasets
from fastbp.book.array_pickles import read_three_pairs
from fastbp.book.examples import Pair, vectorized_result
from fastbp.datasets.rows_and_labels import as_labels, as_rows
from fastbp.files.reading import StrPath

__all__ = ["load_data", "load_data_wrapper", "vectorized_result"]
Part = tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]
_PLACES = ("../data/mnist.pkl.gz", "mnist.pkl.gz")


def load_data(path: StrPath | None = None) -> tuple[Part, Part, Part]:
    """Load MNIST as matrices: the training, validation and test set of the book.

    Parameters
    ----------
    path : str or os.PathLike, optional
        The book's file, or a file of other numbers with the same layout. By default, it is looked for in
        `../data/mnist.pkl.gz` and `mnist.pkl.gz`. If neither exists, MNIST's IDX files are looked for, or downloaded,
        as by `fastbp.datasets.mnist`.

    Returns
    -------
    training, validation, test : tuples (x, y) of ndarray
        x has shape (n, 784), one image per row, in float32 from 0 to 255/256; float64 in a file stays float64. y has
        shape (n,), the labels in int64. n is 50,000, 10,000 and 10,000.

    Raises
    ------
    InputError
        If the file does not exist or has another format.

    References
    ----------
    Chapter 1.

    Examples
    --------
    >>> (x, y), validation, test = load_data()  # doctest: +SKIP
    >>> x.shape, x.dtype, y.shape  # doctest: +SKIP
    ((50000, 784), dtype('float32'), (50000,))
    """
    found = next((place for place in _PLACES if Path(place).exists()), None) if path is None else path
    if found is None:
        # The book's file divides pixels by 256, not 255: its first image begins 3/256, 18/256; the IDX file's, 3, 18.
        first, second, third = ((x.T / np.float32(256), labels) for x, labels in datasets.load("mnist"))
    else:
        pairs = read_three_pairs(found)
        first, second, third = ((as_rows(found, x), as_labels(found, y, len(x))) for x, y in pairs)
    return first, second, third


def load_data_wrapper(path: StrPath | None = None) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Load MNIST as lists of pairs (x, y), as `SGD` takes them.

    Parameters
    ----------
    path : str or os.PathLike, optional
        The book's file, see `load_data`.

    Returns
    -------
    training, validation, test : lists of pairs
        Each x has shape (784, 1). In the training set, y is the unit vector of the label, with shape (10, 1). In the
        other sets, y is the label.

    Raises
    ------
    InputError
        See `load_data`.

    References
    ----------
    Chapter 1.

    Examples
    --------
    >>> training_data, validation_data, test_data = load_data_wrapper()  # doctest: +SKIP
    >>> x, y = training_data[0]  # doctest: +SKIP
    >>> x.shape, y.shape  # doctest: +SKIP
    ((784, 1), (10, 1))
    """
    training, validation, test = (list(zip(x[:, :, np.newaxis], y, strict=True)) for x, y in load_data(path))
    return [(x, vectorized_result(y)) for x, y in training], validation, test
