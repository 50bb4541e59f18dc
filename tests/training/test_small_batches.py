"""Calls on a few columns: the same results as in general, always for the present parameters and formulas.

The judges are the backend `numpy-plain`, which has no small batches, and equations (1) to (BP4) written out in NumPy.
"""

import copy
import os
import pickle
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp import Activation
from fastbp.training import small_batches
from fastbp_kernels.compile_events import on_compile

TOLERANCE = {"float32": {"rtol": 2e-5, "atol": 2e-5}, "float64": {"rtol": 1e-12, "atol": 1e-12}}
OUTPUTS = [
    ("sigmoid", "quadratic"),
    ("sigmoid", "cross-entropy"),
    ("softmax", "log-likelihood"),
    ("tanh", "sum-squared"),
]


def plain_outputs(net, x):
    """Compute equations (1) and (2) for sigmoids, from the present parameters."""
    for w, b in zip(net.weights, net.biases, strict=True):
        x = 1 / (1 + np.exp(-(w.astype(np.float64) @ x + b)))
    return x


@pytest.fixture
def net():
    return fastbp.Network([6, 5, 3], dtype="float64", rng=0)


@pytest.fixture
def x():
    return np.random.default_rng(1).random((6, 4))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_calls_agree_with_plain_numpy(data):
    draw = data.draw
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=6))
    dtype, bias = draw(st.sampled_from(["float32", "float64"])), draw(st.booleans())
    last, cost = draw(st.sampled_from(OUTPUTS))
    hidden = draw(
        st.lists(
            st.sampled_from(["sigmoid", "tanh", "relu", "softplus"]), min_size=len(sizes) - 2, max_size=len(sizes) - 2
        )
    )
    options = {"bias": bias, "dtype": dtype, "rng": 0, "input_scale": draw(st.sampled_from([1.0, 0.25]))}
    fast = fastbp.Network(sizes, [*hidden, last], cost, **options)
    plain = fastbp.Network(sizes, [*hidden, last], cost, backend="numpy-plain", **options)
    rng, m = np.random.default_rng(draw(st.integers(0, 99))), draw(st.integers(1, 12))
    x = np.asarray(
        rng.random((sizes[0], m)), draw(st.sampled_from(["f", "d", ">f4"])), order=draw(st.sampled_from("CF"))
    )
    y = (
        np.eye(sizes[-1])[:, rng.integers(0, sizes[-1], m)]
        if draw(st.booleans()) or sizes[-1] == 1
        else rng.integers(0, sizes[-1], m)
    )
    for _ in range(2):
        np.testing.assert_allclose(fast.feedforward(x), plain.feedforward(x), **TOLERANCE[dtype])
        np.testing.assert_allclose(fast.cost(x, y), plain.cost(x, y), **TOLERANCE[dtype])
        for ours, theirs in zip(fast.backprop(x, y), plain.backprop(x, y), strict=True):
            for nabla, expected in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(nabla, expected, **TOLERANCE[dtype])
        found = fastbp.backprop(
            fast.weights, fast.biases, x * options["input_scale"], y, activations=[*hidden, last], cost=cost
        )
        for nabla, expected in zip(
            (*found[0], *found[1]), (lambda g: (*g[0], *g[1]))(plain.backprop(x, y)), strict=True
        ):
            np.testing.assert_allclose(nabla, expected, **TOLERANCE[dtype])
        for each in (fast, plain):
            each.update_mini_batch(x, y, 0.125)


def test_results_are_not_overwritten_by_later_calls(net, x):
    first, gradient = net.feedforward(x), net.backprop(x, [0, 1, 2, 0])
    kept = first.copy(), [nabla.copy() for nabla in gradient[1]]
    net.feedforward(1 - x)
    net.backprop(1 - x, [0, 1, 2, 0])
    np.testing.assert_array_equal(first, kept[0])
    for nabla, before in zip(gradient[1], kept[1], strict=True):
        np.testing.assert_array_equal(nabla, before)


