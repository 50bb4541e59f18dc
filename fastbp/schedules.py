"""Learning-rate schedules: constant, step decay, cosine decay, or your own function."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastbp.errors import InputError, brief, finite_number, whole_number

Schedule = Callable[[int, int], float]
"""A function that returns η for an epoch.

Its arguments are the number of the epoch, counted from 1, and the total number of epochs.
"""


@dataclass(frozen=True)
class Constant:
    """The same η in every epoch.

    Parameters
    ----------
    eta : float
        η, positive.

    Examples
    --------
    >>> Constant(3.0)(epoch=5, epochs=10)
    3.0
    """

    eta: float

    def __post_init__(self) -> None:
        finite_number("eta", self.eta, positive=True)

    def __call__(self, epoch: int, epochs: int) -> float:
        """Return η for an epoch."""
        return float(self.eta)


@dataclass(frozen=True)
class Step:
    """Step decay: after every k epochs, η is multiplied by f. In an epoch, it is therefore η f^⌊(epoch − 1)/k⌋.

    Parameters
    ----------
    eta : float
        η of the first k epochs, positive.
    every : int
        k, the number of consecutive epochs with the same η.
    factor : float
        f, positive.

    Examples
    --------
    >>> [Step(1.0, every=2)(epoch, epochs=5) for epoch in (1, 2, 3, 4, 5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    eta: float
    every: int = 10
    factor: float = 0.5

    def __post_init__(self) -> None:
        finite_number("eta", self.eta, positive=True)
        whole_number("Step: the argument 'every'", self.every)
        finite_number("Step: the argument 'factor'", self.factor, positive=True)

    def __call__(self, epoch: int, epochs: int) -> float:
        """Return η for an epoch."""
        return float(self.eta * self.factor ** ((epoch - 1) // self.every))


@dataclass(frozen=True)
class Cosine:
    """Cosine decay, from η in the first epoch to η/100 in the last.

    Parameters
    ----------
    eta : float
        η of the first epoch, positive.

    References
    ----------
    Loshchilov and Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", equation (5).

    Examples
    --------
    >>> [round(Cosine(1.0)(epoch, epochs=3), 3) for epoch in (1, 2, 3)]
    [1.0, 0.505, 0.01]
    """

    eta: float

    def __post_init__(self) -> None:
        finite_number("eta", self.eta, positive=True)

    def __call__(self, epoch: int, epochs: int) -> float:
        """Return η for an epoch."""
        least = self.eta / 100
        way = (epoch - 1) / max(1, epochs - 1)
        return float(least + (self.eta - least) * (1 + math.cos(math.pi * way)) / 2)


def schedule_of(eta: Any) -> Schedule:
    """Return a constant schedule for a number; a schedule is returned unchanged.

    Raises `InputError` for anything else.

    >>> schedule_of(3)
    Constant(eta=3.0)
    """
    if isinstance(eta, type):
        raise InputError(f"eta must be a number or a schedule, got the class {eta.__name__}; pass {eta.__name__}(3.0)")
    if callable(eta):
        return eta  # type: ignore[no-any-return]
    return Constant(finite_number("eta", eta, positive=True))


def eta_of(schedule: Schedule, epoch: int, epochs: int) -> float:
    """Return η for an epoch; raise `InputError` if the schedule does not return a positive number."""
    try:
        return finite_number("eta", schedule(epoch, epochs), positive=True)
    except InputError as error:
        raise InputError(f"{error} from the schedule {brief(schedule)} in epoch {epoch}") from None
