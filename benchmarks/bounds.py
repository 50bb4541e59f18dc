"""The bounds that fastbp is held to on the CPU: an epoch over the floor, and against others' epochs.

    FASTBP_DATA=FOLDER python -m benchmarks.bounds

For each net and mini-batch everything is timed in turn within a round, after a round to warm up: fastbp in both dtypes,
the floors (`benchmarks.floor`), and the peers that are installed (`benchmarks.peers`), each checked to compute the same
gradient first; and inference, with its floor. Times are medians with quartiles; ratios are taken within each round, and
their median counts. Exit code 1 if a bound is missed. 50,000 examples of MNIST if they are at hand, else synthetic.
For a quiet machine: where others run, threads that find their core taken make OpenBLAS up to ten times as slow.
"""

import argparse
import datetime
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fastbp
from benchmarks import peers
from benchmarks.floor import Floor
from benchmarks.mnist import Rows, training_rows
from benchmarks.timing import Spread, in_turn
from fastbp.backends.environment import information
from fastbp.training import inference

ETA = 0.1
Array = Any
INFERENCE, PRODUCTS, RATE = "inference float32", "its floor float32", 0.9


class Row(NamedTuple):
    """A net, its mini-batch, and the bounds: over the floor at most, and how many times as fast as each at least."""

    sizes: tuple[int, ...]
    m: int
    over_floor: float
    as_fast_as: dict[str, float]
    rounds: int = 9
    over_floor_64: float = 1.12

    def __str__(self) -> str:
        return f"{'-'.join(map(str, self.sizes))} × {self.m}"


def _against(jax: float, torch: float, sklearn: float, numpy: float) -> dict[str, float]:
    kinds = (peers.Jax, peers.Torch, peers.ScikitLearn, peers.MatrixForm)
    return {kind.name: bound for kind, bound in zip(kinds, (jax, torch, sklearn, numpy), strict=True)}


ROWS = (
    Row((784, 30, 10), 10, 1.12, _against(3, 10, 10, 3)),
    Row((784, 100, 10), 10, 1.08, _against(3, 8, 8, 2.2)),
    Row((784, 800, 10), 100, 1.05, _against(1.1, 1.6, 3, 1.4)),
    Row((784, 1024, 1024, 10), 256, 1.05, _against(1.05, 1.2, 2.2, 1.3)),
    Row((784, 2048, 2048, 2048, 10), 1024, 1.05, {}, rounds=3),
)


class Line(NamedTuple):
    """A ratio, and the bound it is held to: from above over a floor, from below against a peer; None is none."""

    name: str
    seconds: Spread
    ratio: Spread | None = None
    most: float | None = None
    least: float | None = None

    @property
    def missed(self) -> bool:
        """Whether the ratio is on the wrong side.

        >>> figure = Spread(1.1, 1.1, 1.1)
        >>> Line("", figure, figure, most=1.0).missed, Line("", figure, figure, least=1.0).missed
        (True, False)
        """
        if self.ratio is None:
            return False
        too_slow = self.most is not None and not self.ratio.median <= self.most
        return too_slow or (self.least is not None and not self.ratio.median >= self.least)

    def __str__(self) -> str:
        text = f"  {self.name:24} {self.seconds.median:9.4f} s  {self.seconds.low:.4f} to {self.seconds.high:.4f}"
        if self.ratio is None:
            return text
        text = f"{text:60} {self.ratio.median:7.3f}  {self.ratio.low:.3f} to {self.ratio.high:.3f}"
        bound = f"≤ {self.most:g}" if self.most is not None else f"≥ {self.least:g}" if self.least is not None else ""
        return f"{text:86} {bound:7} {'MISSED' if self.missed else ''}".rstrip()


def tasks_of(row: Row, data: Rows, kinds: tuple[type[peers.Peer], ...]) -> dict[str, Callable[[], float]]:
    """Return what is timed, by name, after checking every gradient; what cannot be timed is said, and left out."""
    tasks: dict[str, Callable[[], float]] = {}
    inputs = {dtype: data.images / np.dtype(dtype).type(255) for dtype in ("float32", "float64")}
    rng = np.random.default_rng(0)
    for peer in [peers.Fastbp("float32"), peers.Fastbp("float64"), *(kind() for kind in kinds)]:
        if sum(n * k for n, k in zip(row.sizes, row.sizes[1:], strict=False)) > peer.largest_net:
            continue
        if reason := peer.missing():
            print(f"  {peer.name}: {reason}")
            continue
        x = inputs[peer.dtype]
        y = np.eye(row.sizes[-1], dtype=peer.dtype)[data.labels]
        weights, biases = peers.parameters(row.sizes, peer.dtype)
        some = rng.permutation(len(x))[: row.m]
        try:
            peer.check(weights, biases, x[some], y[some])
            peer.begin(weights, biases, x, y, row.m, ETA)
            peer.seconds()
        except Exception as error:  # whatever another library raises: the others go on
            if isinstance(peer, peers.Fastbp):
                raise
            _say_failed(peer.name, error)
            continue
        print(f"  {peer.name} ({peer.version()}) computes the same gradient", flush=True)
        tasks[peer.name] = peer.seconds
        if isinstance(peer, peers.Fastbp):
            tasks[f"floor {peer.dtype}"] = Floor(row.sizes, row.m, x).epoch
            tasks[f"floor {peer.dtype}"]()
            if peer.dtype == "float32":
                tasks |= _inference(row, peer.net, x)
    return tasks


