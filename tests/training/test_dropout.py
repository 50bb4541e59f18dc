"""Dropout: the generator, the masks on every backend, and training against loops and finite differences."""

import itertools
import math

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from refusals import refused

import fastbp
from fastbp import backends, equations
from fastbp.optimizers import Adam
from fastbp.training import inference
from fastbp.training.dropout import new_dropout
from fastbp_kernels.cpu.vector_math import jitable
from fastbp_kernels.specialize import lower
from fastbp_kernels.threefry import threefry_2x32

KNOWN_ANSWERS = [  # (counter, key, words): kat_vectors of the Random123 library, for threefry2x32 with 13 rounds
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x9D1C5EC6, 0x8BD50731)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0xFD36D048, 0x2D17272C)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xBA3E4725, 0xF27D669E)),
]
word = st.integers(0, 2**32 - 1)


def in_uint32(key, counter):
    """Return the words of Threefry, computed with uint32 arrays and a loop over the rounds, as in the paper."""
    key, x = [np.uint32(k) for k in key], np.array(counter, np.uint32)
    key.append(key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    x[0] += key[0]
    x[1] += key[1]
    for i in range(13):
        rotation = np.uint32([13, 15, 26, 6, 17, 29, 16, 24][i % 8])
        x[0] += x[1]
        x[1] = (x[1] << rotation) | (x[1] >> (np.uint32(32) - rotation))
        x[1] ^= x[0]
        if i % 4 == 3:
            s = i // 4 + 1
            x[0] += key[s % 3]
            x[1] += key[(s + 1) % 3] + np.uint32(s)
    return x


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(counter, key, words):
    assert threefry_2x32(*key, *counter) == words
    compiled = njit(lower(threefry_2x32, jitable))
    assert compiled(*key, *counter) == words


@settings(deadline=None)
@given(st.tuples(word, word), st.tuples(word, word))
def test_the_words_are_those_of_a_loop_in_uint32(key, counter):
    with np.errstate(over="ignore"):
        assert threefry_2x32(*key, *counter) == tuple(in_uint32(key, counter).tolist())


def rounded(rate):
    """Return the multiple of 2⁻¹⁶ that is nearest to a rate."""
    return round(rate * 2**16) / 2**16


def kept(key, n, examples, rate):
    """Return the mask (n, m) of a layer with n units, unit by unit."""
    quarter = math.ceil(n / 4)
    mask = np.empty((n, len(examples)), bool)
    for j, (i, example) in itertools.product(range(n), enumerate(examples)):
        words = threefry_2x32(*key, j % quarter, int(example))
        halves = [half for word in words for half in (word % 2**16, word // 2**16)]
        mask[j, i] = halves[j // quarter] / 2**16 >= rounded(rate)
    return mask


@njit
def _call(kernel, arguments):
    kernel(*arguments)


def dropped(backend, dtype, key, examples, a, rate, in_place=False):
    """Return `a` of shape (n, m) after dropout on a backend."""
    backend = backends.get(backend)
    rows = backend.empty(a.T.shape, dtype)
    rows[...] = backend.upload(np.ascontiguousarray(a.T))
    out = rows if in_place else backend.empty(a.T.shape, dtype)
    numbers = backend.upload(np.asarray(examples, np.int64))
    scale = 1 / (1 - rounded(rate))
    arguments = round(rate * 2**16), scale, *key, len(a), numbers, backend.columns(rows), backend.columns(out)
    drop = backend.dropout(dtype)
    if backend.name == "numpy":
        _call(drop, arguments)
    else:
        backend.run(drop, *arguments)
    return backend.to_host(out).T


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (2, 3), (3, 2), (5, 3), (7, 4), (64, 33), (101, 40), (102, 3)])
def test_the_masks_are_the_same_on_every_backend(backend, n, m, dtype, in_place, rng):
    a, key = rng.standard_normal((n, m)).astype(dtype), (12345, 2**32 - 7)
    examples = rng.integers(0, 2**32, m)
    expected = np.where(kept(key, n, examples, 0.3), a.dtype.type(1 / (1 - rounded(0.3))) * a, 0)
    np.testing.assert_array_equal(dropped(backend, dtype, key, examples, a, 0.3, in_place), expected)


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9])
def test_the_fraction_of_units_that_are_kept(rate, backend):
    n = 1000
    for layer in range(3):
        key = threefry_2x32(1, 2, layer, 0)
        mask = dropped(backend, "float32", key, np.arange(n), np.ones((n, n), np.float32), rate) > 0
        error = 4 * (rate * (1 - rate)) ** 0.5
        assert abs(mask.mean() - (1 - rate)) < error / n
        assert np.abs(mask.mean(axis=0) - (1 - rate)).max() < 1.5 * error / n**0.5  # the largest of a thousand
        assert np.abs(mask.mean(axis=1) - (1 - rate)).max() < 1.5 * error / n**0.5


