"""The epochs in one fit of an estimator, and the rules for ending training."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastbp.errors import DivergedError, InputError
from fastbp.estimators.epochs import Dataset, EpochTrainer, Indices, coefs_and_intercepts, outputs
from fastbp.estimators.from_scikit_learn import warn
from fastbp.estimators.solver_state import SolverState, new_solver_state
from fastbp.operations import Plan
from fastbp.training.dropout import dropout_rates

Array = npt.NDArray[Any]


class TrainingLoop:
    """One fit of an estimator. If the estimator's `shuffle` is True, each epoch has a new random order of the examples.

    Losses and scores are written to the estimator's attributes. Training starts from the given coefs and intercepts.
    """

    def __init__(
        self, estimator: Any, plan: Plan, coefs: list[Array], intercepts: list[Array], dataset: Dataset,
        rng: np.random.RandomState, *, partial: bool,
    ) -> None:  # fmt: skip
        self._estimator, self._plan, self._rng, self._partial = estimator, plan, rng, partial
        if not partial or not hasattr(estimator, "_optimizer"):
            estimator._optimizer = new_solver_state(estimator)
        self._order, self._held_out = _split(estimator, dataset, rng)
        _check_weights(dataset, self._order, self._held_out)
        m, n, solver = _mini_batch_size(estimator.batch_size, len(self._order)), len(self._order), self._solver
        made_for = (plan, dataset, m, n, solver.optimizer, dropout_rates(estimator.dropout, plan.sizes))
        kept, solver.trainer = solver.trainer, None
        if kept is None or not kept.continues(solver.snapshot, *made_for):
            kept = EpochTrainer(*made_for)
        self._trainer, self._p = kept, kept.p
        kept.start(
            coefs, intercepts, dataset, solver.snapshot, rng, alpha=estimator.alpha, l2_scale=estimator._loss_divisor
        )

    @property
    def _solver(self) -> SolverState:
        solver: SolverState = self._estimator._optimizer
        return solver

    def run(self, epochs: int) -> tuple[list[Array], list[Array]]:
        """Train for at most `epochs` epochs, and return the coefs and intercepts.

        With early stopping, the returned coefs and intercepts are those of the best epoch. Ctrl-C ends training with a
        warning, as in scikit-learn. Raises `DivergedError` if a returned number is not finite.
        """
        estimator = self._estimator
        estimator.n_iter_ = 0
        # If no epoch is better than those of earlier fits, the parameters after the last epoch are returned, as in
        # scikit-learn. Only a fit that starts from new random parameters may return its initial ones.
        stopping_early = self._held_out is not None
        best = coefs_and_intercepts(self._p, self._plan) if stopping_early and not estimator.loss_curve_ else None
        try:
            while estimator.n_iter_ < epochs:
                self._run_epoch()
                if self._improved() and stopping_early:
                    best = coefs_and_intercepts(self._p, self._plan)
                self._solver.epoch_ended(estimator.t_, self._trainer.steps)
                if self._should_stop():
                    break
                if not stopping_early and not math.isfinite(estimator.loss_):
                    check_finite(*coefs_and_intercepts(self._p, self._plan))  # they would never be finite again
            else:
                if not self._partial:
                    reached = f"Maximum iterations ({epochs}) reached and the optimization hasn't converged yet."
                    warn(f"Stochastic Optimizer: {reached}", ConvergenceWarning)
        except KeyboardInterrupt:
            warn("Training interrupted by user.")
        self._solver.snapshot = self._trainer.end()
        found = best or coefs_and_intercepts(self._p, self._plan)
        check_finite(*found)
        if self._partial:
            self._solver.trainer = self._trainer  # the next call of `partial_fit` is faster with it
        return found

    def _run_epoch(self) -> None:
        """Train for one epoch and record its loss."""
        estimator, n = self._estimator, len(self._order)
        if estimator.shuffle:
            positions = np.arange(n)
            self._rng.shuffle(positions)  # the numbers that scikit-learn draws
            self._order = self._order[positions]
        cost = self._trainer.run_epoch(self._order, self._solver.eta)
        estimator.loss_ = cost / (n * estimator._loss_divisor)
        estimator.loss_curve_.append(estimator.loss_)
        estimator.n_iter_ += 1
        estimator.t_ += n
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")

    def _improved(self) -> bool:
        """Return whether this epoch is the best so far, and count the consecutive epochs without improvement.

        Only an improvement of at least `tol` resets the count. So does a loss or a score that is NaN, as in
        scikit-learn.
        """
        estimator, held_out = self._estimator, self._held_out
        if held_out is None:
            score, best = -estimator.loss_, -estimator.best_loss_
            if score > best:
                estimator.best_loss_ = estimator.loss_
        else:
            score = estimator._validation_score(held_out.y, outputs(self._plan, self._p, held_out.x), held_out.w)
            best = estimator.best_validation_score_
            estimator.validation_scores_.append(score)
            if estimator.verbose:
                print(f"Validation score: {score:f}")
            if score > best:
                estimator.best_validation_score_ = score
        waited = estimator._no_improvement_count
        estimator._no_improvement_count = waited + 1 if score < best + estimator.tol else 0
        return bool(score > best)

    def _should_stop(self) -> bool:
        """Return whether to stop because too many consecutive epochs have brought no improvement."""
        estimator = self._estimator
        if estimator._no_improvement_count <= estimator.n_iter_no_change:
            return False
        watched = "Training loss" if self._held_out is None else "Validation score"
        reason = f"{watched} did not improve more than tol={estimator.tol:f}"
        if self._solver.should_stop(
            f"{reason} for {estimator.n_iter_no_change:d} consecutive epochs.", estimator.verbose
        ):
            return True
        estimator._no_improvement_count = 0
        return False


def check_finite(coefs: list[Array], intercepts: list[Array]) -> None:
    """Raise `DivergedError` unless all parameters are finite."""
    with np.errstate(all="ignore"):
        if all(math.isfinite(np.sum(a)) or np.isfinite(a).all() for a in (*coefs, *intercepts)):
            return
    raise DivergedError(
        "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
        "preprocessed. Scale X, for example with StandardScaler, or use a smaller learning_rate_init."
    )


def _mini_batch_size(batch_size: Any, n: int) -> int:
    if isinstance(batch_size, str):  # "auto"
        return min(200, n)
    if batch_size > n:
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    return int(min(batch_size, n))


def _check_weights(dataset: Dataset, training: Indices, held_out: Dataset | None) -> None:
    """Raise `InputError` if the weights of one part of the examples are all 0, or if their sum is not finite."""
    if dataset.w is None:
        return
    for part, w in (("training", dataset.w[training]), ("held-out", None if held_out is None else held_out.w)):
        if w is not None and not w.any():
            raise InputError(f"sample_weight must not be 0 for all {part} examples, got only zeros")
    with np.errstate(over="ignore"):
        if not math.isfinite(np.sum(np.abs(dataset.w))):
            raise InputError("sample_weight must have a finite sum, got weights whose sum overflows")


def _split(estimator: Any, dataset: Dataset, rng: np.random.RandomState) -> tuple[Indices, Dataset | None]:
    """Split the examples. Return the indices of the training examples, and the held-out examples themselves.

    Without early stopping, all examples are training examples, and the second value is None.
    """
    everything = np.arange(dataset.x.shape[0])
    if not estimator.early_stopping:
        return everything, None
    labels, fraction = estimator._stratify_labels(dataset.y), estimator.validation_fraction
    chosen, held_out = train_test_split(everything, random_state=rng, test_size=fraction, stratify=labels)
    if len(held_out) < 2:
        raise InputError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    return chosen, dataset.take(held_out)
