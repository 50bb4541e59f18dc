"""The interface between the equations and a backend: blocks of columns, operations on them, and the backend itself.

The equations in `fastbp.equations` call operations on blocks of columns, one column per example. They do not depend on
the memory layout. Each backend provides the operations and its own form of a block: an array of shape (n, m) for array
libraries; for compiled code the same memory as a C-ordered (m, n) matrix.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.activations import Activation
from fastbp.costs import OutputRule
from fastbp.optimizers import Optimizer, UpdateRule

Array = Any
Operation = Callable[..., None]


# The arguments of the equations.


class Parameters(NamedTuple):
    """Weights Wˡ, shape (n_l, n_{l−1}), and biases bˡ, blocks of one column; without biases each bˡ has no rows."""

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]


class Examples(NamedTuple):
    """The training examples, one per row: inputs x, targets y and weights s. a¹ is x times `scale`.

    s has no columns if the examples are not weighted.
    """

    x: Array
    y: Array
    s: Array
    scale: float


class Workspace(NamedTuple):
    """The blocks of columns of one mini-batch: zˡ, aˡ starting with the input, δˡ, targets y and example weights s.

    Where zˡ is not kept, it is the same memory as aˡ. `sums` holds partial sums of the columns of δˡ (see
    `Operations`). s has one row, or none if the examples are not weighted.
    """

    zs: tuple[Array, ...]
    activations: tuple[Array, ...]
    deltas: tuple[Array, ...]
    sums: tuple[Array, ...]
    y: Array
    s: Array


class OptimizerState(NamedTuple):
    """The memory of an optimizer: ∇C, the first moment (the velocity, or Adam's m) and the second moment (Adam's v).

    Each has the shapes of the parameters. Those that the optimizer does not use are blocks without rows.
    """

    nabla: Parameters
    first: Parameters
    second: Parameters


class StepConfig(NamedTuple):
    """The numbers of an update step: η for each of the next mini-batches (float64, on the host), λ and n for λ/n.

    `plain_sgd` is True for stochastic gradient descent without momentum, which has no optimizer state. k_1 to k_3 are
    the constants of the formula of any other optimizer.
    """

    etas: npt.NDArray[np.float64]
    lmbda: float
    n: int
    plain_sgd: bool
    k_1: float
    k_2: float
    k_3: float


def step_config(optimizer: Optimizer, eta: float, *, steps: int, count: int, lmbda: float, n: int) -> StepConfig:
    """Return the configuration of the next `count` update steps, of which `steps` have been taken before."""
    return StepConfig(optimizer.etas(eta, steps, count), lmbda, n, optimizer.rule is None, *optimizer.constants)


# The operations.


class LayerOperations(NamedTuple):
    """The operations that depend on a layer's activation.

    `activate(z, a, b)` writes a = σ(z + b), and z + b into z if `keeps_z`. `hadamard(z, a, delta, sums)` multiplies
    delta by σ′ and writes the partial sums of its columns to sums.
    """

    keeps_z: bool
    activate: Operation
    hadamard: Operation


class Operations(NamedTuple):
    """The operations of the equations. Each writes its result into its last argument, or adds to it.

    `gather_x` (data, indices, scale, out): copy the examples with these indices, times a scale, to the columns of out.
    `gather` does the same for targets and example weights.
    `matmul` (w, a, z): z = w a.
    `matmul_transposed` (w, delta, out): out = wᵀ delta.
    `add_outer` (alpha, delta, a, beta, w): w = beta w + alpha delta aᵀ.
    `add_column_sums` (alpha, sums, beta, b): b = beta b + alpha sums 1.
    `optimizer_step` (eta, decay, k_1, k_2, k_3, nabla, first, second, w): update w and its moments with the optimizer's
    formula and the gradient nabla + decay w. Does nothing for plain SGD.
    `output_error` (z, a, y, s, delta, sums): (BP1), times the example weights s if there are any.
    `add_cost` (z, a, y, s, total): total += Σ s_x C_x.

    `sums` holds partial sums of the columns of delta, `Backend.n_partial_sums` of them. It has no rows without biases.
    """

    layers: tuple[LayerOperations, ...]  # first: Numba warns of a tuple that starts with a function
    gather_x: Operation
    gather: Operation
    matmul: Operation
    matmul_transposed: Operation
    add_outer: Operation
    add_column_sums: Operation
    optimizer_step: Operation
    output_error: Operation
    add_cost: Operation


@dataclass(frozen=True)
class Formulas:
    """The formulas that determine a network's operations: g⁽ˡ⁾ of each layer, the output rule, biases or not.

    For training also whether the examples are `weighted`, and the update `rule` of the optimizer, None for plain SGD.
    """

    activations: tuple[Activation, ...]
    output: OutputRule
    bias: bool
    weighted: bool = False
    rule: UpdateRule | None = None


# The backend.


class WorkerContext:
    """A context manager in which a backend may use more threads. This base class does nothing.

    Enter and leave it only while Ctrl-C is held back, because an interrupt in the middle would leave it half done.
    """

    def __enter__(self) -> "WorkerContext":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def record_time(self, count: int, seconds: float) -> None:
        """Record how many seconds `count` mini-batches took."""


class Backend(ABC):
    """A place to run the equations: an array module, the operations on its arrays, and transfers from and to NumPy."""

    name: str
    kind: str  # of the arrays, as returned by `fastbp.backends.kind`
    xp: Any
    restore: Callable[[str, str], "Backend"]  # (name, array module); set by `fastbp.backends`

    @abstractmethod
    def operations(self, formulas: Formulas, dtype: str, source: str, *, keep_z: bool = False) -> Operations:
        """Return the operations for arrays of `dtype` and examples of the dtype `source`, which may be uint8."""

    @abstractmethod
    def run(self, equation: Callable[..., None], *arguments: Any) -> None:
        """Run one of the equations."""

    @abstractmethod
    def columns(self, rows: Array) -> Array:
        """Return memory of shape (m, n), one example per row, as a block of columns, or a block as its memory."""

    @abstractmethod
    def empty(self, shape: Sequence[int], dtype: str) -> Array:
        """Return new uninitialized memory."""

    @abstractmethod
    def upload(self, host: npt.NDArray[Any]) -> Array:
        """Return a NumPy array as an array of this backend. It may share memory, so do not write to it."""

    @abstractmethod
    def to_host(self, array: Array) -> npt.NDArray[Any]:
        """Return a NumPy array of the same shape and content."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all work submitted so far is done."""

    def device_context(self) -> AbstractContextManager[Any]:
        """Return a context in which array expressions run on this backend's device. By default it does nothing."""
        return nullcontext()

    def check(self, sizes: Sequence[int], formulas: Formulas, dtype: str) -> None:  # noqa: B027 (most have no bounds)
        """Raise `InputError` if this backend cannot run a network of these sizes."""

    def worker_context(self, plan: "Plan", source: str, m: int, n: int) -> WorkerContext:
        """Return a context for training on n examples of the dtype `source` in mini-batches of m."""
        return WorkerContext()

    def from_foreign(self, name: str, array: Array) -> Array | None:
        """Return an array of another library on this device as an array of this backend, sharing memory; else None.

        Raises `InputError` for an array of this backend's library that is on another device or cannot be used.
        """
        return array if type(array).__module__.partition(".")[0] == self.kind else None

    def contiguous(self, rows: Array) -> Array:
        """Return a matrix in a memory layout that `gather` can read. By default any layout is accepted."""
        return rows

    def n_partial_sums(self, m: int) -> int:
        """Return the number of partial sums over m columns of δ. It is 1 unless they are summed in parallel."""
        return 1

    def new_cost_total(self, n: int, m: int, dtype: str) -> Array:
        """Return memory for adding up the costs of mini-batches of up to m examples with n outputs."""
        return self.empty((1,), "float64")

    def set_cost_total(self, total: Array, cost: float) -> None:
        """Set the total to a cost."""
        total[...] = cost

    def read_cost_total(self, total: Array) -> float:
        """Return the total as a Python number."""
        return float(total[0])

    def __reduce__(self) -> tuple[Callable[..., "Backend"], tuple[str, ...]]:
        return self.restore, (self.name, self.xp.__name__)  # copies are the same object; pickles contain the name


