"""fastbp.book.network against a loop over examples written from the notes: equal draws, lines and parameters."""

import copy
import pickle
import random
import signal
import threading
import time

import numpy as np
import pytest

import fastbp
from fastbp.book import mini_batches, network

SIZES, M, ETA = [64, 30, 10], 10, 3.0


class Loop:
    """Section 5 of the notes in plain NumPy, one example at a time; shares no code with fastbp."""

    def __init__(self, sizes):
        self.sizes, self.num_layers = sizes, len(sizes)
        self.biases = [np.random.randn(n, 1) for n in sizes[1:]]  # noqa: NPY002
        self.weights = [np.random.randn(sizes[i + 1], sizes[i]) for i in range(len(sizes) - 1)]  # noqa: NPY002

    def feedforward(self, a):
        for layer in range(self.num_layers - 1):
            a = 1 / (1 + np.exp(-(self.weights[layer].dot(a) + self.biases[layer])))
        return a

    def SGD(self, training_data, epochs, mini_batch_size, eta, test_data=None):  # noqa: N802
        training_data = list(training_data)
        test_data = list(test_data or [])
        for j in range(epochs):
            random.shuffle(training_data)
            k = 0
            while k < len(training_data):
                self.update_mini_batch(training_data[k : k + mini_batch_size], eta)
                k += mini_batch_size
            if test_data:
                print("Epoch {0}: {1} / {2}".format(j, self.evaluate(test_data), len(test_data)))  # noqa: UP030, UP032
            else:
                print("Epoch {0} complete".format(j))  # noqa: UP030, UP032

    def update_mini_batch(self, mini_batch, eta):
        sum_b, sum_w = [0.0] * len(self.biases), [0.0] * len(self.weights)
        for x, y in mini_batch:
            nabla_b, nabla_w = self.backprop(x, y)
            for layer in range(len(nabla_b)):
                sum_b[layer] = sum_b[layer] + nabla_b[layer]
                sum_w[layer] = sum_w[layer] + nabla_w[layer]
        self.weights = [w - eta / len(mini_batch) * s for w, s in zip(self.weights, sum_w, strict=True)]
        self.biases = [b - eta / len(mini_batch) * s for b, s in zip(self.biases, sum_b, strict=True)]

    def backprop(self, x, y):
        a, zs = [x], []
        for layer in range(self.num_layers - 1):
            zs.append(self.weights[layer].dot(a[-1]) + self.biases[layer])
            a.append(1 / (1 + np.exp(-zs[-1])))
        nabla_b, nabla_w = [None] * len(zs), [None] * len(zs)
        back = self.cost_derivative(a[-1], y)
        for layer in range(len(zs) - 1, -1, -1):
            s = 1 / (1 + np.exp(-zs[layer]))
            nabla_b[layer] = back * s * (1 - s)
            nabla_w[layer] = nabla_b[layer].dot(a[layer].T)
            back = self.weights[layer].T.dot(nabla_b[layer])
        return nabla_b, nabla_w

    def evaluate(self, test_data):
        return sum(int(np.argmax(self.feedforward(x)) == y) for x, y in test_data)

    def cost_derivative(self, output_activations, y):
        return output_activations - y


@pytest.fixture(scope="module")
def digits():
    """The bundled digits in the book's format: pairs of columns, and pairs of a column and a label."""
    (x, labels), (x_test, labels_test) = fastbp.datasets.digits()
    return pairs(x, units(labels)), [(c, int(label)) for c, label in zip(columns(x_test), labels_test, strict=True)]


def columns(matrix):
    return [np.array(column)[:, None] for column in matrix.T]


def pairs(x, y):
    return list(zip(columns(x), columns(y), strict=True))


def units(labels):
    return np.eye(10)[labels].T


def few(digits, n):
    return digits[0][:n], digits[1][:n]


def seed(value=1):
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002


def outcome(make, train, capsys):
    """Return the network, the printed lines, and the states of both generators after training from fixed seeds."""
    seed()
    net = make(SIZES)
    capsys.readouterr()
    train(net)
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return net, capsys.readouterr(), (random.getstate(), kind, keys.tolist(), rest)


