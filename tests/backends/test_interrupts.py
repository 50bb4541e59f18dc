"""Ctrl-C wherever Python looks for it: it raises KeyboardInterrupt and leaves the process as it was."""

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
from numba.core import serialize

import fastbp
from fastbp.backends import interrupts
from fastbp.backends.interrupts import uninterrupted
from fastbp.backends.numpy import compiled as numpy_backend
from fastbp.backends.numpy import second_thread
from fastbp.backends.numpy.threads import use_threads
from fastbp.operations import Examples
from fastbp.optimizers import SGD
from fastbp.parameters import as_parameters, new_optimizer_state
from fastbp.training import inference
from fastbp.training import loop as training
from fastbp.training.loop import MiniBatches, State, Watcher

FASTBP = str(Path(fastbp.__file__).parent) + os.sep
LOOKS = re.compile("RESUME|CALL|JUMP_BACKWARD")  # the instructions after which Python looks for signals


@cache
def names_of(code):
    return {step.offset: step.opname for step in dis.get_instructions(code)}


class Press:
    """A trace function that raises SIGINT once, after so many looks for signals in the files of some folders."""

    def __init__(self, looks, folders):
        self.looks, self.folders, self.last = looks, folders, {}

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(self.folders):
            return None
        frame.f_trace_opcodes = True
        if event == "call":
            self.last[frame] = "RESUME"
        elif event == "return":
            self.last.pop(frame, None)
        elif event == "opcode":
            looked, self.last[frame] = LOOKS.match(self.last.get(frame, "")), names_of(frame.f_code)[frame.f_lasti]
            if looked:
                self.looks -= 1
                if self.looks == 0:
                    signal.raise_signal(signal.SIGINT)
        return self


def pressed_everywhere(work, *folders, step=1):
    """Call a function with Ctrl-C pressed at one look for signals after the other, or every so many, up to its end."""
    work()
    before, looks = state_of_process(), 0
    while True:
        looks += step
        press, kept = Press(looks, folders or (FASTBP,)), sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # Python 3.12 reports opcodes only if a frame asked before `settrace`
        sys.settrace(press)
        try:
            work()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(kept)
            press.last.clear()
        assert state_of_process() == before, looks
        if press.looks > 0:
            return looks


pytestmark = pytest.mark.usefixtures("two_threads")


@pytest.fixture
def net():
    return fastbp.Network([8, 6, 3], rng=0)


def test_holding_back_is_whole():
    calls = []

    def work():
        with uninterrupted() as ctrl_c:
            calls.append("in")
            ctrl_c.let_through(calls.append, "through")
            calls.append("out")

    assert pressed_everywhere(work) > 8
    assert calls.count("in") >= calls.count("through") >= calls.count("out") > 1


def test_entering_and_leaving_use_threads_is_whole():
    def work():
        with use_threads(1):
            pass

    assert pressed_everywhere(work) > 20


def test_entering_and_leaving_the_help_of_the_second_thread_is_whole(net):
    def work():
        with uninterrupted(), second_thread.worker_context(net._plan, "float32", 10, 640):
            pass

    assert pressed_everywhere(work) > 20


def test_an_epoch_is_whole_and_its_state_true(net):
    plan = net._plan
    rng = np.random.default_rng(0)
    x, y = rng.random((10, 8), np.float32), np.eye(3, dtype=np.float32)[rng.integers(0, 3, 10)]
    data = Examples(*(plan.backend.upload(a) for a in (x, y, np.empty((10, 0), np.float32))), 1.0)
    loop = MiniBatches(plan, as_parameters(net.weights, net.biases, plan), data, "float32", 4, 10, State(()), SGD())
    first, reached = [w.copy() for w in net.weights + net.biases], {}

    def work():
        for array, begun in zip(net.weights + net.biases, first, strict=True):
            array[...] = begun
        loop.batches_per_call, loop.state = 1, State(new_optimizer_state(plan))
        try:
            loop.epoch(np.arange(10), 0.5, Watcher())
        finally:
            if loop.state.done:
                reached.setdefault(loop.state.done, net.weights[0].copy())
            np.testing.assert_array_equal(net.weights[0], reached.get(loop.state.done, first[0]))
            assert loop.state.steps == loop.state.done

    assert pressed_everywhere(work) > 80
    assert sorted(reached) == [1, 2, 3]


def test_a_training_interrupted_anywhere_goes_on_from_its_checkpoint(tmp_path):
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

    assert pressed_everywhere(work, training.__file__, step=5) > 100


def test_inference_is_interrupted_between_calls_of_compiled_code(net):
    """And not in the Python that Numba's dispatcher calls, whose exceptions become TypeErrors."""
    x = np.ones((8, 5), np.float32)
    p, y = as_parameters(net.weights, net.biases, net._plan), np.ones((3, 5), np.float32)
    files = [module.__file__ for module in (inference, interrupts, numpy_backend, serialize)]
    assert pressed_everywhere(lambda: inference.mean_cost(net._plan, p, x, y), *files) > 30


@pytest.mark.parametrize("use", ["feedforward", "cost", "backprop", "trace", "update_mini_batch", "train"])
def test_an_interrupt_in_numbas_dispatcher_is_a_keyboard_interrupt(net, use):
    """In a function, say, by which it asks what a kernel's signature is."""
    x, y = np.ones((8, 5), np.float32), np.arange(5) % 3
    arguments = {"feedforward": [x], "update_mini_batch": [x, y, 0.1]}.get(use, [x, y])
    options = {"train": {"epochs": 1, "mini_batch_size": 2, "progress": False}}.get(use, {})
    getattr(net, use)(*arguments, **options)  # compiled
    press, kept = Press(1, (serialize.__file__,)), sys.gettrace()
    sys.settrace(press)
    try:
        with pytest.raises(KeyboardInterrupt):
            getattr(net, use)(*arguments, **options)
    finally:
        sys.settrace(kept)
    assert press.looks <= 0


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

def pressed(cls, *arguments):  # called by a callback of ctypes, which prints and ignores exceptions
    while presses:
        signal.raise_signal(presses.pop())
    return compiled(*arguments)

compiled, presses = CPUCodeLibrary._object_compiled_hook, []
CPUCodeLibrary._object_compiled_hook = classmethod(pressed)

with on_compile(press):
    count = []
    print(outcome(use), len(count))  # the second press ends it

presses.append(signal.SIGINT)
print(outcome(use))  # when all kernels are compiled

with on_compile(press):
    count = []
    print(outcome(use), len(count))  # when the equation is compiled, too
print(use())
"""


def test_an_interrupt_while_compiling_ends_the_run(run_python, tmp_path):
    """When all is compiled that the call needs, or, pressed again, at once."""
    done = run_python(COMPILING, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["interrupted 2", "interrupted", "interrupted 1", "(2, 4)"]
    assert done.stderr == ""


@pytest.mark.slow
def test_interrupts_at_random_moments():
    interrupted(300)
