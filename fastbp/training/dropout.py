"""Dropout: its rates, the keys of its masks, and gradients and costs with masks that stay the same."""

from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from fastbp import equations
from fastbp.datasets.sparse_columns import SparseColumns
from fastbp.errors import InputError, brief, number_between, plural, whole_number
from fastbp.operations import Dropout, Operations, Parameters, Plan, PreparingBackend, Workspace, WorkspacePool
from fastbp.training.inference import batch_size, batches
from fastbp_kernels.sparse_rows import SparseRows
from fastbp_kernels.threefry import threefry_2x32

Array = Any
_HALF = 2**16  # one more than the largest half of a random word


class Masks(NamedTuple):
    """The rates of dropout, one per layer with weights, and the key from which all masks follow."""

    rates: tuple[float, ...]
    key: int


def masks_of(dropout: Any, key: Any, plan: Plan) -> Masks | None:
    """Return the masks for the arguments `dropout` and `dropout_key`, or None if no unit is dropped.

    Raises `InputError` if one of the arguments is not valid or is given alone.
    """
    if (dropout is None) != (key is None):
        given, missing = ("dropout_key", "dropout=0.5") if dropout is None else ("dropout", "dropout_key=0")
        raise InputError(f"dropout and dropout_key must be given together, got {given} alone; also pass {missing}")
    if dropout is None:
        return None
    checked = whole_number("dropout_key", key, least=0, most=2**64 - 1)
    rates = dropout_rates(dropout, plan.sizes)
    return Masks(rates, checked) if rates else None


def dropout_rates(dropout: Any, sizes: Sequence[int]) -> tuple[float, ...]:
    """Return the rates of the input and of the hidden layers, or an empty tuple if all of them are 0.

    If `dropout` is a number, it is the rate of every hidden layer.
    """
    count = len(sizes) - 1
    if isinstance(dropout, Real):
        if count == 1 and dropout:
            raise InputError(f"dropout needs a hidden layer; for the input alone, pass a list, dropout=[{dropout}]")
        rates = [0.0, *[number_between("dropout", dropout, 0.0, 1.0, low_included=True)] * (count - 1)]
    else:
        try:
            given = list(dropout)
        except TypeError:
            raise InputError(f"dropout must be a rate, or a list of rates, got {brief(dropout)}") from None
        if len(given) != count:
            layers = f"the input and each hidden layer, {plural(count, 'rate')}"
            raise InputError(f"dropout must be a rate for all hidden layers, or a list with {layers}, got {len(given)}")
        rates = [number_between(f"dropout[{l}]", rate, 0.0, 1.0, low_included=True) for l, rate in enumerate(given)]
    return tuple(rates) if any(rates) else ()


def new_dropout(plan: Plan, rates: Sequence[float], inputs: Workspace, x: Array) -> Dropout:
    """Return the `Dropout` with the given rates for examples x, which may be sparse. Its keys are zeros.

    A rate above 0 is rounded to a multiple of 2⁻¹⁶ that is neither 0 nor 1.
    """
    drop = drop_x = plan.backend.dropout(plan.dtype)
    if rates[0] and isinstance(x, SparseRows):
        assert isinstance(plan.backend, PreparingBackend)  # other backends refuse sparse data
        drop_x = plan.backend.dropout_of_sparse(plan.dtype)
    thresholds = np.array([min(max(round(_HALF * rate), 1), _HALF - 1) if rate else 0 for rate in rates], np.int64)
    scales = _HALF / (_HALF - thresholds)
    return Dropout(thresholds, scales, np.zeros((len(rates), 2), np.int64), inputs, drop_x, drop)


def set_keys(dropout: Dropout, key_0: int, key_1: int) -> None:
    """Give each layer a key of its own, made from two words."""
    dropout.keys[...] = [threefry_2x32(key_0, key_1, l, 0) for l in range(len(dropout.keys))]


def add_gradient_with_masks(
    plan: Plan, operations: Operations, p: Parameters, x: Array, y: Array, masks: Masks, nabla: Parameters
) -> None:
    """Add the gradient, summed over the columns of x, to `nabla`. x and y must have been checked."""
    for ws, dropout, numbers in _batches_with_masks(plan, operations, x, y, masks):
        plan.backend.run(equations.backprop_with_dropout, operations, p, ws, nabla, dropout, numbers)


def mean_cost_with_masks(plan: Plan, p: Parameters, x: Array, y: Array, masks: Masks) -> float:
    """Return the average cost over the columns of x with targets y. x and y must have been checked."""
    operations = plan.operations("sparse" if isinstance(x, SparseColumns) else None)
    total = plan.backend.new_cost_total(plan.sizes[-1], batch_size(plan.sizes, x.shape[1]), plan.dtype)
    plan.backend.set_cost_total(total, 0.0)
    for ws, dropout, numbers in _batches_with_masks(plan, operations, x, y, masks):
        plan.backend.run(equations.feedforward_with_dropout, operations, p, ws, dropout, numbers)
        plan.backend.run(equations.add_costs, operations, ws, total)
    return plan.backend.read_cost_total(total) / int(x.shape[1])


def _batches_with_masks(
    plan: Plan, operations: Operations, x: Array, y: Array, masks: Masks
) -> Iterator[tuple[Workspace, Dropout, Array]]:
    """Split columns into batches; yield each batch's workspace, its dropout, and the numbers of its columns."""
    rows, columns = x.rows if isinstance(x, SparseColumns) else None, x.shape[1]
    memory = WorkspacePool(plan, operations, batch_size(plan.sizes, columns), rows, masks.rates)
    for ws, part in batches(plan, operations, x, y, memory=memory):
        dropout = new_dropout(plan, masks.rates, memory.inputs(part.stop - part.start), rows)
        set_keys(dropout, masks.key % 2**32, masks.key // 2**32)
        yield ws, dropout, plan.backend.upload(np.arange(part.start, part.stop))
