"""fastbp.book.network2 against a loop over examples: equal draws, lines, lists and parameters, to 1e-9."""

import copy
import itertools
import json
import os
import pickle
import random
import re
from pathlib import Path

import network2_loop
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from refusals import refused
from test_book_network import check_parameters, columns, pairs, seed, units

import fastbp
from fastbp.book import network2

SIZES = [64, 12, 10]
FLAGS = [f"monitor_{part}_{what}" for part in ("evaluation", "training") for what in ("cost", "accuracy")]
ALL = dict.fromkeys(FLAGS, True)
NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?|inf|nan")


@pytest.fixture(scope="module")
def digits():
    """Bundled digits: 60 pairs of columns for training, 40 pairs of a column and a label for evaluation."""
    (x, labels), (x_test, labels_test) = fastbp.datasets.digits()
    return pairs(x, units(labels))[:60], list(zip(columns(x_test), labels_test, strict=True))[:40]


def outcome(module, make, train, capsys):
    seed()
    net = make(module)
    capsys.readouterr()
    lists = train(net)
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return net, lists, capsys.readouterr().out, (random.getstate(), kind, keys.tolist(), rest)


def check_lines(printed, expected):
    """Compare lines: words exactly, numbers with a decimal point to 1e-9."""
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", expected)
    numbers = [list(map(float, NUMBER.findall(text))) for text in (printed, expected)]
    np.testing.assert_allclose(*numbers, rtol=1e-9, atol=1e-9)


def check_same(make, train, capsys):
    """Make and train a network of each module; compare everything observable; return ours and its lists."""
    net, lists, printed, states = outcome(network2, make, train, capsys)
    loop, expected, expected_print, expected_states = outcome(network2_loop, make, train, capsys)
    assert states == expected_states
    check_lines(printed, expected_print)
    check_parameters(net, loop)
    assert [len(values) for values in lists] == [len(values) for values in expected]
    for mine, theirs in zip(lists, expected, strict=True):
        assert isinstance(mine, list)
        assert list(map(type, mine)) == list(map(type, theirs))
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)
    return net, lists


@pytest.mark.parametrize("cost", ["CrossEntropyCost", "QuadraticCost"])
@pytest.mark.parametrize("flags", list(itertools.product([False, True], repeat=4)))
def test_every_set_of_flags(digits, cost, flags, capsys):
    training, evaluation = digits

    def train(net):
        return net.SGD(training, 2, 8, 0.5, 0.1, evaluation, *flags)

    _, lists = check_same(lambda module: module.Network(SIZES, cost=getattr(module, cost)), train, capsys)
    assert [len(values) == 2 for values in lists] == list(flags)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=3).map(lambda sizes: [*sizes[:-1], 10]),
    n=st.integers(1, 30),
    m=st.integers(1, 40),
    eta=st.floats(0.01, 2.0),
    lmbda=st.sampled_from([0.0, 0.3, 5]),
    large=st.booleans(),
    cost=st.sampled_from(["CrossEntropyCost", "QuadraticCost"]),
    stop=st.integers(0, 2),
)
def test_networks_of_any_size(capsys, sizes, n, m, eta, lmbda, large, cost, stop):
    assume(eta * lmbda < n)  # beyond that, weights change their sign instead of shrinking
    rng = np.random.default_rng(n)
    x, labels = rng.random((n, sizes[0], 1)), rng.integers(0, 10, n)
    training = list(zip(x, units(labels).T[:, :, None], strict=True))
    evaluation = list(zip(x[::-1], labels, strict=True))

    def make(module):
        net = module.Network(sizes, getattr(module, cost))
        if large:
            net.large_weight_initializer()
        return net

    check_same(make, lambda net: net.SGD(training, 3, m, eta, lmbda, evaluation, **ALL, early_stopping_n=stop), capsys)


def test_zip_objects_generators_and_a_second_training(digits, capsys):
    training, evaluation = digits

    def train(net):
        zips = [zip(*zip(*data, strict=True), strict=True) for data in digits]
        net.SGD(zips[0], 1, 7, 0.5, 0.1, zips[1], **ALL)
        net.large_weight_initializer()
        return net.SGD((p for p in training), 2, 100, 0.5, evaluation_data=(p for p in evaluation), **ALL)

    check_same(lambda module: module.Network(SIZES), train, capsys)


