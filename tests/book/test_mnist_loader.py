"""fastbp.book.mnist_loader: the book's file, read without pickle, and MNIST's files; everything else is refused."""

import gzip
import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refused
from test_datasets import NAMES, four_files

import fastbp
from fastbp.book import array_pickles, mnist_loader

REAL = Path(os.environ.get("FASTBP_DATA") or Path(__file__).parents[3] / "shared" / "data" / "mnist")


def three_parts(dtype="f4", label="i8", inputs=784):
    rng = np.random.default_rng(1)
    parts = [(rng.random((n, inputs)), rng.integers(0, 10, n)) for n in (5, 2, 3)]
    return tuple(((200 * x).astype(dtype), y.astype(label)) for x, y in parts)


def python_2(array, *, first):
    """Return the opcodes that Python 2's cPickle, protocol 2, writes for an array, with the data as str.

    c: global, q/h: into and out of the memo, U/T: str, K/M/J: int, \x85 to \x87: tuples, (…t: a longer tuple, R: call,
    b: state, \x89/\x88: False, True. Globals are written once, and taken from the memo afterwards.
    """
    shape = b"".join(b"J" + struct.pack("<i", n) for n in array.shape) + (b"\x86" if array.ndim == 2 else b"\x85")
    kind = array.dtype.str[1:].encode()
    names = (
        (b"cnumpy.core.multiarray\n_reconstruct\nq\x01", b"cnumpy\nndarray\nq\x02", b"cnumpy\ndtype\nq\x03")
        if first
        else (b"h\x01", b"h\x02", b"h\x03")
    )
    data = array.tobytes()
    return b"".join(
        (
            *(names[0], names[1], b"K\x00\x85U\x01b\x87R(K\x01", shape),
            *(names[2], b"U\x02", kind, b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"),
            *(b"\x89T", struct.pack("<i", len(data)), data, b"tb"),
        )
    )


def python_2_file(parts):
    arrays = [array for part in parts for array in part]
    written = [python_2(array, first=i == 0) for i, array in enumerate(arrays)]
    pairs = [written[i] + written[i + 1] + b"\x86" for i in (0, 2, 4)]
    return b"\x80\x02" + b"".join(pairs) + b"\x87."


@pytest.fixture
def file(tmp_path):
    """Write the bytes of a pickle, compressed by gzip, to a file; return its path."""

    def write(data, compress=gzip.compress):
        path = tmp_path / "mnist.pkl.gz"
        path.write_bytes(compress(data))
        return path

    return write


def check_parts(loaded, parts):
    assert isinstance(loaded, tuple)
    for (x, y), (x_expected, y_expected) in zip(loaded, parts, strict=True):
        np.testing.assert_array_equal(x, x_expected)
        np.testing.assert_array_equal(y, y_expected)
        assert (x.dtype, y.dtype) == (x_expected.dtype, np.int64)
        assert x.flags.writeable
        assert y.flags.writeable


def test_a_file_written_by_python_2(file):
    parts = three_parts()
    data = python_2_file(parts)
    check_parts(pickle.loads(data, encoding="latin1"), parts)  # a trusted file, judged by pickle itself
    check_parts(mnist_loader.load_data(file(data)), parts)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["f4", "f8", "u1"])
def test_files_written_by_python_3(file, protocol, dtype):
    parts = three_parts(dtype)
    check_parts(mnist_loader.load_data(str(file(pickle.dumps(parts, protocol)))), parts)


@pytest.mark.parametrize("label", ["u1", ">i4", "f8"])
def test_other_byte_orders_memory_orders_and_labels(file, label):
    parts = three_parts(">f4", label)
    fortran = tuple((np.asfortranarray(x), y) for x, y in parts)
    expected = [(x.astype(np.float32), y.astype(np.int64)) for x, y in parts]
    check_parts(mnist_loader.load_data(file(pickle.dumps(fortran, 2))), expected)


def test_strings_written_by_protocol_0_of_python_2(file):
    """Protocol 0 of Python 2 writes strings, including data, in quotation marks."""
    parts = three_parts("u1", "u1", inputs=2)
    data = python_2_file(parts)
    for array in (array for part in parts for array in part):
        binary = b"T" + struct.pack("<i", array.nbytes) + array.tobytes()
        assert binary in data
        data = data.replace(binary, b"S" + repr(array.tobytes())[1:].encode() + b"\n")
    check_parts(mnist_loader.load_data(file(data)), [(x.astype(np.uint8), y.astype(np.int64)) for x, y in parts])


