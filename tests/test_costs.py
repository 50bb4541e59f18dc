"""Costs against SciPy and scikit-learn."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
from refusals import refused

import fastbp
from fastbp.activations import exponential, relu, sigmoid
from fastbp.costs import COSTS, output_rule, poisson

BACKENDS = ["numpy", "numpy-plain"]


def cost_of_one(name, activation, z, y, dtype, backend):
    """Return C_x of a network with one weight per output, whose weighted inputs are z."""
    net = fastbp.Network([1, len(z)], activation, name, bias=False, dtype=dtype, backend=backend)
    net.weights = [np.array(z, dtype)[:, None]]
    return net.cost(np.ones(1), np.array(y))


@pytest.mark.parametrize("backend", BACKENDS)
def test_huber_and_absolute_error_are_scipys(backend, rng):
    a, y = 2 * rng.standard_normal(50), rng.standard_normal(50)
    assert cost_of_one("huber", "identity", a, y, "float64", backend) == pytest.approx(
        scipy.special.huber(1.0, a - y).sum(), rel=1e-14
    )
    assert cost_of_one("absolute-error", "identity", a, y, "float64", backend) == pytest.approx(
        np.abs(a - y).sum(), rel=1e-14
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("activation", ["exponential", "softplus", "sigmoid"])
def test_poisson_is_scipys_log_probability_without_its_constant(activation, backend, rng):
    z, y = 2 * rng.standard_normal(50), rng.integers(0, 6, 50).astype(float)
    a = fastbp.activations.ACTIVATIONS[activation].f(z)
    expected = -(scipy.stats.poisson.logpmf(y, a) + scipy.special.gammaln(y + 1)).sum()
    assert cost_of_one("poisson", activation, z, y, "float64", backend) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_poisson_of_an_exponential_is_accurate_where_the_output_underflows(dtype, backend):
    z, y = [-2000.0, -2000.0, 0.0], [3.0, 0.0, 0.0]
    net = fastbp.Network([1, 3], "exponential", "poisson", bias=False, dtype=dtype, backend=backend)
    net.weights = [np.array(z, dtype)[:, None]]
    assert net.cost(np.ones(1), np.array(y)) == 6001.0
    _, nabla_w = net.backprop(np.ones(1), np.array(y))
    assert nabla_w[0].ravel().tolist() == [-3.0, 0.0, 1.0]


def test_the_output_rule_of_poisson_equals_the_general_formulas(rng):
    z, y = rng.standard_normal(50), rng.integers(0, 4, 50).astype(float)
    a = np.exp(z)
    rule = output_rule(exponential, poisson)
    np.testing.assert_allclose(rule.error(z, a, y), poisson.prime(a, y) * a, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(rule.cost(z, a, y), poisson.f(a, y), rtol=1e-13, atol=1e-14)


def test_poisson_regression_finds_the_coefficients_of_scikit_learn(rng):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x = rng.standard_normal((3, 400))
    y = rng.poisson(np.exp(0.3 + np.array([0.5, -0.2, 0.1]) @ x)).astype(float)
    model = linear_model.PoissonRegressor(alpha=0, tol=1e-12).fit(x.T, y)
    net = fastbp.Network([3, 1], "exponential", "poisson", dtype="float64", rng=0)
    net.train(x, y[None, :], epochs=400, mini_batch_size=400, eta=0.3, progress=False)
    np.testing.assert_allclose(net.weights[0][0], model.coef_, atol=1e-6)
    np.testing.assert_allclose(net.biases[0][0, 0], model.intercept_, atol=1e-6)


@pytest.mark.parametrize("name", ["absolute-error", "huber"])
def test_the_derivative_is_bounded_and_keeps_nan(name):
    r = np.array([-5.0, -0.25, -0.0, 0.25, 5.0, np.inf, np.nan])
    expected = {"absolute-error": [-1, -1, 0, 1, 1, 1, np.nan], "huber": [-1, -0.25, 0, 0.25, 1, 1, np.nan]}[name]
    np.testing.assert_array_equal(COSTS[name].prime(r, np.zeros(7)), expected)


def test_targets_and_outputs_of_poisson_are_at_least_0():
    net = fastbp.Network([2, 1], "exponential", "poisson", rng=0)
    refused("y must be from 0 to inf for the cost 'poisson', got targets from -1 to -1", net.cost, [1.0, 2.0], [-1.0])
    refused("cost 'poisson' cannot be used with 'relu' in the last layer", output_rule, relu, poisson)
    refused("activations for this cost: sigmoid, softplus, exponential", fastbp.Network, [2, 1], "identity", "poisson")
    assert output_rule(sigmoid, poisson).cost_function == poisson
