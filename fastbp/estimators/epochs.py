"""Training and prediction for examples given as rows, dense or sparse.

The computations are those of `fastbp.equations`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fastbp.datasets.inputs import as_columns
from fastbp.files.parameter_tensors import host_tensors, put_tensors
from fastbp.files.tensors import Tensors
from fastbp.operations import Examples, Parameters, Plan, PreparingBackend
from fastbp.optimizers import Optimizer
from fastbp.parameters import as_parameters, checked_parameters, new_optimizer_state
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


def parameters_of(coefs: Sequence[Array], intercepts: Sequence[Array], plan: Plan, *, copied: bool) -> Parameters:
    """Return parameters in fastbp's layout, given scikit-learn's coefs and intercepts.

    The coefs of a layer are Wˡ transposed, with shape (n_{l−1}, n_l). Its intercepts have shape (n_l,). Unless `copied`
    is True, arrays that need no conversion are not copied. Raises `InputError` for invalid arrays.
    """
    weights = checked_parameters("weights", [np.asarray(w).T for w in coefs], plan, copied=copied)
    biases = checked_parameters("biases", [np.reshape(b, (-1, 1)) for b in intercepts], plan, copied=copied)
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
    """Trains parameters in place, on mini-batches of m examples.

    The L2 term (α/m) W is added to the gradient ∂C/∂W. If `snapshot` holds the state of an optimizer of the same kind,
    training continues from this state.
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
        self._source = "sparse" if sparse.issparse(x) and isinstance(plan.backend, PreparingBackend) else plan.dtype
        at_once = self._source == "sparse" or not sparse.issparse(x)
        self._examples = self._upload(x, self._y, self._s) if at_once else None
        self._loops: dict[int, MiniBatches] = {}  # the keys are numbers of examples

    def run_epoch(self, order: Indices, eta: float) -> float:
        """Train once on the examples in the given order, and return Σ C_x.

        Each C_x is computed before its mini-batch changes the parameters.
        """
        return sum(self._run(indices, eta) for indices in self._parts(order))

    def snapshot(self) -> OptimizerSnapshot:
        """Return a copy of the optimizer's present state."""
        tensors: Tensors = {}
        for prefix, moment in self._moments():
            tensors |= host_tensors(prefix, moment, self._plan)
        return OptimizerSnapshot(self._optimizer, self._state.steps, tensors)

    def _run(self, indices: Indices, eta: float) -> float:
        n, examples = len(indices), self._examples
        if examples is None:
            examples = self._upload(self._x[indices].toarray(), self._y[indices], self._s[indices])
            indices = np.arange(n)
        if n not in self._loops:
            self._loops[n] = MiniBatches(
                self._plan, self._p, examples, self._source, min(self._m, n), n, self._state,
                self._optimizer, lmbda=self._alpha, lmbda_over_batch=True,
            )  # fmt: skip
        loop = self._loops[n]
        loop.examples, self._state.done, self._state.total = examples, 0, 0.0
        return n * loop.epoch(indices, eta, Watcher())

    def _parts(self, order: Indices) -> Iterator[Indices]:
        """Split the indices in `order` into parts, and yield the parts that are trained on one after another.

        If the rows have to be made dense, each part is a mini-batch. Otherwise, `order` is the only part.
        """
        step = self._m if self._examples is None else len(order)
        yield from (order[start : start + step] for start in range(0, len(order), step))

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
