"""The results that training records after each epoch."""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.errors import plural


class Epoch(NamedTuple):
    """The results of one epoch.

    Attributes
    ----------
    number, epochs : int
        The number of this epoch, counted from 1, and the total number of epochs.
    cost : float
        The average cost of the examples, without the L2 term. The cost of each mini-batch is computed just before its
        update.
    validation_cost, validation_accuracy : float or None
        Cost and fraction of correct predictions on the validation data. None without validation data; the accuracy is
        also None if the targets are not classes.
    seconds : float
        The time spent on training, without validation and checkpoints.
    examples_per_second : float
        The number of examples per second of training.

    Notes
    -----
    `str(epoch)` is one line of text. It contains an estimate of the time left, computed from `seconds`. The progress
    lines of a training run contain a different estimate, computed from the time of whole epochs with validation and
    checkpoints.
    """

    number: int
    epochs: int
    cost: float
    validation_cost: float | None
    validation_accuracy: float | None
    seconds: float
    examples_per_second: float

    def __str__(self) -> str:
        parts = [f"epoch {self.number:{len(str(self.epochs))}}/{self.epochs}", f"cost {self.cost:.4f}"]
        if self.validation_accuracy is not None:
            parts.append(f"validation {self.validation_accuracy:7.2%}")
        elif self.validation_cost is not None:
            parts.append(f"validation cost {self.validation_cost:.4f}")
        parts.append(f"{self.examples_per_second:,.0f} examples/s")
        if 1 < self.number < self.epochs:  # the first epoch may have waited for the compiler
            parts.append(f"{(self.epochs - self.number) * self.seconds:.0f} s left")
        return "  ".join(parts)


@dataclass(repr=False)
class History:
    """The results of all epochs of a training run.

    Attributes
    ----------
    cost, validation_cost, validation_accuracy, seconds : list of float
        One entry per epoch, as in `Epoch`. A list is empty if there was nothing to record.
    best_epoch : int or None
        The number, counted from 1, of the epoch whose parameters early stopping restored. None without early stopping.

    Examples
    --------
    >>> History(cost=[0.5, 0.25]).cost[-1]
    0.25
    >>> History(cost=[0.5, 0.25])
    <History: 2 epochs, cost 0.25>
    """

    cost: list[float] = field(default_factory=list)
    validation_cost: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None

    def __repr__(self) -> str:
        parts = [plural(len(self.cost), "epoch")]
        names = ("cost", "validation_cost", "validation_accuracy")
        parts += [f"{name} {values[-1]:.4g}" for name in names if (values := getattr(self, name))]
        if self.best_epoch is not None:
            parts.append(f"best epoch {self.best_epoch}")
        return f"<History: {', '.join(parts)}>"

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row per epoch.

        Returns
        -------
        pandas.DataFrame
            One column for each attribute with values: cost, validation_cost, validation_accuracy and seconds. The index
            is the number of the epoch, counted from 1.

        Examples
        --------
        >>> History(cost=[0.5, 0.25], seconds=[1.0, 1.0]).to_frame().loc[2, "cost"].item()
        0.25
        """
        from fastbp.plots.frames import history_frame

        return history_frame(self)

    def plot(self, quantity: Literal["cost", "accuracy"] = "cost", *, ax: Any = None) -> Any:
        """Draw the costs or the validation accuracy over the epochs; see `fastbp.plots.learning_curves`."""
        from fastbp.plots.curves import learning_curves

        return learning_curves(self, quantity, ax=ax)

    def append(self, epoch: Epoch) -> None:
        """Add the results of an epoch."""
        self.cost.append(epoch.cost)
        self.seconds.append(epoch.seconds)
        if epoch.validation_cost is not None:
            self.validation_cost.append(epoch.validation_cost)
        if epoch.validation_accuracy is not None:
            self.validation_accuracy.append(epoch.validation_accuracy)


def r_squared(predicted: npt.NDArray[Any], values: npt.NDArray[Any]) -> float:
    """Return R² = 1 − Σ (y − a)² / Σ (y − ȳ)² of predictions of shape (n_L, m), averaged over the n_L outputs.

    If all values of an output are equal, R² of this output is 1 for exact predictions, and otherwise 0.

    >>> r_squared(np.array([[2.0, 4.0, 6.0]]), np.array([[2.0, 4.0, 6.0]]))
    1.0
    """
    values = np.asarray(values, np.float64).reshape(predicted.shape)
    residual = ((values - predicted) ** 2).sum(axis=-1)
    spread = ((values - values.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    exact = np.where(residual == 0.0, 1.0, 0.0)
    return float(np.mean(np.where(spread > 0.0, 1.0 - residual / np.where(spread > 0.0, spread, 1.0), exact)))
