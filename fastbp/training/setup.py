"""Setting up a training run. All arguments are checked here, before the network or any file is changed."""

import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.class_names import plan_with_classes
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
from fastbp.training import checkpoints, fingerprints, lbfgs, loop, rank_checks
from fastbp.training.dropout import dropout_rates
from fastbp.training.history import Epoch, History
from fastbp.training.progress import watching
from fastbp.training.ranks import Ranks, on_ranks
from fastbp.training.validation import validation_on_ranks
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


def train(
    plan: Plan, keep_plan: Callable[[Plan], None], parameters: Callable[[], Parameters], rng: np.random.Generator,
    x: Array, y: Array, options: Options, *, progress: bool, comm: Any, sharded: bool,
) -> History:  # fmt: skip
    """Train a network on the columns of x with targets y, and return the history.

    `keep_plan` takes the plan with the names of classes when all arguments have been checked. `parameters` returns the
    network's parameters, which are trained in place. It is called again after each call of the
    callback, which may have assigned others. `comm` is None, or an mpi4py communicator whose ranks all call this
    function. With several ranks, only the first one uses the checkpoint file.
    """
    with on_ranks(comm, sharded=sharded) as ranks, ExitStack() as stack:
        with ranks.agreement():
            p, plan = parameters(), plan_with_classes(plan, y)
            if _is_lbfgs(options):
                lbfgs.refuse_options(vars(options))
        rank_checks.check_networks(ranks, plan, p, rng, vars(options))
        if not ranks.first:
            options = dataclasses.replace(options, checkpoint=None, resume=False, resume_anyway=False)
        with ranks.agreement():
            stack.enter_context(_checkpoint_lock(options.checkpoint))
        begin, examples = prepare(plan, p, rng, x, y, options, ranks)
        keep_plan(plan)
        callback = None if options.callback is None else _with_assigned(options.callback, parameters)
        with watching(progress and ranks.first, examples) as watcher:
            return begin(watcher=watcher, callback=callback)


def prepare(
    plan: Plan, p: Parameters, rng: np.random.Generator, x: Array, y: Array, options: Options, ranks: Ranks
) -> tuple[Callable[..., History], int]:
    """Return a function that trains the parameters `p` in place on the columns of x with targets y.

    The second result is the number of examples to be processed in all epochs together. Raises `InputError` for bad
    arguments. If `options` ask for it, the state of a checkpoint is restored.
    """
    with ranks.agreement():
        inputs, targets, classes = _data(x, y, options, plan)
        copied_rng = copy.deepcopy(rng)  # numbers are drawn from the copy until all arguments have been checked
        resuming = _resumes(options)
        if resuming and options.checkpoint is not None:
            checkpoints.rewind(options.checkpoint, copied_rng)
    resuming = ranks.from_first(resuming)
    copied_rng.bit_generator.state = initial_rng_state = ranks.from_first(copied_rng.bit_generator.state)
    of_class = rank_checks.examples_of_classes(ranks, classes, plan)
    with ranks.agreement():
        n = int(inputs.shape[1])
        weights = as_weights(options.sample_weight, options.class_weight, classes, n, plan, of_class)
        own_rng = ranks.own_generator(copied_rng)
        training_indices, validation = _split(options.validation, inputs, targets, classes, own_rng)
    shards = ranks.gather(len(training_indices)) if ranks.sharded else []
    count = sum(shards) or len(training_indices)
    with ranks.agreement():
        settings = (
            lbfgs.Settings(*_common_settings(options))
            if _is_lbfgs(options)
            else _settings(options, count, plan, ranks.size)
        )
        validation = None if validation is None else _checked_pair(validation, plan)
    validate = None if validation is None else validation_on_ranks(validation, plan, p, ranks)
    plan = dataclasses.replace(plan, formulas=dataclasses.replace(plan.formulas, weighted=weights.shape[0] > 0))
    with ranks.agreement():
        examples, source = _examples(inputs, targets, weights, plan)
    arguments = plan, p, examples, source, training_indices
    with ranks.agreement():
        needs_data = ranks.size > 1 or options.checkpoint is not None
        data = _fingerprints(examples, validation, options.validation, plan) if needs_data else {}
    to_compare = None if isinstance(settings, lbfgs.Settings) else settings
    data = rank_checks.check_runs(ranks, data, to_compare, source, plan)
    train: Callable[..., History]
    if isinstance(settings, lbfgs.Settings):
        train = functools.partial(lbfgs.train, *arguments, settings, ranks=ranks)
    else:
        with ranks.agreement():
            state = loop.State(new_optimizer_state(plan, settings.optimizer.rule))
            checkpoint = None
            if options.checkpoint is not None:
                seed = fingerprints.of_generator(rng.bit_generator.state) if options.seeded else ""
                run = (settings, sum(shards) or n, copied_rng, initial_rng_state, data, seed, shards)
                checkpoint = checkpoints.Checkpoint(options.checkpoint, plan, *run)
            if resuming and checkpoint is not None:
                checkpoint.read(p, state, anyway=options.resume_anyway)
        if resuming:
            checkpoints.send_to_ranks(p, state, copied_rng, plan, ranks)
        write = None if checkpoint is None else functools.partial(checkpoint.write, p)
        train = functools.partial(loop.train, *arguments, settings, state, rng, checkpoint=write, ranks=ranks)
    mapped = mapped_files(array for data in (examples.x, examples.y, *(validation or ())) for array in _arrays(data))
    rng.bit_generator.state = copied_rng.bit_generator.state
    check_data = functools.partial(check_unchanged, mapped) if mapped else None
    return functools.partial(train, validate=validate, check_data=check_data), settings.epochs * count


