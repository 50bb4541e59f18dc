"""Options of training, against loops over examples: momentum, L2, weights, schedules, validation, patience."""

import numpy as np
import pytest

import fastbp
import reference
from fastbp import schedules

NAMES = ["tanh", "sigmoid"]
N, M = 11, 4  # mini-batches of 4, 4 and 3


@pytest.fixture
def data():
    rng = np.random.default_rng(5)
    return rng.random((3, N)), rng.integers(0, 2, N)


def network(backend="numpy", **options):
    return fastbp.Network([3, 4, 2], NAMES, dtype="float64", backend=backend, rng=1, **options)


def loop(x, y, epochs, etas, lmbda=0.0, momentum=0.0, s=None):
    """Train by chapter 3 of the book, example by example, from the same start in the same orders; return costs too."""
    net = network()
    weights, biases, rng = [w.copy() for w in net.weights], [b.copy() for b in net.biases], net._rng
    targets = np.eye(2)[y].T
    v_w, v_b = [0 * w for w in weights], [0 * b for b in biases]
    s = np.ones(N) if s is None else s
    costs = []
    for eta in etas[:epochs]:
        order, total = rng.permutation(N), 0.0
        for start in range(0, N, M):
            batch = order[start : start + M]
            nabla_w, nabla_b = [0 * w for w in weights], [0 * b for b in biases]
            for i in batch:
                total += s[i] * reference.cost(weights, biases, x[:, i], targets[:, i], NAMES, "quadratic")
                one_b, one_w = reference.backprop(weights, biases, x[:, i], targets[:, i], NAMES, "quadratic")
                nabla_w = [a + s[i] * b for a, b in zip(nabla_w, one_w, strict=True)]
                nabla_b = [a + s[i] * b for a, b in zip(nabla_b, one_b, strict=True)]
            for w, v, nabla in zip(weights, v_w, nabla_w, strict=True):
                v[...] = momentum * v - eta * (nabla / len(batch) + lmbda / N * w)
                w += v
            for b, v, nabla in zip(biases, v_b, nabla_b, strict=True):
                v[...] = momentum * v - eta * nabla / len(batch)
                b += v
        costs.append(total / N)
    return [*weights, *biases], costs


def assert_same(net, expected):
    for ours, theirs in zip([*net.to("numpy").weights, *net.to("numpy").biases], expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11)


@pytest.mark.parametrize("lmbda", [0.0, 0.3])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_momentum_and_l2(data, backend, momentum, lmbda):
    net = network(backend)
    history = net.train(*data, epochs=3, mini_batch_size=M, eta=0.5, lmbda=lmbda, momentum=momentum, progress=False)
    expected, costs = loop(*data, 3, [0.5] * 3, lmbda, momentum)
    assert_same(net, expected)
    np.testing.assert_allclose(history.cost, costs, rtol=1e-11)


def test_sample_weights(data, backend):
    weights = np.linspace(0, 2, N)
    net = network(backend)
    history = net.train(*data, epochs=2, mini_batch_size=M, eta=0.5, sample_weight=weights, progress=False)
    expected, costs = loop(*data, 2, [0.5] * 2, s=weights)
    assert_same(net, expected)
    np.testing.assert_allclose(history.cost, costs, rtol=1e-11)


