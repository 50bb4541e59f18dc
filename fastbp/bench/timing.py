"""Time work on a backend, and summarize repeated measurements by their median and quartiles.

The benchmarks in `benchmarks/` use this file too. They compare times as ratios: things to be compared are timed in
turn, after a pause in which the threads of the others fall asleep, and a ratio is computed within each round.
"""

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastbp.operations import Backend

PAUSE = 0.1  # seconds to wait before a measurement, until idle threads stop polling (in OpenBLAS, they poll for 0.05 s)

Clock = Callable[[], float]
"""A function that returns the seconds since a fixed moment."""


Task = Callable[[], float]
"""A function that does some work and returns the seconds that it took."""

_BUSY = 0.5  # load average above which other programs probably disturb a measurement


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

    def meets(self, upper: float | None = None, lower: float | None = None) -> bool:
        """Return whether a bound is met: whether the better quartile meets it.

        >>> Spread(1.1, 1.0, 1.2, 5).meets(upper=1.05), Spread(1.1, 1.0, 1.2, 5).meets(lower=1.3)
        (True, False)
        """
        return (upper is None or self.low <= upper) and (lower is None or self.high >= lower)


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


def in_turn(
    tasks: Mapping[str, Task], rounds: Iterable[Any], failed: Callable[[str, Exception], None], pause: float = PAUSE
) -> Iterator[dict[str, float]]:
    """Yield the seconds of each task, round by round, so that a change in the machine's speed affects all tasks alike.

    There is one round for each item of `rounds`. If a task raises an exception, `failed` is called, and the task is
    left out from then on. `pause` is the number of seconds to wait before each task.

    >>> tasks = {"a": lambda: 1.0, "b": lambda: 1 / 0}
    >>> list(in_turn(tasks, range(2), failed=print))
    b division by zero
    [{'a': 1.0}, {'a': 1.0}]
    """
    left = dict(tasks)
    for _ in rounds:
        figures = {}
        for name, task in list(left.items()):
            gc.collect()
            time.sleep(pause)
            try:
                figures[name] = task()
            except Exception as error:  # other libraries may raise their own types of exceptions
                failed(name, error)
                del left[name]
        yield figures


def ratio(rounds: Sequence[Mapping[str, float]], numerator: str, denominator: str) -> Spread:
    """Return the ratio of the seconds of two tasks, computed within each round.

    >>> ratio([{"a": 2.0, "b": 1.0}, {"a": 6.0, "b": 3.0}], "a", "b").median
    2.0
    """
    return spread([figures[numerator] / figures[denominator] for figures in rounds])


def warn_if_busy() -> None:
    """Print a warning if other programs use the processors."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > _BUSY:
        print(f"warning: the machine is busy (load average {load:.1f}); the spreads will be wide")
