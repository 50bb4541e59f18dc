"""Bad input raises an error of one line that says what must hold and what was given, and nothing is changed."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

import fastbp

X, Y = np.linspace(0, 1, 12).reshape(3, 4), np.eye(2, 4)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([], "sizes must be a list of two or more integers"),
        ([3], r"sizes must be a list of two or more integers, .* got \[3\]"),
        (3, "sizes must be a list of two or more integers, .* got 3"),
        ("3-2", "sizes must be a list of two or more integers, .* got '3-2'"),
        ([3, 0], r"sizes\[1\] must be an integer >= 1, got 0"),
        ([3, -2, 2], r"sizes\[1\] must be an integer >= 1, got -2"),
        ([3, 2.0], r"sizes\[1\] must be an integer >= 1, got 2.0"),
        ([3, True], r"sizes\[1\] must be an integer >= 1, got True"),
        ([3, "2"], r"sizes\[1\] must be an integer >= 1, got '2'"),
        ([3, math.nan], r"sizes\[1\] must be an integer >= 1, got nan"),
        ([10**9, 10**9], r"sizes 1000000000-1000000000 take .* GiB of weights in float32, and this machine has .* GiB"),
        ([10**30, 2], "GiB of weights"),
        ([10**400, 2], "GiB of weights"),
        ({3, 2}, "sizes must be a list of two or more integers"),
    ],
)
def test_sizes(sizes, message):
    refused(message, fastbp.Network, sizes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"activations": "sigmiod"},
            "unknown activation 'sigmiod'; did you mean 'sigmoid'. valid: sigmoid, tanh, relu",
        ),
        ({"activations": ["tanh"]}, r"activations must be one activation .*\(here 2\), got a list of 1"),
        ({"activations": ["tanh"] * 3}, r"activations must be one activation .*\(here 2\), got a list of 3"),
        ({"activations": 3}, "activations must be a name, an Activation, or a list of them, got 3"),
        ({"activations": [None, "tanh"]}, "unknown activation None; valid: sigmoid"),
        ({"activations": ["softmax", "sigmoid"]}, "softmax must be in the last layer only, got it in layer 2"),
        ({"activations": "softmax", "cost": "log-likelihood"}, "softmax must be in the last layer only"),
        ({"cost": "quadratics"}, "unknown cost 'quadratics'; did you mean 'quadratic'. valid: quadratic, sum-squared"),
        (
            {"cost": "log-likelihood"},
            "'log-likelihood' cannot be used with 'sigmoid' .*activations for this cost: softmax$",
        ),
        ({"cost": "cross-entropy", "activations": "relu"}, "'cross-entropy' cannot be used with 'relu' .*: sigmoid$"),
        ({"cost": "cross-entropy", "activations": ["tanh", "softmax"]}, "costs for this activation: log-likelihood;"),
        ({"cost": "quadratic", "activations": ["tanh", "softmax"]}, "costs for this activation: log-likelihood;"),
        ({"cost": None}, "unknown cost None"),
        ({"bias": "no"}, "bias must be True or False, got 'no'"),
        ({"dtype": "float16"}, "dtype must be float32 or float64, got 'float16'"),
        ({"dtype": "flaot32"}, "dtype must be float32 or float64, got 'flaot32'"),
        ({"dtype": int}, "dtype must be float32 or float64, got 'int64'"),
        ({"backend": "numpi"}, "unknown backend 'numpi'; did you mean 'numpy'"),
        ({"rng": -1}, "rng must be an integer >= 0 or a numpy.random.Generator, got -1"),
        ({"rng": "seed"}, "rng must be an integer >= 0 or a numpy.random.Generator, got 'seed'"),
        ({"init": "Large"}, "unknown init 'Large'; did you mean 'large'. valid: scaled, large"),
    ],
)
def test_options_of_a_network(options, message):
    refused(message, fastbp.Network, [3, 4, 2], **options)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((2, 3)), r"x must have 3 rows \(one per input\), got shape \(2, 3\); pass x.T if rows are examples"),
        (np.ones((4, 2)), r"x must have 3 rows \(one per input\), got shape \(4, 2\)$"),
        (np.ones(4), r"x must have 3 rows .* got shape \(4,\)"),
        (np.ones((3, 2, 1)), r"x must have 3 rows .* got shape \(3, 2, 1\)"),
        (1.0, r"x must have 3 rows .* got shape \(\)"),
        ([], r"x must have 3 rows .* got shape \(0,\)"),
        (np.ones((3, 0)), r"x must have at least one column \(one per example\), got shape \(3, 0\)"),
        (np.ones((3, 2), complex), "x must contain real numbers, got dtype complex128"),
        (np.full((3, 2), "a"), "x must contain real numbers, got dtype <U1"),
        (np.full((3, 2), None), "x must contain real numbers, got dtype object"),
        (None, "x must contain real numbers, got dtype object"),
        ([[1.0, 2.0], [1.0]], "x must be an array that NumPy can read, got list: "),
        ([[0.0], [math.nan], [0.0]], r"x must contain finite numbers .*, got nan \(row 1, column 0\)"),
        ([0.0, 0.0, -math.inf], r"x must contain finite numbers .*, got -inf \(row 2, column 0\)"),
        (np.array([[0.0, 1e300]] * 3), r"x must .* in the range of float32, got 1e\+300 \(row 0, column 1\)"),
    ],
)
def test_inputs(x, message, backend):
    net = fastbp.Network([3, 4, 2], rng=0, backend=backend)
    refused(message, net.feedforward, x)
    refused(message, net.predict, x)
    refused(message, net.train, x, Y, progress=False)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.eye(3, 4), r"y must have 2 rows \(one per output\), got shape \(3, 4\)"),
        (np.eye(2, 3), "y must have one column per example: x has 4 columns, y has 3 columns"),
        ([0, 1, 1], "y must have one label per example: x has 4 columns, y has 3 labels"),
        ([0, 1, 2, 1], r"labels must be from 0 to 1, got 2 \(example 2\)"),
        ([0, -1, 1, 1], r"labels must be from 0 to 1, got -1 \(example 1\)"),
        ([0.5, 1.0, 1.0, 0.0], r"y must be integer labels \(one per example\) or .* 2 rows .*, got a vector of float"),
        (
            ["a", "b", "a", "c"],
            "y must (contain numbers, got text like 'a'|have 2 different labels, one per class, got 3)",
        ),
        (1, "x has 4 columns, y has 1 label"),
        (0.5, r"y must be integer labels .*, got (0\.5|np\.float64)"),
        (np.full((2, 4), math.nan), r"y must contain finite numbers .*, got nan \(row 0, column 0\)"),
        (np.full((2, 4), math.inf), "y must contain finite numbers .*, got inf"),
        ([], "y must be integer labels .*, got a vector of float64"),
    ],
)
def test_targets(y, message):
    net = fastbp.Network([3, 4, 2], rng=0)
    for call in (net.cost, net.backprop, net.trace, fastbp.Network([3, 4, 2]).cost):
        refused(message, call, X, y)
    refused(message, net.train, X, y, mini_batch_size=2, progress=False)
    refused(message, net.train, X, Y, mini_batch_size=2, progress=False, validation=(X, y))
    refused(message, net.update_mini_batch, X, y, 0.1)


def test_targets_outside_the_range_of_the_cost():
    net = fastbp.Network([3, 2], cost="cross-entropy")
    refused("y must be from 0 to 1 for the cost 'cross-entropy', got targets from -1 to 0", net.cost, X, Y - 1)
    net = fastbp.Network([3, 2], "softmax", "log-likelihood")
    message = "columns of y must sum to 1 for the cost 'log-likelihood', got sums from 0 to 1"
    refused(message, net.train, X, Y, mini_batch_size=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eta": 0}, "eta must be a positive number, got 0"),
        ({"eta": -1.0}, "eta must be a positive number, got -1.0"),
        ({"eta": math.nan}, "eta must be a positive number, got nan"),
        ({"eta": math.inf}, "eta must be a positive number, got inf"),
        ({"eta": "3"}, "eta must be a positive number, got '3'"),
        ({"eta": 10**400}, "eta must be a positive number, got 1000"),
        ({"lmbda": -0.1}, "lmbda must be a number >= 0, got -0.1"),
        ({"lmbda": math.nan}, "lmbda must be a number >= 0, got nan"),
        ({"epochs": 0}, "epochs must be an integer >= 1, got 0"),
        ({"epochs": -3}, "epochs must be an integer >= 1, got -3"),
        ({"epochs": 2.5}, "epochs must be an integer >= 1, got 2.5"),
        ({"epochs": math.inf}, "epochs must be an integer >= 1, got inf"),
        ({"mini_batch_size": 0}, "mini_batch_size must be an integer from 1 to 4, got 0"),
        ({"mini_batch_size": -1}, "mini_batch_size must be an integer from 1 to 4, got -1"),
        ({"mini_batch_size": 5}, "mini_batch_size must be an integer from 1 to 4, got 5"),
        ({"mini_batch_size": 1.5}, "mini_batch_size must be an integer from 1 to 4, got 1.5"),
        ({"validation": X}, r"validation must be a pair \(x, y\) or a fraction"),
        ({"validation": (X, Y[:, :2])}, "validation: y must have one column per example: x has 4 columns, y has 2"),
        ({"callback": 3}, "callback must be a function of an Epoch, got 3"),
    ],
)
def test_bad_training_options_change_nothing(options, message):
    net = fastbp.Network([3, 2], rng=0)
    kept = net.weights[0].copy()
    refused(message, net.train, X, Y, **{"mini_batch_size": 2, "progress": False, **options})
    np.testing.assert_array_equal(net.weights[0], kept)


def test_numpy_numbers_are_valid_options():
    net = fastbp.Network([3, 2], rng=0)
    net.train(X, Y, epochs=np.int64(1), mini_batch_size=np.int32(2), eta=np.float32(0.5), lmbda=0, progress=False)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([np.ones((4, 3))], r"weights must be 2 arrays of shapes \(4, 3\), \(2, 4\), got 1 array"),
        ([np.ones((3, 4)), np.ones((2, 4))], r"weights\[0\] must have shape \(4, 3\), got \(3, 4\)"),
        ([np.ones((4, 3)), np.ones((2, 4), complex)], r"weights\[1\] must contain real numbers, got dtype complex128"),
        ([np.ones((4, 3)), np.full((2, 4), math.nan)], r"weights\[1\] must be finite in float32, got NaN"),
        ([np.ones((4, 3)), np.full((2, 4), 1e300)], r"weights\[1\] must be finite .* or a number that overflows"),
        ([np.ones((4, 3)), [[1.0], [2.0, 3.0]]], r"weights\[1\] must be an array that NumPy can read, got list"),
        ([np.ones((4, 3)), None], r"weights\[1\] must contain real numbers, got dtype object"),
        (3, "weights must be a list of arrays, got 3"),
    ],
)
def test_assigned_weights(weights, message):
    net = fastbp.Network([3, 4, 2], rng=0)
    kept = net.weights
    refused(message, setattr, net, "weights", weights)
    assert net.weights is kept
    if isinstance(weights, list):
        net.weights[:] = weights  # bypasses the setter; checked at the next use
        refused(message, net.feedforward, X)


def test_assigned_biases():
    net = fastbp.Network([3, 2])
    refused(r"biases\[0\] must have shape \(2, 1\), got \(2,\)", setattr, net, "biases", [np.ones(2)])
    without = fastbp.Network([3, 2], bias=False)
    refused(r"biases must be an empty list \(.*\), got 1 array", setattr, without, "biases", [np.ones((2, 1))])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], X, Y), "weights must be a list of one or more arrays of shape"),
        ((5, [], X, Y), "weights and biases must be lists of arrays"),
        (([np.ones((2, 3))], None, X, Y), "weights and biases must be lists of arrays"),
        (([np.ones(3)], [], X, Y), "weights must be a list of one or more arrays of shape"),
        (([[[1.0]]], [], X, Y), "weights must be a list of one or more arrays of shape"),
        (([np.ones((2, 4))], [], X, Y), r"x must have 4 rows \(one per input\), got shape \(3, 4\)"),
        (([np.ones((4, 3)), np.ones((2, 5))], [], X, Y), r"weights\[1\] must have shape \(2, 4\), got \(2, 5\)"),
        (([np.ones((2, 3), int)], [], X, Y), "dtype must be float32 or float64, got 'int64'"),
        (([np.ones((2, 3))], [np.ones((3, 1))], X, Y), r"biases\[0\] must have shape \(2, 1\), got \(3, 1\)"),
    ],
)
def test_backprop_with_given_parameters(arguments, message):
    refused(message, fastbp.backprop, *arguments)


def test_labels_for_accuracy():
    net = fastbp.Network([3, 2])
    refused(r"labels must be from 0 to 1, got 2 \(example 0\)", net.accuracy, X, [2, 0, 0, 0])
    refused("x has 4 columns, labels has 2 labels", net.accuracy, X, [0, 1])
    refused("labels must contain finite numbers .*, got nan", net.accuracy, X, np.full((2, 4), math.nan))
    refused("labels must be integer labels .*, got a vector of float64", net.accuracy, X, [0.5, 1.0, 0.0, 1.0])


@settings(max_examples=60, deadline=None)
@given(value=st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=3), st.just([1])))
@pytest.mark.parametrize("name", ["epochs", "mini_batch_size", "eta", "lmbda"])
def test_any_value_of_an_option_trains_or_is_refused_in_one_line(name, value):
    net = fastbp.Network([3, 2], rng=0, backend="numpy-plain")
    message = ""
    try:
        net.train(X, Y, **{"epochs": 1, "mini_batch_size": 2, "progress": False, name: value})
    except (fastbp.InputError, fastbp.DivergedError) as error:
        message = str(error)
    assert "\n" not in message


LONG = {
    "text": "a" * 3_000_000,
    "whole": -(10**10_000),
    "list": [[10**10_000] * 1000] * 1000,
    "nested": {"a": {"b": ["c" * 10_000]}},
    "array": np.zeros((100, 100)),
}


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no repr")


@pytest.mark.parametrize("value", [*LONG.values(), Unprintable()], ids=[*LONG, "unprintable"])
def test_messages_abridge_long_values(value):
    net = fastbp.Network([3, 2], rng=0, backend="numpy-plain")
    for call, options in (
        (fastbp.Network, {"sizes": value}),
        (fastbp.Network, {"sizes": [3, value]}),
        (fastbp.Network, {"sizes": [3, 2], "activations": [value]}),
        (fastbp.Network, {"sizes": [3, 2], "cost": value}),
        (fastbp.Network, {"sizes": [3, 2], "bias": value}),
        (fastbp.Network, {"sizes": [3, 2], "backend": value}),
        (fastbp.Network, {"sizes": [3, 2], "rng": value}),
        (net.train, {"x": X, "y": Y, "eta": value}),
        (net.train, {"x": X, "y": Y, "optimizer": value}),
        (net.train, {"x": X, "y": Y, "callback": [value]}),
        (fastbp.load, {"path": value if not isinstance(value, str) else [value]}),
    ):
        with pytest.raises(fastbp.InputError) as raised:
            call(**options)
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 300


def test_messages_do_not_show_the_full_repr_of_a_value():
    """Only names that fastbp defines, paths and networks may be shown with `!r`."""
    paths = {"path", "folder", "path_name(path)", "file.path", "foreign_link", "os.fspath(options.checkpoint)"}
    short = {"net", "name", "near[0]", "backend.name", "exact", "namespace.__name__"} | paths
    for path in Path(fastbp.__file__).parent.rglob("*.py"):
        shown = set(re.findall(r"\{([^{}]*)!r\}", path.read_text(encoding="utf-8")))
        assert shown <= short, f"{path}: {shown - short}; fastbp.errors.brief cuts the repr of a value"
