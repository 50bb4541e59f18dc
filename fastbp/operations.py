"""The interface between the equations and a backend, which is the compiled code or the library that computes them.

The equations in `fastbp.equations` work on blocks of columns. A block is a matrix with one column per example. The
equations call operations on blocks, such as a matrix product. They do not depend on how a block is stored in memory.
Each backend provides the operations and its own form of a block. For array libraries, a block of m columns of length n
is an array of shape (n, m). For compiled code, the same memory is a C-ordered matrix of shape (m, n).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from fastbp.activations import Activation
from fastbp.costs import OutputRule
from fastbp.optimizers import Optimizer, UpdateRule
from fastbp_kernels.sparse_rows import SparseRows

Array = Any
Operation = Callable[..., None]
Run = Callable[..., None]
"""A function that runs an equation, with the arguments (equation, *arguments) of `Backend.run`."""
R = TypeVar("R")


# The arguments of the equations.


class Parameters(NamedTuple):
    """The weights and biases of a network.

    Each Wˡ has shape (n_l, n_{l−1}), and each bˡ is a block of one column. In a network without biases, each bˡ has no
    rows.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]


class Examples(NamedTuple):
    """The training examples, one per row. They consist of inputs x, targets y and example weights s.

    The first activation a¹ is x times `scale`. x may be `SparseRows`. If the examples are not weighted, s has no
    columns.
    """

    x: Array
    y: Array
    s: Array
    scale: float


class Workspace(NamedTuple):
    """The memory of one mini-batch: blocks of columns for zˡ, aˡ and δˡ, the targets y and the example weights s.

    `activations` starts with the input a¹. In a layer that does not keep zˡ, the blocks of zˡ and aˡ are the same
    memory. `sums` holds partial sums of the columns of δˡ (see `Operations`). s has one row, or no row if the examples
    are not weighted.
    """

    zs: tuple[Array, ...]
    activations: tuple[Array, ...]
    deltas: tuple[Array, ...]
    sums: tuple[Array, ...]
    y: Array
    s: Array


class OptimizerState(NamedTuple):
    """The memory of an optimizer: the gradient ∇C, and up to three numbers of state for each parameter.

    The fields `first`, `second` and `third` hold the state. Momentum has its velocity in `first`. Adam has m in `first`
    and v in `second`. Each field has the shapes of the parameters. A field that the optimizer does not use consists of
    blocks without rows.
    """

    nabla: Parameters
    first: Parameters
    second: Parameters
    third: Parameters


class StepConfig(NamedTuple):
    """The numbers used in the next update steps: learning rates, regularization and constants of the optimizer.

    `etas` and `decays` are float64 arrays on the host with the learning rate η and the regularization factor λ/n of
    each of the next mini-batches. `plain_sgd` is True for stochastic gradient descent without momentum, which has no
    optimizer state. `t` is the number of the first step, counted from 1. `constants` is a float64 array on the host.
    Its row k has the constants of the optimizer's formula for step k. `l2_scale` says how often the L2 term
    (λ/2n) Σ ‖W‖² of each mini-batch is counted in its cost: 0 if the cost has no L2 term.

    The other fields are for training on several ranks, which are processes with a part of each mini-batch. `carry` is 1
    on the first rank and 0 on the others. `ranks` has the numbers that the operation `sum_over_ranks` needs.
    """

    etas: npt.NDArray[np.float64]
    decays: npt.NDArray[np.float64]
    plain_sgd: bool
    t: int
    constants: npt.NDArray[np.float64]
    l2_scale: float
    carry: float
    ranks: npt.NDArray[np.int64]


