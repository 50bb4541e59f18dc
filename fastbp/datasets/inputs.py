"""Examples and targets on their way in: checked at the door, laid out one example a row, moved where they are used."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.costs import log_likelihood
from fastbp.datasets.foreign_arrays import as_backend_array
from fastbp.errors import InputError, brief, finite_number, plural
from fastbp.operations import Backend, Plan
from fastbp_kernels.words import namespace

Array = Any
_ROUNDING = 1e-3  # of a column of float32 targets that was made to sum to 1
_CHUNK = 2**22  # elements checked together, so that mapped data need not be in memory whole


def as_columns(name: str, values: Array, rows: int, plan: Plan, *, finite: bool = True) -> Array:
    """Return values as a matrix of `rows` rows, one example a column, of the host's kind or the backend's own.

    A vector counts as one column. Raises `InputError` for what is no matrix of finite real numbers within the plan's
    dtype, has other rows or no columns, or cannot be read (`as_backend_array`). Unless `finite`, `check_finite` is left
    to the caller, who reads the numbers batch by batch.
    """
    values = as_backend_array(name, values, plan.backend)
    matrix = values[:, None] if values.ndim == 1 else values
    if matrix.ndim != 2 or matrix.shape[0] != rows:
        given = f"{name} has shape {tuple(values.shape)}; wanted are columns of {rows}: shape ({rows},) or ({rows}, m)"
        turned = matrix.ndim == 2 and matrix.shape[1] == rows
        raise InputError(f"{given}; for an example a row, give {name}.T" if turned else given)
    if matrix.shape[1] == 0:
        raise InputError(f"{name} has no columns; wanted is at least one example")
    if finite:
        check_finite(name, matrix, plan)
    return matrix


def as_targets(y: Array, examples: int, plan: Plan) -> Array:
    """Return targets as a matrix (outputs, examples): columns as they are, integer labels as unit columns.

    With one output, a vector holds one target an example. Raises `InputError` for other shapes, labels out of range,
    and targets outside the bounds of the cost.
    """
    outputs = plan.sizes[-1]
    y = as_backend_array("y", y, plan.backend)
    if outputs == 1 and y.ndim < 2:
        y = namespace(y).reshape(y, (1, -1))
    if y.ndim < 2 and not (y.ndim == 1 and examples == 1 and y.shape[0] == outputs):
        return _unit_columns(_as_labels(y, examples, plan), plan)
    columns = as_columns("y", y, outputs, plan)
    if columns.shape[1] != examples:
        raise InputError(f"x has {plural(examples, 'column')} and y has {columns.shape[1]}; wanted is one target each")
    _check_within(columns, plan)
    return columns


def as_classes(labels: Array, examples: int, plan: Plan) -> npt.NDArray[np.int64]:
    """Return the class of each example on the host: integer labels, or the largest entry of each target column."""
    labels = as_backend_array("labels", labels, plan.backend)
    if labels.ndim == 2:
        labels = as_columns("labels", labels, plan.sizes[-1], plan)
        if labels.shape[1] != examples:
            raise InputError(f"x has {plural(examples, 'column')} and labels has {labels.shape[1]}; wanted is one each")
        return np.asarray(_as_numpy(labels, plan.backend).argmax(axis=0), np.int64)
    return _as_labels(labels, examples, plan, "labels")


def classes_of_units(targets: Array, plan: Plan) -> npt.NDArray[np.int64] | None:
    """Return the class of each target column if every one is a unit column and there are two classes or more."""
    host = _as_numpy(targets, plan.backend)
    if len(host) < 2 or not (((host == 0) | (host == 1)).all() and (host.sum(axis=0) == 1).all()):
        return None
    return np.asarray(host.argmax(axis=0), np.int64)


def example_rows(matrix: Array, plan: Plan, *, keep_bytes: bool = False) -> tuple[Array, str]:
    """Return a matrix of columns in the backend's memory, one example a row, and its dtype.

    That is the plan's, but for uint8, which is a quarter of the memory: it may be kept and converted when gathered.
    """
    if isinstance(matrix, np.ndarray):
        dtype = "uint8" if keep_bytes and matrix.dtype == np.uint8 else plan.dtype
        return plan.backend.upload(np.ascontiguousarray(matrix.T, dtype)), dtype
    xp = plan.backend.xp
    dtype = "uint8" if keep_bytes and matrix.dtype == xp.uint8 else plan.dtype
    return plan.backend.contiguous(xp.astype(matrix, getattr(xp, dtype), copy=False).T), dtype


def as_weights(
    sample_weight: Array, class_weight: Any, classes: npt.NDArray[np.int64] | None, examples: int, plan: Plan
) -> npt.NDArray[Any]:
    """Return the examples' weights as a matrix (1, examples), or (0, examples) where every example counts the same.

    `sample_weight` has one finite number, not negative, an example. `class_weight` maps classes to theirs, 1 for those
    it leaves out, or is "balanced": n / (classes · examples of the class). With both, they are multiplied. Raises
    `InputError` for weights that are not representable in the plan's dtype.
    """
    if sample_weight is None and class_weight is None:
        return np.empty((0, examples), plan.dtype)
    weights = np.ones(examples)
    if sample_weight is not None:
        given = _as_numpy(as_backend_array("sample_weight", sample_weight, plan.backend), plan.backend)
        if given.shape != (examples,):
            raise InputError(f"sample_weight has shape {given.shape}; wanted is one weight an example: ({examples},)")
        weights *= given
    if class_weight is not None:
        with np.errstate(over="ignore"):  # an infinite product is refused below
            weights *= _class_weights(class_weight, classes, plan.sizes[-1])
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise InputError("weights of examples are negative, not finite, or all zero; wanted are weights of 0 or more")
    sources = (("sample_weight", sample_weight), ("class_weight", class_weight))
    _check_representable(" times ".join(name for name, given in sources if given is not None), weights, plan.dtype)
    return weights[None, :]


def _check_representable(name: str, weights: npt.NDArray[Any], dtype: str) -> None:
    """Raise `InputError` for weights that a dtype would turn into infinity, zero or a number of fewer digits."""
    limits = np.finfo(dtype)
    low, high = float(limits.smallest_normal), float(limits.max)
    wrong = np.flatnonzero((weights > 0) & ((weights < low) | (weights > high)))
    if wrong.size:
        raise InputError(
            f"{name} is {weights[wrong[0]]:g} for example {wrong[0]}; weights must be 0, or from {low:.3g} to "
            f"{high:.3g} for a network in {dtype}"
        )


def _class_weights(class_weight: Any, classes: npt.NDArray[np.int64] | None, count: int) -> npt.NDArray[Any]:
    if classes is None:
        raise InputError("class_weight wants targets that are classes: integer labels, or unit columns")
    if isinstance(class_weight, str) and class_weight == "balanced":
        present = np.bincount(classes, minlength=count)
        each = len(classes) / (np.count_nonzero(present) * np.maximum(present, 1))
    elif isinstance(class_weight, Mapping):
        unknown = [key for key in class_weight if key not in range(count)]
        if unknown:
            raise InputError(f"class_weight has {brief(unknown[0])}; valid: 0 to {count - 1}")
        each = np.array(
            [finite_number(f"class_weight[{c}]", class_weight.get(c, 1.0), positive=False) for c in range(count)]
        )
    else:
        given = brief(class_weight)
        raise InputError(f"class_weight is {given}; wanted is 'balanced' or a dict of classes and weights")
    return np.asarray(each[classes])


def hold_out(
    fraction: float, classes: npt.NDArray[np.int64] | None, examples: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the indices to train on and those held out for validation: a fraction, of each class where there are some.

    Raises `InputError` where that leaves one of the two empty.
    """
    held = np.zeros(examples, bool)
    order = rng.permutation(examples)
    groups = np.zeros(examples, np.int64) if classes is None else classes
    for group in np.unique(groups):
        members = order[groups[order] == group]
        held[members[: round(fraction * len(members))]] = True
    if not held.any() or held.all():
        raise InputError(f"validation is {fraction:g}; of {examples} examples that leaves none to train on or hold out")
    return np.flatnonzero(~held), np.flatnonzero(held)


