"""Training with L-BFGS: SciPy chooses the steps, and the equations give the cost of all examples and its gradient."""

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.backends.interrupts import uninterrupted
from fastbp.errors import DivergedError, InputError, brief
from fastbp.files.parameter_tensors import put_tensors
from fastbp.operations import Examples, Parameters, Plan
from fastbp.training.early_stopping import Best, better, has_run_out
from fastbp.training.full_batch import FullBatch, Vector, pack, unpack
from fastbp.training.history import Epoch, History
from fastbp.training.loop import Validation, Watcher, is_true
from fastbp.training.rank_checks import check_parameters
from fastbp.training.ranks import Ranks

Objective = Callable[[Vector], tuple[float, Vector]]
_FAILED = 2  # the status in which SciPy ends a line search without success
NO_LIMIT = 2**31 - 1  # of evaluations; a line search takes at most 20 per iteration
_NOT_TAKEN = {
    "eta": "a line search finds the length of each step",
    "schedule": "it has no learning rate",
    "mini_batch_size": "each step uses all examples",
    "dropout": "each step needs the exact gradient",
    "momentum": "the direction of each step comes from the last ten gradients",
    "checkpoint": "the state of L-BFGS is inside SciPy; a callback can call net.save",
    "resume": "the state of L-BFGS is inside SciPy; load a saved network and train it",
}


@dataclass(frozen=True)
class Settings:
    """The settings of training with L-BFGS."""

    epochs: int
    lmbda: float
    patience: int | None


def refuse_options(given: Mapping[str, Any]) -> None:
    """Raise `InputError` if a training option is given that L-BFGS does not take.

    An option is not given if it is missing, None, 0 or False.

    >>> refuse_options({"eta": 0.5})
    Traceback (most recent call last):
    fastbp.errors.InputError: eta cannot be combined with optimizer 'lbfgs', got 0.5; leave it out: a line search ...
    """
    for name, reason in _NOT_TAKEN.items():
        value = given.get(name)
        if value is not None and not (isinstance(value, (int, float)) and value == 0):
            text = brief(os.fspath(value) if isinstance(value, os.PathLike) else value)
            raise InputError(f"{name} cannot be combined with optimizer 'lbfgs', got {text}; leave it out: {reason}")


def minimize(
    objective: Objective, theta: Vector, *, iterations: int, evaluations: int = NO_LIMIT, tol: float = 1e-5,
    finished: Callable[[Vector, float], bool] | None = None,
) -> Any:  # fmt: skip
    """Minimize a function of a vector with `scipy.optimize.minimize`; return SciPy's `OptimizeResult`.

    `objective` returns the value and the gradient. `finished` is called after each iteration with the new vector and
    its value, and ends the search by returning True. Otherwise, the search ends when no entry of the gradient is larger
    than `tol`, or when the value decreases by less than 2.2e-9 of itself.
    """
    from scipy.optimize import minimize as scipy_minimize  # takes 0.1 s to import

    errors = []

    def callback(intermediate_result: Any) -> None:  # SciPy passes the value only to an argument of this name
        try:
            ended = finished(intermediate_result.x, float(intermediate_result.fun))  # type: ignore[misc]
        except StopIteration as error:  # SciPy would end the search without an error
            errors.append(error)
            raise
        if ended:
            raise StopIteration

    called = None if finished is None else callback
    options = {"maxiter": iterations, "maxfun": evaluations, "gtol": tol}
    found = scipy_minimize(objective, theta, method="L-BFGS-B", jac=True, callback=called, options=options)
    if errors:
        raise errors[0]
    return found


def objective_of(batch: FullBatch, decay: float, divisor: float = 1.0, ranks: Ranks | None = None) -> Objective:
    """Return a function of θ that returns C + (decay/2) Σ ‖W‖² and its gradient.

    In the value only, C is divided by `divisor`. So do the estimators, which follow scikit-learn. If there are several
    `ranks`, each of them calls the function, and evaluates its own examples.
    """
    all_ranks = ranks or Ranks()

    def objective(theta: Vector) -> tuple[float, Vector]:
        own_cost, own_nabla = all_ranks.together(batch, theta)
        cost, nabla = sum(all_ranks.gather(own_cost)), all_ranks.summed(own_nabla)
        w = batch.weights_in(theta)
        nabla[: len(w)] += decay * w
        return cost / divisor + 0.5 * decay * float(w @ w), nabla

    return objective