def check_same(ours, loop, train, capsys):
    """Train both networks and compare everything observable; return ours."""
    net, printed, states = outcome(ours, train, capsys)
    expected, expected_print, expected_states = outcome(loop, train, capsys)
    assert printed == expected_print
    assert states == expected_states
    check_parameters(net, expected)
    return net


def check_parameters(net, expected, **tolerance):
    for mine, theirs in zip(net.weights + net.biases, expected.weights + expected.biases, strict=True):
        assert type(mine) is np.ndarray
        assert mine.dtype == np.float64
        np.testing.assert_allclose(mine, theirs, **(tolerance or {"rtol": 0, "atol": 1e-9}))


@pytest.mark.parametrize("tested", [True, False])
def test_two_epochs_on_real_digits(digits, tested, capsys):
    def train(net):
        net.SGD(digits[0], 2, M, ETA, digits[1] if tested else None)

    net = check_same(network.Network, Loop, train, capsys)
    assert net.evaluate(digits[1]) > 200  # of 359: the network has learned
    assert isinstance(net.weights, list)
    assert isinstance(net.biases, list)


@pytest.mark.parametrize("size", [7, 1, 100, 1000])
def test_a_smaller_last_mini_batch(digits, size, capsys):
    training, tests = few(digits, 100)
    check_same(network.Network, Loop, lambda net: net.SGD(training, 2, size, 0.5, tests), capsys)


def test_zip_objects_and_generators(digits, capsys):
    training, tests = few(digits, 60)

    def train(net):
        net.SGD(zip(*zip(*training, strict=True), strict=True), 2, M, ETA, zip(*zip(*tests, strict=True), strict=True))
        net.SGD((pair for pair in training), 1, M, ETA, test_data=(pair for pair in tests))

    check_same(network.Network, Loop, train, capsys)


