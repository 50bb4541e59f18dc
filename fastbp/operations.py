"""What the equations are written over: operations, parameters and the memory of a mini-batch; and what a backend is.

The equations name operations and say nothing of orientation. A backend makes the operations and hands them its own
form of a block of columns: shape (n, m) for arrays, and for compiled code the same memory as a C-ordered (m, n) matrix.
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


@dataclass(frozen=True)
class Formulas:
    """What tells one network's operations from another's: g⁽ˡ⁾ of each layer, the rule at the output, biases or not.

    In training also whether examples have `weighted` costs, and the `rule` of the optimizer; None is plain descent.
    """

    activations: tuple[Activation, ...]
    output: OutputRule
    bias: bool
    weighted: bool = False
    rule: UpdateRule | None = None


class LayerOperations(NamedTuple):
    """A layer's own operations.

    `activate(z, a, b)` writes a = σ(z + b), and z + b into z where that is kept; `hadamard(z, a, delta, sums)`
    multiplies delta by σ′, and sums its columns.
    """

    keeps_z: bool
    activate: Operation
    hadamard: Operation


class Operations(NamedTuple):
    """The operations of the equations; each writes into its last argument, or adds to what is there.

    `gather_x` (data, indices, scale, out): the examples of those indices, times a scale, as columns; `gather` does the
    like for targets and weights.
    `matmul` (w, a, z): z = w a. `matmul_transposed` (w, delta, out): out = wᵀ delta.
    `add_outer` (alpha, delta, a, beta, w): w = beta w + alpha delta aᵀ.
    `add_column_sums` (alpha, sums, beta, b): b = beta b + alpha sums 1.
    `optimizer_step` (eta, decay, k_1, k_2, k_3, nabla, first, second, w): w and its moments by the optimizer's formula,
    for the gradient nabla + decay w; nothing where there is no such rule.
    `output_error` (z, a, y, s, delta, sums): (BP1), times the examples' weights s where there are some.
    `add_cost` (z, a, y, s, total): total += Σ s_x C_x.

    sums are delta's columns, summed part by part: as many columns as there are parts (`Backend.parts`); without biases
    they have no rows.
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


class Parameters(NamedTuple):
    """Wˡ, shape (n_l, n_{l−1}), and bˡ, a block of one column; without biases each bˡ has no rows."""

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]


class Workspace(NamedTuple):
    """The columns of a mini-batch: zˡ (aˡ itself where z is not kept), aˡ from the input on, δˡ, targets y, weights s.

    `sums` are the δˡ summed over parts of their columns. s is a block of one row, or of none where every example counts
    the same.
    """

    zs: tuple[Array, ...]
    activations: tuple[Array, ...]
    deltas: tuple[Array, ...]
    sums: tuple[Array, ...]
    y: Array
    s: Array


class Examples(NamedTuple):
    """The examples to train on, one a row: inputs x, which times `scale` are a¹, targets y, and weights s, or none."""

    x: Array
    y: Array
    s: Array
    scale: float


class OptimizerState(NamedTuple):
    """What an optimizer works on: ∇C, and its first moment (a velocity, or Adam's m) and second, like the parameters.

    What the optimizer does not need is blocks without rows.
    """

    nabla: Parameters
    first: Parameters
    second: Parameters


class Descent(NamedTuple):
    """How to descend: η of each of the mini-batches to come, float64 on the host; λ, and the n that it is divided by.

    `plain` descent needs no moments; any other has the constants of its optimizer's rule.
    """

    etas: npt.NDArray[np.float64]
    lmbda: float
    n: int
    plain: bool
    k_1: float
    k_2: float
    k_3: float


def descent(optimizer: Optimizer, eta: float, *, steps: int, count: int, lmbda: float, n: int) -> Descent:
    """Return how an optimizer descends in `count` mini-batches at a learning rate, `steps` having been before."""
    return Descent(optimizer.etas(eta, steps, count), lmbda, n, optimizer.rule is None, *optimizer.constants)


class WorkerContext:
    """A context for larger work, in which a backend has more hands at it; most need none.

    It is entered and left where Ctrl-C is held back: an interrupt between the two halves of either would stay half.
    """

    def __enter__(self) -> "WorkerContext":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def record_time(self, count: int, seconds: float) -> None:
        """Hear how long so many mini-batches took."""


