"""The choice of a backend: from the data, by an argument, with use_backend, from the environment."""

import numpy as np
import pytest

import fastbp
from fastbp import backends
from fastbp.backends.cupy.diagnosis import plain_unavailable_reason, unavailable_reason


def test_available_lists_every_backend_with_a_reason_if_it_cannot_be_used():
    reasons = backends.available()
    assert list(reasons) == ["numpy", "numpy-plain", "cupy", "cupy-plain", "torch", "array_api_strict"]
    assert reasons["numpy"] is None
    assert reasons["cupy"] == unavailable_reason()
    assert reasons["cupy-plain"] == plain_unavailable_reason()


def test_the_reason_for_a_missing_package_is_its_install_command(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert backends.available()["array_api_strict"] == "not installed: pip install array-api-strict"
    assert backends.available()["torch"] == "not installed: pip install torch"


def test_the_argument_overrides_use_backend_and_that_the_environment(monkeypatch):
    monkeypatch.setenv("FASTBP_BACKEND", "array_api_strict")
    assert fastbp.Network([2, 2]).backend == "array_api_strict"
    with fastbp.use_backend("numpy-plain") as chosen:
        assert chosen.name == "numpy-plain"
        assert fastbp.Network([2, 2]).backend == "numpy-plain"
        assert fastbp.Network([2, 2], backend="numpy").backend == "numpy"
    monkeypatch.delenv("FASTBP_BACKEND")
    assert fastbp.Network([2, 2]).backend == "numpy"


def test_use_backend_ends_with_its_block_after_an_exception():
    with pytest.raises(ZeroDivisionError), fastbp.use_backend("numpy-plain"):
        raise ZeroDivisionError
    assert backends.get().name == "numpy"


def test_an_array_namespace_can_be_passed():
    import array_api_strict

    assert fastbp.Network([2, 2], backend=array_api_strict).backend == "array_api_strict"
    assert fastbp.Network([2, 2], backend=np).backend == "numpy"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("nunpy", "unknown backend 'nunpy'; did you mean 'numpy'"),
        (3, "unknown backend '3'; valid: numpy"),
        (["numpy"], r"unknown backend \"\['numpy'\]\"; "),
        (pytest, "'pytest' is not an array API namespace; valid backends: numpy"),
    ],
)
def test_unknown_backends_are_refused(choice, message):
    with pytest.raises(fastbp.InputError, match=message):
        fastbp.Network([2, 2], backend=choice)


def test_a_namespace_without_writable_arrays_is_refused():
    from fastbp.backends.array_api import ArrayAPI

    class Frozen:
        float32 = "float32"

        @staticmethod
        def empty(shape, dtype, device):
            return ()  # a tuple cannot be written to

    with pytest.raises(fastbp.InputError, match="its arrays cannot be written to"):
        ArrayAPI("frozen", Frozen)


def test_parameters_and_results_are_arrays_of_the_backend(backend):
    kind = backends.get(backend).kind
    net = fastbp.Network([3, 4, 2], backend=backend, rng=0)
    x, y = np.ones((3, 2)), np.array([0, 1])
    trace = net.trace(x, y)
    arrays = [*net.weights, *net.biases, net.feedforward(x), *trace.zs, *trace.activation_gradients, *trace.nabla_w]
    assert {backends.kind(a) for a in arrays} == {kind}
    assert isinstance(net.predict(x), np.ndarray)


def test_data_may_be_numpy_arrays_or_arrays_of_the_backend(backend):
    xp = backends.get(backend).xp
    host = np.random.default_rng(0).random((3, 6)).astype(np.float32)
    labels = np.array([0, 1, 0, 1, 1, 0])
    nets = [fastbp.Network([3, 4, 2], backend=backend, rng=0) for _ in range(2)]
    for net, x, y in zip(nets, (host, xp.asarray(host)), (labels, xp.asarray(labels)), strict=True):
        net.train(x, y, epochs=2, mini_batch_size=4, validation=(x, y), progress=False)
    for a, b in zip(nets[0].weights, nets[1].weights, strict=True):
        np.testing.assert_array_equal(backends.get(backend).to_host(a), backends.get(backend).to_host(b))
    assert nets[0].accuracy(host, labels) == nets[1].accuracy(xp.asarray(host), xp.asarray(labels))


def test_every_backend_trains_to_the_same_parameters(backend):
    x, y = np.random.default_rng(0).random((5, 23)), np.arange(23) % 3
    results = []
    for name in ("numpy", backend):
        net = fastbp.Network([5, 4, 3], ["tanh", "softmax"], "log-likelihood", dtype="float64", backend=name, rng=3)
        net.train(x, y, epochs=3, mini_batch_size=5, eta=0.3, lmbda=0.5, progress=False)
        results.append(net.to("numpy").weights)
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_uint8_data_train_like_the_same_values_in_float(backend):
    pixels = np.random.default_rng(0).integers(0, 3, (4, 12)).astype(np.uint8)
    results = []
    for x in (pixels, pixels.astype(np.float32), np.asfortranarray(pixels)):
        net = fastbp.Network([4, 3, 2], backend=backend, rng=0)
        net.train(x, np.arange(12) % 2, epochs=2, mini_batch_size=5, eta=0.1, progress=False)
        results.append([*net.to("numpy").weights, net.cost(x, np.arange(12) % 2)])
    for first, *others in zip(*results, strict=True):
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_backprop_uses_the_array_module_of_the_data(backend):
    xp = backends.get(backend).xp
    rng = np.random.default_rng(0)
    arrays = [xp.asarray(rng.random(shape)) for shape in ((2, 3), (2, 1), (3, 4), (2, 4))]
    with fastbp.use_backend(backend if backend.startswith("numpy") else "numpy-plain"):
        nabla_b, nabla_w = fastbp.backprop([arrays[0]], [arrays[1]], arrays[2], arrays[3])
    assert type(nabla_w[0]) is type(arrays[0])
    assert tuple(nabla_b[0].shape) == (2, 1)


def test_to_moves_a_network_and_its_generator(backend):
    net = fastbp.Network([3, 4, 2], rng=5)
    moved = net.to(backend)
    x, y = np.random.default_rng(0).random((3, 9)), np.arange(9) % 2
    for each in (net, moved):
        each.train(x, y, epochs=1, mini_batch_size=2, progress=False)
    for a, b in zip(net.weights, moved.to("numpy").weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