class Dropout(NamedTuple):
    """The rates, the random keys and the memory of dropout in the next mini-batches.

    `thresholds`, `scales` and `keys` are arrays on the host. They have one entry per layer with weights, for the inputs
    of this layer. A random number from 0 to 2¹⁶ − 1 is computed for each input and example. If it is below the
    threshold, the input is set to 0. Otherwise the input is multiplied by the scale. So the threshold t of a rate p is
    2¹⁶ p, rounded, and the scale is 1/(1 − t/2¹⁶). The threshold is 0 for inputs without dropout. A key consists of two
    words.

    `inputs` is the workspace of the mini-batch, but with the inputs after dropout in place of the activations. `drop_x`
    and `drop` are the operations of dropout (`Backend.dropout`) for the inputs of the network and for other layers.
    """

    thresholds: npt.NDArray[np.int64]
    scales: npt.NDArray[np.float64]
    keys: npt.NDArray[np.int64]
    inputs: Workspace
    drop_x: Operation
    drop: Operation


def step_config(optimizer: Optimizer, eta: float, *, steps: int, count: int, lmbda: float, n: int) -> StepConfig:
    """Return the numbers used in the next `count` update steps. `steps` is the number of steps taken so far."""
    constants = optimizer.constants_of_steps(eta, steps, count)
    decays, on_one_rank = np.full(count, lmbda / n), np.zeros(0, np.int64)
    plain = optimizer.rule is None
    return StepConfig(np.full(count, eta), decays, plain, steps + 1, constants, 0.0, 1.0, on_one_rank)


# The operations.


class LayerOperations(NamedTuple):
    """The operations that differ between layers. They depend on the activation, and on whether the inputs are sparse.

    `matmul(w, a, z)`: z = w a.
    `add_outer(alpha, delta, a, beta, w)`: w = beta w + alpha delta aᵀ.
    `activate(z, a, b)` writes σ(z + b) to `a`. If `keeps_z` is True, it also writes z + b to `z`.
    `hadamard(z, a, delta, sums)` multiplies `delta` by σ′, element by element. It writes partial sums of the columns of
    the new `delta` to `sums`.
    """

    keeps_z: bool
    matmul: Operation
    add_outer: Operation
    activate: Operation
    hadamard: Operation


class Operations(NamedTuple):
    """The operations called by the equations. Each operation writes its results to its last arguments.

    `gather_x(data, indices, scale, out)`: copy the examples with these indices to the columns of `out`, and multiply
    them by `scale`.
    `gather`: do the same for targets and example weights.
    `matmul_transposed(w, delta, out)`: out = wᵀ delta.
    `add_column_sums(alpha, sums, beta, b)`: b = beta b + alpha sums 1, where 1 is a column of ones.
    `optimizer_step(eta, decay, t, constants, nabla, first, second, third, w)`: update `w` and its state with the
    optimizer's formula. For plain SGD, this operation does nothing.
    `output_error(z, a, y, s, delta, sums)`: write (BP1) to `delta`, multiplied by the example weights `s` if there are
    any. Write the partial sums of `delta` to `sums`.
    `add_cost(z, a, y, s, total)`: total += Σ s_x C_x.
    `add_squares(factor, w, total)`: total += factor ‖w‖².
    `sum_over_ranks(ranks, w)`: replace a block of memory by its sum over all ranks. `w` is at the start of the block.
    On one process, this operation does nothing (see `Backend.sum_over_ranks`).

    A partial sum is the sum of some of the columns of `delta`. All partial sums together cover all columns. Each column
    of `sums` is one partial sum, and `Backend.n_partial_sums` is their number. In a network without biases, `sums` has
    no rows.
    """

    layers: tuple[LayerOperations, ...]  # first, because Numba warns of a tuple that starts with a function
    gather_x: Operation
    gather: Operation
    matmul_transposed: Operation
    add_column_sums: Operation
    optimizer_step: Operation
    output_error: Operation
    add_cost: Operation
    add_squares: Operation
    sum_over_ranks: Operation


@dataclass(frozen=True)
class Formulas:
    """The formulas that determine which operations a network needs.

    They are the activation g⁽ˡ⁾ of each layer, and the output rule with the formulas of the cost and of (BP1). `bias`
    is True if the layers have biases. The other fields are for training. `weighted` is True if the examples have
    weights. `rule` is the update rule of the optimizer, or None for plain SGD.
    """

    activations: tuple[Activation, ...]
    output: OutputRule
    bias: bool
    weighted: bool = False
    rule: UpdateRule | None = None


