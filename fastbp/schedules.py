"""The learning rate over the epochs: constant, in steps, along a cosine, or by a function of your own."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastbp.errors import InputError, brief, finite_number, whole_number

Schedule = Callable[[int, int], float]
"""Takes the number of an epoch, from 1, and of all epochs; returns its η."""


@dataclass(frozen=True)
class Constant:
    """η, every epoch the same.

    >>> Constant(3.0)(epoch=5, epochs=10)
    3.0
    """

    eta: float

    def __post_init__(self) -> None:
        finite_number("eta", self.eta, positive=True)

    def __call__(self, epoch: int, epochs: int) -> float:
        """Return η of an epoch."""
        return float(self.eta)


@dataclass(frozen=True)
class Step:
    """η times `factor` to the number of times that `every` epochs have passed: η f^⌊(epoch − 1)/every⌋.

    >>> [Step(1.0, every=2)(epoch, epochs=5) for epoch in (1, 2, 3, 4, 5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    eta: float
    every: int = 10
    factor: float = 0.5

    def __post_init__(self) -> None:
        finite_number("eta", self.eta, positive=True)
        whole_number("every", self.every)
        finite_number("factor", self.factor, positive=True)

    def __call__(self, epoch: int, epochs: int) -> float:
        """Return η of an epoch."""
        return float(self.eta * self.factor ** ((epoch - 1) // self.every))


@dataclass(frozen=True)
class Cosine:
    """From η in the first epoch down half a cosine to η/100 in the last: after SGDR, Loshchilov and Hutter 2017, (5).

    >>> [round(Cosine(1.0)(epoch, epochs=3), 3) for epoch in (1, 2, 3)]
    [1.0, 0.505, 0.01]
    """

    eta: float

    def __post_init__(self) -> None:
        finite_number("eta", self.eta, positive=True)

    def __call__(self, epoch: int, epochs: int) -> float:
        """Return η of an epoch."""
        least = self.eta / 100
        way = (epoch - 1) / max(1, epochs - 1)
        return float(least + (self.eta - least) * (1 + math.cos(math.pi * way)) / 2)


def schedule_of(eta: Any) -> Schedule:
    """Return a schedule as it is, or the constant one of a number; raises `InputError` for anything else.

    >>> schedule_of(3)
    Constant(eta=3.0)
    """
    if isinstance(eta, type):
        raise InputError(f"eta is the class {eta.__name__}; wanted is a schedule made of it, like {eta.__name__}(3.0)")
    if callable(eta):
        return eta  # type: ignore[no-any-return]
    return Constant(finite_number("eta", eta, positive=True))


def eta_of(schedule: Schedule, epoch: int, epochs: int) -> float:
    """Return η of an epoch, or raise `InputError` if the schedule gives no positive number."""
    try:
        return finite_number("eta", schedule(epoch, epochs), positive=True)
    except InputError as error:
        raise InputError(f"{error}; the schedule {brief(schedule)} gave it for epoch {epoch}") from None
