"""Each equation of Nielsen's notes, by its number."""

import numpy as np
import pytest

import fastbp
import reference
from fastbp import backends, equations
from fastbp.parameters import as_parameters

SIZES, M = [3, 4, 2], 5
NAMES = ["sigmoid", "sigmoid"]


@pytest.fixture
def net(backend):
    return fastbp.Network(SIZES, dtype="float64", backend=backend, rng=1, init="large")


@pytest.fixture
def x(rng):
    return rng.standard_normal((SIZES[0], M))


@pytest.fixture
def y(rng):
    return rng.random((SIZES[-1], M))


def host(net, arrays):
    """Return arrays of a network's backend as NumPy arrays."""
    return [backends.get(net.backend).to_host(a) for a in arrays]


def parameters(net):
    return host(net, net.weights), host(net, net.biases)


def test_equation_1_weighted_input_and_activation_by_component(net, x, y):
    trace = net.trace(x, y)
    for i in range(M):
        zs, activations = reference.feedforward(*parameters(net), x[:, i], NAMES)
        for ours, theirs in zip(host(net, trace.zs), zs, strict=True):
            np.testing.assert_allclose(ours[:, i], theirs, rtol=1e-13)
        for ours, theirs in zip(host(net, trace.activations), activations, strict=True):
            np.testing.assert_allclose(ours[:, i], theirs, rtol=1e-13)


def test_equation_2_matrix_form(net, x, y):
    weights, biases = parameters(net)
    a = x
    for w, b in zip(weights, biases, strict=True):
        a = 1 / (1 + np.exp(-(w @ a + b)))
    np.testing.assert_allclose(host(net, [net.feedforward(x)])[0], a, rtol=1e-13)


def test_equation_3_quadratic_cost_is_the_average_of_c_x(net, x, y):
    each = [reference.cost(*parameters(net), x[:, i], y[:, i], NAMES, "quadratic") for i in range(M)]
    assert net.cost(x, y) == pytest.approx(np.mean(each), rel=1e-13)
    assert np.mean([net.cost(x[:, i], y[:, i]) for i in range(M)]) == pytest.approx(net.cost(x, y), rel=1e-13)


def test_equation_4_cost_is_a_function_of_the_outputs(net, x, y):
    outputs = host(net, [net.feedforward(x)])[0]
    assert net.cost(x, y) == pytest.approx(0.5 * np.sum((y - outputs) ** 2) / M, rel=1e-13)


def test_equation_5_the_demon_nudges_z_and_the_cost_moves_by_delta(net, x, y):
    """δ_j ≡ ∂C/∂z_j. For a single example, a nudge of the bias is a nudge of z."""
    deltas = host(net, net.trace(x[:, 0], y[:, 0]).deltas)
    step = 1e-5
    for l, b in enumerate(net.biases):
        for j in range(b.shape[0]):
            costs = []
            for nudge in (step, -step):
                b[j, 0] += nudge
                costs.append(net.cost(x[:, 0], y[:, 0]))
                b[j, 0] -= nudge
            assert (costs[0] - costs[1]) / (2 * step) == pytest.approx(deltas[l][j, 0], rel=1e-6, abs=1e-11)


def test_bp1_output_error_by_component(net, x, y):
    trace = net.trace(x, y)
    (z,), (a,), (delta,) = (host(net, [arrays[-1]]) for arrays in (trace.zs, trace.activations, trace.deltas))
    for i in range(M):
        for j in range(SIZES[-1]):
            sigma_prime = reference.ACTIVATIONS["sigmoid"][1](z[j, i])
            assert delta[j, i] == pytest.approx((a[j, i] - y[j, i]) * sigma_prime, rel=1e-12)


def test_bp1a_and_equation_6_output_error_in_matrix_form(net, x, y):
    trace = net.trace(x, y)
    a, gradient, delta = host(net, [trace.activations[-1], trace.activation_gradients[-1], trace.deltas[-1]])
    np.testing.assert_allclose(gradient, a - y, rtol=1e-13)  # ∇ₐC of the quadratic cost
    np.testing.assert_allclose(delta, (a - y) * a * (1 - a), rtol=1e-13)


def test_bp2_error_from_the_error_of_the_next_layer(net, x, y):
    trace = net.trace(x, y)
    (w,), (a,), deltas = host(net, net.weights[1:]), host(net, trace.activations[1:2]), host(net, trace.deltas)
    np.testing.assert_allclose(deltas[0], (w.T @ deltas[1]) * a * (1 - a), rtol=1e-12)


def test_bp3_and_equation_7_bias_gradient_is_delta(net, x, y):
    trace = net.trace(x[:, 0], y[:, 0])
    for nabla, delta in zip(host(net, trace.nabla_b), host(net, trace.deltas), strict=True):
        np.testing.assert_array_equal(nabla, delta)


