"""Training that is resumed from a checkpoint ends bit-identical to training that was never interrupted."""

import dataclasses
import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from refusals import refused

import fastbp
from fastbp import cli, schedules
from fastbp.files.tensors import read_tensors, write_tensors
from fastbp.training import checkpoints
from fastbp.training import loop as training
from fastbp.training.loop import MiniBatches

SETTINGS = [
    {},
    {"momentum": 0.9, "lmbda": 0.1},
    {"eta": schedules.Cosine(2.0), "validation": 0.25, "patience": 3},
    {"optimizer": "nesterov", "lmbda": 0.1},
    {"optimizer": "adam", "eta": schedules.Cosine(0.1), "validation": 0.25, "patience": 3},
    {"dropout": [0.1, 0.4], "validation": 0.25, "patience": 3},
    {"sample_weight": np.linspace(0.5, 2, 50), "momentum": 0.5, "eta": schedules.Step(1.0, every=2)},
]


def data():
    rng = np.random.default_rng(3)
    return rng.random((6, 50), dtype=np.float32), rng.integers(0, 3, 50)


def train(path=None, *, backend="numpy", epochs=8, net=None, **options):
    """Train a network, which differs only in the options; return it and its history."""
    net = net or fastbp.Network([6, 5, 3], ["tanh", "sigmoid"], rng=1, backend=backend)
    given = {"epochs": epochs, "mini_batch_size": 7, "eta": 0.5, "progress": False} | options
    return net, net.train(*data(), checkpoint=path, **given)


def assert_same(one, other):
    """Assert that two networks and their histories are bit-identical, and that their generators have the same state."""
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
def test_a_run_stopped_between_epochs_is_resumed(options, backend, tmp_path):
    path = tmp_path / "run.safetensors"
    train(path, backend=backend, callback=lambda epoch: epoch.number == 3, **options)
    resumed = train(path, backend=backend, resume=True, **options)
    assert_same(resumed, train(backend=backend, **options))


@pytest.mark.parametrize("options", SETTINGS)
def test_a_finished_run_is_only_read_again(options, tmp_path):
    path = tmp_path / "run.safetensors"
    over = train(path, **options)
    assert_same(train(path, resume=True, **options), over)


def test_resume_without_a_file_starts_a_run(tmp_path):
    assert_same(train(tmp_path / "run", resume=True), train())


def test_the_number_of_epochs_may_increase(tmp_path):
    path = tmp_path / "run"
    train(path, epochs=3)
    assert_same(train(path, epochs=8, resume=True), train(epochs=8))


def test_a_run_is_resumed_on_another_backend(tmp_path, backend):
    path = tmp_path / "run"
    train(path, epochs=3, momentum=0.9, validation=0.2, patience=5)
    net, _ = train(path, backend=backend, resume=True, momentum=0.9, validation=0.2, patience=5)
    expected, _ = train(momentum=0.9, validation=0.2, patience=5)
    for a, b in zip(net.to("numpy").weights, expected.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_an_existing_checkpoint_is_replaced_only_on_request(tmp_path):
    path = tmp_path / "run"
    train(path, epochs=3)
    kept = path.read_bytes()
    refused(
        r"checkpoint '.*run' exists; pass resume=True \(--resume\) to continue its run, overwrite=True", train, path
    )
    refused("resume and overwrite cannot be combined", train, path, resume=True, overwrite=True)
    assert path.read_bytes() == kept
    assert_same(train(path, overwrite=True), train())


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
    options |= {"dropout": [0.1, 0.3]}
    history = net.train(x, y, epochs=epochs, progress=False, **options)
except KeyboardInterrupt:
    sys.exit(7)
np.savez(sys.argv[4], *net.weights, *net.biases, cost=history.cost)
"""
EPOCHS = 12


@pytest.fixture(scope="module")
def uninterrupted_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "run.py").write_text(RUN)
    start = time.perf_counter()
    subprocess.run([sys.executable, folder / "run.py", "-", "whole", str(EPOCHS), folder / "end.npz"], check=True)
    return folder, time.perf_counter() - start


def same_files(one, other):
    with np.load(one) as a, np.load(other) as b:
        return a.files == b.files and all(np.array_equal(a[name], b[name]) for name in a.files)


@pytest.mark.parametrize("moment", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 20))])
def test_a_run_killed_at_any_moment_is_resumed(moment, uninterrupted_run, tmp_path):
    folder, seconds = uninterrupted_run
    command = [sys.executable, folder / "run.py", tmp_path / "run", "resume", str(EPOCHS), tmp_path / "end.npz"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        process.stdout.readline()
        time.sleep(random.Random(moment).uniform(0.0, 0.8 * seconds))
        process.send_signal(signal.SIGKILL if moment % 4 else signal.SIGINT)
        process.wait(timeout=60)
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert same_files(tmp_path / "end.npz", folder / "end.npz")


KILLED = """
import os, signal, sys
import numpy as np
import fastbp
from fastbp.training import loop

path, end, steps, name = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
loop._SECONDS_PER_CALL = 0.0  # one mini-batch at a time
left, run = [steps], loop.MiniBatches._run

def counting(self, *arguments):
    seconds = run(self, *arguments)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), getattr(signal, name))
    return seconds