def test_the_callers_list_is_not_changed(digits):
    training, _ = few(digits, 30)
    before = list(training)
    network.Network(SIZES).SGD(training, 1, M, ETA)
    assert all(a is b for a, b in zip(training, before, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f8", "float16", "uint8", "int64", "bool"])
def test_columns_of_any_real_dtype(digits, dtype, capsys):
    training = [((4 * x).astype(dtype), y.astype(dtype)) for x, y in few(digits, 50)[0]]
    tests = [(x.astype(dtype), np.int8(label)) for x, label in few(digits, 50)[1]]
    check_same(network.Network, Loop, lambda net: net.SGD(training, 2, 8, 0.5, tests), capsys)


def test_columns_that_are_views_or_have_several_dtypes(digits, capsys):
    x = np.hstack([x for x, _ in digits[0][:50]])
    sliced = [(x[:, i : i + 1], y) for i, (_, y) in enumerate(digits[0][:50])]
    mixed = [(x.astype("float32" if i % 2 else "float64"), y) for i, (x, y) in enumerate(sliced)]
    for training in (sliced, mixed, [(x[::-1][::-1], np.asfortranarray(y)) for x, y in sliced]):
        check_same(network.Network, Loop, lambda net, data=training: net.SGD(data, 2, 8, 0.5, digits[1][:9]), capsys)


def test_no_examples_and_no_epochs(digits, capsys):
    check_same(network.Network, Loop, lambda net: net.SGD([], 2, M, ETA), capsys)
    check_same(network.Network, Loop, lambda net: net.SGD(digits[0], 0, M, ETA, []), capsys)


class CrossEntropy:
    def cost_derivative(self, output_activations, y):
        return (output_activations - y) / (output_activations * (1 - output_activations))


class LabelledCost:
    """Takes labels as targets, which cannot be put into a matrix of targets."""

    def cost_derivative(self, output_activations, y):
        return output_activations - np.eye(10)[:, [int(y.sum())]]


class Backprop:
    def backprop(self, x, y):
        nabla_b, nabla_w = super().backprop(x, y)
        return [np.sign(nabla) * 0.01 for nabla in nabla_b], nabla_w


class UpdateMiniBatch:
    def update_mini_batch(self, mini_batch, eta):
        super().update_mini_batch(mini_batch[:2], eta)
        self.weights = [0.99 * w for w in self.weights]


class Feedforward:
    def feedforward(self, a):
        assert a.shape == (64, 1)  # one example at a time, as in the book
        return -super().feedforward(a)


class Evaluate:
    def evaluate(self, test_data):
        self.seen = [*getattr(self, "seen", []), self.weights[0]]
        self.weights = [0.5 * w for w in self.weights]
        return super().evaluate(test_data[::2])


@pytest.mark.parametrize(
    "override", [CrossEntropy, LabelledCost, Backprop, UpdateMiniBatch, Feedforward, Evaluate], ids=lambda c: c.__name__
)
def test_an_override_is_called_where_the_book_calls_it(digits, override, capsys):
    training, tests = few(digits, 45)
    ours, loop = (type("Mine", (override, base), {}) for base in (network.Network, Loop))
    net = check_same(ours, loop, lambda net: net.SGD(training, 2, M, 0.5, tests), capsys)
    plain, _, _ = outcome(Loop, lambda net: net.SGD(training, 2, M, 0.5), capsys)
    changes_training = override is not Feedforward
    assert changes_training != np.allclose(net.weights[0], plain.weights[0], atol=1e-6)
    if override is Evaluate:
        assert not np.allclose(net.seen[0], net.seen[1])  # arrays read before are not overwritten


@pytest.mark.parametrize("name", ["cost_derivative", "backprop", "update_mini_batch", "feedforward", "evaluate"])
@pytest.mark.parametrize("where", ["instance", "class", "book's class"])
def test_a_method_assigned_later_is_called(digits, name, where, monkeypatch):
    calls = []

    class Mine(network.Network):
        pass

    net = Mine(SIZES)
    original = getattr(network.Network, name)

    def recorded(*arguments):
        calls.append(name)
        return original(*arguments) if where != "instance" else original(net, *arguments)

    monkeypatch.setattr({"instance": net, "class": Mine, "book's class": network.Network}[where], name, recorded)
    net.SGD(digits[0][:20], 1, M, ETA, digits[1][:5])
    expected = {"cost_derivative": 20, "backprop": 20, "update_mini_batch": 2, "feedforward": 5, "evaluate": 1}
    assert len(calls) == expected[name]


def test_a_patched_sigmoid_is_used(digits, monkeypatch):
    training, tests = few(digits, 20)
    seed()
    net = network.Network(SIZES)
    monkeypatch.setattr(network, "sigmoid", np.tanh)
    monkeypatch.setattr(network, "sigmoid_prime", lambda z: 1 - np.tanh(z) ** 2)
    x, y = training[0]
    np.testing.assert_allclose(
        net.feedforward(x), np.tanh(net.weights[1] @ np.tanh(net.weights[0] @ x + net.biases[0]) + net.biases[1])
    )
    before = copy.deepcopy(net)
    nabla_b, _ = net.backprop(x, y)
    net.SGD([(x, y)], 1, 1, 0.5, tests)
    np.testing.assert_allclose(net.biases[0], before.biases[0] - 0.5 * nabla_b[0])


def test_reassigned_parameters(digits, capsys):
    """Complete lists, single entries, other dtypes and memory orders, plain lists of numbers, tuples."""
    training, tests = few(digits, 50)

    def train(net):
        net.weights = tuple(w / np.sqrt(w.shape[1]) for w in net.weights)
        net.SGD(training, 1, M, ETA, tests)
        net.weights[0] = np.asfortranarray(net.weights[0] * 0.5)
        net.biases[1][...] = 0.25
        net.SGD(training, 1, M, ETA, tests)
        net.biases = [b.astype(np.float32) for b in net.biases]
        net.SGD(training, 1, M, ETA, tests)

    check_same(network.Network, Loop, train, capsys)
    net = network.Network([2, 1])
    net.weights, net.biases = [[[1.0, 2.0]]], [[[0.0]]]
    assert net.feedforward([[0.0], [0.0]]) == 0.5
    net.SGD([(np.zeros((2, 1)), np.zeros((1, 1)))], 1, 1, 0.8)
    np.testing.assert_allclose(net.biases[0], [[-0.1]])
    net.weights, net.biases = [[[1.0, 2.0]]], [[[0.0]]]
    net.update_mini_batch([(np.zeros((2, 1)), np.zeros((1, 1)))], 0.8)
    np.testing.assert_allclose(net.biases[0], [[-0.1]])


def test_parameters_of_other_sizes_can_be_assigned(digits):
    training, tests = few(digits, 30)
    net, wide = network.Network(SIZES), network.Network([64, 12, 10])
    net.weights, net.biases = wide.weights, wide.biases
    net.SGD(training, 1, M, ETA, tests)
    assert [w.shape for w in net.weights] == [(12, 64), (10, 12)]


def test_a_subclass_with_other_initial_weights(digits, capsys):
    class Scaled:
        def __init__(self, sizes):
            super().__init__(sizes)
            self.weights = [w / np.sqrt(w.shape[1]) for w in self.weights]

    training, tests = few(digits, 50)
    ours, loop = (type("Mine", (Scaled, base), {}) for base in (network.Network, Loop))
    check_same(ours, loop, lambda net: net.SGD(training, 2, M, ETA, tests), capsys)


def test_training_does_not_write_into_arrays_read_before(digits):
    net = network.Network(SIZES)
    read = [*net.weights, *net.biases]
    kept = [array.copy() for array in read]
    net.SGD(digits[0][:30], 2, M, ETA)
    net.update_mini_batch(digits[0][:5], ETA)
    for array, copied in zip(read, kept, strict=True):
        np.testing.assert_array_equal(array, copied)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_and_pickles(digits, copied):
    training, tests = few(digits, 40)
    net = network.Network(SIZES)
    net.SGD(training, 1, M, ETA)
    other = copied(net)
    check_parameters(other, net, rtol=0, atol=0)
    for each in (net, other):
        random.seed(3)
        each.SGD(training, 1, M, ETA, tests)
    check_parameters(other, net, rtol=0, atol=0)


@pytest.mark.parametrize("sizes", [[3, 2], [3, 4, 2], [3, 4, 5, 2], [1, 2, 1]])
def test_single_methods(sizes, rng, capsys):
    seed()
    net = network.Network(sizes)
    seed()
    loop = Loop(sizes)
    check_parameters(net, loop, rtol=0, atol=0)
    assert (net.num_layers, net.sizes) == (len(sizes), sizes)
    batch = [(rng.standard_normal((sizes[0], 1)), rng.random((sizes[-1], 1))) for _ in range(4)]
    x, y = batch[0]
    np.testing.assert_allclose(net.feedforward(x), loop.feedforward(x), rtol=1e-13)
    matrix = np.hstack([x for x, _ in batch])
    np.testing.assert_allclose(net.feedforward(matrix), loop.feedforward(matrix), rtol=1e-13)
    for ours, theirs in zip(net.backprop(x, y), loop.backprop(x, y), strict=True):
        for nabla, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(nabla, expected, rtol=1e-12)
    net.update_mini_batch(batch, 0.7)
    loop.update_mini_batch(batch, 0.7)
    check_parameters(net, loop, rtol=1e-12)
    tests = [(x, i % sizes[-1]) for i, (x, _) in enumerate(batch)]
    assert net.evaluate(tests) == net.evaluate(iter(tests)) == loop.evaluate(tests)
    assert type(net.evaluate(tests)) is int
    assert net.evaluate([]) == 0
    np.testing.assert_array_equal(net.cost_derivative(x, 2 * x), -x)


def test_sigmoid_and_its_derivative():
    z = np.array([[-800.0, -1.0, 0.0, 1.0, 800.0]])
    np.testing.assert_allclose(network.sigmoid(z), [[0, 0.2689414213699951, 0.5, 0.7310585786300049, 1]], rtol=1e-15)
    np.testing.assert_allclose(network.sigmoid_prime(z), [[0, 0.19661193324148185, 0.25, 0.19661193324148185, 0]])


def test_evaluate_with_more_tests_than_one_call_takes(digits):
    net = network.Network(SIZES)
    tests = digits[1] * 13
    assert len(tests) > mini_batches.COLUMNS_PER_CALL
    assert net.evaluate(tests) == 13 * net.evaluate(digits[1])


def test_numbers_are_accepted_as_columns_of_one_row(capsys):
    """For one neuron, the book broadcasts a number y, and accepts a NumPy number x."""
    data = [(np.array([[0.5]]), 1.0), (np.array([[1.0]]), np.array([0.0]))]
    seed()
    net = network.Network([1, 2, 1])
    seed()
    loop = Loop([1, 2, 1])
    for each in (net, loop):
        random.seed(1)
        each.SGD(data, 3, 1, 0.5)
        each.update_mini_batch(data, 0.5)
    check_parameters(net, loop)
    np.testing.assert_allclose(net.feedforward(0.5), loop.feedforward(0.5))


X, Y = np.zeros((3, 1)), np.zeros((2, 1))
WRONG = {
    "x as a vector": [(np.zeros(3), Y)],
    "x of another length": [(X, Y), (np.zeros((4, 1)), Y)],
    "all x of another length": [(np.zeros((4, 1)), Y)],
    "x as a row": [(np.zeros((1, 3)), Y)],
    "a label for y": [(X, 1)],
    "y as a vector": [(X, np.zeros(2))],
    "y of another length": [(X, np.zeros((3, 1)))],
    "no pairs": [(X, Y, Y)],
    "numbers": [1, 2],
    "objects": [(X.astype(object), Y)],
    "complex x": [(X + 1j, Y)],
    "text": [(X.astype(str), Y)],
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_wrong_examples_are_refused_and_nothing_changes(data):
    net = network.Network([3, 4, 2])
    before, state = copy.deepcopy(net), random.getstate()
    with pytest.raises(fastbp.InputError) as error:
        net.SGD(data, 1, 1, 0.5)
    assert "\n" not in str(error.value)
    with pytest.raises(fastbp.InputError):
        net.update_mini_batch(data, 0.5)
    check_parameters(net, before, rtol=0, atol=0)
    assert random.getstate() == state


@pytest.mark.parametrize("x", [np.zeros(3), np.zeros((4, 1)), np.zeros((1, 3)), 0.0, np.zeros((3, 1, 1))])
def test_wrong_inputs_of_single_calls_are_refused(x):
    net = network.Network([3, 4, 2])
    for call in (lambda: net.feedforward(x), lambda: net.backprop(x, Y), lambda: net.evaluate([(x, 1)])):
        with pytest.raises(fastbp.InputError, match=r"must have (a column of )?shape \(3, 1\)"):
            call()


@pytest.mark.parametrize("y", [1, np.zeros(2), np.zeros((3, 1)), np.zeros((2, 2))])
def test_wrong_targets_of_single_calls_are_refused(y):
    with pytest.raises(fastbp.InputError):
        network.Network([3, 4, 2]).backprop(X, y)


@pytest.mark.parametrize("label", [Y, [0, 1]])
def test_wrong_labels_are_refused_before_training(label):
    net = network.Network([3, 4, 2])
    before = copy.deepcopy(net)
    for call in (lambda: net.evaluate([(X, 1), (X, label)]), lambda: net.SGD([(X, Y)], 1, 1, 0.5, [(X, label)])):
        with pytest.raises(fastbp.InputError, match="must have one integer as its label"):
            call()
    check_parameters(net, before, rtol=0, atol=0)


def wrong_parameters():
    yield "weights", lambda w: [w[0]]
    yield "weights", lambda w: [w[0], w[1].T]
    yield "weights", lambda w: [w[0][0], w[1]]
    yield "weights", lambda w: []
    yield "biases", lambda b: [b[0][:, 0], b[1]]
    yield "biases", lambda b: [b[0], b[0]]
    yield "biases", lambda b: [b[0]]


@pytest.mark.parametrize(("name", "wrong"), list(wrong_parameters()))
def test_wrong_parameters_are_refused_by_every_method(name, wrong):
    net = network.Network([3, 4, 2])
    setattr(net, name, wrong(getattr(net, name)))
    calls = [
        lambda: net.SGD([(X, Y)], 1, 1, 0.5),
        lambda: net.update_mini_batch([(X, Y)], 0.5),
        lambda: net.backprop(X, Y),
        lambda: net.feedforward(X),
        lambda: net.evaluate([(X, 0)]),
    ]
    for call in calls:
        with pytest.raises(ValueError):  # noqa: PT011, NumPy's message or that of InputError
            call()


def test_invalid_mini_batch_sizes_and_data_that_are_not_finite_are_refused():
    net = network.Network([3, 4, 2])
    for size in (0, -1, 2.5):
        with pytest.raises(fastbp.InputError, match="mini_batch_size"):
            net.SGD([(X, Y)], 1, size, 0.5)
    with pytest.raises(fastbp.DivergedError):
        net.SGD([(X * np.nan, Y)], 1, 1, 0.5)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals between threads")
def test_ctrl_c_keeps_what_has_been_trained(digits):
    net = network.Network(SIZES)
    net.SGD(digits[0][:20], 1, M, ETA)  # so that everything is compiled
    before = copy.deepcopy(net)

    def press():
        while (net.weights[0] == before.weights[0]).all():  # training has not begun
            time.sleep(0.001)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        net.SGD(digits[0], 100_000, M, ETA)
    pressing.join()
    assert not np.array_equal(net.weights[0], before.weights[0])
    assert all(np.isfinite(w).all() for w in net.weights)


SCRIPT = """
import random
import numpy as np
IMPORT

random.seed(0)
np.random.seed(0)
training_data = zip([np.random.rand(4, 1) for _ in range(25)], [np.eye(3)[:, [i % 3]] for i in range(25)])
test_data = zip([np.random.rand(4, 1) for _ in range(9)], [i % 3 for i in range(9)])
net = network.Network([4, 5, 3])
net.SGD(training_data, 3, 10, 3.0, test_data=test_data)
print(" ".join(f"{v:.9f}" for p in net.weights + net.biases for v in p.ravel()))
"""


@pytest.mark.parametrize("statement", ["from fastbp.book import network", "import fastbp.book.network as network"])
def test_a_script_of_the_book_runs_with_only_its_import_changed(run_python, tmp_path, statement):
    import inspect

    (tmp_path / "network.py").write_text(
        "import random\nimport numpy as np\n" + inspect.getsource(Loop).replace("class Loop", "class Network")
    )
    theirs = run_python(SCRIPT.replace("IMPORT", "import network"))
    ours = run_python(SCRIPT.replace("IMPORT", statement))
    assert ours.returncode == 0, ours.stderr
    assert ours.stdout.startswith("Epoch 0: ")
    assert ours.stdout == theirs.stdout


def test_the_module_imports_no_large_library(run_python):
    source = """
import sys
import fastbp.book.network as network
import numpy as np
net = network.Network([2, 3, 1])
net.update_mini_batch([(np.zeros((2, 1)), np.zeros((1, 1)))], 0.5)
net.evaluate([(np.zeros((2, 1)), 0)])
print([name for name in ("numba", "scipy", "click", "tqdm") if name in sys.modules])
"""
    done = run_python(source)
    assert done.stdout == "[]\n", done.stderr


def test_everything_public_has_a_docstring_and_an_example():
    methods = ["feedforward", "SGD", "update_mini_batch", "backprop", "evaluate", "cost_derivative"]
    public = [getattr(network.Network, name) for name in methods]
    for thing in [*public, network.Network, network.sigmoid, network.sigmoid_prime]:
        assert ">>>" in thing.__doc__