@pytest.mark.parametrize("how", ["assigned", "an item assigned", "in place", "appended and popped", "trained"])
def test_changed_parameters_are_used(net, x, how):
    net.feedforward(x)
    net.backprop(x, [0, 1, 2, 0])
    if how == "assigned":
        net.weights = [2 * w for w in net.weights]
    elif how == "an item assigned":
        net.weights[0] = 2 * net.weights[0]
        net.biases[1] = net.biases[1] - 1
    elif how == "in place":
        net.weights[1] *= 3
        net.biases[0][2] = 7
    elif how == "appended and popped":
        net.weights.insert(0, 2 * net.weights[0])
        net.weights.pop(1)
    else:
        net.train(x, [0, 1, 2, 0], epochs=1, mini_batch_size=2, progress=False)
    np.testing.assert_allclose(net.feedforward(x), plain_outputs(net, x), rtol=1e-12)
    fresh = fastbp.backprop(net.weights, net.biases, x, np.array([0, 1, 2, 0]))
    for ours, theirs in zip(net.backprop(x, np.array([0, 1, 2, 0])), fresh, strict=True):
        for nabla, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(nabla, expected, rtol=1e-12)


def test_backprop_uses_the_parameters_of_each_call(x):
    nets = [fastbp.Network([6, 5, 3], dtype="float64", rng=seed) for seed in (0, 1)]
    y = np.eye(3)[:, [0, 1, 2, 0]]
    for _ in range(2):
        for net in nets:
            expected = net.to("numpy-plain").backprop(x, y)
            for nabla, other in zip(fastbp.backprop(net.weights, net.biases, x, y)[1], expected[1], strict=True):
                np.testing.assert_allclose(nabla, other, rtol=1e-11)


@pytest.mark.parametrize(
    "y", [[2], np.array([2]), [0.0, 0.0, 1.0], np.array([0.0, 0.0, 1.0]), np.array([[0.0], [0.0], [1.0]])]
)
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_one_column(net, y, shape):
    x = np.linspace(0, 1, 6).reshape(shape)
    plain = net.to("numpy-plain")
    assert net.feedforward(x).shape == plain.feedforward(x).shape
    np.testing.assert_allclose(net.feedforward(x), plain.feedforward(x), rtol=1e-12)
    assert net.cost(x, y) == pytest.approx(plain.cost(x, y), rel=1e-12)
    for ours, theirs in zip(net.backprop(x, y)[1], plain.backprop(x, y)[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11)


def test_the_backend_is_that_of_each_call(net, x):
    y = np.array([0, 1, 2, 0])
    compiled = fastbp.backprop(net.weights, net.biases, x, y)
    with fastbp.use_backend("numpy-plain"):
        plain = fastbp.backprop(net.weights, net.biases, x, y)
    for ours, theirs in zip(compiled[1], plain[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
        assert ours is not theirs


def test_an_edited_formula_is_used_by_new_networks(x):
    """A cell of a notebook is edited and run again, or only a constant that the formula reads is changed."""
    cell = "def f(z):\n    return SLOPE * z\ndef prime(z, a):\n    return SLOPE + 0.0 * a\n"
    module = types.ModuleType("cell")
    for slope, again in ((2.0, True), (3.0, True), (4.0, False)):
        module.SLOPE = slope
        if again:
            exec(compile(cell, "cell", "exec"), vars(module))
        own = Activation("own", module.f, module.prime)
        net = fastbp.Network([6, 3], own, bias=False, dtype="float64", rng=0)
        np.testing.assert_allclose(net.feedforward(x), slope * (net.weights[0] @ x), rtol=1e-12)
        nabla = fastbp.backprop(net.weights, [], x, np.zeros((3, 4)), activations=own)[1][0]
        np.testing.assert_allclose(nabla, slope * slope * (net.weights[0] @ x) @ x.T, rtol=1e-12)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)), lambda net: net.to()]
)
def test_copies_compute_with_their_own_parameters(net, x, duplicate):
    net.feedforward(x)
    other = duplicate(net)
    np.testing.assert_array_equal(other.feedforward(x), net.feedforward(x))
    other.weights = [-w for w in other.weights]
    np.testing.assert_allclose(other.feedforward(x), plain_outputs(other, x), rtol=1e-12)
    np.testing.assert_allclose(net.feedforward(x), plain_outputs(net, x), rtol=1e-12)


