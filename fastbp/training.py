"""Epochs and mini-batches, and what is watched meanwhile; works on parameters and knows no Network."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fastbp import equations
from fastbp.backends.operations import Memory, Parameters, Plan
from fastbp.interrupts import uninterrupted

Array = Any
_STRETCH = 0.1  # seconds between two looks at Ctrl-C and progress


class DivergedError(ArithmeticError):
    """Training was stopped since the cost is no longer finite; the message says what to lower."""


class Epoch(NamedTuple):
    """What is known after an epoch.

    `cost` is the average over the epoch of the cost of each mini-batch just before its update, without the L2 term;
    validation figures are None without validation data, `validation_accuracy` also where its targets are no classes.
    """

    number: int
    epochs: int
    cost: float
    validation_cost: float | None
    validation_accuracy: float | None
    seconds: float
    examples_per_second: float

    def __str__(self) -> str:
        parts = [f"epoch {self.number:{len(str(self.epochs))}}/{self.epochs}", f"cost {self.cost:.4f}"]
        if self.validation_accuracy is not None:
            parts.append(f"validation {self.validation_accuracy:7.2%}")
        elif self.validation_cost is not None:
            parts.append(f"validation cost {self.validation_cost:.4f}")
        left = (self.epochs - self.number) * self.seconds
        return "  ".join([*parts, f"{self.examples_per_second:,.0f} examples/s", f"{left:.0f} s left"])


@dataclass
class History:
    """What was watched, a list each with one entry an epoch; empty where there was nothing to watch.

    >>> History(cost=[0.5, 0.25]).cost[-1]
    0.25
    """

    cost: list[float] = field(default_factory=list)
    validation_cost: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def append(self, epoch: Epoch) -> None:
        """Add the figures of an epoch."""
        self.cost.append(epoch.cost)
        self.seconds.append(epoch.seconds)
        if epoch.validation_cost is not None:
            self.validation_cost.append(epoch.validation_cost)
        if epoch.validation_accuracy is not None:
            self.validation_accuracy.append(epoch.validation_accuracy)


@dataclass(frozen=True)
class Schedule:
    """How to descend: (W, b) ← (1 − ηλ/n) W − (η/m) ∇W, b − (η/m) ∇b, `epochs` times over the examples."""

    epochs: int
    mini_batch_size: int
    eta: float
    lmbda: float


class Watcher:
    """Somebody told how training goes; this one does not listen."""

    def advanced(self, examples: int) -> None:
        """Hear that so many more examples have been used."""

    def finished(self, epoch: Epoch) -> None:
        """Hear that an epoch is over."""


Validation = Callable[[], tuple[float, float | None]]
"""Returns the cost and, where there are classes, the fraction right."""


def train(
    plan: Plan,
    p: Parameters,
    x: Array,
    y: Array,
    source: str,
    schedule: Schedule,
    rng: np.random.Generator,
    *,
    validate: Validation | None = None,
    watcher: Watcher | None = None,
    callback: Callable[[Epoch], Any] | None = None,
) -> History:
    """Train parameters in place on examples, the rows of x, with targets, the rows of y; return what was watched.

    Each epoch takes the examples in a new order from `rng`. A last mini-batch that is shorter is divided by its own
    size. A callback that returns True ends training. On Ctrl-C the parameters are those of the last whole mini-batch.
    """
    watcher = watcher or Watcher()
    history = History()
    loop = MiniBatches(plan, p, x, y, source, schedule)
    for number in range(1, schedule.epochs + 1):
        start = time.perf_counter()
        cost = loop.epoch(rng.permutation(x.shape[0]), number, watcher)
        seconds = time.perf_counter() - start
        validation_cost, accuracy = validate() if validate else (None, None)
        rate = x.shape[0] / seconds
        epoch = Epoch(number, schedule.epochs, cost, validation_cost, accuracy, seconds, rate)
        history.append(epoch)
        watcher.finished(epoch)
        if callback is not None and callback(epoch) is True:
            break
    return history


class MiniBatches:
    """Epoch after epoch, in stretches of about a tenth of a second, between which Ctrl-C and progress get a turn."""

    def __init__(self, plan: Plan, p: Parameters, x: Array, y: Array, source: str, schedule: Schedule) -> None:
        self.backend, self.p, self.x, self.y, self.schedule = plan.backend, p, x, y, schedule
        self.examples = int(x.shape[0])
        self.operations = plan.operations(source)
        memory = Memory(plan, self.operations, schedule.mini_batch_size)
        self.full, self.rest = divmod(self.examples, schedule.mini_batch_size)
        self.whole = memory.workspace(schedule.mini_batch_size)
        self.short = memory.workspace(self.rest) if self.rest else None
        self.total = plan.backend.empty((1,), "float64")
        self.stretch = 1  # mini-batches; grows until it takes its tenth of a second

    def epoch(self, order: Any, number: int, watcher: Watcher) -> float:
        """Go once through the examples in an order; return the average cost."""
        order = self.backend.upload(order)
        self.total[...] = 0.0
        m = self.schedule.mini_batch_size
        done = 0
        while done < self.full:
            count = min(self.stretch, self.full - done)
            seconds = self._run(order[done * m : (done + count) * m], self.whole, m)
            self._look(number)
            watcher.advanced(count * m)
            done += count
            if count == self.stretch:
                self.stretch = max(1, round(count * min(_STRETCH / max(seconds, 1e-9), 4.0)))
        if self.rest:
            self._run(order[self.full * m :], self.short, self.rest)
            self._look(number)
            watcher.advanced(self.rest)
        return float(self.total[0]) / self.examples

    def _run(self, order: Array, ws: Any, m: int) -> float:
        start = time.perf_counter()
        schedule = self.schedule
        decay = 1.0 - schedule.eta * schedule.lmbda / self.examples
        with uninterrupted():
            arguments = (self.operations, self.p, ws, self.x, self.y, order, schedule.eta, decay, m, self.total)
            self.backend.run(equations.train_mini_batches, *arguments)
            self.backend.synchronize()
        return time.perf_counter() - start

    def _look(self, number: int) -> None:
        if not math.isfinite(float(self.total[0])):
            raise DivergedError(
                f"the cost is no longer finite in epoch {number}: train again from fresh parameters with a smaller eta "
                f"(now {self.schedule.eta:g}), or with inputs scaled to [0, 1]"
            )
