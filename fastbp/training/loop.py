"""Epochs and mini-batches, and what is watched meanwhile; works on parameters and knows no Network."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import equations
from fastbp.backends.interrupts import uninterrupted
from fastbp.errors import CheckpointError, DivergedError, InputError
from fastbp.operations import Examples, OptimizerState, Parameters, Plan, Workspace, WorkspacePool, descent
from fastbp.optimizers import Optimizer
from fastbp.parameters import Tensors, host_tensors, put_tensors
from fastbp.schedules import Schedule, eta_of
from fastbp.training.history import Epoch, History

Array = Any
_STRETCH = 0.1  # seconds between two looks at Ctrl-C and progress


@dataclass(frozen=True)
class Settings:
    """How to train: epochs, mini-batches, η by its schedule, λ, the optimizer, how many epochs to wait for a better."""

    epochs: int
    mini_batch_size: int
    schedule: Schedule
    lmbda: float
    optimizer: Optimizer
    patience: int | None


@dataclass
class Best:
    """The best epoch so far by validation, its figure, and its parameters on the host, by name."""

    figure: float
    epoch: int
    tensors: Tensors


@dataclass
class State:
    """All that decides how training goes on, but for the parameters: what a checkpoint holds beside them.

    `steps` counts all mini-batches; `epoch` is the one under way, from 1; `done` counts its finished mini-batches,
    whose costs add up to `total`; `rng` is the generator's state before the epoch's order was drawn.
    """

    moments: OptimizerState
    steps: int = 0
    epoch: int = 1
    done: int = 0
    total: float = 0.0
    rng: Any = None
    history: History = field(default_factory=History)
    best: Best | None = None


class Watcher:
    """Somebody told how training goes; this one does not listen."""

    def advanced(self, examples: int) -> None:
        """Hear that so many more examples have been used."""

    def finished(self, epoch: Epoch) -> None:
        """Hear that an epoch is over."""

    def warned(self, message: str) -> None:
        """Log a warning about training that goes on; the default handler of `logging` writes it to standard error."""
        logging.getLogger("fastbp").warning(message)


Validation = Callable[[], tuple[float, float | None]]
"""Returns the cost and, where there are classes, the fraction right."""


def train(
    plan: Plan,
    p: Parameters,
    examples: Examples,
    source: str,
    training_indices: npt.NDArray[np.int64],
    settings: Settings,
    state: State,
    rng: np.random.Generator,
    *,
    validate: Validation | None = None,
    watcher: Watcher | None = None,
    callback: Callable[[Epoch], Any] | None = None,
    checkpoint: Callable[[State], None] | None = None,
    check_data: Callable[[], None] | None = None,
) -> History:
    """Train parameters in place on the training_indices examples, from a state on; return what was watched.

    Each epoch takes the examples in a new order from `rng`. A last mini-batch that is shorter is divided by its own
    size. A callback that returns True ends training. On Ctrl-C the parameters are those of the last whole mini-batch.
    With patience, the best epoch's parameters are put back at the end. `checkpoint` gets the state after each epoch,
    and on Ctrl-C; if it raises, training goes on with a warning, and raises `CheckpointError` at the end if the last
    state could not be kept. `check_data` is called before examples are read and after, and ends training by raising.
    """
    watcher, check_data = watcher or Watcher(), check_data or _unchecked
    failure: str | None = None  # of the last checkpoint
    watcher.advanced((state.epoch - 1) * len(training_indices))
    size, optimizer = settings.mini_batch_size, settings.optimizer
    loop = MiniBatches(plan, p, examples, source, size, len(training_indices), state, optimizer, lmbda=settings.lmbda)
    state.rng = rng.bit_generator.state  # what a checkpoint needs before the first epoch has begun
    try:
        while state.epoch <= settings.epochs and not _stops_early(state, settings):
            state.rng = rng.bit_generator.state
            eta = eta_of(settings.schedule, state.epoch, settings.epochs)
            check_data()
            start = time.perf_counter()
            cost = loop.epoch(training_indices[rng.permutation(len(training_indices))], eta, watcher)
            seconds = time.perf_counter() - start
            _check_finite(p, plan, state, eta)
            check_data()
            watched, accuracy = validate() if validate else (None, None)
            check_data()  # before the checkpoint: it stays that of the last epoch whose data were sound
            epoch = Epoch(
                state.epoch, settings.epochs, cost, watched, accuracy, seconds, len(training_indices) / seconds
            )
            with uninterrupted():
                _finish(state, epoch, rng)
                if settings.patience is not None:
                    _keep_if_best(state, epoch, p, plan)
                failure = _not_kept(checkpoint, state)
                if failure is not None:
                    watcher.warned(f"{failure}; training continues, and tries again after the next epoch")
            watcher.finished(epoch)
            if callback is not None and _is_true(callback(epoch)):
                break
    except KeyboardInterrupt:
        if (failure := _not_kept(checkpoint, state)) is not None:
            watcher.warned(failure)
        raise
    if state.best is not None:
        put_tensors("", state.best.tensors, p, plan)
    if failure is not None:
        raise CheckpointError(f"training is over, but its last checkpoint was not written: {failure}")
    return state.history


def _not_kept(checkpoint: Callable[[State], None] | None, state: State) -> str | None:
    """Give the state to a checkpoint; return why it could not be kept, or None."""
    if checkpoint is None:
        return None
    try:
        checkpoint(state)
    except (InputError, OSError, MemoryError) as error:
        return str(error) or "not enough memory for a checkpoint"
    return None


def _unchecked() -> None:
    """Check nothing."""


def _check_finite(p: Parameters, plan: Plan, state: State, eta: float) -> None:
    """Raise `DivergedError` if parameters are not finite: the cost, taken before each update, misses the last one's."""
    blocks = (*p.weights, *(p.biases if plan.formulas.bias else ()))
    with np.errstate(all="ignore"):
        sums = [float(plan.backend.xp.sum(block)) for block in blocks]
    if not all(map(math.isfinite, sums)):
        raise _diverged(state, eta)