def test_given_lists_and_arrays_read_before_are_not_changed(digits):
    training = list(digits[0])
    net = network2.Network(SIZES)
    read = [*net.weights, *net.biases]
    kept = [array.copy() for array in read]
    net.SGD(training, 2, 10, 0.5, 0.1)
    net.update_mini_batch(training[:5], 0.5, 0.1, 60)
    assert all(a is b for a, b in zip(training, digits[0], strict=True))
    for array, copied in zip(read, kept, strict=True):
        np.testing.assert_array_equal(array, copied)
        assert not any(array is now for now in net.weights + net.biases)


@pytest.mark.parametrize(("patience", "monitored"), list(itertools.product([1, 2, 3], [False, True])))
def test_early_stopping(digits, patience, monitored, capsys):
    training, evaluation = digits

    def train(net):
        options = {"early_stopping_n": patience, "monitor_evaluation_accuracy": monitored}
        return net.SGD(training, 40, 10, 1.0, 0.0, evaluation, monitor_training_accuracy=True, **options)

    _, lists = check_same(lambda module: module.Network(SIZES), train, capsys)
    assert 1 < len(lists[3]) < 40
    assert len(lists[1]) == monitored * len(lists[3])


def test_early_stopping_worked_by_hand(capsys):
    """Nothing is learned: the first epoch sets the record, or no epoch does if no output is correct."""
    x = np.zeros((1, 1))
    for label, epochs in ((0, 1 + 3), (1, 3)):
        net = network2.Network([1, 2])
        net.biases = [np.array([[1.0], [0.0]])]
        net.SGD([(x, np.zeros((2, 1)))], 10, 1, 0.0, evaluation_data=[(x, label)], early_stopping_n=3)
        assert capsys.readouterr().out == "".join(f"Epoch {j} training complete\n\n" for j in range(epochs))


def test_no_examples_and_no_epochs(digits, capsys):
    check_same(lambda module: module.Network(SIZES), lambda net: net.SGD([], 2, 10, 0.5), capsys)
    check_same(lambda module: module.Network(SIZES), lambda net: net.SGD(digits[0], 0, 10, 0.5, 1.0), capsys)


@pytest.mark.parametrize("cost", ["CrossEntropyCost", "QuadraticCost"])
def test_single_methods(digits, cost):
    nets = []
    for module in (network2, network2_loop):
        seed()
        nets.append(module.Network(SIZES, cost=getattr(module, cost)))
    net, loop = nets
    check_parameters(net, loop, rtol=0, atol=0)
    assert (net.num_layers, net.sizes) == (3, SIZES)
    training, evaluation = digits
    x, y = training[0]
    np.testing.assert_allclose(net.feedforward(x), loop.feedforward(x), rtol=1e-13)
    for mine, theirs in zip(net.backprop(x, y), loop.backprop(x, y), strict=True):
        for nabla, expected in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(nabla, expected, rtol=1e-12)
    for each in nets:
        each.update_mini_batch(training[:7], 0.7, 0.3, 60)
    check_parameters(net, loop, rtol=1e-12)
    assert net.accuracy(evaluation) == net.accuracy(iter(evaluation)) == loop.accuracy(evaluation)
    assert net.accuracy(training, convert=True) == loop.accuracy(training, convert=True)
    assert type(net.accuracy(evaluation)) is int
    assert net.accuracy([]) == 0
    np.testing.assert_allclose(net.total_cost(iter(training), 0.3), loop.total_cost(training, 0.3), rtol=1e-12)
    np.testing.assert_allclose(net.total_cost(evaluation, 3, True), loop.total_cost(evaluation, 3, True), rtol=1e-12)


