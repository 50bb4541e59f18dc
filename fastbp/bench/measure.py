"""Measure steps and epochs at each point of a grid.

A step is the training on one mini-batch, and an epoch is the training on all examples. A point is a network with a
mini-batch size. A candidate is a backend that is measured, and its floor is the time of the matrix products alone. The
candidates and their floors are timed in turn, so that a change in the speed of the machine affects all of them alike.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import backends, equations
from fastbp.bench.candidates import Candidate
from fastbp.bench.floor import make_floor
from fastbp.bench.gpu_steps import StepTimer
from fastbp.bench.grid import BenchSettings, Point
from fastbp.bench.machine import measure_machine
from fastbp.bench.results import Failure, Measurement, Results, StepTimes, Transfers
from fastbp.bench.timing import Task, in_turn, spread, timed
from fastbp.datasets.inputs import as_columns, as_targets, example_rows
from fastbp.errors import InputError
from fastbp.gradients import gradient
from fastbp.operations import Backend, Examples, Parameters, Plan, step_config
from fastbp.optimizers import SGD
from fastbp.parameters import as_parameters, new_optimizer_state, plan_of, shapes_of
from fastbp.training.loop import MiniBatches, State, Watcher

Array = Any
ReportStage = Callable[[str], None]
_ETA = 0.1
_WARM_UP_EPOCHS, _WARM_UP_SECONDS = 8, 0.3  # upper bounds; the last epoch of the warm-up starts within these seconds
_STEPS = 5  # timed steps per round
_CHECKED = 10  # examples whose gradient is checked before anything is timed
_TOLERANCE = {"float32": 1e-2, "float64": 1e-8}  # relative to the largest entry; 1e-2 admits TF32, which has 10 bits


def measure(
    candidates: Sequence[Candidate],
    points: Sequence[Point],
    settings: BenchSettings,
    results: Results,
    report_stage: ReportStage,
) -> None:
    """Measure the machines and all points of the grid, and add each to the results as soon as it is complete.

    A stage is the measurement of one machine or of one point. `report_stage` is called with the name of each stage. If
    a backend fails, the failure is recorded with its reason, and this backend has no results for the stage. If it fails
    while the peak rates of its machine are measured, it has no results at all.
    """
    usable, known = [], set()
    # Backends whose products are computed by BLAS come first, because they show the peak rate of the CPU.
    for candidate in sorted(candidates, key=lambda candidate: candidate.floor.name != "numpy"):
        if candidate.where not in known:
            report_stage(candidate.where)
            with _recording_failures(candidate, "the machine", results):
                results.machines.append(measure_machine(candidate, settings))
                known.add(candidate.where)
        if candidate.where in known:
            usable.append(candidate)
    for point in points:
        report_stage(str(point))
        results.measurements += _measure_point(usable, point, settings, results)
    results.complete = True


class Trainer:
    """Trains a network on a candidate's backend.

    The constructor sends the data to the backend and trains for some epochs as a warm-up. `transfers` describes the
    transfers of the data and of one epoch, and `steps` times steps in several modes. Both are None on the CPU.
    """

    def __init__(self, candidate: Candidate, point: Point, dtype: str, x: npt.NDArray[np.uint8], y: Array) -> None:
        backend, self.candidate, self.point = candidate.backend, candidate, point
        plan, p = _network(backend, point, dtype)
        _check_gradient(plan, p, point, dtype, x, y)
        columns = as_columns("x", x.T, point.sizes[0], plan)
        targets = as_targets(y, point.n, plan)

        def send() -> tuple[tuple[Array, str], tuple[Array, str]]:
            return example_rows(columns, plan, keep_bytes=True), example_rows(targets, plan)

        with _counting_transfers(backend) as sent:
            (rows, source), (target_rows, _) = send()
        self._state = State(new_optimizer_state(plan))
        examples = Examples(rows, target_rows, example_rows(np.empty((0, point.n)), plan)[0], plan.input_scale)
        self._loop = MiniBatches(plan, p, examples, source, point.m, point.n, self._state, SGD())
        self._rng = np.random.default_rng(1)
        self._one_batch = backend.upload(self._rng.permutation(point.n)[: point.m])
        with _counting_transfers(backend) as in_epoch:
            self.epoch()  # compiles or loads kernels; no measured time includes this
        start = time.perf_counter()
        for _ in range(_WARM_UP_EPOCHS):  # in these epochs, training finds out whether a second thread is faster
            if time.perf_counter() - start < _WARM_UP_SECONDS:
                self.epoch()
        self.step()
        self.transfers, self.steps = None, None
        if candidate.on_gpu:
            self.steps = StepTimer(candidate, self._loop, plan, source)
            seconds = [timed(backend, candidate.clock, send) for _ in range(3)]
            down = sum(in_epoch["to_host"])
            count = len(in_epoch["upload"]) + len(in_epoch["to_host"])
            self.transfers = Transfers(sum(sent["upload"]), spread(seconds), sum(in_epoch["upload"]), down, count)

    def epoch(self) -> None:
        """Train on all examples, in a new order."""
        self._state.done, self._state.total = 0, 0.0
        self._loop.epoch(self._rng.permutation(self.point.n), _ETA, Watcher())

    def step(self) -> None:
        """Train on one mini-batch."""
        loop, m = self._loop, self.point.m
        step = step_config(SGD(), _ETA, steps=0, count=1, lmbda=0.0, n=m)
        arguments = (loop.operations, loop.p, self._state.moments, loop.workspaces[m], loop.examples, self._one_batch)
        loop.backend.run(equations.train_mini_batches, *arguments, step, m, loop.total)

    def timed(self, work: Callable[[], Any]) -> float:
        """Return the seconds that `work` takes, by the candidate's clock."""
        return timed(self.candidate.backend, self.candidate.clock, work)


