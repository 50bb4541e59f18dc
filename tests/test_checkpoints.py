"""Training that goes on from a checkpoint ends bit-identical to training that never stopped."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fastbp
from fastbp import schedules
from fastbp.files import read_tensors, write_tensors

SETTINGS = [
    {},
    {"momentum": 0.9, "lmbda": 0.1},
    {"eta": schedules.Cosine(2.0), "validation": 0.25, "patience": 3},
    {"optimizer": "nesterov", "lmbda": 0.1},
    {"optimizer": "adam", "eta": schedules.Cosine(0.1), "validation": 0.25, "patience": 3},
    {"sample_weight": np.linspace(0.5, 2, 50), "momentum": 0.5, "eta": schedules.Step(1.0, every=2)},
]


def data():
    rng = np.random.default_rng(3)
    return rng.random((6, 50), dtype=np.float32), rng.integers(0, 3, 50)


def train(path=None, *, backend="numpy", epochs=8, net=None, **options):
    """Train a network, the same each time but for the options; return it and its history."""
    net = net or fastbp.Network([6, 5, 3], ["tanh", "sigmoid"], rng=1, backend=backend)
    given = {"epochs": epochs, "mini_batch_size": 7, "eta": 0.5, "progress": False} | options
    return net, net.train(*data(), checkpoint=path, **given)


def assert_same(one, other):
    """Assert that two networks with their histories are the same to the last bit, and will draw the same batches."""
    (net, history), (net_2, history_2) = one, other
    for a, b in zip(
        [*net.to("numpy").weights, *net.to("numpy").biases],
        [*net_2.to("numpy").weights, *net_2.to("numpy").biases],
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    for name in ("cost", "validation_cost", "validation_accuracy", "best_epoch"):
        assert getattr(history, name) == getattr(history_2, name)
    assert net._rng.bit_generator.state == net_2._rng.bit_generator.state


@pytest.mark.parametrize("options", SETTINGS)
def test_stopped_between_epochs_and_gone_on(options, backend, tmp_path):
    path = tmp_path / "run.safetensors"
    train(path, backend=backend, callback=lambda epoch: epoch.number == 3, **options)
    resumed = train(path, backend=backend, resume=True, **options)
    assert_same(resumed, train(backend=backend, **options))


@pytest.mark.parametrize("options", SETTINGS)
def test_a_run_that_is_over_is_only_read_again(options, tmp_path):
    path = tmp_path / "run.safetensors"
    over = train(path, **options)
    assert_same(train(path, resume=True, **options), over)


def test_without_a_file_resume_begins(tmp_path):
    assert_same(train(tmp_path / "run", resume=True), train())


def test_more_epochs_can_be_asked_for(tmp_path):
    path = tmp_path / "run"
    train(path, epochs=3)
    assert_same(train(path, epochs=8, resume=True), train(epochs=8))


def test_a_checkpoint_crosses_from_one_backend_to_another(tmp_path, backend):
    path = tmp_path / "run"
    train(path, epochs=3, momentum=0.9, validation=0.2, patience=5)
    net, _ = train(path, backend=backend, resume=True, momentum=0.9, validation=0.2, patience=5)
    expected, _ = train(momentum=0.9, validation=0.2, patience=5)
    for a, b in zip(net.to("numpy").weights, expected.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_without_resume_a_checkpoint_is_begun_anew(tmp_path):
    path = tmp_path / "run"
    train(path, epochs=3)
    assert_same(train(path), train())


RUN = """
import os, signal, sys, time
import numpy as np
import fastbp

path, how, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3])
rng = np.random.default_rng(3)
x, y = rng.random((40, 5000), dtype=np.float32), rng.integers(0, 3, 5000)
net = fastbp.Network([40, 200, 3], rng=1)
print("ready", flush=True)
options = {"checkpoint": path, "resume": True} if how == "resume" else {}
try:
    options |= {"mini_batch_size": 10, "eta": 0.5, "momentum": 0.5, "validation": 0.1, "patience": 1000}
    history = net.train(x, y, epochs=epochs, progress=False, **options)
except KeyboardInterrupt:
    sys.exit(7)
