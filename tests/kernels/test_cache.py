"""The cache of compiled code: the next process finds it, and any damage only makes it compile again."""

import ctypes
import errno
import os
import pickle
import sys

import pytest
from numba import types
from numba.core import config
from numba.core.caching import CacheImpl

from fastbp_kernels.compile_events import on_compile
from fastbp_kernels.cpu import jit_cache
from fastbp_kernels.cpu.jit_cache import CheckedFiles, compiled_kernel

KEY, OTHER_KEY = ("signature", "processor", "code"), ("signature", "processor", "other code")


def truncate(data, rng):
    return data[: rng.integers(len(data))]


def flip_bits(data, rng):
    damaged = bytearray(data)
    for bit in rng.integers(8 * len(data), size=rng.integers(1, 4)):
        damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def zero(data, rng):
    start, length = rng.integers(len(data)), rng.integers(1, 4096)
    return data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]


def overwrite(data, rng):
    start = rng.integers(len(data))
    return data[:start] + rng.bytes(len(data) - start)


def append(data, rng):
    return data + rng.bytes(rng.integers(1, 100))


DAMAGES = [truncate, flip_bits, zero, overwrite, append]


def files_in(folder, **changed):
    files = CheckedFiles(str(folder), "function-1", "source stamp")
    for name, value in changed.items():
        setattr(files, name, value)
    return files


def test_saved_data_is_loaded_under_its_key_only(tmp_path):
    files = files_in(tmp_path)
    files.save(KEY, [1, 2])
    assert files.load(KEY) == files_in(tmp_path).load(KEY) == [1, 2]
    assert files.load(OTHER_KEY) is None
    files.save(KEY, [3])
    assert files.load(KEY) == [3]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_never_unpickled(tmp_path, damage, rng, monkeypatch):
    files = files_in(tmp_path)
    files.save(KEY, rng.bytes(20_000))
    (path,) = tmp_path.iterdir()
    intact = path.read_bytes()
    monkeypatch.setattr(pickle, "loads", lambda data: pytest.fail("unpickled"))
    for _ in range(200):
        damaged = damage(intact, rng)
        if damaged != intact:  # the damage may have changed nothing
            path.write_bytes(damaged)
            assert files.load(KEY) is None


def test_the_file_of_another_key_is_ignored(tmp_path):
    files = files_in(tmp_path)
    files.save(KEY, "one")
    files.save(OTHER_KEY, "other")
    one, other = tmp_path.iterdir()
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    assert files.load(KEY) is None
    assert files.load(OTHER_KEY) is None


def test_a_file_of_other_source_or_versions_is_ignored_and_replaced(tmp_path, monkeypatch):
    files = files_in(tmp_path)
    files.save(KEY, "old")
    assert files_in(tmp_path, _source_stamp="edited").load(KEY) is None
    assert files_in(tmp_path, _version="0.1").load(KEY) is None
    monkeypatch.setattr(jit_cache, "_stamp_of_package", lambda: b"edited")
    assert files.load(KEY) is None
    files.save(KEY, "new")
    assert files.load(KEY) == "new"
    assert len(list(tmp_path.iterdir())) == 1


def double(x):
    x[0] = 2.0 * x[0]


class Compilations:
    """Compiles a small kernel, with a new cache folder, and counts how often it was not found there."""

    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1

    def run(self):
        with on_compile(self.add):
            kernel = compiled_kernel(double, types.void(types.CPointer(types.float64)))
        number = ctypes.c_double(3.0)
        kernel.ctypes(number)
        assert number.value == 6.0


