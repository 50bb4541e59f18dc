"""`Network`: options, inference, gradients, parameters, copies, and inputs of every kind."""

import copy
import pickle

import numpy as np
import pytest

import fastbp
from fastbp import activations


@pytest.fixture
def net():
    return fastbp.Network([4, 5, 3], rng=0)


def test_defaults_are_sigmoid_quadratic_float32_on_the_current_backend(net):
    assert repr(net) == "<Network 4-5-3: sigmoid, sigmoid; quadratic cost; float32 on numpy>"
    assert [w.shape for w in net.weights] == [(5, 4), (3, 5)]
    assert [b.shape for b in net.biases] == [(5, 1), (3, 1)]
    assert {a.dtype for a in (*net.weights, *net.biases)} == {np.dtype("float32")}
    assert net.sizes == (4, 5, 3)
    assert net.cost_function.name == "quadratic"


def test_every_option(tmp_path):
    net = fastbp.Network(
        (4, 5, 3), ["tanh", "softmax"], "log-likelihood", bias=False, dtype=np.float64, backend="numpy-plain", rng=0
    )
    assert repr(net) == "<Network 4-5-3: tanh, softmax; log-likelihood cost, no biases; float64 on numpy-plain>"
    assert net.biases == []
    np.testing.assert_allclose(np.sum(net.feedforward(np.ones((4, 2))), axis=0), 1)


@pytest.mark.parametrize(("init", "spread"), [("scaled", 1 / 20), ("large", 1)])
def test_initialisations(init, spread):
    net = fastbp.Network([400, 100, 10], rng=0, init=init)
    assert net.weights[0].std() == pytest.approx(spread, rel=0.02)
    assert net.biases[0].std() == pytest.approx(1, rel=0.2)


def test_the_same_seed_gives_the_same_network_in_every_dtype():
    narrow, wide = (fastbp.Network([4, 5, 3], rng=7, dtype=dtype) for dtype in ("float32", "float64"))
    for a, b in zip(narrow.weights, wide.weights, strict=True):
        np.testing.assert_array_equal(a, b.astype("float32"))


