"""The grid of a benchmark: networks, mini-batch sizes, the number of repeats, and an estimate of the memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fastbp.bench.timing import PAUSE
from fastbp.errors import InputError, brief, whole_number

_DEEP = ((784, 1024, 1024, 10), (784, 2048, 2048, 2048, 10))
_WIDTHS = (30, 100, 300, 1024)


@dataclass(frozen=True)
class Point:
    """A point of the grid. It is a network with a mini-batch size m, and is measured on n examples."""

    sizes: tuple[int, ...]
    m: int
    n: int

    def __str__(self) -> str:
        return f"{name_of(self.sizes)} × {self.m}"


@dataclass(frozen=True)
class BenchSettings:
    """What to measure, and how often.

    Attributes
    ----------
    nets, mini_batch_sizes : tuple
        The grid. The user can replace it.
    epoch_flops : float
        Approximate number of floating-point operations in the products of one epoch. It determines the number of
        examples.
    max_examples : int
        Upper bound of the number of examples.
    seconds : float
        Seconds for all rounds at one point of the grid. In each round, every backend is timed.
    min_rounds, max_rounds : int
        Bounds of the number of rounds. They apply whatever time the rounds take.
    max_side : int
        Largest size of the square matrices. Their products give the peak rate of the machine.
    copy_bytes : int
        Size of an array in bytes. Copies of this array give the memory bandwidth.
    pause : float
        Seconds to wait before an epoch or a floor (the matrix products alone) is timed. Idle threads stop polling in
        this time.
    """

    nets: tuple[tuple[int, ...], ...]
    mini_batch_sizes: tuple[int, ...]
    epoch_flops: float
    max_examples: int
    seconds: float
    min_rounds: int
    max_rounds: int
    max_side: int = 8192
    copy_bytes: int = 2**27  # several times as large as the caches
    pause: float = 0.0


QUICK = BenchSettings(
    tuple((784, width, 10) for width in (30, 256, 1024)), (10, 100, 1000),
    epoch_flops=2e9, max_examples=10_000, seconds=1.0, min_rounds=3, max_rounds=9, pause=PAUSE,
)  # fmt: skip
FULL = BenchSettings(
    (*((784, width, 10) for width in _WIDTHS), *_DEEP), (10, 32, 100, 320, 1000, 3200),
    epoch_flops=4e10, max_examples=50_000, seconds=8.0, min_rounds=5, max_rounds=15, pause=PAUSE,
)  # fmt: skip


def parse_sizes(text: str) -> tuple[int, ...]:
    """Return the layer sizes in a text such as "784-30-10"; raises `InputError` if the text has another form.

    >>> parse_sizes("784-30-10")
    (784, 30, 10)
    """
    parts = text.split("-")
    if len(parts) < 2 or not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise InputError(f"--sizes must be two or more integers joined by '-', like 784-30-10, got {brief(text)}")
    return tuple(whole_number(f"--sizes {text}: layer {l}", int(part)) for l, part in enumerate(parts, 1))


def points(
    settings: BenchSettings, nets: Sequence[tuple[int, ...]] = (), mini_batch_sizes: Sequence[int] = ()
) -> list[Point]:
    """Return the points of the grid, smaller networks and mini-batches first.

    If `nets` or `mini_batch_sizes` are given, they replace those of the settings.
    """
    batch_sizes = [whole_number("--mini-batch-size", m) for m in mini_batch_sizes] or settings.mini_batch_sizes
    return [
        Point(sizes, m, _example_count(sizes, m, settings))
        for sizes in sorted(set(nets or settings.nets), key=flops_per_example)
        for m in sorted(set(batch_sizes))
    ]


def flops_per_example(sizes: Sequence[int]) -> int:
    """Return the number of floating-point operations in the matrix products for one training example.

    Each weight takes 2 operations in feedforward and 2 for its gradient. A weight outside the first layer takes 2 more
    in (BP2).

    >>> flops_per_example([784, 30, 10])  # 4 · 784 · 30 + 6 · 30 · 10
    95880
    """
    first, *others = (n * k for k, n in pairwise(sizes))
    return 4 * first + 6 * sum(others)


def bytes_of(point: Point, dtype: str) -> int:
    """Return an estimate of the memory that one backend needs for a point of the grid.

    The estimate counts the examples twice: as bytes for training, and as numbers for the floor (the matrix products
    alone). It counts the weights of training and of the floor. It counts a gradient with its temporary arrays, in the
    dtype of the run and in float64, because the two gradients are compared. Last, it counts z, `a`, δ and a temporary
    array of one mini-batch.
    """
    item, inputs = np.dtype(dtype).itemsize, point.sizes[0]
    weights = sum(n * k for k, n in pairwise(point.sizes))
    data = point.n * (inputs * (1 + item) + point.sizes[-1] * item + 8)
    return data + item * (8 * weights + 4 * point.m * sum(point.sizes))


def name_of(sizes: Sequence[int]) -> str:
    """Return the sizes of a network's layers as one text.

    >>> name_of((784, 30, 10))
    '784-30-10'
    """
    return "-".join(map(str, sizes))


def _example_count(sizes: Sequence[int], m: int, settings: BenchSettings) -> int:
    """Return the number of examples. It is a multiple of m within the bounds of the settings, but at least 3 m."""
    n = min(settings.epoch_flops / flops_per_example(sizes), settings.max_examples)
    return m * max(3, round(n / m))
