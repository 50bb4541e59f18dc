"""What is measured: networks × mini-batch sizes, with how much effort each; and whether it fits into memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fastbp.errors import InputError, brief, whole_number

_DEEP = ((784, 1024, 1024, 10), (784, 2048, 2048, 2048, 10))
_WIDTHS = (30, 100, 300, 1024)


@dataclass(frozen=True)
class Point:
    """A network and a mini-batch size, to be trained on n examples in either of the dtypes."""

    sizes: tuple[int, ...]
    m: int
    n: int

    @property
    def name(self) -> str:
        """The layers, as they are written."""
        return name_of(self.sizes)


@dataclass(frozen=True)
class BenchSettings:
    """How much to measure, and how often.

    Networks and mini-batch sizes; an epoch of about `flops`, of at most `examples`; rounds for `seconds` a point, but
    `least` at the least and `most` at the most; before each floor and epoch a `pause` of seconds, for threads of what
    was timed before, OpenBLAS's say, look for work a while. The machine: squares of at most `side` are multiplied,
    `copied` bytes are copied.
    """

    nets: tuple[tuple[int, ...], ...]
    mini_batch_sizes: tuple[int, ...]
    flops: float
    examples: int
    seconds: float
    least: int
    most: int
    side: int = 8192
    copied: int = 2**27  # several times the caches
    pause: float = 0.0


QUICK = BenchSettings(
    tuple((784, width, 10) for width in (30, 256, 1024)), (10, 100, 1000),
    flops=2e9, examples=10_000, seconds=1.0, least=3, most=9, pause=0.1,
)  # fmt: skip
FULL = BenchSettings(
    (*((784, width, 10) for width in _WIDTHS), *_DEEP), (10, 32, 100, 320, 1000, 3200),
    flops=4e10, examples=50_000, seconds=8.0, least=5, most=15, pause=0.1,
)  # fmt: skip


def parse_sizes(text: str) -> tuple[int, ...]:
    """Return the sizes of a network's layers; raises `InputError`.

    >>> parse_sizes("784-30-10")
    (784, 30, 10)
    """
    parts = text.split("-")
    if len(parts) < 2 or not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise InputError(f"--sizes is {brief(text)}; wanted are whole numbers with '-' between, like 784-30-10")
    return tuple(whole_number(f"--sizes {text}: layer {l}", int(part)) for l, part in enumerate(parts, 1))


def points(
    effort: BenchSettings, nets: Sequence[tuple[int, ...]] = (), mini_batch_sizes: Sequence[int] = ()
) -> list[Point]:
    """Return the grid, smaller networks and mini-batches first; what is given takes the place of the effort's own."""
    sizes_of_batches = [whole_number("--mini-batch-size", m) for m in mini_batch_sizes] or effort.mini_batch_sizes
    return [
        Point(sizes, m, _examples(sizes, m, effort))
        for sizes in sorted(set(nets or effort.nets), key=flops_per_example)
        for m in sorted(set(sizes_of_batches))
    ]


def flops_per_example(sizes: Sequence[int]) -> int:
    """Return the operations of an example's products: 2 a weight forward, 2 for its gradient, 2 back but in layer 1.

    >>> flops_per_example([784, 30, 10])  # 4 · 784 · 30 + 6 · 30 · 10
    95880
    """
    first, *others = (n * k for k, n in pairwise(sizes))
    return 4 * first + 6 * sum(others)


def bytes_of(point: Point, dtype: str) -> int:
    """Return an estimate of the memory that a point takes on one backend.

    Examples as bytes and, for the bare products, as numbers. Weights of both, and a gradient with its temporaries, once
    in float64 to compare with. Of a mini-batch z, a, δ and another temporary.
    """
    item, inputs = np.dtype(dtype).itemsize, point.sizes[0]
    weights = sum(n * k for k, n in pairwise(point.sizes))
    data = point.n * (inputs * (1 + item) + point.sizes[-1] * item + 8)
    return data + item * (8 * weights + 4 * point.m * sum(point.sizes))


def name_of(sizes: Sequence[int]) -> str:
    """Return the layers of a network as they are written.

    >>> name_of((784, 30, 10))
    '784-30-10'
    """
    return "-".join(map(str, sizes))


def _examples(sizes: Sequence[int], m: int, effort: BenchSettings) -> int:
    """Return a multiple of m: what the effort allows, and three mini-batches at the least."""
    wanted = min(effort.flops / flops_per_example(sizes), effort.examples)
    return m * max(3, round(wanted / m))
