"""Data sets by name, folder or file, split into training, validation and test set."""

import gzip
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from refusals import refused
from test_idx import idx

from fastbp import datasets
from fastbp.datasets import load

REAL = Path(os.environ.get("FASTBP_DATA") or Path(__file__).parents[3] / "shared" / "data" / "mnist")
NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def four_files(train=12, test=4, pixels=(3, 2)):
    """Return the contents of four files named and split like those of MNIST, and all images and labels."""
    images = np.arange((train + test) * 6, dtype="u1").reshape(train + test, *pixels)
    labels = np.arange(train + test) % 3
    parts = [images[:train], labels[:train], images[train:], labels[train:]]
    return dict(zip(NAMES, map(idx, parts), strict=True)), images, labels


@pytest.fixture
def folder(tmp_path):
    """Write files into a folder; return it."""

    def write(files, pack=bytes, spell=str):
        for name, data in files.items():
            (tmp_path / spell(name)).write_bytes(pack(data))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("pack", "spell"),
    [
        (bytes, str),
        (gzip.compress, lambda name: f"{name}.gz"),
        (gzip.compress, str),
        (bytes, lambda name: name.replace("-idx", ".idx")),
        (gzip.compress, lambda name: name.replace("-idx", ".idx") + ".gz"),
    ],
)
def test_a_folder_of_four_files(folder, pack, spell):
    files, images, labels = four_files()
    parts = load(folder(files, pack, spell))
    rows = images.reshape(16, 6)
    for (x, given), part in zip(parts, [slice(10), slice(10, 12), slice(12, 16)], strict=True):
        np.testing.assert_array_equal(x, rows[part].T)
        np.testing.assert_array_equal(given, labels[part])
        assert (x.dtype, given.dtype, x.T.flags.c_contiguous) == (np.uint8, np.int64, True)


def test_parts_of_plain_files_are_views_of_the_mapped_file(folder):
    for x, _ in load(folder(four_files()[0])):
        assert isinstance(x, np.memmap)
        assert x.base is not None
        assert not x.flags.owndata


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({NAMES[0]: None}, "has no train-images-idx3-ubyte; expected train-images-idx3-ubyte, .*, plain or .gz"),
        ({NAMES[1]: None, NAMES[3]: None}, "has no train-labels-idx1-ubyte and no t10k-labels-idx1-ubyte; expected"),
        (
            {NAMES[0]: idx(range(12))},
            "train-images-idx3-ubyte holds a vector of 12 values, like labels; expected images",
        ),
        ({NAMES[1]: idx(np.ones((12, 2)))}, r"train-labels.* holds an array of shape \(12, 2\), like images; expected"),
        ({NAMES[3]: idx(range(3))}, "t10k-labels-idx1-ubyte has 4 examples and 3 labels; expected one label per"),
        ({NAMES[3]: idx([0, 1, -1, 0], "i1")}, r"t10k-labels-idx1-ubyte has the label -1 \(example 2\)"),
        ({NAMES[2]: idx(np.ones((4, 3, 3)))}, "t10k-images.* has images of 9 values; expected 6, as in train-images"),
        ({NAMES[0]: idx(np.ones((1, 6))), NAMES[1]: idx([1])}, "has 1 image; expected at least 2"),
        ({NAMES[0]: b"junk"}, "train-images-idx3-ubyte begins with the bytes 6a 75 6e 6b"),
    ],
)
def test_a_folder_whose_files_do_not_fit_together_is_refused(folder, changed, message):
    files = {name: data for name, data in {**four_files()[0], **changed}.items() if data is not None}
    refused(message, load, folder(files))


def test_mnist_is_found_in_the_folder_that_the_environment_names(folder, monkeypatch):
    monkeypatch.setenv("FASTBP_DATA", str(folder(four_files()[0])))
    monkeypatch.setattr("fastbp.datasets.mnist_files.MIRRORS", ())  # must not be asked
    assert [x.shape for x, _ in load("mnist")] == [(6, 10), (6, 2), (6, 4)]
    assert [x.shape for x, _ in datasets.mnist(folder({}))] == [(6, 10), (6, 2), (6, 4)]


@pytest.mark.skipif(not (REAL / f"{NAMES[0]}.gz").is_file() and not (REAL / NAMES[0]).is_file(), reason=f"no {REAL}")
def test_the_books_split_of_mnist():
    (x, labels), (x_validation, labels_validation), (x_test, labels_test) = load(REAL)
    assert [part.shape for part in (x, x_validation, x_test)] == [(784, 50_000), (784, 10_000), (784, 10_000)]
    assert x.dtype == np.uint8
    assert (labels[0], labels_validation[0], labels_test[0]) == (5, 3, 7)  # as in the book's mnist.pkl.gz
    np.testing.assert_array_equal(np.bincount(labels), [4932, 5678, 4968, 5101, 4859, 4506, 4951, 5175, 4842, 4988])
    assert round((5 * x.mean() + x_validation.mean()) / 6 / 255, 4) == 0.1307  # as tutorials normalise it


