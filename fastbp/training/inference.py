"""Outputs, classes and costs for columns of data, computed in batches of bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import equations
from fastbp.datasets.inputs import check_finite, copy_into
from fastbp.operations import Operations, Parameters, Plan, PreparingBackend, Workspace, WorkspacePool
from fastbp.training.small_batches import SmallBatch, SmallBatches, can_read_columns

Array = Any
_BLOCK = 2**22  # most elements of the widest layer in a batch: 16 MB in float32
_CACHE_BYTES = 2**20  # of a core's L2 cache, into which the inputs, z and a of a part should fit
_ALL = 10**6  # more small batches than there can be threads


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
    """Return whether compiled code can read the columns in place, without a copy, as C-ordered rows."""
    if not (type(x) is np.ndarray and plan.backend.kind == "numpy" and plan.input_scale == 1.0):
        return False
    return bool(x.dtype == plan.dtype and x.T.flags.c_contiguous and x.flags.aligned)


def batch_size(sizes: Sequence[int], columns: int) -> int:
    """Return the number of columns in a batch, for layers of these sizes and data with `columns` columns.

    >>> batch_size([784, 30, 10], 50_000)
    5349
    """
    return min(columns, max(1, _BLOCK // max(sizes)))


def part_size(plan: Plan) -> int:
    """Return the number of columns that a thread processes at a time: as many as fit into the L2 cache of a core.

    Unless the layers are very wide, it is at least 256, because BLAS packs W once per product. It depends on the
    network only, so the results do not depend on the number of threads.
    """
    bytes_per_column = (plan.sizes[0] + 2 * sum(plan.sizes[1:])) * np.dtype(plan.dtype).itemsize
    return batch_size(plan.sizes, max(256, _CACHE_BYTES // bytes_per_column))


def _for_parts(plan: Plan, p: Parameters, x: Array, receive: Callable[[SmallBatch, slice, Array], None]) -> None:
    """Feed columns forward in parts, on several threads; call `receive` with the batch, the slice and the outputs.

    The outputs have one example per row. Raises `InputError` if x is not finite. A NaN or ∞ in a column of x makes
    every number in this column of z¹ NaN or ∞, whatever the weights are. So z¹, which is usually smaller, is examined
    first, and x only if z¹ is not finite.
    """
    columns, size = x.shape[1], part_size(plan)
    batches, rows_in_place = SmallBatches(plan, p, kept=_ALL), _is_zero_copy(x, plan)
    columns_in_place = isinstance(x, np.ndarray) and can_read_columns(x, plan, size)

    def work(start: int) -> None:
        part = slice(start, min(start + size, columns))
        batch = batches.take(part.stop - start)
        if rows_in_place:
            batch.read_rows(x[:, part].T)
        elif columns_in_place:
            batch.read_columns(x, start)
        else:
            batch.fill(x[:, part])
        rows, finite = batch.feedforward()
        if not finite:
            check_finite("x", x[:, part], plan, before=start)
        receive(batch, part, rows)
        batches.put_back(batch)

    plan.backend.for_each(work, range(0, columns, size), columns * plan.multiplications)


def _feed_forward(plan: Plan, p: Parameters, x: Array) -> Iterator[tuple[Array, slice]]:
    """Feed columns forward batch by batch; yield the outputs, one example per row, and the slice of each batch."""
    check_finite("x", x, plan)
    operations = plan.operations()
    for ws, part in batches(plan, operations, x):
        plan.backend.run(equations.feedforward, operations, p, ws)
        yield plan.backend.columns(ws.activations[-1]), part


def outputs(plan: Plan, p: Parameters, x: Array) -> Array:
    """Return the outputs aᴸ, of shape (n_L, m), for the columns of x; raise `InputError` unless x is finite."""
    rows = plan.block(plan.sizes[-1], x.shape[1])

    def receive(batch: Any, part: slice, found: Array) -> None:
        rows[part, :] = found

    if isinstance(plan.backend, PreparingBackend):
        _for_parts(plan, p, x, receive)
    else:
        for found, part in _feed_forward(plan, p, x):
            receive(None, part, found)
    return rows.T


def outputs_from_products(plan: Plan, p: Parameters, z: Array) -> Array:
    """Return the outputs, one example per row, for products W¹ x that have been computed, one example per row.

    Only for backends that prepare calls.
    """
    rows, size, batches = plan.block(plan.sizes[-1], len(z)), part_size(plan), SmallBatches(plan, p, kept=_ALL)

    def work(start: int) -> None:
        stop = min(start + size, len(z))
        batch = batches.take(stop - start)
        rows[start:stop] = batch.feedforward_from_z(z[start:stop])
        batches.put_back(batch)

    plan.backend.for_each(work, range(0, len(z), size), len(z) * plan.multiplications)
    return rows


def mean_cost(plan: Plan, p: Parameters, x: Array, y: Array) -> float:
    """Return the cost C, the average of C_x over the columns of x with targets y: equation (3).

    x and y must have been checked.
    """
    if isinstance(plan.backend, PreparingBackend):
        totals: dict[int, float] = {}

        def receive(batch: SmallBatch, part: slice, found: Array) -> None:
            totals[part.start] = batch.total_cost(y[:, part])

        _for_parts(plan, p, x, receive)
        return sum(totals[start] for start in sorted(totals)) / int(x.shape[1])
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
    classes = np.empty(x.shape[1], np.int64)

    def receive(batch: Any, part: slice, found: Array) -> None:
        classes[part] = found.argmax(axis=1)

    if isinstance(plan.backend, PreparingBackend):
        _for_parts(plan, p, x, receive)
    else:
        for found, part in _feed_forward(plan, p, x):
            receive(None, part, plan.backend.to_host(found))
    return classes