def _measure_point(
    candidates: Sequence[Candidate], point: Point, settings: BenchSettings, results: Results
) -> list[Measurement]:
    """Return the measurements of all candidates at a point. A candidate that fails is recorded as a failure instead."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (point.n, point.sizes[0]), np.uint8)
    y = rng.integers(0, point.sizes[-1], point.n) if point.sizes[-1] > 1 else rng.random((1, point.n))
    scaled = (x / np.float32(255)).astype(results.dtype, copy=False)
    trainers: dict[str, Trainer] = {}
    tasks: dict[str, Task] = {}
    users: dict[str, list[str]] = {}  # the candidates whose results need a task, other than their own
    steps: dict[str, list[float]] = {}
    for candidate in candidates:
        with _recording_failures(candidate, str(point), results):
            trainer = Trainer(candidate, point, results.dtype, x, y)
            floor = f"floor on {candidate.floor.name}"
            if floor not in users:
                products = make_floor(candidate.floor, point.sizes, results.dtype, scaled, point.m)
                trainer.timed(products)
                tasks[floor] = _floor_task(trainer, products)
            users.setdefault(floor, []).append(candidate.name)
            trainers[candidate.name] = trainer
            for mode, work in trainer.steps.works() if trainer.steps else ():
                users[f"{candidate.name}, {mode}"] = [candidate.name]
                tasks[f"{candidate.name}, {mode}"] = _on_device(candidate, work)
            tasks[candidate.name] = _trainer_task(trainer, steps.setdefault(candidate.name, []))

    def failed(task: str, error: Exception) -> None:
        for name in users.get(task, [task]):
            if trainers.pop(name, None) is not None:
                _record_failure(name, str(point), error, results)

    rounds = list(in_turn(tasks, _rounds(settings, trainers), failed, settings.pause))

    def seconds(task: str) -> list[float]:
        return [figures[task] for figures in rounds]

    return [
        Measurement(
            name, trainer.candidate.where, point.sizes, point.m, point.n,
            step_seconds=spread(steps[name]),
            epoch_seconds=spread(seconds(name)),
            floor_seconds=spread(seconds(f"floor on {trainer.candidate.floor.name}")),
            transfers=trainer.transfers,
            steps=_step_times(trainer.steps, name, seconds),
        )
        for name, trainer in trainers.items()
    ]  # fmt: skip


def _rounds(settings: BenchSettings, trainers: dict[str, Trainer]) -> Iterator[int]:
    """Yield the numbers of the rounds while there is time, and while a trainer is left."""
    start = time.perf_counter()
    for number in range(settings.max_rounds):
        if not trainers or (number >= settings.min_rounds and time.perf_counter() - start > settings.seconds):
            return
        yield number


def _step_times(
    timer: StepTimer | None, name: str, seconds: Callable[[str], list[float]]
) -> dict[str, StepTimes] | None:
    """Return the times of steps in each mode, or None on the CPU."""
    if timer is None:
        return None
    return {
        mode: StepTimes(spread(seconds(f"{name}, {mode}")), spread(timer.host_seconds[mode])) for mode in timer.modes
    }


def _on_device(candidate: Candidate, work: Task) -> Task:
    """Return a task that does the work while the candidate's device is the current one."""

    def task() -> float:
        with candidate.backend.device_context():
            return work()

    return task