# A network on a backend, and the memory of its mini-batches.


@dataclass(frozen=True)
class Plan:
    """What a network computes and where: layer sizes, formulas, dtype of the parameters, backend.

    a¹ is the input times `input_scale`.
    """

    sizes: tuple[int, ...]
    formulas: Formulas
    dtype: str
    backend: Backend
    input_scale: float = 1.0

    def __post_init__(self) -> None:
        self.backend.check(self.sizes, self.formulas, self.dtype)

    def operations(self, source: str | None = None, *, keep_z: bool = False) -> Operations:
        """Return the operations for examples of the dtype `source`, by default the plan's.

        Ctrl-C is held back while they are compiled.
        """
        return self.backend.operations(self.formulas, self.dtype, source or self.dtype, keep_z=keep_z)

    def block(self, n: int, m: int) -> Array:
        """Return new memory for m columns of length n, as an (m, n) matrix of rows."""
        return self.backend.empty((m, n), self.dtype)

    def array(self, values: npt.ArrayLike) -> Array:
        """Return a new, writable array on the backend with the plan's dtype and the content of a host array."""
        host = np.asarray(values, self.dtype)
        array = self.backend.empty(host.shape, self.dtype)
        array[...] = self.backend.upload(host)
        return array


class WorkspacePool:
    """The memory of a mini-batch of up to m examples. The workspaces of smaller mini-batches are views of it."""

    def __init__(self, plan: Plan, operations: Operations, m: int) -> None:
        self._columns, self._n_partial_sums = plan.backend.columns, plan.backend.n_partial_sums
        self._activations = [plan.block(n, m) for n in plan.sizes]
        self._zs = [
            plan.block(n, m) if layer.keeps_z else a
            for layer, n, a in zip(operations.layers, plan.sizes[1:], self._activations[1:], strict=True)
        ]
        self._deltas = [plan.block(n, m) for n in plan.sizes[1:]]
        n_sums = self._n_partial_sums(m)
        self._sums = [plan.block(n if plan.formulas.bias else 0, n_sums) for n in plan.sizes[1:]]
        self._y = plan.block(plan.sizes[-1], m)
        self._s = plan.block(1 if plan.formulas.weighted else 0, m)

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
