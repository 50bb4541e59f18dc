"""Archives of NumPy, as `numpy.savez` writes them, read without `numpy.load`.

That would allocate whatever an array's header promises, before a byte of it has come; and with a reader that knows no
objects there is nothing to unpickle, by any setting.
"""

import ast
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
from fastbp.errors import brief, truncate
from fastbp.files.bounded_reading import DEFLATE_LIMIT, bad_file, read_exact, translate_errors

PAIRS = (("x", "y"), ("x", "labels"), ("images", "labels"), ("X", "y"), ("data", "target"))
"""Names under which inputs and labels are looked for, in this order."""

ZIP_MAGIC = (b"PK\3\4", b"PK\5\6")  # the second: an archive of nothing
_WANTED = "is a whole .npz file, as numpy.savez writes it"
_LONGEST_HEADER = 10_000  # characters: numpy.load's own limit
_MAGIC = b"\x93NUMPY"
_NOT_A_ZIP = (EOFError, ValueError, RuntimeError, OverflowError, struct.error, zipfile.BadZipFile, zlib.error)
_NOT_A_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)  # ast.literal_eval's list
_LITERALS = re.compile(r"""(?:'[^'\\]*'|"[^"\\]*"|True|False|None|[0-9]+(?![\w.])|[\s(){}\[\],:+-])*+""")
"""What a header is made of; of anything else, escapes in texts among it, Python's parser may print warnings."""

Array = npt.NDArray[Any]


def npz_examples(path: Path, label: str | None) -> tuple[Array, Array]:
    """Return the arrays of inputs and labels of an archive, the labels being those called `label` if it is given."""
    with _opened(path) as archive:
        names = _names(archive)
        pairs = PAIRS if label is None else tuple((x, label) for x in dict.fromkeys(x for x, _ in PAIRS))
        for x, y in pairs:
            if {x, y} <= names.keys():
                return _read(path, archive, names[x]), _read(path, archive, names[y])
    wanted = " or ".join(f"{x} and {y}" for x, y in pairs)
    raise bad_file(path, f"holds {_listed(names)}", f"are inputs and labels called {wanted}")


def npz_inputs(path: Path) -> Array:
    """Return the array of inputs of an archive: the only one, or the first that is called like inputs."""
    with _opened(path) as archive:
        names = _names(archive)
        known = tuple(dict.fromkeys(x for x, _ in PAIRS))
        for x in known if len(names) != 1 else names:
            if x in names:
                return _read(path, archive, names[x])
    raise bad_file(path, f"holds {_listed(names)}", f"are inputs called {' or '.join(known)}, or one array alone")


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with translate_errors(path, _WANTED, *_NOT_A_ZIP), zipfile.ZipFile(path) as archive:
        yield archive


def _names(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {info.filename.removesuffix(".npy"): info for info in archive.infolist()}


def _listed(names: dict[str, zipfile.ZipInfo]) -> str:
    display_path = [brief(name) for name in list(names)[:8]]  # of an archive with thousands, enough to recognise it by
    return (", ".join(display_path) + (", …" if len(names) > len(display_path) else "")) or "no arrays"


def _read(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise bad_file(
            path, f"is compressed by method {info.compress_type}", "is numpy.savez or numpy.savez_compressed"
        )
    if info.file_size > DEFLATE_LIMIT * (info.compress_size + 1):  # 1: an empty member is 2 bytes of deflate
        promise = f"promises {info.file_size:,} bytes, more than {info.compress_size:,} compressed ones can hold"
        raise bad_file(path, promise, _WANTED)
    name = brief(info.filename)
    with archive.open(info) as member:
        stream = cast(BinaryIO, member)
        dtype, shape, fortran, length = _read_header(path, name, stream)
        promised = math.prod(shape) * dtype.itemsize
        if promised != info.file_size - length:
            given = f"holds {info.file_size - length:,} bytes in {name}"
            raise bad_file(path, f"{given}, and its header promises {truncate(f'{promised:,}', 60)}", _WANTED)
        values = np.frombuffer(read_exact(path, stream, promised, _WANTED), dtype)
    return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)


def _read_header(path: Path, name: str, stream: BinaryIO) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Return the dtype, the shape, whether it is in Fortran order, and the header's length: numpy.lib.format."""
    start = stream.read(8)
    width = {1: 2, 2: 4, 3: 4}.get(start[6] if len(start) == 8 else 0)
    if start[:6] != _MAGIC or width is None:
        raise bad_file(path, f"begins {name} with the bytes {start.hex(' ')}", "is an array of NumPy's format")
    length = int.from_bytes(stream.read(width), "little")
    text = stream.read(length) if length <= _LONGEST_HEADER else b""
    try:
        literals = _LITERALS.fullmatch(text.decode("utf-8").strip())
        header = ast.literal_eval(literals[0] if literals else "")
        descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    except (*_NOT_A_LITERAL, KeyError) as error:
        raise bad_file(path, f"has no readable header in {name}", "is an array of NumPy's format") from error
    return _dtype(path, name, descr), _shape(path, name, shape), bool(fortran), 8 + width + length


def _dtype(path: Path, name: str, descr: Any) -> np.dtype[Any]:
    if isinstance(descr, str) and re.fullmatch(r"[<>|=]?(b1|[iu][1248]|f[248])", descr):
        return np.dtype(descr)
    objects = ", which are Python objects and never unpickled" if descr in ("O", "|O") else ""
    raise bad_file(path, f"has values of dtype {brief(descr)} in {name}{objects}", "are real numbers")


def _shape(path: Path, name: str, shape: Any) -> tuple[int, ...]:
    if (
        isinstance(shape, tuple)
        and len(shape) <= MOST_DIMENSIONS
        and all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in shape)
    ):
        return shape
    raise bad_file(path, f"has shape {brief(shape)} in {name}", "are sizes of at least 1")