@pytest.fixture
def compilations(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    return Compilations()


def test_a_kernel_is_compiled_once_and_again_when_its_file_is_damaged(compilations, tmp_path):
    compilations.run()
    compilations.run()
    assert compilations.count == 1
    (path,) = files_below(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    compilations.run()
    assert compilations.count == 2
    compilations.run()
    assert compilations.count == 2


def test_a_full_disk_only_disables_the_cache(compilations, monkeypatch, tmp_path):
    def no_space(self, *arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CheckedFiles, "_open_for_write", no_space)
    compilations.run()
    compilations.run()
    assert compilations.count == 2
    assert not files_below(tmp_path)


def test_without_a_writable_folder_nothing_is_kept(compilations, monkeypatch, tmp_path):
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    compilations.run()
    assert not files_below(tmp_path)


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


TWO_KERNELS = """
import ctypes
from numba import types
from fastbp_kernels.compile_events import on_compile
from fastbp_kernels.cpu.jit_cache import compiled_kernel

def double(x):
    x[0] = 2.0 * x[0]

def triple(x):
    x[0] = 3.0 * x[0]

compiled = []
with on_compile(lambda: compiled.append(1)):
    for function in (double, triple):
        number = ctypes.c_double(1.0)
        compiled_kernel(function, types.void(types.CPointer(types.float64))).ctypes(number)
        print(number.value)
print(len(compiled))
"""


def test_the_next_process_compiles_again_after_files_were_swapped(run_python, tmp_path):
    cache = tmp_path / "cache"
    for compiled in ("2", "0", "2"):
        done = run_python(TWO_KERNELS, NUMBA_CACHE_DIR=str(cache))
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["2.0", "3.0", compiled]
        if compiled == "0":
            swap(*files_below(cache))


def swap(one, other):
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


MANY_DAMAGES = """
import hashlib
import pathlib
import sys
import numpy as np
import fastbp
from fastbp.backends.numpy import compiled as backend
from fastbp_kernels.cpu import loops as cpu, packed_arguments
from test_cache import DAMAGES, files_below, swap

FACTORIES = [cpu.activate, cpu.hadamard, cpu.output_error, cpu.add_cost, cpu.gather, cpu.add_column_sums, cpu.no_step]
FACTORIES += [cpu.matmul, cpu.matmul_transposed, cpu.add_outer]
cache, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(int(sys.argv[3]))
x, labels = np.random.default_rng(0).random((7, 40)), np.arange(40) % 3

def bits(recompile_epoch):
    for factory in FACTORIES:
        factory.cache_clear()
    if recompile_epoch:
        backend._operations.cache_clear()
        packed_arguments._c_function.cache_clear()
    net = fastbp.Network([7, 6, 3], rng=0)
    net.train(x, labels, epochs=2, mini_batch_size=8, progress=False)
    return hashlib.sha256(b"".join(w.tobytes() for w in (*net.weights, *net.biases))).hexdigest()

first = bits(True)
for number in range(count):
    recompile_epoch = number % 20 == 0  # takes seconds
    paths = [path for path in files_below(cache) if ("equations" in path.name) == recompile_epoch]
    path = paths[rng.integers(len(paths))]
    if number % (len(DAMAGES) + 1) < len(DAMAGES):
        path.write_bytes(DAMAGES[number % (len(DAMAGES) + 1)](path.read_bytes(), rng))
    else:
        swap(path, files_below(cache)[rng.integers(len(files_below(cache)))])
    assert bits(recompile_epoch) == first, (number, path)
print(first)
"""


@pytest.mark.slow
def test_trainings_with_400_damaged_and_swapped_files_give_the_same_bits(run_python, tmp_path):
    """Eight processes share a cache. Each damages 50 files, one at a time, and trains after each."""
    cache = tmp_path / "cache"
    done = [
        run_python(MANY_DAMAGES, str(cache), "50", str(seed), NUMBA_CACHE_DIR=str(cache),
                   PYTHONPATH=os.pathsep.join([os.path.dirname(__file__), *sys.path]), timeout=900)
        for seed in range(8)
    ]  # fmt: skip
    assert [process.returncode for process in done] == [0] * 8, [process.stderr for process in done]
    assert len({process.stdout for process in done}) == 1
