"""`fastbp export`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fastbp.errors import InputError, choose
from fastbp.files.atomic import check_target, write_atomically
from fastbp.files.outputs import print_line, warn
from fastbp.files.reading import display_path
from fastbp.network import Network, load

FORMATS = ("onnx", "json", "c")


@click.command(
    short_help="Convert a saved network to ONNX, JSON or C.",
    help="Convert a saved network to ONNX, JSON or C.\n\n"
    "The ONNX model and the C function predict apply the network's input scale, and return its outputs and the class. "
    "If the network was trained on a table, the ONNX model also prepares the columns and returns the names of classes, "
    "or numbers in the unit of the label column. "
    "The JSON file contains the sizes, activations and parameters.",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", help=f"Format: {', '.join(FORMATS)}.  [default: from the suffix of FILE: .onnx, .json or .c]"
)
@click.option("--dtype", help="Data type in ONNX or C: float32 or float64.  [default: that of the network]")
def export(model: Path, file: Path, form: str | None, dtype: str | None) -> None:
    """Write a network to a file in another format."""
    form = _format(file, form)
    if dtype is not None and form == "json":
        raise InputError("--dtype is only for onnx and c; JSON has the numbers in the data type of the network")
    check_target(file)
    net = load(model, backend="numpy-plain")
    content = _CONVERTERS[form](net, dtype)
    with write_atomically(file) as target:
        target.write(content)
    print_line(f"network {'-'.join(map(str, net.sizes))} exported to {file}")
    if net.preparation is not None and form != "onnx":
        warn(
            f"{file} does not contain the preparation of the columns. Its inputs are those of "
            f"fastbp.load({display_path(model)}).preparation.transform(table). Its outputs are neither "
            "names of classes nor in the unit of the label column"
        )


def _format(file: Path, form: str | None) -> str:
    if form is not None:
        return choose("format", form.lower(), {name: name for name in FORMATS})
    suffix = file.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise InputError(
            f"the name of FILE must end with .onnx, .json or .c, got {display_path(file)}; or pass --format"
        )
    return suffix


def _onnx(net: Network, dtype: Any) -> bytes:
    from fastbp.convert.onnx_models import onnx_bytes

    return onnx_bytes(net, dtype)


def _json(net: Network, dtype: Any) -> bytes:
    from fastbp.convert.json_models import to_json

    return to_json(net).encode()


def _c(net: Network, dtype: Any) -> bytes:
    from fastbp.convert.c_source import to_c

    return to_c(net, dtype=dtype).encode()


_CONVERTERS: dict[str, Callable[[Network, Any], bytes]] = {"onnx": _onnx, "json": _json, "c": _c}
