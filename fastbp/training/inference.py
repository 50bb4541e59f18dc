"""Columns of data through the equations by batches, in memory that does not grow with their number."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import equations
from fastbp.datasets.inputs import check_finite, example_rows, surely_finite
from fastbp.operations import Operations, Parameters, Plan, Workspace, WorkspacePool

Array = Any
_BLOCK = 2**22  # elements of the widest layer in one batch: 16 MB in float32; a batch costs a call of 0.06 ms


def batches(plan: Plan, operations: Operations, x: Array, y: Array = None) -> Iterator[tuple[Workspace, slice]]:
    """Put checked columns, with their targets if given, into a workspace, batch by batch; give each and its place.

    Inputs that lie as the equations read them are their own block: a copy takes a seventh of a small network's time.
    """
    columns = x.shape[1]
    size = batch_size(plan.sizes, columns)
    memory = WorkspacePool(plan, operations, size)
    for start in range(0, columns, size):
        part = slice(start, min(start + size, columns))
        ws = memory.workspace(part.stop - start)
        if _is_zero_copy(x[:, part], plan):
            ws = ws._replace(activations=(plan.backend.columns(x[:, part].T), *ws.activations[1:]))
        else:
            copy_into(x[:, part], ws.activations[0], plan, plan.input_scale)
        if y is not None:
            copy_into(y[:, part], ws.y, plan)
        yield ws, part


def _is_zero_copy(x: Array, plan: Plan) -> bool:
    """Return whether columns are a block as compiled code knows it: one that could be written to, which it is not."""
    if not (type(x) is np.ndarray and plan.backend.kind == "numpy" and plan.input_scale == 1.0):
        return False
    return bool(x.dtype == plan.dtype and x.dtype.isnative and x.T.flags.carray)


def batch_size(sizes: Sequence[int], columns: int) -> int:
    """Return how many of so many columns make a batch, for a network of these sizes.

    >>> batch_size([784, 30, 10], 50_000)
    5349
    """
    return min(columns, max(1, _BLOCK // max(sizes)))


def _fed_forward(plan: Plan, p: Parameters, x: Array) -> Iterator[tuple[Workspace, slice]]:
    """Feed columns forward batch by batch; raises `InputError` for one that is not finite.

    NaN and ∞ make every z¹ of their column NaN or ∞, whatever the weights; so where z¹, of which there is less, is
    small, x need not be looked at. That is a fifth of the time of a small network.
    """
    operations, on_host = plan.operations(), plan.backend.kind == "numpy"
    if on_host:
        keeping = plan.operations(keep_z=True)
        operations = operations._replace(layers=(keeping.layers[0], *operations.layers[1:]))
    else:
        check_finite("x", x, plan)
    largest = float(np.finfo(plan.dtype).max)
    for ws, part in batches(plan, operations, x):
        plan.backend.run(equations.feedforward, operations, p, ws)
        if on_host and not surely_finite(ws.zs[0], largest):
            check_finite("x", x[:, part], plan, before=part.start)
        yield ws, part


def outputs(plan: Plan, p: Parameters, x: Array) -> Array:
    """Return aᴸ, shape (n_L, m), for columns x; raises `InputError` unless they are finite."""
    rows = plan.block(plan.sizes[-1], x.shape[1])
    for ws, part in _fed_forward(plan, p, x):
        plan.backend.columns(rows[part, :])[...] = ws.activations[-1]
    return rows.T


def mean_cost(plan: Plan, p: Parameters, x: Array, y: Array) -> float:
    """Return C, the average of C_x over checked columns: equation (3)."""
    operations = plan.operations()
    total = plan.backend.new_cost_total(plan.sizes[-1], batch_size(plan.sizes, x.shape[1]), plan.dtype)
    plan.backend.set_cost_total(total, 0.0)
    for ws, _ in batches(plan, operations, x, y):
        plan.backend.run(equations.feedforward, operations, p, ws)
        plan.backend.run(equations.add_costs, operations, ws, total)
    return plan.backend.read_cost_total(total) / int(x.shape[1])


def classes(plan: Plan, p: Parameters, x: Array) -> npt.NDArray[np.int64]:
    """Return, on the host, the index of the largest output for each column; raises `InputError` unless finite."""
    found = np.empty(x.shape[1], np.int64)
    for ws, part in _fed_forward(plan, p, x):
        found[part] = plan.backend.to_host(plan.backend.columns(ws.activations[-1])).argmax(axis=1)
    return found


def copy_into(columns: Array, block: Array, plan: Plan, scale: float = 1.0) -> None:
    """Write columns of data, times a scale, into a block of a workspace."""
    if isinstance(columns, np.ndarray) and plan.backend.kind == "numpy":  # without a copy on the way
        with np.errstate(over="ignore"):  # what is too large is refused by its own name
            np.multiply(columns.T, scale, out=plan.backend.columns(block), dtype=plan.dtype, casting="unsafe")
        return
    rows, _ = example_rows(columns, plan)
    block[...] = plan.backend.columns(rows if scale == 1.0 else scale * rows)
