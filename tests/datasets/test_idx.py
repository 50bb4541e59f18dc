"""IDX files: mapped or decompressed, and refused if they are damaged."""

import gzip
import math
import os
import struct
import tracemalloc

import numpy as np
import pytest
from refusals import refused

from fastbp.datasets import read_idx, read_inputs

CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx(values, dtype="u1"):
    """Return the bytes of an IDX file."""
    values = np.asarray(values, dtype)
    return bytes([0, 0, CODES[dtype], values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.fixture
def file(tmp_path):
    """Write bytes to a file; return its path."""

    def write(data, name="values.idx"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


IMAGES = np.arange(24).reshape(4, 3, 2)
WHOLE = idx(IMAGES)


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_every_type_is_read_with_its_shape(file, dtype, pack):
    values = read_idx(file(pack(idx(IMAGES - 3 * (dtype != "u1"), dtype))))
    np.testing.assert_array_equal(values, IMAGES - 3 * (dtype != "u1"))
    assert values.dtype == np.dtype(dtype)


def test_a_plain_file_is_mapped_and_read_only(file):
    values = read_idx(file(WHOLE))
    assert isinstance(values, np.memmap)
    assert not values.flags.writeable


def test_gzip_is_recognised_by_its_content(file):
    assert isinstance(read_idx(file(WHOLE, "plain.gz")), np.memmap)
    np.testing.assert_array_equal(read_idx(file(gzip.compress(WHOLE), "packed")), IMAGES)
    members = gzip.compress(WHOLE[:20]) + gzip.compress(WHOLE[20:])  # the result of `cat a.gz b.gz`
    np.testing.assert_array_equal(read_idx(file(members)), IMAGES)


def test_inputs_are_contiguous_columns(file):
    x = read_inputs(file(WHOLE))
    assert isinstance(x, np.memmap)
    np.testing.assert_array_equal(x, IMAGES.reshape(4, 6).T)
    assert x.T.flags.c_contiguous
    for dtype, kept in [("i1", "f4"), (">i2", "f4"), (">i4", "f4"), (">f4", "f4"), (">f8", "f8")]:
        x = read_inputs(file(idx(IMAGES, dtype)))
        assert (x.dtype, x.T.flags.c_contiguous) == (np.dtype(kept), True)
        np.testing.assert_array_equal(x, IMAGES.reshape(4, 6).T)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; expected an IDX file"),
        (b"\0\0\x08", "begins with the bytes 00 00 08; expected an IDX file: 00 00, the type"),
        (b"\1\0\x08\1\0\0\0\1a", "begins with the bytes 01 00 08 01"),
        (b"\0\0\x0a\1\0\0\0\1a", r"begins with the bytes 00 00 0a 01; .*one of 08, 09, 0b, 0c, 0d, 0e"),
        (b"\x93NUMPY\1\0", "begins with the bytes 93 4e 55 4d"),
        (b"\0\0\x08\0a", "is an IDX file with 0 dimensions; expected 1 to 64"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"a", "is an IDX file with 255 dimensions"),
        (b"\0\0\x08\3\0\0\0\1\0\0", "ends within its header of 16 bytes"),
        (b"\0\0\x08\2\0\0\0\0\0\0\0\1", "has size 0 in dimension 0; expected sizes of at least 1"),
        (b"\0\0\x08\2\0\0\0\1\xff\xff\xff\xfba", "has size -5 in dimension 1"),
        (b"\0\0\x08\1\x80\0\0\0a", "has size -2147483648 in dimension 0"),
        (WHOLE[:-1], "has 39 bytes, but its header declares 40"),
        (WHOLE + b"a", "has 41 bytes, but its header declares 40"),
        (b"\0\0\x0e\2" + b"\x7f\xff\xff\xff" * 2, "its header declares 36,893,488,113,059,364,884"),  # beyond 2⁶⁴
        (b"\0\0\x0e\x40" + b"\x7f\xff\xff\xff" * 64, "its header declares"),
    ],
)
def test_files_that_are_not_complete_idx_files_are_refused(file, data, message):
    refused(message, read_idx, file(data))
    if data:
        compressed = "declares" if "declares" in message else message
        refused(compressed, read_idx, file(gzip.compress(data)))


PACKED = gzip.compress(WHOLE)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (PACKED[:-9], "ended before the end-of-stream marker"),
        (PACKED[:-3], "ended before the end-of-stream marker"),
        (PACKED[:3], "ended before the end-of-stream marker"),
        (PACKED + b"garbage", "Not a gzipped file"),
        (PACKED[:-8] + b"\0" * 8, "CRC check failed"),
        (b"\x1f\x8b" + WHOLE, "cannot be read"),
        (gzip.compress(b""), "is empty"),
        (gzip.compress(WHOLE[:-1]), "ends after 23 of the 24 bytes that its header declares"),
        (gzip.compress(WHOLE + b"a"), "has more than the 24 bytes that its header declares"),
    ],
)
def test_damaged_gzip_is_refused(file, data, message):
    refused(f"values.idx .*{message}.*; expected an? ", read_idx, file(data))


def peak_of(call, *arguments):
    """Return the largest memory that was allocated in a call, in bytes."""
    tracemalloc.start()
    try:
        call(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(2**31 - 1, 2**29), (2**20,), (2**10, 2**10, 2**10)])
def test_a_header_that_declares_too_much_costs_no_memory(file, shape):
    header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    for data in (header + b"few", gzip.compress(header + b"few"), gzip.compress(header + os.urandom(2**15))):
        assert peak_of(refused, "declares", read_idx, file(data)) < 2**20
    assert math.prod(shape) >= 2**20


def test_a_decompression_bomb_is_not_read_to_its_end(file):
    data = gzip.compress(WHOLE + bytes(2**26))
    assert peak_of(refused, "has more than", read_idx, file(data)) < 2**20


def test_paths_that_are_not_regular_files_are_refused(tmp_path):
    refused("nowhere does not exist; expected a complete IDX file", read_idx, tmp_path / "nowhere")
    refused("is a folder", read_idx, tmp_path)
    refused("3 cannot be accessed", read_idx, 3)
    refused("cannot be accessed|does not exist", read_idx, "a\0b")
    refused("is not a regular file", read_idx, os.devnull)
    refused(r"'two\\nlines' does not exist", read_idx, "two\nlines")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")  # reading it would never end
        refused("is not a regular file", read_idx, tmp_path / "pipe")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_to_read_is_refused(file):
    path = file(WHOLE)
    path.chmod(0)
    refused("cannot be read .*Permission", read_idx, path)


def test_inputs_that_are_not_finite_are_refused(file):
    path = file(idx([[0, 1], [2, math.nan]], ">f4"))
    refused(r"contains nan \(example 1, input 1\); expected finite numbers", read_inputs, path)
    refused("has inputs of shape", read_inputs, file(idx([1, 2, 3])))