def test_costs(rng):
    z = rng.standard_normal((5, 1))
    for name in ("CrossEntropyCost", "QuadraticCost"):
        mine, theirs = getattr(network2, name), getattr(network2_loop, name)
        for y in (rng.random((5, 1)), np.eye(5)[:, [2]]):
            np.testing.assert_allclose(mine.fn(network2.sigmoid(z), y), theirs.fn(network2.sigmoid(z), y), rtol=1e-12)
            np.testing.assert_allclose(
                mine.delta(z, network2.sigmoid(z), y), theirs.delta(z, network2.sigmoid(z), y), rtol=1e-12
            )
    one, zero = np.array([[1.0]]), np.array([[0.0]])
    assert network2.CrossEntropyCost.fn(one, one) == network2.CrossEntropyCost.fn(zero, zero) == 0
    assert network2.CrossEntropyCost.fn(one, zero) == network2.CrossEntropyCost.fn(zero, one) == np.finfo(float).max


def test_saturated_outputs(capsys):
    """Outputs of exactly 0 and 1, right and wrong, have a finite cost, however large, because of nan_to_num."""
    data = [(np.ones((1, 1)), np.eye(10)[:, [j]]) for j in (0, 1)]

    def make(module):
        net = module.Network([1, 10])
        net.biases, net.weights = [np.zeros((10, 1))], [np.array([[800.0, *[-600.0] * 9]]).T]
        return net

    with np.errstate(over="ignore"):
        check_same(make, lambda net: net.SGD(data, 1, 2, 1e-3, monitor_training_cost=True), capsys)


class Cubic:
    """A custom cost, elementwise."""

    @staticmethod
    def fn(a, y):
        return np.sum(np.abs(a - y) ** 3) / 3

    @staticmethod
    def delta(z, a, y):
        return (a - y) * np.abs(a - y) * a * (1 - a)


class Softmax:
    """A custom cost that combines all outputs of an example; an instance instead of a class."""

    def fn(self, a, y):
        assert a.shape == y.shape == (10, 1)
        return -np.log(np.sum(a * y) / np.sum(a))

    def delta(self, z, a, y):
        assert z.shape == a.shape == y.shape == (10, 1)
        return np.exp(z - z.max()) / np.sum(np.exp(z - z.max())) - y


def subclasses(module):
    """Return custom costs, among them subclasses that change one function of the book's."""

    class Delta(module.CrossEntropyCost):
        @staticmethod
        def delta(z, a, y):
            return 0.5 * module.CrossEntropyCost.delta(z, a, y)

    class Fn(module.QuadraticCost):
        @staticmethod
        def fn(a, y):
            return np.max(np.abs(a - y))

    return {"own": Cubic, "instance": Softmax(), "delta": Delta, "fn": Fn, "labels": Labelled}


class Labelled(Cubic):
    """Takes labels as targets."""

    @staticmethod
    def delta(z, a, y):
        return a - np.eye(10)[:, [y]]


@pytest.mark.parametrize("which", ["own", "instance", "delta", "fn", "labels"])
def test_a_custom_cost(digits, which, capsys):
    training, evaluation = digits
    training = [(x, int(y.argmax())) for x, y in training] if which == "labels" else training
    flags = {} if which == "labels" else ALL
    net, _ = check_same(
        lambda module: module.Network(SIZES, cost=subclasses(module)[which]),
        lambda net: net.SGD(training, 2, 8, 0.5, 0.1, evaluation, **flags),
        capsys,
    )
    plain, _, _, _ = outcome(
        network2, lambda module: module.Network(SIZES), lambda net: net.SGD(training[:0], 1, 8, 1), capsys
    )
    assert not np.allclose(net.weights[0], plain.weights[0], atol=1e-6)


class Backprop:
    def backprop(self, x, y):
        nabla_b, nabla_w = super().backprop(x, y)
        return [np.sign(nabla) * 0.01 for nabla in nabla_b], nabla_w


class UpdateMiniBatch:
    def update_mini_batch(self, mini_batch, eta, lmbda, n):
        super().update_mini_batch(mini_batch[:2], eta, lmbda, n)
        self.weights = [0.99 * w for w in self.weights]


class Feedforward:
    def feedforward(self, a):
        assert a.shape == (64, 1)  # one example at a time, as in the book
        return 1 - super().feedforward(a)


class Accuracy:
    def accuracy(self, data, convert=False):
        self.weights = [0.5 * w for w in self.weights]
        return super().accuracy(data[:25], convert)  # the first examples of the shuffled list


