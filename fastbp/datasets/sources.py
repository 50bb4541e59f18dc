"""Reading of your own files and folders as tables: text tables, Parquet, Feather, .npz, .npy, and folders of images."""

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.datasets.idx import read_idx
from fastbp.datasets.image_folders import image_files, read_images_of_classes
from fastbp.datasets.npz import npz_examples, npz_inputs, npz_parts
from fastbp.datasets.rows_and_labels import Advance, as_label_vector, as_rows
from fastbp.datasets.table_files import STDIN, Table, read_table
from fastbp.datasets.table_layout import default_names
from fastbp.datasets.tables import file_kind, read_npy
from fastbp.errors import InputError, plural
from fastbp.files.reading import StrPath, bad_file, display_path

ARRAY_LABEL = "label"
"""The name of the label column in a table made from an array of inputs and an array of labels."""

Rows = npt.NDArray[np.int64]


class Source(NamedTuple):
    """A table, with its label column and its split if the file determines them.

    `label` is the name of the label column, or None if it is still to be chosen. `parts` is None unless the file itself
    is split. Otherwise it has the indices of the rows for training, validation and test. There may be no rows for
    validation.
    """

    table: Table
    label: str | None = None
    parts: tuple[Rows, Rows, Rows] | None = None


def read_source(
    path: StrPath, *, label: str | int | None = None, header: bool | None = None, text_columns: Any = (),
    advance: Advance | None = None,
) -> Source:  # fmt: skip
    """Read a file or a folder of images as a table; raise `InputError` if it cannot be read.

    `label` is only used as the name of the array of labels in an .npz archive. The other arguments are passed to
    `read_table`.
    """
    if path == STDIN:
        return Source(read_table(path, header=header, text_columns=text_columns, advance=advance))
    file = Path(path)
    if file.is_dir():
        files = image_files(file)
        if not files:
            raise bad_file(file, "has no images in sub-folders", "a sub-folder of images for each class")
        if label is not None or header is not None:
            option = "a label" if label is not None else "--header" if header else "--no-header"
            raise InputError(f"{option} is for tables; the sub-folders of {display_path(file)} are the classes")
        return _of_arrays(file, *read_images_of_classes(file, files, advance))
    kind = file_kind(file)
    if kind == "table":
        return Source(read_table(file, header=header, text_columns=text_columns, advance=advance))
    if header is not None:
        raise InputError(f"{'--header' if header else '--no-header'} is for tables in text form, not for {file.name}")
    if kind == "npy":
        return Source(_table(file, as_rows(file, read_npy(file))))
    if kind == "idx":
        raise bad_file(file, "has only inputs or labels", "one file of inputs and labels, or a folder of IDX files")
    return _read_npz(file, label)


def read_inputs_of(path: StrPath, *, header: bool | None, text_columns: Any, advance: Advance | None = None) -> Table:
    """Read the inputs in a file or a folder of images as a table; raise `InputError` if there are no inputs.

    The table may have a label column as well.
    """
    if path != STDIN and not Path(path).exists():
        raise InputError(f"{display_path(path)} does not exist")
    if path != STDIN and Path(path).is_file() and (kind := file_kind(Path(path))) != "table":
        file = Path(path)
        arrays = {"npy": read_npy, "npz": npz_inputs, "idx": read_idx}
        return _table(file, as_rows(file, arrays[kind](file)))
    return read_source(path, header=header, text_columns=text_columns, advance=advance).table


def _read_npz(file: Path, label: str | int | None) -> Source:
    """Read the inputs and labels in an .npz archive, which may be split into training, validation and test examples."""
    if isinstance(label, int):
        raise InputError(f"the label in {file.name} must be the name of an array, got {label}")
    parts = npz_parts(file) if label is None else None
    if parts is None:
        return _of_arrays(file, *npz_examples(file, label))
    given = [(part[0], as_label_vector(part[1])) for part in parts if part is not None]
    _check_parts(file, given)
    inputs, labels = (np.concatenate(arrays) for arrays in zip(*given, strict=True))
    ends = np.cumsum([0] + [len(part[0]) if part else 0 for part in parts])
    rows = [np.arange(start, end) for start, end in itertools.pairwise(ends)]
    return _of_arrays(file, inputs, labels)._replace(parts=(rows[0], rows[1], rows[2]))


def _check_parts(path: Path, parts: list[tuple[Any, Any]]) -> None:
    """Raise `InputError` unless all parts have inputs of the same shape and one label per example."""
    shapes = {part[0].shape[1:] for part in parts}
    if len(shapes) > 1:
        raise bad_file(
            path, f"has inputs of the shapes {', '.join(map(str, sorted(shapes)))}", "one shape for all parts"
        )
    for inputs, labels in parts:
        if len(inputs) != len(labels):
            found = f"has {plural(len(inputs), 'example')} and {plural(len(labels), 'label')} in one part"
            raise bad_file(path, found, "one label per example")


def _of_arrays(path: Path, inputs: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Source:
    labels = as_label_vector(labels)
    if labels.ndim != 1:
        raise bad_file(path, f"has labels of shape {labels.shape}", "a vector with one label per example")
    rows = as_rows(path, inputs)
    if len(labels) != len(rows):
        found = f"has {plural(len(rows), 'example')} and {plural(len(labels), 'label')}"
        raise bad_file(path, found, "one label per example")
    return Source(_table(path, rows, labels), ARRAY_LABEL)


def _table(path: Path, rows: npt.NDArray[Any], labels: npt.NDArray[Any] | None = None) -> Table:
    import pandas as pd

    frame = pd.DataFrame(rows, columns=list(default_names(rows.shape[1])), copy=False)
    if labels is not None:
        frame.insert(rows.shape[1], ARRAY_LABEL, labels)

    def place(row: int, column: str) -> tuple[str, str]:
        return f"example {row}, {column.replace('column', 'input')}", str(frame[column].iloc[row])

    return Table(frame, False, display_path(path), place)