np.savez(sys.argv[4], *net.weights, *net.biases, cost=history.cost)
"""
EPOCHS = 12


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("never-stopped")
    (folder / "run.py").write_text(RUN)
    start = time.perf_counter()
    subprocess.run([sys.executable, folder / "run.py", "-", "whole", str(EPOCHS), folder / "end.npz"], check=True)
    return folder, time.perf_counter() - start


def same_files(one, other):
    with np.load(one) as a, np.load(other) as b:
        return a.files == b.files and all(np.array_equal(a[name], b[name]) for name in a.files)


@pytest.mark.parametrize("moment", range(20))
def test_killed_at_any_moment_and_gone_on(moment, never_stopped, tmp_path):
    folder, seconds = never_stopped
    command = [sys.executable, folder / "run.py", tmp_path / "run", "resume", str(EPOCHS), tmp_path / "end.npz"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        process.stdout.readline()
        time.sleep(random.Random(moment).uniform(0.0, 0.8 * seconds))
        process.send_signal(signal.SIGKILL if moment % 4 else signal.SIGINT)
        process.wait(timeout=60)
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert same_files(tmp_path / "end.npz", folder / "end.npz")


def test_ctrl_c_within_an_epoch_leaves_its_place(tmp_path):
    path = tmp_path / "run"
    rng = np.random.default_rng(3)
    x, y = rng.random((6, 200_000), dtype=np.float32), rng.integers(0, 3, 200_000)

    def one(**options):
        net = fastbp.Network([6, 50, 3], rng=1)
        return net, net.train(x, y, epochs=1, mini_batch_size=2, eta=0.5, progress=False, **options)

    whole, history = one()
    threading.Timer(history.seconds[0] / 2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        one(checkpoint=path)
    _, description = read_tensors(path, "checkpoint", 1)
    assert 0 < description["done"] < 100_000
    resumed, resumed_history = one(checkpoint=path, resume=True)
    assert resumed_history.cost == history.cost
    np.testing.assert_array_equal(resumed.weights[0], whole.weights[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eta": 0.6}, r"its run has eta 'Constant\(eta=0.5\)', and this one 'Constant\(eta=0.6\)'"),
        ({"mini_batch_size": 5}, "its run has mini_batch_size 7, and this one 5; wanted is the same"),
        ({"lmbda": 0.1}, "its run has lmbda 0.0, and this one 0.1"),
        ({"momentum": 0.1}, "its run has momentum 0.0, and this one 0.1"),
        ({"net": fastbp.Network([6, 4, 3], ["tanh", "sigmoid"], rng=1)}, r"its run has sizes \[6, 5, 3\]"),
        ({"net": fastbp.Network([6, 5, 3], rng=1)}, "its run has activations"),
        (
            {"net": fastbp.Network([6, 5, 3], ["tanh", "sigmoid"], rng=np.random.Generator(np.random.MT19937(1)))},
            "its run has a generator of PCG64, and this one MT19937",
        ),
    ],
)
def test_another_run_is_refused_and_nothing_is_changed(change, message, tmp_path):
    path = tmp_path / "run"
    train(path, epochs=2)
    kept = path.read_bytes()
    net = change.pop("net", None) or fastbp.Network([6, 5, 3], ["tanh", "sigmoid"], rng=9)
    before = net.weights[0].copy()
    with pytest.raises(fastbp.InputError, match=message):
        train(path, net=net, resume=True, **change)
    np.testing.assert_array_equal(net.weights[0], before)
    assert path.read_bytes() == kept


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t, d: d.pop("epoch"), "epoch is None; wanted is a whole number of at least 1"),
        (lambda t, d: d.update(done=-1), "done is -1; wanted is a whole number of at least 0"),
        (lambda t, d: d.update(total="much"), "total is 'much'; wanted is a finite number"),
        (lambda t, d: d.pop("rng"), "its description has no 'rng'"),
        (lambda t, d: d.update(best={"figure": 1.0, "epoch": 1}), "disagree about 'best.biases.0'"),
        (lambda t, d: t.pop("weights.1"), "its tensors and its description disagree about 'weights.1'"),
        (lambda t, d: t.pop("history.cost"), "history.cost is no vector of float64"),
        (lambda t, d: t.update({"weights.0": np.zeros((2, 2), "float32")}), r"weights.0 is no finite float32 of shape"),
        (lambda t, d: t.update({"velocity.weights.0": np.zeros(1)}), "disagree about 'velocity.weights.0'"),
        (lambda t, d: d.update(version=2), "later fastbp"),
        (lambda t, d: d.update(kind="model"), "model"),
    ],
)
def test_an_edited_checkpoint_is_refused_in_one_line(edit, message, tmp_path):
    path = tmp_path / "run"
    train(path, epochs=2)
    tensors, description = read_tensors(path, "checkpoint", 1)
    edit(tensors, description)
    write_tensors(path, tensors, json.loads(json.dumps(description)))
    with pytest.raises(fastbp.InputError, match=message) as raised:
        train(path, resume=True)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("cannot load ")


def test_what_cannot_be_kept_is_said_before_training(tmp_path):
    net = fastbp.Network([6, 5, 3], rng=1)
    with pytest.raises(fastbp.InputError, match="cannot write '/nowhere/run'"):
        net.train(*data(), checkpoint="/nowhere/run", progress=False)
    with pytest.raises(fastbp.InputError, match="resume wants a checkpoint to go on from"):
        net.train(*data(), resume=True, progress=False)
    own = fastbp.Activation("own", lambda z: z, lambda z, a: 1.0)
    other = dataclasses.replace(own, name="tanh")
    with pytest.raises(fastbp.InputError, match="tanh"):
        fastbp.Network([6, 3], other).train(*data(), checkpoint=tmp_path / "run", progress=False)
