"""`fastbp train`."""

import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import click

from fastbp import schedules
from fastbp.activations import ACTIVATIONS
from fastbp.cli import defaults
from fastbp.cli import options as shared
from fastbp.cli.loading import Loaded, check_table_options, load_data
from fastbp.cli.metrics import chance_line, print_results
from fastbp.costs import COSTS
from fastbp.datasets.table_files import STDIN
from fastbp.errors import InputError, choose, finite_number, plural, whole_number
from fastbp.files.atomic import check_target
from fastbp.files.outputs import Outputs, print_text, warn
from fastbp.network import Network
from fastbp.optimizers import LBFGS, OPTIMIZERS, optimizer_of
from fastbp.parameters import dtype_name
from fastbp.plots.curves import check_picture, save_curves
from fastbp.training import checkpoints, lbfgs
from fastbp.training.history import History
from fastbp.training.ranks import Ranks, keep_first_rank_output, on_ranks, world

SCHEDULES = {"constant": schedules.Constant, "step": schedules.Step, "cosine": schedules.Cosine}


@click.command(
    short_help="Train a network and test it on held-out examples.",
    help="Train a network on handwritten digits or on your own data, and test it on held-out examples.",
)
@shared.data
@shared.label
@shared.table_options
@click.option("--sizes", help="Neurons of each layer, input first, like 64-30-10.  [default: INPUTS-30-OUTPUTS]")
@click.option("--hidden", help="Neurons of the hidden layers only, like 100 or 100-50.  [default: 30]")
@click.option("--epochs", type=int, default=100, show_default=True, help="Number of epochs.")
@click.option("--mini-batch-size", type=int, help="Mini-batch size.  [default: 10, or all examples if there are fewer]")
@click.option(
    "--eta",
    "--lr",
    "--learning-rate",
    "eta",
    type=float,
    help="Learning rate.  [default: 0.001 for adam and adamw; 0.01 for rmsprop and adagrad; otherwise (1 - momentum) "
    "times 3 for images with sigmoid layers, 0.1 or 0.3 for softmax or sigmoid outputs, 0.03 for other outputs]",
)
@click.option(
    "--schedule", default="constant", show_default=True, shell_complete=shared.complete(SCHEDULES),
    help=f"Learning-rate schedule: {', '.join(SCHEDULES)}.",
)  # fmt: skip
@click.option(
    "--optimizer", default="sgd", show_default=True, shell_complete=shared.complete([*OPTIMIZERS, LBFGS]),
    help=f"Optimizer: {', '.join(OPTIMIZERS)}, or {LBFGS}, which uses all examples in each step.",
)  # fmt: skip
@click.option("--momentum", type=float, help="Momentum, below 1.  [default: 0 for sgd, 0.9 for momentum and nesterov]")
@click.option("--lmbda", type=float, default=0.0, show_default=True, help="Strength of L2 regularisation (lambda).")
@click.option(
    "--dropout",
    default="0",
    show_default=True,
    help="Dropout rate of the hidden layers, or one rate for the input and for each hidden layer, like 0.2,0.5.",
)
@click.option(
    "--cost", shell_complete=shared.complete(COSTS),
    help=f"Cost: {', '.join(COSTS)}.  [default: fits the output layer, such as log-likelihood for softmax]",
)  # fmt: skip
@click.option(
    "--activations", shell_complete=shared.complete(ACTIVATIONS),
    help=f"Activation of the hidden layers, or one per layer separated by commas: {', '.join(ACTIVATIONS)}. One name "
    "with --cost is the activation of all layers.  [default: sigmoid]",
)  # fmt: skip
@click.option("--class-weight", type=click.Choice(["balanced"]), help="Weight classes by their inverse frequency.")
@click.option("--patience", type=int, help="Stop after this many epochs without improvement; restore the best weights.")
@shared.backend
@shared.threads_option
@click.option(
    "--dtype", default="float32", show_default=True, shell_complete=shared.complete(["float32", "float64"]),
    help="Data type of the parameters: float32 or float64.",
)  # fmt: skip
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the weights, the mini-batches and the data split."
)
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Checkpoint file, written after each epoch and on Ctrl-C."
)
@click.option("--resume", is_flag=True, help="Continue from the checkpoint if it exists.")
@click.option(
    "--resume-anyway", is_flag=True, help="Continue from the checkpoint even if data, seed or settings differ."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing checkpoint.")
@click.option("--mpi", is_flag=True, help="Train on all processes that mpiexec has started.")
@click.option("--save", type=click.Path(path_type=Path), help="Save the trained network to this file (safetensors).")
@click.option("--plot", type=click.Path(path_type=Path), help="Save the learning curves to this file (.png or .svg).")
def train(
    data: str, label: str | None, sizes: str | None, hidden: str | None, dtype: str, backend: Any, seed: int,
    mpi: bool, save: Path | None, plot: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Train, save, test and plot, in this order.

    The network is saved before testing and plotting, because these may fail. With several ranks, the first one prints
    and writes files.
    """
    start, outputs = time.perf_counter(), Outputs()
    data = shared.dataset_name(data)
    with on_ranks(world() if mpi else None) as ranks:
        if not ranks.first:
            save = plot = None
            keep_first_rank_output(ranks)
        loaded, net = _load(ranks, data, label, sizes, hidden, dtype, backend, seed, save, plot, options)
        _print_what_is_trained(net, loaded, ranks, outputs)
        # Do not train if the result of the training would be lost.
        lost = ranks.from_first(bool(outputs.code) and save is None and plot is None and options["checkpoint"] is None)
        begun = time.perf_counter()
        if not lost:
            (x, labels), *_ = loaded.splits
            history, saved, epochs = _train_and_save(net, x, labels, {"comm": ranks.comm, **options}, save, outputs)
    if lost or not ranks.first:
        sys.exit(outputs.code)
    seconds = time.perf_counter() - begun
    outputs.attempt("test the network", print_results, net, loaded.splits, outputs)
    all_epochs = plural(len(history.cost), "epoch") + ("" if epochs == len(history.cost) else f", the last {epochs}")
    outputs.print(f"{all_epochs} in {seconds:.2f} s ({begun + seconds - start:.1f} s in total)")
    outputs.attempt("test the network", _print_advice, net, loaded.splits, history, options["patience"], outputs)
    if saved:
        outputs.print(f"network saved to {save}")
    curves = (history, plot, f"{net!r}"[1:-1])
    if plot is not None and history.cost and outputs.attempt("draw the learning curves", save_curves, *curves):
        outputs.print(f"learning curves saved to {plot}")
    if outputs.code:
        sys.exit(outputs.code)
    if data == "digits" and save is None and plot is None:
        print_text(next_steps())


def _load(
    ranks: Ranks, data: str, label: str | None, sizes: str | None, hidden: str | None, dtype: str, backend: Any,
    seed: int, save: Path | None, plot: Path | None, options: dict[str, Any],
) -> tuple[Loaded, Network]:  # fmt: skip
    """Return the data and a new network; leave the arguments of `Network.train` in `options`."""
    table = {name: options.pop(name) for name in ("task", "header", "scale", "missing", "drop")} | {"label": label}
    with ranks.agreement():
        check_table_options(data, table)
        options["dropout"] = shared.parse_dropout(options["dropout"])
        _check_options(sizes, hidden, dtype, seed, save, plot, options)
        if ranks.size > 1 and data == STDIN:
            raise InputError("--mpi cannot read standard input, which only one rank has; pass a file: --data FILE")
    loaded = ranks.one_per_node_first(lambda: load_data(data, table, seed))
    with ranks.agreement():
        net, options["eta"] = _network(loaded, sizes, hidden, dtype, backend, seed, options)
    options["validation"] = loaded.splits[1] if loaded.splits[1][0].shape[1] else None
    return loaded, net


def _print_what_is_trained(net: Network, loaded: Loaded, ranks: Ranks, outputs: Outputs) -> None:
    for line in loaded.said:
        outputs.print(line)
    counts = [part.shape[1] for part, _ in loaded.splits]
    outputs.print(f"{net!r}\n{counts[0]:,} training, {counts[1]:,} validation and {counts[2]:,} test examples")
    if ranks.size > 1:
        outputs.print(f"{ranks.size} ranks with {plural(ranks.threads, 'thread')} each")


def _network(
    loaded: Loaded, sizes: str | None, hidden: str | None, dtype: str, backend: Any, seed: int, options: dict[str, Any]
) -> tuple[Network, schedules.Schedule | None]:
    """Return a new network and its learning-rate schedule, if any, and remove their options from `options`."""
    layers = shared.choose_sizes(sizes, hidden, loaded.inputs, loaded.outputs, exact=loaded.preparation is not None)
    chosen = defaults.formulas(loaded.purpose, options.pop("activations"), options.pop("cost"), len(layers) - 1)
    rate, schedule = options.pop("eta"), SCHEDULES[options.pop("schedule")]
    if rate is None and options["optimizer"] != LBFGS:
        optimizer = optimizer_of(options["optimizer"], options["momentum"])
        rate = defaults.eta(loaded.purpose, chosen, optimizer, pixels=loaded.input_scale != 1.0)
    names, cost, kind = cast(Any, chosen.activations), cast(Any, chosen.cost), cast(Any, dtype)
    net = Network(layers, names, cost, dtype=kind, backend=backend, rng=seed, input_scale=loaded.input_scale)
    net.preparation = loaded.preparation
    return net, None if rate is None else schedule(rate)


def _print_advice(net: Network, splits: Any, history: History, patience: int | None, outputs: Outputs) -> None:
    """Print whether training stopped early, and what to try if the network is no better than a constant answer."""
    if history.best_epoch is not None and patience is not None:
        early = len(history.cost) - history.best_epoch >= patience
        why = f"stopped early: no improvement in {patience} epochs; " if early else ""
        outputs.print(f"{why}the parameters are those of the best epoch, {history.best_epoch}")
    if history.cost and (advice := chance_line(net, splits)):
        outputs.print(advice)


def next_steps() -> str:
    """Return commands to try next. The option --plot is left out if matplotlib is not installed."""
    plot = " --plot curves.png" if find_spec("matplotlib") else ""
    return f"""\
Try next:  fastbp train --hidden 100 --activations tanh{plot}
           fastbp train --save digits.safetensors
           fastbp evaluate digits.safetensors
           fastbp train --data YOUR-TABLE.csv
           fastbp --help"""


def _check_options(
    sizes: str | None, hidden: str | None, dtype: str, seed: int, save: Path | None, plot: Path | None,
    options: dict[str, Any],
) -> None:  # fmt: skip
    """Raise `InputError` for options that are wrong for any data, before data are loaded."""
    whole_number("--seed", seed, least=0)
    for name in ("epochs", "mini_batch_size", "patience"):
        if options[name] is not None:
            whole_number(name, options[name])
    for name, positive in (("eta", True), ("lmbda", False)):
        if options[name] is not None:
            finite_number(name, options[name], positive=positive)
    choose("schedule", options["schedule"], SCHEDULES)
    if options["optimizer"] == LBFGS:
        lbfgs.refuse_options(options | {"schedule": options["schedule"] != "constant" and options["schedule"]})
    else:
        optimizer_of(options["optimizer"], options["momentum"])
    layers = shared.check_sizes(sizes, hidden)
    count = 2 if layers is None else len(layers) - 1 if sizes is not None else len(layers) + 1
    defaults.formulas(defaults.CLASSES, options["activations"], options["cost"], count)
    dtype_name(cast(Any, dtype))
    if save is not None:
        check_target(save)
    if plot is not None:
        check_picture(plot)
    if (options["resume"] or options["resume_anyway"]) and options["checkpoint"] is None:
        raise InputError("--resume needs a checkpoint: --checkpoint FILE")


def _train_and_save(
    net: Network, x: Any, labels: Any, options: dict[str, Any], save: Path | None, outputs: Outputs
) -> tuple[History, bool, int]:
    """Train the network, and save it if the user asked for that. The network is also saved after Ctrl-C.

    Return the history, whether a file was saved, and the number of epochs that this call has trained.
    """
    path, resumes = options["checkpoint"], options["resume"] or options["resume_anyway"]
    earlier = resumes and path is not None and checkpoints.is_there(path)
    history = checkpoints.read_history(path) if earlier else History()
    epochs, trained = len(history.cost), False

    def saved() -> bool:
        return save is not None and outputs.attempt("save the network", net.save, save)

    try:
        try:
            history = net.train(x, labels, callback=history.append, **options)
        except InputError as error:
            if len(history.cost) == epochs:
                raise
            outputs.failed(error)  # training had begun, so there is a network to save
        trained = True
        return history, saved(), len(history.cost) - epochs
    except KeyboardInterrupt:
        outputs.stopped()
        if path is not None and checkpoints.is_there(path):
            history = checkpoints.read_history(path)  # the last epoch may have ended just before Ctrl-C
        where = "after training" if trained else f"in epoch {len(history.cost) + 1}"
        warn(f"stopped by Ctrl-C {where}")
        return history, saved(), len(history.cost) - epochs
