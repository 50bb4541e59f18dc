"""What a run of training needs, made ready: everything that can be refused is refused here, before anything changes."""

import copy
import dataclasses
import functools
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.inputs import (
    as_columns,
    as_targets,
    classes_of_units,
    example_rows,
    hold_out,
    take_columns,
)
from fastbp.datasets.sample_weights import as_weights
from fastbp.errors import InputError, finite_number, number_between, whole_number
from fastbp.files.atomic import check_target
from fastbp.files.bounded_reading import StrPath
from fastbp.files.locks import locked
from fastbp.files.mapped import check_unchanged, mapped_files
from fastbp.operations import Examples, Parameters, Plan
from fastbp.optimizers import Optimizer, optimizer_of
from fastbp.parameters import new_optimizer_state
from fastbp.schedules import Schedule, eta_of, schedule_of
from fastbp.training import checkpoints, fingerprints, inference, loop
from fastbp.training.history import Epoch, History

Array = Any


@dataclasses.dataclass(frozen=True)
class Options:
    """What `Network.train` was asked for beside the examples, see there; and whether the network was given a seed."""

    epochs: int
    mini_batch_size: int
    eta: float | Schedule | None
    lmbda: float
    momentum: float | None
    optimizer: str | Optimizer
    validation: tuple[Array, Array] | float | None
    patience: int | None
    sample_weight: Array
    class_weight: Any
    checkpoint: StrPath | None
    resume: bool
    resume_anyway: bool
    overwrite: bool
    seeded: bool
    callback: Callable[[Epoch], Any] | None


@dataclasses.dataclass(frozen=True)
class Run:
    """Training that only has to be begun: `examples_in_all` over all epochs, and `begin`, which takes a watcher."""

    examples_in_all: int
    begin: Callable[..., History]


def prepare(plan: Plan, p: Parameters, rng: np.random.Generator, x: Array, y: Array, options: Options) -> Run:
    """Return a run of training of parameters, in place, on columns x with targets y; raises `InputError`."""
    inputs = as_columns("x", x, plan.sizes[0], plan)
    n = int(inputs.shape[1])
    targets = as_targets(y, n, plan)
    classes = classes_of_units(targets, plan)
    weights = as_weights(options.sample_weight, options.class_weight, classes, n, plan)
    drawn = copy.deepcopy(rng)  # from which to draw until nothing can be refused any more
    resuming = _goes_on(options)
    if resuming and options.checkpoint is not None:
        checkpoints.rewind(options.checkpoint, drawn)
    initial_rng_state = drawn.bit_generator.state
    chosen, held = _held_out(options.validation, inputs, targets, classes, drawn)
    settings = _settings(options, len(chosen))
    held = None if held is None else _checked_pair(held, plan)
    validate = None if held is None else _validation(held, plan, p)
    plan = dataclasses.replace(plan, formulas=dataclasses.replace(plan.formulas, weighted=weights.shape[0] > 0))
    rows, source = example_rows(inputs, plan, keep_bytes=True)
    examples = Examples(rows, example_rows(targets, plan)[0], example_rows(weights, plan)[0], plan.input_scale)
    state = loop.State(new_optimizer_state(plan, settings.optimizer.rule))
    file = None
    if options.checkpoint is not None:
        data = _fingerprints(examples, held, options.validation, plan)
        seed = fingerprints.of_generator(rng.bit_generator.state) if options.seeded else ""
        file = checkpoints.Checkpoint(options.checkpoint, plan, settings, n, drawn, initial_rng_state, data, seed)
        if resuming:
            file.read(p, state, anyway=options.resume_anyway)
    mapped = mapped_files([examples.x, examples.y, *(held or ())])
    rng.bit_generator.state = drawn.bit_generator.state
    begin = functools.partial(
        loop.train, plan, p, examples, source, chosen, settings, state, rng,
        validate=validate, callback=options.callback,
        checkpoint=None if file is None else functools.partial(file.write, p),
        check_data=functools.partial(check_unchanged, mapped) if mapped else None,
    )  # fmt: skip
    return Run(settings.epochs * len(chosen), begin)


