"""The command fastbp: a thin layer over the library."""

import csv
import io
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from fastbp import __version__, datasets, schedules
from fastbp.activations import ACTIVATIONS
from fastbp.backends import NAMES
from fastbp.backends.numpy import threads
from fastbp.costs import COSTS
from fastbp.errors import DivergedError, InputError, brief, choose, whole_number
from fastbp.files.outputs import STOPPED, OutputError, Outputs, discard_unwritten, print_line, warn
from fastbp.files.tensors import check_target, write_whole
from fastbp.network import Network, load
from fastbp.optimizers import OPTIMIZERS, optimizer_of
from fastbp.plots.learning_curves import check_picture, save_curves
from fastbp.training import checkpoints
from fastbp.training.history import History

_NEXT = """\
Try next:  fastbp train --sizes 64-100-10 --activations relu,softmax --cost log-likelihood --eta 0.3 --plot curves.png
           fastbp train --save digits.safetensors && fastbp evaluate digits.safetensors
           fastbp --help"""
_DATA = "digits, mnist, an .npz or .csv file, or a folder with MNIST's four files."
_SCHEDULES = {"constant": schedules.Constant, "step": schedules.Step, "cosine": schedules.Cosine}
_backend = click.option(
    "--backend",
    default=None,
    help=f"One of {', '.join(NAMES)}; cupy:1; auto.  [default: FASTBP_BACKEND, or numpy]",
)
_threads = click.option(
    "--threads",
    type=int,
    expose_value=False,
    callback=lambda context, option, count: _limit_threads(count),
    help="Of matrix products.  [default: FASTBP_THREADS, or all processors]",
)
_data = click.option("--data", default="digits", show_default=True, help=f"One of {_DATA}")
_label = click.option("--label", default=None, help="The column of labels in a .csv file.  [default: the last]")


# Help texts are arguments, not docstrings, which `python -OO` removes.
@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Backpropagation for fully connected networks, written once like the equations and run fast.",
)
@click.version_option(__version__, prog_name="fastbp")
def fastbp() -> None:
    """Run the command `fastbp`."""