class TotalCost:
    def total_cost(self, data, lmbda, convert=False):
        return 2 * super().total_cost(data[:9], lmbda, convert)


class Initializer:
    def default_weight_initializer(self):
        super().default_weight_initializer()
        self.biases = [0 * b for b in self.biases]


OVERRIDES = [Backprop, UpdateMiniBatch, Feedforward, Accuracy, TotalCost, Initializer]


@pytest.mark.parametrize("override", OVERRIDES, ids=lambda c: c.__name__)
def test_an_override_is_called_where_the_book_calls_it(digits, override, capsys):
    training, evaluation = digits

    def train(net):
        return net.SGD(training, 2, 8, 0.5, 0.1, evaluation, **ALL, early_stopping_n=0)

    _, lists = check_same(lambda module: type("Mine", (override, module.Network), {})(SIZES), train, capsys)
    _, plain, _, _ = outcome(network2_loop, lambda module: module.Network(SIZES), train, capsys)
    assert any(not np.allclose(mine, theirs, atol=1e-6) for mine, theirs in zip(lists, plain, strict=True))


@pytest.mark.parametrize("name", ["backprop", "update_mini_batch", "feedforward", "accuracy", "total_cost"])
@pytest.mark.parametrize("where", ["instance", "class", "book's class"])
def test_a_method_assigned_later_is_called(digits, name, where, monkeypatch):
    calls = []

    class Mine(network2.Network):
        pass

    net = Mine(SIZES)
    original = getattr(network2.Network, name)

    def recorded(*arguments, **options):
        calls.append(name)
        return original(*arguments, **options) if where != "instance" else original(net, *arguments, **options)

    monkeypatch.setattr({"instance": net, "class": Mine, "book's class": network2.Network}[where], name, recorded)
    net.SGD(digits[0][:20], 1, 10, 0.5, 0.0, digits[1][:5], **ALL)
    expected = {"backprop": 20, "update_mini_batch": 2, "feedforward": 50, "accuracy": 2, "total_cost": 2}
    assert len(calls) == expected[name]


def test_patched_functions_are_used(digits, monkeypatch):
    net = network2.Network(SIZES)
    monkeypatch.setattr(network2, "sigmoid", np.tanh)
    monkeypatch.setattr(network2, "sigmoid_prime", lambda z: 1 - np.tanh(z) ** 2)
    x, y = digits[0][0]
    np.testing.assert_allclose(
        net.feedforward(x), np.tanh(net.weights[1] @ np.tanh(net.weights[0] @ x + net.biases[0]) + net.biases[1])
    )
    before = copy.deepcopy(net)
    nabla_b, _ = net.backprop(x, y)
    net.SGD([(x, y)], 1, 1, 0.5)
    np.testing.assert_allclose(net.biases[0], before.biases[0] - 0.5 * nabla_b[0])
    monkeypatch.setattr(network2, "vectorized_result", lambda j: np.ones((10, 1)))
    cost = np.mean([before.cost.fn(before.feedforward(x), np.ones((10, 1))) for x, _ in digits[1]])
    np.testing.assert_allclose(before.total_cost(digits[1], 0.0, convert=True), cost)


def test_parameters_of_other_sizes_and_lists_of_numbers_can_be_assigned(digits, tmp_path):
    net, wide = network2.Network(SIZES), network2.Network([64, 7, 10])
    net.weights, net.biases = [w.tolist() for w in wide.weights], tuple(wide.biases)
    net.SGD(digits[0], 1, 10, 0.5, 0.0, digits[1], **ALL)
    assert [w.shape for w in net.weights] == [(7, 64), (10, 7)]
    net.save(tmp_path / "net")
    assert network2.load(tmp_path / "net").sizes == [64, 7, 10]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_and_pickles(digits, copied):
    net = network2.Network(SIZES, network2.QuadraticCost)
    other = copied(net)
    for each in (net, other):
        random.seed(3)
        each.SGD(digits[0], 1, 10, 0.5)
    check_parameters(other, net, rtol=0, atol=0)


