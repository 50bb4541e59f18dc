"""Kernels shared with the worker: every element once, the same bits on either thread, and no waiting for the worker."""

import os
import threading

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import njit, types

import fastbp
from fastbp import cli
from fastbp.backends.numpy import threads, worker_thread
from fastbp.backends.numpy.threads import ThreadPool
from fastbp_kernels.cpu import work_sharing
from fastbp_kernels.cpu.vector_math import MATH
from fastbp_kernels.numba_private import compare_and_swap_word, load_word, make_task, store_word

pytestmark = pytest.mark.skipif(not work_sharing.AVAILABLE, reason="there is no worker on this platform")


@work_sharing.range_body(MATH)
def add_amount(args, start, end):
    counts, amount = args
    for i in range(start, end):
        counts[i] += amount


@njit(nogil=True)
def add_one(counts, times, large_enough):
    for _ in range(times):
        code, args = make_task(add_amount, (counts, 1.0))
        work_sharing.parallel_for_two(code, args, counts.size, large_enough)


yield_processor = types.ExternalFunction("sched_yield", types.intc())
worker_loop = njit(nogil=True)(work_sharing.worker_loop)


@pytest.fixture
def slot():
    """The slot, marked as if a worker were present."""
    work_sharing.slot[:] = 0
    work_sharing.slot[work_sharing.WORKER_PRESENT] = work_sharing.slot[work_sharing.POSTING] = 1
    yield work_sharing.slot
    work_sharing.slot[:] = 0


@pytest.fixture
def running_worker(slot):
    """A worker that runs until the test ends."""
    worker_loop.compile("void()")
    thread = threading.Thread(target=worker_loop, daemon=True)
    thread.start()
    yield
    slot[work_sharing.WORKER_PRESENT] = 0
    thread.join()


@given(n=st.integers(0, 600), times=st.integers(1, 200), large_enough=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_element_once(running_worker, n, times, large_enough):
    counts = np.zeros(n)
    add_one(counts, times, large_enough)
    assert (counts == times).all()


@njit(nogil=True)
def post_and_wait(counts, start, end, most_yields):
    """Post a task that the kernel never reclaims; return whether the worker has run it."""
    code, args = make_task(add_amount, (counts, 1.0))
    store_word(work_sharing.CODE, code)
    store_word(work_sharing.ARGS, args)
    store_word(work_sharing.START, start)
    store_word(work_sharing.END, end)
    store_word(work_sharing.STATE, work_sharing.POSTED)
    for _ in range(most_yields):
        if load_word(work_sharing.STATE) == work_sharing.DONE:
            return True
        yield_processor()
    # Take the task back, or wait for its end: its arguments do not outlive this function.
    if compare_and_swap_word(work_sharing.STATE, work_sharing.POSTED, work_sharing.LOCKED):
        return False
    while load_word(work_sharing.STATE) != work_sharing.DONE:
        yield_processor()
    return True


def test_the_worker_runs_a_posted_task(running_worker):
    counts = np.zeros(100)
    assert post_and_wait(counts, 30, 70, 10**7)
    np.testing.assert_array_equal(counts, np.repeat([0.0, 1.0, 0.0], [30, 40, 30]))


def test_without_a_worker_a_posted_task_is_not_run(slot):
    counts = np.zeros(100)
    assert not post_and_wait(counts, 30, 70, 1000)
    assert not counts.any()


@pytest.mark.parametrize("state", [work_sharing.FREE, work_sharing.LOCKED, work_sharing.CLAIMED])
def test_without_a_worker_or_a_free_slot_the_kernel_runs_both_halves(slot, state):
    slot[work_sharing.STATE] = state
    counts = np.zeros(100)
    add_one(counts, 3, True)
    assert (counts == 3).all()
    assert slot[work_sharing.STATE] == state


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
def test_the_same_bits_whichever_thread_runs_a_half(two_threads, monkeypatch, dtype, m, optimizer):
    shared = trained(dtype, m, optimizer)
    monkeypatch.setattr(worker_thread._worker, "set_posting", lambda posting: None)
    work_sharing.slot[work_sharing.POSTING] = 0
    alone = trained(dtype, m, optimizer)
    plain = trained(dtype, m, optimizer, "numpy-plain")
    close = {"float32": 1e-4, "float64": 1e-12}[dtype]
    for one, other, third in zip(shared.weights, alone.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, third, rtol=0, atol=close)


def test_two_trainings_at_once_give_the_bits_of_each_alone(two_threads):
    alone = [trained("float32", m, "adam") for m in (10, 32)]
    together = [None, None]

    def train(i, m):
        together[i] = trained("float32", m, "adam")

    runs = [threading.Thread(target=train, args=pair) for pair in enumerate((10, 32))]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.weights[0], other.weights[0])


def test_blas_gets_its_threads_back_after_training_and_after_an_error(two_threads):
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
    assert work_sharing.slot[work_sharing.WORKER_PRESENT] == 0


TRAIN = """
import hashlib, os, threading
import numpy as np
import fastbp
from fastbp.backends.numpy import worker_thread
worker_thread._MIN_MULTIPLICATIONS = 0

def trained():
    rng = np.random.default_rng(1)
    net = fastbp.Network([784, 100, 10], rng=0)
    net.train(rng.random((784, 640)), rng.integers(0, 10, 640), epochs=2, mini_batch_size=32, progress=False)
    return hashlib.sha256(net.weights[0].tobytes()).hexdigest()

"""


