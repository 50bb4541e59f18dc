"""Small files made to take much memory are read or refused within the bounds stated in docs/architecture.md."""

import gzip
import json
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from fuzz_files import READERS, SEEDS, joined, split
from refusals import refused

import fastbp
from fastbp.book import array_pickles
from fastbp.datasets import read_inputs, table_text

N, COLUMNS = 50_000, 500
ASTRAL = "\U0001f600"
NESTED = "[" + ("[" * 100 + "]" * 100 + ",") * (N // 200) + "0]"
DICTS = "[" + ('{"":' * 100 + "0" + "}" * 100 + ",") * (N // 500) + "0]"


def tensor_file(header):
    data = header.encode()
    return struct.pack("<Q", len(data)) + data


def described(text):
    return tensor_file(json.dumps({"__metadata__": {"fastbp": text}}))


def directory(members):
    """Return an .npz archive that consists of its directory only, with this many members."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, members, members, members * len(entry), 0, 0)
    return entry * members + end


def layers_without_tensors():
    """Return a model with a valid description of thousands of layers whose tensors are missing."""
    _, described = split(SEEDS["model"][0])
    return joined({}, described | {"sizes": [1] * 3001, "activations": ["relu"] * 3000})


JSON = {
    "lists": "[" + "[]," * N + "0]",
    "objects": "[" + "{}," * N + "0]",
    "lists in lists": NESTED,
    "objects in objects": DICTS,
    "one character beyond ASCII": '["' + ASTRAL + '",' + NESTED + "]",
    "one character beyond ASCII among texts": '["' + ASTRAL + '",' + '"a",' * N + "0]",
    "its escape": '["\\ud83d\\ude00' + "a" * 3 * N + '"]',
    "never closed": "[" * 3 * N,
    "a long number": "9" * 3 * N,
}
BOMBS = {
    **{("book.json", name): ('{"sizes": ' + text + "}").encode() for name, text in JSON.items()},
    **{("bench.json", name): ('{"kind": "fastbp-bench", "version": 1, "date": ' + text + "}").encode()
       for name, text in JSON.items()},
    **{("model", f"header: {name}"): tensor_file('{"a": ' + text + "}") for name, text in JSON.items()},
    **{("model", name): described('{"kind": "model", "version": 1, "a": ' + text + "}") for name, text in JSON.items()},
    ("model", "layers without tensors"): layers_without_tensors(),
    ("model", "a long kind"): described(json.dumps({"kind": "a" * 3 * N, "version": 1})),
    ("model", "a claimed header"): struct.pack("<Q", 2**22) + b"{}",
    ("checkpoint", "lists"): described('{"kind": "checkpoint", "version": 1, "run": ' + NESTED + "}"),
    ("csv", "one row of numbers"): b"1," * COLUMNS + b"1\n",
    ("csv", "one row of nothing"): b"," * COLUMNS,
    ("csv", "one row of names"): b"a," * COLUMNS + b"a\n",
    ("csv", "one row of names beyond ASCII"): ("a," * COLUMNS + ASTRAL).encode(),
    ("csv", "one field"): b"a" * 2 * N,
    ("csv", "rows of one number"): b"1\n" * N,
    ("csv", "a class a row"): b"".join(b"1,%d\n" % i for i in range(5_000)),
    ("npz", "members"): directory(5000),
    ("idx", "a claimed size"): bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31 - 1, 28, 28) + b"abc",
    ("idx.gz", "a claimed size"): gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 2**31 - 1) + b"abc"),
}  # fmt: skip


def peak_of(kind, path):
    """Return the largest memory peak of the readers of this kind of file; each reads it, or refuses it in one line."""
    peaks = []
    for reader in READERS[kind]:
        message = ""
        tracemalloc.start()
        try:
            reader(path)
        except fastbp.InputError as error:
            message = str(error)
        finally:
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert message.isprintable()
        assert len(message) < 600 + len(str(path))
    return max(peaks)


@pytest.mark.parametrize(("kind", "name"), BOMBS)
def test_memory_is_at_most_fifty_times_the_file_and_4_kb_for_each_column_of_a_table(tmp_path, kind, name):
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(BOMBS[kind, name])
    peak_of(kind, path)  # imports
    columns = BOMBS[kind, name].count(b",") if kind == "csv" and name.startswith("one row") else 0
    assert peak_of(kind, path) < 50 * path.stat().st_size + 2**18 + 4000 * columns


def sparse(path, start, size):
    """Write a sparse file of `size` bytes that begins with `start`."""
    with open(path, "wb") as file:
        file.write(start)
        file.truncate(size)
    return path


@pytest.mark.parametrize(
    ("kind", "start", "size", "message"),
    [
        ("book.json", b"", 2**28 + 1, "has 268,435,457 bytes, more than the maximum of 268,435,456"),
        ("bench.json", b"", 2**22 + 1, "has 4,194,305 bytes, more than the maximum of 4,194,304"),
        ("model", struct.pack("<Q", 2**22 + 1) + b"{", 2**23, "header has 4,194,305 bytes, more than the maximum of"),
        ("checkpoint", struct.pack("<Q", 2**40) + b"{", 2**41, "header has 1,099,511,627,776 bytes, more than"),
    ],
)
def test_a_file_above_the_limit_is_refused_before_it_is_read(tmp_path, kind, start, size, message):
    path = sparse(tmp_path / "large", start, size)
    tracemalloc.start()
    try:
        refused(message, READERS[kind][0], path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_file_larger_than_memory_is_refused(tmp_path):
    whole = SEEDS["model"][0]
    path = sparse(tmp_path / "net", whole, 2**42)
    refused("not enough memory|truncated or damaged", fastbp.load, path)


def test_a_row_above_the_limit_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "wide.csv"
    path.write_text("1,2\n" + "1," * 500 + "1")
    monkeypatch.setattr(table_text, "_LONGEST_ROW", 1000)
    refused("has a row of more than 1,000 bytes; expected", read_inputs, path)
    path.write_text("1," * 499 + "1\n")
    assert read_inputs(path).shape == (500, 1)


def test_a_compressed_row_that_never_ends_takes_little_memory(tmp_path):
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(b"1,2\n" + b"0" * 10**8))
    read = peak_of("csv", path)
    assert read < 50 * 2**22


def test_a_table_takes_little_memory_beside_its_values(tmp_path):
    """At most what the text of the file has, and the numbers of a chunk."""
    path = tmp_path / "long.csv"
    path.write_text("a,b,c\n" + "0.123,0.456,0.789\n" * 200_000)
    assert peak_of("csv", path) < 6 * path.stat().st_size


# The book's pickle, whose content is compressed


def text(size, data):
    return b"X" + struct.pack("<I", size) + data


CONTENTS = {
    "a text of ASCII and one character": text(20 * N + 4, b"a" * 20 * N + ASTRAL.encode()) + b".",
    "the same in one line": b"V" + b"a" * 20 * N + b"\\U0001f600\n.",
    "an integer": b"\x8b" + struct.pack("<i", 4 * N) + b"\1" * 4 * N + b".",
    "a claimed text": text(2**24, b"abc"),
    "claimed bytes": b"B" + struct.pack("<I", 2**24) + b"abc",
    "a long name": b"c" + b"a" * 4 * N + b"\n" + b"a\n.",
    "a text in quotation marks": b"S'" + b"\\x00\\\\" * N + b"'\n.",
    "no text in quotation marks": b"S'" + b"a" * 4 * N + b"\\q'\n.",
    "a latin1 text": text(4 * N, "é".encode() * 2 * N) + b".",
    "a long number": b"I" + b"9" * 4 * N + b"\n.",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_pickle_takes_at_most_four_times_its_decompressed_size(tmp_path, name):
    path = tmp_path / "bomb.pkl.gz"
    path.write_bytes(gzip.compress(CONTENTS[name]))
    peak_of("pkl.gz", path)
    assert peak_of("pkl.gz", path) < 4 * len(CONTENTS[name]) + 2**19


def test_integers_in_a_pickle_have_at_most_64_bits(tmp_path):
    path = tmp_path / "mnist.pkl.gz"
    path.write_bytes(gzip.compress(b"\x8a\xff" + b"\1" * 255 + b"."))
    refused("has an integer of 2,033 bits; expected", array_pickles.read_three_pairs, path)
    path.write_bytes(gzip.compress(b"\x8b" + struct.pack("<i", 5) + b"\1" * 5 + b"."))
    refused("has the opcode LONG4; expected", array_pickles.read_three_pairs, path)


def test_a_compressed_archive_takes_little_memory_beside_its_arrays(tmp_path):
    path = tmp_path / "zeros.npz"
    rows = np.zeros((1000, 1000), np.uint8)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        np.lib.format.write_array(member, rows)
    read_inputs(path)
    tracemalloc.start()
    try:
        read_inputs(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * rows.nbytes + 2**20
    finally:
        tracemalloc.stop()