def test_the_wrapper(file):
    parts = three_parts()
    training, validation, test = mnist_loader.load_data_wrapper(file(python_2_file(parts)))
    assert [len(part) for part in (training, validation, test)] == [5, 2, 3]
    for (x, y), row, label in zip(training, *parts[0], strict=True):
        assert (x.shape, y.shape, x.dtype) == ((784, 1), (10, 1), np.float32)
        np.testing.assert_array_equal(x[:, 0], row)
        np.testing.assert_array_equal(y[:, 0], np.arange(10) == label)
    for part, (rows, labels) in ((validation, parts[1]), (test, parts[2])):
        for (x, y), row, label in zip(part, rows, labels, strict=True):
            np.testing.assert_array_equal(x, row[:, None])
            assert y == label
            assert np.ndim(y) == 0
    assert isinstance(training, list)
    assert isinstance(training[0], tuple)


def test_places_where_the_file_is_looked_for(tmp_path, monkeypatch):
    """../data/mnist.pkl.gz, then mnist.pkl.gz, then MNIST's own files."""
    files, images, labels = four_files()
    for folder in ("src", "data", "idx"):
        (tmp_path / folder).mkdir()
    for name in NAMES:
        (tmp_path / "idx" / name).write_bytes(files[name])
    monkeypatch.chdir(tmp_path / "src")
    monkeypatch.setenv("FASTBP_DATA", str(tmp_path / "idx"))
    (x, y), _, (x_test, _) = mnist_loader.load_data()
    np.testing.assert_array_equal(x, images.reshape(16, 6)[:10] / 256)
    np.testing.assert_array_equal(y, labels[:10])
    assert (x.dtype, y.dtype, len(x_test)) == (np.float32, np.int64, 4)
    for place, inputs in (("mnist.pkl.gz", 7), ("../data/mnist.pkl.gz", 8)):
        Path(place).write_bytes(gzip.compress(python_2_file(three_parts(inputs=inputs))))
        assert mnist_loader.load_data()[0][0].shape == (5, inputs)
    refused("does not exist", mnist_loader.load_data, "elsewhere.pkl.gz")


