"""Step and epoch of each point of the grid on every backend, in turn with the floor, so that a drift meets all."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import backends, equations
from fastbp.bench.candidates import Candidate
from fastbp.bench.floor import floor_of
from fastbp.bench.grid import BenchSettings, Point
from fastbp.bench.machine import measure_machine
from fastbp.bench.results import Failure, Measurement, Results, Transfers
from fastbp.bench.timing import spread, timed
from fastbp.datasets.inputs import as_columns, as_targets, example_rows
from fastbp.errors import InputError
from fastbp.gradients import gradient
from fastbp.operations import Backend, Examples, Parameters, Plan, descent
from fastbp.optimizers import SGD
from fastbp.parameters import as_parameters, new_optimizer_state, plan_of, shapes_of
from fastbp.training.loop import MiniBatches, State, Watcher

Array = Any
Tell = Callable[[str], None]
_ETA = 0.1
_WARM, _WARM_SECONDS = 8, 0.3  # epochs of no account, as many as begin within so many seconds
_STEPS = 5  # a round
_CHECKED = 10  # examples whose gradient is compared before anything is timed
_TOLERANCE = {"float32": 1e-2, "float64": 1e-8}  # of the largest entry; 1e-2 lets TF32's 10 bits pass


def measure(
    among: Sequence[Candidate], points: Sequence[Point], effort: BenchSettings, results: Results, tell: Tell
) -> None:
    """Add to the results the machines', and those of each point, as they come; `tell` hears what is next.

    A backend that fails is written down, with the reason, and left out of what it failed at.
    """
    able, known = [], set()
    for contender in sorted(among, key=lambda contender: contender.floor.name != "numpy"):  # whose products are BLAS's
        if contender.where not in known:
            tell(contender.where)
            with _running(contender, "the machine", results):
                results.machines.append(measure_machine(contender, effort))
                known.add(contender.where)
        if contender.where in known:
            able.append(contender)
    for point in points:
        tell(_words(point))
        results.measurements += _measured(able, point, effort, results)
    results.complete = True


class Trainer:
    """A network on a contender, ready to be trained and timed; what it has cost to send it its data."""

    def __init__(self, contender: Candidate, point: Point, dtype: str, x: npt.NDArray[np.uint8], y: Array) -> None:
        backend, self.contender, self.point = contender.backend, contender, point
        plan, p = _network(backend, point, dtype)
        _check_gradient(plan, p, point, dtype, x, y)
        columns = as_columns("x", x.T, point.sizes[0], plan)
        targets = as_targets(y, point.n, plan)

        def send() -> tuple[tuple[Array, str], tuple[Array, str]]:
            return example_rows(columns, plan, keep_bytes=True), example_rows(targets, plan)

        with _counted(backend) as sent:
            (rows, source), (wanted, _) = send()
        self._state = State(new_optimizer_state(plan))
        examples = Examples(rows, wanted, example_rows(np.empty((0, point.n)), plan)[0], plan.input_scale)
        self._loop = MiniBatches(plan, p, examples, source, point.m, point.n, self._state, SGD())
        self._rng = np.random.default_rng(1)
        self._few = backend.upload(self._rng.permutation(point.n)[: point.m])
        with _counted(backend) as in_epoch:
            self.epoch()  # what is compiled or loaded at the first call is in none of the figures
        begun = time.perf_counter()
        for _ in range(_WARM):  # in which training finds out how its threads are best used
            if time.perf_counter() - begun < _WARM_SECONDS:
                self.epoch()
        self.step()
        self.transfers = None
        if contender.on_gpu:
            seconds = [timed(backend, contender.clock, send) for _ in range(3)]
            down = sum(in_epoch["to_host"])
            count = len(in_epoch["upload"]) + len(in_epoch["to_host"])
            self.transfers = Transfers(sum(sent["upload"]), spread(seconds), sum(in_epoch["upload"]), down, count)

    def epoch(self) -> None:
        """Train on all examples in a new order."""
        self._state.done, self._state.total = 0, 0.0
        self._loop.epoch(self._rng.permutation(self.point.n), _ETA, Watcher())

    def step(self) -> None:
        """Train on one mini-batch."""
        loop, m = self._loop, self.point.m
        by = descent(SGD(), _ETA, steps=0, count=1, lmbda=0.0, n=m)
        arguments = (loop.operations, loop.p, self._state.moments, loop.full_workspace, loop.examples, self._few, by, m)
        loop.backend.run(equations.train_mini_batches, *arguments, loop.total)

    def timed(self, work: Callable[[], Any]) -> float:
        """Return the seconds that work takes by the contender's clock."""
        return timed(self.contender.backend, self.contender.clock, work)


