"""Checks of the examples and targets that users pass, and their transfer to the backend's device.

A `plan` holds the sizes, formulas, dtype and backend of a network. Users pass one example per column; on the device,
data have one example per row.
"""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.costs import log_likelihood
from fastbp.datasets.class_names import class_numbers
from fastbp.datasets.foreign_arrays import as_backend_array, text_labels
from fastbp.datasets.sparse_columns import SparseColumns, as_sparse_columns, is_sparse
from fastbp.errors import InputError, brief, plural
from fastbp.operations import Backend, Plan
from fastbp_kernels.words import namespace

Array = Any
_ROUNDING = 1e-3  # tolerance for the sum of a column of float32 targets that were normalised to sum to 1
_PIXEL = 128  # if x has bytes of at least this value, its bytes are taken for pixels
_CHUNK = 2**22  # elements checked at a time, so that mapped data need not be in memory all at once


def as_columns(name: str, values: Array, rows: int, plan: Plan, *, finite: bool = True) -> Array:
    """Return `values` as a matrix with one example per column, on the CPU or on the backend's device.

    A vector counts as one column. A sparse matrix of SciPy becomes `SparseColumns`. Raises `InputError` if
    `as_backend_array` refuses the values, if the number of rows is not `rows`, if there are no columns, or if a number
    is not finite in the plan's dtype. With `finite=False`, the numbers of a dense matrix are not checked. The caller
    then reads them batch by batch, and checks each batch with `check_finite`.
    """
    if isinstance(values, SparseColumns):  # a validation set, taken from examples that were checked
        return values
    if is_sparse(values):
        return as_sparse_columns(name, values, rows, plan)
    transposed = f"{name}.T" if hasattr(type(values), "T") else f"numpy.asarray({name}).T"
    values = as_backend_array(name, values, plan.backend)
    matrix = values[:, None] if values.ndim == 1 else values
    if matrix.ndim != 2 or matrix.shape[0] != rows:
        per = "input" if name == "x" else "output"
        hint = f"; pass {transposed} if rows are examples" if matrix.ndim == 2 and matrix.shape[1] == rows else ""
        given = f"got shape {tuple(values.shape)}{hint}"
        raise InputError(f"{name} must have {plural(rows, 'row')} (one per {per}), {given}")
    if matrix.shape[1] == 0:
        raise InputError(f"{name} must have at least one column (one per example), got shape {tuple(values.shape)}")
    if finite:
        check_finite(name, matrix, plan)
    return matrix


def as_targets(y: Array, examples: int, plan: Plan) -> Array:
    """Return targets as a matrix of shape (outputs, examples).

    Target columns are returned unchanged. A label becomes a unit column: 1 in the row of its class, 0 elsewhere. Labels
    are integers, whole numbers as floats, booleans, or names of classes, of shape (n,) or (n, 1). For a network with
    one output, a vector holds one target per example instead of labels. Raises `InputError` for other shapes, for
    labels out of range, and for targets outside the bounds of the cost.
    """
    outputs = plan.sizes[-1]
    y = _vector_of_column(_as_numbers("y", y, plan), examples)
    if outputs == 1 and y.ndim < 2:
        y = namespace(y).reshape(y, (1, -1))
    if y.ndim < 2 and not (y.ndim == 1 and examples == 1 and y.shape[0] == outputs):
        return _unit_columns(_as_labels("y", y, examples, plan), plan)
    columns = as_columns("y", y, outputs, plan)
    _check_count("y", "column", columns.shape[1], examples)
    _check_within_bounds(columns, plan)
    return columns


def as_classes(labels: Array, examples: int, plan: Plan) -> npt.NDArray[np.int64]:
    """Return the class of each example as a NumPy array.

    `labels` are integers, names of classes, or target columns. The class of a target column is the index of its largest
    entry.
    """
    labels = _vector_of_column(_as_numbers("labels", labels, plan), examples)
    if labels.ndim == 2:
        columns = as_columns("labels", labels, plan.sizes[-1], plan)
        _check_count("labels", "column", columns.shape[1], examples)
        return np.asarray(_on_host(columns, plan.backend).argmax(axis=0), np.int64)
    return _as_labels("labels", labels, examples, plan)


def classes_of_units(targets: Array, plan: Plan) -> npt.NDArray[np.int64] | None:
    """Return the class of each target column, or None if the targets do not represent classes.

    They represent classes if there are two or more rows, and if each column has a single 1 and otherwise zeros.
    """
    host = _on_host(targets, plan.backend)
    if len(host) < 2 or not (((host == 0) | (host == 1)).all() and (host.sum(axis=0) == 1).all()):
        return None
    return np.asarray(host.argmax(axis=0), np.int64)


