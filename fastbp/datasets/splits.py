"""Data by name, folder or file, split into training, validation and test."""

import difflib
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastbp.datasets.bundled_digits import digits
from fastbp.datasets.mnist_files import mnist, split_folder
from fastbp.datasets.rows_and_labels import Examples, Splits
from fastbp.datasets.tables import read_examples
from fastbp.errors import InputError, brief, whole_number
from fastbp.files.bounded_reading import StrPath, display_path

_NAMES = ("digits", "mnist")


def load(where: StrPath, label: str | None = None, seed: int = 0) -> Splits:
    """Return (x, labels) three times: to train with, to validate, to test.

    `where` is "digits", the bundled ones: the test is that of `digits(seed=seed)`, and an eighth of the others
    validates; "mnist" (see `mnist`); a folder with four IDX files called like MNIST's, of whose training images the
    last sixth validates; or an .npz or .csv file (see `read_examples`, also for `label`), of which a tenth validates
    and a tenth tests.

    x are columns (n_0, n), of uint8, float32 or float64, and labels int64. Files and the digits are shuffled by `seed`
    and split in each class alike; a class of fewer than 3 examples is for training alone, so that validation and test
    may be empty. Folders are not shuffled, and their parts are views of the files, where these are plain bytes. Raises
    `InputError` for what is none of that.

    >>> (x, labels), (x_validation, _), (x_test, _) = load("digits")
    >>> x.shape, x_validation.shape, x_test.shape
    ((64, 1259), (64, 179), (64, 359))
    """
    whole_number("seed", seed, least=0)
    if not isinstance(where, str | os.PathLike):
        raise InputError(f"data {brief(where)} is no name; valid: {', '.join(_NAMES)}, a file, a folder")
    if label is not None and (where in _NAMES or Path(where).is_dir()):
        given = f"label is {brief(label)}, and data {display_path(where)} have their own"
        raise InputError(f"{given}; wanted is an .npz or .csv file")
    if where == "digits":
        train, test = digits(seed=seed)
        kept, validation = _deal(train[1], (1 / 8,), seed)
        return _take(train, kept), _take(train, validation), test
    if where == "mnist":
        return mnist()
    path = Path(where)
    if path.is_dir():
        return split_folder(path)
    if not path.exists():
        near = difflib.get_close_matches(str(where), _NAMES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"data {display_path(path)} does not exist; {hint}valid: {', '.join(_NAMES)}, a file, a folder"
        )
    examples = read_examples(path, label)
    kept, validation, test_ = _deal(examples[1], (1 / 10, 1 / 10), seed)
    return _take(examples, kept), _take(examples, validation), _take(examples, test_)


def _take(examples: Examples, chosen: npt.NDArray[np.int64]) -> Examples:
    x, labels = examples
    return x.T[chosen].T, labels[chosen]


def _deal(labels: npt.NDArray[np.int64], shares: tuple[float, ...], seed: int) -> list[npt.NDArray[np.int64]]:
    """Return the indices of the examples that are kept and of those of each share, shuffled, in each class alike."""
    order = np.random.default_rng(seed).permutation(len(labels))
    part = np.zeros(len(labels), np.int8)
    by_class = order[np.argsort(labels[order], kind="stable")]
    _, starts = np.unique(labels[by_class], return_index=True)
    for start, end in zip(starts, np.append(starts[1:], len(labels)), strict=True):
        members = by_class[start:end]
        as_backend_array = 0
        for number, share in enumerate(shares, 1):
            count = max(1, round(share * len(members))) if len(members) > len(shares) else 0
            part[members[as_backend_array : as_backend_array + count]] = number
            as_backend_array += count
    return [order[part[order] == number] for number in range(len(shares) + 1)]
