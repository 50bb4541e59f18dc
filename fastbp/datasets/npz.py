"""Reading of NumPy archives (.npz). The memory needed is limited by the size of the file.

`numpy.load` allocates the size that an array's header declares before it has read a byte of the array. Here, NumPy only
parses the header. The declared size is compared with the archive's directory, and the buffer for the values grows as
bytes are read. Arrays of Python objects are refused because of their dtype, so nothing is ever unpickled.
"""

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from fastbp.datasets.rows_and_labels import MOST_DIMENSIONS
from fastbp.errors import brief, one_line, truncate
from fastbp.files.reading import DEFLATE_LIMIT, bad_file, read_exact, translate_errors

PAIRS = (
    ("x", "y"), ("x", "labels"), ("images", "labels"), ("X", "y"), ("data", "target"), ("data", "labels"),
    ("arr_0", "arr_1"),
)  # fmt: skip
"""Names of the inputs and the labels in an archive. The pairs of names are tried in this order."""

SPLIT_PAIRS = (
    ("x_{}", "y_{}"),
    ("X_{}", "y_{}"),
    ("{}_images", "{}_labels"),
    ("{}_x", "{}_y"),
    ("{}_data", "{}_labels"),
)
"""Names of the inputs and the labels in an archive that is split into parts. "{}" stands for the name of a part."""

_PART_NAMES = (("train", "training"), ("val", "valid", "validation"), ("test",))

ZIP_MAGIC = (b"PK\3\4", b"PK\5\6")  # an empty archive begins with the second one
_EXPECTED = "a complete .npz file, as written by numpy.savez"
_LONGEST_HEADER = 10_000  # characters: numpy.load's own limit
_NOT_A_ZIP = (EOFError, ValueError, RuntimeError, OverflowError, struct.error, zipfile.BadZipFile, zlib.error)
_HEADER_READERS = {  # by version of the format: the offset of the header, and its reader
    (1, 0): (10, np.lib.format.read_array_header_1_0),
    (2, 0): (12, np.lib.format.read_array_header_2_0),
    (3, 0): (12, np.lib.format.read_array_header_2_0),  # 3.0 allows other names of fields, but fields are refused
}
_LITERALS = re.compile(rb"""(?:'[^'\\]*'|"[^"\\]*"|True|False|None|[0-9]+(?![\w.])|[\s(){}\[\],:+-])*+""")
"""The pattern of a valid header. Other headers are not parsed, because Python's parser could print warnings about them.
"""

Array = npt.NDArray[Any]


def npz_examples(path: Path, label: str | None) -> tuple[Array, Array]:
    """Return the array of inputs and the array of labels in an archive.

    If `label` is given, it is the name of the array of labels.
    """
    with _opened(path) as archive:
        names = _names(archive)
        pairs = PAIRS if label is None else tuple((x, label) for x in dict.fromkeys(x for x, _ in PAIRS))
        for x, y in pairs:
            if {x, y} <= names.keys():
                return _read(path, archive, names[x]), _read(path, archive, names[y])
    expected = ", ".join(f"({x}, {y})" for x, y in pairs)
    split = "" if label else ", or split: x_train, y_train, x_test, y_test"
    found = f"contains {_listed(names)}"
    raise bad_file(path, found, f"inputs and labels, named by one of these pairs: {expected}{split}")


def npz_parts(path: Path) -> list[tuple[Array, Array] | None] | None:
    """Return the inputs and labels of the training, validation and test set in an archive, or None if it is not split.

    An archive is split if it has training and test data. The entry for the validation set is None if the archive has no
    validation data.
    """
    with _opened(path) as archive:
        names = _names(archive)
        for pair in SPLIT_PAIRS:
            named = [[tuple(name.format(part) for name in pair) for part in parts] for parts in _PART_NAMES]
            found = [next((both for both in several if {*both} <= names.keys()), None) for several in named]
            if found[0] is not None and found[2] is not None:
                arrays = [both and [_read(path, archive, names[name]) for name in both] for both in found]
                return [(part[0], part[1]) if part else None for part in arrays]
    return None