def test_bp4_weight_gradient_is_delta_times_activation(net, x, y):
    trace = net.trace(x[:, 0], y[:, 0])
    activations, deltas = host(net, trace.activations), host(net, trace.deltas)
    for l, nabla in enumerate(host(net, trace.nabla_w)):
        for j in range(SIZES[l + 1]):
            for k in range(SIZES[l]):
                assert nabla[j, k] == pytest.approx(activations[l][k, 0] * deltas[l][j, 0], rel=1e-13)


def test_the_algorithm_for_one_example(net, x, y):
    """Input, feedforward, output error, backpropagate, output: against loops over components."""
    expected = reference.backprop(*parameters(net), x[:, 0], y[:, 0], NAMES, "quadratic")
    for ours, theirs in zip(net.backprop(x[:, 0], y[:, 0]), expected, strict=True):
        for nabla, loop in zip(host(net, ours), theirs, strict=True):
            np.testing.assert_allclose(nabla, loop, rtol=1e-12)


def test_the_update_with_a_mini_batch(net, x, y):
    weights, biases = parameters(net)
    nabla_b, nabla_w = reference.gradient_sum(weights, biases, x, y, NAMES, "quadratic")
    net.update_mini_batch(x, y, eta=0.7)
    for w, before, nabla in zip(host(net, net.weights), weights, nabla_w, strict=True):
        np.testing.assert_allclose(w, before - 0.7 / M * nabla, rtol=1e-12)
    for b, before, nabla in zip(host(net, net.biases), biases, nabla_b, strict=True):
        np.testing.assert_allclose(b, before - 0.7 / M * nabla, rtol=1e-12)


def test_the_outer_loops_over_mini_batches_and_epochs(net, x, y):
    """Two epochs of mini-batches of 2, 2 and 1 in the orders that the network draws, with L2."""
    weights, biases = parameters(net)
    orders = np.random.default_rng(1)  # the generator of the network, which first draws the parameters
    [orders.standard_normal(b.shape) for b in biases], [orders.standard_normal(w.shape) for w in weights]
    for _ in range(2):
        reference.train_epoch(weights, biases, x, y, orders.permutation(M), 2, 0.7, 0.1, NAMES, "quadratic")
    net.train(x, y, epochs=2, mini_batch_size=2, eta=0.7, lmbda=0.1, progress=False)
    for ours, loop in zip(host(net, [*net.weights, *net.biases]), [*weights, *biases], strict=True):
        np.testing.assert_allclose(ours, loop, rtol=1e-12)


def test_a_network_calculated_by_hand():
    """W¹ = (1 −1), b¹ = 0; W² = 2, b² = −1; x = (ln 3, 0): a¹ = 3/4, z² = 1/2 with the identity; y = 0, C = 1/8."""
    net = fastbp.Network([2, 1, 1], ["sigmoid", "identity"], dtype="float64")
    net.weights, net.biases = [[[1.0, -1.0]], [[2.0]]], [[[0.0]], [[-1.0]]]
    x, y = np.array([np.log(3.0), 0.0]), np.array([0.0])
    assert net.feedforward(x) == pytest.approx(0.5)
    assert net.cost(x, y) == pytest.approx(1 / 8)
    nabla_b, nabla_w = net.backprop(x, y)
    assert nabla_b[1].item() == pytest.approx(1 / 2)  # δ² = a − y
    assert nabla_w[1].item() == pytest.approx(3 / 8)  # δ² a¹
    assert nabla_b[0].item() == pytest.approx(3 / 16)  # 2 δ² · 3/4 · 1/4
    np.testing.assert_allclose(nabla_w[0], [[3 / 16 * np.log(3.0), 0.0]])


@pytest.mark.parametrize("equation", ["feedforward", "output_error", "backpropagate", "add_gradient"])
def test_each_equation_alone_is_the_same_compiled_and_interpreted(equation, x, y):
    """The same function, run by two backends on equal workspaces."""
    results = []
    for name in ("numpy", "numpy-plain"):
        net = fastbp.Network(SIZES, ["tanh", "sigmoid"], dtype="float64", backend=name, rng=1)
        plan = net._plan
        ops = plan.operations()
        from fastbp.operations import WorkspacePool

        pool = WorkspacePool(plan, ops, M)
        ws, p = pool.workspace(M), as_parameters(net.weights, net.biases, plan)
        generator = np.random.default_rng(5)
        for block in (*ws.activations, *ws.deltas, *ws.sums, ws.y):
            rows = plan.backend.columns(block)
            rows[...] = generator.random(rows.shape)
        arguments = {
            "feedforward": (ops, p, ws),
            "output_error": (ops, ws),
            "backpropagate": (ops, p, ws),
            "add_gradient": (ops, ws, -0.25, 0.5, 0.75, p),
        }[equation]
        plan.backend.run(getattr(equations, equation), *arguments)
        results.append(
            [plan.backend.columns(b).copy() for b in (*ws.activations, *ws.deltas, *ws.sums)] + net.weights + net.biases
        )
    for compiled, interpreted in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, interpreted, rtol=1e-13)
