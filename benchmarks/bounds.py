"""Check fastbp's speed on the CPU against its bounds: relative to the floor, and to other libraries.

    FASTBP_DATA=FOLDER python -m benchmarks.bounds

The floor is the time of the matrix products alone, a lower bound for an epoch (`fastbp.bench.floor`). A peer is other
code that trains the same network (`benchmarks.peers`). A check before the timing shows that each peer computes the same
gradient. For each network and mini-batch size, a warm-up is followed by several rounds. In each round, these are timed
in turn: epochs of fastbp in both dtypes, their floors, inference and its floor, and an epoch of each installed peer.
Times are medians with quartiles. A ratio is computed within each round. A bound is missed if the better quartile of the
ratios misses it. The exit code is 1 if a bound is missed.

The data are the 50,000 training examples of MNIST if its files are in the folder FASTBP_DATA. Otherwise they are
random. Run this benchmark on an idle machine: if threads wait for a core that another process uses, OpenBLAS becomes up
to ten times as slow.

`--json FILE` saves the ratios. `--baseline FILE` compares them with those of an earlier run.
"""

import argparse
import datetime
import sys
import time
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import fastbp
from benchmarks import baseline, peers
from benchmarks.mnist import Rows, training_rows
from fastbp import backends
from fastbp.backends.environment import information
from fastbp.bench.floor import make_floor
from fastbp.bench.grid import name_of
from fastbp.bench.timing import Spread, Task, in_turn, ratio, spread, timed, warn_if_busy
from fastbp.training import inference

ETA = 0.1
Array = Any
INFERENCE, INFERENCE_FLOOR, INFERENCE_BOUND = "inference float32", "its floor float32", 0.9


class Row(NamedTuple):
    """A network, its mini-batch size, and the bounds.

    `over_floor` is the largest allowed ratio of an epoch in float32 to its floor, and `over_floor_64` is the same for
    float64. `speedups` maps the name of a peer to the smallest allowed ratio of its epoch to fastbp's.
    """

    sizes: tuple[int, ...]
    m: int
    over_floor: float
    speedups: dict[str, float]
    rounds: int = 9
    over_floor_64: float = 1.12

    def __str__(self) -> str:
        return f"{name_of(self.sizes)} × {self.m}"


def _speedups(jax: float, torch: float, sklearn: float, numpy: float) -> dict[str, float]:
    kinds = (peers.Jax, peers.Torch, peers.ScikitLearn, peers.MatrixForm)
    return {kind.name: bound for kind, bound in zip(kinds, (jax, torch, sklearn, numpy), strict=True)}


ROWS = (
    Row((784, 30, 10), 10, 1.12, _speedups(3, 10, 10, 3)),
    Row((784, 100, 10), 10, 1.08, _speedups(3, 8, 8, 2.2)),
    Row((784, 800, 10), 100, 1.05, _speedups(1.1, 1.6, 3, 1.4)),
    Row((784, 1024, 1024, 10), 256, 1.05, _speedups(1.05, 1.2, 2.2, 1.3)),
    Row((784, 2048, 2048, 2048, 10), 1024, 1.05, {}, rounds=3),
)


class Line(NamedTuple):
    """A line of the table: a time and, in some lines, a ratio with its upper or lower bound."""

    name: str
    seconds: Spread
    ratio: Spread | None = None
    upper: float | None = None
    lower: float | None = None

    @property
    def missed(self) -> bool:
        """Whether the ratio violates its bound: whether even the better quartile does.

        >>> figure = Spread(1.1, 1.1, 1.1, 1)
        >>> Line("", figure, figure, upper=1.0).missed, Line("", figure, figure, lower=1.0).missed
        (True, False)
        """
        if self.ratio is None:
            return False
        return not self.ratio.meets(self.upper, self.lower)

    def __str__(self) -> str:
        text = f"  {self.name:24} {self.seconds.median:9.4f} s  {self.seconds.low:.4f} to {self.seconds.high:.4f}"
        if self.ratio is None:
            return text
        text = f"{text:60} {self.ratio.median:7.3f}  {self.ratio.low:.3f} to {self.ratio.high:.3f}"
        bound = f"≤ {self.upper:g}" if self.upper is not None else f"≥ {self.lower:g}" if self.lower is not None else ""
        return f"{text:86} {bound:7} {'MISSED' if self.missed else ''}".rstrip()


