"""The epochs in one fit of an estimator, and the rules for ending training."""

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastbp.errors import DivergedError, InputError, plural
from fastbp.estimators.epochs import Dataset, EpochTrainer, Indices, coefs_and_intercepts, outputs
from fastbp.operations import Parameters, Plan
from fastbp.optimizers import SGD, Adam, Optimizer

Array = npt.NDArray[Any]
_SMALLEST_ETA = 1e-6  # learning_rate="adaptive" stops when η is this small, as in scikit-learn


class TrainingLoop:
    """One fit of an estimator. If the estimator's `shuffle` is True, each epoch has a new random order of the examples.

    Losses and scores are written to the estimator's attributes. The parameters `p` are trained in place.
    """

    def __init__(
        self, estimator: Any, plan: Plan, p: Parameters, dataset: Dataset, rng: np.random.RandomState, *,
        partial: bool,
    ) -> None:  # fmt: skip
        self._estimator, self._plan, self._p, self._rng, self._partial = estimator, plan, p, rng, partial
        self._order, self._held_out = _split(estimator, dataset, rng)
        self._m = _mini_batch_size(estimator.batch_size, len(self._order))
        scale = _mean_weight(dataset, self._order, self._held_out)
        if dataset.w is not None:
            dataset = dataset._replace(w=dataset.w / scale)
        self._alpha = estimator.alpha / scale
        snapshot = getattr(estimator, "_memory", None) if partial else None
        if snapshot is None:
            estimator._eta = float(estimator.learning_rate_init)
        self._trainer = EpochTrainer(plan, p, dataset, self._m, _optimizer(estimator), self._alpha, snapshot)
        self._squares = self._sum_of_squares()

    def run(self, epochs: int) -> tuple[list[Array], list[Array]]:
        """Train for at most `epochs` epochs, and return the coefs and intercepts.

        With early stopping, the returned coefs and intercepts are those of the best epoch. Ctrl-C ends training with a
        warning, as in scikit-learn. Raises `DivergedError` if the loss is no longer finite.
        """
        estimator = self._estimator
        estimator.n_iter_ = 0
        best = None if self._held_out is None else coefs_and_intercepts(self._p, self._plan)
        try:
            while estimator.n_iter_ < epochs:
                self._run_epoch()
                if self._improved() and best is not None:
                    best = coefs_and_intercepts(self._p, self._plan)
                if self._should_stop():
                    break
            else:
                if not self._partial:
                    warnings.warn(
                        f"training reached max_iter={epochs} epochs without converging (tol={estimator.tol:g})",
                        ConvergenceWarning,
                        stacklevel=5,
                    )
        except KeyboardInterrupt:
            warnings.warn("training was interrupted after a complete mini-batch", stacklevel=5)
        estimator._memory = self._trainer.snapshot()
        return best or coefs_and_intercepts(self._p, self._plan)

    def _run_epoch(self) -> None:
        """Train for one epoch and record its loss."""
        estimator, n, before = self._estimator, len(self._order), self._squares
        if estimator.shuffle:
            positions = np.arange(n)
            self._rng.shuffle(positions)  # the numbers that scikit-learn draws
            self._order = self._order[positions]
        try:
            cost = self._trainer.run_epoch(self._order, estimator._eta) / n
        except DivergedError:
            cost = math.nan  # an error is raised below, with a message that names the estimator's parameters
        self._squares = self._sum_of_squares()
        if not math.isfinite(cost + self._squares):
            raise DivergedError(
                f"the loss is no longer finite in epoch {estimator.n_iter_ + 1}; fit again with a smaller "
                f"learning_rate_init (now {estimator.learning_rate_init:g}), or scale X, for example with "
                "StandardScaler"
            )
        batches = math.ceil(n / self._m)
        # The mean of the values of ‖W‖² before each mini-batch, assuming that ‖W‖² changed linearly during the epoch.
        squares = before + (self._squares - before) * (batches - 1) / (2 * batches)
        estimator.loss_ = estimator._loss(cost) + 0.5 * self._alpha * squares * batches / n
        estimator.loss_curve_.append(estimator.loss_)
        estimator.n_iter_ += 1
        estimator.t_ += n
        self._print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        if estimator.solver == "sgd" and estimator.learning_rate == "invscaling":
            estimator._eta = estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t

    def _improved(self) -> bool:
        """Return whether this epoch is the best so far, and count the consecutive epochs without improvement.

        Only an improvement of at least `tol` resets the count.
        """
        estimator, held_out = self._estimator, self._held_out
        if held_out is None:
            score, best = -estimator.loss_, -estimator.best_loss_
            estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_)
        else:
            score = estimator._validation_score(held_out.y, outputs(self._plan, self._p, held_out.x), held_out.w)
            best = estimator.best_validation_score_
            estimator.validation_scores_.append(score)
            estimator.best_validation_score_ = max(best, score)
            self._print(f"Validation score: {score:f}")
        estimator._waited = estimator._waited + 1 if score < best + estimator.tol else 0
        return bool(score > best)

    def _should_stop(self) -> bool:
        """Return whether to stop because too many consecutive epochs have brought no improvement.

        With the learning rate "adaptive", training stops only if η is already small. Otherwise η is divided by 5, and
        training goes on.
        """
        estimator = self._estimator
        if estimator._waited <= estimator.n_iter_no_change:
            return False
        watched = "Training loss" if self._held_out is None else "Validation score"
        reason = f"{watched} did not improve by tol={estimator.tol:g} in {estimator.n_iter_no_change} epochs"
        if estimator.solver == "sgd" and estimator.learning_rate == "adaptive" and estimator._eta > _SMALLEST_ETA:
            estimator._eta, estimator._waited = estimator._eta / 5.0, 0
            self._print(f"{reason}; setting the learning rate to {estimator._eta:g}")
            return False
        self._print(f"{reason}; stopping")
        return True

    def _sum_of_squares(self) -> float:
        """Return Σ ‖W‖² over all layers."""
        with np.errstate(all="ignore"), self._plan.backend.device_context():
            return sum(float(self._plan.backend.xp.sum(w * w)) for w in self._p.weights)

    def _print(self, line: str) -> None:
        if self._estimator.verbose:
            print(line)