def test_a_pickle_does_not_contain_the_small_batches(net, x):
    before = pickle.dumps(net)
    net.feedforward(x)
    assert len(pickle.dumps(net)) == len(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_computes_with_its_own_parameters(net, x):
    net.feedforward(x)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            net.weights[0] *= 2
            right = np.allclose(net.feedforward(x), plain_outputs(net, x), rtol=1e-12)
            os.write(writing, b"right" if right else b"wrong")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 5) == b"right"
    np.testing.assert_allclose(net.feedforward(x), plain_outputs(net, x), rtol=1e-12)


def test_threads_do_not_share_a_batch(net):
    inputs = [np.random.default_rng(seed).random((6, 4)) for seed in range(64)]
    expected = [plain_outputs(net, x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            for found, right in zip(pool.map(net.feedforward, inputs), expected, strict=True):
                np.testing.assert_allclose(found, right, rtol=1e-12)


def test_a_network_keeps_a_few_batches(net):
    for m in range(1, 40):
        net.feedforward(np.ones((6, m)))
    assert len(net._kept_batches._kept) == small_batches._KEPT


def test_large_batches_are_not_kept(net, monkeypatch):
    monkeypatch.setattr(small_batches, "_MAX_BYTES", 3 * 14 * 8 * 10)
    for m in (10, 11):
        net.feedforward(np.ones((6, m)))
    assert [batch.m for batch in net._kept_batches._kept] == [10]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e300])
def test_invalid_numbers_are_refused_and_change_nothing(x, wrong):
    net = fastbp.Network([6, 5, 3], rng=0)
    y = np.eye(3)[:, [0, 1, 2, 0]]
    before = [w.copy() for w in net.weights]
    bad_x, bad_y = x.copy(), y.copy()
    bad_x[2, 1] = bad_y[2, 1] = wrong
    for call in (net.feedforward, net.predict, lambda x: net.cost(x, y), lambda x: net.update_mini_batch(x, y, 0.1)):
        with pytest.raises(fastbp.InputError, match=r"x must contain finite numbers .* \(row 2, column 1\)"):
            call(bad_x)
    for call in (net.cost, net.backprop, lambda x, y: net.update_mini_batch(x, y, 0.1)):
        with pytest.raises(fastbp.InputError, match=r"y must contain finite numbers .* \(row 2, column 1\)"):
            call(x, bad_y)
    for w, old in zip(net.weights, before, strict=True):
        np.testing.assert_array_equal(w, old)


def test_targets_outside_the_bounds_of_the_cost_are_refused(x):
    net = fastbp.Network([6, 3], "softmax", "log-likelihood", rng=0)
    with pytest.raises(fastbp.InputError, match="columns of y must sum to 1"):
        net.backprop(x, np.full((3, 4), 0.25))
    with pytest.raises(fastbp.InputError, match="y must be from 0 to 1"):
        net.backprop(x, np.array([[2.0] * 4, [-1.0] * 4, [0.0] * 4]))
    with pytest.raises(fastbp.InputError, match="labels must be from 0 to 2, got 3"):
        net.backprop(x, [0, 1, 3, 0])


def test_one_compilation_serves_every_depth(rng):
    """Compiled code for one depth serves all: layers are read from memory, not part of a type."""
    x, y = rng.random((7, 9)), np.arange(9) % 4

    def use(sizes):
        net = fastbp.Network(sizes, "tanh", "sum-squared", dtype="float64", rng=0)
        net.train(x, y, epochs=1, mini_batch_size=4, eta=0.01, optimizer="adam", progress=False)
        net.feedforward(x)
        net.backprop(x, y)
        net.trace(x, y)
        return net

    use([7, 5, 4])
    compiled = []
    with on_compile(lambda: compiled.append(1)):
        deep = use([7, *[5] * 20, 4])
    assert not compiled
    assert fastbp.check_gradients(deep, x, y) < 1e-6


