"""Ctrl-C at every point where Python checks for signals raises KeyboardInterrupt and leaves the process consistent."""

import dis
import os
import re
import signal
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from interrupt_stress import interrupted, state_of_process

import fastbp
from fastbp.backends import interrupts
from fastbp.backends.interrupts import uninterrupted
from fastbp.backends.numpy import compiled as numpy_backend
from fastbp.backends.numpy import parallel_parts, thread_pool, threads, worker_thread
from fastbp.backends.numpy.threads import use_threads
from fastbp.operations import Examples
from fastbp.optimizers import SGD
from fastbp.parameters import as_parameters, new_optimizer_state
from fastbp.training import inference, small_batches
from fastbp.training import loop as training
from fastbp.training.loop import MiniBatches, State, Watcher
from fastbp_kernels.cpu import packed_arguments

FASTBP = str(Path(fastbp.__file__).parent) + os.sep
SIGNAL_CHECKS = re.compile("RESUME|CALL|JUMP_BACKWARD")  # the instructions after which Python checks for signals


@cache
def opcode_names(code):
    return {step.offset: step.opname for step in dis.get_instructions(code)}


class PressCtrlC:
    """A trace function that raises SIGINT once: at the given check for signals in the files of the given folders."""

    def __init__(self, checks, folders):
        self.checks, self.folders, self.last = checks, folders, {}

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(self.folders):
            return None
        frame.f_trace_opcodes = True
        if event == "call":
            self.last[frame] = "RESUME"
        elif event == "return":
            self.last.pop(frame, None)
        elif event == "opcode":
            checked = SIGNAL_CHECKS.match(self.last.get(frame, ""))
            self.last[frame] = opcode_names(frame.f_code)[frame.f_lasti]
            if checked:
                self.checks -= 1
                if self.checks == 0:
                    signal.raise_signal(signal.SIGINT)
        return self


def press_everywhere(work, *folders, step=1):
    """Call a function repeatedly; press Ctrl-C at its 1st, 2nd, … check for signals, or at every `step`-th check."""
    work()
    before, checks = state_of_process(), 0
    while True:
        checks += step
        press, kept = PressCtrlC(checks, folders or (FASTBP,)), sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # Python 3.12 reports opcodes only if a frame asked before `settrace`
        sys.settrace(press)
        try:
            work()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(kept)
            press.last.clear()
        assert state_of_process() == before, checks
        if press.checks > 0:
            return checks


pytestmark = pytest.mark.usefixtures("two_threads")


@pytest.fixture
def net():
    return fastbp.Network([8, 6, 3], rng=0)


def test_an_interrupt_leaves_uninterrupted_consistent():
    calls = []

    def work():
        with uninterrupted() as ctrl_c:
            calls.append("in")
            ctrl_c.let_through(calls.append, "through")
            calls.append("out")

    assert press_everywhere(work) > 8
    assert calls.count("in") >= calls.count("through") >= calls.count("out") > 1


def test_an_interrupt_leaves_use_threads_consistent():
    def work():
        with use_threads(1):
            pass

    assert press_everywhere(work) > 20


def test_an_interrupt_leaves_the_worker_context_consistent(net):
    def work():
        with uninterrupted(), worker_thread.worker_context(net._plan, "float32", 10, 640):
            pass

    assert press_everywhere(work) > 20


def test_an_interrupt_leaves_an_epoch_and_its_state_consistent(net):
    plan = net._plan
    rng = np.random.default_rng(0)
    x, y = rng.random((10, 8), np.float32), np.eye(3, dtype=np.float32)[rng.integers(0, 3, 10)]
    data = Examples(*(plan.backend.upload(a) for a in (x, y, np.empty((10, 0), np.float32))), 1.0)
    loop = MiniBatches(plan, as_parameters(net.weights, net.biases, plan), data, "float32", 4, 10, State(()), SGD())
    first, results = [w.copy() for w in net.weights + net.biases], {}

    def work():
        for array, initial in zip(net.weights + net.biases, first, strict=True):
            array[...] = initial
        loop.batches_per_call, loop.state = 1, State(new_optimizer_state(plan))
        try:
            loop.epoch(np.arange(10), 0.5, Watcher())
        finally:
            if loop.state.done:
                results.setdefault(loop.state.done, net.weights[0].copy())
            np.testing.assert_array_equal(net.weights[0], results.get(loop.state.done, first[0]))
            assert loop.state.steps == loop.state.done

    assert press_everywhere(work) > 80
    assert sorted(results) == [1, 2, 3]


