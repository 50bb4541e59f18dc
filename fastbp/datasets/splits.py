"""Loading of a data set by its name, folder or file, and its split into a training, a validation and a test set."""

import difflib
import os
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from fastbp.datasets.bundled_digits import digits
from fastbp.datasets.mnist_files import mnist, split_folder
from fastbp.datasets.rows_and_labels import Examples, Splits
from fastbp.datasets.tables import read_examples
from fastbp.errors import InputError, brief, whole_number
from fastbp.files.reading import StrPath, display_path

_NAMES = ("digits", "mnist")


def load(where: Literal["digits", "mnist"] | StrPath, label: str | None = None, seed: int = 0) -> Splits:
    """Load a data set, split into a training, a validation and a test set.

    Parameters
    ----------
    where : {"digits", "mnist"}, str or os.PathLike
        The data set:

        - "digits": the bundled digits. The test set is the same as in `digits(seed=seed)`. An eighth of the other
          digits is the validation set.
        - "mnist": see `mnist`.
        - A folder with four IDX files named like those of MNIST. The last sixth of the training images is the
          validation set.
        - An .npz file or a table, such as a .csv file; see `read_examples`. A tenth of the examples is the validation
          set, and another tenth is the test set.
    label : str, optional
        Name of the labels in an .npz file or a table; see `read_examples`.
    seed : int, default=0
        Seed for shuffling the examples of a file, or the digits.

    Returns
    -------
    (x, labels), (x_validation, labels_validation), (x_test, labels_test) : tuple of tuples of ndarray
        Inputs x have shape (n_0, n), one example per column, and dtype uint8, float32 or float64. Labels have shape
        (n,) and dtype int64.

    Raises
    ------
    InputError
        If the data do not exist, cannot be read, or do not fit together.

    Notes
    -----
    Files and the digits are shuffled, and each class is split in the same proportions. Classes with fewer than 3
    examples are used for training only, so the validation and test sets may be empty. The images in a folder are not
    shuffled. If the files in the folder are not compressed and contain bytes, the three sets are views of the
    memory-mapped files.

    Examples
    --------
    >>> (x, labels), (x_validation, _), (x_test, _) = load("digits")
    >>> x.shape, x_validation.shape, x_test.shape
    ((64, 1259), (64, 179), (64, 359))
    """
    whole_number("seed", seed, least=0)
    if not isinstance(where, str | os.PathLike):
        raise InputError(f"data must be {', '.join(_NAMES)}, a file or a folder, got {brief(where)}")
    if label is not None and (where in _NAMES or Path(where).is_dir()):
        given = f"got label {brief(label)} with data {display_path(where)}"
        raise InputError(f"label must be None unless data are a file with a label, {given}")
    if where == "digits":
        train, test = digits(seed=seed)
        kept, validation = stratified(train[1], (1 / 8,), seed)
        return _take(train, kept), _take(train, validation), test
    if where == "mnist":
        return mnist()
    path = Path(where)
    if path.is_dir():
        return split_folder(path)
    if not path.exists():
        near = difflib.get_close_matches(str(where), _NAMES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        name = str(path)
        raise InputError(f"data {name!r} does not exist; {hint}valid: {', '.join(_NAMES)}, a file, a folder")
    examples = read_examples(path, label)
    kept, validation, test_ = stratified(examples[1], (1 / 10, 1 / 10), seed)
    return _take(examples, kept), _take(examples, validation), _take(examples, test_)


def _take(examples: Examples, indices: npt.NDArray[np.int64]) -> Examples:
    x, labels = examples
    return x.T[indices].T, labels[indices]


def stratified(labels: npt.NDArray[np.int64], shares: tuple[float, ...], seed: int) -> list[npt.NDArray[np.int64]]:
    """Split the examples at random, and divide every class in the same proportions. Return the indices of each part.

    `shares` contains the fraction of each part except the first. The first part in the returned list has all remaining
    examples. A class with fewer examples than there are parts is not split: all of its examples are in the first part.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    part = np.zeros(len(labels), np.int8)
    by_class = order[np.argsort(labels[order], kind="stable")]
    _, starts = np.unique(labels[by_class], return_index=True)
    for start, end in zip(starts, np.append(starts[1:], len(labels)), strict=True):
        members = by_class[start:end]
        taken = 0
        for number, share in enumerate(shares, 1):
            count = max(1, round(share * len(members))) if len(members) > len(shares) else 0
            part[members[taken : taken + count]] = number
            taken += count
    return [order[part[order] == number] for number in range(len(shares) + 1)]