def test_no_values_of_dropped_units_remain():
    a = np.full((8, 8), np.nan, np.float32)
    for name in ("numpy", "numpy-plain"):
        assert set(np.isnan(dropped(name, "float32", (0, 0), range(8), a, 0.5)).ravel().tolist()) == {True, False}


# Training

RATES = [0.2, 0.5, 0.3]  # of `problem`


def problem(backend="numpy", dtype="float64", n=30):
    rng = np.random.default_rng(5)
    x, labels = rng.random((6, n)), rng.integers(0, 3, n)
    net = fastbp.Network([6, 5, 4, 3], ["sigmoid", "gelu", "softmax"], "log-likelihood", dtype=dtype, rng=2)
    return net.to(backend), x, labels


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def step_by_loops(weights, biases, x, y, masks):
    """Return the mean cost and its gradient, example by example, where each layer's inputs are dropped by `masks`."""
    import reference

    rates = [rounded(rate) for rate in RATES]
    g = {0: "sigmoid", 1: "gelu"}
    cost, nabla_w, nabla_b = 0.0, [0 * w for w in weights], [0 * b for b in biases]
    for i in range(x.shape[1]):
        a, inputs, zs = x[:, i], [], []
        for l, (w, b) in enumerate(zip(weights, biases, strict=True)):
            inputs.append(np.where(masks[l][:, i], a / (1 - rates[l]), 0))
            zs.append(w @ inputs[l] + b[:, 0])
            a = np.vectorize(reference.ACTIVATIONS[g[l]][0])(zs[l]) if l in g else np.exp(zs[l]) / np.exp(zs[l]).sum()
        cost -= np.log(a) @ y[:, i]
        delta = a - y[:, i]
        for l in (2, 1, 0):
            nabla_w[l] += np.outer(delta, inputs[l])
            nabla_b[l] += delta[:, None]
            if l:
                back = np.where(masks[l][:, i], weights[l].T @ delta / (1 - rates[l]), 0)
                delta = back * np.vectorize(reference.ACTIVATIONS[g[l - 1]][1])(zs[l - 1])
    m = x.shape[1]
    return cost / m, [w / m for w in nabla_w], [b / m for b in nabla_b]


@pytest.mark.parametrize("name", ["numpy", "numpy-plain", "array_api_strict"])
def test_training_is_that_of_loops_over_examples(name):
    net, x, labels = problem(name)
    y, rates, m, eta, lmbda = np.eye(3)[labels].T, RATES, 7, 0.4, 0.1
    start = net.to("numpy")
    weights, biases, rng = start.weights, start.biases, start._rng
    history = net.train(x, labels, epochs=2, mini_batch_size=m, eta=eta, lmbda=lmbda, dropout=rates, progress=False)
    for epoch in range(2):
        key, cost = rng.integers(2**32, size=2), 0.0
        order = rng.permutation(30)
        for first in range(0, 30, m):
            batch = order[first : first + m]
            masks = [
                kept(threefry_2x32(*map(int, key), l, 0), n, batch, rate)
                for l, (n, rate) in enumerate(zip([6, 5, 4], rates, strict=True))
            ]
            mean, nabla_w, nabla_b = step_by_loops(weights, biases, x[:, batch], y[:, batch], masks)
            cost += mean * len(batch) / 30
            weights = [(1 - eta * lmbda / 30) * w - eta * nabla for w, nabla in zip(weights, nabla_w, strict=True)]
            biases = [b - eta * nabla for b, nabla in zip(biases, nabla_b, strict=True)]
        assert history.cost[epoch] == pytest.approx(cost, rel=1e-12)
    got = net.to("numpy")
    for here, expected in zip([*got.weights, *got.biases], [*weights, *biases], strict=True):
        np.testing.assert_allclose(here, expected, rtol=1e-11, atol=1e-12)


