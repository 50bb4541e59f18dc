"""Setting up a training run. All arguments are checked here, before the network or any file is changed."""

import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
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
    warn_of_unscaled_pixels,
)
from fastbp.datasets.sample_weights import as_weights
from fastbp.datasets.sparse_columns import SparseColumns
from fastbp.errors import InputError, brief, finite_number, number_between, whole_number
from fastbp.files.atomic import check_target
from fastbp.files.locks import locked
from fastbp.files.mapped import check_unchanged, mapped_files
from fastbp.files.reading import StrPath
from fastbp.operations import Examples, Parameters, Plan
from fastbp.optimizers import LBFGS, Optimizer, optimizer_of
from fastbp.parameters import new_optimizer_state
from fastbp.schedules import Schedule, eta_of, schedule_of
from fastbp.training import checkpoints, fingerprints, inference, lbfgs, loop
from fastbp.training.dropout import dropout_rates
from fastbp.training.history import Epoch, History
from fastbp_kernels.sparse_rows import SparseRows

Array = Any
Indices = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments of `Network.train` other than the examples, and whether the network was created with a seed."""

    epochs: int
    mini_batch_size: int | None
    eta: float | Schedule | None
    lmbda: float
    dropout: float | Sequence[float]
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
    """A training run that is ready to start.

    `total_examples` is the number of examples to be processed in all epochs together. `begin(watcher=...)` trains and
    returns the history.
    """

    total_examples: int
    begin: Callable[..., History]


def prepare(plan: Plan, p: Parameters, rng: np.random.Generator, x: Array, y: Array, options: Options) -> Run:
    """Return a run that trains the parameters `p` in place on the columns of x with targets y.

    Raises `InputError` for bad arguments. If `options` ask for it, the state of a checkpoint is restored.
    """
    full_batch = isinstance(options.optimizer, str) and options.optimizer == LBFGS
    if full_batch:
        lbfgs.refuse_options(vars(options))
    inputs = as_columns("x", x, plan.sizes[0], plan)
    n = int(inputs.shape[1])
    targets = as_targets(y, n, plan)
    classes = classes_of_units(targets, plan)
    weights = as_weights(options.sample_weight, options.class_weight, classes, n, plan)
    copied_rng = copy.deepcopy(rng)  # numbers are drawn from the copy until all arguments have been checked
    resuming = _resumes(options)
    if resuming and options.checkpoint is not None:
        checkpoints.rewind(options.checkpoint, copied_rng)
    initial_rng_state = copied_rng.bit_generator.state
    training_indices, validation = _split(options.validation, inputs, targets, classes, copied_rng)
    settings = (
        lbfgs.Settings(*_common_settings(options)) if full_batch else _settings(options, len(training_indices), plan)
    )
    validation = None if validation is None else _checked_pair(validation, plan)
    validate = None if validation is None else _validation_function(validation, plan, p)
    plan = dataclasses.replace(plan, formulas=dataclasses.replace(plan.formulas, weighted=weights.shape[0] > 0))
    rows, source = example_rows(inputs, plan, keep_bytes=True)
    if source == "uint8" and plan.input_scale == 1.0:
        warn_of_unscaled_pixels(inputs)
    examples = Examples(rows, example_rows(targets, plan)[0], example_rows(weights, plan)[0], plan.input_scale)
    arguments = plan, p, examples, source, training_indices
    train: Callable[..., History]
    if isinstance(settings, lbfgs.Settings):
        train = functools.partial(lbfgs.train, *arguments, settings)
    else:
        state = loop.State(new_optimizer_state(plan, settings.optimizer.rule))
        checkpoint = None
        if options.checkpoint is not None:
            data = _fingerprints(examples, validation, options.validation, plan)
            seed = fingerprints.of_generator(rng.bit_generator.state) if options.seeded else ""
            checkpoint = checkpoints.Checkpoint(
                options.checkpoint, plan, settings, n, copied_rng, initial_rng_state, data, seed
            )
            if resuming:
                checkpoint.read(p, state, anyway=options.resume_anyway)
        write = None if checkpoint is None else functools.partial(checkpoint.write, p)
        train = functools.partial(loop.train, *arguments, settings, state, rng, checkpoint=write)
    mapped = mapped_files(array for data in (examples.x, examples.y, *(validation or ())) for array in _arrays(data))
    rng.bit_generator.state = copied_rng.bit_generator.state
    check_data = functools.partial(check_unchanged, mapped) if mapped else None
    begin = functools.partial(train, validate=validate, callback=options.callback, check_data=check_data)
    return Run(settings.epochs * len(training_indices), begin)


def checkpoint_lock(checkpoint: StrPath | None) -> AbstractContextManager[None]:
    """Return a context that locks a checkpoint file. Without a checkpoint, this context does nothing.

    Entering the context raises `InputError` if another run uses the file.
    """
    return nullcontext() if checkpoint is None else locked(check_target(checkpoint))


def _resumes(options: Options) -> bool:
    """Return whether the run continues from a checkpoint.

    Raises `InputError` if the options conflict, or if the checkpoint cannot be written.
    """
    resume = options.resume or options.resume_anyway
    if options.checkpoint is None:
        if resume:
            raise InputError("resume needs a checkpoint; for example, pass checkpoint='run.safetensors'")
        return False
    if resume and options.overwrite:
        raise InputError("resume and overwrite cannot be combined; pass one of them")
    check_target(options.checkpoint)
    exists = checkpoints.is_there(options.checkpoint)
    if exists and not resume and not options.overwrite:
        raise InputError(
            f"checkpoint {os.fspath(options.checkpoint)!r} exists; pass resume=True (--resume) to continue its run, "
            "overwrite=True (--overwrite) to replace it, or another path"
        )
    return exists and resume


def _arrays(data: Array) -> tuple[Array, ...]:
    """Return the arrays in which data are stored. Sparse data have three arrays, other data one."""
    rows = data.rows if isinstance(data, SparseColumns) else data
    return tuple(rows) if isinstance(rows, SparseRows) else (rows,)


def _fingerprints(examples: Examples, pair: tuple[Array, Array] | None, validation: Any, plan: Plan) -> dict[str, str]:
    """Return the fingerprints of the data. The keys are the names of the data arguments of `Network.train`."""

    def of(rows: Array) -> str:
        if isinstance(rows, SparseRows):
            return " ".join(of(part[:, None]) for part in rows)
        return fingerprints.of_examples(rows, np.asarray if isinstance(rows, np.ndarray) else plan.backend.to_host)

    text = "none"
    if isinstance(validation, Real):
        text = f"{float(validation)} of the examples"
    elif pair is not None:
        x, y = pair
        text = f"{of(x.rows if isinstance(x, SparseColumns) else x.T)} {of(y.T)}"
    return {
        "x": of(examples.x),
        "y": of(examples.y),
        "sample_weight or class_weight": of(examples.s),
        "validation": text,
    }


def _split(
    validation: Any, x: Array, y: Array, classes: Indices | None, rng: np.random.Generator
) -> tuple[Indices, tuple[Array, Array] | None]:
    """Return the indices of the training examples, and the validation data or None.

    The validation data are a pair of columns and targets. They have not been checked yet.
    """
    n = int(x.shape[1])
    if not isinstance(validation, Real) or isinstance(validation, bool):
        return np.arange(n), validation
    training, held_out = hold_out(number_between("validation", validation, 0.0, 1.0), classes, n, rng)
    return training, (take_columns(x, held_out), take_columns(y, held_out))


def _checked_pair(pair: Any, plan: Plan) -> tuple[Array, Array]:
    """Return the columns and the targets of validation data, checked like the training data."""
    try:
        x, y = pair
    except (TypeError, ValueError) as error:
        given = brief(pair)
        raise InputError(f"validation must be a pair (x, y) or a fraction between 0 and 1, got {given}") from error
    try:
        inputs = as_columns("x", x, plan.sizes[0], plan)
        return inputs, as_targets(y, inputs.shape[1], plan)
    except InputError as error:
        raise InputError(f"validation: {error}") from error


def _validation_function(pair: tuple[Array, Array], plan: Plan, p: Parameters) -> loop.Validation:
    """Return a function that computes the cost on validation data and, if the targets are classes, the accuracy."""
    inputs, targets = pair
    labels = classes_of_units(targets, plan)

    def validate() -> tuple[float, float | None]:
        cost = inference.mean_cost(plan, p, inputs, targets)
        return cost, None if labels is None else float(np.mean(inference.classes(plan, p, inputs) == labels))

    return validate


def _settings(options: Options, examples: int, plan: Plan) -> loop.Settings:
    """Check the settings of training on `examples` examples, and return them."""
    optimizer, (epochs, lmbda, patience) = optimizer_of(options.optimizer, options.momentum), _common_settings(options)
    schedule = schedule_of(optimizer.default_eta if options.eta is None else options.eta)
    eta_of(schedule, 1, epochs)
    return loop.Settings(
        epochs,
        min(10, examples)
        if options.mini_batch_size is None
        else whole_number("mini_batch_size", options.mini_batch_size, most=examples),
        schedule,
        lmbda,
        optimizer,
        patience,
        dropout_rates(options.dropout, plan.sizes),
    )


def _common_settings(options: Options) -> tuple[int, float, int | None]:
    """Check the settings that all optimizers have, and return epochs, λ and patience."""
    if options.patience is not None and options.validation is None:
        raise InputError("patience needs validation data; pass validation=(x, y), or a fraction like validation=0.1")
    epochs, lmbda = whole_number("epochs", options.epochs), finite_number("lmbda", options.lmbda, positive=False)
    return epochs, lmbda, None if options.patience is None else whole_number("patience", options.patience)
