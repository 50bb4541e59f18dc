"""Kernels in two halves: each element once, the same bits whoever does them, and no waiting for who may not come."""

import os
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import njit

import fastbp
from fastbp.backends.numpy import second_thread, threads
from fastbp.backends.numpy.threads import ThreadPool
from fastbp_kernels.cpu import halves
from fastbp_kernels.cpu.vector_math import MATH

pytestmark = pytest.mark.skipif(not halves.AVAILABLE, reason="there is no second thread on this machine")


@halves.part(MATH)
def count_up(given, start, end):
    counts, amount = given
    for i in range(start, end):
        counts[i] += amount


@njit(nogil=True)
def counted(counts, times, worth):
    for _ in range(times):
        code, given = halves.job(count_up, (counts, 1.0))
        halves.in_halves(code, given, counts.size, worth)


serve = njit(nogil=True)(halves.serve)


@pytest.fixture
def board():
    """The board with a second thread said to be present, which nobody serves yet."""
    halves.board[:] = 0
    halves.board[halves.PRESENT] = halves.board[halves.OFFERING] = 1
    yield halves.board
    halves.board[:] = 0


@pytest.fixture
def served_by_one(board):
    """A thread that serves the board until the test ends."""
    serve.compile("void()")
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield
    board[halves.PRESENT] = 0
    thread.join()


@given(n=st.integers(0, 600), times=st.integers(1, 200), worth=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_element_once(served_by_one, n, times, worth):
    counts = np.zeros(n)
    counted(counts, times, worth)
    assert (counts == times).all()


def test_the_second_thread_does_its_half(board):
    """An offer is taken up by the thread that serves, sooner or later: the system may give it no time at first."""
    counts, seen, times = np.zeros(4_000_000), set(), 0
    serve.compile("void()")
    server = threading.Thread(target=serve, daemon=True)
    server.start()
    while halves.TAKEN not in seen and times < 1000:
        kernel = threading.Thread(target=counted, args=(counts, 1, True))
        kernel.start()
        while kernel.is_alive():
            seen.add(int(board[halves.STATE]))
        times += 1
    board[halves.PRESENT] = 0
    server.join(10)
    assert halves.TAKEN in seen
    assert (counts == times).all()


@pytest.mark.parametrize("state", [halves.IDLE, halves.CHANGING, halves.TAKEN])
def test_where_nobody_serves_or_the_board_is_taken_the_kernel_does_both(board, state):
    board[halves.STATE] = state
    counts = np.zeros(100)
    counted(counts, 3, True)
    assert (counts == 3).all()
    assert board[halves.STATE] == state


def trained(dtype, m, optimizer, backend="numpy"):
    rng = np.random.default_rng(1)
    x, labels = rng.random((784, 640)), rng.integers(0, 10, 640)
    net = fastbp.Network([784, 100, 10], dtype=dtype, backend=backend, rng=0)
    eta = {"sgd": 0.01, "adam": 1e-4}[optimizer]
    net.train(x, labels, epochs=2, mini_batch_size=m, eta=eta, optimizer=optimizer, progress=False)
    return net


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("m", [10, 32, 100])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_whoever_does_the_halves(two_threads, monkeypatch, dtype, m, optimizer):
    helped = trained(dtype, m, optimizer)
    monkeypatch.setattr(second_thread._second, "offer", lambda offers: None)
    halves.board[halves.OFFERING] = 0
    alone = trained(dtype, m, optimizer)
    plain = trained(dtype, m, optimizer, "numpy-plain")
    close = {"float32": 1e-4, "float64": 1e-12}[dtype]
    for one, other, third in zip(helped.weights, alone.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, third, rtol=0, atol=close)


def test_two_trainings_at_once_give_the_bits_of_each_alone(two_threads):
    alone = [trained("float32", m, "adam") for m in (10, 32)]
    together = [None, None]

    def train(place, m):
        together[place] = trained("float32", m, "adam")

    runs = [threading.Thread(target=train, args=pair) for pair in enumerate((10, 32))]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.weights[0], other.weights[0])


