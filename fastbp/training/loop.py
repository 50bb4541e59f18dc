"""The training loop: epochs, mini-batches, validation, early stopping. It works on parameters, not on a `Network`."""

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
from fastbp.files.parameter_tensors import put_tensors
from fastbp.operations import (
    Dropout,
    Examples,
    OptimizerState,
    Parameters,
    Plan,
    Workspace,
    WorkspacePool,
    step_config,
)
from fastbp.optimizers import Optimizer
from fastbp.schedules import Schedule, eta_of
from fastbp.training.dropout import new_dropout, set_keys
from fastbp.training.early_stopping import Best, better, has_run_out
from fastbp.training.history import Epoch, History

Array = Any
_SECONDS_PER_CALL = 0.1  # for a call of compiled code; Ctrl-C and the progress bar are handled between calls


@dataclass(frozen=True)
class Settings:
    """The settings of training: epochs, mini-batch size, learning-rate schedule, λ, optimizer, patience and dropout.

    `dropout` has one rate per layer with weights, for the inputs of this layer. It is empty if all rates are 0.
    """

    epochs: int
    mini_batch_size: int
    schedule: Schedule
    lmbda: float
    optimizer: Optimizer
    patience: int | None
    dropout: tuple[float, ...] = ()


@dataclass
class State:
    """Everything that decides how training continues, apart from the parameters and the settings.

    `moments` is the state of the optimizer. `steps` is the number of all mini-batches so far. `epoch` is the number of
    the current epoch, from 1. `done` is the number of finished mini-batches in this epoch, and `total` is the sum of
    their costs. `rng` is the state that the random generator had before it drew the order of the examples for this
    epoch.
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
    """Receives reports of progress. The base class ignores all reports except warnings."""

    def advanced(self, examples: int) -> None:
        """Receive the number of examples just processed."""

    def resumed(self, epoch: int, epochs: int, finished: bool) -> None:
        """Receive the number of the epoch with which a run continues, or that an earlier call has finished the run."""

    def finished(self, epoch: Epoch) -> None:
        """Receive the results of an epoch that has finished."""

    def warned(self, message: str) -> None:
        """Log a warning; the default handler of `logging` writes it to standard error."""
        logging.getLogger("fastbp").warning(message)


Validation = Callable[[], tuple[float, float | None]]
"""A function that returns the validation cost and, if the targets are classes, the fraction of correct predictions."""


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
    """Train the parameters in place on the examples with the given indices; return the history.

    Training starts from `state`. Each epoch goes through the examples in a new order drawn from `rng`. The gradient of
    a shorter last mini-batch is divided by its own size. Training ends early if `callback` returns True. On Ctrl-C the
    parameters are those after the last complete mini-batch. With patience, the parameters of the best epoch are
    restored at the end.

    `checkpoint` is called with the state after each epoch and on Ctrl-C. If it raises an exception, training continues
    with a warning. If the call after the last epoch raises one, `CheckpointError` is raised. `check_data` is called
    before and after examples are read. It can end training by raising an exception.
    """
    watcher, check_data = watcher or Watcher(), check_data or _unchecked
    failure: str | None = None  # why the last checkpoint was not written
    watcher.advanced((state.epoch - 1) * len(training_indices))
    size, optimizer = settings.mini_batch_size, settings.optimizer
    loop = MiniBatches(
        plan, p, examples, source, size, len(training_indices), state, optimizer, lmbda=settings.lmbda,
        dropout=settings.dropout,
    )  # fmt: skip
    state.rng = rng.bit_generator.state  # for a checkpoint before the first epoch
    _report_resumption(watcher, settings, state)
    try:
        while not _has_ended(settings, state):
            state.rng = rng.bit_generator.state
            eta = eta_of(settings.schedule, state.epoch, settings.epochs)
            check_data()
            if settings.dropout:
                loop.draw_dropout_key(rng)
            start = time.perf_counter()
            cost = loop.epoch(training_indices[rng.permutation(len(training_indices))], eta, watcher)
            seconds = time.perf_counter() - start
            _check_finite(p, plan, state, eta)
            check_data()
            watched, accuracy = validate() if validate else (None, None)
            check_data()  # a checkpoint is written only if the data are unchanged
            epoch = Epoch(
                state.epoch, settings.epochs, cost, watched, accuracy, seconds, len(training_indices) / seconds
            )
            with uninterrupted():
                _finish(state, epoch, rng)
                if settings.patience is not None:
                    state.best = better(state.best, epoch, p, plan)
                    state.history.best_epoch = None if state.best is None else state.best.epoch
                failure = _write_failure(checkpoint, state)
                if failure is not None:
                    watcher.warned(f"{failure}; training continues; the next attempt is after the next epoch")
            watcher.finished(epoch)
            if callback is not None and is_true(callback(epoch)):
                break
    except KeyboardInterrupt:
        if (failure := _write_failure(checkpoint, state)) is not None:
            watcher.warned(failure)
        raise
    if state.best is not None:
        put_tensors("", state.best.tensors, p, plan)
    if failure is not None:
        raise CheckpointError(f"training has finished, but its last checkpoint was not written: {failure}")
    return state.history


def _has_ended(settings: Settings, state: State) -> bool:
    return state.epoch > settings.epochs or has_run_out(settings.patience, state.best, state.epoch - 1)


def _report_resumption(watcher: Watcher, settings: Settings, state: State) -> None:
    """Report with which epoch a resumed run continues. Do nothing for a new run."""
    if state.steps:
        watcher.resumed(state.epoch, settings.epochs, _has_ended(settings, state))


def _write_failure(checkpoint: Callable[[State], None] | None, state: State) -> str | None:
    """Write a checkpoint of the state; return the reason if it could not be written, else None."""
    if checkpoint is None:
        return None
    try:
        checkpoint(state)
    except (InputError, OSError, MemoryError) as error:
        return str(error) or "not enough memory for a checkpoint"
    return None


def _unchecked() -> None:
    """Do nothing."""


def _check_finite(p: Parameters, plan: Plan, state: State, eta: float) -> None:
    """Raise `DivergedError` if a parameter is not finite.

    The cost does not reveal such a parameter, because it was computed before the last update.
    """
    blocks = (*p.weights, *(p.biases if plan.formulas.bias else ()))
    with np.errstate(all="ignore"), plan.backend.device_context():
        sums = [float(plan.backend.xp.sum(block)) for block in blocks]
    if not all(map(math.isfinite, sums)):
        raise _diverged(state, eta)


def _diverged(state: State, eta: float) -> DivergedError:
    return DivergedError(
        f"the cost is no longer finite in epoch {state.epoch}; train a new network with a smaller eta (now {eta:g}) "
        "or with inputs scaled to [0, 1]"
    )


def _finish(state: State, epoch: Epoch, rng: np.random.Generator) -> None:
    """Record an epoch in the history and set the state to the start of the next one."""
    state.history.append(epoch)
    state.epoch, state.done, state.total, state.rng = epoch.number + 1, 0, 0.0, rng.bit_generator.state


def is_true(answer: Any) -> bool:
    """Return whether the answer of a callback is Python's or NumPy's True.

    Other values that count as true, such as a list, do not end training.
    """
    return isinstance(answer, (bool, np.bool_)) and bool(answer)


class MiniBatches:
    """Trains on `n` examples, epoch by epoch, in mini-batches of `m` examples.

    Each call of compiled code processes as many mini-batches as it can in about a tenth of a second.
    Ctrl-C and progress are handled between calls. The last mini-batch may be smaller. The L2 term of the gradient is
    λ/n W, unless `decays` has been set: then its entries are the factors of W in the mini-batches of an epoch, and the
    cost has an L2 term too, which is counted `l2_scale` times.
    """

    def __init__(
        self, plan: Plan, p: Parameters, examples: Examples, source: str, m: int, n: int, state: State,
        optimizer: Optimizer, *, lmbda: float = 0.0, dropout: tuple[float, ...] = (),
    ) -> None:  # fmt: skip
        self.backend, self.p, self.examples, self.state, self.m, self.n = plan.backend, p, examples, state, m, n
        self.optimizer, self.lmbda, self.l2_scale = optimizer, lmbda, 0.0
        self.decays: npt.NDArray[np.float64] | None = None
        plan = replace(plan, formulas=replace(plan.formulas, rule=optimizer.rule))
        self.operations = plan.operations(source)
        self.workers = plan.backend.worker_context(plan, source, m, n)
        self.run = plan.backend.training_run(plan, source, m, n)
        memory = WorkspacePool(plan, self.operations, m, examples.x, dropout)
        self.full_batches, self.last_size = divmod(n, m)
        self.full_workspace = memory.workspace(m)
        self.last_workspace = memory.workspace(self.last_size) if self.last_size else None
        self.total = plan.backend.new_cost_total(plan.sizes[-1], m, plan.dtype)
        self.dropouts: list[Dropout] = []  # one for full mini-batches, and one for a smaller last mini-batch
        if dropout:
            sizes = [m, self.last_size] if self.last_size else [m]
            self.dropouts = [new_dropout(plan, dropout, memory.inputs(size), examples.x) for size in sizes]
        self.batches_per_call = 1  # grows until a call takes a tenth of a second

    def draw_dropout_key(self, rng: np.random.Generator) -> None:
        """Draw the key of the dropout masks of the next epoch."""
        self.set_dropout_key(*map(int, rng.integers(2**32, size=2)))

    def set_dropout_key(self, key_0: int, key_1: int) -> None:
        """Set the key of the dropout masks of the next epoch."""
        for dropout in self.dropouts:
            set_keys(dropout, key_0, key_1)

    def epoch(self, order: npt.NDArray[np.int64], eta: float, watcher: Watcher) -> float:
        """Train on the examples in the given order; return the average cost of the epoch.

        If the state is in the middle of an epoch, this epoch is continued at its next mini-batch. Ctrl-C can interrupt
        the calls of `watcher`.
        """
        state = self.state
        order = self.backend.upload(order)
        watcher.advanced(min(state.done * self.m, self.n))
        with uninterrupted() as ctrl_c:
            self.backend.set_cost_total(self.total, state.total)
            try:
                with self.workers:
                    self._mini_batches(order, eta, lambda examples: ctrl_c.let_through(watcher.advanced, examples))
            finally:
                state.total = self.backend.read_cost_total(self.total)  # once per epoch: a GPU waits here
        if not math.isfinite(state.total):
            raise _diverged(state, eta)
        return state.total / self.n

    def _mini_batches(self, order: Array, eta: float, advanced: Callable[[int], None]) -> None:
        """Train on the remaining mini-batches of an epoch."""
        state, m = self.state, self.m
        while state.done < self.full_batches:
            count = min(self.batches_per_call, self.full_batches - state.done)
            seconds = self._run(order[state.done * m : (state.done + count) * m], eta, self.full_workspace, m, count)
            self.workers.record_time(count, seconds)
            if count == self.batches_per_call:
                self.batches_per_call = max(1, round(count * min(_SECONDS_PER_CALL / max(seconds, 1e-9), 4.0)))
            advanced(count * m)
        if self.last_workspace is not None and state.done == self.full_batches:
            self._run(order[self.full_batches * m :], eta, self.last_workspace, self.last_size, 1)
            advanced(self.last_size)

    def _run(self, order: Array, eta: float, ws: Workspace, m: int, count: int) -> float:
        """Train on `count` mini-batches and count them in the state; return the seconds they took."""
        start, state = time.perf_counter(), self.state
        step = step_config(self.optimizer, eta, steps=state.steps, count=count, lmbda=self.lmbda, n=self.n)
        if self.decays is not None:
            step = step._replace(decays=self.decays[state.done : state.done + count], l2_scale=self.l2_scale)
        arguments = (self.operations, self.p, state.moments, ws, self.examples, order, step, m, self.total)
        if self.dropouts:
            dropout = self.dropouts[0] if ws is self.full_workspace else self.dropouts[1]
            self.run(equations.train_mini_batches_with_dropout, *arguments, dropout)
        else:
            self.run(equations.train_mini_batches, *arguments)
        self.backend.synchronize()
        state.done, state.steps = state.done + count, state.steps + count
        return time.perf_counter() - start