# The backend.


class WorkerContext:
    """A context manager in which a backend may use more threads. This base class does nothing.

    Enter and leave the context only while Ctrl-C is held back. An interrupt on entry or exit would leave the change of
    threads half done.
    """

    def __enter__(self) -> "WorkerContext":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def record_time(self, count: int, seconds: float) -> None:
        """Record that training on `count` mini-batches took this number of seconds."""


class InputOperations(NamedTuple):
    """The operations on inputs in prepared calls.

    `matmul_of_columns(w, x, start, z)`: z = w times columns of x, from column `start`. x is a C-ordered matrix with one
    example per column.
    `sum_of_squares(block, out)`: write the sum of the squares of all numbers to out[0].
    """

    matmul_of_columns: Operation
    sum_of_squares: Operation


class ReadyCall(Protocol):
    """An equation with its arguments, ready to be called many times."""

    def __call__(self) -> None:
        """Run the equation."""

    def replace(self, old: Sequence[Array], new: Sequence[Array]) -> None:
        """Use other arrays in place of arrays among the arguments. They must have the same sizes and dtype.

        They must be C-ordered, and the caller must keep them alive.
        """

    def set_number(self, position: int, value: float) -> None:
        """Set the argument at a position, which must be a number of the same type."""


class Backend(ABC):
    """An array library or compiled code that runs the equations.

    A backend provides the operations on its arrays, and transfers from NumPy to these arrays and back.
    """

    name: str
    kind: str  # the library of its arrays, as returned by `fastbp.backends.kind`
    xp: Any
    restore: Callable[[str, str], "Backend"]  # called with `name` and the name of `xp`; set by `fastbp.backends`

    @abstractmethod
    def operations(self, formulas: Formulas, dtype: str, source: str, *, keep_z: bool = False) -> Operations:
        """Return the operations that a network with these formulas needs.

        `dtype` is the dtype of the arrays. `source` is the dtype of the training examples, which may be uint8. It is
        "sparse" if the examples are `SparseRows`. With `keep_z`, every layer keeps its zˡ.
        """

    @abstractmethod
    def dropout(self, dtype: str) -> Operation:
        """Return the operation of dropout. Its arguments are (threshold, scale, key_0, key_1, n, examples, a, out).

        The operation writes `a` times `scale` to `out` where a unit is kept, and 0 elsewhere. `out` may be `a`. n is
        the number of units, and `examples` has the number of the example in each column of `a`.
        `fastbp_kernels.threefry.kept_units` decides which units are kept.
        """

    @abstractmethod
    def run(self, equation: Callable[..., None], *arguments: Any) -> None:
        """Run one of the equations with the given arguments."""

    def training_run(self, plan: "Plan", source: str, m: int, n: int) -> Run:
        """Return a function like `run` for a training on n examples in mini-batches of m. By default return `run`.

        The function is called many times, with the same arrays and the equation `train_mini_batches`, or
        `train_mini_batches_with_dropout`. A backend may use this to make most of the calls faster. The results must be
        those of `run`, up to rounding, and must not depend on how the steps are divided into calls. `source` is the
        dtype of the examples.
        """
        return self.run

    def sum_over_ranks(self, comm: Any, block: Array) -> tuple[Operation, npt.NDArray[np.int64]]:
        """Return the operation that replaces a block by its sum over the ranks of a communicator, and its numbers.

        `block` is a matrix of one row. By default, the block is copied to the host, and the host's copy is summed.
        """

        def sum_on_host(ranks: npt.NDArray[np.int64], w: Array) -> None:
            own = self.to_host(block)
            total = np.empty_like(own)
            comm.Allreduce(own, total)
            block[...] = self.upload(total)

        return sum_on_host, np.zeros(0, np.int64)

    def for_each(self, work: Callable[[int], None], parts: Sequence[int], multiplications: int) -> None:
        """Call a function with each of the parts, perhaps on several threads.

        `multiplications` is the number of multiplications in all calls together. Small work is done on one thread.
        """
        for part in parts:
            work(part)

    def on_one_thread(self, function: Callable[[], R], multiplications: int) -> R:
        """Call a function so that its products have the same bits as on one thread. By default just call it."""
        return function()

    @abstractmethod
    def columns(self, rows: Array) -> Array:
        """Return a matrix of shape (m, n), with one example per row, as a block of columns in the same memory.

        The other direction works too: given a block of columns, return the matrix.
        """

    @abstractmethod
    def empty(self, shape: Sequence[int], dtype: str) -> Array:
        """Return new uninitialized memory."""

    @abstractmethod
    def upload(self, host: npt.NDArray[Any]) -> Array:
        """Return a NumPy array as an array of this backend.

        Do not write to the result, because it may share memory with the NumPy array.
        """

    def assign(self, target: Array, values: Any) -> None:
        """Copy values into an array of this backend, on its device.

        `values` is a number, a NumPy array, or another array of this backend. All writes to arrays of a backend, other
        than those of its operations, are made with this method. So they are made on the right device and stream.
        """
        with self.device_context():
            target[...] = self.upload(values) if isinstance(values, np.ndarray) else values

    @abstractmethod
    def to_host(self, array: Array) -> npt.NDArray[Any]:
        """Return a NumPy array of the same shape and content."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all work submitted so far is done."""

    def device_context(self) -> AbstractContextManager[Any]:
        """Return a context in which array expressions run on this backend's device. By default it does nothing."""
        return nullcontext()

    def check(self, sizes: Sequence[int], formulas: Formulas, dtype: str) -> None:  # noqa: B027 (most have no limits)
        """Raise `InputError` if this backend cannot run a network of these sizes."""

    def worker_context(self, plan: "Plan", source: str, m: int, n: int) -> WorkerContext:
        """Return the context for a training on n examples in mini-batches of m. `source` is the examples' dtype."""
        return WorkerContext()

    def from_foreign(self, name: str, array: Array) -> Array | None:
        """Convert an array to an array of this backend without copying it. Return None if a copy is necessary.

        Raises `InputError` for an array of this backend's library that is on another device or cannot be used.
        """
        return array if type(array).__module__.partition(".")[0] == self.kind else None

    def contiguous(self, rows: Array) -> Array:
        """Return a matrix in a memory layout that `gather` can read. By default `gather` can read every layout."""
        return rows

    def n_partial_sums(self, m: int) -> int:
        """Return the number of partial sums of m columns of δ. It is 1 unless the columns are summed in parallel."""
        return 1

    def new_cost_total(self, n: int, m: int, dtype: str) -> Array:
        """Return memory for adding up the costs of mini-batches of up to m examples with n outputs."""
        return self.empty((1,), "float64")

    def set_cost_total(self, total: Array, cost: float) -> None:
        """Set a total from `new_cost_total` to the given cost."""
        self.assign(total, cost)

    def read_cost_total(self, total: Array) -> float:
        """Return a total from `new_cost_total` as a Python number."""
        return float(total[0])

    def __reduce__(self) -> tuple[Callable[..., "Backend"], tuple[str, ...]]:
        return self.restore, (self.name, self.xp.__name__)  # a copy is the same object; a pickle contains the names