def _diverged(state: State, eta: float) -> DivergedError:
    return DivergedError(
        f"the cost is no longer finite in epoch {state.epoch}: train again from fresh parameters with a smaller eta "
        f"(now {eta:g}), or with inputs scaled to [0, 1]"
    )


def _finish(state: State, epoch: Epoch, rng: np.random.Generator) -> None:
    """Write an epoch down and turn to the next."""
    state.history.append(epoch)
    state.epoch, state.done, state.total, state.rng = epoch.number + 1, 0, 0.0, rng.bit_generator.state


def _keep_if_best(state: State, epoch: Epoch, p: Parameters, plan: Plan) -> None:
    """Keep the parameters of an epoch if it has the highest accuracy so far, or without classes the lowest cost."""
    if epoch.validation_cost is None:
        return
    figure = -epoch.validation_cost if epoch.validation_accuracy is None else epoch.validation_accuracy
    if state.best is None or figure > state.best.figure:
        state.best = Best(figure, epoch.number, host_tensors("", p, plan))
        state.history.best_epoch = epoch.number


def _is_true(answer: Any) -> bool:
    """Return whether a callback's answer is True, Python's or NumPy's; a truthy list, say, is none."""
    return isinstance(answer, (bool, np.bool_)) and bool(answer)


def _stops_early(state: State, settings: Settings) -> bool:
    if settings.patience is None or state.best is None:
        return False
    return state.epoch - 1 - state.best.epoch >= settings.patience


class MiniBatches:
    """Epoch after epoch, in stretches of about a tenth of a second, between which Ctrl-C and progress get a turn.

    Of `n` examples, `m` at a time. The gradient has λ/n W in it, or with `lmbda_over_batch` λ over the size of the
    mini-batch, which may be shorter in the end.
    """

    def __init__(
        self, plan: Plan, p: Parameters, examples: Examples, source: str, m: int, n: int, state: State,
        optimizer: Optimizer, *, lmbda: float = 0.0, lmbda_over_batch: bool = False,
    ) -> None:  # fmt: skip
        self.backend, self.p, self.examples, self.state, self.m, self.n = plan.backend, p, examples, state, m, n
        self.optimizer, self.lmbda, self.lmbda_over_batch = optimizer, lmbda, lmbda_over_batch
        plan = replace(plan, formulas=replace(plan.formulas, rule=optimizer.rule))
        self.operations = plan.operations(source)
        self.workers = plan.backend.worker_context(plan, source, m, n)
        memory = WorkspacePool(plan, self.operations, m)
        self.full_batches, self.last_size = divmod(n, m)
        self.full_workspace = memory.workspace(m)
        self.last_workspace = memory.workspace(self.last_size) if self.last_size else None
        self.total = plan.backend.new_total(plan.sizes[-1], m, plan.dtype)
        self.batches_per_call = 1  # mini-batches; grows until it takes its tenth of a second

    def epoch(self, order: npt.NDArray[np.int64], eta: float, watcher: Watcher) -> float:
        """Go once through the examples in an order, from the state's place in it on; return the average cost.

        Ctrl-C is let through while the watcher is called.
        """
        state = self.state
        order = self.backend.upload(order)
        watcher.advanced(min(state.done * self.m, self.n))
        with uninterrupted() as ctrl_c:
            self.backend.set_total(self.total, state.total)
            try:
                with self.workers:
                    self._mini_batches(order, eta, lambda examples: ctrl_c.let_through(watcher.advanced, examples))
            finally:
                state.total = self.backend.cost_in(self.total)  # once: on a GPU it waits, and comes to the host
        if not math.isfinite(state.total):
            raise _diverged(state, eta)
        return state.total / self.n

    def _mini_batches(self, order: Array, eta: float, advanced: Callable[[int], None]) -> None:
        """Train on the mini-batches of an order that are not done yet."""
        state, m = self.state, self.m
        while state.done < self.full_batches:
            count = min(self.batches_per_call, self.full_batches - state.done)
            seconds = self._run(order[state.done * m : (state.done + count) * m], eta, self.full_workspace, m, count)
            self.workers.record_time(count, seconds)
            if count == self.batches_per_call:
                self.batches_per_call = max(1, round(count * min(_STRETCH / max(seconds, 1e-9), 4.0)))
            advanced(count * m)
        if self.last_workspace is not None and state.done == self.full_batches:
            self._run(order[self.full_batches * m :], eta, self.last_workspace, self.last_size, 1)
            advanced(self.last_size)

    def _run(self, order: Array, eta: float, ws: Workspace, m: int, count: int) -> float:
        """Train on so many mini-batches and take them down in the state; return the seconds they took."""
        start, state = time.perf_counter(), self.state
        n = m if self.lmbda_over_batch else self.n
        by = descent(self.optimizer, eta, steps=state.steps, count=count, lmbda=self.lmbda, n=n)
        arguments = (self.operations, self.p, state.moments, ws, self.examples, order, by, m, self.total)
        self.backend.run(equations.train_mini_batches, *arguments)
        self.backend.synchronize()
        state.done, state.steps = state.done + count, state.steps + count
        return time.perf_counter() - start
