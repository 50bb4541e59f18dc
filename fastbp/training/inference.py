"""Outputs, classes and costs for columns of data, computed in batches of bounded memory."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import equations
from fastbp.datasets.inputs import check_finite, copy_into
from fastbp.datasets.sparse_columns import SparseColumns
from fastbp.operations import Operations, Parameters, Plan, PreparingBackend, Workspace, WorkspacePool
from fastbp.training.small_batches import (
    SmallBatch,
    SmallBatches,
    can_read_columns,
    can_read_rows,
    gather_inputs,
    small_batches_for_parts,
)

Array = Any
_BLOCK = 2**22  # most elements of the widest layer in a batch: 16 MB in float32
_CACHE_BYTES = 2**20  # of a core's L2 cache, into which the inputs, z and a of a part should fit
_ALL = 10**6  # more small batches than there can be threads


def batches(
    plan: Plan,
    operations: Operations,
    x: Array,
    y: Array = None,
    size: int | None = None,
    memory: WorkspacePool | None = None,
) -> Iterator[tuple[Workspace, slice]]:
    """Split columns into batches of up to `size` columns; yield each batch's workspace and slice of columns.

    The workspace is the memory for all values of one batch. It contains the inputs x, and the targets y if they are
    given. x and y must have been checked. If the inputs already have the layout that the equations need, they are not
    copied. For a small network, copying them would take a seventh of the time. If `memory` is given, it is used, and
    inputs are always copied to it.
    """
    columns = x.shape[1]
    size = size or batch_size(plan.sizes, columns)
    in_place = memory is None
    memory = memory or WorkspacePool(plan, operations, size, x.rows if isinstance(x, SparseColumns) else None)
    for start in range(0, columns, size):
        part = slice(start, min(start + size, columns))
        ws = memory.workspace(part.stop - start)
        if isinstance(x, SparseColumns):
            numbers = np.arange(start, part.stop)
            plan.backend.run(gather_inputs, operations, ws, x.rows, numbers, plan.input_scale)
        elif in_place and _is_zero_copy(x[:, part], plan):
            ws = ws._replace(activations=(plan.backend.columns(x[:, part].T), *ws.activations[1:]))
        else:
            copy_into(x[:, part], ws.activations[0], plan, plan.input_scale)
        if y is not None:
            copy_into(y[:, part], ws.y, plan)
        yield ws, part


def _is_zero_copy(x: Array, plan: Plan) -> bool:
    """Return whether compiled code can read the columns in place, without a copy, as C-ordered rows."""
    return type(x) is np.ndarray and plan.backend.kind == "numpy" and can_read_rows(x, plan)


def batch_size(sizes: Sequence[int], columns: int) -> int:
    """Return the number of columns in a batch, for layers of these sizes and data with `columns` columns.

    >>> batch_size([784, 30, 10], 50_000)
    5349
    """
    return min(columns, max(1, _BLOCK // max(sizes)))


def part_size(plan: Plan, columns: int, *, sparse: bool = False) -> int:
    """Return the number of columns that a thread processes at a time: as many as fit into the L2 cache of a core.

    Sparse inputs are not counted, because they take no room there. Unless the layers are very wide, the number is at
    least 256, because BLAS packs W once per product. All parts have the same size, if possible, so that one
    `SmallBatch` serves them all. The size does not depend on the number of threads, so the results do not either.
    """
    inputs = 0 if sparse else plan.sizes[0]
    bytes_per_column = (inputs + 2 * sum(plan.sizes[1:])) * np.dtype(plan.dtype).itemsize
    most = batch_size(plan.sizes, max(256, _CACHE_BYTES // bytes_per_column))
    return math.ceil(columns / math.ceil(columns / most))


def _for_parts(plan: Plan, p: Parameters, x: Array, receive: Callable[[SmallBatch, slice, Array], None]) -> None:
    """Feed columns forward in parts, on several threads; call `receive` with the batch, the slice and the outputs.

    The outputs have one example per row. Raises `InputError` if x is not finite. A NaN or ∞ in a column of x makes
    every number in this column of z¹ NaN or ∞, whatever the weights are. So z¹, which is usually smaller, is examined
    first, and x only if z¹ is not finite.
    """
    columns, sparse = x.shape[1], x.rows if isinstance(x, SparseColumns) else None
    size = part_size(plan, columns, sparse=sparse is not None)
    batches = small_batches_for_parts(plan) if sparse is None else SmallBatches(plan, p, kept=_ALL, x=sparse)
    rows_in_place = _is_zero_copy(x, plan)
    # Copy Wᵀ once, if there are so many entries that most of it is read anyway.
    w_t = None
    if sparse is not None and len(sparse.values) >= x.shape[0]:
        w_t = np.multiply(p.weights[0].T, plan.input_scale, order="C", dtype=plan.dtype)
    columns_in_place = isinstance(x, np.ndarray) and can_read_columns(x, plan, size)

    def work(start: int) -> None:
        part = slice(start, min(start + size, columns))
        batch = batches.take(part.stop - start)
        if w_t is not None:
            batch.read_sparse(w_t, start)
        elif sparse is not None:
            batch.gather_sparse(start)
        elif rows_in_place:
            batch.read_rows(x[:, part].T)
        elif columns_in_place:
            batch.read_columns(x, start)
        else:
            batch.fill(x[:, part])
        rows, finite = batch.feedforward(p.weights, p.biases)
        if not finite and sparse is None:
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
