"""Uses of all public functions on the second of two GPUs, while the first is the current one.

`test_two_gpus.py` runs them on a stand-in, and `tools/stub_cupy` with CuPy on stub functions of CUDA.
"""

import inspect
import textwrap

import numpy as np
import pytest

import fastbp
from fastbp import backends, gradients, parameters
from fastbp.backends.array_kinds import device_of
from fastbp.backends.cupy import device as cupy_device
from fastbp.bench import floor
from fastbp.estimators import MLPClassifier, MLPRegressor
from fastbp.files import models, parameter_tensors
from fastbp.operations import Plan

RNG = np.random.default_rng(0)
X, Y = RNG.random((4, 24)), RNG.integers(0, 3, 24)
QUIET = {"epochs": 2, "mini_batch_size": 3, "progress": False}


def network(dtype="float32"):
    return fastbp.Network([4, 3, 3], rng=0, backend="cupy:1", dtype=dtype)


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
    assert device_of(fastbp.backprop(net.weights, [], x_in_rows, y)[1][0]) == 1


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


def files(folder):
    network().save(folder / "model")
    fastbp.load(folder / "model", backend="cupy:1").feedforward(X)


def moves(folder):
    net = fastbp.Network([4, 3, 3], rng=0).to("cupy:1")
    net.to("numpy"), net.to(dtype="float64"), net.to("cupy:1").train(X, Y, **QUIET)


def estimators(folder, backend="cupy:1"):
    options = {"hidden_layer_sizes": 3, "max_iter": 2, "batch_size": 3, "backend": backend, "random_state": 0}
    with pytest.warns(Warning, match="converge"):
        found = MLPClassifier(**options, early_stopping=True).fit(X.T, Y)
    found.predict(X.T), found.predict_proba(X.T), found.score(X.T, Y)
    MLPClassifier(**options).partial_fit(X.T, Y, classes=[0, 1, 2]).partial_fit(X.T, Y)
    with pytest.warns(Warning, match="converge"):
        MLPRegressor(**options, solver="sgd", momentum=0.5).fit(X.T, X[0]).predict(X.T)


def benchmark(folder):
    floor.make_floor(backends.get("cupy:1"), (4, 3, 3), "float32", RNG.integers(0, 255, (7, 4), np.uint8), 3)()


def parts_of_a_training(folder):
    net = network()
    backend = net._plan.backend
    parameters.new_optimizer_state(net._plan)
    backend.set_cost_total(backend.new_cost_total(3, 3, "float32"), 0.0)
    backend.upload(X)


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
]

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
}  # fmt: skip
"""Faults, each of which is a write, an expression or an upload that does not enter its device: a use that meets it, the
owners of a function, the function, and what in it is replaced by what."""


def plant(monkeypatch, owners, function, old, new):
    """Replace a part of a function that belongs to one or more modules or classes."""
    owners = owners if isinstance(owners, list) else [owners]
    source = textwrap.dedent(inspect.getsource(getattr(owners[0], function)))
    assert source.count(old) == 1
    module = inspect.getmodule(getattr(owners[0], function))
    scope = {}
    exec(compile(source.replace(old, new), "with_a_fault.py", "exec"), vars(module), scope)
    for owner in owners:
        monkeypatch.setattr(owner, function, scope[function])