def _optimizer(estimator: Any) -> Optimizer:
    if estimator.solver == "sgd":
        return SGD(estimator.momentum, nesterov=bool(estimator.nesterovs_momentum))
    return Adam(estimator.beta_1, estimator.beta_2, estimator.epsilon)


def _mini_batch_size(batch_size: Any, n: int) -> int:
    if batch_size == "auto":
        return min(200, n)
    if batch_size > n:
        warnings.warn(
            f"batch_size={batch_size} is more than the {n} training examples; all of them form one mini-batch",
            stacklevel=6,
        )
    return int(min(batch_size, n))


def _mean_weight(dataset: Dataset, training: Indices, held_out: Dataset | None) -> float:
    """Return the mean weight of the training examples, or 1 if there are no weights.

    Raises `InputError` if the mean is infinite, if all training examples have weight 0, or if all held-out examples
    have weight 0.
    """
    if dataset.w is None:
        return 1.0
    with np.errstate(over="ignore"):
        mean = float(dataset.w[training].mean())
    if not math.isfinite(mean):
        raise InputError("sample_weight must have a finite sum, got weights whose sum overflows")
    if mean == 0.0:
        raise InputError("sample_weight must be positive for at least one training example, got only zeros")
    if held_out is not None and held_out.w is not None and not held_out.w.any():
        raise InputError("sample_weight must be positive for at least one held-out example, got only zeros")
    return mean


def _split(estimator: Any, dataset: Dataset, rng: np.random.RandomState) -> tuple[Indices, Dataset | None]:
    """Split the examples. Return the indices of the training examples, and the held-out examples themselves.

    Without early stopping, all examples are training examples, and the second value is None.
    """
    n = dataset.x.shape[0]
    everything, fraction = np.arange(n), estimator.validation_fraction
    if not estimator.early_stopping:
        return everything, None
    held_out = math.ceil(fraction * n)
    if not 2 <= held_out < n:
        given = f"{fraction:g}, which holds out {held_out}"
        raise InputError(f"validation_fraction must hold out 2 to {n - 1} of {plural(n, 'example')}, got {given}")
    labels = estimator._stratify_labels(dataset.y)
    if labels is not None:
        counts = np.unique(labels, return_counts=True)[1]
        if counts.min() < 2 or len(counts) > min(held_out, n - held_out):
            labels = None  # a class has too few examples for both parts
    chosen, held = train_test_split(everything, test_size=fraction, random_state=rng, stratify=labels)
    return chosen, dataset.take(held)
