"""Which examples of each mini-batch a rank computes. Ranks are processes that train one network together.

All functions here give the same numbers on every rank, so the ranks need not talk to each other.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


class Run(NamedTuple):
    """Consecutive mini-batches of which a rank has equally many examples.

    `first` is the number of the first mini-batch in the epoch, and `batches` the number of mini-batches. Each has m
    examples, and `columns` of them are this rank's. `start` is where the rank's examples begin in the rank's order of
    examples.
    """

    first: int
    batches: int
    m: int
    columns: int
    start: int


class Shares(NamedTuple):
    """A rank's part of an epoch: the number n of examples on all ranks, and runs of mini-batches in order.

    `own` has the positions of the rank's examples in the order of the epoch. It is None if each position is the rank's.
    """

    n: int
    runs: tuple[Run, ...]
    own: Indices | None = None

    def own_order(self, order: Indices) -> Indices:
        """Return the rank's part of an order of examples."""
        return order if self.own is None else order[self.own]

    def within(self, first: int, stop: int) -> Iterator[Run]:
        """Yield the runs of the mini-batches from number `first` up to and without number `stop`."""
        for run in self.runs:
            low, high = max(first, run.first), min(stop, run.first + run.batches)
            if low < high:
                yield run._replace(first=low, batches=high - low, start=run.start + (low - run.first) * run.columns)


def shares_of_columns(n: int, m: int, index: int = 0, size: int = 1) -> Shares:
    """Return the shares of a rank if every rank has all examples: the columns ⌊index m / size⌋ and following.

    A rank may have no columns of a last mini-batch that is shorter than m.

    >>> shares_of_columns(7, 3).runs
    (Run(first=0, batches=2, m=3, columns=3, start=0), Run(first=2, batches=1, m=1, columns=1, start=6))
    >>> shares_of_columns(7, 3, 1, 2).own
    array([1, 2, 4, 5, 6])
    """
    runs: list[Run] = []
    own, start = [], 0
    for first, count, examples in ((0, n // m, m), (n // m, 1, n % m)):
        if count and examples:
            low, high = index * examples // size, (index + 1) * examples // size
            runs.append(Run(first, count, examples, high - low, start))
            own.append((first * m + np.arange(count)[:, None] * examples + np.arange(low, high)).reshape(-1))
            start += count * (high - low)
    return Shares(n, tuple(runs), None if size == 1 else np.concatenate(own))


def shares_of_shards(counts: Sequence[int], m: int, index: int) -> Shares:
    """Return the shares of a rank if rank r has `counts[r]` examples of its own.

    In each mini-batch, the numbers of examples are in proportion to `counts`, up to rounding. Mini-batches in which
    every rank has the same numbers follow one another, because one call of compiled code can then compute many of them.

    >>> shares_of_shards([4, 8], 3, 0).runs
    (Run(first=0, batches=4, m=3, columns=1, start=0),)
    >>> shares_of_shards([3, 4], 2, 1).runs
    (Run(first=0, batches=3, m=2, columns=1, start=0), Run(first=3, batches=1, m=1, columns=1, start=3))
    """
    n = sum(counts)
    numbers = np.diff([_apportioned(min(t, n), counts) for t in range(0, n + m, m)], axis=0)
    full = numbers[: n // m]
    numbers = np.concatenate([full[np.lexsort(full.T)], numbers[n // m :]])
    columns = numbers[:, index].tolist()
    runs: list[Run] = []
    start = 0
    for batch, (count, examples) in enumerate(zip(columns, numbers.sum(axis=1).tolist(), strict=True)):
        if runs and (runs[-1].columns, runs[-1].m) == (count, examples):
            runs[-1] = runs[-1]._replace(batches=runs[-1].batches + 1)
        else:
            runs.append(Run(batch, 1, examples, count, start))
        start += count
    return Shares(n, tuple(runs))


def _apportioned(t: int, counts: Sequence[int]) -> npt.NDArray[Any]:
    """Return how many of the first t examples of an epoch are each rank's, by the method of Sainte-Laguë.

    The numbers do not decrease when t increases, and they are `counts` if t is the number of all examples.
    """
    sizes = np.array(counts)
    found = (2 * sizes * t + sum(counts)) // (2 * sum(counts))  # t counts / n, rounded
    while (missing := t - int(found.sum())) != 0:
        if missing > 0:
            found[np.argmin((found + 0.5) / sizes)] += 1
        else:
            found[len(counts) - 1 - np.argmax(((found - 0.5) / sizes)[::-1])] -= 1
    return found