class Backend(ABC):
    """Where the equations run: an array module, the operations over it, and the ways in and out."""

    name: str
    kind: str  # of the arrays, as `fastbp.backends.kind` names it
    xp: Any
    restore: Callable[[str, str], "Backend"]  # by name and namespace; set by `fastbp.backends`

    @abstractmethod
    def operations(self, formulas: Formulas, dtype: str, source: str, *, keep_z: bool = False) -> Operations:
        """Return the operations of a network on arrays of a dtype, from examples of another (or uint8)."""

    @abstractmethod
    def run(self, equation: Callable[..., None], *arguments: Any) -> None:
        """Carry out one of the equations."""

    @abstractmethod
    def columns(self, rows: Array) -> Array:
        """Return, of memory whose rows are examples, shape (m, n), what the equations call columns; its own inverse."""

    @abstractmethod
    def empty(self, shape: Sequence[int], dtype: str) -> Array:
        """Return new memory here."""

    @abstractmethod
    def upload(self, host: npt.NDArray[Any]) -> Array:
        """Return here what is on the host, to be read only."""

    @abstractmethod
    def to_host(self, array: Array) -> npt.NDArray[Any]:
        """Return a NumPy array of the same shape and content."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all that was asked for is done."""

    def current(self) -> AbstractContextManager[Any]:
        """Return a context in which array expressions run where this backend does; most run where their arrays are."""
        return nullcontext()

    def check(self, sizes: Sequence[int], formulas: Formulas, dtype: str) -> None:  # noqa: B027 (most have no bounds)
        """Raise `InputError` if a network of these sizes cannot run here."""

    def worker_context(self, plan: "Plan", source: str, m: int, n: int) -> WorkerContext:
        """Return help for n examples, of a dtype, that a network is trained on by ms."""
        return WorkerContext()

    def from_foreign(self, name: str, array: Array) -> Array | None:
        """Return an array of another library that lies here as one of this backend's, the same memory; else None.

        Raises `InputError` for one of this backend's that lies elsewhere or cannot be worked on.
        """
        return array if type(array).__module__.partition(".")[0] == self.kind else None

    def contiguous(self, rows: Array) -> Array:
        """Return a matrix of this backend's own as it can be gathered from; most can be from any."""
        return rows

    def parts(self, m: int) -> int:
        """Return in how many parts m columns of δ are summed: one, where that is not done in parallel."""
        return 1

    def new_total(self, n: int, m: int, dtype: str) -> Array:
        """Return memory for the cost of mini-batches of up to m examples with n outputs to be added up in."""
        return self.empty((1,), "float64")

    def set_total(self, total: Array, cost: float) -> None:
        """Start a total from a cost."""
        total[...] = cost

    def cost_in(self, total: Array) -> float:
        """Return the cost that has been added up, on the host."""
        return float(total[0])

    def __reduce__(self) -> tuple[Callable[..., "Backend"], tuple[str, ...]]:
        return self.restore, (self.name, self.xp.__name__)  # a copy is the backend itself, a pickle its name


@dataclass(frozen=True)
class Plan:
    """What is computed and where: the layers' sizes, their formulas, the dtype of the parameters, the backend.

    Inputs times `input_scale` are a¹.
    """

    sizes: tuple[int, ...]
    formulas: Formulas
    dtype: str
    backend: Backend
    input_scale: float = 1.0

    def __post_init__(self) -> None:
        self.backend.check(self.sizes, self.formulas, self.dtype)

    def operations(self, source: str | None = None, *, keep_z: bool = False) -> Operations:
        """Return the operations, for examples of the plan's dtype or of another; no Ctrl-C while they are compiled."""
        return self.backend.operations(self.formulas, self.dtype, source or self.dtype, keep_z=keep_z)

    def block(self, n: int, m: int) -> Array:
        """Return new memory for m columns of n, as the rows of an (m, n) matrix."""
        return self.backend.empty((m, n), self.dtype)

    def copied(self, values: npt.ArrayLike) -> Array:
        """Return new memory of the plan's dtype with the content of a host array, free to be written to."""
        host = np.asarray(values, self.dtype)
        array = self.backend.empty(host.shape, self.dtype)
        array[...] = self.backend.upload(host)
        return array


class WorkspacePool:
    """The memory of a mini-batch of up to m examples, of which the workspaces for fewer are views."""

    def __init__(self, plan: Plan, operations: Operations, m: int) -> None:
        self._columns, self._parts = plan.backend.columns, plan.backend.parts
        self._activations = [plan.block(n, m) for n in plan.sizes]
        self._zs = [
            plan.block(n, m) if layer.keeps_z else a
            for layer, n, a in zip(operations.layers, plan.sizes[1:], self._activations[1:], strict=True)
        ]
        self._deltas = [plan.block(n, m) for n in plan.sizes[1:]]
        self._sums = [plan.block(n if plan.formulas.bias else 0, self._parts(m)) for n in plan.sizes[1:]]
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
            sums=first(self._sums, self._parts(m)),
            y=first([self._y])[0],
            s=first([self._s])[0],
        )
