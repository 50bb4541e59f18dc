"""The CUDA backend without a GPU: a stand-in for the device runs everything except the calls of CuPy."""

from itertools import chain, count
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")

from gpu_stand_in import StandIn
from training_cases import CASES, assert_trained_alike, case_data, trained

import fastbp
from fastbp.backends.cupy.replay import replay_at_most
from fastbp.optimizers import Adam

pytestmark = pytest.mark.cuda


def test_an_epoch_on_digits_gives_the_parameters_of_the_cpu():
    (x, labels), (x_test, labels_test) = fastbp.datasets.digits()
    x, x_test = (16 * x).astype(np.uint8), (16 * x_test).astype(np.uint8)  # converted to float when gathered
    options = {"input_scale": 1 / 16}
    cpu, expected = trained("numpy", x, labels, [64, 30, 10], options, "float32")
    gpu, got = trained(StandIn(), x, labels, [64, 30, 10], options, "float32")
    for here, there in zip([*gpu.weights, *gpu.biases], [*cpu.weights, *cpu.biases], strict=True):
        np.testing.assert_allclose(here, there, rtol=0, atol=2e-5)
    assert got.cost[0] == pytest.approx(expected.cost[0], rel=1e-5)
    assert gpu.accuracy(x_test, labels_test) == pytest.approx(cpu.accuracy(x_test, labels_test), abs=0.01)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 2e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("case", CASES)
def test_networks_of_every_kind_train_as_on_the_cpu(case, dtype, bound, rng):
    sizes, options, training = CASES[case]
    x, y = case_data(rng, sizes)
    for m in (20, 1) if case == "three activations" else (20,):  # 53 is 20 + 20 + 13: a short last batch
        how = {"epochs": 2, "mini_batch_size": m, "eta": 0.3, **training}
        assert_trained_alike(StandIn(), x, y, sizes, options, dtype, bound, **how)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-13)])
def test_gradients_traces_and_outputs_equal_the_cpus(dtype, bound, rng):
    x, y = rng.random((5, 40)), rng.random((3, 40))
    make = lambda backend: fastbp.Network([5, 4, 3], ["tanh", "sigmoid"], dtype=dtype, backend=backend, rng=1)
    gpu, cpu = make(StandIn()), make("numpy")
    lists = lambda net: [*net.backprop(x, y), [net.feedforward(x)], *net.trace(x, y)]
    for here, there in zip(chain(*lists(gpu)), chain(*lists(cpu)), strict=True):
        np.testing.assert_allclose(here, there, rtol=bound, atol=bound)
    assert gpu.cost(x, y) == pytest.approx(cpu.cost(x, y), rel=bound)


def test_gradients_agree_with_finite_differences(rng):
    net = fastbp.Network(
        [4, 5, 3], ["softplus", "softmax"], "log-likelihood", dtype="float64", backend=StandIn(), rng=0
    )
    assert fastbp.check_gradients(net, rng.random((4, 7)), rng.integers(0, 3, 7)) < 1e-6


def launches_of_a_step(options, **training):
    """Return the device calls of one step: the difference between two epochs, one of which has one step more."""
    calls = []
    for n in (20, 30):
        backend = StandIn()
        x, y = np.random.default_rng(0).random((6, n)), np.zeros(n, np.int64)
        net = fastbp.Network([6, 5, 4, 3], backend=backend, rng=0, **options)
        backend.device.calls.clear()
        with replay_at_most("eager"):
            net.train(x, y, epochs=1, mini_batch_size=10, progress=False, **training)
        calls.append(list(backend.device.calls))
    fewer, more = calls
    return sorted(set(more)), {what: more.count(what) - fewer.count(what) for what in set(more)}