@pytest.mark.parametrize("sizes", [(40, 30, 10), (300, 200, 2)])
def test_the_number_of_threads_does_not_change_a_bit(sizes, monkeypatch, rng):
    monkeypatch.setattr("fastbp.backends.numpy.parallel_parts.MIN_PARALLEL", 0)
    net = fastbp.Network(sizes, rng=0)
    x, y = rng.random((sizes[0], 3001), np.float32), rng.integers(0, sizes[-1], 3001)
    found = []
    for threads in (1, 2, 5):
        with fastbp.use_threads(threads):
            found.append((net.feedforward(x), net.predict(x), net.cost(x, y)))
    for outputs, classes, cost in found[1:]:
        np.testing.assert_array_equal(outputs, found[0][0])
        np.testing.assert_array_equal(classes, found[0][1])
        assert cost == found[0][2]


def test_the_first_invalid_column_is_reported_whatever_thread_finds_it(monkeypatch, rng):
    monkeypatch.setattr("fastbp.backends.numpy.parallel_parts.MIN_PARALLEL", 0)
    monkeypatch.setattr("fastbp.training.inference.part_size", lambda *_, **__: 8)
    monkeypatch.setattr(small_batches, "_MAX_BYTES", 0)
    net = fastbp.Network([6, 5, 3], rng=0)
    x = rng.random((6, 400))
    x[1, 17] = x[2, 18] = np.nan
    with fastbp.use_threads(2), pytest.raises(fastbp.InputError, match=r"\(row 1, column 17\)"):
        net.feedforward(x)


@pytest.mark.parametrize("m", [50, 3001])
def test_columns_are_read_where_they_are(m, monkeypatch, rng):
    """C-ordered columns in the right dtype give the same outputs as rows, to rounding; other layouts are copied."""
    monkeypatch.setattr(small_batches, "_MIN_READ", 0)
    net = fastbp.Network([30, 20, 5], ["tanh", "softmax"], "log-likelihood", dtype="float64", rng=0)
    rows = rng.random((m, 30))
    expected = net.to("numpy-plain").feedforward(rows.T)
    read_only = np.ascontiguousarray(rows.T)
    read_only.flags.writeable = False
    layouts = [rows.T, np.ascontiguousarray(rows.T), read_only, np.repeat(rows.T, 2, axis=1)[:, ::2], rows.T.tolist()]
    for x in (*layouts, *layouts):
        np.testing.assert_allclose(net.feedforward(x), expected, rtol=1e-12)
        np.testing.assert_array_equal(net.predict(x), expected.argmax(axis=0))
    read_only.flags.writeable = True
    read_only[3, m - 2] = np.nan
    with pytest.raises(fastbp.InputError, match=rf"\(row 3, column {m - 2}\)"):
        net.feedforward(read_only)


def test_networks_that_share_the_memory_of_parts_compute_with_their_own_parameters(monkeypatch, rng):
    monkeypatch.setattr(small_batches, "_MIN_READ", 0)
    monkeypatch.setattr("fastbp.backends.numpy.parallel_parts.MIN_PARALLEL", 0)
    nets = [fastbp.Network([30, 20, 5], dtype="float64", rng=seed) for seed in range(4)]
    rows = rng.random((4003, 30))
    layouts = [rows.T, np.ascontiguousarray(rows.T), np.ascontiguousarray(rows[:3001].T), rows[:3500].T.astype("f")]
    jobs = [(net, x, net.to("numpy-plain").feedforward(x)) for net in nets for x in layouts]

    def agrees(job):
        net, x, expected = job
        np.testing.assert_allclose(net.feedforward(x), expected, rtol=1e-12)
        np.testing.assert_array_equal(net.predict(x), expected.argmax(axis=0))
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(agrees, 3 * jobs))
    assert len({id(small_batches.small_batches_for_parts(net._plan)) for net in nets}) == 1
