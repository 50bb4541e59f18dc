"""IDX, the format of MNIST: a big-endian header of type and sizes, then the values, in rows.

Two zero bytes, one for the type, one for the number of dimensions; four for each size; the values. Described at
http://yann.lecun.com/exdb/mnist/ (archived), "The IDX file format".
"""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from fastbp.datasets.rows_and_labels import MOST_DIMENSIONS
from fastbp.errors import truncate
from fastbp.files.bounded_reading import DEFLATE_LIMIT, StrPath, bad_file, read_exact, regular_file, translate_errors

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
_WANTED = "is a whole IDX file, plain or in gzip"
_NEGATIVE = 2**31  # sizes are signed in the format's description


def read_idx(path: StrPath) -> npt.NDArray[Any]:
    r"""Return the array in an IDX file, with or without gzip, whatever its name.

    The array has the shape that the header gives, and the file's own type: uint8, int8, or big-endian int16, int32,
    float32 or float64. A plain file is memory-mapped, read-only; gzip is unpacked, into no more memory than its values
    take. Raises `InputError` if the file is no IDX file, or holds fewer or more values than its header says.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels.idx")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + b"\7\2\1")
    ...     read_idx(path).tolist()
    [7, 2, 1]
    """
    path = regular_file(path, _WANTED)
    with translate_errors(path, _WANTED, EOFError, ValueError, zlib.error), path.open("rb") as file:
        magic = file.read(2)
        file.seek(0)
        return _unpack(path, file) if magic == GZIP_MAGIC else _map(path, file)


def _map(path: Path, file: BinaryIO) -> npt.NDArray[Any]:
    dtype, shape, start = _read_header(path, file)
    promised, held = start + math.prod(shape) * dtype.itemsize, os.fstat(file.fileno()).st_size
    if held != promised:
        raise bad_file(path, f"holds {held:,} bytes, and its header promises {truncate(f'{promised:,}', 60)}", _WANTED)
    return np.memmap(file, dtype, "r", start, shape)


def _unpack(path: Path, file: BinaryIO) -> npt.NDArray[Any]:
    packed = os.fstat(file.fileno()).st_size
    with gzip.GzipFile(fileobj=file) as unpacking:
        stream = cast(BinaryIO, unpacking)
        dtype, shape, _ = _read_header(path, stream)
        promised = math.prod(shape) * dtype.itemsize
        if promised > packed * DEFLATE_LIMIT:
            raise bad_file(
                path,
                f"promises {truncate(f'{promised:,}', 60)} bytes, more than {packed:,} compressed ones can hold",
                _WANTED,
            )
        data = read_exact(path, stream, promised, _WANTED)
    return np.frombuffer(data, dtype).reshape(shape)


def _read_header(path: Path, stream: BinaryIO) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return the type, the sizes, and where the values start."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES:
        codes = ", ".join(f"{code:02x}" for code in TYPES)
        begins = f"begins with the bytes {magic.hex(' ')}" if magic else "is empty"
        raise bad_file(path, begins, f"is an IDX file: 00 00, the type (one of {codes}), the number of dimensions")
    dimensions = magic[3]
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise bad_file(path, f"is an IDX file of {dimensions} dimensions", f"are 1 to {MOST_DIMENSIONS}")
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise bad_file(path, f"ends within its header of {4 + 4 * dimensions} bytes", _WANTED)
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    for axis, size in enumerate(shape):
        if not 1 <= size < _NEGATIVE:
            size = size if size < _NEGATIVE else size - 2 * _NEGATIVE
            raise bad_file(path, f"has size {size} in dimension {axis}", "are sizes of at least 1")
    return np.dtype(TYPES[magic[2]]), shape, 4 + 4 * dimensions