loop.MiniBatches._run = counting
rng = np.random.default_rng(3)
x, y = rng.random((40, 80), dtype=np.float32), rng.integers(0, 3, 80)
net = fastbp.Network([40, 30, 20, 3], ["relu", "tanh", "softmax"], "log-likelihood", rng=1)
options = {"epochs": 14, "mini_batch_size": 10, "optimizer": "adam", "dropout": [0.1, 0.3, 0.5], "progress": False}
options |= {"checkpoint": path, "resume": True} if path != "-" else {}
history = net.train(x, y, **options)
np.savez(end, *net.weights, *net.biases, cost=history.cost)
"""


@pytest.mark.slow
def test_a_run_with_dropout_that_is_killed_twenty_times_ends_with_the_same_bits(run_python, tmp_path):
    """After SIGKILL, the epoch starts again. SIGINT (Ctrl-C) saves the position within the epoch."""
    for i in range(20):
        steps, name = (11, "SIGKILL") if i % 2 else (3, "SIGINT")
        done = run_python(KILLED, tmp_path / "run", tmp_path / "end.npz", str(steps), name)
        assert done.returncode == -getattr(signal, name), done.stderr
    _, description = read_tensors(tmp_path / "run", "checkpoint", 1)
    assert description["epoch"] == 11
    for path, end in ((tmp_path / "run", "end.npz"), ("-", "whole.npz")):
        done = run_python(KILLED, path, tmp_path / end, "0", "SIGINT")
        assert done.returncode == 0, done.stderr
    assert same_files(tmp_path / "end.npz", tmp_path / "whole.npz")


def test_ctrl_c_within_an_epoch_saves_the_position(tmp_path, monkeypatch):
    path = tmp_path / "run"
    rng = np.random.default_rng(3)
    x, y = rng.random((6, 2_000), dtype=np.float32), rng.integers(0, 3, 2_000)

    def one(**options):
        net = fastbp.Network([6, 50, 3], rng=1)
        return net, net.train(x, y, epochs=1, mini_batch_size=2, eta=0.5, progress=False, **options)

    whole, history = one()
    calls, run = [], MiniBatches._run

    def press_after_three_calls(loop, *arguments):
        seconds = run(loop, *arguments)
        calls.append(loop.state.done)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return seconds

    with monkeypatch.context() as patch:
        patch.setattr(MiniBatches, "_run", press_after_three_calls)
        with pytest.raises(KeyboardInterrupt):
            one(checkpoint=path)
    _, description = read_tensors(path, "checkpoint", 1)
    assert 0 < description["done"] == calls[-1] < 1_000
    resumed, resumed_history = one(checkpoint=path, resume=True)
    assert resumed_history.cost == history.cost
    np.testing.assert_array_equal(resumed.weights[0], whole.weights[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eta": 0.6}, r"eta must be 'Constant\(eta=0.5\)', as in the checkpoint, got 'Constant\(eta=0.6\)'"),
        ({"mini_batch_size": 5}, "mini_batch_size must be 7, .* got 5; to continue .* resume_anyway=True"),
        ({"lmbda": 0.1}, "lmbda must be 0.0, as in the checkpoint, got 0.1"),
        ({"dropout": 0.5}, r"dropout must be \[\], as in the checkpoint, got \[0\.0, 0\.5\]"),
        ({"momentum": 0.1}, "momentum must be 0.0, as in the checkpoint, got 0.1"),
        ({"net": fastbp.Network([6, 4, 3], ["tanh", "sigmoid"], rng=1)}, r"sizes must be \[6, 5, 3\], as"),
        ({"net": fastbp.Network([6, 5, 3], rng=1)}, "activations must be .*, as in the checkpoint"),
        (
            {"net": fastbp.Network([6, 5, 3], ["tanh", "sigmoid"], rng=np.random.Generator(np.random.MT19937(1)))},
            "rng must be a generator of PCG64, as in the checkpoint, got one of MT19937",
        ),
    ],
)
def test_a_different_run_is_refused_and_changes_nothing(change, message, tmp_path):
    path = tmp_path / "run"
    train(path, epochs=2)
    kept = path.read_bytes()
    net = change.pop("net", None) or fastbp.Network([6, 5, 3], ["tanh", "sigmoid"], rng=1)
    before = net.weights[0].copy()
    with pytest.raises(fastbp.InputError, match=message):
        train(path, net=net, resume=True, **change)
    np.testing.assert_array_equal(net.weights[0], before)
    assert path.read_bytes() == kept


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t, d: d.pop("epoch"), "epoch must be an integer >= 1, got None"),
        (lambda t, d: d.update(done=-1), "done must be an integer >= 0, got -1"),
        (lambda t, d: d.update(total="much"), "total must be a number >= 0, got 'much'"),
        (lambda t, d: d.pop("rng"), "'rng' is missing from its description"),
        (lambda t, d: d.update(best={"figure": 1.0, "epoch": 1}), "'best.biases.0' is missing"),
        (lambda t, d: t.pop("weights.1"), "its tensors do not match its description: 'weights.1' is missing"),
        (lambda t, d: t.pop("history.cost"), "'history.cost' is missing"),
        (lambda t, d: t.update({"weights.0": np.zeros((2, 2), "float32")}), r"weights.0 must be float32 of shape"),
        (lambda t, d: t.update({"velocity.weights.0": np.zeros(1)}), "'velocity.weights.0' is not expected"),
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


def test_invalid_checkpoint_arguments_are_refused_before_training(tmp_path):
    net = fastbp.Network([6, 5, 3], rng=1)
    with pytest.raises(fastbp.InputError, match="cannot write '/nowhere/run'"):
        net.train(*data(), checkpoint="/nowhere/run", progress=False)
    with pytest.raises(fastbp.InputError, match="resume needs a checkpoint; for example, pass checkpoint="):
        net.train(*data(), resume=True, progress=False)
    own = fastbp.Activation("own", lambda z: z, lambda z, a: 1.0)
    other = dataclasses.replace(own, name="tanh")
    with pytest.raises(fastbp.InputError, match="tanh"):
        fastbp.Network([6, 3], other).train(*data(), checkpoint=tmp_path / "run", progress=False)


# States that cannot be resumed from


def test_ctrl_c_in_an_epoch_that_diverges_keeps_the_previous_checkpoint(tmp_path, monkeypatch, caplog):
    path = tmp_path / "run"
    options = {"epochs": 4, "mini_batch_size": 5, "progress": False}
    x, y = data()
    kept, in_the_third = [], []

    def eta(epoch, epochs):
        return 0.1 if epoch < 3 else 1e30

    def interrupting(self, examples):
        in_the_third.extend([examples] if kept else [])
        if len(in_the_third) == 6:
            raise KeyboardInterrupt

    def third_begins(epoch):
        kept.extend([path.read_bytes()] if epoch.number == 2 else [])

    net = fastbp.Network([6, 5, 3], "identity", rng=1)
    with monkeypatch.context() as patch:
        patch.setattr(training, "_SECONDS_PER_CALL", 0.0)  # one mini-batch at a time
        patch.setattr(training.Watcher, "advanced", interrupting)
        with pytest.raises(KeyboardInterrupt):
            net.train(x, y, eta=eta, checkpoint=path, callback=third_begins, **options)
    assert not np.isfinite(net.weights[0]).all()
    assert [path.read_bytes()] == kept
    assert "weights.0 is not finite and could not be resumed from" in caplog.text
    net = fastbp.Network([6, 5, 3], "identity", rng=1)
    resumed = net.train(x, y, eta=lambda epoch, epochs: 0.1, checkpoint=path, resume_anyway=True, **options)
    assert len(resumed.cost) == 4


# A disk that is temporarily full


def failing_in(epochs, monkeypatch):
    """Return a callback that makes writing fail after each of these epochs."""
    sync, failing = os.fsync, [1 in epochs]

    def fsync(descriptor):
        if failing[-1]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return lambda epoch: failing.append(epoch.number + 1 in epochs)


def test_training_continues_after_a_failed_checkpoint_and_tries_again(tmp_path, monkeypatch, caplog):
    path = tmp_path / "run"
    there = []
    fail = failing_in({1, 2, 5}, monkeypatch)
    trained = train(path, callback=lambda epoch: (fail(epoch), there.append(path.exists()))[0])
    assert there == [False, False, True, True, True, True, True, True]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert f"cannot write '{path}': No space left on device; nothing was changed; training continues" in caplog.text
    assert_same(trained, train())
    assert_same(train(path, resume=True), trained)


def test_training_raises_at_the_end_if_the_last_checkpoint_failed(tmp_path, monkeypatch):
    path = tmp_path / "run"
    net = fastbp.Network([6, 5, 3], ["tanh", "sigmoid"], rng=1)
    callback = failing_in({6, 7, 8}, monkeypatch)
    message = f"training has finished, but its last checkpoint was not written: cannot write '{path}': No space left"
    with pytest.raises(training.CheckpointError, match=re.escape(message)):
        train(path, net=net, callback=callback)
    monkeypatch.undo()
    whole = train()
    np.testing.assert_array_equal(net.weights[0], whole[0].weights[0])
    assert read_tensors(path, "checkpoint", 1)[1]["epoch"] == 6  # five are over
    assert_same(train(path, resume=True), whole)


def test_the_progress_output_warns_of_a_failed_checkpoint(tmp_path, monkeypatch, capsys):
    train(tmp_path / "run", epochs=2, progress=True, callback=failing_in({1}, monkeypatch))
    assert "warning: cannot write " in capsys.readouterr().err


def test_a_disk_that_is_full_for_two_epochs(small_disk, caplog):
    filler = small_disk / "filler"

    def callback(epoch):
        if epoch.number == 2:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1024))
        elif epoch.number == 4:
            filler.unlink()

    trained = train(small_disk / "run", callback=callback)
    assert len(caplog.records) == 2
    assert_same(train(small_disk / "run", resume=True), trained)


# Checkpoints of a different run


def halved(z):
    return 0.5 * z


def activation(factor):
    return fastbp.Activation("own", lambda z: factor * halved(z), lambda z, a: factor * 0.5 + 0.0 * a)


def cost(factor):
    return fastbp.Cost("own", lambda a, y: factor * (a - y) * (a - y), lambda a, y: 2.0 * factor * (a - y))


def plain(path=None, *, x=None, y=None, rng=1, slope=1.0, weight=1.0, late=0.1, **options):
    net = fastbp.Network([6, 5, 3], activation(slope), cost(weight), rng=rng, backend="numpy-plain")
    given = {
        "epochs": 4,
        "mini_batch_size": 7,
        "progress": False,
        "eta": lambda epoch, epochs: late if epoch == 4 else 0.1,
    } | options
    xs, ys = data()
    return net, net.train(xs if x is None else x, ys if y is None else y, checkpoint=path, **given)


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


PAIR = data()
CHANGES = {
    "x": ({}, {"x": changed(data()[0], (5, 49), 0.125)}),
    "y": ({}, {"y": changed(data()[1], 49, 2 - data()[1][49] // 2)}),
    "sample_weight or class_weight": ({"sample_weight": np.ones(50)}, {"sample_weight": np.full(50, 2.0)}),
    "sample_weight or class_weight, again": ({}, {"class_weight": {1: 2.0}}),
    "validation": ({"validation": PAIR}, {"validation": (changed(PAIR[0], (0, 3), 0.5), PAIR[1])}),
    "validation, its targets": ({"validation": PAIR}, {"validation": (PAIR[0], changed(PAIR[1], 3, 0))}),
    "validation, its fraction": ({"validation": 0.2}, {"validation": 0.21}),
    "validation, that is none": ({"validation": 0.2}, {}),
    "seed": ({}, {"rng": 2}),
    "eta": ({}, {"late": 0.05}),
    "activation 'own'": ({}, {"slope": 1.5}),
    "cost 'own'": ({}, {"weight": 1.5}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_difference_is_named_and_refused_without_resume_anyway(name, tmp_path):
    path = tmp_path / "run"
    first, other = CHANGES[name]
    plain(path, callback=lambda epoch: epoch.number == 2, **first)
    kept = path.read_bytes()
    message = (
        f"{name.partition(',')[0]} must be the same as in the checkpoint's run; to continue with a different run, "
        "pass resume_anyway=True (--resume-anyway)"
    )
    refused(re.escape(message), plain, path, resume=True, **other)
    assert path.read_bytes() == kept
    assert len(plain(path, resume_anyway=True, **other)[1].cost) == 4
    plain(path, resume=True, **(other if name != "seed" else {}))  # the checkpoint now describes the changed run


def test_equal_data_in_other_objects_is_the_same_run(tmp_path):
    path = tmp_path / "run"
    schedule = partial(lambda epoch, epochs, eta: eta, eta=0.1)
    options = {"validation": PAIR, "sample_weight": np.ones(50), "eta": schedule}
    plain(path, epochs=2, **options)
    x, y = data()
    options["eta"] = partial(lambda epoch, epochs, eta: eta, eta=0.1)
    options["validation"] = (np.asfortranarray(x), list(y))
    plain(path, x=x.astype(">f4"), y=np.eye(3)[y].T, resume=True, **options)


def test_resume_anyway_refuses_other_sizes_and_optimizers(tmp_path):
    path = tmp_path / "run"
    train(path, epochs=2)
    refused("pass the same value, or use another checkpoint", train, path, resume_anyway=True, optimizer="adam")
    net = fastbp.Network([6, 4, 3], ["tanh", "sigmoid"], rng=1)
    refused("sizes must be .*, as in the checkpoint", train, path, resume_anyway=True, net=net)


def test_a_run_continued_with_other_settings_restarts_its_epoch(tmp_path):
    path = tmp_path / "run"
    train(path, epochs=2)
    tensors, description = read_tensors(path, "checkpoint", 1)
    write_tensors(path, tensors, description | {"done": 6, "total": 9.0})
    _, history = train(path, epochs=3, mini_batch_size=10, resume_anyway=True)
    net, _ = train(epochs=2)
    assert history.cost[2] == train(epochs=1, mini_batch_size=10, net=net)[1].cost[0]


def test_the_best_epoch_is_reset_for_other_validation_data(tmp_path):
    path = tmp_path / "run"
    x, y = data()
    options = {"patience": 9, "epochs": 3, "eta": 1e-9}
    plain(path, validation=(x, plain(epochs=1, eta=1e-9)[0].predict(x)), **options)  # all classified correctly
    _, history = plain(path, validation=(x, y), resume_anyway=True, **options | {"epochs": 5})
    assert history.best_epoch == 4


def test_the_stopped_network_and_one_without_a_seed_can_be_resumed(tmp_path):
    path = tmp_path / "run"
    net, _ = train(path, epochs=2, validation=0.2)
    assert_same(train(path, net=net, validation=0.2, resume=True), train(validation=0.2))
    train(path, epochs=9, net=fastbp.Network([6, 5, 3], ["tanh", "sigmoid"]), validation=0.2, resume=True)


def test_a_checkpoint_without_fingerprints_is_compared_by_its_other_fields(tmp_path):
    path = tmp_path / "run"
    plain(path, epochs=2)
    tensors, description = read_tensors(path, "checkpoint", 1)
    for name in ("data", "formulas", "schedule"):
        del description[name]
    write_tensors(path, tensors, description)
    plain(path, resume=True, x=data()[0] + 1, slope=2.0, late=0.2)


def test_the_command_refuses_another_split_without_resume_anyway(tmp_path, capsys):
    x, y = data()
    file, path = tmp_path / "data.csv", str(tmp_path / "run")
    np.savetxt(file, np.column_stack([x.T, y]), delimiter=",")

    def run(*arguments):
        command = ["train", "--data", str(file), "--backend", "numpy-plain", "--epochs", "2", "--checkpoint", path]
        cli.fastbp.main([*command, *arguments], standalone_mode=False)

    run()
    refused("exists; pass resume=True", run)
    message = "x, y, validation, seed must be the same as in the checkpoint's run; .*--resume-anyway"
    refused(message, run, "--resume", "--seed", "1")
    run("--resume-anyway", "--seed", "1", "--epochs", "3")
    run("--overwrite", "--seed", "2")
    assert "epoch 3/3" in capsys.readouterr().err


def test_the_command_saves_the_network_if_the_last_checkpoint_failed(tmp_path, monkeypatch, capsys):
    def failing(*arguments):
        raise fastbp.InputError("cannot write 'run': No space left on device")

    monkeypatch.setattr(checkpoints, "write_tensors", failing)
    save = tmp_path / "net"
    command = ["train", "--backend", "numpy-plain", "--epochs", "1", "--checkpoint", str(tmp_path / "run")]
    with pytest.raises(SystemExit, match="2"):
        cli.fastbp.main([*command, "--save", str(save)], standalone_mode=False)
    fastbp.load(save)
    assert "training has finished, but its last checkpoint was not written" in capsys.readouterr().err


# Two runs at the same time


def test_a_checkpoint_in_use_is_refused_with_the_process_id(tmp_path):
    path = tmp_path / "run"

    def meanwhile(epoch):
        refused(f"'.*run' is in use by process {os.getpid()} on .*; wait until that run ends", train, path, resume=True)

    train(path, epochs=2, callback=meanwhile)
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, training.DivergedError, ZeroDivisionError])
def test_the_lock_is_removed_however_training_ends(error, tmp_path):
    def callback(epoch):
        raise error

    with pytest.raises(error):
        train(tmp_path / "run", callback=callback)
    with pytest.raises(fastbp.InputError):
        train(tmp_path / "run", resume=True, epochs=-1)
    assert os.listdir(tmp_path) == ["run"]


HOLDER = """
import os, signal, sys
from fastbp.files.locks import locked

with locked("run"):
    child = sys.argv[1] == "forked" and os.fork() == 0  # which outlives its parent, as a worker may
    if child or sys.argv[1] == "alone":
        print("held", flush=True)
    sys.stdin.readline()
    if child:
        os._exit(0)
"""


@pytest.mark.parametrize("how", ["alone", "forked"])
def test_the_lock_of_a_killed_process_is_taken_over(how, tmp_path):
    path = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, how]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        refused(f"is in use by process {process.pid} on ", train, path, epochs=1)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert (tmp_path / "run.lock").exists()
        train(path, epochs=1)
        assert os.listdir(tmp_path) == ["run"]


def test_a_symbolic_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "private").write_bytes(b"old")
    (tmp_path / "run.lock").symlink_to("private")
    refused("cannot write '.*run.lock': ", train, tmp_path / "run")
    assert (tmp_path / "private").read_bytes() == b"old"