def test_a_generator_can_be_given():
    a, b = (fastbp.Network([4, 3], rng=np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(a.weights[0], b.weights[0])
    assert not np.array_equal(fastbp.Network([4, 3]).weights[0], fastbp.Network([4, 3]).weights[0])


def test_feedforward_returns_a_vector_for_a_vector_and_a_matrix_for_a_matrix(net):
    x = np.random.default_rng(0).random((4, 6))
    outputs = net.feedforward(x)
    assert outputs.shape == (3, 6)
    assert net.feedforward(x[:, 0]).shape == (3,)
    assert net.feedforward(x[:, :1]).shape == (3, 1)
    assert net.feedforward(x.tolist()).shape == (3, 6)
    np.testing.assert_allclose(net.feedforward(x[:, 0]), outputs[:, 0], rtol=1e-6)


def test_columns_are_processed_in_batches(monkeypatch, net):
    from fastbp.training import inference

    x, y = np.random.default_rng(0).random((4, 23)), np.arange(23) % 3
    whole = [net.feedforward(x), net.predict(x), net.cost(x, y), *net.backprop(x, y)[1]]
    monkeypatch.setattr(inference, "_BLOCK", 5 * 4)  # four columns per batch, and three left over
    monkeypatch.setattr(inference, "part_size", lambda *_, **__: 4)
    monkeypatch.setattr("fastbp.training.small_batches._MAX_BYTES", 0)
    net = net.to()
    by_batches = [net.feedforward(x), net.predict(x), net.cost(x, y), *net.backprop(x, y)[1]]
    for a, b in zip(whole, by_batches, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_predict_and_accuracy(net):
    x = np.random.default_rng(0).random((4, 9))
    classes = net.feedforward(x).argmax(axis=0)
    np.testing.assert_array_equal(net.predict(x), classes)
    assert net.accuracy(x, classes) == 1.0
    assert net.accuracy(x, np.eye(3)[classes].T) == 1.0
    assert net.accuracy(x, (classes + 1) % 3) == 0.0
    assert net.accuracy(x[:, 0], int(classes[0])) == 1.0


def test_labels_and_columns_are_the_same_targets(net):
    x, labels = np.random.default_rng(0).random((4, 6)), np.array([0, 2, 1, 1, 0, 2])
    columns = np.eye(3)[labels].T
    assert net.cost(x, labels) == net.cost(x, columns)
    for a, b in zip(net.backprop(x, labels)[1], net.backprop(x, columns)[1], strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(net.backprop(x[:, 0], 2)[1], net.backprop(x[:, 0], [0, 0, 1])[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_network_with_one_output_takes_one_target_per_example():
    net = fastbp.Network([2, 1], "identity", rng=0, dtype="float64")
    x, y = np.random.default_rng(0).random((2, 5)), np.arange(5)
    assert net.cost(x, y) == net.cost(x, y[None, :].astype(float))
    assert net.cost(x[:, 0], [0.5]) == net.cost(x[:, :1], [[0.5]])
    with pytest.raises(fastbp.InputError, match="accuracy needs a network with two or more outputs"):
        net.accuracy(x, y)
    np.testing.assert_array_equal(net.predict(x), net.feedforward(x)[0])


@pytest.mark.parametrize("sizes", [[1, 1], [1, 1, 1], [3, 1, 2], [2, 3, 1]])
@pytest.mark.parametrize("m", [1, 2, 5])
def test_layers_of_one_neuron_and_batches_of_one(sizes, m, backend):
    """Arrays of these shapes are both C- and Fortran-contiguous."""
    net = fastbp.Network(sizes, ["tanh"] * (len(sizes) - 1), rng=0, backend=backend)
    rng = np.random.default_rng(0)
    x, y = rng.random((sizes[0], 5)), rng.random((sizes[-1], 5))
    assert fastbp.check_gradients(net, x[:, :m], y[:, :m]) < 1e-7
    plain = net.to("numpy-plain")
    for each in (net, plain):
        each.train(x, y, epochs=2, mini_batch_size=m, eta=0.5, progress=False)
    for a, b in zip(net.to("numpy").weights, plain.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_weights_can_be_assigned_as_a_list_or_one_by_one(net):
    x = np.random.default_rng(0).random((4, 2))
    net.weights = [np.zeros((5, 4)), np.zeros((3, 5)).tolist()]
    net.biases = [np.zeros((5, 1)), np.zeros((3, 1))]
    np.testing.assert_array_equal(net.feedforward(x), 0.5)
    net.biases[1] = np.full((3, 1), 100, dtype=np.int64)  # another dtype: converted to the network's
    np.testing.assert_array_equal(net.feedforward(x), 1)
    net.weights[0] = np.asfortranarray(np.ones((5, 4), np.float32))
    net.weights[1][:] = 0
    net.train(x, [0, 1], epochs=1, mini_batch_size=1, progress=False)
    assert all(w.flags.c_contiguous and w.dtype == np.float32 for w in net.weights)


def test_assigned_arrays_are_copied_and_returned_arrays_are_live(net):
    mine = [np.zeros((5, 4), np.float32), np.zeros((3, 5), np.float32)]
    net.weights = mine
    live = net.weights[1]
    net.update_mini_batch(np.ones((4, 1)), [0], eta=1.0)
    assert not mine[1].any()
    assert live.any()
    assert live is net.weights[1]


def test_inputs_are_never_modified(net):
    x, y = np.random.default_rng(0).random((4, 6)).astype(np.float32), np.eye(3, 6, dtype=np.float32)
    kept = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    net.train(x, y, epochs=1, mini_batch_size=2, validation=(x, y), progress=False)
    net.trace(x, y)
    net.backprop(x, y)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(y, kept[1])


def pickled(net):
    return pickle.loads(pickle.dumps(net))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled])
@pytest.mark.parametrize("output", [(["relu", "softmax"], "log-likelihood"), ("sigmoid", "quadratic")])
def test_copies_are_equal_and_independent(duplicate, output, backend):
    net = fastbp.Network([4, 5, 3], *output, rng=0, backend=backend)
    x, y = np.random.default_rng(0).random((4, 12)), np.arange(12) % 3
    net.train(x, y, epochs=1, mini_batch_size=4, eta=0.1, progress=False)
    other = duplicate(net)
    assert repr(other) == repr(net)
    assert other.activations == net.activations
    for each in (net, other):
        each.train(x, y, epochs=1, mini_batch_size=4, eta=0.1, progress=False)
    for a, b in zip(net.to("numpy").weights, other.to("numpy").weights, strict=True):
        np.testing.assert_array_equal(a, b)
    other.weights[0][...] = 0.0
    assert net.to("numpy").weights[0].any()


def test_backprop_with_given_parameters():
    w, b = [np.full((1, 2), 0.5), np.full((2, 1), -1.0)], [np.zeros((1, 1)), np.zeros((2, 1))]
    net = fastbp.Network([2, 1, 2], ["tanh", "identity"], "sum-squared", dtype="float64")
    net.weights, net.biases = w, b
    x, y = np.array([[0.1, 0.2], [0.3, 0.4]]), np.zeros((2, 2))
    ours = fastbp.backprop(w, b, x, y, activations=["tanh", "identity"], cost="sum-squared")
    for layers, expected in zip(ours, net.backprop(x, y), strict=True):
        for nabla, other in zip(layers, expected, strict=True):
            np.testing.assert_array_equal(nabla, other)
    single = fastbp.backprop([a.astype(np.float32) for a in w], [], x, y, activations="tanh")
    assert single[0] == []
    assert single[1][0].dtype == np.float32


def test_trace_keeps_the_weighted_inputs(net):
    x, y = np.random.default_rng(0).random((4, 3)), [0, 1, 2]
    trace = net.trace(x, y)
    np.testing.assert_allclose(trace.zs[0], net.weights[0] @ x.astype(np.float32) + net.biases[0], rtol=1e-5)
    np.testing.assert_allclose(trace.activations[1], activations.sigmoid.f(trace.zs[0]), rtol=1e-6)


def test_saturated_outputs_keep_their_error_and_cost():
    """In float32, σ(z) is 1 for z ≥ 17; (a − y)/(a(1 − a))·a(1 − a) would be NaN, and ln(1 − a) infinite."""
    for names, cost, expected in ((["sigmoid"], "cross-entropy", 200.0), (["softmax"], "log-likelihood", 200.0)):
        net = fastbp.Network([1, 2], names, cost)
        net.weights, net.biases = [[[100.0], [-100.0]]], [np.zeros((2, 1))]
        assert net.cost([1.0], [0.0, 1.0]) == pytest.approx(expected)
        nabla_b, _ = net.backprop([1.0], [0.0, 1.0])
        np.testing.assert_allclose(nabla_b[0], [[1.0], [-1.0]])


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_likelihood_is_accurate_for_large_logits(scale, dtype, backend):
    """For two equal logits, a = 1/2 and −ln a = ln 2; max z + ln Σ e^(z − max z) − z loses it in float32 at z = 10⁶."""
    net = fastbp.Network([1, 2], "softmax", "log-likelihood", bias=False, dtype=dtype, backend=backend)
    net.weights = [[[scale], [scale]]]
    assert net.cost([1.0], [1.0, 0.0]) == pytest.approx(np.log(2), rel=1e-6)
    assert net.cost([1.0], [0.25, 0.75]) == pytest.approx(np.log(2), rel=1e-6)


def test_cross_entropy_of_large_z_is_accurate_for_targets_near_1(backend):
    """At z = 2²⁰ and y = 1 − 2⁻²⁴, float32 rounds z and z y to multiples of 2⁻⁴, and z − z y is exactly 2⁻⁴."""
    net = fastbp.Network([1, 1], "sigmoid", "cross-entropy", bias=False, backend=backend)
    for z, y in ((2.0**20 + 1, 1 - 2.0**-24), (-(2.0**20) - 1, 2.0**-24)):
        net.weights = [[[z]]]
        expected = (2.0**20 + 1) * 2.0**-24  # not a multiple of 2⁻⁴
        assert net.cost([1.0], [y]) == pytest.approx(expected, rel=1e-6)


def test_training_continues_with_parameters_that_a_callback_assigns():
    x, y = np.random.default_rng(0).random((4, 12)), np.arange(12) % 3
    nets = [fastbp.Network([4, 5, 3], rng=0) for _ in range(2)]

    def halve(epoch):
        if epoch.number == 1:
            nets[0].weights[0] = nets[0].weights[0] * 0.5
            nets[0].biases = [b * 0.5 for b in nets[0].biases]

    nets[0].train(x, y, epochs=2, mini_batch_size=4, callback=halve, progress=False)
    nets[1].train(x, y, epochs=1, mini_batch_size=4, progress=False)
    nets[1].weights[0] *= 0.5
    for b in nets[1].biases:
        b *= 0.5
    nets[1].train(x, y, epochs=1, mini_batch_size=4, progress=False)
    for a, b in zip(nets[0].weights, nets[1].weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_networks_with_the_same_formulas_share_kernels():
    from fastbp_kernels.cpu import loops as cpu

    def kernels():
        return fastbp.Network([4, 5, 3], ["tanh", "identity"], "sum-squared")._plan.operations()

    assert kernels().output_error is kernels().output_error
    assert kernels().add_cost is kernels().add_cost
    assert cpu.activate(activations.tanh.f, "float32", bias=True, keep_z=False) is kernels().layers[0].activate


def test_gradients_with_respect_to_outputs_are_limits_where_a_logarithm_is_infinite():
    net = fastbp.Network([1, 2], "sigmoid", "cross-entropy")
    net.weights, net.biases = [[[100.0], [-100.0]]], [np.zeros((2, 1))]
    np.testing.assert_allclose(net.trace([1.0], [1.0, 0.0]).activation_gradients[-1], [[-1.0], [1.0]])
    net = fastbp.Network([1, 2], "softmax", "log-likelihood")
    net.weights, net.biases = [[[100.0], [-100.0]]], [np.zeros((2, 1))]
    np.testing.assert_allclose(net.trace([1.0], [1.0, 0.0]).activation_gradients[-1], [[-1.0], [0.0]])


def test_check_gradients_allows_for_the_rounding_of_a_large_cost():
    rng = np.random.default_rng(0)
    for scale in (30, 100):
        net = fastbp.Network([3, 3, 2], cost="cross-entropy", rng=0)
        assert fastbp.check_gradients(net, scale * rng.random((3, 5)), rng.integers(0, 2, 5)) < 1e-6


def test_subclasses_of_arrays_are_accepted_and_masked_arrays_refused():
    class Subclass(np.ndarray):
        pass

    net, x = fastbp.Network([4, 3], rng=0), np.ones((4, 2))
    np.testing.assert_array_equal(net.feedforward(x.view(Subclass)), net.feedforward(x))
    with pytest.raises(fastbp.InputError, match="x must not be a masked array"):
        net.feedforward(np.ma.masked_array(x, mask=x > 0))


def test_tensors_that_require_gradients_are_detached():
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(4, 3)
    x = torch.ones((4, 2), requires_grad=True)
    nabla_b, nabla_w = fastbp.backprop([layer.weight], [layer.bias[:, None]], x, torch.zeros((3, 2)))
    assert not nabla_w[0].requires_grad
    net = fastbp.Network([4, 3], backend="torch")
    net.weights, net.biases = [layer.weight], [layer.bias[:, None]]
    net.train(x, torch.zeros((3, 2), requires_grad=True), epochs=1, mini_batch_size=1, progress=False)
    assert tuple(nabla_b[0].shape) == (3, 1)


@pytest.mark.parametrize("layout", ["rows", "columns", "read-only", "every other", "float64", "uint8"])
def test_inputs_of_any_memory_layout_are_used_and_not_modified(layout, backend, rng, monkeypatch):
    monkeypatch.setattr("fastbp.training.inference._BLOCK", 40)  # batches of 8, and a shorter one
    monkeypatch.setattr("fastbp.training.inference.part_size", lambda *_, **__: 8)
    monkeypatch.setattr("fastbp.training.small_batches._MAX_BYTES", 0)
    rows = rng.integers(0, 9, (19, 5))
    net = fastbp.Network([5, 4, 3], rng=0, backend=backend)
    x = {
        "rows": rows.astype(np.float32).T,
        "columns": np.ascontiguousarray(rows.T, np.float32),
        "read-only": rows.astype(np.float32).T,
        "every other": np.repeat(rows, 2, axis=0).astype(np.float32)[::2].T,
        "float64": rows.astype(np.float64).T,
        "uint8": rows.astype(np.uint8).T,
    }[layout]
    x.flags.writeable = layout != "read-only"
    a = rows.T.astype(np.float64)
    host = net.to("numpy")
    for w, b in zip(host.weights, host.biases, strict=True):
        a = 1 / (1 + np.exp(-(w.astype(np.float64) @ a + b)))
    outputs = fastbp.backends.get(backend).to_host(net.feedforward(x))
    np.testing.assert_allclose(outputs, a, rtol=1e-5)
    np.testing.assert_array_equal(net.predict(x), a.argmax(axis=0))
    np.testing.assert_array_equal(x, rows.T)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("zero", [False, True])
def test_a_nonfinite_input_is_reported_with_its_position(wrong, zero, backend, rng, monkeypatch):
    monkeypatch.setattr("fastbp.training.inference._BLOCK", 40)
    monkeypatch.setattr("fastbp.training.inference.part_size", lambda *_, **__: 8)
    monkeypatch.setattr("fastbp.training.small_batches._MAX_BYTES", 0)
    net = fastbp.Network([5, 4, 3], rng=0, backend=backend)
    if zero:  # 0 · ∞ is NaN
        net.weights = [np.zeros((4, 5)), np.zeros((3, 4))]
    x = rng.random((5, 19))
    net.feedforward(1e30 * x)  # z² is infinite, z is not
    x[2, 17] = wrong
    for infer in (net.feedforward, net.predict):
        with pytest.raises(fastbp.InputError, match=r"x must contain finite numbers .*\(row 2, column 17\)"):
            infer(x)