def train(
    plan: Plan,
    p: Parameters,
    examples: Examples,
    source: str,
    training_indices: npt.NDArray[np.int64],
    settings: Settings,
    *,
    validate: Validation | None = None,
    watcher: Watcher | None = None,
    callback: Callable[[Epoch], Any] | None = None,
    check_data: Callable[[], None] | None = None,
    ranks: Ranks | None = None,
) -> History:
    """Train the parameters in place on the examples with the given indices; return the history.

    An iteration of L-BFGS counts as an epoch. The parameters change only when an iteration has ended, also on Ctrl-C.
    If `callback` assigns other parameters, L-BFGS starts again from these. The other arguments are those of
    `loop.train`.

    If there are several `ranks`, SciPy runs on the first one. Each rank evaluates its own examples at the points that
    SciPy chooses, and takes over the parameters that an iteration has found.
    """
    ranks = ranks or Ranks()
    everything = len(training_indices) == int(examples.y.shape[0])
    part = ranks.part(len(training_indices))
    n = sum(ranks.gather(part.stop - part.start))
    indices = None if everything else training_indices
    batch = ranks.one_per_node_first(lambda: FullBatch(plan, examples, source, indices, part, n))
    run = _Run(plan, p, batch, settings, validate, watcher or Watcher(), callback, check_data or (lambda: None), ranks)
    while run.search():
        pass
    if run.best is not None:
        put_tensors("", run.best.tensors, p, plan)
    return run.history


class _Run:
    """A training run. It consists of one search, and of one more for each time that the callback assigns parameters."""

    def __init__(
        self, plan: Plan, p: Parameters, batch: FullBatch, settings: Settings, validate: Validation | None,
        watcher: Watcher, callback: Callable[[Epoch], Any] | None, check_data: Callable[[], None], ranks: Ranks,
    ) -> None:  # fmt: skip
        self._plan, self._p, self._batch, self._settings, self._ranks = plan, p, batch, settings, ranks
        self._validate, self._watcher, self._callback, self._check_data = validate, watcher, callback, check_data
        self._decay = settings.lmbda / batch.n
        self._objective = objective_of(batch, self._decay, ranks=ranks)
        self.history = History()
        self.best: Best | None = None

    def search(self) -> bool:
        """Search from the present parameters. Return whether to search again, from parameters that were assigned."""
        self._assigned = self._stopped = False
        with self._ranks.agreement():
            self._check_data()
        self._epoch_began = time.perf_counter()
        value, status = self._ranks.led_by_first(self._minimize, self._objective, self._finish_epoch)
        self._check_finite(value)
        if status == _FAILED and not self._stopped and self._ranks.first:
            epoch = len(self.history.cost) + 1
            self._watcher.warned(f"training stopped in epoch {epoch}: the line search of L-BFGS found no lower cost")
        return self._assigned and len(self.history.cost) < self._settings.epochs

    def _minimize(self, objective: Objective, finished: Callable[[Vector, float], bool]) -> tuple[float, int]:
        """Let SciPy search from the present parameters; return the value that it has reached, and its status."""
        remaining = self._settings.epochs - len(self.history.cost)
        found = minimize(objective, pack(self._p, self._plan), iterations=remaining, finished=finished)
        return float(found.fun), int(found.status)

    def _finish_epoch(self, theta: Vector, value: float) -> bool:
        """Take over the parameters that an iteration has found; return whether to end the search."""
        ranks, n, number = self._ranks, self._batch.n, len(self.history.cost) + 1
        seconds = max(ranks.gather(time.perf_counter() - self._epoch_began))
        self._check_finite(value)
        cost = ranks.from_first(value - self._l2_term(theta))
        with uninterrupted():
            unpack(theta, self._p, self._plan)
        with ranks.agreement():
            self._check_data()
        watched, accuracy = self._validate() if self._validate else (None, None)
        epoch = Epoch(number, self._settings.epochs, cost, watched, accuracy, seconds, n / seconds)
        with uninterrupted():
            self.history.append(epoch)
            if self._settings.patience is not None:
                self.best = better(self.best, epoch, self._p, self._plan)
                self.history.best_epoch = None if self.best is None else self.best.epoch
        self._watcher.advanced(n)
        self._watcher.finished(epoch)
        self._stopped = has_run_out(self._settings.patience, self.best, number)
        answer = ranks.together(self._callback or (lambda epoch: None), epoch)
        if any(ranks.gather(is_true(answer))):
            self._stopped = True
        elif self._callback is not None and not self._stopped:
            found = self._batch.rounded(theta)
            self._assigned = self._stopped = not np.array_equal(pack(self._p, self._plan), found)
        check_parameters(ranks, self._p, self._plan, number)
        self._epoch_began = time.perf_counter()
        return self._stopped

    def _l2_term(self, theta: Vector) -> float:
        w = self._batch.weights_in(theta)
        return 0.5 * self._decay * float(w @ w)

    def _check_finite(self, value: float) -> None:
        with self._ranks.agreement():
            if not math.isfinite(value):
                raise DivergedError(
                    f"the cost is not finite in epoch {len(self.history.cost) + 1}; scale the inputs to [0, 1], or "
                    "start with smaller weights"
                )