def test_the_gradient_is_that_of_the_cost_with_the_same_masks():
    """The cost of an epoch with one mini-batch is that before its step, and the step is −η ∇C."""

    def epoch(change=None, eta=0.5):
        net, x, labels = problem()
        if change is not None:
            net.weights[0][change[0]] += change[1]
        before = net.weights[0].copy()
        options = {"epochs": 1, "mini_batch_size": 30, "eta": eta, "dropout": RATES, "progress": False}
        cost = net.train(x, labels, **options).cost[0]
        return cost, (before - net.weights[0]) / eta

    _, gradient = epoch()
    for where in [(0, 0), (3, 2), (4, 5)]:
        high, low = (epoch((where, step))[0] for step in (1e-5, -1e-5))
        assert gradient[where] == pytest.approx((high - low) / 2e-5, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("optimizer", ["sgd", Adam()])
@pytest.mark.parametrize("dropout", [0, 0.0, [0.0, 0.0, 0.0]])
def test_without_dropout_nothing_changes(dropout, optimizer):
    results = []
    for options in ({}, {"dropout": dropout}):
        net, x, labels = problem(dtype="float32")
        history = net.train(x, labels, epochs=2, mini_batch_size=8, optimizer=optimizer, progress=False, **options)
        results.append([*net.weights, *net.biases, np.array(history.cost), net._rng.random()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_masks_do_not_depend_on_the_mini_batches():
    """With η so small that the parameters stay the same, the cost of an epoch is a sum over examples."""
    costs = []
    for m in (1, 7, 30):
        net, x, labels = problem()
        options = {"epochs": 1, "mini_batch_size": m, "eta": 1e-300, "progress": False}
        costs.append(net.train(x, labels, dropout=RATES, **options).cost[0])
    assert costs == pytest.approx([costs[0]] * 3, rel=1e-14)


def test_the_masks_of_two_epochs_and_of_two_seeds_differ():
    costs = set()
    for seed in (1, 2):
        net, x, labels = problem()
        net = fastbp.Network(net.sizes, ["sigmoid", "gelu", "softmax"], "log-likelihood", dtype="float64", rng=seed)
        net.weights = problem()[0].weights
        net.biases = problem()[0].biases
        options = {"epochs": 3, "mini_batch_size": 30, "eta": 1e-300, "progress": False}
        costs |= set(net.train(x, labels, dropout=0.5, **options).cost)
    assert len(costs) == 6


def test_feedforward_backprop_and_cost_have_no_dropout():
    net, x, labels = problem()
    net.train(x, labels, epochs=1, mini_batch_size=8, dropout=0.9, progress=False)
    same = net.to("numpy-plain")
    assert net.cost(x, labels) == pytest.approx(same.cost(x, labels), rel=1e-13)
    np.testing.assert_allclose(net.feedforward(x), same.feedforward(x), rtol=1e-13)
    assert fastbp.check_gradients(net, x, labels) < 1e-6


@pytest.mark.parametrize("dropout", [[0.0, 0.5, 0.2], RATES, [0.9, 0.0, 0.0]])
@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-11), ("float32", 3e-4)])
def test_bytes_weights_and_sparse_inputs(rng, dropout, dtype, bound):
    x = (rng.random((37, 40)) < 0.3) * rng.integers(1, 256, (37, 40))
    x[:, 3] = 0  # an example without entries
    labels, options = rng.integers(0, 3, 40), {"epochs": 3, "mini_batch_size": 9, "progress": False}
    options |= {"sample_weight": rng.random(40), "dropout": dropout}
    results, formats = [], (scipy.sparse.csc_array, scipy.sparse.csr_array, scipy.sparse.coo_matrix)
    for inputs in (x.astype(np.uint8), x.astype(np.float64), *(form(x.astype(np.float64)) for form in formats)):
        names = ["sigmoid", "gelu", "softmax"]
        net = fastbp.Network([37, 5, 4, 3], names, "log-likelihood", rng=1, dtype=dtype, input_scale=1 / 255)
        history = net.train(inputs, labels, eta=0.3, **options)
        results.append([*net.weights, *net.biases, history.cost])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_allclose(one, two, rtol=bound, atol=bound)


