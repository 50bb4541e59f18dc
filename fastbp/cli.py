"""The command fastbp: a thin layer over the library."""

import sys
import time
from pathlib import Path

import click

from fastbp import __version__, datasets
from fastbp.activations import ACTIVATIONS
from fastbp.backends import NAMES
from fastbp.checks import InputError
from fastbp.costs import COSTS
from fastbp.network import Network
from fastbp.plots import check_picture, save_curves
from fastbp.training import DivergedError, History

_NEXT = """\
Try next:  fastbp train --sizes 64-100-10 --activations relu,softmax --cost log-likelihood --eta 0.3 --plot curves.png
           fastbp train --help"""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fastbp")
def fastbp() -> None:
    """Backpropagation for fully connected networks, written once like the equations and run fast."""


@fastbp.command()
@click.option("--sizes", default="64-30-10", show_default=True, help="Neurons of each layer, the input first.")
@click.option("--epochs", type=int, default=100, show_default=True, help="Times through the training examples.")
@click.option("--mini-batch-size", type=int, default=10, show_default=True, help="Examples to a step of descent.")
@click.option("--eta", type=float, default=3.0, show_default=True, help="Learning rate.")
@click.option("--lmbda", type=float, default=0.0, show_default=True, help="L2 regularisation.")
@click.option("--cost", default="quadratic", show_default=True, help=f"One of {', '.join(COSTS)}.")
@click.option(
    "--activations",
    default="sigmoid",
    show_default=True,
    help=f"One for all layers, or one a layer with commas between: {', '.join(ACTIVATIONS)}.",
)
@click.option("--backend", default=None, help=f"One of {', '.join(NAMES)}.  [default: FASTBP_BACKEND, or numpy]")
@click.option("--dtype", default="float32", show_default=True, help="float32 or float64.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first parameters and the mini-batches.")
@click.option("--plot", type=click.Path(path_type=Path), help="Save the learning curves as PNG or SVG.")
def train(
    sizes: str,
    epochs: int,
    mini_batch_size: int,
    eta: float,
    lmbda: float,
    cost: str,
    activations: str,
    backend: str | None,
    dtype: str,
    seed: int,
    plot: Path | None,
) -> None:
    """Train a network on 1,797 handwritten digits and test it on those held out."""
    start = time.perf_counter()
    picture = None if plot is None else check_picture(plot)
    (x, labels), test = datasets.digits()
    layers = _sizes(sizes, inputs=x.shape[0])
    names = activations.split(",") if "," in activations else activations
    net = Network(layers, names, cost, dtype=dtype, backend=backend, rng=seed)
    click.echo(f"{net!r}\n{x.shape[1]:,} digits to train on, {test[0].shape[1]} held out")
    history = History()
    try:
        net.train(
            x,
            labels,
            epochs=epochs,
            mini_batch_size=mini_batch_size,
            eta=eta,
            lmbda=lmbda,
            validation=test,
            callback=history.append,
        )
    except KeyboardInterrupt:
        click.echo(f"stopped by Ctrl-C in epoch {len(history.cost) + 1}", err=True)
    right = net.accuracy(*test)
    seconds = time.perf_counter() - start
    click.echo(
        f"{right:.2%} of the held-out digits right; {len(history.cost)} epochs in {sum(history.seconds):.2f} s, "
        f"{seconds:.1f} s in all"
    )
    if picture is not None and history.cost:
        save_curves(history, picture, f"{net!r}"[1:-1])
        click.echo(f"learning curves in {picture}")
    if len(history.cost) < epochs:
        sys.exit(130)
    click.echo(_NEXT)


def main() -> None:
    """Run the command; whatever goes wrong ends in one line and exit code 2."""
    try:
        fastbp.main(prog_name="fastbp", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.ClickException as error:
        _fail(error.format_message())
    except (InputError, DivergedError, OSError) as error:
        _fail(str(error))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


def _fail(message: str) -> None:
    click.echo(f"fastbp: {' '.join(message.split())}", err=True)
    sys.exit(2)


def _sizes(text: str, inputs: int) -> list[int]:
    """Return the sizes of layers that the digits fit."""
    parts = text.split("-")
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--sizes is {text!r}; wanted are whole numbers with '-' between, like {inputs}-30-10")
    sizes = [int(part) for part in parts]
    if sizes[0] != inputs or sizes[-1] != 10:
        raise InputError(
            f"--sizes is {text!r}; the digits have {inputs} pixels and 10 classes: wanted is {inputs}-…-10"
        )
    return sizes
