"""A network on the second of two GPUs, while the first is the current one.

Every launch, write, copy and allocation must be made while the second GPU is the current one.
"""

import inspect
import textwrap
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")

from gpu_instruments import StandInInstruments
from two_gpus import Device, Machine

import fastbp
from fastbp import backends, gradients, parameters
from fastbp.backends.cupy import device as cupy_device
from fastbp.bench import candidates, floor, gpu_steps
from fastbp.bench.grid import QUICK
from fastbp.cli.check import gpu as gpu_check
from fastbp.cli.check import kernel_checks
from fastbp.estimators import MLPClassifier, MLPRegressor
from fastbp.files import models, parameter_tensors
from fastbp.operations import Plan
from fastbp.training import loop

pytestmark = pytest.mark.cuda
RNG = np.random.default_rng(0)
X, Y = RNG.random((4, 24)), RNG.integers(0, 3, 24)
QUIET = {"epochs": 2, "mini_batch_size": 3, "progress": False}


@pytest.fixture
def machine(monkeypatch):
    machine = Machine(only=1)
    monkeypatch.setattr(cupy_device, "CuPyDevice", lambda number, *, tf32: Device(machine, number, tf32=tf32))
    monkeypatch.setattr(cupy_device, "_usable", {0, 1})
    monkeypatch.setattr(cupy_device, "current_number", lambda: machine.current)
    monkeypatch.setattr(loop, "_SECONDS_PER_CALL", 1e6)  # so that steps are replayed
    cupy_device._on_device.cache_clear()
    yield machine
    cupy_device._on_device.cache_clear()


def network(dtype="float32"):
    return fastbp.Network([4, 3, 3], rng=0, backend="cupy:1", dtype=dtype)


# The public functions. Each of them is called while GPU 0 is the current one.


def inference(folder):
    net = network()
    for x in (X, X[:, 0]):
        net.feedforward(x)
    net.cost(X, Y), net.backprop(X, Y), net.predict(X), net.accuracy(X, Y), net.trace(X, Y), net.score(X, Y)
    net.update_mini_batch(X, Y, 0.1)
    fastbp.warmup(net)


def arrays_of_the_gpu(folder):
    net = network()
    backend = backends.get("cupy:1")
    x, y = backend.upload(X.astype(np.float32)), backend.upload(np.eye(3, dtype=np.float32)[:, Y])
    x_in_rows = backend.upload(np.ascontiguousarray(X.T, np.float32)).T
    for a in (x, x_in_rows):
        net.feedforward(a), net.cost(a, y), net.backprop(a, Y), net.trace(a, Y), net.accuracy(a, y)
    net.train(x, y, validation=0.25, **QUIET)
    fastbp.backprop(net.weights, net.biases, x, y)
    assert fastbp.backprop(net.weights, [], x_in_rows, y)[1][0].number == 1


def gradient_check(folder):
    gradients.check_gradients(network("float64"), X[:, :3], Y[:3])
    gradients.check_gradients(network("float64"), X[:, :3], Y[:3], dropout=0.5, dropout_key=1)


def parameters_from_the_user(folder):
    net = network()
    net.weights, net.biases = net.weights, [np.zeros((3, 1)), net.biases[1]]
    net.weights[0] = np.ones((3, 4))
    net.feedforward(X)


def training(folder):
    for options in ({"dropout": 0.2}, {"optimizer": "adam", "sample_weight": np.ones(24)}, {"lmbda": 0.1}):
        network().train(X, Y, **QUIET, **options)
    network().train(X, Y, epochs=2, optimizer="lbfgs", progress=False)
    net = network()
    early = {"validation": (X, Y), "patience": 1, "checkpoint": folder / "run", "optimizer": "momentum"}
    net.train(X, Y, **QUIET, **early, callback=lambda epoch: net.cost(X, Y))
    net.train(X, Y, **{**QUIET, "epochs": 3}, **early, resume=True)
    assert backends.get("cupy:1").device.calls.count("graph") > 0
    assert not backends.get("cupy:1").device.refused


def files(folder):
    network().save(folder / "model")
    fastbp.load(folder / "model", backend="cupy:1").feedforward(X)


def moves(folder):
    net = fastbp.Network([4, 3, 3], rng=0).to("cupy:1")
    net.to("numpy"), net.to(dtype="float64"), net.to("cupy:1").train(X, Y, **QUIET)


def estimators(folder):
    options = {"hidden_layer_sizes": 3, "max_iter": 2, "batch_size": 3, "backend": "cupy:1", "random_state": 0}
    with pytest.warns(Warning, match="converge"):
        found = MLPClassifier(**options, early_stopping=True).fit(X.T, Y)
    found.predict(X.T), found.predict_proba(X.T), found.score(X.T, Y)
    MLPClassifier(**options).partial_fit(X.T, Y, classes=[0, 1, 2]).partial_fit(X.T, Y)
    with pytest.warns(Warning, match="converge"):
        MLPRegressor(**options, solver="sgd", momentum=0.5).fit(X.T, X[0]).predict(X.T)