def example_rows(matrix: Array, plan: Plan, *, keep_bytes: bool = False) -> tuple[Array, str]:
    """Return the columns of a matrix as rows in the backend's memory, and the name of the rows' dtype (their source).

    Normally, the rows have the plan's dtype. With `keep_bytes`, uint8 data stay uint8, which takes a quarter of the
    memory of float32. Such data are converted when mini-batches are gathered. Sparse columns have the source "sparse".
    """
    if isinstance(matrix, SparseColumns):
        return matrix.rows, "sparse"
    if isinstance(matrix, np.ndarray):
        dtype = "uint8" if keep_bytes and matrix.dtype == np.uint8 else plan.dtype
        return plan.backend.upload(np.ascontiguousarray(matrix.T, dtype)), dtype
    xp = plan.backend.xp
    dtype = "uint8" if keep_bytes and matrix.dtype == xp.uint8 else plan.dtype
    return plan.backend.contiguous(xp.astype(matrix, getattr(xp, dtype), copy=False).T), dtype


def warn_of_unscaled_pixels(matrix: Array) -> None:
    """Warn if bytes look like pixels. With inputs of this size, most networks do not learn."""
    if (largest := int(_highest(matrix))) >= _PIXEL:
        warnings.warn(
            f"x contains bytes up to {largest}, which are not scaled; for pixels, pass input_scale=1/255 to Network",
            UserWarning,
            stacklevel=8,  # the call of `Network.train`
        )


def copy_into(columns: Array, block: Array, plan: Plan, scale: float = 1.0) -> None:
    """Copy columns of data into a block of a workspace, and multiply them by `scale`."""
    if isinstance(columns, np.ndarray) and plan.backend.kind == "numpy":  # without a temporary copy
        with np.errstate(over="ignore"):  # `check_finite` reports numbers that are too large
            np.multiply(columns.T, scale, out=plan.backend.columns(block), dtype=plan.dtype, casting="unsafe")
        return
    rows, _ = example_rows(columns, plan)
    with plan.backend.device_context():
        plan.backend.assign(plan.backend.columns(block), rows if scale == 1.0 else scale * rows)


