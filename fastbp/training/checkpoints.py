"""Training that can go on from where it was: all that decides how it goes on, in a file after each epoch.

A checkpoint holds the parameters and the optimizer's moments, the generator's state, the place in the epoch, the
history, and the best parameters so far; and what the run is of, which must be the same where it goes on.
"""

import copy
import dataclasses
import math
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastbp import __version__
from fastbp.errors import InputError, brief, finite_number, whole_number
from fastbp.files.models import describe, generator_from, generator_state
from fastbp.files.tensors import StrPath, field, read_tensors, reading, write_tensors
from fastbp.operations import OptimizerState, Parameters, Plan
from fastbp.parameters import Tensors, check_tensors, host_tensors, put_tensors
from fastbp.schedules import Schedule
from fastbp.training import fingerprints
from fastbp.training.history import History
from fastbp.training.loop import Best, Settings, State

VERSION = 1
"""Of checkpoint files; one of a later version is refused."""

_PREFIXES = ("velocity.", "second.", "best.", "history.")
_BEFORE = {"optimizer": "SGD", "nesterov": False}  # what files say nothing of that were written before there was Adam
_LISTS = ("cost", "validation_cost", "validation_accuracy", "seconds")


class Checkpoint:
    """A file that a run of training leaves its state in, and takes it from again.

    `path` is the file, and `plan`, `settings`, the number of `examples` and the fingerprints of the `data` by name say
    what the run is of. `rng` is its generator, whose state as the run began is kept, too: what is held out for
    validation was drawn from it. `seed` is what the seed of this run decides (`fingerprints.of_generator`), or "" where
    any will do.
    """

    def __init__(
        self, path: StrPath, plan: Plan, settings: Settings, examples: int, rng: np.random.Generator,
        initial_rng_state: Any, data: Mapping[str, str], seed: str,
    ) -> None:  # fmt: skip
        self.path, self.plan, self.rng, self.initial_rng_state = path, plan, rng, initial_rng_state
        self.schedule, self.data, self.seed = settings.schedule, dict(data), seed
        self.rule = settings.optimizer.rule
        self.run = describe(plan) | _settings(settings) | {"examples": examples}
        self.fixed = {"sizes", "bias", "dtype", *_optimizer(settings)}  # what the file's tensors are of
        self.formulas = fingerprints.of_formulas(plan)
        self.schedule_kept = {
            "epochs": settings.epochs,
            "fingerprint": fingerprints.of_schedule(settings.schedule, settings.epochs),
        }

    def write(self, p: Parameters, state: State) -> None:
        """Write parameters and state, whole or not at all; raises `InputError` if that cannot be done.

        That includes a state from which no run could go on, as one that has diverged.
        """
        tensors = host_tensors("", p, self.plan)
        for prefix, moment in self._moments(state).items():
            tensors |= host_tensors(prefix, moment, self.plan)
        if state.best is not None:
            tensors |= {f"best.{name}": array for name, array in state.best.tensors.items()}
        self._check_finite(tensors, state.total)
        tensors |= {f"history.{name}": np.array(getattr(state.history, name), float) for name in _LISTS}
        description = {"kind": "checkpoint", "version": VERSION, "fastbp": __version__, "run": self.run}
        description |= {"steps": state.steps, "epoch": state.epoch, "done": state.done, "total": state.total}
        description |= {"rng": self._json(state.rng), "initial_rng_state": self._json(self.initial_rng_state)}
        description |= {"data": self.data, "schedule": self.schedule_kept}
        description |= {"formulas": {fingerprints.PYTHON: self.formulas}}
        if state.best is not None:
            description["best"] = {"figure": state.best.figure, "epoch": state.best.epoch}
        write_tensors(self.path, tensors, description)

    def read(self, p: Parameters, state: State, *, anyway: bool = False) -> None:
        """Put parameters, state and the generator back as the file has them.

        Raises `InputError`, and leaves everything as it was, if the file is damaged or of another run; with `anyway`
        only if that had another form of parameters or another optimizer. A run that goes on with other data or settings
        begins the epoch that was under way again.
        """
        tensors, description = read_tensors(self.path, "checkpoint", VERSION)
        with reading(self.path):
            other = self._differences(description)
            if other and (self.fixed & other.keys() or not anyway):
                raise InputError(self._refusal(other))
            wanted = {"": p} | self._moments(state)
            wanted |= {"best.": p} if "best" in description else {}
            parts = _parts(tensors)
            for prefix in parts.keys() - wanted.keys() - {"history."}:
                raise InputError(f"its tensors and its description disagree about {brief(min(parts[prefix]))}")
            for prefix, parameters in wanted.items():
                check_tensors(prefix, parts.get(prefix, {}), parameters, self.plan)
            restored = _state(parts, description, state.moments)
        if other:
            restored.done, restored.total = 0, 0.0
        if "validation" in other:  # figures of other data are not compared with
            restored.best = restored.history.best_epoch = None
        wanted.pop("best.", None)
        for prefix, parameters in wanted.items():
            put_tensors(prefix, parts[prefix], parameters, self.plan)
        vars(state).update(vars(restored))
        self.rng.bit_generator.state = state.rng

    def _differences(self, description: Mapping[str, Any]) -> dict[str, str]:
        """Return what of this run is not as in the run of a file, by name, each with what the file has or "".

        A file of an earlier fastbp has less to compare with.
        """
        theirs = _BEFORE | field(description, "run", dict)
        other = {name: brief(theirs.get(name)) for name, value in self.run.items() if theirs.get(name) != value}
        formulas = _part(_part(description, "formulas"), fingerprints.PYTHON)
        pairs = [(name, text, _part(description, "data").get(name)) for name, text in self.data.items()]
        pairs += [(name, text, formulas.get(name)) for name, text in self.formulas.items()]
        if schedule := _part(description, "schedule"):
            epochs = whole_number("epochs", schedule.get("epochs"), most=2**62)
            pairs.append(("eta", fingerprints.of_schedule(self.schedule, epochs), schedule.get("fingerprint")))
        initial_rng_state = generator_from(field(description, "initial_rng_state", dict)).bit_generator.state
        pairs.append(("seed", self.seed, fingerprints.of_generator(initial_rng_state)))
        return {name: "" for name, ours, kept in pairs if ours and kept and ours != kept} | other

    def _refusal(self, other: Mapping[str, str]) -> str:
        """Return what is said of differences between the run of the file and this one.

        Where the file cannot be continued from at all, one reason is enough: of other optimizers all constants differ.
        """
        said = {
            name: f"its run has {name} {kept}, and this one {brief(self.run[name])}"
            for name, kept in other.items()
            if kept
        }
        if fixed := [said[name] for name in said if name in self.fixed]:
            return f"{fixed[0]}; wanted is the same, or another checkpoint"
        parts = list(said.values())
        if names := other.keys() - said.keys():
            parts.append(f"its run was of different {', '.join(name for name in other if name in names)}")
        return f"{'; '.join(parts)}; pass the same, or resume_anyway=True (--resume-anyway) to continue with these"

    def _check_finite(self, tensors: Tensors, total: float) -> None:
        odd = [name for name, array in tensors.items() if not np.isfinite(array).all()]
        odd += [] if math.isfinite(total) else ["the cost"]
        if odd:
            path = os.fspath(self.path)
            raise InputError(f"cannot write {path!r}: {odd[0]} is no longer finite, and could not be resumed from")

    def _moments(self, state: State) -> dict[str, Parameters]:
        """Return the moments that the optimizer has, by what their names begin with in a file."""
        moments = {"velocity.": state.moments.first, "second.": state.moments.second}
        return dict(list(moments.items())[: 0 if self.rule is None else self.rule.moments])

    def _json(self, state: Any) -> dict[str, Any]:
        generator = copy.deepcopy(self.rng)
        generator.bit_generator.state = state
        return generator_state(generator)


