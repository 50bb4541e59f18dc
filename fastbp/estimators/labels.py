"""Labels of classes, and the targets of a network for them."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import unique_labels

from fastbp.errors import InputError
from fastbp.estimators.from_scikit_learn import warn

Array = npt.NDArray[Any]


def class_numbers(binarizer: LabelBinarizer, y: Any) -> Array | None:
    """Return the number of the class of each example, or None if this needs more than a comparison.

    It does if y are several columns, objects or floats, or if a label is unknown.
    """
    classes = binarizer.classes_
    if sparse.issparse(y) or y.ndim != 1 or y.dtype.kind not in "biuU" or y.dtype.kind != classes.dtype.kind:
        return None
    if binarizer.y_type_ not in ("binary", "multiclass"):
        return None
    index = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    return index if (classes[index] == y).all() else None


def check_known(y: Any, numbers: Array | None, classes: Array, *, warm_start: bool) -> None:
    """Raise `InputError` if labels are not among the classes, or, with `warm_start`, do not include all of them.

    `numbers` are the `class_numbers` of the labels.
    """
    # scikit-learn warns of a regression problem if more than half of the labels are different.
    may_be_numbers = y.shape[0] > 20 and 2 * len(classes) > y.shape[0]
    if not warm_start and numbers is not None and not may_be_numbers:
        return
    found = unique_labels(y)
    if warm_start and set(found) != set(classes):
        raise InputError(
            "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
            f"got {classes}, `y` has {found}"
        )
    if not warm_start and len(np.setdiff1d(found, classes, assume_unique=True)):
        raise InputError(f"`y` has classes not in `self.classes_`. `self.classes_` has {classes}. 'y' has {found}.")


def indicators(binarizer: LabelBinarizer, y: Any, numbers: Array | None) -> Array:
    """Return the targets for labels, as a matrix of False and True with one row per example.

    It is `binarizer.transform(y)`, computed from the `class_numbers` of the labels if there are any.

    >>> binarizer, y = LabelBinarizer().fit(["a", "b", "c"]), np.array(["c", "a"])
    >>> indicators(binarizer, y, class_numbers(binarizer, y)).tolist()
    [[False, False, True], [True, False, False]]
    """
    if numbers is not None:
        classes = len(binarizer.classes_)
        columns = np.arange(classes) if classes > 2 else np.array([1])
        return np.asarray(numbers[:, None] == columns)
    found = binarizer.transform(y)
    if found.ndim == 2 and (found < 0).any():
        warn("y has negative numbers, and each number other than 0 means that the example has the label")
    return np.asarray(found, bool)