def test_with_one_thread_no_worker_is_started(run_python):
    done = run_python(TRAIN + "trained(); print([t.name for t in threading.enumerate()])", FASTBP_THREADS="1")
    assert done.stdout == "['MainThread']\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_starts_its_own_worker(run_python):
    """Forked before a training, and forked by another thread during one."""
    script = """
before = trained()
read, write = os.pipe()
trainings = threading.Thread(target=lambda: [trained() for _ in range(3)])
trainings.start()
while not worker_thread._worker._users:
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


@pytest.mark.parametrize(("shared", "alone", "posting"), [(1.0, 2.0, True), (3.0, 2.0, False)])
def test_tasks_are_posted_if_that_is_faster(two_threads, shared, alone, posting):
    """The slower way is tried again at times; times of too few or too short mini-batches are ignored."""
    turns = []
    with worker_thread.worker_context(plan(784, 100, 10), "float32", 32, 640) as context:
        for _ in range(100):
            posted = bool(work_sharing.slot[work_sharing.POSTING])
            turns.append(posted)
            context.record_time(1000, shared if posted else alone)
            context.record_time(1, 100.0)
            context.record_time(1000, 0.004)
    assert turns[:4] == [True, False, True, False]
    assert sum(turn is not posting for turn in turns[4:]) == 1


def test_tasks_of_large_products_are_always_posted(two_threads):
    with worker_thread.worker_context(plan(784, 800, 10), "float32", 100, 640) as context:
        for _ in range(100):
            assert work_sharing.slot[work_sharing.POSTING]
            context.record_time(1000, 1.0)


def plan(*sizes):
    return fastbp.Network(sizes)._plan


@pytest.mark.slow
def test_on_other_platforms_compiled_code_does_not_refer_to_the_worker(run_python, tmp_path):
    """It names no symbol that would have to be linked and may be missing."""
    script = """
import platform
machine = platform.machine
platform.machine = lambda: "another"
from fastbp_kernels.cpu import work_sharing
platform.machine = machine
from fastbp_kernels.cpu import loops as cpu
code = cpu.matmul("float32")._library.get_llvm_str()
worker_thread._MIN_MULTIPLICATIONS = 0
print(work_sharing.AVAILABLE, "fastbp_task" in code, "fastbp_slot" in code, "sched_yield" in code, len(trained()))
print([t.name for t in threading.enumerate()])
print(worker_thread.describe())
"""
    done = run_python(TRAIN + script, FASTBP_THREADS="2", NUMBA_CACHE_DIR=str(tmp_path))
    expected = "False True False False 64\n['MainThread']\nnot available on this platform\n"
    assert done.stdout == expected, done.stderr


def test_little_work_does_not_wake_the_worker():
    with worker_thread.worker_context(plan(64, 30, 10), "float32", 10, 100):
        assert work_sharing.slot[work_sharing.WORKER_PRESENT] == 0


def test_large_products_are_left_to_blas_if_it_has_more_than_two_threads(monkeypatch):
    threads = [8]
    monkeypatch.setattr(
        worker_thread, "blas_thread_pool", lambda: ThreadPool("blas", lambda: threads[-1], threads.append)
    )
    with worker_thread.worker_context(plan(784, 100, 10), "float32", 32, 50_000):
        assert threads == [8, 1]
    assert threads == [8, 1, 8]
    with worker_thread.worker_context(plan(784, 1024, 10), "float32", 256, 50_000):
        assert threads == [8, 1, 8]


# ---- FASTBP_WORKER


def test_the_switch_turns_the_worker_off(two_threads, monkeypatch):
    before = threads.in_use()
    monkeypatch.setenv("FASTBP_WORKER", "0")
    with worker_thread.worker_context(plan(784, 100, 10), "float32", 32, 640):
        assert work_sharing.slot[work_sharing.WORKER_PRESENT] == 0
        assert threads.in_use() == before
    monkeypatch.setenv("FASTBP_WORKER", "1")
    with worker_thread.worker_context(plan(784, 100, 10), "float32", 32, 640):
        assert work_sharing.slot[work_sharing.WORKER_PRESENT] != 0


def test_with_one_thread_the_switch_changes_no_bit(run_python):
    done = [run_python(TRAIN + "print(trained())", FASTBP_THREADS="1", FASTBP_WORKER=value) for value in ("0", "1", "")]
    assert len(done[0].stdout) == 65, done[0].stderr
    assert len({process.stdout for process in done}) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_with_two_threads_results_with_and_without_the_worker_agree_to_rounding(two_threads, monkeypatch, dtype):
    on = trained(dtype, 32, "sgd")
    monkeypatch.setenv("FASTBP_WORKER", "0")
    off, again = trained(dtype, 32, "sgd"), trained(dtype, 32, "sgd")
    for one, other, third in zip(on.weights, off.weights, again.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol={"float32": 1e-4, "float64": 1e-12}[dtype])
        np.testing.assert_array_equal(other, third)


@pytest.mark.parametrize("value", ["2", "yes", "off", " "])
def test_the_switch_refuses_other_values(run_python, value):
    done = run_python("import fastbp; fastbp.Network([2, 2])", FASTBP_WORKER=value)
    said = f"InputError: FASTBP_WORKER must be 0 (off) or 1 (on), got {value!r}"
    assert done.stderr.splitlines()[-1].endswith(said)


@pytest.mark.parametrize(("value", "said"), [("", "on"), ("1", "on"), ("0", "off by FASTBP_WORKER")])
def test_info_shows_the_switch(monkeypatch, value, said):
    monkeypatch.setenv("FASTBP_WORKER", value)
    output = CliRunner().invoke(cli.fastbp, ["info"]).output
    line = next(line for line in output.splitlines() if line.startswith("worker thread"))
    assert line.removeprefix("worker thread").strip() == said


def test_info_says_if_the_blas_has_no_threads_to_share(monkeypatch):
    monkeypatch.setattr(worker_thread, "blas_thread_pool", lambda: None)
    assert worker_thread.describe() == "not available with this BLAS"