def npz_inputs(path: Path) -> Array:
    """Return the array of inputs in an archive.

    If the archive has only one array, this array is returned, whatever its name is. Otherwise the names of inputs in
    `PAIRS` are tried one after the other.
    """
    with _opened(path) as archive:
        names = _names(archive)
        known = tuple(dict.fromkeys(x for x, _ in PAIRS))
        for x in known if len(names) != 1 else names:
            if x in names:
                return _read(path, archive, names[x])
    raise bad_file(path, f"contains {_listed(names)}", f"inputs named {' or '.join(known)}, or a single array")


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with translate_errors(path, _EXPECTED, *_NOT_A_ZIP), zipfile.ZipFile(path) as archive:
        yield archive


def _names(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {info.filename.removesuffix(".npy"): info for info in archive.infolist()}


def _listed(names: dict[str, zipfile.ZipInfo]) -> str:
    first = [brief(name) for name in list(names)[:8]]  # an archive may have thousands
    return (", ".join(first) + (", …" if len(names) > len(first) else "")) or "no arrays"


def _read(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        found = f"is compressed by zip method {info.compress_type}"
        raise bad_file(path, found, "a file written by numpy.savez or numpy.savez_compressed")
    if info.file_size > DEFLATE_LIMIT * (info.compress_size + 1):  # 1: an empty member is 2 bytes of deflate
        found = f"declares {info.file_size:,} bytes, more than {info.compress_size:,} compressed ones can hold"
        raise bad_file(path, found, _EXPECTED)
    name = brief(info.filename)
    shape, fortran, dtype, start = _read_header(path, name, archive, info)
    declared, actual = math.prod(shape) * dtype.itemsize, info.file_size - start
    if declared != actual:
        found = f"has {actual:,} bytes in {name}, but the header declares {truncate(f'{declared:,}', 60)}"
        raise bad_file(path, found, _EXPECTED)
    with archive.open(info) as member:
        member.read(start)
        # numpy.lib.format.read_array would first allocate the declared size, but header and directory may both lie.
        values = np.frombuffer(read_exact(path, cast(BinaryIO, member), declared, _EXPECTED), dtype)
    return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)


def _read_header(
    path: Path, name: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo
) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return the shape of an array, its order, its dtype, and the offset of the values in the member.

    The order is True for Fortran order and False for C order.
    """
    with archive.open(info) as member:
        head = member.read(12 + _LONGEST_HEADER)  # 12: the magic string, the version and the header's length
    try:
        stream = io.BytesIO(head)
        version = np.lib.format.read_magic(stream)
        if version not in _HEADER_READERS:
            raise ValueError(f"version {'.'.join(map(str, version))} is unknown")
        start, read = _HEADER_READERS[version]
        end = start + int.from_bytes(head[8:start], "little")
        if not _LITERALS.fullmatch(head, start, end):
            raise ValueError("not a dictionary of literals")
        shape, fortran, dtype = read(stream, max_header_size=_LONGEST_HEADER)
    except Exception as error:  # NumPy raises many kinds for hostile headers: IndexError, TokenError, RecursionError …
        found = f"has no readable header in {name} ({one_line(error)})"
        raise bad_file(path, found, "an array in NumPy's format") from error
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        objects = " (Python objects, which are never unpickled)" if dtype.hasobject else ""
        raise bad_file(path, f"has dtype {truncate(str(dtype), 60)} in {name}{objects}", "real numbers")
    if len(shape) > MOST_DIMENSIONS or not all(size > 0 and not isinstance(size, bool) for size in shape):
        raise bad_file(path, f"has shape {brief(shape)} in {name}", "sizes of at least 1")
    return shape, fortran, dtype, end
