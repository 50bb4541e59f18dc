"""The handwritten digits that are part of the package."""

from importlib.resources import files

import numpy as np

from fastbp.datasets.rows_and_labels import Examples
from fastbp.errors import number_between, whole_number


def digits(held_out: float = 0.2, seed: int = 0) -> tuple[Examples, Examples]:
    """Return 1,797 handwritten digits, split into a training set and a test set.

    The digits are shuffled. From each class, the fraction `held_out` goes to the test set. The same `seed` always gives
    the same split.

    Parameters
    ----------
    held_out : float, default=0.2
        Fraction of each class that goes to the test set: at least 0, and below 1.
    seed : int, default=0
        Seed of the shuffle.

    Returns
    -------
    (x, labels), (x_test, labels_test) : tuple of tuples of ndarray
        x has shape (64, n) and dtype float32. Each column is an image of 8 × 8 pixels, row by row from the top, with
        values from 0 to 1. The labels are int64, from 0 to 9, with shape (n,).

    Raises
    ------
    InputError
        If `held_out` or `seed` is out of range.

    Notes
    -----
    The data are the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI Machine
    Learning Repository, https://doi.org/10.24432/C50P49, licence CC BY 4.0. The original values 0 to 16 are divided by
    16.

    Examples
    --------
    >>> (x, labels), (x_test, labels_test) = digits()
    >>> x.shape, labels.shape, x_test.shape
    ((64, 1438), (1438,), (64, 359))
    """
    number_between("held_out", held_out, 0.0, 1.0, low_included=True)
    whole_number("seed", seed, least=0)
    with files("fastbp.datasets").joinpath("digits.npz").open("rb") as file, np.load(file) as archive:
        images, labels = archive["images"], archive["labels"].astype(np.int64)
    rows = images.reshape(len(images), -1).astype(np.float32) / np.float32(images.max())
    order = np.random.default_rng(seed).permutation(len(labels))
    test = np.zeros(len(labels), bool)
    for digit in np.unique(labels):
        members = order[labels[order] == digit]
        test[members[: round(held_out * len(members))]] = True
    train, held = order[~test[order]], order[test[order]]
    return (rows[train].T, labels[train]), (rows[held].T, labels[held])
