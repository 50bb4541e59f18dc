"""JSON and C: the outputs of `feedforward`, computed from what was written without fastbp."""

import ctypes
import json
import shutil
import subprocess

import numpy as np
import pytest
from commands import run_command as run
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

import fastbp
from fastbp import convert
from fastbp.convert.activation_table import ROWS
from reference import ACTIVATIONS as FORMULAS

PLAIN = "numpy-plain"
X = np.random.default_rng(0).normal(size=(6, 20))
BOUNDS = {"float32": 1e-5, "float64": 1e-12}  # relative to the largest output
COMPILER = shutil.which("cc")
needs_cc = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler: cc")
OWN = fastbp.Activation("own", lambda z: 2.0 * z, lambda z, a: 2.0)


def network(names, dtype="float32", sizes=(6, 8, 5, 3), **options):
    cost = "log-likelihood" if names[-1] == "softmax" else "quadratic"
    return fastbp.Network(sizes, names, cost, dtype=dtype, backend=PLAIN, rng=0, **options)


NETWORKS = {name: ["tanh", "relu", name] for name in ROWS} | {
    f"{name}, hidden": [name, name, "identity"] for name in ROWS if name != "softmax"
}
OPTIONS = [{}, {"bias": False}, {"input_scale": 1 / 255}]


def outputs_by_hand(text, x):
    """Return the outputs of a network in JSON, for columns x, from the description of the format alone."""
    data = json.loads(text)
    a = x * data["input_scale"]
    biases = data["biases"] or [0.0] * len(data["weights"])
    for w, b, name in zip(data["weights"], biases, data["activations"], strict=True):
        z = np.array(w) @ a + np.reshape(b, (-1, 1))
        a = np.exp(z) / np.exp(z).sum(axis=0) if name == "softmax" else np.vectorize(FORMULAS[name][0])(z)
    return a


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_json_has_all_that_the_outputs_need(name, dtype, options, tmp_path):
    if not set(NETWORKS[name]) - {"softmax"} <= FORMULAS.keys():
        pytest.skip(f"tests/reference.py has no formula for one of {NETWORKS[name]}")
    net = network(NETWORKS[name], dtype, **options)
    text = convert.to_json(net)
    expected = net.feedforward(X)
    assert np.abs(outputs_by_hand(text, X) - expected).max() <= BOUNDS[dtype] * np.abs(expected).max()
    (tmp_path / "net.json").write_text(text)
    back = convert.from_json(tmp_path / "net.json", backend=PLAIN)
    assert (repr(back), back.input_scale) == (repr(net), net.input_scale)
    for name_ in ("weights", "biases"):
        for mine, theirs in zip(getattr(net, name_), getattr(back, name_), strict=True):
            np.testing.assert_array_equal(mine, theirs)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
def test_numbers_in_json_and_c_are_exact(tmp_path_factory, numbers):
    net = fastbp.Network([3, 1], "identity", rng=0, backend=PLAIN)
    net.weights, net.biases = [[numbers[:3]]], [[numbers[3:]]]
    path = tmp_path_factory.mktemp("json") / "net.json"
    path.write_text(convert.to_json(net))
    back = convert.from_json(path, backend=PLAIN)
    np.testing.assert_array_equal(back.weights[0], net.weights[0])
    text = convert.to_c(net).partition("weights_1[3] = {")[2].partition("}")[0]
    found = [np.float32(number.strip().removesuffix("f")) for number in text.split(",") if number.strip()]
    np.testing.assert_array_equal(found, np.float32(numbers[:3]))


def test_json_has_the_names_of_own_formulas(tmp_path):
    net = fastbp.Network([2, 1], OWN, rng=0)
    (tmp_path / "net.json").write_text(convert.to_json(net))
    refused("activations that are not part of fastbp: 'own'", convert.from_json, tmp_path / "net.json")
    assert convert.from_json(tmp_path / "net.json", activations=[OWN]).activations == (OWN,)


GOOD = json.loads(convert.to_json(network(["tanh", "relu", "identity"])))
DAMAGED = [
    ({"format": "other"}, "its format must be 'fastbp-network', got 'other'"),
    ({"version": 2}, "its version must be an integer from 1 to 1, got 2"),
    ({"sizes": [6, 8, 5]}, "activations must be one activation"),
    ({"sizes": [6, 9, 5, 3]}, r"its sizes must be those of its weights, \[6, 8, 5, 3\], got \[6, 9, 5, 3\]"),
    ({"sizes": [10**9, 10**9, 5, 3]}, "GiB"),
    ({"weights": GOOD["weights"][:2]}, r"its weights must be one array per layer \(here 3\), got 2"),
    ({"weights": [[[1, 2], [3]], [[1]], [[1]]]}, "its weights must be lists of numbers"),
    ({"weights": [[["a"]], [[1]], [[1]]]}, "its weights must be lists of numbers"),
    ({"weights": [[[1e999]], [[1]], [[1]]]}, "must|GiB"),
    ({"weights": 3}, "'weights' in its description must be of type list, got 3"),
    ({"biases": []}, "its field 'bias' must agree with its biases, got True"),
    ({"bias": False}, "its field 'bias' must agree with its biases, got False"),
    ({"dtype": "float16"}, "dtype must be"),
    ({"cost": "mse"}, "'mse'"),
]


