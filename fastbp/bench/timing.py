"""How a piece of work is timed: by its backend's clock, waited for, many times over; the median with its quartiles."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastbp.operations import Backend

Clock = Callable[[], float]
"""Returns seconds, from a moment of its own on."""


@dataclass(frozen=True)
class Spread:
    """The median of so many repeats, in seconds, and the quartiles, between which half of them lie."""

    median: float
    low: float
    high: float
    repeats: int

    def below(self, other: "Spread") -> bool:
        """Return whether this is less beyond the noise: its upper quartile below the other's lower.

        >>> Spread(1.0, 0.9, 1.1, 5).below(Spread(1.3, 1.2, 1.4, 5))
        True
        """
        return self.high < other.low


def spread(samples: Sequence[float]) -> Spread:
    """Return the median and the quartiles of samples.

    >>> spread([4.0, 1.0, 2.0, 3.0, 10.0])
    Spread(median=3.0, low=2.0, high=4.0, repeats=5)
    """
    if len(samples) == 1:
        return Spread(samples[0], samples[0], samples[0], 1)
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(median, low, high, len(samples))


def timed(backend: Backend, clock: Clock, work: Callable[[], Any]) -> float:
    """Return the seconds that work takes, whatever the backend had still to do done before, and all of its own after.

    >>> from fastbp import backends
    >>> ticks = iter([1.0, 3.5])
    >>> timed(backends.get("numpy-plain"), lambda: next(ticks), lambda: None)
    2.5
    """
    backend.synchronize()
    start = clock()
    work()
    backend.synchronize()
    return clock() - start