def _is_lbfgs(options: Options) -> bool:
    return isinstance(options.optimizer, str) and options.optimizer == LBFGS


def _data(x: Array, y: Array, options: Options, plan: Plan) -> tuple[Array, Array, Indices | None]:
    """Return the inputs, the targets, and the class of each example, or None if the targets are not classes."""
    if options.callback is not None and not callable(options.callback):
        raise InputError(f"callback must be a function of an Epoch, got {brief(options.callback)}")
    inputs = as_columns("x", x, plan.sizes[0], plan)
    targets = as_targets(y, int(inputs.shape[1]), plan)
    return inputs, targets, classes_of_units(targets, plan)


def _examples(inputs: Array, targets: Array, weights: Array, plan: Plan) -> tuple[Examples, str]:
    """Return the examples, and the dtype of their inputs."""
    rows, source = example_rows(inputs, plan, keep_bytes=True)
    if source == "uint8" and plan.input_scale == 1.0:
        warn_of_unscaled_pixels(inputs)
    return Examples(rows, example_rows(targets, plan)[0], example_rows(weights, plan)[0], plan.input_scale), source


def _with_assigned(callback: Callable[[Epoch], Any], parameters: Callable[[], Parameters]) -> Callable[[Epoch], Any]:
    """Wrap a callback, so that parameters assigned by the callback are taken over after each call."""

    def wrapper(epoch: Epoch) -> Any:
        answer = callback(epoch)
        parameters()
        return answer

    return wrapper


def _checkpoint_lock(checkpoint: StrPath | None) -> AbstractContextManager[None]:
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


def _settings(options: Options, examples: int, plan: Plan, ranks: int) -> loop.Settings:
    """Check the settings of training on `examples` examples with a number of ranks, and return them."""
    optimizer, (epochs, lmbda, patience) = optimizer_of(options.optimizer, options.momentum), _common_settings(options)
    schedule = schedule_of(optimizer.default_eta if options.eta is None else options.eta)
    eta_of(schedule, 1, epochs)
    size = min(10, examples)
    if options.mini_batch_size is not None:
        size = whole_number("mini_batch_size", options.mini_batch_size, most=examples)
    if size < ranks:
        raise InputError(f"mini_batch_size must be at least the number of ranks, {ranks}, got {size}")
    return loop.Settings(
        epochs,
        size,
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
