"""`fastbp train`."""

import sys
import time
from pathlib import Path
from typing import Any, cast

import click

from fastbp import datasets, schedules
from fastbp.activations import ACTIVATIONS
from fastbp.cli import options as shared
from fastbp.costs import COSTS
from fastbp.errors import InputError, choose, whole_number
from fastbp.files.atomic import check_target
from fastbp.files.outputs import Outputs, print_line, warn
from fastbp.network import Network
from fastbp.optimizers import OPTIMIZERS, optimizer_of
from fastbp.plots.learning_curves import check_picture, save_curves
from fastbp.training import checkpoints
from fastbp.training.history import History

NEXT_STEPS = """\
Try next:  fastbp train --sizes 64-100-10 --activations relu,softmax --cost log-likelihood --eta 0.3 --plot curves.png
           fastbp train --save digits.safetensors && fastbp evaluate digits.safetensors
           fastbp --help"""
SCHEDULES = {"constant": schedules.Constant, "step": schedules.Step, "cosine": schedules.Cosine}


@click.command(
    short_help="Train a network and test it on held-out examples.",
    help="Train a network on handwritten digits or on your own data, and test it on held-out examples.",
)
@shared.data
@shared.label
@click.option("--sizes", help="Neurons of each layer, input first, like 64-30-10.  [default: INPUTS-30-CLASSES]")
@click.option("--epochs", type=int, default=100, show_default=True, help="Number of epochs.")
@click.option("--mini-batch-size", type=int, default=10, show_default=True, help="Mini-batch size.")
@click.option("--eta", type=float, help="Learning rate.  [default: 3 * (1 - momentum), or 0.001 for adam]")
@click.option(
    "--schedule", default="constant", show_default=True, help=f"Learning-rate schedule: {', '.join(SCHEDULES)}."
)
@click.option("--optimizer", default="sgd", show_default=True, help=f"Optimizer: {', '.join(OPTIMIZERS)}.")
@click.option("--momentum", type=float, help="Momentum, below 1; not for adam.  [default: 0 for sgd, otherwise 0.9]")
@click.option("--lmbda", type=float, default=0.0, show_default=True, help="Strength of L2 regularisation (lambda).")
@click.option(
    "--dropout",
    default="0",
    show_default=True,
    help="Rate of dropout of the hidden layers, or rates of the input and of each hidden layer, like 0.2,0.5.",
)
@click.option("--cost", default="quadratic", show_default=True, help=f"Cost: {', '.join(COSTS)}.")
@click.option(
    "--activations",
    default="sigmoid",
    show_default=True,
    help=f"Activation of all layers, or one per layer separated by commas: {', '.join(ACTIVATIONS)}.",
)
@click.option("--class-weight", type=click.Choice(["balanced"]), help="Weight classes by their inverse frequency.")
@click.option("--patience", type=int, help="Stop after this many epochs without improvement; restore the best weights.")
@shared.backend
@shared.threads_option
@click.option("--dtype", default="float32", show_default=True, help="Data type of the parameters: float32 or float64.")
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
@click.option("--save", type=click.Path(path_type=Path), help="Save the trained network to this file (safetensors).")
@click.option("--plot", type=click.Path(path_type=Path), help="Save the learning curves to this file (.png or .svg).")
def train(
    data: str, label: str | None, sizes: str | None, activations: str, cost: str, dtype: str, backend: Any,
    seed: int, eta: float | None, schedule: str, dropout: str, save: Path | None, plot: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Train, save, test and plot, in this order.

    The network is saved before testing and plotting, because these may fail.
    """
    start = time.perf_counter()
    whole_number("--seed", seed, least=0)
    if save is not None:
        check_target(save)
    if plot is not None:
        check_picture(plot)
    eta_of_epoch = choose("schedule", schedule, SCHEDULES)(
        optimizer_of(options["optimizer"], options["momentum"]).default_eta if eta is None else eta
    )
    options["dropout"] = shared.parse_dropout(dropout)
    (x, labels), validation, test = datasets.load(data, label, seed if Path(data).is_file() else 0)
    layers = shared.parse_sizes(sizes, x.shape[0], shared.count_classes(labels, validation[1], test[1]))
    names = cast(Any, activations.split(",") if "," in activations else activations)
    scale = shared.input_scale(x)
    net = Network(layers, names, cast(Any, cost), dtype=cast(Any, dtype), backend=backend, rng=seed, input_scale=scale)
    outputs = Outputs()
    outputs.print(
        f"{net!r}\n{x.shape[1]:,} training, {len(validation[1]):,} validation and {len(test[1]):,} test examples"
    )
    if outputs.code and save is None and plot is None and options["checkpoint"] is None:
        sys.exit(outputs.code)  # no result of the training would remain
    options["validation"] = validation if len(validation[1]) else None
    history, saved = _train_and_save(net, x, labels, {"eta": eta_of_epoch, **options}, save, outputs)
    seconds = time.perf_counter() - start
    if len(test[1]):
        outputs.attempt("test the network", _print_accuracy, net, test, outputs)
    outputs.print(f"{len(history.cost)} epochs in {sum(history.seconds):.2f} s ({seconds:.1f} s in total)")
    if saved:
        outputs.print(f"network saved to {save}")
    curves = (history, plot, f"{net!r}"[1:-1])
    if plot is not None and history.cost and outputs.attempt("draw the learning curves", save_curves, *curves):
        outputs.print(f"learning curves saved to {plot}")
    if outputs.code:
        sys.exit(outputs.code)
    if data == "digits":
        print_line(NEXT_STEPS)


def _train_and_save(
    net: Network, x: Any, labels: Any, options: dict[str, Any], save: Path | None, outputs: Outputs
) -> tuple[History, bool]:
    """Train the network, and save it if the user asked for that. Return the history, and whether a file was saved.

    The network is also saved after Ctrl-C.
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
        return history, saved()
    except KeyboardInterrupt:
        outputs.stopped()
        where = "after training" if trained else f"in epoch {len(history.cost) + 1}"
        warn(f"stopped by Ctrl-C {where}")
        return history, saved()


def _print_accuracy(net: Network, test: Any, outputs: Outputs) -> None:
    outputs.print(f"accuracy {net.accuracy(*test):.2%} on the {len(test[1]):,} test examples")