@pytest.mark.parametrize("cost", ["CrossEntropyCost", "QuadraticCost"])
@pytest.mark.parametrize(
    ("writer", "reader"), [(network2, network2), (network2, network2_loop), (network2_loop, network2)]
)
def test_files_have_the_books_format(digits, tmp_path, writer, reader, cost):
    net = writer.Network(SIZES, cost=getattr(writer, cost))
    net.SGD(digits[0], 1, 10, 0.5)
    net.save(str(tmp_path / "net.json"))
    states, nets = [], []
    for module in (reader, network2_loop):
        seed()
        nets.append(module.load(str(tmp_path / "net.json")))
        states.append(np.random.get_state()[1].tolist())  # noqa: NPY002
    assert states[0] == states[1]  # the book draws random parameters before it reads those of the file
    assert nets[0].cost is getattr(reader, cost)
    assert nets[0].sizes == SIZES
    check_parameters(nets[0], net, rtol=0, atol=0)
    data = json.loads((tmp_path / "net.json").read_text())
    assert sorted(data) == ["biases", "cost", "sizes", "weights"]
    assert (data["sizes"], data["cost"]) == (SIZES, cost)
    assert data["weights"][1] == net.weights[1].tolist()


def test_a_custom_cost_in_a_file(tmp_path, monkeypatch):
    for cost, name in ((Cubic, "Cubic"), (Softmax(), "Softmax")):
        network2.Network([2, 1], cost).save(tmp_path / "net")
        refused(rf"{name}.*valid: QuadraticCost, CrossEntropyCost", network2.load, tmp_path / "net")
        monkeypatch.setattr(network2, name, cost, raising=False)
        assert network2.load(tmp_path / "net").cost is cost


def document(**changes):
    good = {"sizes": [2, 1], "weights": [[[0.5, 0.25]]], "biases": [[[1.0]]], "cost": "QuadraticCost"}
    return json.dumps({**good, **changes})


HOSTILE = {
    "empty": "",
    "no json": "{",
    "not text": b"\xff\xfe\x00",
    "a pickle": b"\x80\x04N.",
    "a list": "[1, 2]",
    "a number": "3",
    "deep": "[" * 100_000,
    "long number": document().replace("0.25", "9" * 5000),
    **{
        f"no {key}": json.dumps({k: v for k, v in json.loads(document()).items() if k != key})
        for key in json.loads(document())
    },
    **{f"{key} of another type": document(**{key: 3}) for key in json.loads(document())},
    "unknown cost": document(cost="os"),
    "a class of the module as cost": document(cost="Network"),
    "long cost": document(cost="x" * 10_000),
    "a dunder name as cost": document(cost="__builtins__"),
    "one layer": document(sizes=[2], weights=[], biases=[]),
    "no layer": document(sizes=[]),
    "other sizes": document(sizes=[3, 1]),
    "more layers": document(sizes=[2, 1, 1]),
    "no neurons": document(sizes=[0, 1]),
    "negative": document(sizes=[-2, 1]),
    "fractions": document(sizes=[2.5, 1]),
    "true": document(sizes=[2, True]),
    "text for a size": document(sizes=["2", 1]),
    "lists for sizes": document(sizes=[[2], 1]),
    "huge": document(sizes=[10**9, 10**9]),
    "hugest": document(sizes=[10**400, 1]),
    "huge hidden layer": document(sizes=[2, 10**12, 1]),
    "wide": document(weights=[[[0.5, 0.25, 1.0]]]),
    "transposed": document(weights=[[[0.5], [0.25]]]),
    "ragged": document(weights=[[[0.5], [0.25, 0.5]]]),
    "flat": document(biases=[[1.0]]),
    "nan": document(weights=[[[0.5, float("nan")]]]),
    "infinite": document(biases=[[[float("-inf")]]]),
    "too large": document().replace("0.25", "1e999"),
    "integer too large": document(weights=[[[10**400, 1]]]),
    "null": document(weights=[[[None, 1]]]),
    "numbers in text": document(weights=[[["0.5", "0.25"]]]),
    "object": document(biases=[{"0": 1.0}]),
    "very deep": document(biases=[json.loads("[" * 80 + "1.0" + "]" * 80)]),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_json_is_refused(text, tmp_path):
    path = tmp_path / "net.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    message = refused("cannot load", network2.load, path)
    assert len(message) < 600 + len(str(path))
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_invalid_paths_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "absent", "", 3, "a\0b"):
        refused("cannot load|path must be the name of a file", network2.load, path)


