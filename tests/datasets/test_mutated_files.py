"""Files of every format with bytes changed, deleted or added are read, or refused in one line, in little memory."""

import gzip
import io
import tracemalloc
import zipfile

import fuzz_files
import numpy as np
import pandas  # noqa: F401  (imported before memory is measured)
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_idx import idx

import fastbp
from fastbp.datasets import load, read_examples, read_idx, read_inputs

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 3, 2)).astype("u1")
LABELS = np.arange(40) % 3


def npz(save):
    stream = io.BytesIO()
    save(stream, x=IMAGES / 255, y=LABELS)
    return stream.getvalue()


TABLE = "\ufeffa,b,kind\n" + "".join(f"{image[0, 0] / 255:.3f},{image[1, 1]},{kind}\n" for image, kind in
                                     zip(IMAGES, LABELS, strict=True))  # fmt: skip
FORMATS = {
    "idx": idx(IMAGES),
    "idx.gz": gzip.compress(idx(IMAGES), mtime=0),
    "float.idx": idx(IMAGES, ">f4"),
    "npz": npz(np.savez),
    "compressed.npz": npz(np.savez_compressed),
    "csv": TABLE.encode(),
}
NUMBERS = [0, 1, 2**7, 2**8 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**60, 2**64 - 1]


@st.composite
def mutations(draw, data):
    """Return bytes with some replaced, inserted, deleted or repeated, or with a number of 1 to 8 bytes inserted."""
    mutated = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        # in half of the cases near the start or the end, where headers and directories are
        place = draw(st.one_of(st.integers(0, len(mutated)), st.integers(0, min(200, len(mutated)))))
        place = len(mutated) - place if draw(st.booleans()) else place
        width = draw(st.integers(0, 8))
        kind = draw(st.sampled_from(["replace", "insert", "number", "cut", "drop", "repeat"]))
        if kind == "replace":
            new = draw(st.binary(min_size=width, max_size=width))
            mutated[place : place + width] = new
        elif kind == "insert":
            mutated[place:place] = draw(st.one_of(st.binary(max_size=20), st.sampled_from([b",", b'"', b"\n", b"nan"])))
        elif kind == "number":
            number, order = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from(["big", "little"]))
            mutated[place : place + width] = (number % 256 ** max(width, 1)).to_bytes(max(width, 1), order)
        elif kind == "cut":
            del mutated[place:]
        elif kind == "drop":
            del mutated[place : place + width]
        else:
            mutated += mutated[place : place + 2**width]
    return bytes(mutated)


def read_or_refuse(call, *arguments):
    """Return the result of a call, or None if it raises a one-line InputError; fail if it takes much memory."""
    path, result, message = arguments[0], None, ""
    tracemalloc.start()
    try:
        result = call(*arguments)
    except fastbp.InputError as error:
        message = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert "\n" not in message
    assert len(message) < 600 + len(str(path))
    assert peak < 20 * path.stat().st_size + 2**22  # pandas needs 2.4 MB for any table
    return result


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_are_read_or_refused(tmp_path, name, data):
    path = tmp_path / f"mutated.{name}"
    path.write_bytes(data.draw(mutations(FORMATS[name])))
    if "idx" in name:
        values = read_or_refuse(read_idx, path)
        assert values is None or values.size
    x = read_or_refuse(read_inputs, path)
    if x is not None:
        assert x.dtype in (np.uint8, np.float32, np.float64)
        assert (x.ndim, x.T.flags.c_contiguous) == (2, True)
        assert np.isfinite(x).all()
    examples = read_or_refuse(read_examples, path)
    if examples is not None:
        x, labels = examples
        assert x.shape[1:] == labels.shape
        assert (labels >= 0).all()
        assert sum(len(labels) for _, labels in load(path)) == len(labels)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode),
                         st.text('0123456789.,;-+e"\n\r \ufeffan', max_size=300).map(str.encode)))  # fmt: skip
@example(content=b'""')
@pytest.mark.parametrize("name", ["csv", "npz", "idx", "unknown"])
def test_bytes_without_a_format(tmp_path, name, content):
    path = tmp_path / f"some.{name}"
    path.write_bytes(content)
    for call in (read_idx, read_inputs, read_examples):
        read_or_refuse(call, path)


DTYPES = st.sampled_from(["<f4", "|O", "|u1", "<f4,<i4", "O8", "<M8[s]", "|V2000000000", "S9"])
SHAPES = st.lists(st.integers(-(2**65), 2**65) | st.integers(0, 3), max_size=4).map(tuple)
HEADERS = st.fixed_dictionaries({"descr": DTYPES, "fortran_order": st.booleans(), "shape": SHAPES}).map(str)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=st.one_of(st.text(max_size=100), HEADERS))
def test_any_header_of_an_array(tmp_path, header):
    text = header.encode()
    path = tmp_path / "table.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + b"abcd")
    read_or_refuse(read_inputs, path)


@pytest.mark.parametrize(
    ("count", "seed"), [(450, 1), pytest.param(200_000, 0, marks=pytest.mark.slow)], ids=["quickly", "thoroughly"]
)
def test_mutated_files_of_every_format(count, seed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counts = fuzz_files.run(count, seed)
    for kind in fuzz_files.SEEDS:
        assert counts[kind, "refused"] > 0
        assert counts[kind, "accepted"] + counts[kind, "refused"] >= count // len(fuzz_files.SEEDS)
