"""The number of BLAS threads, set in every possible way; the same number gives the same bits."""

import os
from itertools import permutations

import numpy as np
import pytest
from click.testing import CliRunner

import fastbp
from fastbp import cli
from fastbp.backends.numpy import threads, worker_thread

TRAIN = """
import hashlib
import numpy as np
import fastbp
from fastbp.backends.numpy import threads
rng = np.random.default_rng(0)
net = fastbp.Network([300, 200, 10], rng=0)
net.train(rng.random((300, 512)), rng.integers(0, 10, 512), epochs=2, mini_batch_size=256, progress=False)
print(set(threads.in_use().values()), hashlib.sha256(b"".join(w.tobytes() for w in net.weights)).hexdigest())
"""


@pytest.mark.parametrize("count", [1, 2])
def test_the_environment_limits_blas_and_the_same_number_gives_the_same_bits(run_python, count):
    first, second = (run_python(TRAIN, FASTBP_THREADS=str(count)) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert first.stdout.startswith(f"{{{count}}} ")


def test_a_block_limits_the_threads_and_restores_them():
    fastbp.Network([2, 2]).feedforward(np.zeros(2))  # BLAS is loaded
    before = threads.in_use()
    with fastbp.use_threads(1):
        assert set(threads.in_use().values()) == {1}
    assert threads.in_use() == before


def test_overlapping_limits_restore_the_original_number():
    """In whichever order they end: blocks of several threads, and a training, which limits BLAS to one thread."""
    for order in permutations(range(3)):
        counts, limits = [8], threads._Limits()
        library = threads.ThreadPool("blas", lambda counts=counts: counts[-1], counts.append)
        opened = [threads.Limit(count, [library]) for count in (4, 1, 2)]
        for limit in opened:
            limits.open(limit, training=limit.count == 1)
        assert counts == [8, 4, 1, 1]
        assert limits.without_training(library) == 2
        for place in order:
            limits.close(opened[place])
            limits.close(opened[place])
            opened[place] = None
            left = [limit.count for limit in opened if limit is not None]
            assert counts[-1] == (1 if 1 in left else left[-1] if left else 8)


def test_a_block_entered_during_a_training_and_left_after_it(monkeypatch):
    counts = [2]
    library = threads.ThreadPool("blas", lambda: counts[-1], counts.append)
    monkeypatch.setattr(worker_thread, "blas_thread_pool", lambda: library)
    monkeypatch.setattr(worker_thread, "_MIN_MULTIPLICATIONS", 0)
    monkeypatch.setattr(threads, "libraries", lambda: [library])
    block = fastbp.use_threads(1)
    with worker_thread.worker_context(fastbp.Network([784, 100, 10])._plan, "float32", 32, 640):
        block.__enter__()
    assert counts[-1] == 1
    block.__exit__(None, None, None)
    assert counts[-1] == 2


def test_a_block_overrides_the_environment_until_it_ends(monkeypatch):
    counts = [8]
    library = threads.ThreadPool("blas", lambda: counts[-1], counts.append)
    monkeypatch.setattr(threads, "libraries", lambda: [library])
    monkeypatch.setenv("FASTBP_THREADS", "3")
    with fastbp.use_threads(1):
        threads.limit_from_environment()
        assert counts[-1] == 1
    assert counts[-1] == 3


@pytest.mark.parametrize("count", [0, -1, 1.5, "two", True])
def test_invalid_numbers_of_threads(count):
    said = r"threads must be an integer >= 1, got .*"
    with pytest.raises(fastbp.InputError, match=said), fastbp.use_threads(count):
        pass


@pytest.mark.parametrize("text", ["none", "0", "-2", "1.5"])
def test_an_invalid_number_in_the_environment(run_python, text):
    done = run_python("import fastbp; fastbp.Network([2, 2])", FASTBP_THREADS=text)
    assert f"InputError: FASTBP_THREADS must be an integer >= 1, got {text!r}" in done.stderr


def test_the_option_overrides_the_environment(monkeypatch):
    monkeypatch.setenv("FASTBP_THREADS", "7")
    done = CliRunner().invoke(cli.fastbp, ["check", "--threads", "1", "--backend", "nowhere"])
    assert isinstance(done.exception, fastbp.InputError)
    assert os.environ["FASTBP_THREADS"] == "1"
