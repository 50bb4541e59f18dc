"""Training and prediction on rows of examples, dense or sparse, with the equations of `fastbp.equations`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fastbp.files.parameter_tensors import host_tensors, put_tensors
from fastbp.files.tensors import Tensors
from fastbp.operations import Examples, Parameters, Plan
from fastbp.optimizers import Optimizer
from fastbp.parameters import as_parameters, checked_parameters, new_optimizer_state
from fastbp.training import inference
from fastbp.training.loop import MiniBatches, State, Watcher

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Rows = Any
"""Examples, one per row: an array (n, n_0), or a SciPy CSR matrix, which is made dense one mini-batch at a time."""

_BLOCK = 2**20  # largest number of elements of sparse rows that are made dense at once for a prediction


class Dataset(NamedTuple):
    """Checked examples: rows x, targets y (n, n_L), and example weights w (n,), or None if there are no weights."""

    x: Rows
    y: Array
    w: Array | None

    def take(self, indices: Indices) -> "Dataset":
        """Return the examples with the given indices."""
        return Dataset(self.x[indices], self.y[indices], None if self.w is None else self.w[indices])


@dataclass(frozen=True)
class OptimizerSnapshot:
    """The state of an optimizer on the host, from which `partial_fit` continues: the step count and the moments."""

    optimizer: Optimizer
    steps: int
    tensors: Tensors


Memory = OptimizerSnapshot  # the name that older pickles of estimators refer to


def parameters_of(coefs: Sequence[Array], intercepts: Sequence[Array], plan: Plan, *, copied: bool) -> Parameters:
    """Return the parameters for scikit-learn's coefs, (n_{l−1}, n_l), which are Wˡ transposed, and intercepts, (n_l,).

    Unless `copied` is True, arrays that need no conversion are not copied. Raises `InputError` for invalid arrays.
    """
    weights = checked_parameters("weights", [np.asarray(w).T for w in coefs], plan, copied=copied)
    biases = checked_parameters("biases", [np.reshape(b, (-1, 1)) for b in intercepts], plan, copied=copied)
    return as_parameters(weights, biases, plan)


def coefs_and_intercepts(p: Parameters, plan: Plan) -> tuple[list[Array], list[Array]]:
    """Return copies of the parameters on the host, in scikit-learn's layout: the inverse of `parameters_of`."""
    host, columns = plan.backend.to_host, plan.backend.columns
    return [host(w).T for w in p.weights], [host(columns(b))[0] for b in p.biases]


def outputs(plan: Plan, p: Parameters, x: Rows) -> Array:
    """Return aᴸ for each row of x, shape (n, n_L), on the host."""
    if not sparse.issparse(x):
        return plan.backend.to_host(inference.outputs(plan, p, x.T).T)
    step = max(1, _BLOCK // x.shape[1])
    return np.concatenate([outputs(plan, p, x[at : at + step].toarray()) for at in range(0, x.shape[0], step)])


class EpochTrainer:
    """Trains parameters in place on mini-batches of m examples; (α/m) W is added to ∂C/∂W.

    Given a snapshot of an optimizer of the same kind, training continues from it.
    """

    def __init__(
        self, plan: Plan, p: Parameters, dataset: Dataset, m: int, optimizer: Optimizer, alpha: float,
        snapshot: OptimizerSnapshot | None,
    ) -> None:  # fmt: skip
        x, y, w = dataset
        self._plan = replace(plan, formulas=replace(plan.formulas, weighted=w is not None))
        self._p, self._m, self._optimizer, self._alpha = p, m, optimizer, alpha
        weights = np.empty((len(y), 0)) if w is None else w[:, None]
        self._x, self._y, self._s = x, y, np.ascontiguousarray(weights, plan.dtype)
        self._state = State(new_optimizer_state(plan, optimizer.rule))
        if snapshot is not None and snapshot.optimizer.rule == optimizer.rule:
            self._state.steps = snapshot.steps
            for prefix, moment in self._moments():
                put_tensors(prefix, snapshot.tensors, moment, plan)
        self._dense = None if sparse.issparse(x) else self._upload(self._x, self._y, self._s)
        self._loops: dict[int, MiniBatches] = {}  # by the number of examples

    def run_epoch(self, order: Indices, eta: float) -> float:
        """Train once on the examples in the given order; return Σ C_x, each from before the step of its mini-batch."""
        return sum(self._run(indices, eta) for indices in self._parts(order))

    def snapshot(self) -> OptimizerSnapshot:
        """Return a copy of the optimizer's present state."""
        tensors: Tensors = {}
        for prefix, moment in self._moments():
            tensors |= host_tensors(prefix, moment, self._plan)
        return OptimizerSnapshot(self._optimizer, self._state.steps, tensors)

    def _run(self, indices: Indices, eta: float) -> float:
        n, examples = len(indices), self._dense
        if examples is None:
            examples = self._upload(self._x[indices].toarray(), self._y[indices], self._s[indices])
            indices = np.arange(n)
        if n not in self._loops:
            self._loops[n] = MiniBatches(
                self._plan, self._p, examples, self._plan.dtype, min(self._m, n), n, self._state,
                self._optimizer, lmbda=self._alpha, lmbda_over_batch=True,
            )  # fmt: skip
        loop = self._loops[n]
        loop.examples, self._state.done, self._state.total = examples, 0, 0.0
        return n * loop.epoch(indices, eta, Watcher())

    def _parts(self, order: Indices) -> Iterator[Indices]:
        """Yield the whole order for dense rows, and one mini-batch of it at a time for sparse rows."""
        step = self._m if self._dense is None else len(order)
        yield from (order[start : start + step] for start in range(0, len(order), step))

    def _moments(self) -> list[tuple[str, Parameters]]:
        """Return the moments that the optimizer uses, each with the prefix of its tensors' names."""
        rule, moments = self._optimizer.rule, self._state.moments
        named = [("first.", moments.first), ("second.", moments.second)]
        return named[: 0 if rule is None else rule.moments]

    def _upload(self, x: Array, y: Array, s: Array) -> Examples:
        upload = self._plan.backend.upload
        return Examples(upload(x), upload(y), upload(s), 1.0)
