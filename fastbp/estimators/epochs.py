"""Training and prediction for examples given as rows, dense or sparse.

The computations are those of `fastbp.equations`.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fastbp.datasets.inputs import as_columns
from fastbp.errors import DivergedError
from fastbp.files.parameter_tensors import host_tensors, put_tensors
from fastbp.files.tensors import Tensors
from fastbp.operations import Examples, Parameters, Plan, PreparingBackend
from fastbp.optimizers import Optimizer
from fastbp.parameters import (
    as_parameters,
    checked_parameters,
    copy_parameters,
    empty_parameters,
    new_optimizer_state,
)
from fastbp.training import inference
from fastbp.training.loop import MiniBatches, State, Watcher

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Rows = Any
"""Examples, one per row: an array of shape (n, n_0), or a matrix of this shape in SciPy's CSR format.

The backend "numpy" computes with the entries of a CSR matrix only. For other backends, its rows are made dense, one
mini-batch at a time.
"""

_BLOCK = 2**20  # for a prediction, sparse rows are made dense in blocks of at most this many elements


class Dataset(NamedTuple):
    """Checked examples: their rows `x`, their targets `y` of shape (n, n_L), and their weights `w` of shape (n,).

    `w` is None if the examples have no weights.
    """

    x: Rows
    y: Array
    w: Array | None

    def take(self, indices: Indices) -> "Dataset":
        """Return the examples with the given indices."""
        return Dataset(self.x[indices], self.y[indices], None if self.w is None else self.w[indices])


@dataclass(frozen=True)
class OptimizerSnapshot:
    """A copy of an optimizer's state on the host: the number of steps so far, and the moments.

    `partial_fit` continues training from this state.
    """

    optimizer: Optimizer
    steps: int
    tensors: Tensors


Memory = OptimizerSnapshot  # the name of the class in pickles of estimators from older versions


def parameters_of(coefs: Sequence[Array], intercepts: Sequence[Array], plan: Plan) -> Parameters:
    """Return parameters in fastbp's layout, given scikit-learn's coefs and intercepts.

    The coefs of a layer are Wˡ transposed, with shape (n_{l−1}, n_l). Its intercepts have shape (n_l,). Arrays that
    need no conversion are not copied. Raises `InputError` for invalid arrays.
    """
    weights = checked_parameters("weights", [np.asarray(w).T for w in coefs], plan)
    biases = checked_parameters("biases", [np.reshape(b, (-1, 1)) for b in intercepts], plan)
    return as_parameters(weights, biases, plan)


def coefs_and_intercepts(p: Parameters, plan: Plan) -> tuple[list[Array], list[Array]]:
    """Return copies of the parameters on the host, in scikit-learn's layout.

    This function is the inverse of `parameters_of`.
    """
    host, columns = plan.backend.to_host, plan.backend.columns
    return [host(w).T for w in p.weights], [host(columns(b))[0] for b in p.biases]


def outputs(plan: Plan, p: Parameters, x: Rows) -> Array:
    """Return the outputs aᴸ for the rows of `x` as an array of shape (n, n_L) on the host.

    Sparse rows are made dense only on backends other than "numpy".
    """
    if not sparse.issparse(x):
        return plan.backend.to_host(inference.outputs(plan, p, x.T).T)
    if isinstance(plan.backend, PreparingBackend):
        found: Array = inference.outputs(plan, p, as_columns("X", x.T, plan.sizes[0], plan)).T
        return found
    step = max(1, _BLOCK // x.shape[1])
    return np.concatenate([outputs(plan, p, x[at : at + step].toarray()) for at in range(0, x.shape[0], step)])


class EpochTrainer:
    """Trains parameters on mini-batches of m of n examples. It can be kept for other examples, which is faster.

    In a mini-batch whose examples have the weights w_x, the gradient is (Σ w_x ∂C_x/∂W + α W) / Σ w_x, and the cost is
    (Σ w_x C_x + ½ α Σ ‖W‖²) / Σ w_x. Without weights, all w_x are 1. If all weights of a mini-batch are 0, the gradient
    is 0. In the cost, the L2 term is multiplied by `l2_scale`. `dropout` has the rates of `Settings.dropout`, and `rng`
    draws the masks.
    """

    def __init__(
        self, plan: Plan, dataset: Dataset, m: int, n: int, optimizer: Optimizer, dropout: tuple[float, ...] = ()
    ) -> None:
        self._made_for = _description(plan, dataset, m, n, optimizer, dropout)
        self.p = as_parameters(*empty_parameters(plan), plan)
        self._plan = replace(plan, formulas=replace(plan.formulas, weighted=dataset.w is not None))
        self._m, self._optimizer, self._dropout = m, optimizer, dropout
        self._source = _source(plan, dataset.x)
        self._state = State(new_optimizer_state(plan, optimizer.rule))
        self._loops: dict[int, MiniBatches] = {}  # the keys are numbers of examples
        self._snapshot: OptimizerSnapshot | None = None

    def continues(
        self, snapshot: OptimizerSnapshot | None, plan: Plan, dataset: Dataset, m: int, n: int, optimizer: Optimizer,
        dropout: tuple[float, ...],
    ) -> bool:  # fmt: skip
        """Return whether this trainer can train on these examples, and whether its optimizer has the state `snapshot`.

        The other arguments are those of a new trainer.
        """
        known = snapshot is not None and snapshot is self._snapshot
        return known and self._made_for == _description(plan, dataset, m, n, optimizer, dropout)

    def start(
        self, coefs: Sequence[Array], intercepts: Sequence[Array], dataset: Dataset,
        snapshot: OptimizerSnapshot | None, rng: np.random.RandomState, *, alpha: float, l2_scale: float,
    ) -> None:  # fmt: skip
        """Take over parameters, examples and the state of an optimizer. Later epochs train from there.

        The state is that of an optimizer with the same formula. With another one, or none, training starts from zeros.
        """
        x, y, self._w = dataset
        plan = self._plan
        copy_parameters(parameters_of(coefs, intercepts, plan), self.p)
        self._x, self._y, self._rng = x, y, rng
        self._alpha, self._l2_scale = alpha, l2_scale if alpha else 0.0
        same_formula = snapshot is not None and snapshot.optimizer.rule == self._optimizer.rule
        if snapshot is not None and same_formula and snapshot is not self._snapshot:
            self._state.steps = snapshot.steps
            for prefix, moment in self._moments():
                put_tensors(prefix, snapshot.tensors, moment, plan)
        at_once = self._source == "sparse" or not sparse.issparse(x)
        self._examples = self._upload(x, y, self._weights_of(y)) if at_once else None

    def end(self) -> OptimizerSnapshot:
        """Return a copy of the optimizer's present state, and forget the examples."""
        tensors: Tensors = {}
        for prefix, moment in self._moments():
            tensors |= host_tensors(prefix, moment, self._plan)
        self._snapshot = OptimizerSnapshot(self._optimizer, self._state.steps, tensors)
        del self._x, self._y, self._w, self._examples
        for loop in self._loops.values():
            del loop.examples
        return self._snapshot

    @property
    def steps(self) -> int:
        """The number of steps of the optimizer so far."""
        return self._state.steps

    def run_epoch(self, order: Indices, eta: float) -> float:
        """Train once on the examples in the given order, and return the cost, summed over the examples.

        The cost of each mini-batch is computed before it changes the parameters.
        """
        s, decays = self._normalized_weights(order)
        if self._examples is None:  # the rows have to be made dense: each part is a mini-batch
            starts = range(0, len(order), self._m)
            return sum(self._run_part(order[i : i + self._m], eta, s, decays[k : k + 1]) for k, i in enumerate(starts))
        if self._w is not None:
            self._examples = self._examples._replace(s=self._plan.backend.upload(s))
        return self._run(order, eta, self._examples, decays)

    def _normalized_weights(self, order: Indices) -> tuple[Array, Array]:
        """Return the weights of all examples with a mean of 1 in each mini-batch, and the factors of W.

        The weights have shape (n, 1), or no columns if there are none.
        """
        starts = np.arange(0, len(order), self._m)
        counts = np.diff(starts, append=len(order))
        if self._w is None:
            return self._weights_of(self._y), self._alpha / counts
        sums = np.add.reduceat(self._w[order], starts)
        inverse = np.divide(1.0, sums, out=np.zeros(len(sums)), where=sums != 0.0)
        w = np.zeros(len(self._w))
        w[order] = self._w[order] * np.repeat(counts * inverse, counts)
        return self._weights_of(self._y, w), self._alpha * inverse

    def _weights_of(self, y: Array, w: Array | None = None) -> Array:
        """Return weights as a matrix with one row per example. Without weights, it has no columns, or zeros."""
        s = np.zeros((len(y), 0 if self._w is None else 1), self._plan.dtype)
        if w is not None:
            s[:, 0] = w
        return s

    def _run_part(self, indices: Indices, eta: float, s: Array, decays: Array) -> float:
        examples = self._upload(self._x[indices].toarray(), self._y[indices], s[indices])
        return self._run(np.arange(len(indices)), eta, examples, decays)

    def _run(self, indices: Indices, eta: float, examples: Examples, decays: Array) -> float:
        n = len(indices)
        if n not in self._loops:
            self._loops[n] = MiniBatches(
                self._plan, self.p, examples, self._source, min(self._m, n), n, self._state, self._optimizer,
                dropout=self._dropout,
            )  # fmt: skip
        loop = self._loops[n]
        if self._dropout:
            loop.set_dropout_key(*map(int, self._rng.randint(0, 2**32, size=2, dtype=np.uint64)))
        loop.examples, loop.decays, loop.l2_scale = examples, decays, self._l2_scale
        self._state.done, self._state.total = 0, 0.0
        with suppress(DivergedError):  # whether to go on is decided by `TrainingLoop`
            loop.epoch(indices, eta, Watcher())
        return self._state.total

    def _moments(self) -> list[tuple[str, Parameters]]:
        """Return a pair (prefix, moment) for each moment used by the optimizer.

        The names of a moment's tensors begin with its prefix.
        """
        rule, moments = self._optimizer.rule, self._state.moments
        named = [("first.", moments.first), ("second.", moments.second), ("third.", moments.third)]
        return named[: 0 if rule is None else rule.state]

    def _upload(self, x: Rows, y: Array, s: Array) -> Examples:
        plan, upload = self._plan, self._plan.backend.upload
        inputs = as_columns("X", x.T, plan.sizes[0], plan).rows if sparse.issparse(x) else upload(x)
        return Examples(inputs, upload(y), upload(s), 1.0)


def _source(plan: Plan, x: Rows) -> str:
    """Return the dtype of the examples for the backend, or "sparse" if it computes with the entries of a CSR matrix."""
    return "sparse" if sparse.issparse(x) and isinstance(plan.backend, PreparingBackend) else plan.dtype


def _description(
    plan: Plan, dataset: Dataset, m: int, n: int, optimizer: Optimizer, dropout: tuple[float, ...]
) -> tuple[Any, ...]:
    """Return what determines the memory and the operations of a trainer."""
    entries = np.diff(dataset.x.indptr).max(initial=0) if sparse.issparse(dataset.x) else None
    return plan, dataset.w is None, _source(plan, dataset.x), entries, m, n, optimizer, dropout
