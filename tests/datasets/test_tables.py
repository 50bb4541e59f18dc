"""Files in .npz and .csv format: what is read, and what is refused."""

import io
import math
import pickle
import warnings
import zipfile

import numpy as np
import pytest
from refusals import refused
from test_idx import idx, peak_of

from fastbp.datasets import read_examples, read_inputs

ROWS = np.array([[0.5, 1, -2], [3, 4, 5]])


@pytest.fixture
def npz(tmp_path):
    """Write arrays to an .npz file; return its path."""

    def write(save=np.savez, name="table.npz", **arrays):
        save(tmp_path / name, **arrays)
        return tmp_path / name

    return write


@pytest.fixture
def file(tmp_path):
    """Write bytes or text to a file; return its path."""

    def write(data, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return write


def array_file(header, values=b"", version=1):
    """Return the bytes of an .npy file with any header."""
    width = 2 if version == 1 else 4
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(width, "little") + header.encode() + values


def archive(method=zipfile.ZIP_STORED, **members):
    """Return the bytes of a zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as whole:
        for name, data in members.items():
            whole.writestr(f"{name}.npy", data)
    return stream.getvalue()


HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"
Y = array_file(HEADER.format("|u1", "(2,)"), b"\0\1")


@pytest.mark.parametrize("dtype", ["f2", ">f2", "f4", "f8"])
def test_labels_of_any_float(npz, dtype):
    assert read_examples(npz(x=ROWS, y=np.array([0, 3], dtype)))[1].tolist() == [0, 3]
    refused("has the label nan", read_examples, npz(x=ROWS, y=np.array([0, np.nan], dtype)))


@pytest.mark.parametrize(
    "header", [r"{'descr': '\q'}", "{'descr': 1if 1else 2}", "{'descr': 0xfor x in y}", r"{'descr': '\u0041'}"]
)
def test_a_header_that_python_would_warn_about_is_refused(file, header):
    path = file(archive(x=array_file(header)), "table.npz")
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        refused(r"has no readable header in 'x\.npy' \(not a dictionary of literals\); expected", read_inputs, path)
    assert not shown


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("dtype", "kept"),
    [("u1", "u1"), ("?", "u1"), ("f8", "f8"), (">f8", "f8"), ("f4", "f4"), (">f4", "f4"), ("f2", "f4")]
    + [(kind, "f4") for kind in ("i1", "u2", ">i4", "i8", "u8")],
)
def test_npz_gives_columns_in_the_dtypes_for_training(npz, save, dtype, kept):
    images = np.arange(24).reshape(4, 3, 2).astype(dtype)
    x, labels = read_examples(npz(save, images=images, labels=np.array([3, 0, 0, 9], "u1")))
    assert (x.dtype, labels.dtype) == (np.dtype(kept), np.int64)
    assert x.T.flags.c_contiguous
    np.testing.assert_array_equal(x, images.reshape(4, 6).T)
    np.testing.assert_array_equal(labels, [3, 0, 0, 9])


@pytest.mark.parametrize("names", ["x y", "x labels", "images labels", "X y", "data target"])
def test_npz_pairs_of_names(npz, names):
    inputs, labels = names.split()
    path = npz(**{inputs: ROWS, labels: np.array([0.0, 1.0]), "unrelated": np.array(["a"])})
    np.testing.assert_array_equal(read_examples(path)[0], ROWS.T)
    np.testing.assert_array_equal(read_examples(path)[1], [0, 1])
    np.testing.assert_array_equal(read_inputs(path), ROWS.T)


def test_npz_with_other_names(npz):
    path = npz(x=ROWS, kinds=np.array([7, 8]))
    np.testing.assert_array_equal(read_examples(path, label="kinds")[1], [7, 8])
    refused(
        r"contains 'x', 'kinds'; expected inputs and labels, named by one of these pairs: \(x, y\), \(x, labels\),",
        read_examples,
        path,
    )
    refused(r"named by one of these pairs: \(x, kind\), \(images, kind\)", read_examples, path, label="kind")
    np.testing.assert_array_equal(read_inputs(npz(anything=ROWS)), ROWS.T)
    message = "contains 'a', 'b'; expected inputs named x or images or X or data or arr_0, or a single array"
    refused(message, read_inputs, npz(a=ROWS, b=ROWS))


def test_npz_in_fortran_order_and_under_another_name(npz):
    x, _ = read_examples(npz(x=np.asfortranarray(ROWS), y=np.array([0, 1])))
    np.testing.assert_array_equal(x, ROWS.T)
    assert x.T.flags.c_contiguous
    path = npz(x=ROWS, y=np.array([0, 1]))
    np.testing.assert_array_equal(read_examples(path.rename(path.with_suffix(".bin")))[0], ROWS.T)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": ROWS, "y": [0, 1, 2]}, "has 2 examples and 3 labels; expected one label per example"),
        ({"x": ROWS, "y": [[1, 1], [0, 1]]}, r"has labels of shape \(2, 2\); expected a vector"),
        ({"x": ROWS, "y": [0, -1]}, r"has the label -1 \(example 1\); expected integers from 0 to 2147483647"),
        ({"x": ROWS, "y": [0.5, 1]}, r"has the label 0.5 \(example 0\)"),
        ({"x": ROWS, "y": [0, math.nan]}, r"has the label nan \(example 1\)"),
        ({"x": ROWS, "y": [0, math.inf]}, r"has the label inf"),
        ({"x": ROWS, "y": np.array([0, 2**64 - 1], "u8")}, "has the label 18446744073709551615"),
        ({"x": [1.0, 2.0], "y": [0, 1]}, r"has inputs of shape \(2,\); expected one example per row"),
        ({"x": 3.0, "y": [0]}, r"has inputs of shape \(\)"),
        ({"x": np.ones((0, 3)), "y": [0]}, r"has shape \(0, 3\) in 'x.npy'; expected sizes of at least 1"),
        ({"x": [[1, math.nan]], "y": [0]}, r"contains nan \(example 0, input 1\); expected finite numbers"),
        ({"x": [[1, -math.inf]], "y": [0]}, "contains -inf"),
        ({"x": ROWS + 1j, "y": [0, 1]}, "has dtype complex128 in 'x.npy'; expected real numbers"),
        ({"x": [["a"]], "y": [0]}, "has dtype <U1 in 'x.npy'"),
        ({"x": np.zeros(2, "u1,f4"), "y": [0, 1]}, r"has dtype \[\('f0'"),
        (
            {"x": np.array([[None]]), "y": [0]},
            r"has dtype object in 'x.npy' \(Python objects, which are never unpickled",
        ),
        ({"a": ROWS}, "contains 'a'; expected inputs and labels"),
        ({}, "contains no arrays"),
        ({f"a{i}": ROWS for i in range(20)}, "'a7', …; expected"),
    ],
)
def test_npz_without_valid_examples_is_refused(npz, arrays, message):
    refused(message, read_examples, npz(**{name: np.asarray(values) for name, values in arrays.items()}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a zip file"),
        (b"a,b\n1,2\n", "is not a zip file"),
        (pickle.dumps([1, 2]), "is not a zip file"),
        (
            archive(x=b"", y=Y),
            r"has no readable header in 'x.npy' \(EOF: reading magic string.*\); expected an array in NumPy's format",
        ),
        (archive(x=pickle.dumps(ROWS), y=Y), r"has no readable header in 'x.npy' \(the magic string is not correct"),
        (archive(x=array_file("", version=9), y=Y), r"has no readable header in 'x.npy' \(version 9\.0 is unknown\)"),
        (archive(x=array_file("no literal"), y=Y), "has no readable header in 'x.npy'"),
        (archive(x=array_file("("), y=Y), "has no readable header in 'x.npy'"),
        (archive(x=array_file("3"), y=Y), "has no readable header in 'x.npy'"),
        (archive(x=array_file("{'descr': '<f8'}"), y=Y), "has no readable header in 'x.npy'"),
        (archive(x=array_file(HEADER.format("|u1", "(1, 1)") + " " * 60_000), y=Y), "has no readable header"),
        (archive(x=array_file("(" * 9999), y=Y), "has no readable header in 'x.npy'"),
        (archive(x=array_file(HEADER.format("<f3", "(1, 1)"), b"a"), y=Y), "has no readable header in 'x.npy' .*'<f3'"),
        (archive(x=array_file(HEADER.format("|u1", "(-1, -1)"), b"a"), y=Y), r"has shape \(-1, -1\) in 'x.npy'"),
        (archive(x=array_file(HEADER.format("|u1", "(True, 1)"), b"a"), y=Y), r"has shape \(True, 1\)"),
        (
            archive(x=array_file(HEADER.format("|u1", "[1, 1]"), b"a"), y=Y),
            r"has no readable header in 'x.npy' .*\[1, 1\]",
        ),
        (archive(x=array_file(HEADER.format("|u1", (1,) * 65), b"a"), y=Y), r"has shape \(1, 1"),
        (
            archive(x=array_file(HEADER.format("|u1", "(2, 1)"), b"a"), y=Y),
            "has 1 bytes in 'x.npy', but the header declares 2",
        ),
        (archive(x=array_file(HEADER.format("|u1", f"({2**60}, 1)"), b"a"), y=Y), "declares 1,152,921,504,606,846,976"),
        (
            archive(x=array_file(HEADER.format("|u1", "(1, 1)"), b"aa"), y=Y),
            "has 2 bytes in 'x.npy', but the header declares 1",
        ),
        (
            archive(zipfile.ZIP_BZIP2, x=Y, y=Y),
            "is compressed by zip method 12; expected a file written by numpy.savez",
        ),
        (archive(x=Y, y=Y)[:-1], "is not a zip file"),
        (archive(x=Y, y=Y)[:100], "is not a zip file"),
        (archive(x=Y, y=Y).replace(b"\0\1PK", b"\0\2PK"), "Bad CRC-32"),
    ],
)
def test_damaged_npz_is_refused(file, data, message):
    refused(message, read_examples, file(data, "table.npz"))


def test_npz_that_declares_more_than_it_has_costs_no_memory(file):
    header = array_file(HEADER.format("|u1", f"({2**30}, 1)"))
    lying = bytearray(archive(zipfile.ZIP_DEFLATED, x=header + bytes(2**10), y=Y))
    place = lying.index(b"PK\1\2") + 24  # the decompressed size of x in the directory
    lying[place : place + 4] = (2**30 + len(header)).to_bytes(4, "little")
    assert peak_of(refused, "declares", read_examples, file(bytes(lying), "table.npz")) < 2**20


def test_npz_that_declares_as_much_as_its_bytes_could_hold_costs_no_memory(file):
    header = array_file(HEADER.format("|u1", f"({2**26}, 1)"))
    lying = bytearray(archive(zipfile.ZIP_DEFLATED, x=header + np.random.default_rng(0).bytes(2**17), y=Y))
    place = lying.index(b"PK\1\2") + 24
    lying[place : place + 4] = (2**26 + len(header)).to_bytes(4, "little")
    assert peak_of(refused, "ends after 131,072 of the", read_examples, file(bytes(lying), "table.npz")) < 2**20


def test_nothing_is_unpickled(npz, tmp_path):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "opened"), "w")

    path = npz(x=np.array([[Bomb()]]), y=np.array([0]))
    refused("never unpickled", read_examples, path)
    refused("never unpickled", read_inputs, path)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("start", ["", "\ufeff", "a,b,c\n", "\ufeffa,b,c\r\n", "\n\na,,\n", '"a","b, too","c"\n'])
@pytest.mark.parametrize("end", ["", "\n", "\n\n \n"])
def test_csv_with_and_without_column_names_and_byte_order_mark(file, start, end):
    x, labels = read_examples(file(start + '0.5, -1,2\n\n"3",1e2,1.0' + end))
    np.testing.assert_array_equal(x, np.array([[0.5, 3], [-1, 100]], np.float32))
    np.testing.assert_array_equal(labels, [2, 1])
    assert (x.dtype, labels.dtype, x.T.flags.c_contiguous) == (np.float32, np.int64, True)


def test_csv_with_a_named_column_of_labels(file):
    path = file("kind,a,b\n1,2,3\n0,5,6\n")
    x, labels = read_examples(path, label="kind")
    np.testing.assert_array_equal(x, [[2, 5], [3, 6]])
    np.testing.assert_array_equal(labels, [1, 0])
    np.testing.assert_array_equal(read_inputs(path, label="kind"), x)
    np.testing.assert_array_equal(read_inputs(path), [[1, 0], [2, 5], [3, 6]])
    np.testing.assert_array_equal(read_inputs(file("3\n4\n")), [[3, 4]])


def test_csv_of_integers_up_to_255_gives_bytes(file):
    assert read_examples(file("0,255,7\n"))[0].dtype == np.uint8
    for other in ("256", "-1", "0.5"):
        x = read_inputs(file("1,2\n" * 2500 + f"{other},2\n" + "3,4\n" * 2500))  # in a chunk between others
        assert x.dtype == np.float32
        np.testing.assert_array_equal(x[:, [0, 2500, 2501]], [[1, float(other), 3], [2, 2, 4]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows; expected a table in text form, one example per row"),
        ("\ufeff", "has no rows"),
        ("\n \n\n", "has no rows"),
        ("a,b\n", "has column names and no rows; expected a table"),
        ("1,2,0\n3,,1\n", "table.csv: line 2, column 1 is empty; expected a finite number"),
        (",2,0\n3,4,1\n", "line 1, column 0 is empty"),  # and not a row of column names
        ("a,b,c\n1,2,0\n\n3,,1\n", "line 4, column 'b' is empty"),
        ("1,2,0\n3,x,1\n", "line 2, column 1 is 'x'; expected a number"),
        ("1,2,0\n3,1_0,1\n", "line 2, column 1 is '1_0'"),
        ("1,2,0\n3,0x10,1\n", "line 2, column 1 is '0x10'"),
        ("1,2,0\n3,4\n", "table.csv: line 2 has 2 fields; expected 3, as in the first line"),
        ("1,2,0\n3,4,5,1\n", "line 2 has 4 fields; expected 3"),
        ("1,2,0\n" * 3000 + "3,4\n", "line 3001 has 2 fields"),
        ("1\n2\n", "has 1 column; expected inputs and a label column"),
        ('1,2,0\n3,"4,1\n', "has a quotation mark that is not closed"),
        ('1,2,0\n3,4,"1\n', "has a quotation mark that is not closed"),
        ('1,2,0\n3,4,"1"x\n', "line 2, column 2 is '1x'"),
        ("1,nan,0\n", "line 1, column 1 is 'nan'; expected a finite number"),
        ("1,inf,0\n", "line 1, column 1 is 'inf'"),
        ("1,1e39,0\n", "line 1, column 1 is '1e39'; expected a finite number in the range of float32"),
        ("1,2,0.5\n", "line 1, column 2 is '0.5'; expected an integer label from 0 to 2147483647"),
        ("1,2,-1\n", "line 1, column 2 is '-1'; expected an integer label"),
        ("1,2,nan\n", "line 1, column 2 is 'nan'; expected an integer label"),
        ("1,2,1e20\n", "line 1, column 2 is '1e20'; expected an integer label"),
        ("a,b\n1,cat\n", "line 2, column 'b' is 'cat'; expected a number"),
        (b"\xff\xfea\0,\0b\0", "has column names and no rows"),
        (b"1,2\n\xe9,3\n", "has another encoding; expected UTF-8; to convert it: iconv"),
        (b"1,2\n\0,3\n", r"line 2, column 0 is '\\x00'"),
        ("x" * 200_000, "field larger than field limit"),
    ],
)
def test_csv_that_is_not_a_table_is_refused(file, text, message):
    error = refused(message, read_examples, file(text))
    assert "table.csv" in error
    assert len(error) < 300


def test_csv_without_the_column_of_labels_is_refused(file):
    refused("has 2 columns 'a'; expected different names", read_examples, file("sort,a,b,a\n1,2,3,4\n"), "a")
    path = file("sort,a,b\n1,2,3\n")
    refused(
        "table.csv has no column 'sorte'; did you mean 'sort'. valid: sort, a, b, or a", read_examples, path, "sorte"
    )
    refused("has no column 'kind'; valid: sort, a, b, or a position from -3 to 2", read_inputs, path, "kind")
    refused("label must be the name of an array or a column, got 3", read_examples, path, 3)
    refused("label must be the name of an array or a column, got 3", read_inputs, path, 3)
    refused(
        "has no column names, and so no column 'a'; expected a position from -2 to 1", read_examples, file("1,2\n"), "a"
    )
    refused("has 1 column; expected inputs and a label column", read_examples, file("a\n1\n"), "a")
    many = file(",".join(f"pixel{i}" for i in range(784)) + "\n1\n")
    assert len(refused("valid: pixel0, pixel1, .*, …", read_examples, many, "kind")) < 300


def test_files_of_another_format(file, tmp_path):
    images = file(idx(np.ones((2, 2))), "train-images-idx3-ubyte")
    refused("has only inputs or labels; expected one file of inputs and labels, or a folder", read_examples, images)
    np.testing.assert_array_equal(read_inputs(images), np.ones((2, 2)))
    np.testing.assert_array_equal(read_inputs(file("1,2\n", "table.txt")), [[1], [2]])
    refused("has no rows", read_inputs, file(b"", "nothing"))
    refused("does not exist; expected an IDX, .npz or .csv file", read_inputs, tmp_path / "nowhere")
    refused("is a folder; expected an .npz or .csv file", read_examples, tmp_path)
