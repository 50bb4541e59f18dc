"""L-BFGS: cost and gradient of all examples, the steps against SciPy on loops over examples, and the options."""

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from click.testing import CliRunner
from refusals import refused

import fastbp
import reference
from fastbp import cli
from fastbp.training import full_batch, lbfgs

NAMES = ["tanh", "sigmoid"]
LAYERS = [3, 4, 2]


@pytest.fixture
def data():
    rng = np.random.default_rng(5)
    return rng.random((3, 11)), rng.integers(0, 2, 11)


def network(backend="numpy", dtype="float64", **options):
    return fastbp.Network(LAYERS, NAMES, dtype=dtype, backend=backend, rng=1, **options)


def on_host(net):
    host = net.to("numpy", dtype="float64")
    return [*host.weights, *host.biases]


def trained(net, *data, **options):
    return net.train(*data, optimizer="lbfgs", progress=False, **options)


def searched(net, x, y, epochs, lmbda=0.0, s=None):
    """Minimise the cost with SciPy and loops over examples; return the parameters, and the cost of each iteration."""
    parts = [*net.weights, *net.biases]
    ends = np.cumsum([part.size for part in parts])
    targets, n, count = np.eye(LAYERS[-1])[y].T, x.shape[1], len(net.weights)
    s = np.ones(n) if s is None else s
    costs = []

    def split(theta):
        arrays = np.split(theta, ends[:-1])
        arrays = [array.reshape(part.shape) for array, part in zip(arrays, parts, strict=True)]
        return arrays[:count], arrays[count:]

    def average_cost(weights, biases):
        one = [reference.cost(weights, biases, x[:, i], targets[:, i], NAMES, "quadratic") for i in range(n)]
        return sum(s * one) / n

    def objective(theta):
        weights, biases = split(theta)
        nablas = [0.0 * part for part in parts]
        for i in range(n):
            nabla_b, nabla_w = reference.backprop(weights, biases, x[:, i], targets[:, i], NAMES, "quadratic")
            nablas = [a + s[i] / n * b for a, b in zip(nablas, [*nabla_w, *nabla_b], strict=True)]
        for nabla, w in zip(nablas[:count], weights, strict=True):
            nabla += lmbda / n * w
        l2 = lmbda / (2 * n) * sum((w**2).sum() for w in weights)
        return average_cost(weights, biases) + l2, np.concatenate([nabla.ravel() for nabla in nablas])

    def callback(theta):
        costs.append(average_cost(*split(theta)))

    start = np.concatenate([part.ravel() for part in parts])
    options = {"maxiter": epochs, "gtol": 1e-5}
    found = scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", callback=callback, options=options)
    weights, biases = split(found.x)
    return [*weights, *biases], costs