def _inference(row: Row, net: fastbp.Network, x: Array) -> dict[str, Callable[[], float]]:
    def infer() -> float:
        start = time.perf_counter()
        net.feedforward(x.T)
        return time.perf_counter() - start

    products = Floor(row.sizes, inference.batch_size(net.sizes, len(x)), x).forward
    infer(), products()
    return {INFERENCE: infer, PRODUCTS: products}


def _say_failed(name: str, error: Exception) -> None:
    first = f"{error}\n".splitlines()[0]
    print(f"  {name} failed: {type(error).__name__}: {first:.200}", flush=True)


def lines_of(row: Row, rounds: list[dict[str, float]]) -> list[Line]:
    """Return the lines of the table: a ratio is the median of the rounds' ratios.

    >>> one = {"fastbp float32": 1.0, "floor float32": 1.0, "fastbp float64": 2.0, "floor float64": 1.0}
    >>> one |= {"inference float32": 1.0, "its floor float32": 0.95}
    >>> [line.missed for line in lines_of(ROWS[0], [one | {"JAX, jit + scan": 2.5}])]
    [False, False, True, False, False, False, True]
    """
    seconds = {name: Spread.of([figures[name] for figures in rounds]) for name in rounds[-1]}

    def ratio(above: str, below: str) -> Spread:
        return Spread.of([figures[above] / figures[below] for figures in rounds])

    lines = []
    for dtype, bound in (("float32", row.over_floor), ("float64", row.over_floor_64)):
        own, least = f"fastbp {dtype}", f"floor {dtype}"
        lines += [Line(own, seconds[own], ratio(own, least), most=bound), Line(least, seconds[least])]
    lines += [
        Line(INFERENCE, seconds[INFERENCE], ratio(PRODUCTS, INFERENCE), least=RATE),
        Line(PRODUCTS, seconds[PRODUCTS]),
    ]
    shown = {line.name for line in lines}
    for name, taken in seconds.items():
        if name not in shown:
            lines.append(Line(name, taken, ratio(name, "fastbp float32"), least=row.as_fast_as.get(name)))
    return lines


def measured(row: Row, data: Rows, rounds: int, kinds: tuple[type[peers.Peer], ...]) -> list[Line]:
    """Time a row; print and return its lines."""
    print(f"\n{row}: {len(data.images):,} examples, {rounds} rounds; ratio over the floor, or peer over fastbp")
    tasks = tasks_of(row, data, kinds)
    lines = lines_of(row, list(in_turn(tasks, rounds, _say_failed)))
    print(*lines, sep="\n", flush=True)
    return lines


def table(results: list[tuple[Row, list[Line]]]) -> str:
    """Return the seconds, and below them the ratios, as tables of Markdown."""
    names = list(dict.fromkeys(line.name for _, lines in results for line in lines))
    rows = []
    for shown in (lambda line: f"{line.seconds.median:.3g}", _ratio):
        rows += ["", f"| net × mini-batch | {' | '.join(names)} |", "| --- " * (len(names) + 1) + "|"]
        for row, lines in results:
            by_name = {line.name: shown(line) for line in lines}
            rows.append(f"| {row} | {' | '.join(by_name.get(name, '–') for name in names)} |")
    return "\n".join(rows)


def _ratio(line: Line) -> str:
    if line.ratio is None:
        return "1"
    return f"{line.ratio.median:.2f}" + (" (missed)" if line.missed else "")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bounds", description=__doc__.partition("\n")[0])
    parser.add_argument("--row", type=int, action="append", choices=range(1, len(ROWS) + 1), help="only this; repeat")
    parser.add_argument("--rounds", type=int, help="of each row (default: 9, and 3 of the last)")
    known = {kind.name: kind for kind in peers.PEERS}
    parser.add_argument("--peer", action="append", choices=[*known, "none"], help="only this; repeat; or none")
    chosen = parser.parse_args()
    if chosen.rounds is not None and chosen.rounds < 1:
        parser.error(f"--rounds is {chosen.rounds}; wanted is 1 or more")
    chosen.kinds = tuple(kind for name, kind in known.items() if name in (chosen.peer or known))
    return chosen


def main() -> int:
    chosen, data = _arguments(), training_rows()
    print(datetime.date.today(), *(f"{name}: {words}" for name, words in information().items()), sep="\n")
    print(f"data: {data.source}")
    results = []
    for row in (ROWS[number - 1] for number in chosen.row or range(1, len(ROWS) + 1)):
        kinds = chosen.kinds if row.as_fast_as else ()
        results.append((row, measured(row, data, chosen.rounds or row.rounds, kinds)))
    print(table(results))
    missed = [f"{row}: {line.name}" for row, lines in results for line in lines if line.missed]
    print("\nmissed: " + "; ".join(missed) if missed else "\nno bound is missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