def prepare(peer: peers.Peer, row: Row, x: Array, labels: Array) -> Task | None:
    """Check a peer's gradient and train it for one epoch to warm up; return the task that times its next epoch.

    `x` has one example per row, in the peer's dtype. If the peer is not installed or fails, print why and return None.
    Errors of fastbp itself are raised.
    """
    if reason := peer.missing():
        print(f"  {peer.name}: {reason}")
        return None
    y = np.eye(row.sizes[-1], dtype=peer.dtype)[labels]
    weights, biases = peers.parameters(row.sizes, peer.dtype)
    some = np.random.default_rng(0).permutation(len(x))[: row.m]
    try:
        peer.check(weights, biases, x[some], y[some])
        peer.begin(weights, biases, x, y, row.m, ETA)
        peer.seconds()
    except Exception as error:  # whatever this library raises, the others are still timed
        if isinstance(peer, peers.Fastbp):
            raise
        print_failure(peer.name, error)
        return None
    print(f"  {peer.name} ({peer.version()}) computes the same gradient", flush=True)
    return peer.seconds


def tasks_of(row: Row, data: Rows, kinds: tuple[type[peers.Peer], ...]) -> dict[str, Task]:
    """Return the tasks of a row by name. Each of them has been run once as a warm-up."""
    tasks: dict[str, Task] = {}
    inputs = {dtype: data.images / np.dtype(dtype).type(255) for dtype in ("float32", "float64")}
    for peer in (peers.Fastbp("float32"), peers.Fastbp("float64"), *(kind() for kind in kinds)):
        if sum(n * k for n, k in zip(row.sizes, row.sizes[1:], strict=False)) > peer.largest_net:
            continue
        x = inputs[peer.dtype]
        if (task := prepare(peer, row, x, data.labels)) is not None:
            tasks[peer.name] = task
        if isinstance(peer, peers.Fastbp):
            tasks[f"floor {peer.dtype}"] = _floor_task(row.sizes, peer.dtype, x, row.m)
            if peer.dtype == "float32":
                tasks |= _inference_tasks(row, peer.net, x)
    return tasks


def _floor_task(sizes: tuple[int, ...], dtype: str, x: Array, m: int, *, forward_only: bool = False) -> Task:
    backend = backends.get("numpy")
    products = make_floor(backend, sizes, dtype, x, m, forward_only=forward_only)
    products()
    return partial(timed, backend, time.perf_counter, products)


def _inference_tasks(row: Row, net: fastbp.Network, x: Array) -> dict[str, Task]:
    task = partial(timed, backends.get("numpy"), time.perf_counter, lambda: net.feedforward(x.T))
    task()
    batch = inference.batch_size(net.sizes, len(x))
    return {INFERENCE: task, INFERENCE_FLOOR: _floor_task(row.sizes, "float32", x, batch, forward_only=True)}


def print_failure(name: str, error: Exception) -> None:
    """Print the first line of an exception."""
    first = f"{error}\n".splitlines()[0]
    print(f"  {name} failed: {type(error).__name__}: {first:.200}", flush=True)


def lines_of(row: Row, rounds: list[dict[str, float]]) -> list[Line]:
    """Return the lines of the table. A ratio is the median of the ratios within each round.

    >>> one = {"fastbp float32": 1.0, "floor float32": 1.0, "fastbp float64": 2.0, "floor float64": 1.0}
    >>> one |= {"inference float32": 1.0, "its floor float32": 0.95}
    >>> [line.missed for line in lines_of(ROWS[0], [one | {"JAX, jit + scan": 2.5}])]
    [False, False, True, False, False, False, True]
    """
    seconds = {name: spread([figures[name] for figures in rounds]) for name in rounds[-1]}

    lines = []
    for dtype, bound in (("float32", row.over_floor), ("float64", row.over_floor_64)):
        own, floor = f"fastbp {dtype}", f"floor {dtype}"
        lines += [Line(own, seconds[own], ratio(rounds, own, floor), upper=bound), Line(floor, seconds[floor])]
    lines += [
        Line(INFERENCE, seconds[INFERENCE], ratio(rounds, INFERENCE_FLOOR, INFERENCE), lower=INFERENCE_BOUND),
        Line(INFERENCE_FLOOR, seconds[INFERENCE_FLOOR]),
    ]
    shown = {line.name for line in lines}
    for name, taken in seconds.items():
        if name not in shown:
            lines.append(Line(name, taken, ratio(rounds, name, "fastbp float32"), lower=row.speedups.get(name)))
    return lines