def test_entries_of_sparse_inputs_are_dropped_like_dense_ones(rng):
    """A column with one entry j has an output only if unit j is kept, and two entries of one unit go together."""
    n, m = 33, 200
    entries = rng.integers(0, n, m)
    x = scipy.sparse.csc_array((np.ones(2 * m), np.repeat(entries, 2), np.arange(0, 2 * m + 1, 2)), (n, m))
    assert x.nnz == 2 * m
    net = fastbp.Network([n, 1], "identity", bias=False, dtype="float64", rng=0)
    net.weights = [np.ones((1, n))]
    linear = fastbp.Cost("linear", lambda a, y: a, lambda a, y: 1.0)
    options = {"activations": "identity", "cost": linear, "dropout": [0.4], "dropout_key": 5}
    _, (nabla,) = fastbp.backprop(net.weights, [], x, np.zeros((1, m)), **options)
    mask = kept(threefry_2x32(5, 0, 0, 0), n, range(m), 0.4)[entries, np.arange(m)]
    expected = np.bincount(entries[mask], minlength=n) * 2 / (1 - rounded(0.4))
    np.testing.assert_allclose(nabla[0], expected, rtol=1e-12)


# Gradients with masks that stay the same

KEY = 2**32 * 7 + 2**31 + 3


@pytest.mark.parametrize("name", ["numpy", "numpy-plain", "array_api_strict"])
def test_gradients_with_dropout_agree_with_finite_differences(name):
    net, x, labels = problem(name)
    for key in (0, KEY, 2**64 - 1):
        assert fastbp.check_gradients(net, x, labels, dropout=RATES, dropout_key=key) < 1e-7
    assert fastbp.check_gradients(net, x, labels, dropout=0.5, dropout_key=1) < 1e-7
    assert fastbp.check_gradients(net, x[:, 0], labels[:1], dropout=0.5, dropout_key=1) < 1e-7


def test_gradients_that_ignore_the_masks_do_not_pass_the_check(monkeypatch):
    net, x, labels = problem("numpy-plain")
    without = equations.backpropagate
    monkeypatch.setattr(equations, "backpropagate_with_dropout", lambda ops, p, ws, dropout, batch: without(ops, p, ws))
    with pytest.raises(fastbp.GradientError, match=r"the gradient with respect to weights\[0\] is"):
        fastbp.check_gradients(net, x, labels, dropout=RATES, dropout_key=KEY)


@pytest.mark.parametrize("name", ["numpy", "numpy-plain", "array_api_strict"])
def test_the_gradient_with_dropout_is_that_of_loops_over_examples(name, monkeypatch):
    monkeypatch.setattr(inference, "_BLOCK", 6 * 11)  # several batches, the last of them smaller
    net, x, labels = problem(name)
    start = net.to("numpy")
    key = KEY % 2**32, KEY // 2**32
    sizes = zip([6, 5, 4], RATES, strict=True)
    masks = [kept(threefry_2x32(*key, l, 0), n, range(30), rate) for l, (n, rate) in enumerate(sizes)]
    _, nabla_w, nabla_b = step_by_loops(start.weights, start.biases, x, np.eye(3)[labels].T, masks)
    options = {"activations": ["sigmoid", "gelu", "softmax"], "cost": "log-likelihood"}
    dropout = {"dropout": RATES, "dropout_key": KEY}
    before = x.copy(order="F")
    for inputs in (x, before):
        found = net.backprop(inputs, labels, **dropout)
        again = fastbp.backprop(net.weights, net.biases, inputs, labels, **options, **dropout)
        for (ours_b, ours_w), host in ((found, net), (again, net)):
            for here, expected in zip([*ours_w, *ours_b], [*nabla_w, *nabla_b], strict=True):
                here = host._plan.backend.to_host(here)
                np.testing.assert_allclose(here / 30, expected, rtol=1e-11, atol=1e-13)
    np.testing.assert_array_equal(before, x)  # inputs are not dropped in place