def test_a_training_interrupted_anywhere_continues_from_its_checkpoint(tmp_path):
    rng = np.random.default_rng(0)
    x, y, path = rng.random((8, 20), np.float32), rng.integers(0, 3, 20), tmp_path / "checkpoint"

    def trained(*, resume):
        net = fastbp.Network([8, 6, 3], rng=0)
        options = {"checkpoint": path, "resume": resume, "validation": 0.25, "patience": 9, "progress": False}
        net.train(x, y, epochs=2, mini_batch_size=10, **options)
        return net.weights[0]

    expected = trained(resume=False)

    def work():
        path.unlink()
        try:
            trained(resume=False)
        except KeyboardInterrupt:
            np.testing.assert_array_equal(trained(resume=True), expected)
            raise

    assert press_everywhere(work, training.__file__, step=5) > 100


@pytest.mark.parametrize("use", ["feedforward", "cost", "backprop", "trace", "update_mini_batch", "train"])
def test_an_interrupt_of_a_call_is_a_keyboard_interrupt(net, use):
    """It is one wherever it comes, and the next call gives the right result."""
    rng = np.random.default_rng(0)
    x, y = rng.random((8, 5), np.float32), np.arange(5) % 3
    arguments = {"feedforward": [x], "update_mini_batch": [x, y, 0.1]}.get(use, [x, y])
    options = {"train": {"epochs": 1, "mini_batch_size": 2, "progress": False}}.get(use, {})
    expected = net.feedforward(x)

    def work():
        getattr(net, use)(*arguments, **options)
        if use not in ("update_mini_batch", "train"):
            np.testing.assert_array_equal(net.feedforward(x), expected)

    files = [module.__file__ for module in (inference, interrupts, numpy_backend, packed_arguments, small_batches)]
    assert press_everywhere(work, *files, step=5 if use != "train" else 23) > 20


def test_inference_is_interrupted_between_calls_of_compiled_code(net):
    x = np.ones((8, 5), np.float32)
    p, y = as_parameters(net.weights, net.biases, net._plan), np.ones((3, 5), np.float32)
    files = [module.__file__ for module in (inference, interrupts, numpy_backend, packed_arguments)]
    assert press_everywhere(lambda: inference.mean_cost(net._plan, p, x, y), *files) > 30


def test_an_interrupt_of_parallel_inference_restores_the_threads_of_blas(monkeypatch, net):
    monkeypatch.setattr(parallel_parts, "MIN_PARALLEL", 0)
    monkeypatch.setattr(inference, "part_size", lambda *_, **__: 8)
    monkeypatch.setattr(small_batches, "_MAX_BYTES", 0)
    x = np.ones((8, 30), np.float32)
    files = [module.__file__ for module in (parallel_parts, thread_pool, threads, interrupts)]
    assert press_everywhere(lambda: net.feedforward(x), *files, step=2) > 100


def test_an_interrupt_replaces_another_error():
    def fail():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            raise ValueError

    with pytest.raises(KeyboardInterrupt):
        fail()


COMPILING = """
import signal
import numpy as np
from numba.core.codegen import CPUCodeLibrary
import fastbp
from fastbp_kernels.compile_events import on_compile

def outcome(work):
    try:
        return work()
    except KeyboardInterrupt:
        return "interrupted"

net, x = fastbp.Network([3, 2], rng=0), np.ones((3, 4))

def use():
    return net.feedforward(x).shape

def press():
    count.append(1)
    signal.raise_signal(signal.SIGINT)

def pressed(cls, *arguments):  # called from a ctypes callback, which prints and ignores exceptions
    while presses:
        signal.raise_signal(presses.pop())
    return compiled(*arguments)

compiled, presses = CPUCodeLibrary._object_compiled_hook, []
CPUCodeLibrary._object_compiled_hook = classmethod(pressed)

with on_compile(press):
    count = []
    print(outcome(use), len(count))  # the second press ends the compilation

presses.append(signal.SIGINT)
print(outcome(use))  # after all kernels are compiled

with on_compile(press):
    count = []
    print(outcome(use), len(count))  # after the equation is compiled, too
print(use())
"""


def test_an_interrupt_while_compiling_ends_the_run(run_python, tmp_path):
    """At once if pressed twice, otherwise after everything that the call needs has been compiled."""
    done = run_python(COMPILING, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["interrupted 2", "interrupted", "interrupted 1", "(2, 4)"]
    assert done.stderr == ""


@pytest.mark.slow
def test_interrupts_at_random_moments():
    interrupted(300)