def _measured(able: Sequence[Candidate], point: Point, effort: BenchSettings, results: Results) -> list[Measurement]:
    """Return what the contenders that do not fail make of a point; add those that do to the failures."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (point.n, point.sizes[0]), np.uint8)
    y = rng.integers(0, point.sizes[-1], point.n) if point.sizes[-1] > 1 else rng.random((1, point.n))
    mini_batches = (x.reshape(-1, point.m, point.sizes[0]) / np.float32(255)).astype(results.dtype, copy=False)
    trainers: dict[str, Trainer] = {}
    floors: dict[str, Callable[[], None]] = {}
    for contender in able:
        with _running(contender, _words(point), results):
            trainer = Trainer(contender, point, results.dtype, x, y)
            if (floor := contender.floor.name) not in floors:
                floors[floor] = floor_of(contender.floor, point.sizes, results.dtype, mini_batches)
                trainer.timed(floors[floor])
            trainers[contender.name] = trainer
    samples: dict[tuple[str, str], list[float]] = {}
    begun, rounds = time.perf_counter(), 0
    while trainers and rounds < effort.most:
        if rounds >= effort.least and time.perf_counter() - begun > effort.seconds:
            break
        rounds += 1
        _round(trainers, floors, point, effort.pause, results, samples)
    return [
        Measurement(
            name, trainer.contender.where, point.sizes, point.m, point.n,
            step_seconds=spread(samples[name, "step"]),
            epoch_seconds=spread(samples[name, "epoch"]),
            floor_seconds=spread(samples[trainer.contender.floor.name, "floor"]),
            transfers=trainer.transfers,
        )
        for name, trainer in trainers.items()
    ]  # fmt: skip


def _round(
    trainers: dict[str, Trainer],
    floors: dict[str, Callable[[], None]],
    point: Point,
    pause: float,
    results: Results,
    samples: dict[tuple[str, str], list[float]],
) -> None:
    """Time each floor, and each trainer's epoch and some steps, once; a trainer that fails is taken out."""
    measured = set()
    for name, trainer in list(trainers.items()):
        floor = trainer.contender.floor.name
        failures = len(results.failures)
        with _running(trainer.contender, _words(point), results):
            if floor not in measured:
                time.sleep(pause)
                samples.setdefault((floor, "floor"), []).append(trainer.timed(floors[floor]))
                measured.add(floor)
            time.sleep(pause)
            samples.setdefault((name, "epoch"), []).append(trainer.timed(trainer.epoch))
            steps = [trainer.timed(trainer.step) for _ in range(_STEPS)]
            samples.setdefault((name, "step"), []).extend(steps)
        if len(results.failures) > failures:
            del trainers[name]


@contextmanager
def _running(contender: Candidate, what: str, results: Results) -> Iterator[None]:
    """Run a block where a contender does; write down what goes wrong, of whatever type, for the others go on."""
    try:
        with contender.backend.current():
            yield
    except Exception as error:
        text = " ".join(str(error).split())
        why = text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
        results.failures.append(Failure(contender.name, what, why))


def _words(point: Point) -> str:
    return f"{point.name} × {point.m}"


def _network(backend: Backend, point: Point, dtype: str) -> tuple[Plan, Parameters]:
    """Return a network of sigmoids as `Network` makes it, of the same parameters on every backend."""
    plan = plan_of(point.sizes, "sigmoid", "quadratic", bias=True, dtype=dtype, backend=backend, input_scale=1 / 255)
    rng = np.random.default_rng(2)
    weights, biases = shapes_of(plan)
    drawn_biases = [plan.copied(rng.standard_normal(shape)) for shape in biases]
    drawn = [plan.copied(rng.standard_normal(shape) * shape[1] ** -0.5) for shape in weights]
    return plan, as_parameters(drawn, drawn_biases, plan)


def _check_gradient(plan: Plan, p: Parameters, point: Point, dtype: str, x: Array, y: Array) -> None:
    """Raise `InputError` unless the backend's gradient of a few examples is that of plain expressions in float64."""
    exact_plan, exact_p = _network(backends.get("numpy-plain"), point, "float64")
    lists = []
    for where, parameters in ((plan, p), (exact_plan, exact_p)):
        inputs = as_columns("x", x[:_CHECKED].T, point.sizes[0], where)
        targets = as_targets(y[..., :_CHECKED], inputs.shape[1], where)
        nabla_b, nabla_w = gradient(where, parameters, inputs, targets)
        lists.append([where.backend.to_host(nabla) for nabla in (*nabla_b, *nabla_w)])
    for got, exact in zip(*lists, strict=True):
        if not np.abs(got - exact).max() <= _TOLERANCE[dtype] * np.abs(exact).max():
            raise InputError("its gradient is not that of plain expressions in float64: nothing was timed")


@contextmanager
def _counted(backend: Backend) -> Iterator[dict[str, list[int]]]:
    """Give the bytes of each transfer that a backend makes within a `with` block."""
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
