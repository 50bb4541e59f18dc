"""What an estimator keeps of its optimizer between calls of `partial_fit`."""

import math
from typing import Any

from fastbp.estimators.epochs import EpochTrainer, OptimizerSnapshot
from fastbp.optimizers import SGD, Adam, Optimizer

_SMALLEST_ETA = 1e-6  # learning_rate="adaptive" stops when η is this small, as in scikit-learn


class SolverState:
    """The optimizer of a fit, its learning rate, and its moments after the last epoch.

    The attributes `learning_rate_init`, `learning_rate`, `lr_schedule` and `power_t` have the names and the meaning of
    scikit-learn's optimizers. They can be changed between calls of `partial_fit`. `lr_schedule` is None for the solver
    "adam", which has no schedule. As in scikit-learn, `partial_fit` uses the settings of the first call.

    `trainer` is the trainer of the last call of `partial_fit`, with its memory. Copies and pickles do not have it.
    """

    trainer: EpochTrainer | None = None

    def __init__(
        self, optimizer: Optimizer, learning_rate_init: float, lr_schedule: str | None, power_t: float
    ) -> None:
        self.optimizer, self.lr_schedule, self.power_t = optimizer, lr_schedule, power_t
        self.learning_rate_init, self.learning_rate = learning_rate_init, float(learning_rate_init)
        self.snapshot: OptimizerSnapshot | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "trainer"}

    @property
    def eta(self) -> float:
        """The learning rate η of the next epoch."""
        return float(self.learning_rate_init) if self.lr_schedule is None else self.learning_rate

    def epoch_ended(self, t: int, steps: int) -> None:
        """Update the learning rate. `t` is the number of examples so far, and `steps` the number of steps."""
        if self.lr_schedule == "invscaling":
            self.learning_rate = float(self.learning_rate_init) / (t + 1) ** self.power_t
        elif self.lr_schedule is None and isinstance(self.optimizer, Adam):
            adam, eta = self.optimizer, float(self.learning_rate_init)
            self.learning_rate = eta * math.sqrt(1.0 - adam.beta_2**steps) / (1.0 - adam.beta_1**steps)

    def should_stop(self, reason: str, verbose: Any) -> bool:
        """Return whether to stop for the given reason. "adaptive" divides η by 5 first, until η is small."""
        stops = self.lr_schedule != "adaptive" or self.learning_rate <= _SMALLEST_ETA
        if stops:
            action = "Stopping." if self.lr_schedule != "adaptive" else "Learning rate too small. Stopping."
        else:
            self.learning_rate /= 5.0
            action = f"Setting learning rate to {self.learning_rate:f}"
        if verbose:
            print(f"{reason} {action}")
        return stops


def new_solver_state(estimator: Any) -> SolverState:
    """Return the state of a new optimizer with the parameters of an estimator."""
    solver, eta, power_t = estimator.solver, estimator.learning_rate_init, estimator.power_t
    if solver == "adam":
        return SolverState(Adam(estimator.beta_1, estimator.beta_2, estimator.epsilon), eta, None, power_t)
    optimizer = _sgd(estimator.momentum, bool(estimator.nesterovs_momentum)) if solver == "sgd" else solver
    return SolverState(optimizer, eta, estimator.learning_rate, power_t)


def _sgd(momentum: float, nesterov: bool) -> Optimizer:
    """Return gradient descent with momentum. Unlike in `SGD`, the momentum may be 1."""
    if momentum < 1.0:
        return SGD(momentum, nesterov=nesterov)
    formula = SGD(0.5, nesterov=nesterov).formula
    return Optimizer("sgd", formula, state=["v"], constants={"mu": 1.0})