@pytest.mark.parametrize("output", [("sigmoid", "cross-entropy"), ("softmax", "log-likelihood")])
def test_a_weight_of_two_equals_the_example_twice(data, output, backend):
    x, y = data[0][:, :3], data[1][:3]
    net, twice = (fastbp.Network([3, 2], *output, dtype="float64", rng=1, backend=backend) for _ in range(2))
    net.train(x, y, epochs=1, mini_batch_size=3, eta=0.4, sample_weight=[1, 2, 1], progress=False)
    repeated = [0, 1, 1, 2]
    twice.train(x[:, repeated], y[repeated], epochs=1, mini_batch_size=4, eta=0.4 * 4 / 3, progress=False)
    for a, b in zip(net.to("numpy").weights, twice.to("numpy").weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("targets", ["labels", "columns"])
def test_class_weights_equal_weights_of_the_examples(data, targets):
    x, y = data
    given = y if targets == "labels" else np.eye(2)[y].T
    count = np.bincount(y)
    for class_weight, each in (({1: 3.0}, np.array([1.0, 3.0])), ("balanced", N / (2 * count))):
        nets = [network(), network()]
        nets[0].train(x, given, epochs=2, mini_batch_size=M, class_weight=class_weight, progress=False)
        nets[1].train(x, given, epochs=2, mini_batch_size=M, sample_weight=each[y], progress=False)
        assert_same(nets[0], [*nets[1].weights, *nets[1].biases])


def test_a_schedule_sets_eta_in_each_epoch(data):
    for schedule, etas in (
        (schedules.Step(0.8, every=2, factor=0.25), [0.8, 0.8, 0.2, 0.2]),
        (schedules.Cosine(0.8), [schedules.Cosine(0.8)(epoch, 4) for epoch in (1, 2, 3, 4)]),
        (lambda epoch, epochs: 0.8 / epoch, [0.8, 0.4, 0.8 / 3, 0.2]),
    ):
        net = network()
        net.train(*data, epochs=4, mini_batch_size=M, eta=schedule, progress=False)
        assert_same(net, loop(*data, 4, etas)[0])


def test_a_held_out_fraction_is_stratified_and_not_trained_on():
    rng = np.random.default_rng(0)
    x, y = rng.random((3, 100)), np.repeat([0, 1], [80, 20])
    seen = []
    net = network()
    history = net.train(x, y, epochs=2, validation=0.2, callback=seen.append, progress=False)
    assert len(history.validation_accuracy) == 2
    from fastbp.datasets.inputs import hold_out

    chosen, held = hold_out(0.2, y, 100, np.random.default_rng(1))
    assert np.bincount(y[held]).tolist() == [16, 4]
    assert sorted([*chosen, *held]) == list(range(100))
    poisoned = network()  # held-out examples may have any value, since training does not use them
    _, held = hold_out(0.2, y, 100, _rng_after_parameters())
    moved = x.copy()
    moved[:, held] = 77.0
    poisoned.train(moved, y, epochs=2, validation=0.2, progress=False)
    assert_same(net, [*poisoned.weights, *poisoned.biases])


def _rng_after_parameters():
    return network()._rng


def test_patience_ends_training_and_restores_the_best_parameters(backend):
    """The validation accuracy is best early on, since its labels are the opposite of the training labels."""
    rng = np.random.default_rng(0)
    x, y = rng.random((3, 60)), (rng.random(60) > 0.5).astype(int)
    net = network(backend)
    kept = []
    history = net.train(
        x,
        y,
        epochs=200,
        mini_batch_size=5,
        eta=2.0,
        validation=(x, 1 - y),
        patience=4,
        callback=lambda epoch: kept.append(net.to("numpy").weights),
        progress=False,
    )
    assert len(history.cost) == history.best_epoch + 4 < 200
    assert history.validation_accuracy[history.best_epoch - 1] == max(history.validation_accuracy)
    assert net.accuracy(x, 1 - y) == max(history.validation_accuracy)
    for a, b in zip(net.to("numpy").weights, kept[history.best_epoch - 1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_patience_without_classes_monitors_the_cost():
    rng = np.random.default_rng(0)
    x, y = rng.random((3, 40)), rng.random((2, 40))
    net = fastbp.Network([3, 2], "identity", rng=0)
    history = net.train(x, y, epochs=50, eta=1.2, validation=(x, 1 - y), patience=3, progress=False)
    assert history.validation_cost[history.best_epoch - 1] == min(history.validation_cost)
    assert net.cost(x, 1 - y) == pytest.approx(min(history.validation_cost), rel=1e-6)


def test_input_scale_multiplies_every_input(backend):
    pixels = np.random.default_rng(0).integers(0, 256, (3, N)).astype(np.uint8)
    y = np.arange(N) % 2
    net, plain = network(backend, input_scale=1 / 255), network(backend)
    assert net.input_scale == 1 / 255
    for each, x in ((net, pixels), (plain, pixels / 255)):
        each.train(x, y, epochs=2, mini_batch_size=M, validation=(x, y), progress=False)
    assert_same(net, [*plain.to("numpy").weights, *plain.to("numpy").biases])
    assert net.cost(pixels, y) == pytest.approx(plain.cost(pixels / 255, y))
    np.testing.assert_array_equal(net.predict(pixels), plain.predict(pixels / 255))
    for a, b in zip(net.backprop(pixels, y)[1], plain.backprop(pixels / 255, y)[1], strict=True):
        np.testing.assert_allclose(net.to("numpy")._plan.backend.to_host(np.asarray(a)), np.asarray(b), rtol=1e-11)
    assert fastbp.check_gradients(net, pixels, y) < 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, got 1.0"),
        ({"momentum": -0.1}, "momentum must be at least 0 and below 1, got -0.1"),
        ({"momentum": "high"}, "momentum must be at least 0 and below 1, got 'high'"),
        ({"patience": 0, "validation": 0.5}, "patience must be an integer >= 1, got 0"),
        ({"patience": 3}, "patience needs validation data; pass validation"),
        ({"validation": 0.0}, "validation must be between 0 and 1, got 0.0"),
        ({"validation": 1.5}, "validation must be between 0 and 1, got 1.5"),
        ({"validation": 0.01}, "validation must hold out at least one of 11 examples, .*, got 0.01"),
        ({"validation": 0.5, "mini_batch_size": 8}, "mini_batch_size must be an integer from 1 to .*, got 8"),
        ({"sample_weight": np.ones(10)}, r"sample_weight must have shape \(11,\), one weight per example, got \(10,\)"),
        ({"sample_weight": -np.ones(11)}, "sample_weight must be finite and not negative, got -1"),
        ({"sample_weight": np.zeros(11)}, "sample_weight must be positive for at least one example, got only zeros"),
        ({"sample_weight": np.full(11, np.nan)}, "sample_weight must be finite and not negative, got nan"),
        ({"class_weight": "balance"}, "class_weight must be 'balanced' or a dict of classes .*, got 'balance'"),
        ({"class_weight": {2: 1.0}}, "class_weight has the class 2; the classes are the integers from 0 to 1"),
        ({"class_weight": {0: "heavy"}}, r"class_weight\[0\] must be a number >= 0, got 'heavy'"),
        ({"eta": lambda epoch, epochs: -1.0}, "eta must be a positive number, got -1.0 from the schedule"),
        ({"eta": schedules.Cosine}, r"eta must be a number or a schedule, got the class Cosine; pass Cosine\(3.0\)"),
    ],
)
def test_bad_options_change_neither_parameters_nor_generator(options, message, data):
    net = network()
    kept, state = net.weights[0].copy(), net._rng.bit_generator.state
    with pytest.raises(fastbp.InputError, match=message):
        net.train(*data, **{"epochs": 2, "mini_batch_size": M, "progress": False, **options})
    np.testing.assert_array_equal(net.weights[0], kept)
    assert net._rng.bit_generator.state == state


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"sample_weight": [1.0] * 7 + [1e300] * 4}, r"sample_weight must be 0, or from .*, got 1e\+300 \(example 7\)"),
        ({"sample_weight": [1e-60] * N}, r"must be 0, or from 1.18e-38 to 3.4e\+38 .* in float32, got 1e-60"),
        ({"sample_weight": [1e-40] * N}, r"sample_weight must be 0, .*, got 1e-40 \(example 0\)"),  # a subnormal
        ({"class_weight": {0: 1e300, 1: 1e300}}, r"class_weight must be 0, .*, got 1e\+300 \(example 0\)"),
        (
            {"sample_weight": [1e30] * N, "class_weight": {0: 1e30, 1: 1e30}},
            "sample_weight times class_weight must be 0, .*, got 1e.60",
        ),
        (
            {"sample_weight": [1e200] * N, "class_weight": {0: 1e200, 1: 1e200}},
            "sample_weight times class_weight must be finite and not negative, got inf",
        ),
    ],
)
def test_weights_outside_the_range_of_the_dtype_are_refused(weights, message, data):
    net = fastbp.Network([3, 4, 2], rng=0)
    with pytest.raises(fastbp.InputError, match=message):
        net.train(data[0], np.arange(N) % 2, epochs=1, mini_batch_size=M, progress=False, **weights)


def test_class_weights_need_classes(data):
    net = network()
    with pytest.raises(fastbp.InputError, match="class_weight needs targets that are classes"):
        net.train(data[0], np.full((2, N), 0.5), class_weight="balanced", progress=False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.Step(0.0), "eta must be a positive number, got 0.0"),
        (lambda: schedules.Step(1.0, every=0), "'every' must be an integer >= 1, got 0"),
        (lambda: schedules.Step(1.0, factor=-1), "'factor' must be a positive number, got -1"),
        (lambda: schedules.Cosine(float("nan")), "eta must be a positive number, got nan"),
        (lambda: fastbp.Network([2, 2], input_scale=0), "input_scale must be a positive number, got 0"),
    ],
)
def test_invalid_schedules_and_input_scales(make, message):
    with pytest.raises(fastbp.InputError, match=message):
        make()
