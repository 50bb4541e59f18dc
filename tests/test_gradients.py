"""Gradients against central differences, compiled against interpreted, matrix form against sums over examples."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
import reference
from fastbp import backends

HIDDEN = sorted(reference.ACTIVATIONS.keys() - {"exponential"})  # which is for the last layer: e^(e^z) overflows
KINKED = {"relu", "leaky-relu", "elu"}
KINKS_OF_COSTS = {"absolute-error": [0], "huber": [-1, 1]}  # of C as a function of a − y
STEP = 5e-4  # of a fourth-order difference: its truncation error and float64's rounding error are then both about 1e-13
CLEAR_OF_KINKS = 1e-2


def problem(hidden, output, cost, bias, depth, m, backend, seed=0):
    """Return a float64 network of the given depth, x and y, with no z near a kink and no negligible gradient of a W."""
    sizes = [*[3, 4, 3, 4][:depth], 3]
    while True:
        rng = np.random.default_rng(seed)
        seed += 1
        names = [hidden] * (depth - 1) + [output]
        net = fastbp.Network(sizes, names, cost, bias=bias, dtype="float64", backend=backend, rng=rng)
        x = rng.standard_normal((sizes[0], m))
        y = rng.random((sizes[-1], m))
        y = y / y.sum(axis=0)  # a distribution, valid for every cost
        trace = net.trace(x, y)
        clear = not KINKED & set(names) or all(abs(z).min() > CLEAR_OF_KINKS for z in trace.zs)
        kinks = KINKS_OF_COSTS.get(cost, [])
        clear &= all(abs(trace.activations[-1] - y - kink).min() > CLEAR_OF_KINKS for kink in kinks)
        if clear and all(abs(nabla).max() > CLEAR_OF_KINKS for nabla in trace.nabla_w):
            return net, x, y


def worst_error(net, x, y):
    """Return the largest relative error of the derivative along a random direction, over each W and b."""
    rng = np.random.default_rng(7)
    nabla_b, nabla_w = net.backprop(x, y)
    worst = 0.0
    for theta, nabla in [*zip(net.weights, nabla_w, strict=True), *zip(net.biases, nabla_b, strict=True)]:
        gradient = np.asarray(backends.get(net.backend).to_host(nabla)) / x.shape[1]
        direction = rng.standard_normal(gradient.shape)
        direction /= np.linalg.norm(direction)
        start = backends.get(net.backend).to_host(theta)
        costs = []
        for steps in (2, 1, -1, -2):
            theta[...] = backends.get(net.backend).upload(start + steps * STEP * direction)
            costs.append(net.cost(x, y))
        theta[...] = backends.get(net.backend).upload(start)
        measured = (-costs[0] + 8 * costs[1] - 8 * costs[2] + costs[3]) / (12 * STEP)
        expected = np.sum(gradient * direction)
        rounding = np.finfo(float).eps * max(costs) / STEP
        scale = max(abs(measured), abs(expected), np.linalg.norm(gradient) / gradient.size**0.5, 1e7 * rounding)
        worst = max(worst, abs(measured - expected) / scale if scale else 0.0)
    return worst


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize(
    ("hidden", "output", "cost"),
    [(hidden, "sigmoid", "cross-entropy") for hidden in HIDDEN]
    + [(HIDDEN[i % len(HIDDEN)], *pair) for i, pair in enumerate(reference.VALID_OUTPUTS)],
)
def test_interpreted_gradient_agrees_with_differences_of_the_cost(hidden, output, cost, bias):
    """Every hidden activation, and every valid output activation × cost, × bias × depth 1–4 × batch 1, 2, 7."""
    for depth, m in itertools.product([1, 2, 3, 4], [1, 2, 7]):
        net, x, y = problem(hidden, output, cost, bias, depth, m, "numpy-plain")
        assert worst_error(net, x, y) <= 1e-7, (depth, m)


PAIRWISE = [  # every cost with every batch size; depths, activations and biases with as many costs as these rows allow
    ("sigmoid", "tanh", "quadratic", True, 1, 1),
    ("tanh", "identity", "quadratic", False, 2, 2),
    ("softplus", "softplus", "quadratic", True, 3, 7),
    ("relu", "leaky-relu", "sum-squared", False, 4, 1),
    ("leaky-relu", "relu", "sum-squared", True, 2, 2),
    ("identity", "sigmoid", "sum-squared", False, 1, 7),
    ("softplus", "sigmoid", "cross-entropy", True, 2, 1),
    ("relu", "sigmoid", "cross-entropy", False, 3, 2),
    ("tanh", "sigmoid", "cross-entropy", True, 4, 7),
    ("identity", "softmax", "log-likelihood", True, 3, 1),
    ("leaky-relu", "softmax", "log-likelihood", False, 1, 2),
    ("sigmoid", "softmax", "log-likelihood", False, 2, 7),
    ("gelu", "identity", "huber", True, 3, 1),
    ("gelu-tanh", "elu", "huber", False, 2, 2),
    ("silu", "gelu", "huber", True, 4, 7),
    ("elu", "silu", "absolute-error", True, 2, 1),
    ("silu", "gelu-tanh", "absolute-error", False, 3, 2),
    ("gelu", "identity", "absolute-error", True, 4, 7),
    ("elu", "exponential", "poisson", True, 2, 1),
    ("gelu-tanh", "softplus", "poisson", False, 3, 2),
    ("tanh", "sigmoid", "poisson", True, 4, 7),
]


@pytest.mark.parametrize(("hidden", "output", "cost", "bias", "depth", "m"), PAIRWISE)
def test_compiled_gradient_agrees_with_differences_of_the_cost(hidden, output, cost, bias, depth, m):
    net, x, y = problem(hidden, output, cost, bias, depth, m, "numpy")
    assert worst_error(net, x, y) <= 1e-7


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("hidden", "output", "cost", "bias", "depth", "m"), PAIRWISE)
def test_training_is_the_same_compiled_and_interpreted(hidden, output, cost, bias, depth, m, dtype):
    """Two epochs with a shorter last mini-batch; only rounding differs."""
    results = []
    for name in ("numpy", "numpy-plain"):
        net, x, y = problem(hidden, output, cost, bias, depth, 7, "numpy")
        net = net.to(name, dtype=dtype)
        history = net.train(x, y, epochs=2, mini_batch_size=2, eta=0.3, lmbda=0.1, progress=False)
        results.append([*net.weights, *net.biases, np.array(history.cost)])
    tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype]
    for compiled, interpreted in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, interpreted, rtol=tolerance, atol=tolerance)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=3, max_size=3),
    m=st.integers(1, 6),
    hidden=st.sampled_from(HIDDEN),
    pair=st.sampled_from(reference.VALID_OUTPUTS),
    bias=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@pytest.mark.parametrize("kind", ["numpy", "array_api_strict", "torch"])
def test_matrix_form_is_the_sum_over_examples(kind, sizes, m, hidden, pair, bias, seed):
    xp = pytest.importorskip("torch" if kind == "torch" else kind)
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((n, k)) for k, n in itertools.pairwise(sizes)]
    biases = [rng.standard_normal((n, 1)) for n in sizes[1:]] if bias else []
    x, y = rng.standard_normal((sizes[0], m)), rng.random((sizes[-1], m))
    y = y / y.sum(axis=0)
    names = [hidden, pair[0]]
    expected_b, expected_w = reference.gradient_sum(weights, biases, x, y, names, pair[1])

    def to_xp(arrays):
        return [xp.asarray(a) for a in arrays]

    nabla_b, nabla_w = fastbp.backprop(to_xp(weights), to_xp(biases), *to_xp([x, y]), activations=names, cost=pair[1])
    for ours, loop in zip([*nabla_b, *nabla_w], [*expected_b, *expected_w], strict=True):
        assert type(ours) is type(xp.asarray(x))
        scale = np.abs(loop).max() + 1e-300
        np.testing.assert_allclose(np.asarray(ours), loop, rtol=1e-9, atol=1e-12 * scale + 1e-13)


def test_check_gradients_finds_a_wrong_derivative():
    from fastbp_kernels.words import tanh

    def f(z):
        return tanh(z)

    def wrong(z, a):
        return 1.0 - a

    net = fastbp.Network([3, 2, 2], [fastbp.Activation("wrong-tanh", f, wrong), "sigmoid"], rng=0)
    with pytest.raises(fastbp.GradientError, match=r"the gradient with respect to weights\[0\] is .* relative error"):
        fastbp.check_gradients(net, [0.1, 0.2, 0.3], [1.0, 0.0])


def test_check_gradients_leaves_the_network_alone(backend):
    net = fastbp.Network([3, 2, 2], rng=0, backend=backend)
    before = net.to("numpy").weights
    assert 0 <= fastbp.check_gradients(net, [[0.1] * 4] * 3, [0, 1, 1, 0]) < 1e-7
    for w, kept in zip(net.to("numpy").weights, before, strict=True):
        np.testing.assert_array_equal(w, kept)
