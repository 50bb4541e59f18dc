"""Training that can go on from where it was: all that decides how it goes on, in a file after each epoch.

A checkpoint holds the parameters and the optimizer's moments, the generator's state, the place in the epoch, the
history, and the best parameters so far; and what the run is of, which must be the same where it goes on.
"""

import copy
import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastbp.backends.operations import Moments, Parameters, Plan
from fastbp.checks import InputError, brief, finite_number, whole_number
from fastbp.files import PathName, field, read_tensors, reading, write_tensors
from fastbp.models import describe, generator_from, generator_state
from fastbp.parameters import Tensors, check_tensors, host_tensors, put_tensors
from fastbp.schedules import Schedule
from fastbp.training import Best, History, Settings, State
from fastbp.version import __version__

VERSION = 1
"""Of checkpoint files; one of a later version is refused."""

_PREFIXES = ("velocity.", "second.", "best.", "history.")
_BEFORE = {"optimizer": "SGD", "nesterov": False}  # what files say nothing of that were written before there was Adam
_LISTS = ("cost", "validation_cost", "validation_accuracy", "seconds")


class Checkpoint:
    """A file that a run of training leaves its state in, and takes it from again.

    `path` is the file, `plan`, `settings` and the number of `examples` say what the run is of, and `rng` is its
    generator, whose state as the run began is kept, too: what is held out for validation was drawn from it.
    """

    def __init__(
        self, path: PathName, plan: Plan, settings: Settings, examples: int, rng: np.random.Generator, began: Any
    ) -> None:
        self.path, self.plan, self.rng, self.began = path, plan, rng, began
        self.rule = settings.optimizer.rule
        self.run = describe(plan) | _settings(settings) | {"examples": examples}

    def write(self, p: Parameters, state: State) -> None:
        """Write parameters and state, whole or not at all; raises `InputError` if that cannot be done."""
        tensors = host_tensors("", p, self.plan)
        for prefix, moment in self._moments(state).items():
            tensors |= host_tensors(prefix, moment, self.plan)
        if state.best is not None:
            tensors |= {f"best.{name}": array for name, array in state.best.tensors.items()}
        tensors |= {f"history.{name}": np.array(getattr(state.history, name), float) for name in _LISTS}
        description = {"kind": "checkpoint", "version": VERSION, "fastbp": __version__, "run": self.run}
        description |= {"steps": state.steps, "epoch": state.epoch, "done": state.done, "total": state.total}
        description |= {"rng": self._json(state.rng), "began": self._json(self.began)}
        if state.best is not None:
            description["best"] = {"figure": state.best.figure, "epoch": state.best.epoch}
        write_tensors(self.path, tensors, description)

    def read(self, p: Parameters, state: State) -> None:
        """Put parameters, state and the generator back as the file has them.

        Raises `InputError`, and leaves everything as it was, if the file is damaged or of another run.
        """
        tensors, description = read_tensors(self.path, "checkpoint", VERSION)
        with reading(self.path):
            _check_same_run(_BEFORE | field(description, "run", dict), self.run)
            wanted = {"": p} | self._moments(state)
            wanted |= {"best.": p} if "best" in description else {}
            parts = _parts(tensors)
            for prefix in parts.keys() - wanted.keys() - {"history."}:
                raise InputError(f"its tensors and its description disagree about {brief(min(parts[prefix]))}")
            for prefix, parameters in wanted.items():
                check_tensors(prefix, parts.get(prefix, {}), parameters, self.plan)
            restored = _state(parts, description, state.moments)
        wanted.pop("best.", None)
        for prefix, parameters in wanted.items():
            put_tensors(prefix, parts[prefix], parameters, self.plan)
        vars(state).update(vars(restored))
        self.rng.bit_generator.state = state.rng

    def _moments(self, state: State) -> dict[str, Parameters]:
        """Return the moments that the optimizer has, by what their names begin with in a file."""
        moments = {"velocity.": state.moments.first, "second.": state.moments.second}
        return dict(list(moments.items())[: 0 if self.rule is None else self.rule.moments])

    def _json(self, state: Any) -> dict[str, Any]:
        generator = copy.deepcopy(self.rng)
        generator.bit_generator.state = state
        return generator_state(generator)


def _state(parts: Mapping[str, Tensors], description: Mapping[str, Any], moments: Moments) -> State:
    """Return the state that tensors and their description are of."""
    cost, validation_cost, validation_accuracy, seconds = (_figures(parts, f"history.{name}") for name in _LISTS)
    history, best = History(cost, validation_cost, validation_accuracy, seconds), None
    if "best" in description:
        kept = field(description, "best", dict)
        tensors = {name.removeprefix("best."): array for name, array in parts["best."].items()}
        best = Best(field(kept, "figure", float), whole_number("best epoch", kept.get("epoch")), tensors)
        history.best_epoch = best.epoch
    return State(
        moments,
        whole_number("steps", description.get("steps", 0), least=0, most=2**62),
        whole_number("epoch", description.get("epoch")),
        whole_number("done", description.get("done"), least=0),
        finite_number("total", description.get("total"), positive=False),
        generator_from(field(description, "rng", dict)).bit_generator.state,
        history,
        best,
    )


def rewind(path: PathName, rng: np.random.Generator) -> None:
    """Set a generator to where that of a checkpoint's run stood as the run began."""
    _, description = read_tensors(path, "checkpoint", VERSION)
    with reading(path):
        theirs = generator_from(field(description, "began", dict)).bit_generator
        if type(theirs) is not type(rng.bit_generator):
            given = (
                f"its run has a generator of {type(theirs).__name__}, and this one {type(rng.bit_generator).__name__}"
            )
            raise InputError(f"{given}; wanted is the same, or another checkpoint")
        rng.bit_generator.state = theirs.state


def is_there(path: PathName) -> bool:
    """Return whether there is a checkpoint to go on from: before its first epoch is over, a run has left none."""
    return os.path.lexists(path)


def _settings(settings: Settings) -> dict[str, Any]:
    return {
        "mini_batch_size": settings.mini_batch_size,
        "eta": _name(settings.schedule),
        "lmbda": settings.lmbda,
        "patience": settings.patience,
        "optimizer": type(settings.optimizer).__name__,
        **dataclasses.asdict(settings.optimizer),
    }


def _name(schedule: Schedule) -> str:
    """Return how a schedule is known in a file: a dataclass by its fields, a function by its name."""
    return str(getattr(schedule, "__qualname__", repr(schedule)))


def _parts(tensors: Tensors) -> dict[str, Tensors]:
    """Return tensors by what stands before "weights" and "biases" in their names; the history's under its own."""
    parts: dict[str, Tensors] = {}
    for name, array in tensors.items():
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
        parts.setdefault(prefix, {})[name] = array
    return parts


def _figures(parts: Mapping[str, Tensors], name: str) -> list[float]:
    array = parts.get("history.", {}).get(name)
    if array is None or array.ndim != 1 or array.dtype != np.float64:
        raise InputError(f"{name} is no vector of float64")
    return [float(figure) for figure in array]


def _check_same_run(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    for name, value in ours.items():
        if theirs.get(name) != value:
            given = f"its run has {name} {brief(theirs.get(name))}, and this one {brief(value)}"
            raise InputError(f"{given}; wanted is the same, or another checkpoint")