def test_masks_follow_from_the_key(rng):
    net, x, labels = problem()
    sparse, small = scipy.sparse.csr_array(x), x.astype(np.float32)

    def gradient(key, inputs=x, dropout=RATES):
        return net.backprop(inputs, labels, dropout=dropout, dropout_key=key)[1]

    np.testing.assert_array_equal(gradient(3)[0], gradient(3)[0])
    np.testing.assert_allclose(gradient(3, sparse)[0], gradient(3)[0], rtol=1e-12)
    np.testing.assert_allclose(gradient(3, small)[0], gradient(3)[0], rtol=1e-4)
    for other in (2, 3 + 2**32, 3 + 2**63):
        assert not np.allclose(gradient(3)[0], gradient(other)[0], rtol=1e-3)
    for dropout in (0, 0.0, [0, 0.0, 0]):
        for here, expected in zip(gradient(3, dropout=dropout), net.backprop(x, labels)[1], strict=True):
            np.testing.assert_allclose(here, expected, rtol=1e-13, atol=1e-16)


KEYS_REFUSED = {
    "no key": ({"dropout": 0.5}, r"dropout and dropout_key must be given together, got dropout alone; also pass dro"),
    "no rates": ({"dropout_key": 1}, r"must be given together, got dropout_key alone; also pass dropout=0\.5$"),
    "negative": ({"dropout": 0.5, "dropout_key": -1}, r"dropout_key must be an integer from 0 to .*615, got -1"),
    "large": ({"dropout": 0.5, "dropout_key": 2**64}, r"dropout_key must be an integer from 0 to 18446744073709551615"),
    "text": ({"dropout": 0.5, "dropout_key": "a"}, r"dropout_key must be an integer .*, got 'a'"),
    "rate": ({"dropout": [0.1, 1.0, 0.0], "dropout_key": 1}, r"dropout\[1\] must be at least 0 and below 1, got 1\.0"),
    "rates": ({"dropout": [0.1], "dropout_key": 1}, r"dropout must be a rate for all .* 3 rates, got 1"),
}


@pytest.mark.parametrize("case", KEYS_REFUSED)
def test_bad_keys_are_refused(case):
    options, message = KEYS_REFUSED[case]
    net, x, labels = problem()
    refused(message, net.backprop, x, labels, **options)
    refused(message, fastbp.check_gradients, net, x, labels, **options)
    formulas = {"activations": ["sigmoid", "gelu", "softmax"], "cost": "log-likelihood"}
    refused(message, fastbp.backprop, net.weights, net.biases, x, labels, **formulas, **options)


# Rates


@pytest.mark.parametrize("rate", [1e-9, 2**-16, 0.3, 0.5, 1 - 2**-16, 1 - 1e-9])
def test_a_rate_is_rounded_to_a_multiple_that_is_neither_0_nor_1(rate):
    net, _, _ = problem()
    dropout = new_dropout(net._plan, [rate, 0.0], None, None)
    assert dropout.thresholds.tolist() == [min(max(round(rate * 2**16), 1), 2**16 - 1), 0]
    np.testing.assert_array_equal(dropout.scales, [1 / (1 - dropout.thresholds[0] / 2**16), 1.0])


def test_digits_with_dropout():
    (x, labels), (x_test, labels_test) = fastbp.datasets.digits()
    net = fastbp.Network([64, 100, 10], ["relu", "softmax"], "log-likelihood", rng=0)
    net.train(x, labels, epochs=15, mini_batch_size=32, eta=0.3, dropout=[0.1, 0.3], progress=False)
    assert net.accuracy(x_test, labels_test) > 0.95


