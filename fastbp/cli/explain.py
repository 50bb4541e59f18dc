"""`fastbp explain`."""

from pathlib import Path
from typing import Any

import click

from fastbp.cli import options
from fastbp.cli.evaluate import examples_of
from fastbp.datasets.preparation import Preparation
from fastbp.errors import InputError, whole_number
from fastbp.files.atomic import check_target
from fastbp.files.outputs import print_text
from fastbp.network import load
from fastbp.plots.explain.pages import write_page
from fastbp.plots.explain.values import check_size


@click.command(
    short_help="Write a page that explains backpropagation with one example.",
    help="Write a page that explains backpropagation with one example of the data.\n\n"
    "The page is one HTML file for any browser. It shows every z, a, δ and derivative, and the equations with their "
    "numbers. The examples are those that `fastbp evaluate` uses, counted from 0.",
)
@click.argument("model", type=click.Path(path_type=Path))
@options.data
@options.label
@options.header
@click.option("--example", type=int, default=0, show_default=True, help="Number of the example, counted from 0.")
@click.option(
    "--output", type=click.Path(path_type=Path), default="explain.html", show_default=True, help="The page to write."
)
@options.backend
@options.threads_option
def explain(
    model: Path, data: str, label: str | None, header: bool | None, example: int, output: Path, backend: Any
) -> None:
    """Trace one example and write the page about it."""
    whole_number("--example", example, least=0)
    check_target(output)
    net = load(model, backend=backend)
    check_size(net.sizes)
    data = options.dataset_name(data)
    x, y, said = examples_of(net, data, label, header)
    options.check_inputs(net, x, data)
    count = x.shape[1]
    if example >= count:
        raise InputError(f"--example must be from 0 to {count - 1}, got {example}; {data} has {count:,} examples")
    trace = net.trace(x[:, example : example + 1], y[example : example + 1])
    inputs, outputs = _names(net.preparation, net.sizes[-1])
    write_page(trace, output, inputs=inputs, outputs=outputs, subject=f"example {example} of {Path(data).name}")
    print_text("\n".join([f"{net!r}", *said, f"example {example} of {data} explained in {output}"]))


def _names(preparation: Preparation | None, outputs: int) -> tuple[list[str], list[str]]:
    """Return names of the inputs and of the outputs. Inputs that are pixels have no names, so a picture is shown."""
    if preparation is None:
        return [], [str(j) for j in range(outputs)] if outputs > 1 else []
    names = [
        f"{feature.name} = {category}" if category else feature.name
        for feature in preparation.features
        for category in feature.categories or ("",)
    ]
    pixels = preparation.input_scale != 1.0
    return [] if pixels else names, list(preparation.target.classes) if outputs > 1 else []