def test_a_file_is_written_atomically(tmp_path):
    net = network2.Network([2, 1])
    path = tmp_path / "net"
    net.save(path)
    before = path.read_bytes()
    net.weights[0][0, 0] = np.nan
    refused("NaN", net.save, path)
    refused("is not a writable folder", network2.Network([2, 1]).save, tmp_path / "absent" / "net")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net"]


X, Y = np.zeros((3, 1)), np.zeros((10, 1))
WRONG = {
    "x as a vector": [(np.zeros(3), Y)],
    "x of another length": [(X, Y), (np.zeros((4, 1)), Y)],
    "a label for y": [(X, 1)],
    "y of another length": [(X, np.zeros((3, 1)))],
    "no pairs": [(X, Y, Y)],
    "objects": [(X.astype(object), Y)],
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_wrong_examples_are_refused_and_nothing_changes(data):
    net = network2.Network([3, 4, 10])
    before, state = copy.deepcopy(net), random.getstate()
    for call in (
        lambda: net.SGD(data, 1, 1, 0.5),
        lambda: net.update_mini_batch(data, 0.5, 0.1, 1),
        lambda: net.total_cost(data, 0.1),
    ):
        refused("training_data|mini_batch|data", call)
    check_parameters(net, before, rtol=0, atol=0)
    assert random.getstate() == state


EVALUATION = {
    "nothing": None,
    "empty": [],
    "x of another length": [(np.zeros((4, 1)), 1)],
    "a column for the label": [(X, Y)],
    "no digit": [(X, 10)],
    "negative": [(X, -1)],
    "a fraction": [(X, 0.5)],
}


@pytest.mark.parametrize("data", EVALUATION.values(), ids=EVALUATION)
def test_wrong_evaluation_data_are_refused_before_training(data):
    net = network2.Network([3, 4, 10])
    before = copy.deepcopy(net)
    refused("evaluation_data|digit", net.SGD, [(X, Y)], 1, 1, 0.5, 0.0, data, monitor_evaluation_cost=True)
    check_parameters(net, before, rtol=0, atol=0)


def test_other_invalid_arguments_are_refused():
    net = network2.Network([3, 4, 10])
    for size in (0, -1, 2.5):
        refused("mini_batch_size", net.SGD, [(X, Y)], 1, size, 0.5)
    for patience in (-1, 1.5, None):
        refused("early_stopping_n", net.SGD, [(X, Y)], 1, 1, 0.5, evaluation_data=[(X, 1)], early_stopping_n=patience)
    refused("training_data must contain pairs", net.SGD, [], 1, 1, 0.5, monitor_training_cost=True)
    for flags in ({"early_stopping_n": 1}, {"monitor_evaluation_accuracy": True}):
        refused("evaluation_data must contain pairs", net.SGD, [(X, Y)], 1, 1, 0.5, **flags)
    refused("empty", net.total_cost, [], 0.1)
    refused("shape", network2.Network([3, 4]).total_cost, [(X, 1)], 0.1, convert=True)  # labels need ten outputs
    refused("CrossEntropyCost", network2.Network, [3, 1], cost="quadratic")
    for label in (10, -1, 1.0, "3", [1, 2], True, None, slice(3)):
        refused("must be an integer from 0 to 9, got ", network2.vectorized_result, label)
    with pytest.raises(fastbp.DivergedError):
        net.SGD([(X * np.nan, Y)], 1, 1, 0.5)


def test_vectorized_result():
    for j in (3, np.int64(3), np.uint8(3), np.array([3])):
        unit = network2.vectorized_result(j)
        assert unit.tolist() == [[0.0]] * 3 + [[1.0]] + [[0.0]] * 6
        assert unit.dtype == np.float64


LOADER = """
import gzip, pickle
import numpy as np

def load_data():
    with gzip.open("../data/mnist.pkl.gz") as file:
        return pickle.load(file, encoding="latin1")

def load_data_wrapper():
    training, validation, test = load_data()
    columns = [[row.reshape(784, 1) for row in part[0]] for part in (training, validation, test)]
    units = [np.eye(10)[:, [label]] for label in training[1]]
    return zip(columns[0], units), zip(columns[1], validation[1]), zip(columns[2], test[1])
"""

NETWORK = """
class Network(network2_loop.Network):
    def __init__(self, sizes):
        super().__init__(sizes, network2_loop.QuadraticCost)

    def default_weight_initializer(self):
        self.large_weight_initializer()

    def SGD(self, training_data, epochs, mini_batch_size, eta, test_data):
        training_data, test_data = list(training_data), list(test_data)
        for j in range(epochs):
            random.shuffle(training_data)
            for k in range(0, len(training_data), mini_batch_size):
                self.update_mini_batch(training_data[k:k + mini_batch_size], eta, 0.0, 1)
            print(f"Epoch {j}: {self.accuracy(test_data)} / {len(test_data)}")
"""

SCRIPT = """
import os, random
import numpy as np
IMPORTS

os.chdir("src")
random.seed(0)
np.random.seed(0)
training_data, validation_data, test_data = mnist_loader.load_data_wrapper()
training_data, validation_data, test_data = list(training_data), list(validation_data), list(test_data)
net = network.Network([784, 30, 10])
net.SGD(training_data, 2, 10, 3.0, test_data=test_data)
net = network2.Network([784, 30, 10], cost=network2.CrossEntropyCost)
net.large_weight_initializer()
lists = net.SGD(training_data[:40], 3, 10, 0.5, lmbda=5.0, evaluation_data=zip(*zip(*validation_data)),
    monitor_evaluation_accuracy=True, monitor_evaluation_cost=True,
    monitor_training_accuracy=True, monitor_training_cost=True)
print(*lists)
net = network2.Network([784, 30, 10], cost=network2.QuadraticCost)
print(net.SGD(training_data, 9, 10, 0.5, 0.1, validation_data, early_stopping_n=2, monitor_training_accuracy=True))
net.save("net.json")
net = network2.load("net.json")
print(net.accuracy(test_data), net.total_cost(test_data, 5.0, convert=True), *net.weights[1][0])
"""
OURS = "from fastbp.book import mnist_loader\nfrom fastbp.book import network\nfrom fastbp.book import network2"


def test_a_script_of_the_book_runs_with_only_its_three_imports_changed(run_python, tmp_path):
    import gzip

    rng = np.random.default_rng(0)
    parts = [
        (rng.random((n, 784), np.float32) * (rng.random((n, 784)) < 0.2), rng.integers(0, 10, n)) for n in (80, 30, 20)
    ]
    for folder in ("src", "data"):
        (tmp_path / folder).mkdir()
    (tmp_path / "data" / "mnist.pkl.gz").write_bytes(gzip.compress(pickle.dumps(tuple(parts), protocol=2)))
    (tmp_path / "mnist_loader.py").write_text(LOADER)
    (tmp_path / "network2.py").write_text(Path(network2_loop.__file__).read_text(encoding="utf-8"))
    (tmp_path / "network.py").write_text("import random\nimport network2 as network2_loop\n" + NETWORK)
    theirs = run_python(SCRIPT.replace("IMPORTS", "import mnist_loader\nimport network\nimport network2"))
    ours = run_python(SCRIPT.replace("IMPORTS", OURS))
    assert ours.returncode == 0, ours.stderr
    assert ours.stdout.startswith("Epoch 0: ")
    check_lines(ours.stdout, theirs.stdout)


def test_everything_public_except_load_has_a_docstring_with_an_example():
    methods = [getattr(network2.Network, name) for name in vars(network2.Network) if name[0] != "_"]
    functions = [network2.sigmoid, network2.sigmoid_prime, network2.vectorized_result]
    costs = [
        getattr(cost, name) for cost in (network2.QuadraticCost, network2.CrossEntropyCost) for name in ("fn", "delta")
    ]
    assert len(methods) == 9
    for thing in [*methods, *functions, *costs, network2.Network]:
        assert ">>>" in thing.__doc__
