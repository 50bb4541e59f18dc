"""fastbp.convert: converted networks predict and train alike; what a format cannot represent is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

import fastbp
from fastbp import convert
from fastbp.book import network2

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from sklearn import neural_network as theirs

from fastbp import estimators as ours

BOTH = pytest.mark.parametrize("library", [theirs, ours], ids=["scikit-learn", "fastbp"])
HIDDEN = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
OUTPUTS = [("softmax", "log-likelihood", 3), ("softmax", "log-likelihood", 2), ("sigmoid", "cross-entropy", 1)]
OUTPUTS += [("sigmoid", "cross-entropy", 4), ("identity", "quadratic", 1), ("identity", "quadratic", 3)]
PLAIN = "numpy-plain"  # needs no compilation, which "numpy" needs for each depth
X = np.random.default_rng(0).random((5, 40))
ROUNDING = {"float64": {"rtol": 1e-12, "atol": 1e-14}, "float32": {"rtol": 1e-5, "atol": 1e-6}}

networks = st.builds(
    lambda sizes, hidden, output, dtype, scale, seed: fastbp.Network(
        [5, *sizes, output[2]],
        [*[hidden] * len(sizes), output[0]],
        output[1],
        dtype=dtype,
        input_scale=scale,
        rng=seed,
        backend=PLAIN,
    ),
    st.lists(st.integers(1, 6), max_size=3),
    st.sampled_from(sorted(HIDDEN.values())),
    st.sampled_from(OUTPUTS),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from([1.0, 1 / 255]),
    st.integers(0, 99),
)


def close(actual, expected, dtype):
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), **ROUNDING[dtype])


def estimator_for(net, library):
    kind = library.MLPRegressor if net.activations[-1].name == "identity" else library.MLPClassifier
    return kind(backend=PLAIN) if library is ours else kind()


def outputs_of(estimator):
    """Return the predictions of an estimator for X, as columns like aᴸ."""
    if hasattr(estimator, "predict_proba"):
        return estimator.predict_proba(X.T).T
    return np.reshape(estimator.predict(X.T), (X.shape[1], -1)).T


@BOTH
@settings(max_examples=40, deadline=None)
@given(net=networks)
def test_to_scikit_learn_and_back(library, net):
    estimator = convert.to_sklearn(net, estimator_for(net, library))
    a = net.feedforward(X)
    proba = np.vstack([1 - a, a]) if estimator.out_activation_ == "logistic" and len(a) == 1 else a
    close(outputs_of(estimator), proba, net.dtype)
    if len(proba) > 1 and estimator.out_activation_ != "identity":
        several = estimator.out_activation_ == "logistic" and estimator.n_outputs_ > 1
        expected = (a > 0.5).T if several else proba.argmax(axis=0)
        np.testing.assert_array_equal(estimator.predict(X.T), expected)
    back = convert.from_sklearn(estimator, backend=PLAIN)
    close(back.feedforward(X), a[1:] if net.activations[-1].name == "softmax" and len(a) == 2 else a, net.dtype)
    assert (back.dtype, back.input_scale) == (net.dtype, 1.0)
    assert back.sizes[:-1] == net.sizes[:-1]
    assert back.activations[:-1] == net.activations[:-1]


@BOTH
@pytest.mark.parametrize("target", ["binary", "classes", "multilabel", "number", "numbers"])
def test_from_a_fitted_estimator(library, target):
    rng = np.random.default_rng(1)
    y = {
        "binary": np.array(["no", "yes"])[(X[0] > 0.5).astype(int)],
        "classes": np.array(["a", "b", "c"])[(3 * X[0]).astype(int)],
        "multilabel": (X[:3] > 0.5).T.astype(int),
        "number": X[0] + X[1],
        "numbers": (X[:2] * 2).T,
    }[target]
    kind = library.MLPRegressor if "number" in target else library.MLPClassifier
    estimator = kind(hidden_layer_sizes=(4,), activation="tanh", max_iter=500, tol=0.01, random_state=0).fit(X.T, y)
    net = convert.from_sklearn(estimator, rng=rng)
    a = net.feedforward(X)
    proba = outputs_of(estimator)
    close(a, proba[1:] if target == "binary" else proba, "float64")
    if target == "classes":
        assert estimator.classes_[net.predict(X)].tolist() == estimator.predict(X.T).tolist()


@BOTH
def test_predictions_are_the_given_classes(library):
    for outputs, classes in ((3, ["a", "b", "c"]), (2, [-1, 1])):
        net = fastbp.Network([5, outputs], "softmax", "log-likelihood", rng=0)
        model = convert.to_sklearn(net, library.MLPClassifier(), classes=classes)
        assert model.classes_.tolist() == classes
        assert model.predict(X.T).tolist() == [classes[c] for c in net.predict(X)]


@BOTH
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam"])
@pytest.mark.parametrize("way", ["to", "from"])
def test_training_continues_alike(library, optimizer, way):
    # All forty examples are the same, so the order does not matter, and a wrong α = λ m/n would show.
    x, label = np.repeat(X[:, :1], 40, axis=1), np.ones(40, int)
    options = {"epochs": 4, "mini_batch_size": 8, "eta": 0.05, "lmbda": 3.0, "optimizer": optimizer}
    net = fastbp.Network([5, 4, 3], ["tanh", "softmax"], "log-likelihood", dtype="float64", rng=0)
    made = convert.to_sklearn(net, library.MLPClassifier(**convert.training_to_sklearn(40, **options)))
    again = convert.from_sklearn(made) if way == "from" else net
    if way == "from":
        options = convert.training_from_sklearn(made, 40)
    again.train(x, label, progress=False, **options)
    for _ in range(4):
        made.partial_fit(x.T, label)
    for w, b, coefs, intercepts in zip(again.weights, again.biases, made.coefs_, made.intercepts_, strict=True):
        np.testing.assert_allclose(coefs, w.T, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(intercepts, b[:, 0], rtol=1e-9, atol=1e-12)
    assert made.t_ == 160
    assert len(made.loss_curve_) == 4


def test_training_options_are_converted_to_scikit_learn_and_back():
    options = {"epochs": 7, "mini_batch_size": 20, "eta": 0.25, "lmbda": 2.5, "optimizer": fastbp.optimizers.SGD(0.5)}
    there = convert.training_to_sklearn(1000, **options)
    assert there["alpha"] == 2.5 * 20 / 1000
    for library in (theirs, ours):
        assert convert.training_from_sklearn(library.MLPClassifier(**there), 1000) == options
    expected = {"epochs": 200, "mini_batch_size": 200, "eta": 0.001, "optimizer": fastbp.optimizers.Adam()}
    assert convert.training_from_sklearn(theirs.MLPRegressor(), 1000) == expected | {"lmbda": 0.0001 * 1000 / 200}
    options = {"epochs": 7, "lmbda": 0.5, "optimizer": "lbfgs"}
    there = convert.training_to_sklearn(1000, **options)
    assert (there["alpha"], there["solver"]) == (0.5, "lbfgs")
    assert convert.training_from_sklearn(theirs.MLPRegressor(**there), 1000) == options
    assert convert.training_from_sklearn(theirs.MLPRegressor(batch_size=50), 20)["mini_batch_size"] == 20


@BOTH
def test_warm_start_continues_from_the_network(library):
    net = fastbp.Network([5, 4, 3], ["relu", "softmax"], "log-likelihood", dtype="float64", rng=0)
    given_ = library.MLPClassifier(learning_rate_init=1e-9, warm_start=True, max_iter=3, tol=1.0, n_iter_no_change=1)
    model = convert.to_sklearn(net, given_)
    assert not hasattr(model, "loss_")
    model.fit(X.T, np.arange(40) % 3)
    close(model.predict_proba(X.T).T, net.feedforward(X), "float32")
    assert not hasattr(given_, "coefs_")


def test_only_fastbps_estimators_can_have_different_hidden_activations():
    net = fastbp.Network([5, 4, 3, 2], ["tanh", "relu", "identity"], dtype="float64", rng=0)
    close(outputs_of(convert.to_sklearn(net, ours.MLPRegressor())), net.feedforward(X), "float64")
    refused("MLPRegressor: The 'activation' parameter", convert.to_sklearn, net, theirs.MLPRegressor())


sigmoids = st.builds(
    lambda sizes, cost, dtype, scale: fastbp.Network(
        sizes, cost=cost, dtype=dtype, input_scale=scale, rng=0, backend=PLAIN
    ),
    st.lists(st.integers(1, 5), min_size=1, max_size=3).map(lambda sizes: [5, *sizes]),
    st.sampled_from(["quadratic", "cross-entropy"]),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from([1.0, 1 / 255]),
)


@settings(max_examples=30, deadline=None)
@given(net=sigmoids)
def test_to_the_book_and_back(tmp_path_factory, net):
    path = tmp_path_factory.mktemp("book") / "net.json"
    convert.to_book(net, path)
    a = net.feedforward(X)
    book = network2.load(path)
    for j in range(3):
        close(book.feedforward(X[:, [j]])[:, 0], a[:, j], net.dtype)
    assert book.cost.__name__ == {"quadratic": "QuadraticCost"}.get(net.cost_function.name, "CrossEntropyCost")
    back = convert.from_book(path, rng=0, backend=PLAIN)
    close(back.feedforward(X), a, net.dtype)
    assert (back.dtype, back.sizes, back.cost_function) == ("float64", net.sizes, net.cost_function)


def test_the_books_training_continues_alike(tmp_path, capsys):
    book = network2.Network([5, 4, 2])
    book.save(tmp_path / "net")
    net = convert.from_book(tmp_path / "net")
    x, y = X[:, :1], np.array([[0.0], [1.0]])
    book.SGD([(x, y)] * 40, 2, 8, 0.5, 3.0)
    options = {"epochs": 2, "mini_batch_size": 8, "eta": 0.5, "lmbda": 3.0}
    net.train(np.repeat(x, 40, axis=1), np.repeat(y, 40, axis=1), progress=False, **options)
    for w, b, books_w, books_b in zip(net.weights, net.biases, book.weights, book.biases, strict=True):
        np.testing.assert_allclose(books_w, w, rtol=1e-9)
        np.testing.assert_allclose(books_b, b, rtol=1e-9)


MODULES = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "ReLU", "leaky-relu": "LeakyReLU", "softplus": "Softplus"}
MODULES |= {"identity": "Identity"}


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    names=st.lists(st.sampled_from(sorted(MODULES)), min_size=3, max_size=3),
    dtype=st.sampled_from(["float32", "float64"]),
    scale=st.sampled_from([1.0, 1 / 255]),
    bias=st.booleans(),
)
def test_to_pytorch_and_back(sizes, names, dtype, scale, bias):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    sizes, names = [5, *sizes], names[: len(sizes)]
    net = fastbp.Network(sizes, names, dtype=dtype, input_scale=scale, bias=bias, rng=0, backend=PLAIN)
    layers = []
    for n_in, n_out, name in zip(sizes[:-1], sizes[1:], names, strict=True):
        layers += [torch.nn.Linear(n_in, n_out, bias=bias), getattr(torch.nn, MODULES[name])()]
    model = torch.nn.Sequential(*layers).to(getattr(torch, dtype))
    state_dict = convert.to_torch(net)
    model.load_state_dict(state_dict)
    outputs = model(torch.from_numpy(X.T).to(getattr(torch, dtype))).T.detach()
    close(outputs, net.feedforward(X), dtype)
    for given_ in (model.state_dict(), {name: tensor.numpy() for name, tensor in state_dict.items()}):
        back = convert.from_torch(given_, names, "quadratic", backend=PLAIN)
        assert (back.sizes, back.dtype, len(back.biases)) == (net.sizes, dtype, len(net.biases))
        close(back.feedforward(X), outputs, dtype)
    before = model[0].weight.detach().clone()
    back.update_mini_batch(X, np.zeros((sizes[-1], 40)), 0.5)
    assert torch.equal(model[0].weight, before)  # the network has its own memory


def test_layers_are_sorted_by_number_and_from_the_first_to_the_last():
    def dict_of(*names):
        rng = np.random.default_rng(0)
        return {name: rng.standard_normal((3, 3)) for name in names}

    for names in (("0.weight", "2.weight", "10.weight"), ("net.fc1.weight", "net.fc2.weight", "net.fc10.weight")):
        given_ = dict_of(*names)
        net = convert.from_torch(dict(sorted(given_.items())), "tanh", "quadratic")
        for w, name in zip(net.weights, names, strict=True):
            np.testing.assert_array_equal(w, given_[name])
    given_ = dict_of("head.weight", "stem.weight", "body.weight")
    np.testing.assert_array_equal(convert.from_torch(given_, "tanh", "quadratic").weights[0], given_["stem.weight"])
    lone = {"weight": np.ones((1, 2), np.float16), "bias": np.zeros(1, np.float16)}
    assert convert.from_torch(lone, "sigmoid", "quadratic").dtype == "float32"


def linear(**changes):
    rng = np.random.default_rng(0)
    shapes = {"0.weight": (4, 5), "0.bias": (4,), "2.weight": (3, 4), "2.bias": (3,)}
    state_dict = {name: rng.random(shape) for name, shape in shapes.items()}
    state_dict |= {name.replace("_", ".", 1): value for name, value in changes.items()}
    return {name: value for name, value in state_dict.items() if value is not None}


HOSTILE_DICTS = [
    (linear(**{"0_weight": np.ones((4, 5, 3, 3))}), r"0.weight must be a matrix .* got shape \(4, 5, 3, 3\)"),
    (linear(**{"0_weight": np.ones(4)}), r"0.weight must be a matrix .* got shape \(4,\)"),
    (linear(**{"0_weight": np.ones((4, 0))}), r"0.weight must be a matrix .* got shape \(4, 0\)"),
    (linear(**{"2_weight": np.ones((3, 7))}), "2.weight must take 4 inputs, the outputs of 0.weight, got 7"),
    (linear(**{"0_weight": np.full((4, 5), np.nan)}), "0.weight must be finite, got NaN or infinity"),
    (linear(**{"2_bias": np.full(3, np.inf)}), "2.bias must be finite, got NaN or infinity"),
    (linear(**{"2_bias": np.ones(2)}), r"2.bias must have shape \(3,\), got \(2,\)"),
    (linear(**{"2_bias": 1.0}), r"2.bias must have shape \(3,\), got \(\)"),
    (linear(**{"0_weight": np.full((4, 5), "a")}), "0.weight must contain real numbers, got dtype <U1"),
    (linear(**{"0_weight": [[1.0], [2.0, 3.0]]}), "0.weight must be an array that NumPy can read"),
    (linear(**{"0_weight": np.broadcast_to(1.0, (4, 2**40))}), "take 32,768 GiB of weights in float64"),
    (
        linear(**{"2_bias": None}),
        "all biases or none, got 1 of 2 layers without, the first of them '2'; give it a bias of zeros",
    ),
    (linear(**{"2_weight": None}), "the weight of every layer, .* got weights of 1 and biases of 2 of 2 layers"),
    (
        linear(**{"1_running_mean": np.ones(4)}),
        "state_dict must contain only weights and biases of linear layers, got '1.running_mean'",
    ),
    ({3: np.ones((2, 2))}, "state_dict must contain only weights and biases of linear layers, got '3'"),
    ({"lineweight": np.ones((2, 2))}, "linear layers, got 'lineweight'"),
    ({}, "weights must contain at least one matrix, got none"),
    ([np.ones((2, 2))], "state_dict must be a dict or a torch.nn.Module, got list; pass model.state_dict"),
]


@pytest.mark.parametrize(("state_dict", "message"), HOSTILE_DICTS)
def test_invalid_state_dicts_are_refused(state_dict, message):
    refused(message, convert.from_torch, state_dict, "sigmoid", "quadratic")


def test_invalid_activations_and_costs_are_refused():
    refused("unknown activation 'Sigmoid'", convert.from_torch, linear(), "Sigmoid", "quadratic")
    refused("unknown cost 'mse'", convert.from_torch, linear(), "sigmoid", "mse")
    refused(
        r"activations must be one activation .*\(here 2\), got a list of 3",
        convert.from_torch,
        linear(),
        ["tanh"] * 3,
        "quadratic",
    )
    refused(
        "cost 'quadratic' cannot be used with 'softmax'", convert.from_torch, linear(), ["tanh", "softmax"], "quadratic"
    )


def test_without_pytorch_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    refused("not installed: pip install torch", convert.to_torch, fastbp.Network([2, 1]))


HOSTILE_ATTRIBUTES = [
    (
        {"coefs_": [np.ones((5, 4)), np.ones((7, 3))]},
        r"coefs_\[1\] must take 4 inputs, the outputs of coefs_\[0\], got 7",
    ),
    ({"coefs_": [np.ones((5, 4))]}, "coefs_ and intercepts_ must each have one array per layer, got 1 and 2"),
    ({"coefs_": [], "intercepts_": []}, "one array per layer, got 0 and 0"),
    ({"coefs_": None}, "must be a fitted MLPClassifier .* got MLPClassifier without lists coefs_ and intercepts_"),
    ({"coefs_": [np.full((5, 4), np.nan), np.ones((4, 3))]}, r"coefs_\[0\] must be finite, got NaN"),
    ({"coefs_": [np.ones((5, 4), object), np.ones((4, 3))]}, r"coefs_\[0\] must contain real numbers, got dtype obj"),
    ({"coefs_": [np.ones(5), np.ones((4, 3))]}, r"coefs_\[0\] must be a matrix .* got shape \(5,\)"),
    ({"coefs_": [np.broadcast_to(1.0, (2**40, 4)), np.ones((4, 3))]}, "GiB of weights in float64"),
    ({"intercepts_": [np.ones(3), np.ones(3)]}, r"intercepts_\[0\] must have shape \(4,\), got \(3,\)"),
    ({"intercepts_": [np.ones(4), np.full(3, np.inf)]}, r"intercepts_\[1\] must be finite, got NaN or infinity"),
    ({"out_activation_": "tanh"}, "unknown out_activation_ 'tanh'; valid: softmax, logistic, identity, exp"),
    ({"activation": "rely"}, "unknown activation 'rely'; did you mean 'relu'"),
    ({"activation": ["relu", "tanh"]}, r"activations must be one activation .*\(here 2\), got a list of 3"),
    ({"activation": None}, "unknown activation None"),
    ({"activation": 3}, "unknown activation 3"),
]


@BOTH
@pytest.mark.parametrize(("attributes", "message"), HOSTILE_ATTRIBUTES)
def test_estimators_with_invalid_attributes_are_refused(library, attributes, message):
    net = fastbp.Network([5, 4, 3], ["relu", "softmax"], "log-likelihood", rng=0)
    estimator = convert.to_sklearn(net, library.MLPClassifier())
    for name, value in attributes.items():
        setattr(estimator, name, value)
    refused(message, convert.from_sklearn, estimator)


def test_other_objects_and_unfitted_estimators_are_refused():
    from sklearn.linear_model import LogisticRegression

    net = fastbp.Network([5, 3], "softmax", "log-likelihood", rng=0)
    refused("got MLPClassifier without lists coefs_ and intercepts_", convert.from_sklearn, theirs.MLPClassifier())
    refused("got LogisticRegression without lists coefs_ and intercepts_", convert.from_sklearn, LogisticRegression())
    refused(
        r"estimator must be an MLPClassifier\(\) .* got LogisticRegression",
        convert.to_sklearn,
        net,
        LogisticRegression(),
    )
    refused("estimator must be .* got None", convert.to_sklearn, net, None)
    poisson, net = theirs.MLPRegressor(loss="poisson"), fastbp.Network([5, 3], "identity", rng=0)
    refused("loss must be 'squared_error' for the cost quadratic, got 'poisson'", convert.to_sklearn, net, poisson)
    for way in (convert.to_torch, lambda other: convert.to_book(other, "net")):
        refused("net must be a fastbp.Network, got dict", way, {})
    refused("estimator must be an MLPClassifier or MLPRegressor, got 3", convert.training_from_sklearn, 3, 10)


@BOTH
@pytest.mark.parametrize(
    ("sizes", "activations", "cost", "options", "message"),
    [
        (
            [5, 3],
            "sigmoid",
            "quadratic",
            {},
            "last layer of net must be softmax with .* for MLPClassifier, got sigmoid with quadratic",
        ),
        ([5, 3], "identity", "quadratic", {}, "for MLPClassifier, got identity with quadratic"),
        ([5, 3], "relu", "quadratic", {}, "for MLPClassifier, got relu with quadratic"),
        (
            [5, 3],
            "softmax",
            "log-likelihood",
            {"bias": False},
            "net must have biases for MLPClassifier, got a network with bias=False",
        ),
    ],
)
def test_networks_that_an_estimator_cannot_represent_are_refused(library, sizes, activations, cost, options, message):
    net = fastbp.Network(sizes, activations, cost, **options)
    refused(message, convert.to_sklearn, net, library.MLPClassifier())
    net = fastbp.Network([5, 3], "identity", "sum-squared")
    refused(
        "identity with quadratic or exponential with poisson for MLPRegressor, got identity with sum-squared",
        convert.to_sklearn,
        net,
        library.MLPRegressor(),
    )


@pytest.mark.parametrize(
    ("output", "classes", "message"),
    [
        (OUTPUTS[0], ["a", "b"], r"classes must be 3 values in ascending order, got \['a', 'b'\]"),
        (OUTPUTS[0], ["a", "c", "b"], "3 values in ascending order"),
        (OUTPUTS[0], ["a", "b", "b"], "3 values in ascending order"),
        (OUTPUTS[0], 3, "classes must be 3 values in ascending order, got 3"),
        (OUTPUTS[2], ["a"], "classes must be 2 values in ascending order"),
        (OUTPUTS[3], [0, 1, 2, 3], "classes must be None for a regressor or several sigmoid outputs"),
        (OUTPUTS[5], [0, 1, 2], "classes must be None for a regressor or several sigmoid outputs"),
    ],
)
def test_invalid_classes_are_refused(output, classes, message):
    net = fastbp.Network([5, output[2]], output[0], output[1])
    refused(message, convert.to_sklearn, net, estimator_for(net, ours), classes=classes)


def test_activations_that_scikit_learn_lacks_are_refused():
    net = fastbp.Network([5, 4, 3], ["softplus", "softmax"], "log-likelihood")
    message = "among identity, sigmoid, tanh, relu for scikit-learn, got 'softplus'"
    refused(message, convert.to_sklearn, net, theirs.MLPClassifier())


def test_user_formulas_with_the_name_of_a_built_in_are_refused(tmp_path):
    mine = fastbp.Activation("sigmoid", lambda z: 0.5 * z, lambda z, a: 0.5 + 0.0 * a, outputs=(0.0, 1.0))
    net = fastbp.Network([5, 4, 3], [mine, "sigmoid"], "cross-entropy", backend="numpy-plain")
    refused("for scikit-learn, got 'sigmoid'", convert.to_sklearn, net, theirs.MLPClassifier())
    assert convert.to_sklearn(net, ours.MLPClassifier()).activation == mine
    refused("for the book's format, got 'sigmoid'", convert.to_book, net, tmp_path / "net")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"activations": ["tanh", "sigmoid"]},
            "net must have sigmoid activations in all layers for the book's format, got 'tanh'",
        ),
        ({"cost": "sum-squared"}, "the cost quadratic or cross-entropy for the book's format, got 'sum-squared'"),
        ({"bias": False}, "net must have biases for the book's format, got a network with bias=False"),
    ],
)
def test_networks_that_the_books_format_cannot_represent_are_refused(options, message, tmp_path):
    refused(message, convert.to_book, fastbp.Network([5, 4, 3], **options), tmp_path / "net")
    assert not list(tmp_path.iterdir())


def book_file(**changes):
    data = {"sizes": [2, 1], "weights": [[[0.5, 0.25]]], "biases": [[[1.0]]], "cost": "QuadraticCost"} | changes
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (book_file(cost="Mine"), "unknown cost 'Mine'; .*valid: QuadraticCost, CrossEntropyCost"),
        (book_file(cost="os.system" * 1000), "unknown cost 'os.systemos"),
        (book_file(weights=[[[0.5, float("nan")]]]), "NaN"),
        (book_file(weights=[[[0.5], [0.25]]]), r"weights\[0\] must have shape \(1, 2\), got \(2, 1\)"),
        (book_file(sizes=[2**31 - 1, 2**31 - 1]), "GiB of weights"),
        (book_file(sizes=[2, 10**30]), "its sizes must be"),
        (book_file()[:-9], "JSON"),
    ],
)
def test_hostile_files_of_the_book_are_refused(text, message, tmp_path):
    (tmp_path / "net").write_text(text)
    refused(message, convert.from_book, tmp_path / "net")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"solver": "sgd", "learning_rate": "adaptive"},
            "learning_rate must be 'constant' for Network.train, got 'adaptive'",
        ),
        ({"shuffle": False}, "shuffle must be True for Network.train, got False"),
        ({"alpha": float("nan")}, "alpha must be a number >= 0, got nan"),
        ({"alpha": -1.0}, "alpha must be a number >= 0, got -1.0"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
        ({"solver": "sgd", "momentum": 1.0}, "momentum must be at least 0 and below 1, got 1.0"),
    ],
)
def test_estimator_parameters_without_an_equivalent_are_refused(options, message):
    refused(message, convert.training_from_sklearn, theirs.MLPClassifier(**options), 100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eta": fastbp.schedules.Cosine(0.5)}, r"eta must be a positive number, got Cosine\(eta=0.5\)"),
        ({"optimizer": "lbfgs", "eta": 0.1}, "eta cannot be combined with optimizer 'lbfgs', got 0.1"),
        ({"optimizer": "rmsprop"}, "optimizer must be SGD or Adam for scikit-learn, got 'rmsprop'"),
        ({"mini_batch_size": 200}, "mini_batch_size must be an integer from 1 to 100, got 200"),
        ({"lmbda": float("inf")}, "lmbda must be a number >= 0, got inf"),
        ({"epochs": 0}, "epochs must be an integer >= 1, got 0"),
    ],
)
def test_training_options_without_an_equivalent_are_refused(options, message):
    refused(message, convert.training_to_sklearn, 100, **options)


def test_poisson_regressors_and_other_activations_of_fastbps_estimators():
    from fastbp import estimators

    x = np.random.default_rng(0).standard_normal((30, 5))
    options = {"activation": ["gelu", "logistic"], "hidden_layer_sizes": (4, 3), "max_iter": 2, "tol": 9.0}
    own = {"solver": fastbp.optimizers.AdamW(), "dropout": 0.2, "n_iter_no_change": 1, "random_state": 0}
    with pytest.warns(match="Maximum iterations"):
        counts = estimators.MLPRegressor("poisson", **options | own).fit(x, np.arange(30) % 4)
    net = convert.from_sklearn(counts)
    assert [a.name for a in net.activations] == ["gelu", "sigmoid", "exponential"]
    np.testing.assert_allclose(net.feedforward(x.T)[0], counts.predict(x), rtol=1e-12)
    again = convert.to_sklearn(net, counts)
    np.testing.assert_allclose(again.predict(x), counts.predict(x), rtol=1e-12)
    assert again.get_params() == counts.get_params()
    training = convert.training_from_sklearn(counts, 30)
    assert (training["optimizer"], training["dropout"]) == (fastbp.optimizers.AdamW(), 0.2)
    refused("loss must be 'poisson' for the cost poisson", convert.to_sklearn, net, estimators.MLPRegressor())
