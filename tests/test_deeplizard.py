"""Each equation of deeplizard's notes: sum of squares, no biases, one activation per layer, single derivatives."""

import numpy as np
import pytest

import fastbp
import reference

SIZES, N = [3, 6, 4, 4], 3  # large enough for the w₁₂, w₂₂ and a₂ of the notes
NAMES = ["relu", "tanh", "sigmoid"]


@pytest.fixture
def net():
    return fastbp.Network(SIZES, NAMES, "sum-squared", bias=False, dtype="float64", rng=3)


@pytest.fixture
def x(rng):
    return rng.standard_normal((SIZES[0], N))


@pytest.fixture
def y(rng):
    return rng.random((SIZES[-1], N))


def prime(name, z):
    return reference.ACTIVATIONS[name][1](z)


def test_loss_of_a_sample_is_the_sum_of_squares(net, x, y):
    outputs = net.feedforward(x[:, 0])
    assert net.cost(x[:, 0], y[:, 0]) == pytest.approx(np.sum((outputs - y[:, 0]) ** 2), rel=1e-13)


def test_derivative_with_respect_to_an_output_is_twice_the_difference(net, x, y):
    trace = net.trace(x, y)
    np.testing.assert_allclose(trace.activation_gradients[-1], 2 * (trace.activations[-1] - y), rtol=1e-13)


def test_input_of_a_node_is_the_weighted_sum_without_a_bias(net, x, y):
    trace = net.trace(x, y)
    assert net.biases == []
    assert trace.nabla_b == []
    for l, w in enumerate(net.weights):
        np.testing.assert_allclose(trace.zs[l], w @ trace.activations[l], rtol=1e-13)


def test_each_layer_has_its_own_activation(net, x, y):
    trace = net.trace(x, y)
    for l, name in enumerate(NAMES):
        expected = np.vectorize(reference.ACTIVATIONS[name][0])(trace.zs[l])
        np.testing.assert_allclose(trace.activations[l + 1], expected, rtol=1e-13)


def test_derivative_with_respect_to_w12_of_the_last_layer(net, x, y):
    """∂C₀/∂w₁₂ = 2(a₁ − y₁) g′(z₁) a₂⁽ᴸ⁻¹⁾."""
    trace = net.trace(x[:, 0], y[:, 0])
    a1, z1, a2 = trace.activations[-1][1, 0], trace.zs[-1][1, 0], trace.activations[-2][2, 0]
    expected = 2 * (a1 - y[1, 0]) * prime("sigmoid", z1) * a2
    assert trace.nabla_w[-1][1, 2] == pytest.approx(expected, rel=1e-12)
    assert trace.nabla_w[-1][1, 2] == pytest.approx(
        central_difference(net, net.weights[-1], (1, 2), x[:, :1], y[:, :1]), rel=1e-6
    )


def test_derivative_with_respect_to_a2_of_the_previous_layer(net, x, y):
    """∂C₀/∂a₂⁽ᴸ⁻¹⁾ = Σ_j 2(a_j − y_j) g′(z_j) w_j2."""
    trace = net.trace(x[:, 0], y[:, 0])
    expected = sum(
        2 * (trace.activations[-1][j, 0] - y[j, 0]) * prime("sigmoid", trace.zs[-1][j, 0]) * net.weights[-1][j, 2]
        for j in range(SIZES[-1])
    )
    assert trace.activation_gradients[-2][2, 0] == pytest.approx(expected, rel=1e-12)


def test_derivative_with_respect_to_w22_of_the_previous_layer(net, x, y):
    """∂C₀/∂w₂₂⁽ᴸ⁻¹⁾ = ∂C₀/∂a₂⁽ᴸ⁻¹⁾ g′(z₂⁽ᴸ⁻¹⁾) a₂⁽ᴸ⁻²⁾."""
    trace = net.trace(x[:, 0], y[:, 0])
    gradient_a2 = trace.activation_gradients[-2][2, 0]
    expected = gradient_a2 * prime("tanh", trace.zs[-2][2, 0]) * trace.activations[-3][2, 0]
    assert trace.nabla_w[-2][2, 2] == pytest.approx(expected, rel=1e-12)
    measured = central_difference(net, net.weights[-2], (2, 2), x[:, :1], y[:, :1])
    assert trace.nabla_w[-2][2, 2] == pytest.approx(measured, rel=1e-6, abs=1e-12)


def test_derivatives_with_respect_to_the_outputs_of_each_layer_and_the_input(net, x, y):
    trace = net.trace(x, y)
    step = 1e-6
    for k in range(SIZES[0]):  # the input can be nudged directly
        nudged = []
        for sign in (1, -1):
            moved = x.copy()
            moved[k] += sign * step
            nudged.append(np.array([net.cost(moved[:, i], y[:, i]) for i in range(N)]))
        np.testing.assert_allclose(
            trace.activation_gradients[0][k], (nudged[0] - nudged[1]) / (2 * step), rtol=1e-6, atol=1e-9
        )
    for l in (1, 2):  # the outputs of layer l are the input of the layers after it
        rest = fastbp.Network(SIZES[l:], NAMES[l:], "sum-squared", bias=False, dtype="float64")
        rest.weights = net.weights[l:]
        gradient = rest.trace(trace.activations[l], y).activation_gradients[0]
        np.testing.assert_allclose(trace.activation_gradients[l], gradient, rtol=1e-12)


def test_derivatives_for_all_samples_are_averages(net, x, y):
    each = [net.trace(x[:, i], y[:, i]) for i in range(N)]
    _, nabla_w = net.backprop(x, y)
    mean_w12 = np.mean([trace.nabla_w[-1][1, 2] for trace in each])
    mean_w22 = np.mean([trace.nabla_w[-2][2, 2] for trace in each])
    mean_a2 = np.mean([trace.activation_gradients[-2][2, 0] for trace in each])
    assert nabla_w[-1][1, 2] / N == pytest.approx(mean_w12, rel=1e-12)
    assert nabla_w[-2][2, 2] / N == pytest.approx(mean_w22, rel=1e-12)
    assert net.trace(x, y).activation_gradients[-2][2].mean() == pytest.approx(mean_a2, rel=1e-12)
    assert nabla_w[-1][1, 2] / N == pytest.approx(central_difference(net, net.weights[-1], (1, 2), x, y), rel=1e-6)


def central_difference(net, w, index, x, y, step=1e-6):
    """Return ∂C/∂w of one weight, with C the average cost, as a central difference."""
    costs = []
    for nudge in (step, -step):
        w[index] += nudge
        costs.append(net.cost(x, y))
        w[index] -= nudge
    return (costs[0] - costs[1]) / (2 * step)
