"""The training loop: epochs, mini-batches, validation, early stopping. It works on parameters, not on a `Network`."""

import logging
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import equations
from fastbp.backends.interrupts import uninterrupted
from fastbp.errors import CheckpointError, DivergedError, InputError, RankError
from fastbp.files.parameter_tensors import put_tensors
from fastbp.operations import (
    Dropout,
    Examples,
    OptimizerState,
    Parameters,
    Plan,
    PreparingBackend,
    WorkspacePool,
    step_config,
)
from fastbp.optimizers import Optimizer
from fastbp.parameters import copy_parameters, parameters_in_one_block
from fastbp.schedules import Schedule, eta_of
from fastbp.training.dropout import new_dropout, set_keys
from fastbp.training.early_stopping import Best, better, has_run_out
from fastbp.training.history import Epoch, History
from fastbp.training.rank_checks import check_parameters
from fastbp.training.ranks import Ranks
from fastbp.training.shares import Run
from fastbp_kernels.threefry import threefry_2x32

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

    def describe(self) -> dict[str, Any]:
        """Return the settings that must be the same when a run is resumed, and on all ranks."""
        return {
            "mini_batch_size": self.mini_batch_size,
            "eta": _schedule_name(self.schedule),
            "lmbda": self.lmbda,
            "patience": self.patience,
            "dropout": list(self.dropout),
            **self.optimizer.describe(),
        }


def _schedule_name(schedule: Schedule) -> str:
    """Return a text that describes a schedule.

    For a function, the text is its name. For other objects it is the repr, which shows the fields of a dataclass.
    Memory addresses are removed from a repr, since they differ between processes.
    """
    return str(getattr(schedule, "__qualname__", re.sub(r" at 0x[0-9a-fA-F]+", "", repr(schedule))))


@dataclass
class State:
    """Everything that decides how training continues, apart from the parameters and the settings.

    `moments` is the state of the optimizer. `steps` is the number of all mini-batches so far. `epoch` is the number of
    the current epoch, from 1. `done` is the number of finished mini-batches in this epoch, and `total` is the sum of
    their costs. `rng` is the state that the random generator had before it drew the order of the examples for this
    epoch. If several ranks train, `totals` has the part of `total` that each rank has computed.
    """

    moments: OptimizerState
    steps: int = 0
    epoch: int = 1
    done: int = 0
    total: float = 0.0
    rng: Any = None
    history: History = field(default_factory=History)
    best: Best | None = None
    totals: list[float] = field(default_factory=list)


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
    ranks: Ranks | None = None,
) -> History:
    """Train the parameters in place on the examples with the given indices; return the history.

    Training starts from `state`. Each epoch goes through the examples in a new order drawn from `rng`. The gradient of
    a shorter last mini-batch is divided by its own size. Training ends early if `callback` returns True. On Ctrl-C the
    parameters are those after the last complete mini-batch. With patience, the parameters of the best epoch are
    restored at the end.

    `checkpoint` is called with the state after each epoch and on Ctrl-C. If it raises an exception, training continues
    with a warning. If the call after the last epoch raises one, `CheckpointError` is raised. `check_data` is called
    before and after examples are read. It can end training by raising an exception.

    If there are several `ranks`, each of them calls this function, and all of them end with the same parameters.
    """
    watcher, check_data, ranks = watcher or Watcher(), check_data or _unchecked, ranks or Ranks()
    failure: str | None = None  # why the last checkpoint was not written
    size, optimizer = settings.mini_batch_size, settings.optimizer
    loop = MiniBatches(
        plan, p, examples, source, size, len(training_indices), state, optimizer, lmbda=settings.lmbda,
        dropout=settings.dropout, ranks=ranks,
    )  # fmt: skip
    watcher.advanced((state.epoch - 1) * loop.n)
    state.rng = rng.bit_generator.state  # for a checkpoint before the first epoch
    _report_resumption(watcher, settings, state)
    try:
        while not _has_ended(settings, state):
            state.rng = rng.bit_generator.state
            with ranks.agreement():
                eta = eta_of(settings.schedule, state.epoch, settings.epochs)
                check_data()
            eta = ranks.from_first(eta)
            if settings.dropout:
                loop.draw_dropout_key(rng)
            order = ranks.own_generator(rng).permutation(len(training_indices))
            start = time.perf_counter()
            cost = loop.epoch(training_indices[order], eta, watcher)
            seconds = max(ranks.gather(time.perf_counter() - start))
            with ranks.agreement():
                _check_finite(p, plan, state, eta)
                check_data()
            check_parameters(ranks, p, plan, state.epoch)
            watched, accuracy = validate() if validate else (None, None)
            with ranks.agreement():
                check_data()  # a checkpoint is written only if the data are unchanged
            epoch = Epoch(state.epoch, settings.epochs, cost, watched, accuracy, seconds, loop.n / seconds)
            with uninterrupted():
                _finish(state, epoch, rng)
                if settings.patience is not None:
                    state.best = better(state.best, epoch, p, plan)
                    state.history.best_epoch = None if state.best is None else state.best.epoch
                failure = ranks.from_first(_write_failure(checkpoint, state))
                if failure is not None and ranks.first:
                    watcher.warned(f"{failure}; training continues; the next attempt is after the next epoch")
            watcher.finished(epoch)
            if any(ranks.gather(is_true(ranks.together(callback or _ignore, epoch)))):
                break
    except KeyboardInterrupt:
        if (failure := ranks.from_first(_write_failure(checkpoint, state))) is not None and ranks.first:
            watcher.warned(failure)
        raise
    if state.best is not None:
        put_tensors("", state.best.tensors, p, plan)
    with ranks.agreement():
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


