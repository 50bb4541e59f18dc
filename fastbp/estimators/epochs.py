"""Rows of examples, dense or sparse, through the equations: forward, and one epoch of mini-batches after another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fastbp.operations import Examples as Uploaded
from fastbp.operations import Parameters, Plan
from fastbp.optimizers import Optimizer
from fastbp.parameters import Tensors, as_parameters, checked_parameters, host_tensors, new_optimizer_state, put_tensors
from fastbp.training import inference
from fastbp.training.loop import MiniBatches, State, Watcher

Array = npt.NDArray[Any]
Rows = Any
"""Examples, one a row: a matrix (n, n_0), or SciPy's CSR, of which one mini-batch at a time is made dense."""

_BLOCK = 2**20  # elements of sparse rows that are made dense together to be fed forward


def parameters_of(coefs: Sequence[Array], intercepts: Sequence[Array], plan: Plan, *, copied: bool) -> Parameters:
    """Return parameters: Wˡ the transposes of coefs, (n_{l−1}, n_l), and bˡ of intercepts, (n_l,); or `InputError`.

    Unless `copied` they are the very memory where that will do.
    """
    weights = checked_parameters("weights", [np.asarray(w).T for w in coefs], plan, copied=copied)
    biases = checked_parameters("biases", [np.reshape(b, (-1, 1)) for b in intercepts], plan, copied=copied)
    return as_parameters(weights, biases, plan)


def coefs_and_intercepts(p: Parameters, plan: Plan) -> tuple[list[Array], list[Array]]:
    """Return copies on the host, as scikit-learn has them: the inverse of `parameters_of`."""
    host, columns = plan.backend.to_host, plan.backend.columns
    return [host(w).T for w in p.weights], [host(columns(b))[0] for b in p.biases]


def outputs(plan: Plan, p: Parameters, x: Rows) -> Array:
    """Return aᴸ of each row, shape (n, n_L), on the host."""
    if not sparse.issparse(x):
        return plan.backend.to_host(inference.outputs(plan, p, x.T).T)
    step = max(1, _BLOCK // x.shape[1])
    return np.concatenate([outputs(plan, p, x[at : at + step].toarray()) for at in range(0, x.shape[0], step)])


class Examples(NamedTuple):
    """Checked examples: rows x, targets y (n, n_L), and weights w (n,), or None where every example counts the same."""

    x: Rows
    y: Array
    w: Array | None

    def of(self, rows: npt.NDArray[np.int64]) -> "Examples":
        """Return the examples of those rows."""
        return Examples(self.x[rows], self.y[rows], None if self.w is None else self.w[rows])


@dataclass(frozen=True)
class Memory:
    """What an optimizer remembers of the steps so far, on the host: how many they were, and its moments by name."""

    optimizer: Optimizer
    steps: int
    tensors: Tensors


class Epochs:
    """Training of parameters, in place, by mini-batches of m examples, each with α/m W in its ∂C/∂W.

    With a memory, an optimizer of the same kind goes on from it.
    """

    def __init__(
        self, plan: Plan, p: Parameters, examples: Examples, m: int, optimizer: Optimizer, alpha: float,
        memory: Memory | None,
    ) -> None:  # fmt: skip
        x, y, w = examples
        self._plan = replace(plan, formulas=replace(plan.formulas, weighted=w is not None))
        self._p, self._m, self._optimizer, self._alpha = p, m, optimizer, alpha
        weights = np.empty((len(y), 0)) if w is None else w[:, None]
        self._x, self._y, self._s = x, y, np.ascontiguousarray(weights, plan.dtype)
        self._state = State(new_optimizer_state(plan, optimizer.rule))
        if memory is not None and memory.optimizer.rule == optimizer.rule:
            self._state.steps = memory.steps
            for prefix, moment in self._moments():
                put_tensors(prefix, memory.tensors, moment, plan)
        self._dense = None if sparse.issparse(x) else self._uploaded(self._x, self._y, self._s)
        self._loops: dict[int, MiniBatches] = {}

    def run(self, order: npt.NDArray[np.int64], eta: float) -> float:
        """Go once through the examples of an order; return Σ C_x, each taken before its mini-batch's update."""
        return sum(self._run(part, eta) for part in self._parts(order))

    def memory(self) -> Memory:
        """Return what the optimizer remembers now."""
        tensors: Tensors = {}
        for prefix, moment in self._moments():
            tensors |= host_tensors(prefix, moment, self._plan)
        return Memory(self._optimizer, self._state.steps, tensors)

    def _run(self, rows: npt.NDArray[np.int64], eta: float) -> float:
        n, examples = len(rows), self._dense
        if examples is None:
            examples = self._uploaded(self._x[rows].toarray(), self._y[rows], self._s[rows])
            rows = np.arange(n)
        if n not in self._loops:
            self._loops[n] = MiniBatches(
                self._plan, self._p, examples, self._plan.dtype, min(self._m, n), n, self._state,
                self._optimizer, lmbda=self._alpha, lmbda_over_batch=True,
            )  # fmt: skip
        loop = self._loops[n]
        loop.examples, self._state.done, self._state.total = examples, 0, 0.0
        return n * loop.epoch(rows, eta, Watcher())

    def _parts(self, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Give an order whole, or, where rows are sparse, a mini-batch of it at a time."""
        step = self._m if self._dense is None else len(order)
        yield from (order[start : start + step] for start in range(0, len(order), step))

    def _moments(self) -> list[tuple[str, Parameters]]:
        rule, moments = self._optimizer.rule, self._state.moments
        named = [("first.", moments.first), ("second.", moments.second)]
        return named[: 0 if rule is None else rule.moments]

    def _uploaded(self, x: Array, y: Array, s: Array) -> Uploaded:
        upload = self._plan.backend.upload
        return Uploaded(upload(x), upload(y), upload(s), 1.0)
