"""Training and testing on memory-mapped files that are larger than the memory used, or that change meanwhile."""

import os
import struct
import sys

import numpy as np
import pytest
from refusals import refused

import fastbp
from fastbp.files.mapped import check_unchanged, mapped_files
from fastbp.files.tensors import read_tensors

SCRIPT = """
import struct, sys
import numpy as np
import fastbp

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))

n, side = 2048, 512
with open("images", "wb") as file:  # 512 MiB, all holes
    file.write(struct.pack(">4i", 0x803, n, side, side))
    file.truncate(16 + n * side * side)
images = fastbp.datasets.read_idx("images")
x, y = images.reshape(n, -1).T, np.arange(n) % 2
net = fastbp.Network([side * side, 2, 2], rng=0, input_scale=1 / 255)
small = {"epochs": 1, "mini_batch_size": 8, "eta": 0.1, "progress": False}
net.train(x[:, :64], y[:64], validation=(x[:, :16], y[:16]), **small)
before = anonymous()
net.train(x, y, validation=(x[:, :512], y[:512]), **small)
net.predict(x[:, :512])
print(anonymous() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status and writes a sparse file")
def test_anonymous_memory_does_not_grow_with_a_mapped_file(run_python):
    done = run_python(SCRIPT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 32  # MiB, of 512 trained on


N, SIDE = 400, 32


def idx(path, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (N, SIDE, SIDE), dtype=np.uint8)
    path.write_bytes(struct.pack(">4i", 0x803, N, SIDE, SIDE) + pixels.tobytes())
    os.utime(path, ns=(10**18, 10**18))
    return path


def train(folder, meanwhile=None, **options):
    """Train on the mapped file "images", with the mapped file "held" for validation."""
    images, held = (fastbp.datasets.read_idx(folder / name).reshape(N, -1).T for name in ("images", "held"))
    labels = np.arange(N) % 3
    net = fastbp.Network([SIDE * SIDE, 3], rng=0, input_scale=1 / 255)
    given = {"epochs": 4, "eta": 0.1, "validation": (held[:, :50], labels[:50]), "checkpoint": folder / "run"}
    given |= {"callback": lambda epoch: meanwhile() if meanwhile and epoch.number == 2 else None, "progress": False}
    return net, net.train(images, labels, **given | options)


CUT = """
import os, sys
from pathlib import Path
import fastbp
from test_mapped_data import idx, train

for name in ("images", "held"):
    folder = Path(name)
    folder.mkdir()
    idx(folder / "images"), idx(folder / "held", 1)
    try:
        train(folder, lambda: os.truncate(folder / name, 5000))
    except fastbp.InputError as error:
        print(error, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="a mapped file can be truncated on POSIX systems only")
def test_truncating_a_mapped_file_ends_training_with_a_valid_checkpoint(tmp_path, run_python):
    """In a separate process, because reading past the end would kill it."""
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    done = run_python(CUT, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    cut = f"was cut short from {16 + N * SIDE * SIDE:,} to 5,000 bytes while training read from it; restore the file"
    for name, line in zip(("images", "held"), done.stdout.splitlines(), strict=True):
        assert f"{name}' {cut}" in line
        folder = tmp_path / name
        assert read_tensors(folder / "run", "checkpoint", 1)[1]["epoch"] == 3  # two epochs are complete
        idx(folder / "images"), idx(folder / "held", 1)
        whole, _ = train(folder, checkpoint=None)
        np.testing.assert_array_equal(train(folder, resume=True)[0].weights[0], whole.weights[0])


def test_writing_to_a_mapped_file_ends_training(tmp_path):
    idx(tmp_path / "images"), idx(tmp_path / "held", 1)
    refused(
        "images' was changed while training read from it; restore the file",
        train, tmp_path, lambda: os.utime(tmp_path / "images", ns=(10**18, 10**18 + 1)),
    )  # fmt: skip
    assert read_tensors(tmp_path / "run", "checkpoint", 1)[1]["epoch"] == 3


@pytest.mark.skipif(os.name != "posix", reason="Windows does not allow replacing a mapped file")
@pytest.mark.parametrize("how", ["replaced", "deleted"])
def test_replacing_or_deleting_a_mapped_file_does_not_change_its_data(how, tmp_path):
    idx(tmp_path / "images"), idx(tmp_path / "held", 1), idx(tmp_path / "other", 2)

    def meanwhile():
        if how == "replaced":
            (tmp_path / "other").replace(tmp_path / "images")
        else:
            (tmp_path / "images").unlink()

    net, _ = train(tmp_path, meanwhile)
    idx(tmp_path / "images")
    np.testing.assert_array_equal(net.weights[0], train(tmp_path, checkpoint=None)[0].weights[0])


def test_mappings_behind_views_are_found_and_only_the_size_of_writable_ones_is_checked(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(bytes(8192))
    read, written = np.memmap(path, "u1", "r"), np.memmap(path, "u1", "r+")
    views = [read[10:].reshape(-1, 2).T.view(np.ndarray), written.view(np.ndarray)[3:], np.ones(3), written]
    files = mapped_files(views)
    assert [file.path for file in files] == [str(path)] * 2
    check_unchanged(files)
    os.utime(path, ns=(1, 1))
    check_unchanged(files[1:])
    refused("was changed", check_unchanged, files[:1])
    os.truncate(path, 8191)
    refused("was cut short from 8,192 to 8,191 bytes", check_unchanged, files[1:])
