"""The book's `mnist_loader.py` in Python 3: M. Nielsen, *Neural Networks and Deep Learning*, chapter 1.

MNIST is read from the book's file, `mnist.pkl.gz`, without unpickling anything. If that file does not exist, MNIST is
read from its four IDX files (see `fastbp.datasets.mnist`). The resulting numbers are the same.
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
    """Load the book's training, validation and test set of MNIST as matrices.

    Parameters
    ----------
    path : str or os.PathLike, optional
        The book's file, or another file with the same layout. The default is `../data/mnist.pkl.gz` or, if that does
        not exist, `mnist.pkl.gz`. If neither exists, MNIST's IDX files are found or downloaded in the same way as by
        `fastbp.datasets.mnist`.

    Returns
    -------
    training, validation, test : tuples (x, y) of ndarray
        x has shape (n, 784), with one image per row. Its values are float32 from 0 to 255/256. If the file contains
        float64, x is float64. y has shape (n,), with the labels in int64. The number n of images is 50,000 in the
        training set, and 10,000 in each of the other two.

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
        # Pixels in the book's file are divided by 256, not by 255. In the first image, the first pixels that are not
        # zero are 3/256 and 18/256 in the book's file, and 3 and 18 in the IDX file.
        first, second, third = ((x.T / np.float32(256), labels) for x, labels in datasets.load("mnist"))
    else:
        pairs = read_three_pairs(found)
        first, second, third = ((as_rows(found, x), as_labels(found, y, len(x))) for x, y in pairs)
    return first, second, third


def load_data_wrapper(path: StrPath | None = None) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Load the book's training, validation and test set of MNIST as lists of pairs (x, y) for `SGD`.

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