class PreparingBackend(Backend):
    """A backend that can prepare calls of equations, so that many small calls are fast."""

    @abstractmethod
    def prepare(self, equation: Callable[..., None], *arguments: Any) -> ReadyCall:
        """Return a call of an equation with these arguments. All arrays must be writable."""

    @abstractmethod
    def input_operations(self, dtype: str) -> InputOperations:
        """Return the operations on inputs for prepared calls."""

    @abstractmethod
    def dropout_of_sparse(self, dtype: str) -> Operation:
        """Return the operation of dropout for sparse inputs. It has the arguments of that for other blocks."""

    @abstractmethod
    def matmul_of_sparse(self, dtype: str) -> Operation:
        """Return the operation that computes z = w x for sparse inputs x. Its arguments are (w_t, x, start, z).

        `w_t` is wᵀ in C order, and x are `SparseRows`. The first column of z is for the example with the number
        `start`.
        """


# A network on a backend, and the memory of its mini-batches.


@dataclass(frozen=True)
class Plan:
    """A plan of what a network computes, and on which backend.

    It consists of the layer sizes, the formulas, the dtype of the parameters and the backend. The first activation a¹
    is the input times `input_scale`. `classes` has the names of the classes, if they are known.
    """

    sizes: tuple[int, ...]
    formulas: Formulas
    dtype: str
    backend: Backend
    input_scale: float = 1.0
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.backend.check(self.sizes, self.formulas, self.dtype)

    def operations(self, source: str | None = None, *, keep_z: bool = False) -> Operations:
        """Return the operations. `source` is the dtype of the examples, by default the dtype of the plan.

        Ctrl-C is held back while the operations are compiled.
        """
        return self.backend.operations(self.formulas, self.dtype, source or self.dtype, keep_z=keep_z)

    @property
    def multiplications(self) -> int:
        """The number of multiplications that one column takes on its way through the network."""
        return sum(n * k for n, k in pairwise(self.sizes))

    def block(self, n: int, m: int) -> Array:
        """Return new memory for m columns of length n. It is a matrix of shape (m, n). Each row holds one column."""
        return self.backend.empty((m, n), self.dtype)

    def array(self, values: npt.ArrayLike) -> Array:
        """Return a copy of a host array as a new, writable array on the backend, in the dtype of the plan."""
        host = np.asarray(values, self.dtype)
        array = self.backend.empty(host.shape, self.dtype)
        self.backend.assign(array, host)
        return array


