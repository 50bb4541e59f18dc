"""Checkpoints, the files that hold the state of a training run.

A run writes its checkpoint after each epoch and on Ctrl-C. A later call can continue the run from this file.

A checkpoint holds the parameters, the optimizer state, the state of the random generator, the position in the epoch,
the history, and the best parameters so far. It also describes the run: its data, settings and formulas. These must be
the same when the run is resumed.
"""

import copy
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastbp import __version__
from fastbp.errors import InputError, brief, finite_number, whole_number
from fastbp.files.models import describe, generator_from, generator_state
from fastbp.files.parameter_tensors import check_tensors, host_tensors, put_tensors, unmatched
from fastbp.files.reading import StrPath, field, reading
from fastbp.files.tensors import Tensors, read_tensors, write_tensors
from fastbp.operations import OptimizerState, Parameters, Plan
from fastbp.training import fingerprints
from fastbp.training.early_stopping import Best
from fastbp.training.history import History
from fastbp.training.loop import Settings, State
from fastbp.training.ranks import Ranks

VERSION = 1
"""The version of the format of checkpoints. Files of a later version are refused."""

_PREFIXES = ("velocity.", "second.", "third.", "best.", "history.")
_DEFAULTS = {
    "optimizer": "SGD",
    "nesterov": False,
    "dropout": [],
    "shards": [],
}  # files of earlier versions lack these fields
_LISTS = ("cost", "validation_cost", "validation_accuracy", "seconds")  # the lists in a History
_NUMBERS = 2**62  # the largest value of a counter that is accepted from a file


