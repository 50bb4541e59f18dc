"""Medians with their spread, of things that are timed in turn."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

PAUSE = 0.1  # seconds in which threads of what was timed before stop looking for work; those of OpenBLAS look for 0.05


class Spread(NamedTuple):
    """A median, and the quartiles around it.

    >>> Spread.of([3.0, 1.0, 2.0])
    Spread(median=2.0, low=1.5, high=2.5)
    >>> Spread.of([3.0])
    Spread(median=3.0, low=3.0, high=3.0)
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: list[float]) -> "Spread":
        if len(figures) == 1:
            return cls(*figures * 3)
        low, median, high = statistics.quantiles(figures, n=4, method="inclusive")
        return cls(median, low, high)


def in_turn(
    tasks: Mapping[str, Callable[[], float]], rounds: int, failed: Callable[[str, Exception], None]
) -> Iterator[dict[str, float]]:
    """Yield the seconds that each task says it took, round by round, so that a drift of the machine meets all alike.

    A task that raises is told to `failed`, and left out from then on.

    >>> tasks = {"a": lambda: 1.0, "b": lambda: 1 / 0}
    >>> list(in_turn(tasks, 2, failed=print))
    b division by zero
    [{'a': 1.0}, {'a': 1.0}]
    """
    left = dict(tasks)
    for _ in range(rounds):
        figures = {}
        for name, task in list(left.items()):
            gc.collect()
            time.sleep(PAUSE)
            try:
                figures[name] = task()
            except Exception as error:  # of another library's own kinds
                failed(name, error)
                del left[name]
        yield figures
