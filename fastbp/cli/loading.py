"""Loading of data for `fastbp train`: images that come with labels, or your own file or folder, which is prepared."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastbp import datasets
from fastbp.cli import defaults
from fastbp.cli.options import NAMED_DATA, count_classes, input_scale, is_images
from fastbp.datasets.fit_features import FILLS, SCALES
from fastbp.datasets.preparation import Preparation
from fastbp.datasets.table_files import STDIN
from fastbp.datasets.targets import REGRESSION, TASKS
from fastbp.errors import InputError, choose
from fastbp.training.progress import reading


@dataclass(frozen=True)
class Loaded:
    """Training, validation and test set, and the lines of text that the command prints about them.

    `purpose` is `IMAGES`, `CLASSES` or `NUMBERS`, as in `fastbp.cli.defaults`. `inputs` and `outputs` are the sizes of
    the first and the last layer. `preparation` is None if the purpose is `IMAGES`. `said` has the lines of text.
    """

    splits: tuple[tuple[Any, Any], ...]
    purpose: str
    inputs: int
    outputs: int
    input_scale: float
    preparation: Preparation | None = None
    said: tuple[str, ...] = ()


def check_table_options(data: str, options: dict[str, Any]) -> None:
    """Raise `InputError` for an invalid value of an option for tables, and if such an option is used with images."""
    for name, names in (("task", TASKS), ("scale", SCALES), ("missing", FILLS)):
        if options[name] is not None:
            choose(name, options[name], dict.fromkeys(names))
    if is_images(data):
        for name, value in options.items():
            if value not in (None, ()):
                option = "--no-header" if value is False else f"--{name}"
                what = data if data in NAMED_DATA else "a folder of IDX files"
                raise InputError(f"{option} is for tables and other files with a label, not for {what}")


def load_data(data: str, options: dict[str, Any], seed: int) -> Loaded:
    """Load and split the data; `options` are keyword arguments of `fastbp.datasets.prepare`."""
    if is_images(data) or (data != STDIN and not Path(data).exists()):
        splits = datasets.load(data)
        x, labels = splits[0]
        classes = count_classes(labels, splits[1][1], splits[2][1])
        return Loaded(splits, defaults.IMAGES, x.shape[0], classes, input_scale(x))
    with reading(data) as advance:
        prepared = datasets.prepare(data, seed=seed, advance=advance, **options)
    preparation = prepared.preparation
    purpose = defaults.NUMBERS if preparation.target.task == REGRESSION else defaults.CLASSES
    return Loaded(
        (prepared.training, prepared.validation, prepared.test), purpose, len(preparation.inputs),
        preparation.target.outputs, preparation.input_scale, preparation, prepared.said,
    )  # fmt: skip
