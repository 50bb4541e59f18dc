"""What is recorded of each epoch of training."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Epoch(NamedTuple):
    """What is known after an epoch.

    `cost` is the average over the epoch of the cost of each mini-batch just before its update, without the L2 term;
    validation figures are None without validation data, `validation_accuracy` also where its targets are no classes.
    `seconds` is the time of training alone, from which `str` estimates the time left; progress lines also include
    validation and checkpoints.
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
        if 1 < self.number < self.epochs:  # the first may have waited for the compiler
            parts.append(f"{(self.epochs - self.number) * self.seconds:.0f} s left")
        return "  ".join(parts)


@dataclass
class History:
    """What was watched, a list each with one entry an epoch; empty where there was nothing to watch.

    `best_epoch` is the one, from 1, whose parameters early stopping kept, or None without.

    >>> History(cost=[0.5, 0.25]).cost[-1]
    0.25
    """

    cost: list[float] = field(default_factory=list)
    validation_cost: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None

    def append(self, epoch: Epoch) -> None:
        """Add the figures of an epoch."""
        self.cost.append(epoch.cost)
        self.seconds.append(epoch.seconds)
        if epoch.validation_cost is not None:
            self.validation_cost.append(epoch.validation_cost)
        if epoch.validation_accuracy is not None:
            self.validation_accuracy.append(epoch.validation_accuracy)
