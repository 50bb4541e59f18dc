"""Outputs, classes and costs for columns of data, computed in batches of bounded memory."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import equations
from fastbp.datasets.inputs import check_finite, example_rows, surely_finite
from fastbp.operations import Operations, Parameters, Plan, Workspace, WorkspacePool

Array = Any
_BLOCK = 2**22  # most elements of the widest layer in a batch: 16 MB in float32; the call for a batch takes 0.06 ms


def batches(plan: Plan, operations: Operations, x: Array, y: Array = None) -> Iterator[tuple[Workspace, slice]]:
    """Split columns into batches; yield a workspace and the slice of the columns for each batch.

    The workspace is the memory for all values of one batch. It contains the inputs x, and the targets y if they are
    given. x and y must have been checked. If the inputs already have the layout that the equations need, they are not
    copied. For a small network, copying them would take a seventh of the time.
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
    """Return whether compiled code can read the columns in place, without a copy.

    Compiled code accepts only writable arrays, although it does not write to x.
    """
    if not (type(x) is np.ndarray and plan.backend.kind == "numpy" and plan.input_scale == 1.0):
        return False
    return bool(x.dtype == plan.dtype and x.dtype.isnative and x.T.flags.carray)


def batch_size(sizes: Sequence[int], columns: int) -> int:
    """Return the number of columns in a batch, for layers of these sizes and data with `columns` columns.

    >>> batch_size([784, 30, 10], 50_000)
    5349
    """
    return min(columns, max(1, _BLOCK // max(sizes)))


def _feed_forward(plan: Plan, p: Parameters, x: Array) -> Iterator[tuple[Workspace, slice]]:
    """Feed columns forward batch by batch; yield the workspace and the slice of each batch.

    Raises `InputError` if x is not finite. On the CPU, the first layer's z¹ is examined before x, since z¹ is usually
    smaller. A NaN or ∞ in a column of x makes the whole column of z¹ NaN or ∞, whatever the weights are. So if z¹ is
    finite, x need not be examined. For a small network, this saves a fifth of the time.
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
    """Return the outputs aᴸ, of shape (n_L, m), for the columns of x; raise `InputError` unless x is finite."""
    rows = plan.block(plan.sizes[-1], x.shape[1])
    for ws, part in _feed_forward(plan, p, x):
        plan.backend.columns(rows[part, :])[...] = ws.activations[-1]
    return rows.T


def mean_cost(plan: Plan, p: Parameters, x: Array, y: Array) -> float:
    """Return the cost C, the average of C_x over the columns of x with targets y: equation (3).

    x and y must have been checked.
    """
    operations = plan.operations()
    total = plan.backend.new_cost_total(plan.sizes[-1], batch_size(plan.sizes, x.shape[1]), plan.dtype)
    plan.backend.set_cost_total(total, 0.0)
    for ws, _ in batches(plan, operations, x, y):
        plan.backend.run(equations.feedforward, operations, p, ws)
        plan.backend.run(equations.add_costs, operations, ws, total)
    return plan.backend.read_cost_total(total) / int(x.shape[1])


def classes(plan: Plan, p: Parameters, x: Array) -> npt.NDArray[np.int64]:
    """Return the class of each column of x, the index of its largest output, as an array on the host.

    Raises `InputError` unless x is finite.
    """
    found = np.empty(x.shape[1], np.int64)
    for ws, part in _feed_forward(plan, p, x):
        found[part] = plan.backend.to_host(plan.backend.columns(ws.activations[-1])).argmax(axis=1)
    return found


def copy_into(columns: Array, block: Array, plan: Plan, scale: float = 1.0) -> None:
    """Copy columns of data into a block of a workspace, and multiply them by `scale`."""
    if isinstance(columns, np.ndarray) and plan.backend.kind == "numpy":  # without a temporary copy
        with np.errstate(over="ignore"):  # `check_finite` reports numbers that are too large
            np.multiply(columns.T, scale, out=plan.backend.columns(block), dtype=plan.dtype, casting="unsafe")
        return
    rows, _ = example_rows(columns, plan)
    block[...] = plan.backend.columns(rows if scale == 1.0 else scale * rows)
