"""`fastbp bench --mpi`: how training scales with the number of ranks, measured, and a model for more ranks.

Strong scaling divides one mini-batch among the ranks. Weak scaling gives each rank as many columns as one rank alone
has. What is compared is measured in turn, and a rank that does not take part sleeps meanwhile.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from fastbp import backends
from fastbp.backends.numpy.threads import use_threads
from fastbp.bench.scaling_model import EFFICIENT, LINKS, Link, Step, fit_link, fit_step
from fastbp.errors import InputError
from fastbp.files.outputs import Outputs
from fastbp.operations import Examples, Operations, Parameters, Plan, StepConfig, step_config
from fastbp.optimizers import SGD
from fastbp.parameters import as_parameters, draw_parameters, new_optimizer_state, plan_of
from fastbp.training.loop import MiniBatches, State, Watcher
from fastbp.training.ranks import MPIRanks, Ranks, keep_first_rank_output, on_ranks, world

Array = Any
_ETA = 0.01
_ROUNDS = 5
_SECONDS = 0.3  # about the time of one measurement
_STEPS = 8  # in an epoch, at whose ends parameters are copied
_MODEL_RANKS = (2, 4, 16, 64, 256, 1024)


@dataclass(frozen=True)
class Setup:
    """What is measured: a number of ranks, the threads of each, and the mini-batch size of all ranks together."""

    ranks: int
    threads: int
    m: int


@dataclass(frozen=True)
class Scaling:
    """Seconds of a step: medians, and for each round the time of the first setup divided by that of each setup.

    `sums` has the seconds of the sum over the ranks alone, by number of ranks, for the parameters and for one number.
    """

    seconds: dict[Setup, float]
    ratios: dict[Setup, float]
    sums: dict[int, tuple[float, float]]
    columns: dict[int, float]
    size: int


class Training:
    """A network on some of the ranks, whose steps can be timed."""

    def __init__(self, plan: Plan, setup: Setup, ranks: Ranks) -> None:
        rng = np.random.default_rng(0)
        weights, biases = draw_parameters(plan, rng, "scaled")
        self.p, self.setup, self.ranks = as_parameters(weights, biases, plan), setup, ranks
        x = rng.random((_STEPS * setup.m, plan.sizes[0]), np.float32).astype(plan.dtype)
        y = np.zeros((_STEPS * setup.m, plan.sizes[-1]), plan.dtype)
        y[np.arange(len(y)), rng.integers(0, plan.sizes[-1], len(y))] = 1.0
        upload = plan.backend.upload
        examples = Examples(upload(x), upload(y), upload(np.empty((_STEPS * setup.m, 0), plan.dtype)), 1.0)
        state = State(new_optimizer_state(plan))
        self.loop = MiniBatches(plan, self.p, examples, plan.dtype, setup.m, len(x), state, SGD(), ranks=ranks)

    def step_seconds(self) -> float:
        """Return the seconds of a step, averaged over epochs that take about 0.3 s together."""
        order, state = np.arange(_STEPS * self.setup.m), self.loop.state
        with use_threads(self.setup.threads):
            epochs = 0
            start = time.perf_counter()
            while epochs == 0 or self.ranks.from_first(time.perf_counter() - start < _SECONDS):
                state.done, state.total, state.totals = 0, 0.0, []
                self.loop.epoch(order, _ETA, Watcher())
                epochs += 1
        return (time.perf_counter() - start) / (_STEPS * epochs)

    def sum_seconds(self) -> float:
        """Return the seconds of one sum over the ranks."""
        loop, step = self.loop, step_config(SGD(), _ETA, steps=0, count=1, lmbda=0.0, n=1)
        step, count = step._replace(ranks=loop.numbers), 20
        loop.backend.run(sum_repeatedly, loop.operations, loop.trained, step, 1)
        self.ranks.gather(None)
        start = time.perf_counter()
        loop.backend.run(sum_repeatedly, loop.operations, loop.trained, step, count)
        loop.backend.synchronize()
        return (time.perf_counter() - start) / count


def sum_repeatedly(ops: Operations, p: Parameters, steps: StepConfig, count: int) -> None:
    """Sum the block of a training over the ranks, `count` times."""
    for _ in range(count):
        ops.sum_over_ranks(steps.ranks, p.weights[0])


def bench_on_ranks(sizes: Sequence[int], m: int, dtype: str, backend: Any, outputs: Outputs) -> None:
    """Measure training on the ranks of MPI.COMM_WORLD, and print the report on the first rank."""
    with on_ranks(world()) as everyone:
        keep_first_rank_output(everyone)
        with everyone.agreement():
            if everyone.size == 1:
                raise InputError("--mpi needs several ranks; for example, run: mpiexec -n 2 fastbp bench --mpi")
            if m < everyone.size:
                raise InputError(f"--mini-batch-size must be at least the number of ranks, {everyone.size}, got {m}")
            plan = plan_of(
                sizes, ["sigmoid"] * (len(sizes) - 2) + ["softmax"], "log-likelihood", bias=True, dtype=dtype,
                backend=backends.get(backend),
            )  # fmt: skip
        found = measure_scaling(everyone, plan, m)
        if everyone.first:
            outputs.print(report(found, plan, m))


def measure_scaling(everyone: Ranks, plan: Plan, m: int) -> Scaling:
    """Measure training on 1, 2, 4, … and all ranks. Every rank has to call this function."""
    counts = sorted({2**k for k in range(everyone.size.bit_length())} | {everyone.size})
    parts = {count: _some_ranks(everyone, count) for count in counts}
    each, all_threads = everyone.threads, everyone.threads_of_node
    setups = [Setup(1, each, m), *([Setup(1, all_threads, m)] if all_threads > each else [])]
    setups += [Setup(count, each, columns) for count in counts[1:] for columns in (m, count * m)]
    small = [Setup(1, each, m // part) for part in (2, 4, 16, 64) if m // part]
    trainings = {setup: _training(plan, setup, parts) for setup in (*setups, *small)}
    seconds: dict[Setup, list[float]] = {setup: [] for setup in trainings}
    for _ in range(_ROUNDS):
        with everyone.agreement():
            for setup, training in trainings.items():
                with _sleeping_others(everyone.comm):
                    own = training.step_seconds() if training else 0.0
                seconds[setup].append(everyone.from_first(own))
    one_number = plan_of([1, 1], "identity", "quadratic", bias=False, dtype=plan.dtype, backend=plan.backend)
    sums: dict[int, tuple[float, float]] = {}
    for count in counts[1:]:
        both = trainings[Setup(count, each, m)], _training(one_number, Setup(count, each, count), parts)
        with _sleeping_others(everyone.comm):
            found = [min(one.sum_seconds() for _ in range(_ROUNDS)) if one else 0.0 for one in both]
        sums[count] = everyone.from_first((found[0], found[1]))
    first = seconds[setups[0]]
    return Scaling(
        {setup: median(seconds[setup]) for setup in setups},
        {setup: median(a / b for a, b in zip(first, seconds[setup], strict=True)) for setup in setups},
        sums,
        {setup.m: median(seconds[setup]) for setup in (setups[0], *small)},
        sum((a + 1) * b for a, b in pairwise(plan.sizes)) * np.dtype(plan.dtype).itemsize,
    )


def report(found: Scaling, plan: Plan, m: int) -> str:
    """Return the text of the report: what was measured, and then what the model says about more ranks."""
    name, one = "-".join(map(str, plan.sizes)), next(iter(found.seconds.values()))
    lines = [f"{name} × {m} in {plan.dtype}: {found.size / 1e6:.2f} MB are summed in each step", ""]
    lines.append(
        f"{'measured':10}{'ranks':>6}{'threads':>9}{'m':>8}{'step':>12}{'speed':>8}{'efficiency':>12}{'sum':>8}"
    )
    for setup, seconds in found.seconds.items():
        kind = "one rank" if setup.ranks == 1 else "strong" if setup.m == m else "weak"
        speed = found.ratios[setup] * setup.m / m
        share = f"{found.sums[setup.ranks][0] / seconds:.0%}" if setup.ranks > 1 else ""
        efficiency = f"{speed / setup.ranks:.0%}" if setup.ranks > 1 else ""
        setting = f"{kind:10}{setup.ranks:6}{setup.threads:9}{setup.m:8}"
        lines.append(f"{setting}{1e3 * seconds:9.3f} ms{speed:8.2f}{efficiency:>12}{share:>8}")
    step = fit_step(list(found.columns), list(found.columns.values()), found.size)
    most = max(found.sums)
    here = fit_link("this machine", most, found.sums[most][1], found.sums[most][0], found.size)
    return "\n".join([*lines, "", _LEGEND, "", *_model(step, here, m, one)])


_LEGEND = """\
Medians. speed: examples per second, relative to one rank in the first row.
efficiency: speed divided by the number of ranks. sum: the sum over the ranks alone, as a share of the step."""


def _model(step: Step, here: Link, m: int, one: float) -> Iterator[str]:
    yield "The rest is a model, not a measurement: T(R) = f + c m/R + 2 a log2(R) + 2 (R - 1)/R B/b, with"
    yield f"f = {1e3 * step.fixed:.3f} ms and c = {1e6 * step.per_column:.2f} us per column, fitted to one rank"
    yield f"(it gives {1e3 * (step.fixed + step.per_column * m):.3f} ms for m = {m}; measured: {1e3 * one:.3f} ms)"
    for link in (here, *LINKS):
        constants = f"a = {1e6 * link.latency:.1f} us, b = {link.bandwidth / 1e9:.2f} GB/s"
        yield f"  {link.name}: {constants}{' (measured)' if link is here else ''}"
    yield ""
    yield f"{'speed by the model, and the smallest m at which training pays':62}"
    yield f"{'ranks':>6}" + "".join(f"{link.name:>26}" for link in (here, *LINKS))
    for ranks in _MODEL_RANKS:
        speeds = (f"{step.speedup(m, ranks, link):.2f}" if m >= ranks else "-" for link in (here, *LINKS))
        least = (f"(m >= {step.least_columns(ranks, link):,})" for link in (here, *LINKS))
        cells = (f"{speed} {columns}" for speed, columns in zip(speeds, least, strict=True))
        yield f"{ranks:6}" + "".join(f"{cell:>26}" for cell in cells)
    yield f"Training pays if its speed is at least {EFFICIENT:.0%} of the number of ranks. m is doubled until it does."


def _some_ranks(everyone: Ranks, count: int) -> Ranks | None:
    """Return the first `count` ranks as a group of their own, or None on the other ranks."""
    part = everyone.comm.Split(int(everyone.index >= count), everyone.index)
    return MPIRanks(part, sharded=False) if everyone.index < count else None


def _training(plan: Plan, setup: Setup, parts: dict[int, Ranks | None]) -> Training | None:
    """Return the training of a setup, or None if this rank does not take part in it."""
    ranks = parts[setup.ranks]
    return None if ranks is None else Training(plan, setup, ranks)


@contextmanager
def _sleeping_others(comm: Any) -> Iterator[None]:
    """Wait until all ranks have left the context. Ranks that are early sleep, because MPI's own barrier polls."""
    yield
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(0.001)