def assert_same(net, expected, rtol=1e-9):
    for ours, theirs in zip(on_host(net), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("lmbda", [0.0, 0.3])
def test_iterations_equal_scipy_on_loops_over_examples(data, backend, lmbda):
    expected, costs = searched(network(), *data, 6, lmbda)
    net = network(backend)
    history = trained(net, *data, epochs=6, lmbda=lmbda)
    assert_same(net, expected)
    np.testing.assert_allclose(history.cost, costs, rtol=1e-11)
    assert len(history.seconds) == 6
    single = network(backend, "float32")
    trained(single, *data, epochs=6, lmbda=lmbda)
    assert_same(single, expected, rtol=2e-3)


def test_weights_of_examples(data, backend):
    s = np.linspace(0, 2, 11)
    net = network(backend)
    trained(net, *data, epochs=5, lmbda=0.1, sample_weight=s)
    assert_same(net, searched(network(), *data, 5, 0.1, s)[0])


def test_without_biases(data, backend):
    net = network(backend, bias=False)
    trained(net, *data, epochs=5)
    assert_same(net, searched(network(bias=False), *data, 5)[0])


@pytest.mark.parametrize("kind", ["rows", "columns", "bytes", "sparse", "some"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_of_many_examples(rng, kind, dtype, monkeypatch):
    """In several groups and blocks, it is the average of the gradients of single batches."""
    monkeypatch.setattr(full_batch, "_MIN_SPLIT", 0)
    monkeypatch.setattr(full_batch, "_CACHE_BYTES", 0)
    n = 2500
    x, y = rng.integers(0, 3, (20, n)), rng.integers(0, 4, n)
    net = fastbp.Network([20, 7, 4], "tanh", dtype=dtype, rng=0, input_scale=0.5 if kind == "bytes" else 1.0)
    if kind in ("bytes", "sparse"):
        x = x.astype(np.uint8) if kind == "bytes" else scipy.sparse.csc_matrix(x.astype(dtype))
    else:
        x = np.array(x, dtype, order="C" if kind == "columns" else "F")
    before = on_host(net)
    batches = []
    call = full_batch.FullBatch.__call__

    def spy(batch, theta):
        batches.append((batch, *call(batch, theta)))
        return batches[-1][1:]

    monkeypatch.setattr(full_batch.FullBatch, "__call__", spy)
    net_used = net.to()
    options = {"validation": 0.2} if kind == "some" else {}
    trained(net_used, x, y, epochs=1, **options)
    batch, cost, nabla = batches[0]
    assert len(batch._groups) > 1
    used = slice(None)
    if kind == "some":
        from fastbp.datasets.inputs import hold_out

        used = hold_out(0.2, y, n, net.to()._rng)[0]
    x, y = x[:, used], y[used]
    nabla_b, nabla_w = net.backprop(x, y)
    expected = np.concatenate([a.ravel() for a in (*nabla_w, *nabla_b)]) / len(y)
    rtol = 1e-12 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(nabla, expected, rtol=rtol, atol=rtol * abs(expected).max())
    np.testing.assert_allclose(cost, net.cost(x, y), rtol=rtol)
    for a, b in zip(before, on_host(net), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bits_do_not_depend_on_threads(rng):
    x, y = rng.random((50, 3000)), rng.integers(0, 10, 3000)
    nets = [fastbp.Network([50, 40, 10], rng=0) for _ in range(2)]
    for threads, net in enumerate(nets, 1):
        with fastbp.use_threads(threads):
            trained(net, x, y, epochs=3)
    for one, two in zip(*map(on_host, nets), strict=True):
        np.testing.assert_array_equal(one, two)


def test_one_evaluation_per_call_of_scipy(data, monkeypatch):
    calls, found = [], []
    minimize = lbfgs.minimize

    def counted(objective, *arguments, **options):
        found.append(minimize(lambda theta: calls.append(1) or objective(theta), *arguments, **options))
        return found[0]

    monkeypatch.setattr(lbfgs, "minimize", counted)
    history = trained(network(), *data, epochs=9)
    assert len(calls) == found[0].nfev
    assert len(history.cost) == found[0].nit == 9


def test_a_linear_network_reaches_the_solution_of_least_squares(rng, backend):
    x, y = rng.standard_normal((4, 30)), rng.standard_normal((2, 30))
    net = fastbp.Network([4, 2], "identity", dtype="float64", rng=0, backend=backend)
    history = trained(net, x, y, epochs=200)
    assert len(history.cost) < 200  # it has converged
    design = np.vstack([x, np.ones(30)])
    solution = np.linalg.lstsq(design.T, y.T)[0].T
    w, b = on_host(net)
    np.testing.assert_allclose(np.hstack([w, b]), solution, atol=1e-4)


def test_validation_patience_and_callback(data):
    x, y = data
    pair = np.random.default_rng(0).random((3, 7)), np.arange(7) % 2
    net, seen = network(), []

    def callback(epoch):
        seen.append((epoch, on_host(net)))
        np.testing.assert_allclose(epoch.cost, net.cost(x, y), rtol=1e-12)
        np.testing.assert_allclose(epoch.validation_cost, net.cost(*pair), rtol=1e-12)
        assert epoch.validation_accuracy == net.accuracy(*pair)

    history = trained(net, x, y, epochs=40, validation=pair, patience=3, callback=callback)
    accuracies = history.validation_accuracy
    best = int(np.argmax(accuracies))
    assert history.best_epoch == best + 1
    assert len(accuracies) == best + 4 < 40
    assert [epoch.number for epoch, _ in seen] == list(range(1, best + 5))
    assert_same(net, seen[best][1], rtol=0)
    stopped = network()
    assert len(trained(stopped, x, y, epochs=9, callback=lambda epoch: epoch.number == 4).cost) == 4
    assert_same(stopped, seen[3][1], rtol=0)


def test_parameters_that_a_callback_assigns_are_the_new_start(data):
    net, other = network(), network()
    start = [np.full_like(w, 0.25) for w in net.weights]

    def callback(epoch):
        if epoch.number == 2:
            net.weights = start
            other.weights, other.biases = start, [b.copy() for b in net.biases]

    history = trained(net, *data, epochs=6, callback=callback)
    expected = trained(other, *data, epochs=4)
    assert_same(net, on_host(other), rtol=0)
    assert history.cost[2:] == expected.cost


def test_an_error_by_which_scipy_would_end_the_search_is_raised(data):
    def callback(epoch):
        raise StopIteration("no more data")

    with pytest.raises(StopIteration, match="no more data"):
        trained(network(), *data, callback=callback)


def test_ctrl_c_keeps_the_last_complete_iteration(data, monkeypatch):
    net, calls, seen = network(), [], []
    call = full_batch.FullBatch.__call__

    def interrupted(batch, theta):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return call(batch, theta)

    monkeypatch.setattr(full_batch.FullBatch, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(net, *data, epochs=50, callback=lambda epoch: seen.append(on_host(net)))
    assert_same(net, seen[-1], rtol=0)
    assert 3 < len(seen) < 12


def test_a_cost_that_is_not_finite(data):
    net = fastbp.Network([3, 1], "identity", dtype="float64", rng=0)
    before = on_host(net)
    with pytest.raises(fastbp.DivergedError, match=r"the cost is not finite in epoch 1; scale the inputs .*") as raised:
        trained(net, data[0] * 1e200, data[1][None])
    assert "\n" not in str(raised.value)
    assert_same(net, before, rtol=0)


def test_a_search_that_finds_no_lower_cost_ends_with_a_warning(data, monkeypatch, caplog):
    call = full_batch.FullBatch.__call__
    monkeypatch.setattr(
        full_batch.FullBatch, "__call__", lambda batch, theta: (lambda c, g: (c, -g))(*call(batch, theta))
    )
    history = trained(network(), *data)
    assert history.cost == []
    assert "training stopped in epoch 1: the line search of L-BFGS found no lower cost" in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("eta", 0.5, "0.5"),
        ("eta", fastbp.schedules.Cosine(0.5), r"Cosine\("),
        ("mini_batch_size", 4, "4"),
        ("dropout", 0.5, "0.5"),
        ("dropout", [0.0, 0.5], r"\[0.0, 0.5\]"),
        ("momentum", 0.9, "0.9"),
        ("checkpoint", "run.safetensors", "'run.safetensors'"),
        ("resume", True, "True"),
    ],
)
def test_options_that_do_not_apply_are_refused_by_name(data, name, value, text):
    net = network()
    message = rf"{name} cannot be combined with optimizer 'lbfgs', got {text}.*; leave it out: "
    refused(message, trained, net, *data, **{name: value})
    assert_same(net, on_host(network()), rtol=0)


def test_options_that_every_optimizer_checks(data):
    refused("epochs must be an integer >= 1", trained, network(), *data, epochs=0)
    refused("lmbda must be", trained, network(), *data, lmbda=-1.0)
    refused("patience needs validation data", trained, network(), *data, patience=2)
    refused("unknown optimizer 'lbfg'; did you mean 'lbfgs'?", network().train, *data, optimizer="lbfg")


def test_warmup(backend):
    assert fastbp.warmup(network(backend), optimizer="lbfgs") > 0


def test_the_command(tmp_path):
    def run(*options):
        return CliRunner().invoke(cli.fastbp, ["train", "--optimizer", "lbfgs", "--epochs", "25", *options])

    done = run("--activations", "tanh", "--save", str(tmp_path / "net.safetensors"))
    assert done.exit_code == 0, done.output
    assert "25 epochs" in done.output
    (x, labels), _ = fastbp.datasets.digits()
    assert fastbp.load(tmp_path / "net.safetensors").accuracy(x, labels) > 0.9
    for options, name in (
        (["--eta", "1"], "eta"),
        (["--schedule", "cosine"], "schedule"),
        (["--dropout", "0.1"], "dropout"),
        (["--mini-batch-size", "5"], "mini_batch_size"),
        (["--checkpoint", "run.safetensors"], "checkpoint"),
    ):
        done = run(*options)
        assert done.exit_code != 0
        assert f"{name} cannot be combined with optimizer 'lbfgs'" in done.output + str(done.exception)
