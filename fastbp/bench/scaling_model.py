"""A model of the time of a training step on several ranks, from a few measured constants.

A step on R ranks takes

    T(R) = f + c · m/R + S(R),    S(R) = 2 a log₂ R + 2 (R − 1)/R · B/b.

m is the mini-batch size, c the seconds per column, and f the seconds of a step that do not depend on the number of
columns, such as reading W. S is the sum over the ranks: B bytes are reduced and sent back (Rabenseifner's algorithm), a
is the latency of a message, and b the bandwidth of a link in bytes per second.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EFFICIENT = 0.5
"""Training on R ranks pays as long as it is at least this part of R times as fast as on one rank."""


@dataclass(frozen=True)
class Link:
    """A connection between ranks: the latency of a message in seconds, and the bandwidth in bytes per second."""

    name: str
    latency: float
    bandwidth: float

    def sum_seconds(self, ranks: int, size: float) -> float:
        """Return the seconds S(R) that the sum of `size` bytes over the ranks takes.

        >>> Link("1 GB/s", 1e-6, 1e9).sum_seconds(2, 1e6)
        0.001002
        """
        return 2 * self.latency * math.log2(ranks) + 2 * (ranks - 1) / ranks * size / self.bandwidth


# Typical values for large messages, not measured here: a network of 10 Gbit/s with TCP, InfiniBand HDR with 200 Gbit/s,
# and the NVLink of an H100 with NCCL.
LINKS = (
    Link("10 GbE", 25e-6, 1.1e9),
    Link("InfiniBand HDR", 2e-6, 23e9),
    Link("NVLink", 8e-6, 350e9),
)


@dataclass(frozen=True)
class Step:
    """The constants of a step on one rank: f and c in seconds, and the B bytes that are summed in each step."""

    fixed: float
    per_column: float
    size: int

    def seconds(self, m: int, ranks: int, link: Link) -> float:
        """Return the seconds T(R) of a step with m columns on all ranks together."""
        summed = link.sum_seconds(ranks, self.size) if ranks > 1 else 0.0
        return self.fixed + self.per_column * m / ranks + summed

    def speedup(self, m: int, ranks: int, link: Link) -> float:
        """Return how many times as fast as one rank the ranks are."""
        return self.seconds(m, 1, link) / self.seconds(m, ranks, link)

    def least_columns(self, ranks: int, link: Link) -> int:
        """Return the smallest mini-batch size with which training on the ranks pays: a power of two times `ranks`.

        It pays if the speedup is at least `EFFICIENT` times the number of ranks.

        >>> Step(0.0, 1e-4, 10**6).least_columns(4, Link("1 GB/s", 0.0, 1e9))
        64
        """
        m = ranks
        while self.speedup(m, ranks, link) < EFFICIENT * ranks and m < 2**40:
            m *= 2
        return m


def fit_step(columns: Sequence[int], seconds: Sequence[float], size: int) -> Step:
    """Return the constants of a step from the seconds measured on one rank with several numbers of columns.

    Relative errors are squared and summed, so that short steps count as much as long ones.

    >>> step = fit_step([1, 2, 4], [3.0, 5.0, 9.0], 8)
    >>> round(step.fixed, 6), round(step.per_column, 6)
    (1.0, 2.0)
    """
    t = np.array(seconds)
    terms = np.stack([np.ones(len(t)), np.array(columns, float)], axis=1) / t[:, None]
    (fixed, slope), *_ = np.linalg.lstsq(terms, np.ones(len(t)))
    if fixed < 0.0:
        fixed, slope = 0.0, float(np.sum(terms[:, 1]) / np.sum(terms[:, 1] ** 2))
    return Step(float(fixed), float(slope), size)


def fit_link(name: str, ranks: int, small_seconds: float, seconds: float, size: int) -> Link:
    """Return the link for which the sum of a few bytes, and of `size` bytes, takes the measured seconds.

    >>> link = fit_link("here", 2, 4e-6, 1.004e-3, 10**6)
    >>> link.latency, round(link.bandwidth)
    (2e-06, 1000000000)
    """
    latency = small_seconds / (2 * math.log2(ranks))
    return Link(name, latency, 2 * (ranks - 1) / ranks * size / max(seconds - small_seconds, 1e-9))
