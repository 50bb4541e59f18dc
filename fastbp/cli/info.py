"""`fastbp info`."""

from pathlib import Path

import click

from fastbp.errors import truncate
from fastbp.files.outputs import print_text
from fastbp.network import load


@click.command(
    short_help="Show versions and available backends, or what a model file contains.",
    help="Show versions, BLAS, threads, the cache of compiled code, and the available backends. With MODEL, show "
    "the contents of a saved network: its layers, and the columns and classes of the table that it was trained on.",
)
@click.argument("model", type=click.Path(path_type=Path), required=False)
def info(model: Path | None) -> None:
    """Print facts about the installation or about a model, one per line."""
    if model is None:
        from fastbp.backends.environment import information

        for name, value in information().items():
            print_text(f"{name:<26} {value}")
        return
    net = load(model, backend="numpy")
    print_text(f"{net!r}")
    count = sum(w.size for w in net.weights) + sum(b.size for b in net.biases)
    scaled = f"; inputs are multiplied by {net.input_scale:g}" if net.input_scale != 1.0 else ""
    print_text(f"{count:,} parameters{scaled}")
    if net.preparation is None and net.classes:
        print_text(f"classes {truncate(', '.join(net.classes), 200)}")
    for line in net.preparation.summary() if net.preparation else ["it was not trained on a table"]:
        print_text(line)