def hold_out(
    fraction: float, classes: npt.NDArray[np.int64] | None, examples: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the indices of the examples to train on, and of those held out for validation.

    The fraction is taken from each class, or from all examples together if `classes` is None. Raises `InputError` if no
    example would be left to train on, or if none would be held out.
    """
    held = np.zeros(examples, bool)
    order = rng.permutation(examples)
    groups = np.zeros(examples, np.int64) if classes is None else classes
    for group in np.unique(groups):
        members = order[groups[order] == group]
        held[members[: round(fraction * len(members))]] = True
    if not held.any() or held.all():
        raise InputError(
            f"validation must hold out at least one of {plural(examples, 'example')}, and leave one for training, "
            f"got {fraction:g}"
        )
    return np.flatnonzero(~held), np.flatnonzero(held)


def take_columns(matrix: Array, indices: npt.NDArray[np.int64]) -> Array:
    """Return a copy of the columns with these indices."""
    if isinstance(matrix, SparseColumns):
        return matrix.take(indices)
    xp = namespace(matrix)
    return xp.take(matrix, xp.asarray(indices, device=matrix.device), axis=1)


def _as_numbers(name: str, y: Array, plan: Plan) -> Array:
    """Return labels or targets as a NumPy array or an array of the backend. Text becomes the numbers of its classes."""
    text = text_labels(y)
    return as_backend_array(name, y, plan.backend) if text is None else class_numbers(name, text, plan)


def _vector_of_column(y: Array, examples: int) -> Array:
    """Return labels of shape (n, 1), such as a frame with one column, as a vector; other arrays are unchanged."""
    is_column = y.ndim == 2 and tuple(y.shape) == (examples, 1)
    return namespace(y).reshape(y, (-1,)) if is_column else y


def _as_labels(name: str, y: Array, examples: int, plan: Plan) -> npt.NDArray[np.int64]:
    outputs = plan.sizes[-1]
    labels = _on_host(y, plan.backend)
    if labels.ndim and labels.dtype.kind == "f" and labels.size:
        check = labels.astype(np.float64)  # float16 cannot represent large labels
        whole = np.isfinite(check) & (check == np.trunc(check))
        if whole.all():
            labels = np.clip(check, -1, outputs).astype(np.int64)  # other numbers might not fit into int64
    elif labels.ndim and labels.dtype.kind == "b":
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu":
        given = f"a vector of {labels.dtype}" if labels.ndim else brief(labels[()])
        expected = f"integer labels (one per example) or a matrix of {plural(outputs, 'row')} (one per output)"
        raise InputError(f"{name} must be {expected}, got {given}")
    labels = labels.reshape(-1)
    _check_count(name, "label", len(labels), examples)
    invalid = np.flatnonzero((labels < 0) | (labels >= outputs))
    if invalid.size:
        example = invalid[0]
        given = np.asarray(_on_host(y, plan.backend)).reshape(-1)[example]
        raise InputError(f"labels must be from 0 to {outputs - 1}, got {given} (example {example})")
    return labels.astype(np.int64)


def _check_count(name: str, noun: str, given: int, examples: int) -> None:
    if given != examples:
        counts = f"x has {plural(examples, 'column')}, {name} has {plural(given, noun)}"
        raise InputError(f"{name} must have one {noun} per example: {counts}")


def _unit_columns(labels: npt.NDArray[np.int64], plan: Plan) -> npt.NDArray[Any]:
    rows = np.zeros((len(labels), plan.sizes[-1]), plan.dtype)
    rows[np.arange(len(labels)), labels] = 1
    return rows.T


def _on_host(values: Array, backend: Backend) -> npt.NDArray[Any]:
    return values if isinstance(values, np.ndarray) else backend.to_host(values)


def check_finite(name: str, matrix: Array, plan: Plan, before: int = 0) -> None:
    """Raise `InputError` for NaN, infinity or numbers outside the range of the plan's dtype.

    `matrix` may be a part of the user's array. `before` is the number of columns in front of this part. It is needed
    because the message gives the index of a column in the user's array.
    """
    if not namespace(matrix).isdtype(matrix.dtype, "real floating"):
        return
    largest = float(np.finfo(plan.dtype).max)
    step = max(1, _CHUNK // matrix.shape[0])
    for start in range(0, matrix.shape[1], step):
        chunk = matrix[:, start : min(start + step, matrix.shape[1])]
        if not (surely_finite(chunk, largest) or (-largest <= _lowest(chunk) and _highest(chunk) <= largest)):
            given = _first_out_of_range(chunk, largest, before + start, plan.backend)
            raise InputError(f"{name} must contain finite numbers in the range of {plan.dtype}, got {given}")


def surely_finite(block: Array, largest: float) -> bool:
    """Return whether Σ x² over the numbers in a block is at most `largest`. If it is, all these numbers are finite.

    The result False proves nothing. This check takes half the time of computing the minimum and the maximum.
    """
    if not (isinstance(block, np.ndarray) and block.flags.forc and block.dtype.char in "fd"):
        return False
    numbers = block.ravel(order="K")
    with np.errstate(all="ignore"):  # NaN and overflow give False
        return bool(np.dot(numbers, numbers) <= largest)


def _check_within_bounds(columns: Array, plan: Plan) -> None:
    """Raise `InputError` for targets outside the bounds of the cost."""
    cost = plan.formulas.output.cost_function
    low, high = _lowest(columns), _highest(columns)
    if not are_within_bounds(plan, low, high):
        given = f"targets from {low:g} to {high:g}"
        raise InputError(
            f"y must be from {cost.within[0]:g} to {cost.within[1]:g} for the cost {brief(cost.name)}, got {given}"
        )
    if cost == log_likelihood:
        sums = namespace(columns).sum(columns, axis=0)
        if not are_within_bounds(plan, low, high, _lowest(sums), _highest(sums)):
            given = f"sums from {_lowest(sums):g} to {_highest(sums):g}"
            raise InputError(f"columns of y must sum to 1 for the cost {brief(cost.name)}, got {given}")


def are_within_bounds(plan: Plan, low: float, high: float, low_sum: float = 1.0, high_sum: float = 1.0) -> bool:
    """Return whether the cost accepts targets with the given bounds.

    `low` and `high` are the smallest and the largest target. `low_sum` and `high_sum` are the smallest and the largest
    sum of a column of targets. For the log-likelihood, the sums must be 1, because δ = a − y is right only then. In
    general, δ = a Σy − y.
    """
    cost = plan.formulas.output.cost_function
    if cost == log_likelihood and not (low_sum > 1 - _ROUNDING and high_sum < 1 + _ROUNDING):
        return False
    return cost.within[0] <= low and high <= cost.within[1]


def _lowest(matrix: Array) -> float:
    return float(namespace(matrix).min(matrix))


def _highest(matrix: Array) -> float:
    return float(namespace(matrix).max(matrix))


def _first_out_of_range(chunk: Array, largest: float, start: int, backend: Backend) -> str:
    values = _on_host(chunk, backend)
    row, column = np.argwhere(~(np.abs(values) <= largest))[0]
    return f"{values[row, column]} (row {row}, column {start + column})"