REFUSED = {
    "negative": (-0.1, r"dropout must be at least 0 and below 1, got -0\.1"),
    "one": (1.0, r"dropout must be at least 0 and below 1, got 1\.0"),
    "nan": ([0.0, float("nan"), 0.1], r"dropout\[1\] must be at least 0 and below 1, got nan"),
    "too few": ([0.1, 0.5], r"dropout must be a rate for all hidden layers, or a list with the input and each hidden"),
    "text": ("half", r"dropout must be a rate for all hidden layers, or a list .* 3 rates, got 4"),
    "none": (None, r"dropout must be a rate, or a list of rates, got None"),
    "bool": (True, r"dropout must be at least 0 and below 1, got True"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_rates_are_refused(case):
    dropout, message = REFUSED[case]
    net, x, labels = problem()
    refused(message, net.train, x, labels, dropout=dropout)
    np.testing.assert_array_equal(net.weights[0], problem()[0].weights[0])


def test_dropout_needs_units_that_can_be_dropped():
    net = fastbp.Network([6, 3], rng=0)
    _, x, labels = problem()
    refused(r"dropout needs a hidden layer; for the input alone, pass a list, dropout=\[0\.5\]", net.train, x, labels,
            dropout=0.5)  # fmt: skip
    net.train(x, labels, epochs=1, dropout=[0.5], progress=False)


@pytest.mark.slow
def test_accuracy_with_dropout_is_that_of_a_pytorch_twin():
    """Ten seeds, the same start, mini-batches and settings; only the masks differ."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    (x, labels), (x_test, labels_test) = fastbp.datasets.digits()
    ours, theirs = [], []
    for seed in range(10):
        net = fastbp.Network([64, 100, 10], ["relu", "softmax"], "log-likelihood", rng=seed)
        layers = [torch.nn.Linear(k, n) for k, n in ((64, 100), (100, 10))]
        with torch.no_grad():
            for layer, w, b in zip(layers, net.weights, net.biases, strict=True):
                layer.weight.copy_(torch.from_numpy(w))
                layer.bias.copy_(torch.from_numpy(b[:, 0]))
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Dropout(0.1), layers[0], torch.nn.ReLU(), torch.nn.Dropout(0.5), layers[1])
        optimizer, rng = torch.optim.SGD(model.parameters(), lr=0.1), np.random.default_rng(seed)
        columns, targets = torch.from_numpy(np.ascontiguousarray(x.T, "float32")), torch.from_numpy(labels.astype(int))
        for _ in range(30):
            for batch in torch.from_numpy(rng.permutation(len(labels))).split(10):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(columns[batch]), targets[batch]).backward()
                optimizer.step()
        model.eval()
        with torch.no_grad():
            found = model(torch.from_numpy(np.ascontiguousarray(x_test.T, "float32"))).argmax(dim=1).numpy()
        theirs.append(100 * np.mean(found == labels_test))
        net.train(x, labels, epochs=30, mini_batch_size=10, eta=0.1, dropout=[0.1, 0.5], progress=False)
        ours.append(100 * net.accuracy(x_test, labels_test))
    print(f"mean accuracy over ten seeds: fastbp {np.mean(ours):.2f} %, PyTorch {np.mean(theirs):.2f} %")
    assert np.mean(ours) >= np.mean(theirs) - 0.3


def test_the_number_of_threads_does_not_change_the_masks():
    """A unit with another mask would change the costs by far more than rounding errors do."""
    rng = np.random.default_rng(0)
    x, labels = rng.random((300, 256)), rng.integers(0, 10, 256)
    costs = []
    for threads in (1, 2, 5):
        net = fastbp.Network([300, 200, 10], ["relu", "softmax"], "log-likelihood", dtype="float64", rng=0)
        with fastbp.use_threads(threads):
            history = net.train(x, labels, epochs=2, mini_batch_size=64, eta=0.05, dropout=[0.2, 0.5], progress=False)
        costs.append(history.cost)
    np.testing.assert_allclose(costs, [costs[0]] * 3, rtol=1e-10)