@fastbp.command(help="Train a network on handwritten digits or on your own data, and test it on held-out examples.")
@_data
@_label
@click.option("--sizes", default=None, help="Neurons of each layer, input first.  [default: the data's, 30 between]")
@click.option("--epochs", type=int, default=100, show_default=True, help="Times through the training examples.")
@click.option("--mini-batch-size", type=int, default=10, show_default=True, help="Examples to a step of descent.")
@click.option("--eta", type=float, help="Learning rate.  [default: 3, with momentum 3 (1 - momentum), for adam 0.001]")
@click.option("--schedule", default="constant", show_default=True, help=f"Of eta: {', '.join(_SCHEDULES)}.")
@click.option("--optimizer", default="sgd", show_default=True, help=f"One of {', '.join(OPTIMIZERS)}.")
@click.option("--momentum", type=float, help="Below 1; adam has none.  [default: 0 for sgd, or 0.9]")
@click.option("--lmbda", type=float, default=0.0, show_default=True, help="L2 regularisation.")
@click.option("--cost", default="quadratic", show_default=True, help=f"One of {', '.join(COSTS)}.")
@click.option(
    "--activations",
    default="sigmoid",
    show_default=True,
    help=f"One for all layers, or one a layer with commas between: {', '.join(ACTIVATIONS)}.",
)
@click.option("--class-weight", type=click.Choice(["balanced"]), help="Make up for classes of different frequency.")
@click.option("--patience", type=int, help="Stop after so many epochs without a better one, and go back to the best.")
@_backend
@_threads
@click.option("--dtype", default="float32", show_default=True, help="float32 or float64.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of parameters, mini-batches and shuffled data.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Leave the state of training here, to go on from.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint, if it is there.")
@click.option("--resume-anyway", is_flag=True, help="Resume even if the data, the seed or the settings differ.")
@click.option("--overwrite", is_flag=True, help="Replace an existing checkpoint by one of a new run.")
@click.option("--save", type=click.Path(path_type=Path), help="Save the network, in safetensors.")
@click.option("--plot", type=click.Path(path_type=Path), help="Save the learning curves as PNG or SVG.")
def train(
    data: str, label: str | None, sizes: str | None, activations: str, cost: str, dtype: str, backend: str | None,
    seed: int, eta: float | None, schedule: str, save: Path | None, plot: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Run `fastbp train`: the network is saved before anything else is printed or drawn, which may fail."""
    start = time.perf_counter()
    if save is not None:
        check_target(save)
    if plot is not None:
        check_picture(plot)
    eta_of_epoch = choose("schedule", schedule, _SCHEDULES)(
        optimizer_of(options["optimizer"], options["momentum"]).default_eta if eta is None else eta
    )
    (x, labels), validation, test = datasets.load(data, label, seed if Path(data).is_file() else 0)
    layers = _sizes(sizes, x.shape[0], _classes(labels, validation[1], test[1]))
    names = activations.split(",") if "," in activations else activations
    net = Network(layers, names, cost, dtype=dtype, backend=backend, rng=seed, input_scale=_input_scale(x))
    counts = f"{x.shape[1]:,} examples to train on, {len(validation[1]):,} to validate, {len(test[1]):,} to test"
    outputs = Outputs()
    outputs.print(f"{net!r}\n{counts}")
    if outputs.code and save is None and plot is None and options["checkpoint"] is None:
        sys.exit(outputs.code)  # nothing would be left of the training
    options["validation"] = validation if len(validation[1]) else None
    history, saved = _trained(net, x, labels, {"eta": eta_of_epoch, **options}, save, outputs)
    seconds = time.perf_counter() - start
    if len(test[1]):
        outputs.attempt("test the network", _print_accuracy, net, test, outputs)
    outputs.print(f"{len(history.cost)} epochs in {sum(history.seconds):.2f} s, {seconds:.1f} s in all")
    if saved:
        outputs.print(f"network in {save}")
    curves = (history, plot, f"{net!r}"[1:-1])
    if plot is not None and history.cost and outputs.attempt("draw the learning curves", save_curves, *curves):
        outputs.print(f"learning curves in {plot}")
    if outputs.code:
        sys.exit(outputs.code)
    if data == "digits":
        print_line(_NEXT)


@fastbp.command(
    help="Test a saved network: accuracy, cost and confusion matrix.\n\n"
    "Of digits, mnist and folders the test part is used, of a file all its examples."
)
@click.argument("model", type=click.Path(path_type=Path))
@_data
@_label
@_backend
@_threads
def evaluate(model: Path, data: str, label: str | None, backend: str | None) -> None:
    """Run `fastbp evaluate`."""
    net = load(model, backend=backend)
    is_file = Path(data).is_file()
    x, labels = datasets.read_examples(data, label) if is_file else datasets.load(data, label)[2]
    print_line(f"{net!r}\n{len(labels):,} examples of {data}")
    print_line(f"{net.accuracy(x, labels):.2%} right, cost {net.cost(x, labels):.4f}")
    print_line(_confusion(labels, net.predict(x), net.sizes[-1]))


@fastbp.command(
    help="Apply a saved network to inputs (IDX, .npz, .csv); print CSV: the predicted class, and the outputs."
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--label", default=None, help="A column of a .csv file that is no input.")
@click.option("--output", type=click.Path(path_type=Path), help="Write here.  [default: standard output]")
@_backend
@_threads
def predict(model: Path, file: Path, label: str | None, output: Path | None, backend: str | None) -> None:
    """Run `fastbp predict`."""
    net = load(model, backend=backend)
    x = datasets.read_inputs(file, label)
    outputs = np.asarray(net.to("numpy").feedforward(x))
    header = [f"output_{j}" for j in range(len(outputs))]
    rows = [[f"{value:.9g}" for value in column] for column in outputs.T]
    if len(outputs) > 1:
        header = ["class", *header]
        rows = [[str(column.argmax()), *row] for column, row in zip(outputs.T, rows, strict=True)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    if output is None:
        print_line(text.getvalue(), end="")
    else:
        with write_whole(output) as target:
            target.write(text.getvalue().encode())


@fastbp.command(help="Print versions, BLAS, threads, the folder of compiled code, and available backends.")
def info() -> None:
    """Run `fastbp info`."""
    from fastbp.backends.environment import information

    for name, value in information().items():
        print_line(f"{name:<26} {value}")


@fastbp.command(
    help="Run a self-test of a backend: kernels, gradients, a short training. Exit code 1 if one fails.\n\n"
    "For cupy also streams, memory and transfers; the output is then a report on the GPU."
)
@_backend
@_threads
def check(backend: str | None) -> None:
    """Run `fastbp check`."""
    from fastbp.backends import get

    where = get(backend)
    failed = _check_gpu(where) if where.name.startswith("cupy") else _check_host(where)
    print_line("all passed" if not failed else f"{failed} failed")
    if failed:
        sys.exit(1)


def _check_host(backend: Any) -> int:
    """Print the checks of a backend; return how many failed."""
    from fastbp.backends.environment import called_blas
    from fastbp.cli.check.host import checks

    print_line(f"fastbp {__version__} on {backend.name}")
    if backend.kind == "numpy":
        print_line(f"BLAS    {called_blas()}")
    failed = 0
    for done in checks(backend):
        failed += not done.passed
        verdict = "passed" if done.passed else "FAILED"
        print_line(f"{verdict}  {done.what:<51} off by {done.error:7.1e}, at most {done.bound:7.1e}")
    return failed


def _check_gpu(backend: Any) -> int:
    """Print the table of a GPU; return how many checks failed."""
    from fastbp.backends.cupy.instruments import Instruments
    from fastbp.cli.check.gpu import checks, head, row

    instruments, failed = Instruments(), 0
    for line in head(backend, instruments):
        print_line(line)
    for done in checks(backend, instruments):
        failed += not done.passed
        print_line(row(done))
    return failed


@fastbp.command(
    help="Measure training on each backend, and the machine: CPU against GPU, over layer widths and mini-batch sizes."
    "\n\nCtrl-C keeps what was measured."
)
@click.option("--quick", is_flag=True, help="A small grid, in half a minute.")
@click.option(
    "--backend", "names", multiple=True, help="May be repeated.  [default: numpy, numpy-plain, cupy if there]"
)
@click.option("--dtype", default=None, help="float32 or float64.  [default: float32]")
@click.option("--sizes", "nets", multiple=True, help="A network, like 784-30-10; may be repeated.  [default: a grid]")
@click.option("--mini-batch-size", "batches", type=int, multiple=True, help="May be repeated.  [default: a grid]")
@_threads
@click.option("--json", type=click.Path(path_type=Path), help="Save the results.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw them, as PNG or SVG.")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Show results saved before; measure nothing.")
def bench(
    quick: bool, names: tuple[str, ...], dtype: str | None, nets: tuple[str, ...], batches: tuple[int, ...],
    json: Path | None, plot: Path | None, source: Path | None,
) -> None:  # fmt: skip
    """Run `fastbp bench`."""
    from fastbp.bench import run
    from fastbp.bench.grid import FULL, QUICK

    if source is None:
        sys.exit(run.bench(QUICK if quick else FULL, names, dtype or "float32", nets, batches, json, plot))
    if quick or names or dtype or nets or batches or json:
        raise InputError("--from shows results as they are; wanted beside it is nothing but --plot")
    sys.exit(run.show_again(source, plot))


def main() -> None:
    """Run the command and exit; an error is one line on standard error and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # paths that are not UTF-8, and signs that ASCII lacks
    try:
        sys.exit(_exit_code())
    finally:
        discard_unwritten()


def _exit_code() -> int:
    """Run the command; return its exit code, unless a subcommand exits with its own."""
    outputs = Outputs()
    try:
        fastbp.main(prog_name="fastbp", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        outputs.print(error.format_message())
    except click.ClickException as error:
        outputs.failed(InputError(error.format_message()))
    except (InputError, DivergedError, OutputError, OSError) as error:
        outputs.failed(error)
    except (click.Abort, KeyboardInterrupt):
        return STOPPED
    return outputs.code


def _trained(
    net: Network, x: Any, labels: Any, options: dict[str, Any], save: Path | None, outputs: Outputs
) -> tuple[History, bool]:
    """Train, then save if that was asked for, at Ctrl-C too; return the history, and whether the network was saved."""
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
    outputs.print(f"{net.accuracy(*test):.2%} of the {len(test[1]):,} test examples right")


def _input_scale(x: Any) -> float:
    """Return what brings inputs to 1 at the most: 1/255 for bytes of pixels, 1 for what is there already."""
    largest = max(float(x.max()), -float(x.min()))  # no copy is made of mapped data
    return 1.0 / largest if np.isfinite(largest) and largest > 1 else 1.0


def _limit_threads(count: int | None) -> None:
    if count is not None:
        os.environ[threads.VARIABLE] = str(whole_number("threads", count))


def _classes(*parts: Any) -> int:
    return 1 + max(int(labels.max()) for labels in parts if len(labels))


def _sizes(text: str | None, inputs: int, classes: int) -> list[int]:
    """Return the sizes of layers that data fit."""
    if text is None:
        return [inputs, 30, classes]
    parts = text.split("-")
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        like = f"{inputs}-30-{classes}"
        raise InputError(f"--sizes is {brief(text)}; wanted are whole numbers with '-' between, like {like}")
    sizes = [int(part) for part in parts]
    if sizes[0] != inputs or sizes[-1] < classes:
        wanted = f"wanted is {inputs}-…-{classes}"
        raise InputError(f"--sizes is {brief(text)}; the data have {inputs} inputs and {classes} classes: {wanted}")
    return sizes


def _confusion(labels: Any, predicted: Any, classes: int) -> str:
    """Return a table of how many examples of each class were taken for which."""
    table = np.zeros((classes, classes), int)
    np.add.at(table, (labels, predicted), 1)
    width = max(5, len(str(table.max())) + 1)
    head = "label" + "".join(f"{j:>{width}}" for j in range(classes)) + "  taken for"
    rows = [f"{i:>5}" + "".join(f"{n or '·':>{width}}" for n in row) for i, row in enumerate(table)]
    return "\n".join([head, *rows])