def benchmark(folder):
    backend = backends.get("cupy:1")
    floor.make_floor(backend, (4, 3, 3), "float32", RNG.integers(0, 255, (7, 4), np.uint8), 3)()
    measured = candidates.Candidate("cupy:1", backend, backend, "cupy:1", "a stand-in", lambda: 2**40)
    assert len(gpu_steps.kernel_rates(measured, replace(QUICK, copy_bytes=2**6))) == 5


def parts_of_a_training(folder):
    net = network()
    backend = net._plan.backend
    parameters.new_optimizer_state(net._plan)
    backend.set_cost_total(backend.new_cost_total(3, 3, "float32"), 0.0)
    backend.upload(X)


def checks(folder):
    backend = backends.get("cupy:1")
    instruments = StandInInstruments(backend)
    for group in (gpu_check.streams, gpu_check.steps):
        assert all(check.passed for check in group(backend, instruments))
    backend.device = backend.device._device
    for cases in (kernel_checks._column_sums(backend, "float32"), kernel_checks._optimizer_steps("float32")):
        for _, formulas, keep_z, case in cases:
            assert kernel_checks._case_error(backend, "float32", "float32", formulas, keep_z, case) < 2e-6


FLOWS = [
    inference,
    arrays_of_the_gpu,
    gradient_check,
    parameters_from_the_user,
    training,
    files,
    moves,
    estimators,
    benchmark,
    parts_of_a_training,
    checks,
]


@pytest.fixture(autouse=True)
def one_shape(monkeypatch):
    monkeypatch.setattr(kernel_checks, "SHAPES", [(2, 3)])


@pytest.mark.parametrize("flow", FLOWS)
def test_everything_happens_on_the_gpu_of_the_network(machine, flow, tmp_path):
    flow(tmp_path)
    assert machine.faults == []
    assert machine.current == 0
    assert not backends.get("cupy:1").device.refused


def test_a_network_moves_from_one_gpu_to_the_other(machine):
    machine.only = None
    net = network()
    there = net.to("cupy:0")
    np.testing.assert_array_equal(there.feedforward(X).host, net.feedforward(X).host)
    there.train(X, Y, **QUIET)
    net.train(X, Y, **QUIET)
    assert machine.faults == []
    assert [w.number for w in (net.weights[0], there.weights[0])] == [1, 0]


def test_arrays_of_both_gpus_are_refused(machine):
    here, net = fastbp.Network([4, 3, 3], rng=0, backend="cupy:0"), network()
    x = backends.get("cupy:0").upload(X.astype(np.float32))
    with pytest.raises(fastbp.InputError, match="x is on GPU 0 and the network is on GPU 1; move both to one device"):
        net.feedforward(x)
    with pytest.raises(fastbp.InputError, match=r"weights\[0\] is on GPU 1 and x is on GPU 0; move both to one"):
        fastbp.backprop(net.weights, net.biases, x, Y)
    with pytest.raises(fastbp.InputError, match="on GPU 0 and the network is on GPU 1"):
        net.weights = here.weights


# Planted faults: a write, an expression or an upload that does not enter its device.

TENSOR = 'tensors[f"{prefix}weights.{l}"]'
FAULTS = {
    "parameters": (files, Plan, "array", "self.backend.assign(array, host)", "array[...] = self.backend.upload(host)"),
    "a model": (
        files, [parameter_tensors, models], "put_tensors", f"plan.backend.assign(w, {TENSOR})",
        f"w[...] = plan.backend.upload({TENSOR})",
    ),
    "an optimizer's state": (
        parts_of_a_training, parameters, "_zeros", "plan.backend.assign(array, 0.0)", "array[...] = 0.0",
    ),
    "the total cost": (
        parts_of_a_training, cupy_device.CuPy, "set_cost_total", "self.assign(total, host)",
        "total[...] = self.upload(host)",
    ),
    "a check of gradients": (
        gradient_check, gradients, "check_gradients", "with net._plan.backend.device_context():", "if True:",
    ),
    "an upload": (parts_of_a_training, cupy_device.CuPy, "upload", "self.device_context(), ", ""),
    "the benchmark": (benchmark, floor, "make_floor", "backend.assign(delta, 1e-3)", "delta[...] = 1e-3"),
    "a row of the check": (
        checks, kernel_checks, "put_matrix", "backend.assign(array, np.ascontiguousarray(host, dtype))",
        "array[...] = backend.upload(np.ascontiguousarray(host, dtype))",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_recorded(name, machine, monkeypatch, tmp_path):
    flow, owners, function, old, new = FAULTS[name]
    owners = owners if isinstance(owners, list) else [owners]
    source = textwrap.dedent(inspect.getsource(getattr(owners[0], function)))
    assert source.count(old) == 1
    module = inspect.getmodule(getattr(owners[0], function))
    scope = {}
    exec(compile(source.replace(old, new), "with_a_fault.py", "exec"), vars(module), scope)
    for owner in owners:
        monkeypatch.setattr(owner, function, scope[function])
    flow(tmp_path)
    assert machine.faults