def _state(parts: Mapping[str, Tensors], description: Mapping[str, Any], moments: OptimizerState) -> State:
    """Return the state that tensors and their description are of."""
    history, best = _history(parts), None
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


def _part(description: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object within a description, an empty one where there is none."""
    return field(description, name, dict) if name in description else {}


def rewind(path: StrPath, rng: np.random.Generator) -> None:
    """Set a generator to where that of a checkpoint's run stood as the run began."""
    _, description = read_tensors(path, "checkpoint", VERSION)
    with reading(path):
        theirs = generator_from(field(description, "initial_rng_state", dict)).bit_generator
        if type(theirs) is not type(rng.bit_generator):
            given = (
                f"its run has a generator of {type(theirs).__name__}, and this one {type(rng.bit_generator).__name__}"
            )
            raise InputError(f"{given}; wanted is the same, or another checkpoint")
        rng.bit_generator.state = theirs.state


def read_history(path: StrPath) -> History:
    """Return the history in a checkpoint: the figures of the epochs that its run has finished."""
    tensors, _ = read_tensors(path, "checkpoint", VERSION)
    with reading(path):
        return _history(_parts(tensors))


def is_there(path: StrPath) -> bool:
    """Return whether there is a checkpoint to go on from: before its first epoch is over, a run has left none."""
    return os.path.lexists(path)


def _settings(settings: Settings) -> dict[str, Any]:
    return {
        "mini_batch_size": settings.mini_batch_size,
        "eta": _name(settings.schedule),
        "lmbda": settings.lmbda,
        "patience": settings.patience,
        **_optimizer(settings),
    }


def _optimizer(settings: Settings) -> dict[str, Any]:
    return {"optimizer": type(settings.optimizer).__name__, **dataclasses.asdict(settings.optimizer)}


def _name(schedule: Schedule) -> str:
    """Return how a schedule is known in a file: a dataclass by its fields, a function by its name.

    Where in memory an object lies is left out: it is another place in each process.
    """
    return str(getattr(schedule, "__qualname__", re.sub(r" at 0x[0-9a-fA-F]+", "", repr(schedule))))


def _parts(tensors: Tensors) -> dict[str, Tensors]:
    """Return tensors by what stands before "weights" and "biases" in their names; the history's under its own."""
    parts: dict[str, Tensors] = {}
    for name, array in tensors.items():
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
        parts.setdefault(prefix, {})[name] = array
    return parts


def _history(parts: Mapping[str, Tensors]) -> History:
    cost, validation_cost, validation_accuracy, seconds = (_figures(parts, f"history.{name}") for name in _LISTS)
    return History(cost, validation_cost, validation_accuracy, seconds)


def _figures(parts: Mapping[str, Tensors], name: str) -> list[float]:
    array = parts.get("history.", {}).get(name)
    if array is None or array.ndim != 1 or array.dtype != np.float64:
        raise InputError(f"{name} is no vector of float64")
    return [float(figure) for figure in array]
