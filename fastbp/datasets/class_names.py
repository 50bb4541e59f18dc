"""Names of the classes of a network, from labels that are text."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.foreign_arrays import text_labels
from fastbp.errors import InputError, brief, truncate
from fastbp.operations import Plan

Array = Any


def plan_with_classes(plan: Plan, y: Array) -> Plan:
    """Return the plan with the names of the classes in the labels y, in alphabetical order.

    The plan is returned unchanged if it has names already, or if the labels are not text. Raises `InputError` if the
    number of different labels does not fit the outputs.
    """
    text = text_labels(y)
    if text is None or plan.classes:
        return plan
    _check_no_missing("y", text)
    names = tuple(sorted(set(map(str, text))))
    if len(names) != _count(plan):
        hint = "; to give the classes that y lacks, set net.classes = [...]" if len(names) < _count(plan) else ""
        shown = truncate(", ".join(names), 60)
        raise InputError(f"y must have {_count(plan)} different labels, one per class, got {len(names)}: {shown}{hint}")
    return dataclasses.replace(plan, classes=names)


def checked_classes(names: Iterable[str] | None, plan: Plan) -> tuple[str, ...]:
    """Return the names of the classes as a tuple; raise `InputError` unless there is one for each class."""
    given = () if names is None else tuple(names)
    if isinstance(names, str) or not all(isinstance(name, str) for name in given) or len(set(given)) != len(given):
        raise InputError(f"classes must be different texts, one per output, got {brief(names)}")
    if names is not None and len(given) != _count(plan):
        raise InputError(f"classes must have {_count(plan)} names, got {len(given)}: {truncate(', '.join(given), 60)}")
    return tuple(str(name) for name in given)


def class_numbers(name: str, text: npt.NDArray[Any], plan: Plan) -> npt.NDArray[np.int64]:
    """Return the number of the class of each label. Raises `InputError` if the plan does not have these classes."""
    if not plan.classes:
        numbers_of = f"classes, {name} = numpy.unique({name}, return_inverse=True)"
        remedy = f"train with labels of text, set net.classes, or pass numbers: {numbers_of}"
        raise InputError(f"{name} must contain numbers, got text like {brief(str(text[0]))}; {remedy}")
    _check_no_missing(name, text)
    numbers = {label: number for number, label in enumerate(plan.classes)}
    found = np.array([numbers.get(label, -1) for label in text], np.int64)
    if (unknown := np.flatnonzero(found < 0)).size:
        given = f"{brief(str(text[unknown[0]]))} (example {unknown[0]})"
        raise InputError(f"{name} must contain the classes {truncate(', '.join(plan.classes), 60)}, got {given}")
    return found


def named(classes: npt.NDArray[np.int64], plan: Plan) -> npt.NDArray[Any]:
    """Return the names of classes if the plan has names, and otherwise their numbers."""
    return np.array(plan.classes, object)[classes] if plan.classes else classes


def _count(plan: Plan) -> int:
    """Return the number of classes; raise `InputError` if the outputs are not classes."""
    if plan.sizes[-1] > 1:
        return plan.sizes[-1]
    if plan.formulas.activations[-1].outputs != (0.0, 1.0):
        name = plan.formulas.activations[-1].name
        raise InputError(f"classes need one output each, or one sigmoid output for two classes, got one {name} output")
    return 2


def _check_no_missing(name: str, text: npt.NDArray[Any]) -> None:
    missing = [example for example, label in enumerate(text) if not isinstance(label, str)]
    if missing:
        raise InputError(
            f"{name} must have a label for each example, got {brief(text[missing[0]])} (example {missing[0]})"
        )