class WorkspacePool:
    """The memory for mini-batches of up to m examples. Smaller mini-batches use a part of it.

    `x` has all examples, and is needed only if they are sparse. With dropout, `rates` has one rate per layer with
    weights, and the memory includes the inputs after dropout.
    """

    def __init__(
        self, plan: Plan, operations: Operations, m: int, x: Array = None, rates: Sequence[float] = ()
    ) -> None:
        self._columns, self._n_partial_sums = plan.backend.columns, plan.backend.n_partial_sums
        first = x.width if isinstance(x, SparseRows) else plan.sizes[0]
        self._activations = [plan.block(n, m) for n in (first, *plan.sizes[1:])]
        # σ′ needs the activations before dropout, so they are kept. The inputs of the network have no σ′.
        self._inputs = [
            plan.block(plan.sizes[l], m) if l > 0 and rate > 0.0 else self._activations[l]
            for l, rate in enumerate(rates)
        ]
        self._zs = [
            plan.block(n, m) if layer.keeps_z else a
            for layer, n, a in zip(operations.layers, plan.sizes[1:], self._activations[1:], strict=True)
        ]
        self._deltas = [plan.block(n, m) for n in plan.sizes[1:]]
        n_sums = self._n_partial_sums(m)
        self._sums = [plan.block(n if plan.formulas.bias else 0, n_sums) for n in plan.sizes[1:]]
        self._y = plan.block(plan.sizes[-1], m)
        self._s = plan.block(1 if plan.formulas.weighted else 0, m)

    def inputs(self, m: int) -> Workspace:
        """Return the workspace of a mini-batch of m examples, with the inputs after dropout as its activations."""
        inputs = tuple(self._columns(block[:m, :]) for block in (*self._inputs, self._activations[-1]))
        return self.workspace(m)._replace(activations=inputs)

    def workspace(self, m: int) -> Workspace:
        """Return the workspace of a mini-batch of m examples."""

        def first(blocks: list[Array], m: int = m) -> tuple[Array, ...]:
            return tuple(self._columns(block[:m, :]) for block in blocks)

        return Workspace(
            zs=first(self._zs),
            activations=first(self._activations),
            deltas=first(self._deltas),
            sums=first(self._sums, self._n_partial_sums(m)),
            y=first([self._y])[0],
            s=first([self._s])[0],
        )