def test_blas_has_its_threads_back_after_training_and_after_an_error(two_threads):
    before = threads.in_use()

    def stop(_):
        assert threads.in_use() == before
        raise KeyboardInterrupt

    net = fastbp.Network([784, 100, 10], rng=0)
    with pytest.raises(KeyboardInterrupt):
        net.train(np.ones((784, 64)), np.zeros(64, int), epochs=2, callback=stop, progress=False)
    net = fastbp.Network([784, 100, 10], "identity", rng=0)
    with pytest.raises(fastbp.DivergedError):
        net.train(np.ones((784, 64)), np.zeros(64, int), epochs=2, eta=1e30, progress=False)
    assert threads.in_use() == before
    assert halves.board[halves.PRESENT] == 0


TRAIN = """
import hashlib, os, threading
import numpy as np
import fastbp
from fastbp.backends.numpy import second_thread
second_thread._ENOUGH = 0

def trained():
    rng = np.random.default_rng(1)
    net = fastbp.Network([784, 100, 10], rng=0)
    net.train(rng.random((784, 640)), rng.integers(0, 10, 640), epochs=2, mini_batch_size=32, progress=False)
    return hashlib.sha256(net.weights[0].tobytes()).hexdigest()

"""


def test_one_thread_starts_no_other(run_python):
    done = run_python(TRAIN + "trained(); print([t.name for t in threading.enumerate()])", FASTBP_THREADS="1")
    assert done.stdout == "['MainThread']\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_that_is_forked_has_a_thread_of_its_own(run_python):
    """Forked at rest, and forked by another thread in the midst of training."""
    script = """
before = trained()
read, write = os.pipe()
trainings = threading.Thread(target=lambda: [trained() for _ in range(3)])
trainings.start()
while not second_thread._second._users:
    pass
if os.fork() == 0:
    os.write(write, trained().encode())
    os._exit(0)
os.wait()
trainings.join()
print(os.read(read, 100).decode() == before == trained())
"""
    done = run_python(TRAIN + script, FASTBP_THREADS="2")
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(("helped", "alone", "offers"), [(1.0, 2.0, True), (3.0, 2.0, False)])
def test_halves_are_offered_where_that_is_faster(two_threads, helped, alone, offers):
    """The way that was slower has a turn now and then; mini-batches that are too few say nothing."""
    turns = []
    with second_thread.worker_context(plan(784, 100, 10), "float32", 32, 640) as help:
        for _ in range(100):
            offered = bool(halves.board[halves.OFFERING])
            turns.append(offered)
            help.record_time(1000, helped if offered else alone)
            help.record_time(1, 100.0)
            help.record_time(1000, 0.004)
    assert turns[:4] == [True, False, True, False]
    assert sum(turn is not offers for turn in turns[4:]) == 1


def test_halves_of_large_products_are_always_offered(two_threads):
    with second_thread.worker_context(plan(784, 800, 10), "float32", 100, 640) as help:
        for _ in range(100):
            assert halves.board[halves.OFFERING]
            help.record_time(1000, 1.0)


def plan(*sizes):
    return fastbp.Network(sizes)._plan


@pytest.mark.slow
def test_elsewhere_compiled_code_knows_of_no_second_thread(run_python, tmp_path):
    """Nothing that it would have to be linked with, which may not be there."""
    script = """
import platform
machine = platform.machine
platform.machine = lambda: "another"
from fastbp_kernels.cpu import halves
platform.machine = machine
from fastbp_kernels.cpu import loops as cpu
code = cpu.matmul("float32")._library.get_llvm_str()
second_thread._ENOUGH = 0
print(halves.AVAILABLE, "fastbp_job" in code, "fastbp_board" in code, "sched_yield" in code, len(trained()))
print([t.name for t in threading.enumerate()])
"""
    done = run_python(TRAIN + script, FASTBP_THREADS="2", NUMBA_CACHE_DIR=str(tmp_path))
    assert done.stdout == "False True False False 64\n['MainThread']\n", done.stderr


def test_little_work_wakes_nobody():
    with second_thread.worker_context(plan(64, 30, 10), "float32", 10, 100):
        assert halves.board[halves.PRESENT] == 0


def test_products_that_are_large_are_left_to_more_than_two_threads_of_blas(monkeypatch):
    threads = [8]
    monkeypatch.setattr(second_thread, "_blas", lambda: ThreadPool("blas", lambda: threads[-1], threads.append))
    with second_thread.worker_context(plan(784, 100, 10), "float32", 32, 50_000):
        assert threads == [8, 1]
    assert threads == [8, 1, 8]
    with second_thread.worker_context(plan(784, 1024, 10), "float32", 256, 50_000):
        assert threads == [8, 1, 8]