def in_use(checkpoint: StrPath | None) -> AbstractContextManager[None]:
    """Return a context that keeps other runs from a checkpoint's file; raises `InputError` if one is using it."""
    return nullcontext() if checkpoint is None else locked(check_target(checkpoint))


def _goes_on(options: Options) -> bool:
    """Return whether training goes on from a checkpoint; raises `InputError` before work that could not be kept."""
    resume = options.resume or options.resume_anyway
    if options.checkpoint is None:
        if resume:
            raise InputError("resume wants a checkpoint to go on from: checkpoint='run.safetensors'")
        return False
    if resume and options.overwrite:
        raise InputError("resume and overwrite exclude each other; pass one of them")
    check_target(options.checkpoint)
    there = checkpoints.is_there(options.checkpoint)
    if there and not resume and not options.overwrite:
        raise InputError(
            f"checkpoint {os.fspath(options.checkpoint)!r} exists; pass resume=True (--resume) to continue its run, "
            "overwrite=True (--overwrite) to replace it, or another path"
        )
    return there and resume


def _fingerprints(examples: Examples, held: tuple[Array, Array] | None, given: Any, plan: Plan) -> dict[str, str]:
    """Return the fingerprints of all data that a run reads, by the names of the arguments they came by."""

    def of(rows: Array) -> str:
        return fingerprints.of_examples(rows, np.asarray if isinstance(rows, np.ndarray) else plan.backend.to_host)

    validation = "none"
    if isinstance(given, Real):
        validation = f"{float(given)} of the examples"
    elif held is not None:
        validation = f"{of(held[0].T)} {of(held[1].T)}"
    return {
        "x": of(examples.x),
        "y": of(examples.y),
        "sample_weight or class_weight": of(examples.s),
        "validation": validation,
    }


def _held_out(
    validation: Any, x: Array, y: Array, classes: npt.NDArray[np.int64] | None, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], tuple[Array, Array] | None]:
    """Return the indices of the examples to train on, and the columns and targets to validate with, if any."""
    n = int(x.shape[1])
    if not isinstance(validation, Real) or isinstance(validation, bool):
        return np.arange(n), validation
    chosen, indices = hold_out(number_between("validation", validation, 0.0, 1.0), classes, n, rng)
    return chosen, (take_columns(x, indices), take_columns(y, indices))


def _checked_pair(pair: Any, plan: Plan) -> tuple[Array, Array]:
    """Return the columns and the targets of validation data, checked like those to train on."""
    try:
        x, y = pair
    except (TypeError, ValueError) as error:
        raise InputError("validation is no pair; wanted is (x, y), or a fraction between 0 and 1") from error
    try:
        inputs = as_columns("x", x, plan.sizes[0], plan)
        return inputs, as_targets(y, inputs.shape[1], plan)
    except InputError as error:
        raise InputError(f"validation: {error}") from error


def _validation(pair: tuple[Array, Array], plan: Plan, p: Parameters) -> loop.Validation:
    inputs, targets = pair
    labels = classes_of_units(targets, plan)

    def validate() -> tuple[float, float | None]:
        cost = inference.mean_cost(plan, p, inputs, targets)
        return cost, None if labels is None else float(np.mean(inference.classes(plan, p, inputs) == labels))

    return validate


def _settings(options: Options, examples: int) -> loop.Settings:
    if options.patience is not None and options.validation is None:
        raise InputError("patience wants validation to watch: a pair (x, y), or a fraction like 0.1")
    optimizer, epochs = optimizer_of(options.optimizer, options.momentum), whole_number("epochs", options.epochs)
    schedule = schedule_of(optimizer.default_eta if options.eta is None else options.eta)
    eta_of(schedule, 1, epochs)
    return loop.Settings(
        epochs,
        whole_number("mini_batch_size", options.mini_batch_size, most=examples),
        schedule,
        finite_number("lmbda", options.lmbda, positive=False),
        optimizer,
        None if options.patience is None else whole_number("patience", options.patience),
    )
