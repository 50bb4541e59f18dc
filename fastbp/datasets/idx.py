"""IDX, the file format of MNIST: a big-endian header with type and sizes, then the values in C order.

The header consists of two zero bytes, one byte for the type of the values, one byte for the number of dimensions, and
four bytes for the size of each dimension. The format is described at http://yann.lecun.com/exdb/mnist/ (archived), "The
IDX file format".
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
from fastbp.files.reading import DEFLATE_LIMIT, StrPath, bad_file, read_exact, regular_file, translate_errors

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
_EXPECTED = "a complete IDX file, plain or compressed by gzip"
_SIGN_BIT = 2**31  # according to the format's description, sizes are signed


def read_idx(path: StrPath) -> npt.NDArray[Any]:
    r"""Read the array in an IDX file.

    A plain file is memory-mapped, read-only. A file compressed by gzip is recognised by its first bytes, not by its
    name. Decompressing takes no more memory than the values of the array.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    ndarray
        The array, with the shape and the dtype that the header declares. The dtype is uint8, int8, or big-endian int16,
        int32, float32 or float64.

    Raises
    ------
    InputError
        If the file is not an IDX file, or has fewer or more values than its header declares.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels.idx")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + b"\7\2\1")
    ...     read_idx(path).tolist()
    [7, 2, 1]
    """
    path = regular_file(path, _EXPECTED)
    with translate_errors(path, _EXPECTED, EOFError, ValueError, zlib.error), path.open("rb") as file:
        magic = file.read(2)
        file.seek(0)
        return _decompress(path, file) if magic == GZIP_MAGIC else _map(path, file)


def _map(path: Path, file: BinaryIO) -> npt.NDArray[Any]:
    dtype, shape, start = _read_header(path, file)
    declared, actual = start + math.prod(shape) * dtype.itemsize, os.fstat(file.fileno()).st_size
    if actual != declared:
        found = f"has {actual:,} bytes, but its header declares {truncate(f'{declared:,}', 60)}"
        raise bad_file(path, found, _EXPECTED)
    return np.memmap(file, dtype, "r", start, shape)


def _decompress(path: Path, file: BinaryIO) -> npt.NDArray[Any]:
    compressed = os.fstat(file.fileno()).st_size
    with gzip.GzipFile(fileobj=file) as decompressing:
        stream = cast(BinaryIO, decompressing)
        dtype, shape, _ = _read_header(path, stream)
        declared = math.prod(shape) * dtype.itemsize
        if declared > compressed * DEFLATE_LIMIT:
            size = truncate(f"{declared:,}", 60)
            raise bad_file(path, f"declares {size} bytes, more than {compressed:,} compressed ones can hold", _EXPECTED)
        data = read_exact(path, stream, declared, _EXPECTED)
    return np.frombuffer(data, dtype).reshape(shape)


def _read_header(path: Path, stream: BinaryIO) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return the dtype, the shape, and the offset of the values in the file."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES:
        codes = ", ".join(f"{code:02x}" for code in TYPES)
        begins = f"begins with the bytes {magic.hex(' ')}" if magic else "is empty"
        raise bad_file(path, begins, f"an IDX file: 00 00, the type (one of {codes}), the number of dimensions")
    dimensions = magic[3]
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise bad_file(path, f"is an IDX file with {dimensions} dimensions", f"1 to {MOST_DIMENSIONS}")
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise bad_file(path, f"ends within its header of {4 + 4 * dimensions} bytes", _EXPECTED)
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    for axis, size in enumerate(shape):
        if not 1 <= size < _SIGN_BIT:
            size = size if size < _SIGN_BIT else size - 2 * _SIGN_BIT
            raise bad_file(path, f"has size {size} in dimension {axis}", "sizes of at least 1")
    return np.dtype(TYPES[magic[2]]), shape, 4 + 4 * dimensions