def take_columns(matrix: Array, indices: npt.NDArray[np.int64]) -> Array:
    """Return the columns of those indices, copied."""
    xp = namespace(matrix)
    return xp.take(matrix, xp.asarray(indices), axis=1)


def _as_labels(y: Array, examples: int, plan: Plan, name: str = "y") -> npt.NDArray[np.int64]:
    outputs = plan.sizes[-1]
    labels = _as_numpy(y, plan.backend)
    if labels.dtype.kind not in "iu":
        given = f"{name} is a vector of {labels.dtype}" if labels.ndim else f"{name} is {brief(labels[()])}"
        raise InputError(f"{given}; wanted are integer labels, one an example, or columns of {outputs} targets")
    labels = labels.reshape(-1)
    if len(labels) != examples:
        raise InputError(
            f"x has {plural(examples, 'column')} and {name} has {plural(len(labels), 'label')}; wanted is one each"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= outputs))
    if wrong.size:
        raise InputError(f"label {labels[wrong[0]]} (example {wrong[0]}) is out of range; wanted is 0 to {outputs - 1}")
    return labels.astype(np.int64)


def _unit_columns(labels: npt.NDArray[np.int64], plan: Plan) -> npt.NDArray[Any]:
    rows = np.zeros((len(labels), plan.sizes[-1]), plan.dtype)
    rows[np.arange(len(labels)), labels] = 1
    return rows.T


