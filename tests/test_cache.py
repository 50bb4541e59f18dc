"""The cache of compiled code: found by the next process; damaged, full or missing, it is no more than missed."""

import os

import pytest

SCRIPT = """
import numpy as np
import fastbp
net = fastbp.Network([3, 2], rng=0)
net.train(np.ones((3, 4)), [0, 1, 0, 1], epochs=1, mini_batch_size=2, progress=False)
print(repr(float(net.weights[0].sum())))
"""
DAMAGES = {
    "cut short": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "garbage": lambda data: os.urandom(len(data)),
    "overwritten": lambda data: data[: len(data) // 2] + b"\0" * (len(data) - len(data) // 2),
}


@pytest.mark.parametrize("kind", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_thrown_away_and_made_anew(run_python, tmp_path, damage, kind):
    cache = tmp_path / "cache"
    first = run_python(SCRIPT, NUMBA_CACHE_DIR=str(cache))
    assert first.returncode == 0, first.stderr
    files = [path for path in cache.rglob("*") if path.suffix == kind]
    assert files
    for path in files:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    for _ in range(2):
        again = run_python(SCRIPT, NUMBA_CACHE_DIR=str(cache))
        assert again.returncode == 0, again.stderr
        assert again.stdout == first.stdout


def test_without_a_folder_that_can_be_written_nothing_is_kept(run_python, tmp_path):
    (tmp_path / "file").write_text("no folder")
    done = run_python(SCRIPT, NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache"))
    assert done.returncode == 0, done.stderr


def test_a_full_disk_costs_no_more_than_the_cache(run_python, tmp_path):
    full = """
import errno
from numba.core import caching

def no_space(self, *arguments):
    raise OSError(errno.ENOSPC, "No space left on device")

caching.IndexDataCacheFile.save = no_space
"""
    done = run_python(full + SCRIPT, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