class Checkpoint:
    """The checkpoint file of one training run. `write` saves the state of the run, and `read` restores it.

    The run is described by `plan`, `settings`, `examples` and `data`. `examples` is the number of examples. `data` maps
    the names of arrays to fingerprints (hashes) of these arrays. `rng` is the random generator of the run.
    `initial_rng_state` is the state of this generator at the start of the run. It is stored too, because the validation
    examples were drawn from that state. `seed` is the fingerprint of the run's seed (`fingerprints.of_generator`), or
    "" if the seed may differ. If each rank has its own examples, `shards` has the number of
    examples of each rank; otherwise it is empty.
    """

    def __init__(
        self, path: StrPath, plan: Plan, settings: Settings, examples: int, rng: np.random.Generator,
        initial_rng_state: Any, data: Mapping[str, str], seed: str, shards: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.path, self.plan, self.rng, self.initial_rng_state = path, plan, rng, initial_rng_state
        self.schedule, self.data, self.seed = settings.schedule, dict(data), seed
        self.rule = settings.optimizer.rule
        self.run = describe(plan) | settings.describe() | {"examples": examples, "shards": list(shards)}
        # Fields that decide which tensors a file has. Ranks with other examples would not continue the same run.
        self.fixed = {"sizes", "bias", "dtype", "shards", *settings.optimizer.describe()}
        self.formulas = fingerprints.of_formulas(plan) | fingerprints.of_optimizer(settings.optimizer)
        self.schedule_fields = {
            "epochs": settings.epochs,
            "fingerprint": fingerprints.of_schedule(settings.schedule, settings.epochs),
        }

    def write(self, p: Parameters, state: State) -> None:
        """Write parameters and state to the file atomically.

        Raises `InputError` if the file cannot be written, or if a number in the parameters or the state is not finite.
        In both cases, the previous checkpoint is kept. A run that has diverged could not be resumed.
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
        description |= {"rng": self._json(state.rng), "began": self._json(self.initial_rng_state)}
        description |= {"data": self.data, "schedule": self.schedule_fields}
        description |= {"formulas": {fingerprints.PYTHON: self.formulas}}
        if state.totals:
            description["totals"] = state.totals
        if state.best is not None:
            description["best"] = {"figure": state.best.figure, "epoch": state.best.epoch}
        write_tensors(self.path, tensors, description)

    def read(self, p: Parameters, state: State, *, anyway: bool = False) -> None:
        """Restore parameters, state and generator from the file, in place.

        Raises `InputError`, and changes nothing, if the file is damaged or was written by a different run. With
        `anyway`, a different run is accepted if its optimizer and the shapes of its parameters are the same. In this
        case, the interrupted epoch starts again.
        """
        tensors, description = read_tensors(self.path, "checkpoint", VERSION)
        with reading(self.path):
            differences = self._differences(description)
            if differences and (self.fixed & differences.keys() or not anyway):
                raise InputError(self._refusal(differences))
            moments = self._moments(state)
            parts = _parts(tensors)
            expected = ["", *moments, *(["best."] if "best" in description else [])]
            for prefix in parts.keys() - {*expected, "history."}:
                raise unmatched(min(parts[prefix]), missing=False)
            for prefix in expected:
                check_tensors(prefix, parts.get(prefix, {}), self.plan)
            restored = _state(parts, description, state.moments)
        if differences:
            restored.done, restored.total, restored.totals = 0, 0.0, []
        if "validation" in differences:  # accuracies or costs on other data cannot be compared
            restored.best = restored.history.best_epoch = None
        for prefix, parameters in ({"": p} | moments).items():
            put_tensors(prefix, parts[prefix], parameters, self.plan)
        vars(state).update(vars(restored))
        self.rng.bit_generator.state = state.rng

    def _differences(self, description: Mapping[str, Any]) -> dict[str, str]:
        """Return the properties in which this run differs from the run in a file.

        The result maps the name of a property to its value in the file, or to "" if the file has only a hash. Files
        written by an earlier fastbp have fewer fields. Fields that a file lacks are not compared.
        """
        theirs = _DEFAULTS | field(description, "run", dict)
        differences = {name: brief(theirs.get(name)) for name, value in self.run.items() if theirs.get(name) != value}
        formulas = _object(_object(description, "formulas"), fingerprints.PYTHON)
        pairs = [(name, text, _object(description, "data").get(name)) for name, text in self.data.items()]
        pairs += [(name, text, formulas.get(name)) for name, text in self.formulas.items()]
        if schedule := _object(description, "schedule"):
            epochs = whole_number("epochs", schedule.get("epochs"), most=_NUMBERS)
            pairs.append(("eta", fingerprints.of_schedule(self.schedule, epochs), schedule.get("fingerprint")))
        initial_rng_state = generator_from(field(description, "began", dict)).bit_generator.state
        pairs.append(("seed", self.seed, fingerprints.of_generator(initial_rng_state)))
        return {name: "" for name, ours, kept in pairs if ours and kept and ours != kept} | differences

    def _refusal(self, differences: Mapping[str, str]) -> str:
        """Return the error message for a file whose run differs from this one.

        If the file cannot be used even with `anyway`, the message names only one difference. Two optimizers, for
        example, differ in all their constants, and naming one of them is enough.
        """
        values = {
            name: f"{name} must be {kept}, as in the checkpoint, got {brief(self.run[name])}"
            for name, kept in differences.items()
            if kept
        }
        if fixed := [text for name, text in values.items() if name in self.fixed]:
            return f"{fixed[0]}; pass the same value, or use another checkpoint"
        texts = list(values.values())
        if hashed := [name for name in differences if name not in values]:
            texts.append(f"{', '.join(hashed)} must be the same as in the checkpoint's run")
        return f"{'; '.join(texts)}; to continue with a different run, pass resume_anyway=True (--resume-anyway)"

    def _check_finite(self, tensors: Tensors, total: float) -> None:
        """Raise `InputError` if a number to be written is not finite. A run with such a number could not be resumed."""
        diverged = [name for name, array in tensors.items() if not np.isfinite(array).all()]
        diverged += [] if math.isfinite(total) else ["the cost"]
        if diverged:
            path = os.fspath(self.path)
            raise InputError(f"cannot write {path!r}: {diverged[0]} is not finite and could not be resumed from")

    def _moments(self, state: State) -> dict[str, Parameters]:
        """Return the arrays of the optimizer's state. The keys are the prefixes of the tensors' names in a file."""
        moments = {"velocity.": state.moments.first, "second.": state.moments.second, "third.": state.moments.third}
        return dict(list(moments.items())[: 0 if self.rule is None else self.rule.state])

    def _json(self, state: Any) -> dict[str, Any]:
        """Return a state of the run's generator in a form that can be written as JSON."""
        generator = copy.deepcopy(self.rng)
        generator.bit_generator.state = state
        return generator_state(generator)


def send_to_ranks(p: Parameters, state: State, rng: np.random.Generator, plan: Plan, ranks: Ranks) -> None:
    """Give every rank the parameters, the state and the generator that the first rank has read from a checkpoint."""
    parts = {"": p, "first.": state.moments.first, "second.": state.moments.second, "third.": state.moments.third}
    used = {prefix: part for prefix, part in parts.items() if part.weights[0].shape[0]}
    tensors = ranks.from_first({prefix: host_tensors(prefix, part, plan) for prefix, part in used.items()})
    for prefix, part in used.items():
        put_tensors(prefix, tensors[prefix], part, plan)
    fields = {name: value for name, value in vars(state).items() if name != "moments"}
    vars(state).update(ranks.from_first(fields))
    rng.bit_generator.state = ranks.from_first(rng.bit_generator.state)


def rewind(path: StrPath, rng: np.random.Generator) -> None:
    """Set a generator to the state that it had at the start of the run that wrote a checkpoint."""
    _, description = read_tensors(path, "checkpoint", VERSION)
    with reading(path):
        theirs = generator_from(field(description, "began", dict)).bit_generator
        if type(theirs) is not type(rng.bit_generator):
            raise InputError(
                f"rng must be a generator of {type(theirs).__name__}, as in the checkpoint, got one of "
                f"{type(rng.bit_generator).__name__}; pass the same kind, or use another checkpoint"
            )
        rng.bit_generator.state = theirs.state


def read_history(path: StrPath) -> History:
    """Return the history in a checkpoint: costs, accuracies and times of the epochs that have finished."""
    tensors, _ = read_tensors(path, "checkpoint", VERSION)
    with reading(path):
        return _history(_parts(tensors))


def is_there(path: StrPath) -> bool:
    """Return whether a checkpoint file exists.

    A run creates the file when its first epoch has finished, or on Ctrl-C before that.
    """
    return os.path.lexists(path)


def _state(parts: Mapping[str, Tensors], description: Mapping[str, Any], moments: OptimizerState) -> State:
    """Return the state stored in a checkpoint. Its moments are `moments`, which the caller fills later."""
    history, best = _history(parts), None
    if "best" in description:
        fields = field(description, "best", dict)
        tensors = {name.removeprefix("best."): array for name, array in parts["best."].items()}
        best = Best(field(fields, "figure", float), whole_number("best epoch", fields.get("epoch")), tensors)
        history.best_epoch = best.epoch
    return State(
        moments,
        whole_number("steps", description.get("steps", 0), least=0, most=_NUMBERS),
        whole_number("epoch", description.get("epoch")),
        whole_number("done", description.get("done"), least=0),
        finite_number("total", description.get("total"), positive=False),
        generator_from(field(description, "rng", dict)).bit_generator.state,
        history,
        best,
        [finite_number("totals", total, positive=False) for total in description.get("totals", [])],
    )


def _object(description: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the JSON object in a field of a description, or an empty one if the field is missing."""
    return field(description, name, dict) if name in description else {}


def _parts(tensors: Tensors) -> dict[str, Tensors]:
    """Group tensors by the prefix of their names. The names are not shortened.

    Parameters have the prefix "".
    """
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
    if array is None:
        raise unmatched(name, missing=True)
    if array.ndim != 1 or array.dtype != np.float64:
        raise InputError(f"{name} must be float64 with one dimension, got {array.dtype} with {array.ndim}")
    return [float(figure) for figure in array]