def test_digits_are_split_by_class_with_the_same_test_set():
    parts = load("digits")
    (_, labels), (x_test, labels_test) = datasets.digits()
    np.testing.assert_array_equal(parts[2][0], x_test)
    np.testing.assert_array_equal(parts[2][1], labels_test)
    np.testing.assert_allclose(np.bincount(parts[1][1]) / np.bincount(labels), 1 / 8, atol=0.005)
    assert not np.array_equal(load("digits", seed=1)[1][0], parts[1][0])
    images = {column.tobytes() for x, _ in parts for column in x.T}
    assert len(images) == len({column.tobytes() for column in datasets.digits(held_out=0.0)[0][0].T})


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_a_file_is_split_by_class(tmp_path, kind):
    labels = np.repeat([0, 1, 2, 7], [100, 30, 3, 2])
    rows = np.stack([np.arange(135), labels], axis=1)
    path = tmp_path / f"own.{kind}"
    if kind == "npz":
        np.savez(path, x=rows[:, :1], kind=labels)
    else:
        path.write_text("number,kind\n" + "".join(f"{a},{b}\n" for a, b in rows))
    parts = load(path, label="kind", seed=3)
    assert [np.bincount(given, minlength=8)[[0, 1, 2, 7]].tolist() for _, given in parts] == [
        [80, 24, 1, 2],
        [10, 3, 1, 0],
        [10, 3, 1, 0],
    ]
    for x, given in parts:
        np.testing.assert_array_equal(labels[x[0].astype(int)], given)
        assert x.T.flags.c_contiguous
    assert sorted(np.concatenate([x[0] for x, _ in parts])) == list(range(135))
    again, other = load(str(path), "kind", seed=3), load(path, "kind", seed=4)
    np.testing.assert_array_equal(parts[0][0], again[0][0])
    assert not np.array_equal(parts[0][0], other[0][0])


def test_the_validation_set_is_empty_if_classes_are_small(tmp_path):
    (tmp_path / "own.csv").write_text("1,0\n2,0\n3,1\n")
    assert [x.shape for x, _ in load(tmp_path / "own.csv")] == [(1, 3), (1, 0), (1, 0)]


def test_other_data_are_refused(tmp_path):
    refused("data 'mnits' does not exist; did you mean 'mnist'. valid: digits, mnist, a file, a folder", load, "mnits")
    refused("has no train-images-idx3-ubyte and no", load, tmp_path)
    refused("data must be digits, mnist, a file or a folder, got None", load, None)
    refused("seed must be an integer >= 0, got -1", load, "digits", seed=-1)
    for where in ("digits", "mnist", tmp_path):
        refused(
            "label must be None unless data are a file with a label, got label 'a' with data", load, where, label="a"
        )
    (tmp_path / NAMES[0]).write_bytes(idx(np.ones((2, 2))))
    refused("has only inputs or labels", load, tmp_path / NAMES[0])
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        refused("is not a regular file", load, tmp_path / "pipe")


MAPPED = """
import sys
from pathlib import Path
from fastbp.datasets import load

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

before = anonymous()
parts = load(sys.argv[1])
total = 0
for x, labels in parts:
    for start in range(0, x.shape[1], 10_000):
        total += int(x[:, start : start + 10_000].max())
print(anonymous() - before, total, parts[0][0].shape[1] + parts[1][0].shape[1])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RssAnon exists on Linux only")
@pytest.mark.slow
def test_a_mapped_file_of_2_gb_takes_no_memory(folder, tmp_path, run_python):
    examples = 2**31 // 784
    files, _, _ = four_files(pixels=(3, 2))
    files[NAMES[2]], files[NAMES[3]] = idx(np.ones((4, 28, 28))), idx(np.ones(4))
    files[NAMES[0]] = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in (examples, 28, 28))
    files[NAMES[1]] = bytes([0, 0, 8, 1]) + examples.to_bytes(4, "big") + bytes(examples)
    images = folder(files) / NAMES[0]
    os.truncate(images, images.stat().st_size + 784 * examples)
    if images.stat().st_blocks * 512 > 2**20:
        images.unlink()
        pytest.skip("the file system has no sparse files")
    done = run_python(MAPPED, str(tmp_path))
    images.unlink()
    grown, total, read = map(int, done.stdout.split())
    assert (total, read) == (1, examples), done.stderr
    assert grown < 50e6  # 22 MB of it are labels, as int64


@pytest.mark.parametrize(
    ("inside", "spell"),
    [
        (".", lambda name: "emnist-letters-" + name.replace("t10k", "test")),
        ("raw", str),
        ("FashionMNIST/raw", lambda name: f"{name}.gz"),
        ("EMNIST/raw", lambda name: "emnist-digits-" + name.replace("t10k", "test")),
    ],
)
def test_other_names_and_folders_of_idx_files(tmp_path, inside, spell):
    files, images, labels = four_files()
    (tmp_path / inside).mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = tmp_path / inside / spell(name)
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    (x, given), _, (x_test, labels_test) = load(tmp_path)
    np.testing.assert_array_equal(x, images[:10].reshape(10, 6).T)
    np.testing.assert_array_equal(x_test, images[12:].reshape(4, 6).T)
    np.testing.assert_array_equal(np.append(given, labels_test), np.append(labels[:10], labels[12:]))