def _floor_task(trainer: Trainer, products: Callable[[], None]) -> Task:
    """Return the task that times the floor. `trainer` is one of those that are compared with it."""
    return _on_device(trainer.candidate, lambda: trainer.timed(products))


def _trainer_task(trainer: Trainer, steps: list[float]) -> Task:
    """Return the task that times an epoch, and then some steps, whose seconds are appended to `steps`."""

    def task() -> float:
        seconds = trainer.timed(trainer.epoch)
        steps.extend(trainer.timed(trainer.step) for _ in range(_STEPS))
        return seconds

    return _on_device(trainer.candidate, task)


@contextmanager
def _recording_failures(candidate: Candidate, what: str, results: Results) -> Iterator[None]:
    """Run a block on a candidate's device; record an exception of any type as a failure, and do not raise it."""
    try:
        with candidate.backend.device_context():
            yield
    except Exception as error:
        _record_failure(candidate.name, what, error, results)


def _record_failure(name: str, what: str, error: Exception, results: Results) -> None:
    text = " ".join(str(error).split())
    why = text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
    results.failures.append(Failure(name, what, why))


def _network(backend: Backend, point: Point, dtype: str) -> tuple[Plan, Parameters]:
    """Return the plan and the parameters of a sigmoid network. The parameters are the same on every backend."""
    plan = plan_of(point.sizes, "sigmoid", "quadratic", bias=True, dtype=dtype, backend=backend, input_scale=1 / 255)
    rng = np.random.default_rng(2)
    weights, biases = shapes_of(plan)
    drawn_biases = [plan.array(rng.standard_normal(shape)) for shape in biases]
    drawn = [plan.array(rng.standard_normal(shape) * shape[1] ** -0.5) for shape in weights]
    return plan, as_parameters(drawn, drawn_biases, plan)


def _check_gradient(plan: Plan, p: Parameters, point: Point, dtype: str, x: Array, y: Array) -> None:
    """Raise `InputError` unless the gradient of a few examples agrees with that of plain NumPy in float64."""
    reference_plan, reference_p = _network(backends.get("numpy-plain"), point, "float64")
    lists = []
    for where, parameters in ((plan, p), (reference_plan, reference_p)):
        inputs = as_columns("x", x[:_CHECKED].T, point.sizes[0], where)
        targets = as_targets(y[..., :_CHECKED], inputs.shape[1], where)
        nabla_b, nabla_w = gradient(where, parameters, inputs, targets)
        lists.append([where.backend.to_host(nabla) for nabla in (*nabla_b, *nabla_w)])
    for got, exact in zip(*lists, strict=True):
        if not np.abs(got - exact).max() <= _TOLERANCE[dtype] * np.abs(exact).max():
            raise InputError("its gradient does not agree with that of plain NumPy in float64; nothing was timed")


@contextmanager
def _counting_transfers(backend: Backend) -> Iterator[dict[str, list[int]]]:
    """Yield two lists, one per direction. Each transfer in the block appends its number of bytes to one of them."""
    counted: dict[str, list[int]] = {"upload": [], "to_host": []}

    def counting(name: str, transfer: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def call(array: Any) -> Any:
            result = transfer(array)
            counted[name].append(int(array.nbytes))
            return result

        return call

    for name in counted:
        setattr(backend, name, counting(name, getattr(backend, name)))
    try:
        yield counted
    finally:
        for name in counted:
            delattr(backend, name)
