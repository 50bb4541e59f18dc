"""Arrays that need none of scikit-learn's checks, which take longer than training on a small mini-batch."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
FLOATS = (np.float64, np.float32)  # X in float32 is kept; any other dtype is converted to float64


def is_plain_matrix(x: Any) -> bool:
    """Return whether scikit-learn's checks would return the array x unchanged, if its numbers are finite."""
    return (
        type(x) is np.ndarray
        and x.ndim == 2
        and x.size > 0
        and x.dtype in FLOATS
        and x.flags.c_contiguous
        and x.dtype.isnative
        and x.flags.aligned
    )


def is_plain_vector(y: Any, n: int) -> bool:
    """Return whether scikit-learn's checks would return y, which has to have n targets, unchanged."""
    if type(y) is not np.ndarray or y.shape != (n,):
        return False
    return y.dtype.kind in "iub" or (y.dtype.kind == "f" and has_finite_sum(y))


def has_finite_sum(array: Array) -> bool:
    """Return whether the sum is finite. Then all numbers are."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()))
