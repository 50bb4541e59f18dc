"""Devices of array libraries: every array of a network is on its device, and devices that are missing are named."""

import numpy as np
import pytest

import fastbp
from fastbp import backends
from fastbp.backends.array_api import ArrayAPI
from fastbp.estimators import MLPClassifier

RNG = np.random.default_rng(0)
X, Y = RNG.random((4, 24)), RNG.integers(0, 3, 24)
QUIET = {"epochs": 2, "mini_batch_size": 5, "progress": False}


def strict(name):
    """Return the backend for a device of array_api_strict, which refuses to combine arrays of two devices."""
    xp = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    return ArrayAPI(f"array_api_strict:{name}", xp, xp.Device(name))


def network(backend, dtype="float32"):
    return fastbp.Network([4, 3, 3], ["tanh", "softmax"], "log-likelihood", rng=0, backend=backend, dtype=dtype)


def arrays_of(thing):
    """Return all arrays in nested lists and tuples."""
    if isinstance(thing, (list, tuple)):
        return [array for part in thing for array in arrays_of(part)]
    return [] if isinstance(thing, (float, np.ndarray, np.generic)) else [thing]


def flows(net, folder):
    """Call the public functions; return the arrays that they return."""
    history = [net.weights, net.biases, net.feedforward(X), net.backprop(X, Y), list(net.trace(X, Y))]
    net.cost(X, Y), net.predict(X), net.accuracy(X, Y), net.score(X, Y)
    net.update_mini_batch(X, Y, 0.1)
    for options in ({"dropout": 0.3, "optimizer": "adam"}, {"lmbda": 0.1, "validation": 0.25, "patience": 1}):
        net.train(X, Y, **QUIET, **options)
    net.train(X.astype(np.float32), Y, **QUIET, sample_weight=np.ones(24), checkpoint=folder / "run")
    net.train(X.astype(np.float32), Y, **{**QUIET, "epochs": 3}, sample_weight=np.ones(24), checkpoint=folder / "run",
              resume=True)  # fmt: skip
    net.save(folder / "model")
    loaded = fastbp.load(folder / "model", backend=net._plan.backend)
    net.weights[0] = np.ones((3, 4))
    return arrays_of([history, loaded.weights, loaded.feedforward(X), net.weights, net.feedforward(net.feedforward(X))])


@pytest.mark.parametrize("name", ["CPU_DEVICE", "device1", "device2", "no_float64"])
def test_all_arrays_are_on_the_device_of_the_network(name, tmp_path):
    backend = strict(name)
    plan_dtype = "float32"
    net = fastbp.Network([4, 3, 4], rng=0, backend=backend, dtype=plan_dtype)
    found = flows(net, tmp_path)
    assert len(found) > 15
    assert {array.device for array in found} == {backend.device}
    host = net.to("numpy")
    assert np.isfinite(host.weights[0]).all()
    assert host.to(backend).weights[0].device == backend.device


@pytest.mark.parametrize("name", ["device1", "device2"])
def test_a_gradient_check_and_an_estimator_on_a_device(name):
    backend = strict(name)
    assert fastbp.check_gradients(network(backend, "float64"), X[:, :3], Y[:3]) < 1e-6
    estimator = MLPClassifier(3, max_iter=2, backend=backend, random_state=0, early_stopping=True)
    with pytest.warns(Warning, match="converge"):
        estimator.fit(X.T, Y)
    assert estimator.predict(X.T).shape == (24,)


def test_devices_give_the_bits_of_the_default_device():
    trained = [network(strict(name)) for name in ("CPU_DEVICE", "device1", "no_float64")]
    for net in trained:
        net.train(X, Y, **QUIET)
    first, *others = (net.to("numpy").weights for net in trained)
    for weights in others:
        for w, expected in zip(weights, first, strict=True):
            np.testing.assert_array_equal(w, expected)


def test_float64_is_refused_where_the_device_has_none():
    with pytest.raises(
        fastbp.InputError, match=r"dtype must be float32 with the backend 'array_api_strict:no_float64'"
    ):
        network(strict("no_float64"), "float64")


def test_arrays_of_another_device_are_refused():
    net = network(strict("device1"))
    x = strict("device2").upload(X.astype(np.float32))
    with pytest.raises(fastbp.InputError, match=r"x must have the device of the network, .*device1.*, got .*device2"):
        net.feedforward(x)


# PyTorch's devices.


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def test_the_cpu_as_a_named_device_gives_the_bits_of_torch(torch):
    named, plain = network("torch:cpu"), network("torch")
    for net in (named, plain):
        net.train(X, Y, **QUIET, optimizer="adam", dropout=0.2)
    assert all(torch.equal(a, b) for a, b in zip(named.weights, plain.weights, strict=True))
    assert (named.backend, named.weights[0].device.type) == ("torch:cpu", "cpu")
    assert backends.get("torch:cpu") is backends.get("torch:cpu")


def test_every_allocation_is_on_the_device(torch):
    """Arrays on PyTorch's device "meta" have no memory, so a copy to the host is impossible."""
    backend = backends.get("torch:meta")
    for array in (backend.empty((2, 3), "float32"), backend.upload(X), backend.new_cost_total(3, 5, "float32")):
        assert array.device.type == "meta"
    net = network("torch:meta")
    assert {w.device.type for w in (*net.weights, *net.biases)} == {"meta"}
    found = [net.feedforward(X), *net.backprop(X, Y)[1], *net.trace(X, Y).activations]
    assert {array.device.type for array in found} == {"meta"}


def test_a_device_that_is_missing(torch, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        fastbp.InputError, match=r"^backend 'torch:cuda' cannot be used: PyTorch \S+ finds no cuda device"
    ):
        network("torch:cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    message = r"^backend 'torch:cuda:7' cannot be used: the device does not exist; valid: torch:cuda:0, torch:cuda:1$"
    with pytest.raises(fastbp.InputError, match=message):
        network("torch:cuda:7")
    with pytest.raises(
        fastbp.InputError, match=r"^backend 'torch:abacus': .*; valid: torch:cpu, torch:cuda, torch:mps$"
    ):
        network("torch:abacus")


def test_without_pytorch_the_error_has_the_command(monkeypatch):
    monkeypatch.setattr("fastbp.backends.torch_devices.find_spec", lambda name: None)
    with pytest.raises(fastbp.InputError, match=r"^backend 'torch:cuda' cannot be used: PyTorch is not installed: pip"):
        network("torch:cuda")


@pytest.mark.parametrize(
    ("name", "meant"), [("gpu", "'cupy' .*'torch:mps'"), ("cuda", "'cupy', or"), ("cpu", "'numpy'")]
)
def test_names_of_other_libraries_get_a_hint(name, meant):
    with pytest.raises(fastbp.InputError, match=f"^unknown backend '{name}'; did you mean {meant}"):
        network(name)
