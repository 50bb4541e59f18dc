"""IDX files, mapped or unpacked, and what is refused of them."""

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
def test_every_type_comes_back_with_its_shape(file, dtype, pack):
    values = read_idx(file(pack(idx(IMAGES - 3 * (dtype != "u1"), dtype))))
    np.testing.assert_array_equal(values, IMAGES - 3 * (dtype != "u1"))
    assert values.dtype == np.dtype(dtype)


def test_a_plain_file_is_mapped_and_read_only(file):
    values = read_idx(file(WHOLE))
    assert isinstance(values, np.memmap)
    assert not values.flags.writeable


def test_gzip_is_known_by_its_content(file):
    assert isinstance(read_idx(file(WHOLE, "plain.gz")), np.memmap)
    np.testing.assert_array_equal(read_idx(file(gzip.compress(WHOLE), "packed")), IMAGES)
    members = gzip.compress(WHOLE[:20]) + gzip.compress(WHOLE[20:])  # as `cat a.gz b.gz` makes it
    np.testing.assert_array_equal(read_idx(file(members)), IMAGES)


def test_inputs_are_columns_each_in_one_place(file):
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
        (b"", "is empty; wanted is an IDX file"),
        (b"\0\0\x08", "begins with the bytes 00 00 08; wanted is an IDX file: 00 00, the type"),
        (b"\1\0\x08\1\0\0\0\1a", "begins with the bytes 01 00 08 01"),
        (b"\0\0\x0a\1\0\0\0\1a", r"begins with the bytes 00 00 0a 01; .*one of 08, 09, 0b, 0c, 0d, 0e"),
        (b"\x93NUMPY\1\0", "begins with the bytes 93 4e 55 4d"),
        (b"\0\0\x08\0a", "is an IDX file of 0 dimensions; wanted are 1 to 64"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"a", "is an IDX file of 255 dimensions"),
        (b"\0\0\x08\3\0\0\0\1\0\0", "ends within its header of 16 bytes"),
        (b"\0\0\x08\2\0\0\0\0\0\0\0\1", "has size 0 in dimension 0; wanted are sizes of at least 1"),
        (b"\0\0\x08\2\0\0\0\1\xff\xff\xff\xfba", "has size -5 in dimension 1"),
        (b"\0\0\x08\1\x80\0\0\0a", "has size -2147483648 in dimension 0"),
        (WHOLE[:-1], "holds 39 bytes, and its header promises 40"),
        (WHOLE + b"a", "holds 41 bytes, and its header promises 40"),
        (b"\0\0\x0e\2" + b"\x7f\xff\xff\xff" * 2, "its header promises 36,893,488,113,059,364,884"),  # beyond 2⁶⁴
        (b"\0\0\x0e\x40" + b"\x7f\xff\xff\xff" * 64, "its header promises"),
    ],
)
def test_what_is_no_whole_idx_file(file, data, message):
    refused(message, read_idx, file(data))
    if data:
        packed = message if "holds" not in message and "promises" not in message else "promise"
        refused(packed, read_idx, file(gzip.compress(data)))


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
        (gzip.compress(WHOLE[:-1]), "ends after 23 of the 24 bytes that its header promises"),
        (gzip.compress(WHOLE + b"a"), "holds more than the 24 bytes that its header promises"),
    ],
)
def test_gzip_that_is_damaged(file, data, message):
    refused(f"values.idx .*{message}.*; wanted is ", read_idx, file(data))


def peak_of(call, *arguments):
    """Return the largest memory that was allocated in a call, in bytes."""
    tracemalloc.start()
    try:
        call(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(2**31 - 1, 2**29), (2**20,), (2**10, 2**10, 2**10)])
def test_a_header_that_lies_costs_no_memory(file, shape):
    header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    for data in (header + b"few", gzip.compress(header + b"few"), gzip.compress(header + os.urandom(2**15))):
        assert peak_of(refused, "promises", read_idx, file(data)) < 2**20
    assert math.prod(shape) >= 2**20


def test_a_bomb_is_left_as_soon_as_it_is_known(file):
    data = gzip.compress(WHOLE + bytes(2**26))
    assert peak_of(refused, "holds more than", read_idx, file(data)) < 2**20


def test_no_ordinary_file(tmp_path):
    refused("nowhere does not exist; wanted is a whole IDX file", read_idx, tmp_path / "nowhere")
    refused("is a folder", read_idx, tmp_path)
    refused("3 cannot be looked up", read_idx, 3)
    refused("cannot be looked up|does not exist", read_idx, "a\0b")
    refused("is no ordinary file", read_idx, os.devnull)
    refused(r"'two\\nlines' does not exist", read_idx, "two\nlines")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")  # would be waited for without end
        refused("is no ordinary file", read_idx, tmp_path / "pipe")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(file):
    path = file(WHOLE)
    path.chmod(0)
    refused("cannot be read .*Permission", read_idx, path)


def test_inputs_that_are_not_finite(file):
    path = file(idx([[0, 1], [2, math.nan]], ">f4"))
    refused(r"holds nan \(example 1, input 1\); wanted are finite numbers", read_inputs, path)
    refused("has inputs of shape", read_inputs, file(idx([1, 2, 3])))
