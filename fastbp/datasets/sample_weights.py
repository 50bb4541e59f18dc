"""Weights of examples, from the arguments `sample_weight` and `class_weight`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.foreign_arrays import as_backend_array
from fastbp.errors import InputError, brief, finite_number, truncate
from fastbp.operations import Plan

Array = Any


def as_weights(
    sample_weight: Array,
    class_weight: Any,
    classes: npt.NDArray[np.int64] | None,
    examples: int,
    plan: Plan,
    of_class: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[Any]:
    """Return the weights of the examples as a matrix of shape (1, examples).

    If neither argument is given, all examples weigh the same, and the matrix has the shape (0, examples).
    `sample_weight` has one finite number >= 0 per example. `class_weight` maps classes, or their names, to weights. A
    class that is missing from it has the weight 1. If `class_weight` is "balanced", the weight of a class is n /
    (number of classes · examples of the class), where n is the number of all examples. If `of_class` has the number of
    examples of each class, it is used instead of the numbers in `classes`. If both arguments are given, their weights
    are multiplied. Raises `InputError` for weights that the plan's dtype cannot represent.
    """
    if sample_weight is None and class_weight is None:
        return np.empty((0, examples), plan.dtype)
    weights = np.ones(examples)
    if sample_weight is not None:
        given = as_backend_array("sample_weight", sample_weight, plan.backend)
        given = given if isinstance(given, np.ndarray) else plan.backend.to_host(given)
        if given.shape != (examples,):
            raise InputError(f"sample_weight must have shape ({examples},), one weight per example, got {given.shape}")
        weights *= given
    if class_weight is not None:
        with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are refused below
            weights *= _class_weights(class_weight, classes, plan, of_class)
    names = {"sample_weight": sample_weight, "class_weight": class_weight}
    name = " times ".join(name for name, given in names.items() if given is not None)
    _check(name, weights, plan.dtype)
    return weights[None, :]


def _check(name: str, weights: npt.NDArray[Any], dtype: str) -> None:
    """Raise `InputError` for invalid weights.

    Weights that the dtype would round to infinity, to 0 or to a subnormal number are invalid as well.
    """
    invalid = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if invalid.size:
        example = invalid[0]
        raise InputError(f"{name} must be finite and not negative, got {weights[example]:g} (example {example})")
    if not weights.any():
        raise InputError(f"{name} must be positive for at least one example, got only zeros")
    limits = np.finfo(dtype)
    low, high = float(limits.smallest_normal), float(limits.max)
    invalid = np.flatnonzero((weights > 0) & ((weights < low) | (weights > high)))
    if invalid.size:
        example = invalid[0]
        raise InputError(
            f"{name} must be 0, or from {low:.3g} to {high:.3g} for a network in {dtype}, "
            f"got {weights[example]:g} (example {example})"
        )


def _class_weights(
    class_weight: Any, classes: npt.NDArray[np.int64] | None, plan: Plan, of_class: npt.NDArray[np.int64] | None
) -> npt.NDArray[Any]:
    """Return the weight of each example, which is the weight of its class."""
    count = plan.sizes[-1]
    if classes is None:
        raise InputError("class_weight needs targets that are classes: integer labels or unit columns")
    if isinstance(class_weight, str) and class_weight == "balanced":
        present = np.bincount(classes, minlength=count) if of_class is None else of_class
        each = present.sum() / (np.count_nonzero(present) * np.maximum(present, 1))
    elif isinstance(class_weight, Mapping):
        numbers = {name: c for c, name in enumerate(plan.classes)}
        given_weights = {numbers.get(key, key): weight for key, weight in class_weight.items()}
        unknown = [key for key in given_weights if key not in range(count)]
        if unknown:
            given = f"class_weight has the class {brief(unknown[0])}"
            names = f", or {truncate(', '.join(plan.classes), 60)}" if plan.classes else ""
            raise InputError(f"{given}; the classes are the integers from 0 to {count - 1}{names}")
        each = np.array(
            [finite_number(f"class_weight[{c}]", given_weights.get(c, 1.0), positive=False) for c in range(count)]
        )
    else:
        raise InputError(f"class_weight must be 'balanced' or a dict of classes and weights, got {brief(class_weight)}")
    return np.asarray(each[classes])
