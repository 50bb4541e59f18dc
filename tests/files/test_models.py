"""A network that is saved and loaded is the same network; an invalid model file is an InputError of one line."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refused

import fastbp
from fastbp.activations import ACTIVATIONS
from fastbp.costs import COSTS
from fastbp.files.models import VERSION, generator_from, generator_state
from fastbp.files.tensors import read_tensors, write_tensors
from fastbp_kernels.words import exp

X = np.random.default_rng(1).random((3, 20))
Y = np.arange(20) % 2


def swish_f(z):
    return z / (1.0 + exp(-z))


def swish_prime(z, a):
    s = 1.0 / (1.0 + exp(-z))
    return s + a * (1.0 - s)


def fourth(a, y):
    return (a - y) * (a - y) * (a - y) * (a - y)


def fourth_prime(a, y):
    return 4.0 * (a - y) * (a - y) * (a - y)


SWISH = fastbp.Activation("swish", swish_f, swish_prime, needs_z=True)
FOURTH = fastbp.Cost("fourth-power", fourth, fourth_prime)


def trained(net):
    net.train(X, Y, epochs=2, mini_batch_size=6, eta=0.05, progress=False)
    return net


def host(array):
    return np.asarray(array)


def assert_same(one, other):
    """Assert that two networks are equal, and stay equal when they are trained."""
    assert repr(one) == repr(other)
    assert one.activations == other.activations
    assert one.cost_function == other.cost_function
    for again in range(2):
        np.testing.assert_array_equal(host(one.feedforward(X)), host(other.feedforward(X)), strict=True)
        for a, b in zip([*one.weights, *one.biases], [*other.weights, *other.biases], strict=True):
            np.testing.assert_array_equal(host(a), host(b), strict=True)
        if not again:
            assert trained(one) is not trained(other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_loaded_network_is_the_same_and_trains_in_the_same_way(tmp_path, backend, dtype, bias):
    net = trained(fastbp.Network([3, 4, 2], ["tanh", "sigmoid"], bias=bias, dtype=dtype, backend=backend, rng=0))
    net.save(tmp_path / "net")
    assert_same(fastbp.load(tmp_path / "net", backend=backend), net)


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_network_moves_between_backends_in_a_file(tmp_path, backend, as_path):
    path = as_path(tmp_path / "net.safetensors")
    net = fastbp.Network([3, 4, 2], rng=0, backend="numpy-plain")
    net.save(path)
    moved = fastbp.load(path, backend=backend)
    assert moved.backend == backend
    moved.save(path)
    assert_same(fastbp.load(path, backend="numpy-plain"), net)
    with fastbp.use_backend("numpy-plain"):
        assert fastbp.load(path).backend == "numpy-plain"


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_pair_of_names(tmp_path, activation, cost):
    try:
        net = fastbp.Network([3, 2], activation, cost, backend="numpy-plain", rng=0)
    except fastbp.InputError:
        return  # this cost cannot be used with this activation
    net.save(tmp_path / "net")
    assert_same(fastbp.load(tmp_path / "net", backend="numpy-plain"), net)


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_every_generator_continues_from_its_saved_state(tmp_path, kind):
    rng = np.random.Generator(getattr(np.random, kind)(0))
    net = fastbp.Network([3, 2], rng=rng, backend="numpy-plain")
    for draws in range(5):
        rng.integers(10, size=draws, dtype=np.uint32)  # leaves half of a 64-bit number behind, where draws is odd
        again = generator_from(json.loads(json.dumps(generator_state(rng))))
        net.save(tmp_path / "net")
        drawn = rng.integers(1000, size=1300, dtype=np.uint32)
        np.testing.assert_array_equal(again.integers(1000, size=1300, dtype=np.uint32), drawn)
    assert_same(fastbp.load(tmp_path / "net", backend="numpy-plain"), saved_again(net, tmp_path))


def saved_again(net, folder):
    """Return the network as it was when it was saved, by way of its parts."""
    tensors, description = read_tensors(folder / "net", "model", VERSION)
    other = net.to()
    other._rng = generator_from(description["generator"])
    other.weights = [tensors["weights.0"]]
    return other


def test_saving_changes_nothing_and_is_repeatable(tmp_path):
    net, kept = (fastbp.Network([3, 2], rng=0) for _ in range(2))
    net.save(tmp_path / "a")
    net.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert_same(net, kept)


def test_assigned_weights_are_saved(tmp_path):
    net = fastbp.Network([3, 2], rng=0)
    net.weights[0] = np.arange(6.0).reshape(3, 2).T  # another dtype, another layout
    net.save(tmp_path / "net")
    np.testing.assert_array_equal(fastbp.load(tmp_path / "net").weights[0], [[0, 2, 4], [1, 3, 5]])


def test_the_whole_description(tmp_path):
    fastbp.Network([3, 4, 2], ["tanh", "sigmoid"], "cross-entropy", bias=False, dtype="float64", input_scale=0.25).save(
        tmp_path / "net"
    )
    tensors, description = read_tensors(tmp_path / "net", "model", 1)
    assert description.pop("generator")["bit_generator"] == "PCG64"
    assert description == {
        "kind": "model",
        "version": 1,
        "fastbp": fastbp.__version__,
        "sizes": [3, 4, 2],
        "activations": ["tanh", "sigmoid"],
        "cost": "cross-entropy",
        "bias": False,
        "dtype": "float64",
        "input_scale": 0.25,
    }
    assert {name: tensor.shape for name, tensor in tensors.items()} == {"weights.0": (4, 3), "weights.1": (2, 4)}


# The user's own activations and costs


def test_own_activations_and_costs_are_passed_to_load(tmp_path):
    path = tmp_path / "net"
    net = fastbp.Network([3, 4, 2], [SWISH, "identity"], FOURTH, rng=0)
    net.save(path)
    assert_same(fastbp.load(path, activations=[SWISH], cost=FOURTH), net)
    refused(
        r"it uses activations that are not part of fastbp: 'swish'; pass them: load\(path, activations=\[Activation",
        fastbp.load,
        path,
    )
    refused(
        "activations that are not part of fastbp: 'swish'",
        fastbp.load,
        path,
        activations=[ACTIVATIONS["tanh"]],
        cost=FOURTH,
    )
    refused(
        r"it uses a cost that is not part of fastbp: 'fourth-power'; pass it: load\(path, cost=Cost",
        fastbp.load,
        path,
        activations=(SWISH,),
    )
    other = fastbp.Cost("other", fourth, fourth_prime)
    refused(
        "cost must be 'fourth-power', as in the file, got 'other'", fastbp.load, path, activations=[SWISH], cost=other
    )


def test_activations_that_are_not_needed_are_ignored(tmp_path):
    net = fastbp.Network([3, 2], rng=0)
    net.save(tmp_path / "net")
    own = [SWISH, SWISH, ACTIVATIONS["sigmoid"]]
    assert_same(fastbp.load(tmp_path / "net", activations=iter(own), cost=COSTS["quadratic"]), net)


def test_names_that_do_not_identify_a_formula_are_refused(tmp_path):
    path = tmp_path / "net"
    tanh = fastbp.Activation("tanh", swish_f, swish_prime, needs_z=True)
    swish = fastbp.Activation("swish", swish_f, lambda z, a: 1.0)
    quadratic = fastbp.Cost("quadratic", fourth, fourth_prime)
    message = "has the same name as another .*, and files identify them by name; rename yours"
    for net in (
        fastbp.Network([3, 4, 2], [tanh, "identity"]),
        fastbp.Network([3, 4, 2], [SWISH, swish]),
        fastbp.Network([3, 2], "identity", quadratic),
    ):
        refused(message, net.save, path)
    assert not path.exists()
    fastbp.Network([3, 2]).save(path)
    refused(message, fastbp.load, path, activations=[tanh])
    refused(message, fastbp.load, path, activations=[SWISH, swish])
    refused(message, fastbp.load, path, cost=quadratic)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activations": SWISH}, "activations must be a list of Activation objects, got Activation"),
        ({"activations": "swish"}, "activations must be a list of Activation objects, got 'swish'"),
        ({"activations": [swish_f]}, "activations must be a list of Activation objects, got "),
        ({"activations": None}, "activations must be a list of Activation objects, got None"),
        ({"cost": "quadratic"}, "cost must be a Cost object, got 'quadratic'"),
        ({"backend": "numpi"}, "unknown backend 'numpi'; did you mean 'numpy'"),
    ],
)
def test_invalid_arguments_of_load(tmp_path, options, message):
    fastbp.Network([3, 2]).save(tmp_path / "net")
    refused(message, fastbp.load, tmp_path / "net", **options)


# Networks that cannot be saved, and invalid model files


class Foreign(np.random.PCG64):
    pass


def test_a_network_that_cannot_be_saved_leaves_the_old_file(tmp_path):
    path = tmp_path / "net"
    net = fastbp.Network([3, 2], rng=0)
    net.save(path)
    old = path.read_bytes()
    foreign = fastbp.Network([3, 2], rng=np.random.Generator(Foreign(0)))
    refused("rng must use one of PCG64, PCG64DXSM, MT19937, .* to be saved, got Foreign", foreign.save, path)
    net.biases[0][0] = np.nan
    refused(r"biases\[0\] must be finite, got NaN or infinity", net.save, path)
    assert path.read_bytes() == old


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "net"
    fastbp.Network([3, 4, 2], rng=0).save(path)
    return path


def edited(model, path, change):
    """Write a copy of a model file with changed tensors or description, and a checksum that matches."""
    tensors, description = read_tensors(model, "model", 1)
    change(tensors, description)
    write_tensors(path, tensors, description)


MISSING = object()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("kind", "checkpoint", "it must be a file of kind 'model', got kind 'checkpoint'"),
        (
            "version",
            4,
            "written by a later fastbp, in version 4 of the format, .* up to 3; upgrade with pip install -U fastbp",
        ),
        ("sizes", MISSING, "'sizes' is missing from its description"),
        ("sizes", "3-4-2", "'sizes' in its description must be of type list, got '3-4-2'"),
        ("sizes", [], "sizes must be a list of two or more integers"),
        ("sizes", [3, 4, 2.0], r"sizes\[2\] must be an integer from 1 to 2147483647, got 2.0"),
        ("sizes", [3, True, 2], r"sizes\[1\] must be an integer from 1 to 2147483647, got True"),
        ("sizes", [3, -4, 2], r"sizes\[1\] must be an integer from 1 to 2147483647, got -4"),
        ("sizes", [3, 5, 2], r"weights.0 must be float32 of shape \(5, 3\), got float32 of \(4, 3\)"),
        ("sizes", [3, 2**31 - 1, 2**31 - 1], "GiB of weights"),
        ("sizes", [3, 10**400, 2], r"sizes\[1\] must be an integer from 1 to 2147483647, got 10+\.\.\.0+"),
        ("sizes", [3, 4, 2, 2], r"activations must be one activation .*\(here 3\), got a list of 2"),
        ("sizes", [3, 4], r"activations must be one activation .*\(here 1\), got a list of 2"),
        ("activations", MISSING, "'activations' is missing from its description"),
        ("activations", "sigmoid", "must be of type list, got 'sigmoid'"),
        ("activations", ["sigmoid", 3], "it uses activations that are not part of fastbp: 3; pass them"),
        ("activations", ["sigmoid", ["tanh"]], r"activations that are not part of fastbp: \['tanh'\]"),
        ("activations", ["sigmoid", "softmax"], "cost 'quadratic' cannot be used with 'softmax'"),
        ("activations", ["softmax", "sigmoid"], "softmax must be in the last layer only, got it in layer 2"),
        ("cost", None, "'cost' in its description must be of type str, got None"),
        ("cost", "cubic", "it uses a cost that is not part of fastbp: 'cubic'"),
        ("bias", 1, "'bias' in its description must be of type bool, got 1"),
        ("bias", False, "its tensors do not match its description: 'biases.0' is not expected"),
        ("dtype", "float16", "dtype must be float32 or float64, got 'float16'"),
        ("dtype", "f4", "dtype must be float32 or float64, got 'f4'"),
        ("dtype", "\ud800", r"dtype must be float32 or float64, got '\\ud800'"),
        ("dtype", f"({'9,' * 40})f4", r"dtype must be float32 or float64, got '\(9,9,9,9.*\.\.\..*\)f4'"),
        ("dtype", "a" * 3_000_000, r"dtype must be float32 or float64, got 'a+\.\.\.a+'"),
        ("dtype", "float64", r"weights.0 must be float64 of shape \(4, 3\), got float32"),
        ("dtype", 3, "must be of type str, got 3"),
        ("classes", ["a"], "classes must have [0-9]+ names, got 1: a"),
        ("classes", [1, 2], "classes must be different texts"),
        ("classes", "ab", "must be of type list"),
        ("generator", MISSING, "'generator' is missing from its description"),
        ("generator", [], r"must be of type dict, got \[\]"),
        ("generator", {}, "'bit_generator' is missing from its description"),
        ("generator", {"bit_generator": "RANDU"}, "unknown generator 'RANDU'; valid: PCG64"),
        ("generator", {"bit_generator": "PCG64"}, "not of the form that NumPy uses"),
    ],
)
def test_invalid_descriptions(model, tmp_path, name, value, message):
    def change(tensors, description):
        if value is MISSING:
            del description[name]
        else:
            description[name] = value

    edited(model, tmp_path / "net", change)
    refused(f"cannot load '.*net': .*(?:{message})", fastbp.load, tmp_path / "net")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights.1", MISSING, "do not match its description: 'weights.1' is missing"),
        ("biases.1", MISSING, "do not match its description: 'biases.1' is missing"),
        ("weights.2", np.ones((2, 2), np.float32), "do not match its description: 'weights.2' is not expected"),
        ("", np.ones((2, 2), np.float32), "do not match its description: '' is not expected"),
        (
            "weights.0",
            np.ones((3, 4), np.float32),
            r"weights.0 must be float32 of shape \(4, 3\), got float32 of \(3, 4\)",
        ),
        ("weights.0", np.ones((4, 3)), r"weights.0 must be float32 of shape \(4, 3\), got float64"),
        ("weights.0", np.ones((4, 3), np.int32), r"weights.0 must be float32 of shape \(4, 3\), got int32"),
        ("biases.0", np.ones(4, np.float32), r"biases.0 must be float32 of shape \(4, 1\), got float32 of \(4,\)"),
        ("biases.0", np.full((4, 1), np.inf, np.float32), "biases.0 must be finite, got NaN or infinity"),
    ],
)
def test_invalid_tensors(model, tmp_path, name, value, message):
    def change(tensors, description):
        tensors.pop(name, None)
        if value is not MISSING:
            tensors[name] = value

    edited(model, tmp_path / "net", change)
    refused(f"cannot load '.*net': .*{message}", fastbp.load, tmp_path / "net")


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("MT19937", "pos", 625),  # NumPy would read beyond its buffer
        ("MT19937", "pos", -1),
        ("MT19937", "key", [1] * 623),
        ("MT19937", "key", [1.5] + [1] * 623),
        ("MT19937", "key", [2**32] + [1] * 623),
        ("Philox", "buffer_pos", 5),
        ("Philox", "buffer_pos", -1),
        ("Philox", "buffer", [1, 2, 3]),
        ("Philox", "counter", [-1, 0, 0, 0]),
        ("SFC64", "state", [0, 0, 0]),
        ("PCG64", "inc", 2**128 + 1),
        ("PCG64", "inc", -1),
        ("PCG64", "inc", "1"),
        ("PCG64", "inc", True),
        ("PCG64", "has_uint32", 2**40),
        ("PCG64", "uinteger", 2**32),
        ("PCG64", "state", {}),
        ("PCG64", "bit_generator", "MT19937"),
    ],
)
def test_invalid_generator_states(kind, name, value):
    state = generator_state(np.random.Generator(getattr(np.random, kind)(0)))
    inner = state["state"]
    (inner if isinstance(inner, dict) and name in inner and value != {} else state)[name] = value
    refused("the state of its generator is not ", generator_from, state)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_models_are_refused_or_equal(model, tmp_path, data):
    """Changes that the checksum does not detect must not matter."""
    content = bytearray(model.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.one_of(st.just(start + 1), st.integers(start, len(content))))
        content[start:stop] = data.draw(st.binary(max_size=12))
    (tmp_path / "net").write_bytes(content)
    message = ""
    try:
        net = fastbp.load(tmp_path / "net", backend="numpy-plain")
    except fastbp.InputError as error:
        message = str(error)
    else:
        assert_same(net, fastbp.load(model, backend="numpy-plain"))
    assert "\n" not in message


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["sizes", "activations", "cost", "bias", "dtype", "generator", "fastbp"]), value=JSON)
def test_any_value_of_a_field_is_refused_in_one_line_or_means_the_same(model, tmp_path, name, value):
    edited(model, tmp_path / "net", lambda tensors, description: description.update({name: value}))
    message = ""
    try:
        net = fastbp.load(tmp_path / "net", backend="numpy-plain")
    except fastbp.InputError as error:
        message = str(error)
    else:
        assert_same(net, fastbp.load(model, backend="numpy-plain"))
    assert "\n" not in message


def test_loading_draws_no_random_numbers(model, monkeypatch):
    monkeypatch.setattr(np.random, "default_rng", None)
    assert fastbp.load(model, backend="numpy-plain").sizes == (3, 4, 2)


def test_the_checksum_is_a_sha256_of_description_and_tensors(model):
    """Computed here from the documented format, as another program would."""
    from safetensors import safe_open

    with safe_open(model, framework="np") as file:
        description = json.loads(file.metadata()["fastbp"])
        checksum = description.pop("sha256")
        digest = hashlib.sha256(json.dumps(description).encode())
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            digest.update(f"\n{name} <f4 {tensor.shape}\n".encode() + tensor.tobytes())
    assert digest.hexdigest() == checksum