def measure(row: Row, data: Rows, rounds: int, kinds: tuple[type[peers.Peer], ...]) -> list[Line]:
    """Time the tasks of a row; print its lines of the table, and return them."""
    print(f"\n{row}: {len(data.images):,} examples, {rounds} rounds")
    print("  ratios: an epoch over its floor; the floor of inference over inference; a peer's epoch over fastbp's")
    tasks = tasks_of(row, data, kinds)
    lines = lines_of(row, list(in_turn(tasks, range(rounds), print_failure)))
    print(*lines, sep="\n", flush=True)
    return lines


def ratios_of(results: list[tuple[Row, list[Line]]]) -> dict[str, Spread]:
    """Return the ratios for `benchmarks.baseline`: fastbp's time over the other's.

    >>> two = Spread(2.0, 2.0, 2.0, 1)
    >>> ratios = ratios_of([(ROWS[0], [Line("fastbp float32", two, two), Line("JAX", two, two, lower=3)])])
    >>> {name: figures.median for name, figures in ratios.items()}
    {'784-30-10 × 10: fastbp float32': 2.0, '784-30-10 × 10: JAX': 0.5}
    """
    return {
        f"{row}: {line.name}": line.ratio if line.name.startswith("fastbp") else baseline.inverse(line.ratio)
        for row, lines in results
        for line in lines
        if line.ratio is not None
    }


def table(results: list[tuple[Row, list[Line]]]) -> str:
    """Return two tables in Markdown: the seconds, and the ratios."""
    names = list(dict.fromkeys(line.name for _, lines in results for line in lines))
    rows = []
    for shown in (lambda line: f"{line.seconds.median:.3g}", _ratio):
        rows += ["", f"| network × mini-batch | {' | '.join(names)} |", "| --- " * (len(names) + 1) + "|"]
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
    rows = range(1, len(ROWS) + 1)
    parser.add_argument("--row", type=int, action="append", choices=rows, help="row to measure; may be repeated")
    parser.add_argument("--rounds", type=int, help="rounds per row (default: 9, and 3 for the last row)")
    known = {kind.name: kind for kind in peers.PEERS}
    parser.add_argument("--peer", action="append", choices=[*known, "none"], help="peer to time; may be repeated")
    baseline.add_options(parser)
    arguments = parser.parse_args()
    arguments.before = baseline.checked(parser, arguments)
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error(f"--rounds must be an integer >= 1, got {arguments.rounds}")
    arguments.kinds = tuple(kind for name, kind in known.items() if name in (arguments.peer or known))
    return arguments


def main() -> int:
    arguments, data = _arguments(), training_rows()
    print(datetime.date.today(), *(f"{name}: {text}" for name, text in information().items()), sep="\n")
    print(f"data: {data.source}")
    warn_if_busy()
    results = []
    for row in (ROWS[number - 1] for number in arguments.row or range(1, len(ROWS) + 1)):
        kinds = arguments.kinds if row.speedups else ()
        results.append((row, measure(row, data, arguments.rounds or row.rounds, kinds)))
    print(table(results))
    missed = [f"{row}: {line.name}" for row, lines in results for line in lines if line.missed]
    print("\nmissed: " + "; ".join(missed) if missed else "\nall bounds are met")
    slower = baseline.finish(arguments, arguments.before, ratios_of(results))
    return 1 if missed or slower else 0


if __name__ == "__main__":
    sys.exit(main())
