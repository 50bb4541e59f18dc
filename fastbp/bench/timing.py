"""Time work on a backend, and summarize repeated measurements by their median and quartiles."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastbp.operations import Backend

PAUSE = 0.1  # seconds to wait before a measurement, until idle threads stop polling (in OpenBLAS, they poll for 0.05 s)

Clock = Callable[[], float]
"""A function that returns the seconds since a fixed moment."""


@dataclass(frozen=True)
class Spread:
    """The median of repeated measurements and their lower and upper quartiles. Times are in seconds."""

    median: float
    low: float
    high: float
    repeats: int

    def below(self, other: "Spread") -> bool:
        """Return whether the upper quartile of these times is below the lower quartile of the other times.

        If it is, these times are clearly smaller.

        >>> Spread(1.0, 0.9, 1.1, 5).below(Spread(1.3, 1.2, 1.4, 5))
        True
        """
        return self.high < other.low


def spread(samples: Sequence[float]) -> Spread:
    """Return the median and the quartiles of the samples.

    >>> spread([4.0, 1.0, 2.0, 3.0, 10.0])
    Spread(median=3.0, low=2.0, high=4.0, repeats=5)
    """
    if len(samples) == 1:
        return Spread(samples[0], samples[0], samples[0], 1)
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(median, low, high, len(samples))


def timed(backend: Backend, clock: Clock, work: Callable[[], Any]) -> float:
    """Return the seconds that `work` takes.

    Operations that are already queued on the backend are completed first, and their time does not count. The time of
    all operations queued by `work` counts.

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