def _as_numpy(values: Array, backend: Backend) -> npt.NDArray[Any]:
    return values if isinstance(values, np.ndarray) else backend.to_host(values)


def check_finite(name: str, matrix: Array, plan: Plan, before: int = 0) -> None:
    """Raise `InputError` for NaN, infinity or what the dtype cannot hold in columns that others may come `before`."""
    if not namespace(matrix).isdtype(matrix.dtype, "real floating"):
        return
    largest = float(np.finfo(plan.dtype).max)
    step = max(1, _CHUNK // matrix.shape[0])
    for start in range(0, matrix.shape[1], step):
        chunk = matrix[:, start : min(start + step, matrix.shape[1])]
        if not (surely_finite(chunk, largest) or (-largest <= _lowest(chunk) and _highest(chunk) <= largest)):
            raise InputError(
                f"{name} holds {_first_unfit(chunk, largest, before + start, plan.backend)}; wanted are finite numbers"
            )


def surely_finite(block: Array, largest: float) -> bool:
    """Return whether Σ x² is within bounds, and so every x: half the time of min and max, which carry NaN along too."""
    if not (isinstance(block, np.ndarray) and block.flags.forc and block.dtype.char in "fd"):
        return False
    numbers = block.ravel(order="K")
    with np.errstate(all="ignore"):  # what overflows is not small
        return bool(np.dot(numbers, numbers) <= largest)


def _check_within(columns: Array, plan: Plan) -> None:
    cost = plan.formulas.output.cost_function
    low, high = cost.within
    if not (low <= _lowest(columns) and _highest(columns) <= high):
        given = f"targets from {_lowest(columns):g} to {_highest(columns):g}"
        raise InputError(f"y holds {given}; the cost {brief(cost.name)} wants targets in [{low:g}, {high:g}]")
    if cost == log_likelihood:  # δ = a − y relies on it: in full it is a Σy − y
        sums = namespace(columns).sum(columns, axis=0)
        if not (_lowest(sums) > 1 - _ROUNDING and _highest(sums) < 1 + _ROUNDING):
            raise InputError(
                f"y has columns that sum to {_lowest(sums):g}…{_highest(sums):g}; the cost {brief(cost.name)} wants 1"
            )


def _lowest(matrix: Array) -> float:
    return float(namespace(matrix).min(matrix))


def _highest(matrix: Array) -> float:
    return float(namespace(matrix).max(matrix))


def _first_unfit(chunk: Array, largest: float, start: int, backend: Backend) -> str:
    values = _as_numpy(chunk, backend)
    row, column = np.argwhere(~(np.abs(values) <= largest))[0]
    return f"{values[row, column]} (row {row}, column {start + column})"
