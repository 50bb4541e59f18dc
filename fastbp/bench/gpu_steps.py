"""What is measured only on a GPU: the modes in which steps can be taken, and the bandwidth of kernels.

A step is enqueued by the host and computed by the GPU. The host's time of a step is the time until its calls return.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from fastbp import equations
from fastbp.backends.cupy.replay import MODES, replay_at_most
from fastbp.bench.candidates import Candidate
from fastbp.bench.grid import BenchSettings
from fastbp.bench.timing import timed
from fastbp.operations import Plan, Run, step_config
from fastbp.optimizers import SGD, Adam
from fastbp.parameters import plan_of
from fastbp.training.loop import MiniBatches

Array = Any
STEP_MODES = (*MODES, "block")
_ETA, _REPEATS, _OUTPUTS = 0.1, 5, 1024
_MOST_STEPS, _EXAMPLES = 64, 10_000  # in one measurement; at least 8 steps


class StepTimer:
    """Times steps that follow one another, in each mode that the backend has for this network.

    The modes are those of `fastbp.backends.cupy.replay`, and "block" for the kernel that trains small networks.
    """

    def __init__(self, candidate: Candidate, loop: MiniBatches, plan: Plan, source: str) -> None:
        self._candidate, m = candidate, loop.m
        self._count = max(8, min(_MOST_STEPS, _EXAMPLES // m))
        self._run: Run = plan.backend.training_run(plan, source, m, self._count * m)
        order = plan.backend.upload(np.random.default_rng(3).integers(0, loop.n, self._count * m))
        steps = step_config(SGD(), _ETA, steps=0, count=self._count, lmbda=0.0, n=loop.n)
        moments, workspace = loop.state.moments, loop.workspaces[m]
        self._arguments = (loop.operations, loop.p, moments, workspace, loop.examples, order, steps, m, loop.total)
        self.host_seconds: dict[str, list[float]] = {}
        self.modes = tuple(mode for mode in STEP_MODES if self._reached(mode) == mode)
        for mode in self.modes:
            self.host_seconds[mode] = []

    def works(self) -> list[tuple[str, Callable[[], float]]]:
        """Return each mode, and a function that returns the seconds per step in this mode."""
        return [(mode, partial(self.seconds, mode)) for mode in self.modes]

    def seconds(self, mode: str) -> float:
        """Return the seconds per step in a mode. The seconds of the host are appended to `host_seconds`."""
        clock, backend = self._candidate.clock, self._candidate.backend
        backend.synchronize()
        start = clock()
        self._take(mode)
        self.host_seconds[mode].append((clock() - start) / self._count)
        backend.synchronize()
        return (clock() - start) / self._count

    def _take(self, mode: str) -> None:
        with replay_at_most(mode) if mode in MODES else nullcontext():
            self._run(equations.train_mini_batches, *self._arguments)

    def _reached(self, mode: str) -> str:
        """Take the steps as a warm-up; return their mode, which is "eager" for a backend without replay."""
        self._take(mode)
        reached: str = getattr(self._run, "mode", "eager")
        return reached


def kernel_rates(candidate: Candidate, settings: BenchSettings) -> dict[str, float]:
    """Return the achieved bandwidth of the operations of a step that are not products, in bytes per second.

    An operation reads each of its inputs and writes each of its outputs at least once. These bytes are counted. The
    arrays are as large as those that are copied to measure the bandwidth of the memory.
    """
    backend, clock = candidate.floor, candidate.clock
    with backend.device_context():
        return {
            name: size / min(timed(backend, clock, partial(backend.run, work)) for _ in range(_REPEATS))
            for name, size, work in _operations(candidate, settings.copy_bytes // 4)
        }


def _operations(candidate: Candidate, count: int) -> Iterator[tuple[str, int, Callable[[], None]]]:
    """Yield the name of each operation, its number of bytes, and a function that makes it once.

    Each array has `count` numbers of 4 bytes. Each operation has been made once.
    """
    backend = candidate.floor
    n = min(_OUTPUTS, count)
    m = count // n
    plan = plan_of([n] * 3, "sigmoid", "quadratic", bias=True, dtype="float32", backend=backend)
    ops = plan.operations("uint8")
    a, delta, y, gradient = (backend.columns(_filled(plan, (m, n))) for _ in range(4))
    sums = backend.columns(_filled(plan, (backend.n_partial_sums(m), n)))
    b, s = backend.columns(_filled(plan, (1, n))), backend.columns(plan.block(0, m))
    rows = backend.upload(np.zeros((m, n), np.uint8))
    order = backend.upload(np.random.default_rng(0).permutation(m))
    adam = _adam(plan)
    constants = Adam().constants_of_steps(_ETA, 0, 1)[0]
    number = 4 * m * n
    works: list[tuple[str, int, Callable[[], None]]] = [
        ("gather", number + number // 4, partial(ops.gather_x, rows, order, 1.0, a)),
        ("activate", 2 * number, partial(ops.layers[0].activate, a, a, b)),
        ("output error", 3 * number, partial(ops.output_error, a, a, y, s, delta, sums)),
        ("hadamard", 3 * number, partial(ops.layers[0].hadamard, a, a, delta, sums)),
        ("Adam", 7 * number, partial(adam, _ETA, 0.0, 1.0, constants, gradient, delta, y, s, a)),
    ]
    for name, size, work in works:
        backend.run(work)
        yield name, size, work


def _adam(plan: Plan) -> Callable[..., None]:
    with_adam = replace(plan, formulas=replace(plan.formulas, rule=Adam().rule))
    return with_adam.operations("uint8").optimizer_step


def _filled(plan: Plan, shape: tuple[int, int]) -> Array:
    array = plan.backend.empty(shape, plan.dtype)
    plan.backend.assign(array, 0.5)
    return array
