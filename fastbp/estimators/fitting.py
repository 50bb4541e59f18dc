"""Epoch after epoch of an estimator's fit, and the rules by which it ends."""

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import shuffle

from fastbp.errors import DivergedError, InputError
from fastbp.estimators.epochs import Epochs, Examples, coefs_and_intercepts, outputs
from fastbp.operations import Parameters, Plan
from fastbp.optimizers import SGD, Adam, Optimizer

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
_SMALLEST_ETA = 1e-6  # at which learning_rate="adaptive" ends, as scikit-learn's does


class Loop:
    """One fit of an estimator: its examples, in an order that is drawn anew each epoch, and what is watched.

    The figures go into the estimator's attributes; parameters `p` are trained in place.
    """

    def __init__(
        self, estimator: Any, plan: Plan, p: Parameters, examples: Examples, rng: np.random.RandomState, *,
        partial: bool,
    ) -> None:  # fmt: skip
        self._estimator, self._plan, self._p, self._rng, self._partial = estimator, plan, p, rng, partial
        self._order, self._held = _split(estimator, examples, rng)
        self._m = _mini_batch_size(estimator.batch_size, len(self._order))
        with np.errstate(over="ignore"):  # an infinite mean is refused below
            scale = 1.0 if examples.w is None else float(examples.w[self._order].mean())
        if not math.isfinite(scale):
            raise InputError("sample_weight has an infinite sum; the sum of the weights must be finite")
        if scale == 0.0 or (self._held is not None and self._held.w is not None and not self._held.w.any()):
            raise InputError("sample_weight is zero for all examples to train on, or for all held out; wanted are some")
        if examples.w is not None:
            examples = Examples(examples.x, examples.y, examples.w / scale)
        self._alpha = estimator.alpha / scale
        memory = getattr(estimator, "_memory", None) if partial else None
        if memory is None:
            estimator._eta = float(estimator.learning_rate_init)
        self._epochs = Epochs(plan, p, examples, self._m, _optimizer(estimator), self._alpha, memory)
        self._squares = self._sum_of_squares()

    def run(self, epochs: int) -> tuple[list[Array], list[Array]]:
        """Train for so many epochs, or until it helps no more; return coefs and intercepts, the best if some are held.

        Ctrl-C ends training with a warning, as in scikit-learn. Raises `DivergedError`.
        """
        estimator = self._estimator
        estimator.n_iter_ = 0
        best = None if self._held is None else coefs_and_intercepts(self._p, self._plan)
        try:
            while estimator.n_iter_ < epochs:
                self._epoch()
                if self._improved() and best is not None:
                    best = coefs_and_intercepts(self._p, self._plan)
                if self._is_over():
                    break
            else:
                if not self._partial:
                    warnings.warn(
                        f"max_iter={epochs} epochs are over and training had not converged by tol={estimator.tol:g}",
                        ConvergenceWarning,
                        stacklevel=5,
                    )
        except KeyboardInterrupt:
            warnings.warn("training was interrupted, and ends with its last whole mini-batch", stacklevel=5)
        estimator._memory = self._epochs.memory()
        return best or coefs_and_intercepts(self._p, self._plan)

    def _epoch(self) -> None:
        """Train for an epoch and write its loss down."""
        estimator, n, before = self._estimator, len(self._order), self._squares
        if estimator.shuffle:
            self._order = shuffle(self._order, random_state=self._rng)
        try:
            cost = self._epochs.run(self._order, estimator._eta) / n
        except DivergedError:
            cost = math.nan  # to be said in the estimators' words
        self._squares = self._sum_of_squares()
        if not math.isfinite(cost + self._squares):
            raise DivergedError(
                f"the loss is no longer finite in epoch {estimator.n_iter_ + 1}: fit again with a smaller "
                f"learning_rate_init (now {estimator.learning_rate_init:g}), or with X scaled, by StandardScaler say"
            )
        count = math.ceil(n / self._m)
        squares = before + (self._squares - before) * (count - 1) / (2 * count)  # their mean, if they went straight
        estimator.loss_ = estimator._loss(cost) + 0.5 * self._alpha * squares * count / n
        estimator.loss_curve_.append(estimator.loss_)
        estimator.n_iter_ += 1
        estimator.t_ += n
        self._say(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        if estimator.solver == "sgd" and estimator.learning_rate == "invscaling":
            estimator._eta = estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t

    def _improved(self) -> bool:
        """Return whether this epoch is the best so far; count those in a row that are not better by `tol`."""
        estimator, held = self._estimator, self._held
        if held is None:
            figure, best = -estimator.loss_, -estimator.best_loss_
            estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_)
        else:
            figure = estimator._score_of(held.y, outputs(self._plan, self._p, held.x), held.w)
            best = estimator.best_validation_score_
            estimator.validation_scores_.append(figure)
            estimator.best_validation_score_ = max(best, figure)
            self._say(f"Validation score: {figure:f}")
        estimator._waited = estimator._waited + 1 if figure < best + estimator.tol else 0
        return bool(figure > best)

    def _is_over(self) -> bool:
        """Return whether there were too many epochs in a row without improvement, at the lowest η there may be."""
        estimator = self._estimator
        if estimator._waited <= estimator.n_iter_no_change:
            return False
        watched = "training loss" if self._held is None else "validation score"
        said = f"No better {watched} by tol={estimator.tol:g} in {estimator.n_iter_no_change} epochs"
        if estimator.solver == "sgd" and estimator.learning_rate == "adaptive" and estimator._eta > _SMALLEST_ETA:
            estimator._eta, estimator._waited = estimator._eta / 5.0, 0
            self._say(f"{said}: learning rate {estimator._eta:g}")
            return False
        self._say(f"{said}: stopping")
        return True

    def _sum_of_squares(self) -> float:
        """Return Σ ‖W‖²."""
        with np.errstate(all="ignore"):
            return sum(float(self._plan.backend.xp.sum(w * w)) for w in self._p.weights)

    def _say(self, line: str) -> None:
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
        warnings.warn(f"batch_size={batch_size} is more than the {n} examples: all of them are one batch", stacklevel=6)
    return int(min(batch_size, n))


def _split(estimator: Any, examples: Examples, rng: np.random.RandomState) -> tuple[Indices, Examples | None]:
    """Return the indices of the examples to train on, and the examples held out, if any."""
    n = examples.x.shape[0]
    everything, fraction = np.arange(n), estimator.validation_fraction
    if not estimator.early_stopping:
        return everything, None
    held_out = math.ceil(fraction * n)
    if not 2 <= held_out < n:
        raise InputError(f"validation_fraction is {fraction:g}, {held_out} of {n} examples; wanted are 2 to {n - 1}")
    groups = estimator._groups(examples.y)
    if groups is not None:
        sizes = np.unique(groups, return_counts=True)[1]
        if sizes.min() < 2 or len(sizes) > min(held_out, n - held_out):
            groups = None  # some class is too small to be in both parts
    chosen, held = train_test_split(everything, test_size=fraction, random_state=rng, stratify=groups)
    return chosen, examples.of(held)