def _ignore(epoch: Epoch) -> None:
    """Do nothing. It is called if there is no callback."""


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
    state.epoch, state.done, state.total, state.totals = epoch.number + 1, 0, 0.0, []
    state.rng = rng.bit_generator.state


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

    With several ranks, each rank computes its columns of every mini-batch, and m counts the columns of all ranks. The
    first rank computes the step, and the other ranks their part of it, in one block of memory. The sum of the blocks is
    the step. For an optimizer with a formula, the block is ∇C. For plain gradient descent, it is a copy of the
    parameters, so the network itself only has parameters that are complete.
    """

    def __init__(
        self, plan: Plan, p: Parameters, examples: Examples, source: str, m: int, n: int, state: State,
        optimizer: Optimizer, *, lmbda: float = 0.0, dropout: tuple[float, ...] = (), ranks: Ranks | None = None,
    ) -> None:  # fmt: skip
        self.backend, self.p, self.examples, self.state, self.m = plan.backend, p, examples, state, m
        self.optimizer, self.lmbda, self.l2_scale = optimizer, lmbda, 0.0
        self.decays: npt.NDArray[np.float64] | None = None
        self.ranks = ranks or Ranks()
        self.shares = self.ranks.shares(n, m)
        self.n = self.shares.n
        self.full_batches, last = divmod(self.n, m)
        self.batches = self.full_batches + bool(last)
        plan = replace(plan, formulas=replace(plan.formulas, rule=optimizer.rule))
        self.operations = self.ranks.one_per_node_first(lambda: plan.operations(source))
        with self.ranks.agreement():
            self.workers = plan.backend.worker_context(plan, source, m, self.n)
            several = self.ranks.size > 1
            self.run = plan.backend.run if several else plan.backend.training_run(plan, source, m, self.n)
            sizes = {run.columns for run in self.shares.runs}
            memory = WorkspacePool(plan, self.operations, max(sizes), examples.x, dropout)
            self.workspaces = {size: memory.workspace(size) for size in sizes}
            self.total = plan.backend.new_cost_total(plan.sizes[-1], max(sizes), plan.dtype)
            self.dropouts: dict[int, Dropout] = {}
            if dropout:
                inputs = {size: memory.inputs(size) for size in sizes}
                self.dropouts = {size: new_dropout(plan, dropout, inputs[size], examples.x) for size in sizes}
        self.trained, self.numbers = p, np.zeros(0, np.int64)
        if several:
            self._share_block(plan)
        self.batches_per_call = 1  # grows until a call takes a tenth of a second

    def draw_dropout_key(self, rng: np.random.Generator) -> None:
        """Draw the key of the dropout masks of the next epoch.

        Masks belong to the number of an example. If each rank has its own examples, the ranks have different keys,
        because they use the same numbers.
        """
        key_0, key_1 = map(int, rng.integers(2**32, size=2))
        if self.ranks.sharded:
            key_0, key_1 = threefry_2x32(key_0, key_1, self.ranks.index, 1)
        self.set_dropout_key(key_0, key_1)

    def set_dropout_key(self, key_0: int, key_1: int) -> None:
        """Set the key of the dropout masks of the next epoch."""
        for dropout in self.dropouts.values():
            set_keys(dropout, key_0, key_1)

    def epoch(self, order: npt.NDArray[np.int64], eta: float, watcher: Watcher) -> float:
        """Train on the examples in the given order; return the average cost of the epoch.

        If the state is in the middle of an epoch, this epoch is continued at its next mini-batch. Ctrl-C can interrupt
        the calls of `watcher`.
        """
        state = self.state
        order = self.backend.upload(self.shares.own_order(order))

        def report(examples: int) -> None:
            self.ranks.together(watcher.advanced, examples)

        report(min(state.done * self.m, self.n))
        with uninterrupted() as ctrl_c:
            self.backend.set_cost_total(self.total, self._own_total())
            self._begin()
            try:
                with self.workers:
                    self._mini_batches(order, eta, lambda examples: ctrl_c.let_through(report, examples))
            except BaseException as error:
                if self.ranks.has_agreed(error):
                    self._end()
                raise
            self._end()
        with self.ranks.agreement():
            if not math.isfinite(state.total):
                raise _diverged(state, eta)
        return state.total / self.n

    def _begin(self) -> None:
        """Copy the network's parameters to the block that the ranks sum, if they are summed."""
        if self.trained is not self.p:
            copy_parameters(self.p, self.trained)

    def _end(self) -> None:
        """Take over the costs and the parameters after a complete mini-batch."""
        if self.trained is not self.p:
            copy_parameters(self.trained, self.p)
        totals = self.ranks.gather(self.backend.read_cost_total(self.total))  # once per epoch: a GPU waits here
        self.state.total = sum(totals)
        self.state.totals = totals if self.ranks.size > 1 else []

    def _own_total(self) -> float:
        """Return the costs with which this rank starts. A resumed run starts with the costs of the checkpoint."""
        state = self.state
        if self.ranks.size > 1 and len(state.totals) == self.ranks.size:
            return state.totals[self.ranks.index]
        return state.total if self.ranks.first else 0.0

    def _mini_batches(self, order: Array, eta: float, advanced: Callable[[int], None]) -> None:
        """Train on the remaining mini-batches of an epoch."""
        state = self.state
        while state.done < self.batches:
            full = state.done < self.full_batches
            count = min(self.batches_per_call, self.full_batches - state.done) if full else 1
            seconds = sum(self._run(run, order, eta) for run in self.shares.within(state.done, state.done + count))
            seconds = self.ranks.from_first(seconds)  # so that all ranks stop after the same mini-batch
            if full:
                self.workers.record_time(count, seconds)
                if count == self.batches_per_call:
                    self.batches_per_call = max(1, round(count * min(_SECONDS_PER_CALL / max(seconds, 1e-9), 4.0)))
            advanced(count * self.m if full else self.n - self.full_batches * self.m)

    def _run(self, run: Run, order: Array, eta: float) -> float:
        """Train on a run of mini-batches and count them in the state; return the seconds they took."""
        start, state = time.perf_counter(), self.state
        equation, *arguments = self._call(run, order, eta)
        self.run(equation, *arguments)
        self.backend.synchronize()
        if len(self.numbers) and self.numbers[-1]:
            raise RankError(f"MPI_Allreduce has failed with the error code {self.numbers[-1]}")
        state.done, state.steps = state.done + run.batches, state.steps + run.batches
        return time.perf_counter() - start

    def _call(self, run: Run, order: Array, eta: float) -> tuple[Any, ...]:
        """Return the equation for a run of mini-batches, and its arguments."""
        state, columns = self.state, run.columns
        step = step_config(self.optimizer, eta, steps=state.steps, count=run.batches, lmbda=self.lmbda, n=self.n)
        if self.decays is not None:
            step = step._replace(decays=self.decays[run.first : run.first + run.batches], l2_scale=self.l2_scale)
        step = step._replace(carry=float(self.ranks.first), ranks=self.numbers)
        order = order[run.start : run.start + run.batches * columns]
        arguments = (self.operations, self.trained, state.moments, self.workspaces[columns], self.examples, order, step)
        if self.dropouts:
            equation = equations.train_mini_batches_with_dropout
            return equation, *arguments, run.m, self.total, self.dropouts[columns]
        return equations.train_mini_batches, *arguments, run.m, self.total

    def _share_block(self, plan: Plan) -> None:
        """Allocate the block that the ranks sum in each step, and connect the ranks. Compile the equations."""
        with self.ranks.agreement():
            block, parts = parameters_in_one_block(plan)
            if self.optimizer.rule is None:
                self.trained = parts
            else:
                self.state.moments = self.state.moments._replace(nabla=parts)
        summed, self.numbers = self.backend.sum_over_ranks(self.ranks.comm, block)
        self.operations = self.operations._replace(sum_over_ranks=summed)
        backend = self.backend
        if isinstance(backend, PreparingBackend):
            run = self.shares.runs[0]
            order = np.zeros(run.columns, np.int64)
            self.ranks.one_per_node_first(lambda: backend.prepare(*self._call(run._replace(batches=1), order, 0.1)))