@pytest.mark.parametrize(("changes", "message"), DAMAGED)
def test_damaged_json_is_refused_in_one_line(changes, message, tmp_path):
    path = tmp_path / "net.json"
    path.write_text(json.dumps(GOOD | changes))
    refused(f"cannot load '.*net.json': .*({message})", convert.from_json, path)


def test_files_that_are_no_json_are_refused(tmp_path):
    for text in ("", "[1]", "[" * 10**5, '{"format"'):
        (tmp_path / "net.json").write_text(text)
        refused("its JSON is damaged", convert.from_json, tmp_path / "net.json")


def compiled(source, folder, dtype):
    """Compile a network in C with all warnings as errors; return its function `predict` for a row of inputs."""
    (folder / "net.c").write_text(source)
    flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    command = [COMPILER, *flags, "-o", str(folder / "net.so"), str(folder / "net.c"), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    predict = ctypes.CDLL(str(folder / "net.so")).predict
    number = ctypes.POINTER(ctypes.c_float if dtype == "float32" else ctypes.c_double)
    predict.argtypes, predict.restype = [number, number], ctypes.c_int

    def call(x, outputs):
        row, a = np.ascontiguousarray(x, dtype), np.empty(outputs, dtype)
        return a, predict(row.ctypes.data_as(number), a.ctypes.data_as(number))

    return call


@needs_cc
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_compiled_c_gives_the_outputs_of_feedforward(name, dtype, tmp_path):
    options = OPTIONS[list(NETWORKS).index(name) % 3]
    net = network(NETWORKS[name], dtype, **options)
    call = compiled(convert.to_c(net), tmp_path, dtype)
    expected = net.feedforward(X)
    for j in range(X.shape[1]):
        a, largest = call(X[:, j], 3)
        assert np.abs(a - expected[:, j]).max() <= BOUNDS[dtype] * np.abs(expected).max()
        assert largest == a.argmax()


@needs_cc
@pytest.mark.parametrize("sizes", [(6, 1), (6, 2), (6, 9, 2), (6, 2, 9, 3, 4, 1)])
def test_c_of_any_depth_and_in_another_dtype(sizes, tmp_path):
    net = network(["tanh"] * (len(sizes) - 1), "float64", sizes, input_scale=0.5)
    for dtype in BOUNDS:
        (tmp_path / dtype).mkdir()
        call = compiled(convert.to_c(net, dtype=dtype), tmp_path / dtype, dtype)
        a, _ = call(X[:, 0], sizes[-1])
        np.testing.assert_allclose(a, net.feedforward(X[:, 0]), rtol=10 * BOUNDS[dtype])


def test_what_cannot_be_written_is_refused():
    refused("to be converted to C, got 'own'", convert.to_c, fastbp.Network([2, 1], OWN))
    refused("unknown dtype 'half'", convert.to_c, network(["tanh"] * 3), dtype="half")
    for way in (convert.to_c, convert.to_json):
        refused("net must be a fastbp.Network, got int", way, 3)
        net = network(["tanh"] * 3)
        net.weights[1][0, 0] = np.nan
        refused(r"weights\[1\] must be finite", way, net)


@pytest.fixture
def saved(tmp_path):
    net = network(["tanh", "relu", "softmax"])
    net.save(tmp_path / "net.safetensors")
    return net, tmp_path / "net.safetensors"


@pytest.mark.parametrize("name", ["net.json", "net.c", "net.onnx", "NET.ONNX"])
def test_the_command_exports_by_the_name_of_the_file(saved, tmp_path, name):
    net, model = saved
    if name.lower().endswith("onnx"):
        pytest.importorskip("onnx", reason="onnx is not installed")
    done = run("export", model, tmp_path / name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"network 6-8-5-3 exported to {tmp_path / name}\n"
    if name == "net.json":
        assert (tmp_path / name).read_text() == convert.to_json(net)
    elif name == "net.c":
        assert (tmp_path / name).read_text() == convert.to_c(net)
    else:
        back = convert.from_onnx(tmp_path / name, backend=PLAIN)
        np.testing.assert_array_equal(back.feedforward(X), net.feedforward(X))


def test_the_command_takes_format_and_dtype(saved, tmp_path):
    net, model = saved
    assert run("export", model, tmp_path / "net", "--format", "c", "--dtype", "float64").returncode == 0
    assert (tmp_path / "net").read_text() == convert.to_c(net, dtype="float64")


ERRORS = [
    (["net.txt"], "the name of FILE must end with .onnx, .json or .c, got .*; or pass --format"),
    (["net.c", "--format", "cpp"], "unknown format 'cpp'; .*valid: onnx, json, c"),
    (["net.c", "--dtype", "half"], "unknown dtype 'half'"),
    (["net.json", "--dtype", "float32"], "--dtype is only for onnx and c"),
    (["none/net.c"], "cannot write '.*none/net.c': .*not a writable folder"),
]


@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_errors_of_the_command_leave_no_file(saved, tmp_path, arguments, message):
    import re

    done = run("export", saved[1], tmp_path / arguments[0], *arguments[1:])
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_a_missing_model_is_refused_by_name(tmp_path):
    done = run("export", tmp_path / "none", tmp_path / "net.c")
    assert (done.returncode, done.stdout) == (2, "")
    assert "none" in done.stderr