def test_the_launches_of_a_step(monkeypatch):
    """6 L + 2 for L layers with biases; they are listed in `docs/cuda.md`."""
    # With a clock that advances a microsecond per call, both epochs wait for the device twice.
    ticks = count()
    monkeypatch.setattr("fastbp.training.loop.time", SimpleNamespace(perf_counter=lambda: 1e-6 * next(ticks)))
    _, step = launches_of_a_step({})
    assert {what: times for what, times in step.items() if times} == {
        "gather": 2,
        "gemm": 3 + 2 + 3,
        "activate": 3,
        "output_error": 1,
        "hadamard": 2,
        "add_column_sums": 3,
        "add_cost": 1,
    }
    _, step = launches_of_a_step({"bias": False})
    assert "add_column_sums" not in step
    _, step = launches_of_a_step({}, optimizer=Adam())
    assert step["optimizer_step"] == 6


def test_a_step_does_not_allocate_transfer_or_wait():
    """Between the first launch of an epoch and its last, there are only launches."""
    backend = StandIn()
    x, y = np.random.default_rng(0).random((6, 47)), np.zeros(47, np.int64)
    net = fastbp.Network([6, 5, 3], backend=backend, rng=0)
    net.train(x, y, epochs=1, mini_batch_size=47, progress=False)
    backend.device.calls.clear()
    memory, totals = backend.new_cost_total, []
    backend.new_cost_total = lambda *shape: totals.append(memory(*shape)) or totals[-1]
    net.train(x, y, epochs=1, mini_batch_size=5, progress=False)
    calls = backend.device.calls
    first = calls.index("gather")
    last = len(calls) - calls[::-1].index("add_cost")
    between = set(calls[first:last]) - {"synchronize"}  # after each group of steps; the first group is one step
    assert not between & {"memory", "upload", "download"}
    assert calls[last:].count("download") <= 2 + len(net.weights) + len(net.biases)


def test_data_are_uploaded_once(monkeypatch):
    backend = StandIn()
    uploaded = []
    upload = backend.device.upload
    monkeypatch.setattr(backend.device, "upload", lambda host: uploaded.append(host.nbytes) or upload(host))
    x, y = np.zeros((50, 1000), np.uint8), np.zeros(1000, np.int64)
    fastbp.Network([50, 3], backend=backend, rng=0).train(x, y, epochs=3, mini_batch_size=100, progress=False)
    assert uploaded.count(x.nbytes) == 1  # as bytes
    assert uploaded.count(1000 * 8) == 3  # the order of each epoch


def test_networks_models_and_checkpoints_move_between_devices(tmp_path, rng):
    x, y = rng.random((6, 40)), rng.integers(0, 3, 40)
    train = {"mini_batch_size": 8, "eta": 0.5, "checkpoint": tmp_path / "state", "resume": True, "progress": False}
    whole = fastbp.Network([6, 5, 3], dtype="float64", backend="numpy", rng=0)
    net = whole.to(StandIn())
    whole.train(x, y, epochs=4, mini_batch_size=8, eta=0.5, progress=False)
    net.train(x, y, epochs=2, **train)
    net.save(tmp_path / "model")
    loaded = fastbp.load(tmp_path / "model", backend="numpy")
    np.testing.assert_array_equal(loaded.feedforward(x), net.to("numpy").feedforward(x))
    onward = fastbp.Network([6, 5, 3], dtype="float64", backend="numpy", rng=0)
    history = onward.train(x, y, epochs=4, **train)
    assert len(history.cost) == 4
    for here, there in zip([*onward.weights, *onward.biases], [*whole.weights, *whole.biases], strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_activation_that_cannot_be_compiled_is_named_in_one_line(dtype):
    def f(z):
        return z.no_such_thing

    def prime(z, a):
        return a

    net = fastbp.Network([2, 1], fastbp.Activation("odd", f, prime), dtype=dtype, backend=StandIn())
    with pytest.raises(fastbp.InputError, match=r"activation 'odd': .*cannot be compiled: ") as caught:
        net.feedforward([0.0, 1.0])
    assert "\n" not in str(caught.value)