@pytest.mark.skipif(not (REAL / f"{NAMES[0]}.gz").exists(), reason="no MNIST in FASTBP_DATA or shared/data/mnist")
def test_mnist_itself(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTBP_DATA", str(REAL))
    parts = mnist_loader.load_data()
    assert [x.shape for x, _ in parts] == [(50_000, 784), (10_000, 784), (10_000, 784)]
    assert parts[0][1][:5].tolist() == [5, 0, 4, 1, 9]
    first = parts[0][0][0]
    # the values of the book's file, according to many printed listings of it
    assert first[first > 0][:5].tolist() == [0.01171875, 0.0703125, 0.0703125, 0.0703125, 0.4921875]
    assert {x.dtype for x, _ in parts} == {np.dtype("f4")}
    _, _, test = mnist_loader.load_data_wrapper()
    assert (len(test), test[0][1], test[0][0].shape) == (10_000, 7, (784, 1))


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def nested(depth):
    value = ()
    for _ in range(depth):
        value = (value, value)
    return value


X, Y = three_parts()[0]
DTYPE = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
EMPTY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
HOSTILE = {
    "os.system": b"cos\nsystem\nU\x05touch\x85R.",
    "posix.system, as pickle writes it": pickle.dumps(Calls(os.system, "touch made")),
    "builtins.eval": pickle.dumps(Calls(eval, "open('made', 'w')")),
    "Python 2's eval": b"c__builtin__\neval\nU\x011\x85R.",
    "getattr": b"cbuiltins\ngetattr\ncos\nU\x06system\x86R.",
    "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x15ndarray.__class__.mro\x93.",
    "more of a module": b"cnumpy\nload\nU\x04made\x85R.",
    "numpy's own pickle": b"cnumpy.core.multiarray\nscalar\n.",
    "another encoding": b"c_codecs\nencode\nU\x01aU\x05punyc\x86R.",
    "ndarray called": b"cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R.",
    "reconstruct of another class": b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85U\x01b\x87R.",
    "a huge array alone": EMPTY.replace(b"K\x00", b"J\xff\xff\xff\x7f") + b".",
    "state of a function": b"cnumpy\nndarray\n}U\x01aK\x01sb.",
    "state of a name": b"cnumpy\nndarray\nK\x01b.",
    "state of a text": b"U\x01aK\x01b.",
    "a call of a text": b"U\x01aK\x01\x85R.",
    "inst": b"(U\x01aios\nsystem\n.",
    "obj": b"(cos\nsystem\nU\x01ao.",
    "newobj": b"cnumpy\nndarray\nK\x01\x85\x81.",
    "extension": b"\x82\x01.",
    "persistent": b"U\x01aQ.",
    "buffer out of band": b"\x80\x05\x97.",
    "objects": pickle.dumps(((X.astype(object), Y),) * 3, 2),
    "structured": pickle.dumps(((np.zeros(2, "f4,f4"), Y),) * 3, 2),
    "text": pickle.dumps(((X.astype("U3"), Y),) * 3, 2),
    "complex": pickle.dumps(((X + 1j, Y),) * 3, 2),
    "dates": pickle.dumps(((X.astype("M8[s]"), Y),) * 3, 2),
    "masked": pickle.dumps(((np.ma.array(X), Y),) * 3, 2),
    "lists": pickle.dumps([list(part) for part in three_parts()], 2),
    "two parts": pickle.dumps(three_parts()[:2], 2),
    "numbers": pickle.dumps(((1, 2), (3, 4), (5, 6)), 2),
    "a number": b"K\x01.",
    "tuples in tuples without end": pickle.dumps(nested(60), 2),
    "one array for all": pickle.dumps(((X, X),) * 3, 2),
    "arrays without state": b"\x80\x02" + EMPTY + b"q\x01h\x01\x86q\x02h\x02h\x02\x87.",
    "a claimed shape": b"\x80\x02" + EMPTY + b"(K\x01J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86" + DTYPE
    + b"\x89U\x04abcdtbq\x01h\x01\x86q\x02h\x02h\x02\x87.",
    "a negative shape": b"\x80\x02" + EMPTY + b"(K\x01J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86" + DTYPE
    + b"\x89U\x04abcdtbq\x01h\x01\x86q\x02h\x02h\x02\x87.",
    "no latin1": pickle.dumps(three_parts(), 2).replace(b"latin1", b"ascii!"),
    "labels of another number": pickle.dumps(((X, Y[:-1]),) * 3, 2),
    "NaN": pickle.dumps(((X * np.nan, Y),) * 3, 2),
    "labels of fractions": pickle.dumps(((X, Y + 0.5),) * 3, 2),
    "images for labels": pickle.dumps(((X, X),) * 3, 2),
    "vectors for images": pickle.dumps(((Y, Y),) * 3, 2),
    "empty": b"",
    "only an end": b".",
    "no end": b"\x80\x02K\x01",
    "nothing in the memo": b"h\x01.",
    "nothing on the stack": b"\x86.",
    "no mark": b"K\x01t.",
    "a mark left": b"(K\x01.",
    "two values": b"K\x01K\x02.",
    "unknown opcode": b"\xff.",
    "more behind": python_2_file(three_parts()) + b"K",
    "a later protocol's frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.",
    "text as a number": b"Iabc\n.",
    "a long number": b"I" + b"9" * 10_000 + b"\n.",
    "a negative length": b"T\xff\xff\xff\xff.",
    "an escape that Python warns of": b"S'\\q'\n.",
    "an escape in a name": b"cnumpy\\q\nndarray\n.",
    "an unfinished escape": b"S'\\x0'\n.",
    "a mark alone": b"S'\n.",
    "a dtype of two orders": DTYPE + b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb.",
}  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pickle_is_refused(data, file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = file(data)
    message = refused(r"mnist\.pkl\.gz .*; expected ", mnist_loader.load_data, path)
    assert len(message) < 600 + len(str(path))
    assert os.listdir(tmp_path) == ["mnist.pkl.gz"]


BOMBS = {
    "a large memo index": b"K\x01r\xff\xff\xff\xff.",
    "a long str": b"T\xff\xff\xff\x7f.",
    "long bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.",
    "a long bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"abc.",
    "a long int": b"\x8b\xff\xff\xff\x7f.",
    "many values": b"N" * 5_000_000 + b".",
    "a line without end": b"I" + b"1" * 30_000_000,
    "a str of gigabytes": b"T" + struct.pack("<i", 2**31 - 1) + bytes(30_000_000),
    "marks": b"(" * 5_000_000 + b"t" * 5_000_000 + b".",
    "the same text encoded again and again": (
        b"X\x40\x42\x0f\x00" + b"a" * 1_000_000 + b"q\x01U\x06latin1q\x02c_codecs\nencode\nq\x03"
        + b"h\x03h\x01h\x02\x86R" * 1000 + b"."
    ),
}  # fmt: skip


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_a_bomb_takes_no_memory(data, file, monkeypatch):
    monkeypatch.setattr(array_pickles, "_MOST_BYTES", 2**23)
    path = file(data, lambda data: gzip.compress(data, 1))
    tracemalloc.start()
    try:
        refused("expected ", mnist_loader.load_data, path)
        assert tracemalloc.get_traced_memory()[1] < 6 * 2**23
    finally:
        tracemalloc.stop()


def test_arrays_beyond_the_limit_are_refused(file, monkeypatch):
    path = file(python_2_file(three_parts()))
    held = sum(array.nbytes for part in three_parts() for array in part)
    monkeypatch.setattr(array_pickles, "_MOST_BYTES", held - 1)
    refused(f"more than {held - 1:,} bytes", mnist_loader.load_data, path)
    again = file(pickle.dumps(((X, Y),) * 3, 2))
    monkeypatch.setattr(array_pickles, "_MOST_BYTES", 2 * X.nbytes)
    refused("many times", mnist_loader.load_data, again)


def test_damaged_and_missing_files_are_refused(tmp_path, file):
    whole = gzip.compress(python_2_file(three_parts()))
    for data in (
        b"",
        b"\x1f",
        python_2_file(three_parts()),
        whole[:-9],
        whole[: len(whole) // 2],
        whole[:-8] + bytes(8),
    ):
        refused("mnist.pkl.gz", mnist_loader.load_data, file(data, bytes))
    for path in (tmp_path, tmp_path / "absent", "/dev/null", 3, "a\0b"):
        refused("expected", mnist_loader.load_data, path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4),
    protocol=st.sampled_from([None, 0, 2, 4, 5]),
)
def test_damage_is_refused_or_harmless(file, changes, protocol):
    """Whatever bytes change, the result is arrays of numbers or a one-line InputError."""
    parts = three_parts(inputs=2)
    data = bytearray(python_2_file(parts) if protocol is None else pickle.dumps(parts, protocol))
    for place, value in changes:
        data[place % len(data)] = value
    path = file(bytes(data), lambda data: gzip.compress(data, 1))
    try:
        loaded = mnist_loader.load_data(path)
    except fastbp.InputError:
        refused("mnist.pkl.gz", mnist_loader.load_data, path)
    else:
        assert all(x.dtype.kind in "fu" and y.dtype == np.int64 for x, y in loaded)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            [
                *(
                    b"K\x01",
                    b"U\x01<",
                    b"U\x02f4",
                    b"N",
                    b"\x88",
                    b"(",
                    b"t",
                    b"\x85",
                    b"\x86",
                    b"\x87",
                    b")",
                    b"R",
                    b"b",
                ),
                *(b"\x94", b"h\x00", b"h\x01", b"q\x00", b"q\x01", b"\x93", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"),
                *(b"c_codecs\nencode\n", EMPTY, DTYPE, b"cnumpy.core.numeric\n_frombuffer\n"),
            ]
        ),
        max_size=30,
    ).map(b"".join)
)
def test_any_program_of_known_opcodes_is_refused(file, program):
    refused("expected", mnist_loader.load_data, file(program + b"."))


def test_everything_public_has_a_docstring_and_an_example():
    for name in mnist_loader.__all__:
        assert ">>>" in getattr(mnist_loader, name).__doc__
