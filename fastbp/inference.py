"""Columns of data through the equations by batches, in memory that does not grow with their number."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import equations
from fastbp.backends.operations import Memory, Operations, Parameters, Plan, Workspace
from fastbp.data import check_finite, example_rows

Array = Any
_BLOCK = 2**21  # elements of the widest layer in one batch: 8 MB in float32, of the order of a cache


def batches(plan: Plan, operations: Operations, x: Array, y: Array = None) -> Iterator[tuple[Workspace, slice]]:
    """Put columns, with their checked targets if given, into a workspace, batch by batch; give each and its place.

    Inputs that lie as the equations read them are their own block: a copy of them takes as long as a small network.
    Raises `InputError` for inputs that are not finite, batch by batch, while they are in the cache.
    """
    columns = x.shape[1]
    size = _batch(plan, columns)
    memory = Memory(plan, operations, size)
    for start in range(0, columns, size):
        part = slice(start, min(start + size, columns))
        check_finite("x", x[:, part], plan, before=start)
        ws = memory.workspace(part.stop - start)
        if _lies_ready(x[:, part], plan):
            ws = ws._replace(activations=(plan.backend.columns(x[:, part].T), *ws.activations[1:]))
        else:
            place(x[:, part], ws.activations[0], plan, plan.input_scale)
        if y is not None:
            place(y[:, part], ws.y, plan)
        yield ws, part


def _lies_ready(x: Array, plan: Plan) -> bool:
    """Return whether columns are a block as compiled code knows it: one that could be written to, which it is not."""
    if not (type(x) is np.ndarray and plan.backend.kind == "numpy" and plan.input_scale == 1.0):
        return False
    return bool(x.dtype == plan.dtype and x.dtype.isnative and x.T.flags.carray)


def _batch(plan: Plan, columns: int) -> int:
    return min(columns, max(1, _BLOCK // max(plan.sizes)))


def outputs(plan: Plan, p: Parameters, x: Array) -> Array:
    """Return aᴸ, shape (n_L, m), for checked columns x."""
    operations = plan.operations()
    rows = plan.block(plan.sizes[-1], x.shape[1])
    for ws, part in batches(plan, operations, x):
        plan.backend.run(equations.feedforward, operations, p, ws)
        plan.backend.columns(rows[part, :])[...] = ws.activations[-1]
    return rows.T


def mean_cost(plan: Plan, p: Parameters, x: Array, y: Array) -> float:
    """Return C, the average of C_x over checked columns: equation (3)."""
    operations = plan.operations()
    total = plan.backend.new_total(plan.sizes[-1], _batch(plan, x.shape[1]), plan.dtype)
    plan.backend.set_total(total, 0.0)
    for ws, _ in batches(plan, operations, x, y):
        plan.backend.run(equations.feedforward, operations, p, ws)
        plan.backend.run(equations.add_costs, operations, ws, total)
    return plan.backend.cost_in(total) / int(x.shape[1])


def classes(plan: Plan, p: Parameters, x: Array) -> npt.NDArray[np.int64]:
    """Return, on the host, the index of the largest output for each of checked columns."""
    operations = plan.operations()
    found = np.empty(x.shape[1], np.int64)
    for ws, part in batches(plan, operations, x):
        plan.backend.run(equations.feedforward, operations, p, ws)
        found[part] = plan.backend.to_host(plan.backend.columns(ws.activations[-1])).argmax(axis=1)
    return found


def place(columns: Array, block: Array, plan: Plan, scale: float = 1.0) -> None:
    """Write columns of data, times a scale, into a block of a workspace."""
    rows, _ = example_rows(columns, plan)
    block[...] = plan.backend.columns(rows if scale == 1.0 else scale * rows)
