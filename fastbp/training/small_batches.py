"""Calls on small batches, made ready once per network and kept.

For a small network, finding the compiled code, allocating the workspace and passing the arguments take a hundred times
as long as the arithmetic. A `SmallBatch` does all this once, for one number of columns. A call then copies the columns
into the workspace and runs the compiled equation.

Networks on other backends than "numpy" have no small batches.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np

from fastbp.datasets.inputs import are_within_bounds, copy_into
from fastbp.equations import add_costs, backprop, feedforward, update_mini_batch
from fastbp.errors import InputError
from fastbp.operations import (
    Backend,
    Operations,
    Parameters,
    Plan,
    PreparingBackend,
    ReadyCall,
    Workspace,
    WorkspacePool,
    step_config,
)
from fastbp.optimizers import SGD
from fastbp.parameters import as_parameters, empty_parameters, new_optimizer_state, plan_of, shapes_of
from fastbp_kernels.sparse_rows import SparseRows

Array = Any
_MAX_BYTES = 2**22  # most bytes of x, z, a and δ in a small batch
_MAX_MULTIPLICATIONS = 2**24  # most multiplications on the way forward; with more, several threads are faster
_KEPT = 4  # small batches that a network keeps
_FLOATS = {np.dtype(name): name for name in ("float32", "float64")}
_MIN_READ = 2**13  # numbers; fewer are copied faster than they are read by columns
_FEW_COLUMNS = 40  # up to so many, `fastbp_kernels.cpu.small_gemm` multiplies rows faster than BLAS multiplies columns
_READ = "fdB"  # the dtypes that a small batch accepts: float32, float64 and uint8


class SmallBatches:
    """The small batches that a network used last. `plan` is the plan of the network.

    If `x` is given, all inputs are examples of these `SparseRows`. A thread takes a batch, and puts it back after the
    call. Meanwhile, other threads take others, or make their own.
    """

    def __init__(self, plan: Plan, p: Parameters, kept: int = _KEPT, x: SparseRows | None = None) -> None:
        self.plan, self._p, self._inputs, self._most_kept, self._sparse = plan, p, plan.sizes[:1], kept, x
        bytes_per_column = 3 * sum(plan.sizes) * np.dtype(plan.dtype).itemsize
        most = min(_MAX_BYTES // bytes_per_column, _MAX_MULTIPLICATIONS // plan.multiplications)
        self._most = most if isinstance(plan.backend, PreparingBackend) else 0
        self._kept: list[SmallBatch] = []  # changed without a lock, which a fork could leave locked

    def take(self, m: int) -> "SmallBatch":
        """Return a batch of m columns, which no other thread uses."""
        for batch in tuple(self._kept):
            if batch.m == m:
                with suppress(ValueError):  # another thread has taken it
                    self._kept.remove(batch)
                    return batch
        return SmallBatch(self.plan, self._p, m, self._sparse)

    def put_back(self, batch: "SmallBatch") -> None:
        """Keep a batch for the next call."""
        self._kept.append(batch)
        if len(self._kept) > self._most_kept:
            with suppress(IndexError):  # other threads have taken them all
                del self._kept[0]

    def with_inputs(self, x: Array) -> "SmallBatch | None":
        """Return a batch with the columns of x as inputs, for `outputs`. A vector is one column.

        The inputs are not checked here: they may contain NaN or ∞, and `outputs` finds out. Return None if x is not a
        NumPy array of the right shape and of one of the dtypes in `_READ`, or if it has too many columns.
        """
        batch = self._taken_for(x)
        if batch is not None:
            if x.ndim == 2 and can_read_columns(x, self.plan, batch.m):
                batch.read_columns(x)
            elif x.ndim == 2 and can_read_rows(x, self.plan):
                batch.read_rows(x.T)
            else:
                batch.fill(x)
        return batch

    def with_examples(self, x: Array, y: Array) -> "SmallBatch | None":
        """Check inputs x and targets y, and return a batch that contains them.

        Return None if one of them is invalid or has to be converted first, or if there are too many columns.
        """
        batch = self._taken_for(x)
        if batch is None:
            return None
        batch.fill(x)
        if batch.fill_targets(y):
            return batch
        self.put_back(batch)
        return None

    def _taken_for(self, x: Array) -> "SmallBatch | None":
        if type(x) is not np.ndarray or x.dtype.char not in _READ or x.shape[:1] != self._inputs or x.ndim > 2:
            return None
        m = x.shape[1] if x.ndim == 2 else 1
        return self.take(m) if 0 < m <= self._most else None


def small_batches_of(weights: Any, biases: Any, activations: Any, cost: Any, backend: Backend) -> SmallBatches | None:
    """Return small batches for any weights and biases of these shapes and this dtype.

    They have no parameters of their own: pass `weights` and `biases` to each call. Return None if an argument has to be
    converted or checked, or is invalid.
    """
    if not (isinstance(weights, (list, tuple)) and isinstance(biases, (list, tuple)) and weights):
        return None
    dtype = getattr(weights[0], "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype not in _FLOATS:
        return None
    if any(type(a) is not np.ndarray or a.dtype != dtype or not a.flags.carray for a in (*weights, *biases)):
        return None
    shapes = tuple([w.shape for w in weights]), tuple([b.shape for b in biases])
    try:
        return _small_batches_for(shapes, activations, cost, _FLOATS[dtype], backend)
    except (InputError, TypeError):  # the arguments do not fit together, or cannot be hashed
        return None


@lru_cache(maxsize=64)
def _small_batches_for(
    shapes: tuple[tuple[tuple[int, ...], ...], ...], activations: Any, cost: Any, dtype: str, backend: Backend
) -> SmallBatches:
    weights, biases = shapes
    sizes = [weights[0][-1], *(shape[0] for shape in weights)]
    plan = plan_of(sizes, activations, cost, bias=bool(biases), dtype=dtype, backend=backend)
    if shapes_of(plan) != (list(weights), list(biases)):
        raise InputError("the shapes of weights and biases do not fit together")
    return SmallBatches(plan, as_parameters(*empty_parameters(plan), plan))


@lru_cache(maxsize=4)
def small_batches_for_parts(plan: Plan) -> SmallBatches:
    """Return small batches for the parts of large data sets. Pass the parameters to each call."""
    return SmallBatches(plan, as_parameters(*empty_parameters(plan), plan))


class SmallBatch:
    """The memory of a batch of m columns, and the calls on it. Each call is made ready when it is first needed."""

    def __init__(self, plan: Plan, p: Parameters, m: int, sparse: SparseRows | None = None) -> None:
        assert isinstance(plan.backend, PreparingBackend)  # `SmallBatches` makes none on others
        self.m, self._plan, self._p, self._backend, self._sparse = m, plan, p, plan.backend, sparse
        self._operations = operations_keeping_first_z(plan, None if sparse is None else "sparse")
        self._workspace = WorkspacePool(plan, self._operations, m, sparse).workspace(m)
        self._x, self._y = self._workspace.activations[0], self._workspace.y
        self._etas = np.zeros(1)  # η of `descend`
        self._shapes, self._found, self._numbers = shapes_of(plan), np.zeros(5), np.arange(m)
        self._matmul_of_columns, self._sum_of_squares = self._backend.input_operations(plan.dtype)
        self._from_columns: ReadyCall | None = None  # computes outputs from columns that have not been copied
        self._template = np.empty((0, 0), plan.dtype)  # stands for these columns until they are given
        self._from_sparse: ReadyCall | None = None  # computes outputs from sparse examples that have not been copied
        self._uncopied: ReadyCall | None = None  # the call for the present inputs; None if they were copied
        self._has_own_rows = True  # whether `_feedforward` reads the inputs from `_x`

    def fill(self, x: Array) -> None:
        """Copy the columns of x into the memory."""
        self._uncopied = None
        if not self._has_own_rows:
            self.read_rows(self._x)
            self._has_own_rows = True
        _copy(x, self._x, self._plan, self._plan.input_scale)

    def gather_sparse(self, start: int) -> None:
        """Copy the entries of m sparse examples into the memory. `start` is the number of the first one."""
        self._numbers[:] = range(start, start + self.m)
        self._gather_sparse()

    def read_sparse(self, w_t: Array, start: int) -> None:
        """Let `feedforward` read m sparse examples in place. `start` is the number of the first one.

        `w_t` is the transpose of the first W, in C order. To make and read it takes time, so this pays only for many
        entries.
        """
        if self._from_sparse is None:
            matmul_of_sparse = self._backend.matmul_of_sparse(self._plan.dtype)
            arguments = (matmul_of_sparse, self._sum_of_squares, w_t, self._sparse, start, self._found)
            self._from_sparse = self._ready(feedforward_from_sparse, *arguments)
        self._from_sparse.set_number(7, start)
        self._uncopied = self._from_sparse

    def read_rows(self, rows: Array) -> None:
        """Let `feedforward` read inputs where they are: one example per row, C-ordered, in the right dtype."""
        self._feedforward.replace([self._x], [rows])
        self._uncopied, self._has_own_rows = None, False

    def read_columns(self, x: Array, start: int = 0) -> None:
        """Let `feedforward` read columns of x where they are, from column `start`.

        x is C-ordered and in the right dtype. The call is made ready again if x has another shape than the last one.
        """
        if self._from_columns is None or self._template.shape != x.shape:
            self._template = np.empty(x.shape, x.dtype)  # takes no memory, as it is not written; x must not be kept
            arguments = (self._matmul_of_columns, self._sum_of_squares, self._template, start, self._found)
            self._from_columns = self._ready(feedforward_from_columns, *arguments)
        self._from_columns.replace([self._template], [x])
        self._from_columns.set_number(6, start)
        self._uncopied = self._from_columns

    def fill_targets(self, y: Array) -> bool:
        """Copy targets into the memory; return whether inputs and targets are known to be valid."""
        outputs = self._y.shape[1]
        if type(y) is not np.ndarray:
            return False
        if y.shape == (outputs, self.m) and y.dtype.char in _READ:
            _copy(y, self._y, self._plan, 1.0)
        elif y.ndim == 1 and y.dtype.kind in "iu" and len(y) == self.m and outputs > 1:
            if y.min() < 0 or y.max() >= outputs:
                return False
            self._y.fill(0)
            self._y[np.arange(self.m), y] = 1
        else:
            return False
        self._examine()
        squares, low, high, low_sum, high_sum = self._found.tolist()
        return squares < np.inf and are_within_bounds(self._plan, low, high, low_sum, high_sum)

    def feedforward(self, weights: Sequence[Array] = (), biases: Sequence[Array] = ()) -> tuple[Array, bool]:
        """Compute the outputs. Return them, and whether all inputs are known to be finite.

        There is one example per row. The next call overwrites them. `weights` and `biases` are parameters of the same
        shapes, to be used in place of the batch's own.
        """
        call = self._uncopied or self._feedforward
        self._uncopied = None
        call.replace(self._p.weights, weights)
        call.replace(self._p.biases, biases)
        call()
        return self._workspace.activations[-1], bool(self._found[0] < np.inf)

    def outputs(self, weights: Sequence[Array] = (), biases: Sequence[Array] = ()) -> Array | None:
        """Return the outputs, one example per row, or None if they may come from inputs that are not finite.

        `weights` and `biases` are those of `feedforward`.
        """
        call = partial(self.feedforward, weights, biases)
        rows, finite = self._backend.on_one_thread(call, self.m * self._plan.multiplications)
        return rows.copy() if finite else None

    def total_cost(self, y: Array) -> float:
        """Return Σ C_x for targets y, which have been checked. Call `feedforward` first."""
        copy_into(y, self._y, self._plan)
        return self._sum_of_costs()

    def mean_cost(self) -> float:
        """Return the cost C, the average of C_x."""
        self._backend.on_one_thread(self.feedforward, self.m * self._plan.multiplications)
        return self._sum_of_costs() / self.m

    def _sum_of_costs(self) -> float:
        self._found[0] = 0.0
        self._add_costs()
        return float(self._found[0])

    def gradient(self, weights: Sequence[Array] = (), biases: Sequence[Array] = ()) -> tuple[list[Array], list[Array]]:
        """Return the gradient, summed over the columns, as new arrays (nabla_b, nabla_w).

        `weights` and `biases` are parameters of the same shapes, to be used in place of the batch's own.
        """
        call, nabla_w, nabla_b = self._backprop
        call.replace(self._p.weights, weights)
        call.replace(self._p.biases, biases)
        new_w, new_b = ([np.zeros(shape, self._plan.dtype) for shape in shapes] for shapes in self._shapes)
        call.replace(nabla_w, new_w)
        call.replace(nabla_b, new_b)
        call()
        return new_b, new_w

    def descend(self, eta: float) -> None:
        """Update the parameters by one step of gradient descent."""
        self._etas[0] = eta
        self._update()

    @cached_property
    def _examine(self) -> ReadyCall:
        squares = self._sum_of_squares
        return self._backend.prepare(examine, self._x, self._y, squares, self._found)

    @cached_property
    def _feedforward(self) -> ReadyCall:
        return self._ready(feedforward_and_sum, self._sum_of_squares, self._found)

    @cached_property
    def _gather_sparse(self) -> ReadyCall:
        return self._backend.prepare(
            gather_inputs, self._operations, self._workspace, self._sparse, self._numbers, self._plan.input_scale
        )

    @cached_property
    def _add_costs(self) -> ReadyCall:
        return self._backend.prepare(add_costs, self._operations, self._workspace, self._found)

    @cached_property
    def _backprop(self) -> tuple[ReadyCall, tuple[Array, ...], tuple[Array, ...]]:
        nabla = as_parameters(*empty_parameters(self._plan), self._plan)  # replaced in each call, so it takes no memory
        return self._ready(backprop, nabla), nabla.weights, nabla.biases

    @cached_property
    def _update(self) -> ReadyCall:
        plan, m = self._plan, self.m
        steps = step_config(SGD(), 0.0, steps=0, count=1, lmbda=0.0, n=m)._replace(etas=self._etas)
        state = new_optimizer_state(plan)
        return self._backend.prepare(update_mini_batch, self._operations, self._p, state, self._workspace, steps, 0, m)

    def _ready(self, equation: Any, *arguments: Any) -> ReadyCall:
        return self._backend.prepare(equation, self._operations, self._p, self._workspace, *arguments)


def operations_keeping_first_z(plan: Plan, source: str | None = None) -> Operations:
    """Return the operations of a plan with a first layer that keeps z¹."""
    operations, keeping = plan.operations(source), plan.operations(source, keep_z=True)
    return operations._replace(layers=(keeping.layers[0], *operations.layers[1:]))


def feedforward_and_sum(ops: Operations, p: Parameters, ws: Workspace, sum_of_squares: Any, found: Array) -> None:
    """Compute equations (1) and (2), and Σ (z¹)². This sum is finite only if all inputs are."""
    feedforward(ops, p, ws)
    sum_of_squares(ws.zs[0], found)


def feedforward_from_columns(
    ops: Operations,
    p: Parameters,
    ws: Workspace,
    matmul_of_columns: Any,
    sum_of_squares: Any,
    x: Array,
    start: int,
    found: Array,
) -> None:
    """Compute the same as `feedforward_and_sum` for columns of x, which are read where they are."""
    matmul_of_columns(p.weights[0], x, start, ws.zs[0])
    feedforward_from_z(ops, p, ws)
    sum_of_squares(ws.zs[0], found)


def feedforward_from_z(ops: Operations, p: Parameters, ws: Workspace) -> None:
    """Compute equations (1) and (2), given the product W¹ x in place of z¹."""
    ops.layers[0].activate(ws.zs[0], ws.activations[1], p.biases[0])
    for l in range(1, len(p.weights)):
        ops.layers[l].matmul(p.weights[l], ws.activations[l], ws.zs[l])
        ops.layers[l].activate(ws.zs[l], ws.activations[l + 1], p.biases[l])


def feedforward_from_sparse(
    ops: Operations,
    p: Parameters,
    ws: Workspace,
    matmul_of_sparse: Any,
    sum_of_squares: Any,
    w_t: Array,
    x: Any,
    start: int,
    found: Array,
) -> None:
    """Compute the same as `feedforward_and_sum` for sparse examples of x. `start` is the number of the first one."""
    matmul_of_sparse(w_t, x, start, ws.zs[0])
    feedforward_from_z(ops, p, ws)
    sum_of_squares(ws.zs[0], found)


def gather_inputs(ops: Operations, ws: Workspace, x: Any, indices: Array, scale: float) -> None:
    """Copy the examples with these indices to the inputs a¹, and multiply them by `scale`."""
    ops.gather_x(x, indices, scale, ws.activations[0])


def can_read_rows(x: Array, plan: Plan) -> bool:
    """Return whether compiled code can read the columns of the array x where they are, as C-ordered rows."""
    return bool(plan.input_scale == 1.0 and x.dtype == plan.dtype and x.flags.f_contiguous and x.flags.aligned)


def can_read_columns(x: Array, plan: Plan, m: int) -> bool:
    """Return whether it is faster to read columns of x where they are than to copy m of them."""
    return bool(
        m * x.shape[0] >= _MIN_READ
        and m > _FEW_COLUMNS
        and plan.input_scale == 1.0
        and x.dtype == plan.dtype
        and x.flags.c_contiguous
        and x.flags.aligned
    )


def examine(x: Array, y: Array, sum_of_squares: Any, found: Array) -> None:
    """Write to `found`: Σ x² + Σ y², the least and the largest target, and the least and the largest sum of a column.

    x and y have one example per row. The first number is finite only if all inputs and targets are.
    """
    sum_of_squares(y, found)
    squares = found[0]
    sum_of_squares(x, found)
    found[0] += squares
    low, high, low_sum, high_sum = float(y[0, 0]), float(y[0, 0]), np.inf, -np.inf
    for i in range(y.shape[0]):
        total = 0.0
        for j in range(y.shape[1]):
            low, high = min(low, y[i, j]), max(high, y[i, j])
            total += y[i, j]
        low_sum, high_sum = min(low_sum, total), max(high_sum, total)
    found[1], found[2], found[3], found[4] = low, high, low_sum, high_sum


def _copy(columns: Array, block: Array, plan: Plan, scale: float) -> None:
    if columns.dtype == block.dtype and scale == 1.0:
        block[...] = columns.T  # five times as fast as `copy_into` for a few numbers
    else:
        copy_into(columns, block, plan, scale)
