"""The page of `Trace.to_html` and `fastbp explain`: what it contains, and what is refused."""

import base64
import json
import pickle
import re

import numpy as np
import pytest
from commands import run_command
from refusals import refused

import fastbp
from fastbp.plots.explain.true_changes import NUDGES
from fastbp.plots.explain.values import page_values


def trace_of(net, m=1):
    x = np.random.default_rng(1).random((net.sizes[0], m))
    return x, net.trace(x, np.arange(m) % net.sizes[-1] if net.sizes[-1] > 1 else np.ones((1, m)))


def decoded(text, dtype="<f8"):
    return np.frombuffer(base64.b64decode(text), dtype)


def content(path):
    (text,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL
    )
    return json.loads(text)


def test_the_page_holds_the_values_of_its_example_exactly(tmp_path):
    net = fastbp.Network([9, 5, 3], rng=0)
    _, trace = trace_of(net, 4)
    trace.to_html(tmp_path / "page.html", example=2)
    layers = content(tmp_path / "page.html")["layers"]
    for l, layer in enumerate(layers):
        np.testing.assert_array_equal(decoded(layer["a"]), trace.activations[l][:, 2])
        np.testing.assert_array_equal(decoded(layer["g"]), trace.activation_gradients[l][:, 2])
        if l:
            np.testing.assert_array_equal(decoded(layer["z"]), trace.zs[l - 1][:, 2])
            np.testing.assert_array_equal(decoded(layer["d"]), trace.deltas[l - 1][:, 2])
            np.testing.assert_array_equal(decoded(layer["w"], "<f4"), net.weights[l - 1].ravel())
            np.testing.assert_array_equal(decoded(layer["b"]), net.biases[l - 1].ravel())


TWICE = fastbp.Activation("twice", lambda z: 2.0 * z, lambda z, a: 2.0)
PAIRS = [
    ("sigmoid", "quadratic"),
    (["tanh", "relu", "softmax"], "log-likelihood"),
    ([TWICE, "gelu", "sigmoid"], "cross-entropy"),
]


@pytest.mark.parametrize(("activations", "cost"), PAIRS)
def test_the_true_changes_are_those_of_the_cost_when_a_bias_changes(activations, cost):
    net = fastbp.Network([9, 6, 5, 3], activations, cost, dtype="float64", rng=0)
    x, trace = trace_of(net)
    values = page_values(trace, 0)
    before = net.cost(x, [0])
    for l, layer in enumerate(values["layers"][1:]):
        changes = decoded(layer["changes"], "<f4").reshape(-1, len(NUDGES))
        for j in range(net.sizes[l + 1]):
            for nudge in (0, 19, 20, 39):
                net.biases[l][j, 0] += NUDGES[nudge]
                assert changes[j, nudge] == pytest.approx(net.cost(x, [0]) - before, rel=1e-5, abs=1e-9)
                net.biases[l][j, 0] -= NUDGES[nudge]


def test_only_the_largest_errors_of_a_wide_layer_have_true_changes():
    net = fastbp.Network([4, 300, 2], rng=0)
    _, trace = trace_of(net)
    layer = page_values(trace, 0)["layers"][1]
    assert len(layer["nudged"]) == 256
    assert (
        np.delete(np.abs(trace.deltas[0][:, 0]), layer["nudged"]).max()
        <= np.abs(trace.deltas[0][layer["nudged"], 0]).min()
    )


def test_a_trace_is_a_tuple_of_six_and_keeps_the_parameters_of_its_time():
    net = fastbp.Network([9, 5, 3], rng=0)
    x, trace = trace_of(net)
    zs, activations, deltas, gradients, nabla_b, nabla_w = trace
    assert (len(zs), len(activations), len(deltas), len(gradients), len(nabla_b), len(nabla_w)) == (2, 3, 2, 3, 2, 2)
    assert repr(trace) == "<Trace of 1 example: 9-5-3>"
    before = page_values(trace, 0)
    net.train(x, [1], epochs=3, progress=False)
    assert page_values(trace, 0) == before == page_values(pickle.loads(pickle.dumps(trace)), 0)


@pytest.mark.parametrize("backend", ["numpy", "numpy-plain", "array_api_strict"])
def test_every_backend_has_a_page(backend, tmp_path):
    _, trace = trace_of(fastbp.Network([4, 3, 1], "tanh", bias=False, backend=backend, rng=0))
    trace.to_html(tmp_path / "page.html")
    assert content(tmp_path / "page.html")["layers"][1]["b"] is None


def test_names_cannot_end_the_script_and_the_page_allows_no_request(tmp_path):
    _, trace = trace_of(fastbp.Network([2, 2], rng=0))
    trace.to_html(tmp_path / "page.html", outputs=["</script><script>alert(1)</script>", "<!--"])
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("<script") == 2
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "http" not in page.replace("http-equiv", "")


def test_pages_that_cannot_be_made_are_refused_before_any_work(tmp_path, monkeypatch):
    _, trace = trace_of(fastbp.Network([4, 3, 2], rng=0), 2)
    monkeypatch.setattr("fastbp.plots.explain.pages.page_values", lambda *_: pytest.fail("work was done"))
    refused("example must be an integer from 0 to 1, got 2", trace.to_html, tmp_path / "x.html", example=2)
    refused("cannot write .*not a writable folder", trace.to_html, "/no/such/page.html")
    refused("outputs must have 2 names", trace.to_html, tmp_path / "x.html", outputs=["a"])
    refused("trace with its network", fastbp.Trace(*trace).to_html, tmp_path / "x.html")
    _, large = trace_of(fastbp.Network([2000, 2001, 2], rng=0))
    refused("up to 4,000,000 weights", large.to_html, tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "digits.safetensors"
    fastbp.Network([64, 5, 10], rng=0).save(path)
    return path


def test_the_command_explains_a_test_example(model, tmp_path):
    done = run_command("explain", model, "--example", 7, "--output", tmp_path / "page.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"example 7 of digits explained in {tmp_path}" in done.stdout
    values = content(tmp_path / "page.html")
    x = fastbp.datasets.load("digits")[2][0]
    np.testing.assert_array_equal(decoded(values["layers"][0]["a"]), x[:, 7])
    assert values["outputs"] == list("0123456789")
    assert values["shape"] == [8, 8]


def test_the_command_names_the_columns_and_classes_of_a_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"{i},{'red' if i % 3 else 'blue'},{'apple' if i % 2 else 'pear'}" for i in range(40)]
    (tmp_path / "fruit.csv").write_text("\n".join(["size,colour,kind", *rows]))
    assert run_command("train", "--data", "fruit.csv", "--epochs", 1, "--save", "net.safetensors").returncode == 0
    assert run_command("explain", "net.safetensors", "--data", "fruit.csv").returncode == 0
    values = content(tmp_path / "explain.html")
    assert values["inputs"] == ["size", "colour = blue", "colour = red"]
    assert values["outputs"] == ["apple", "pear"]


def test_the_command_refuses_in_one_line(model, tmp_path):
    wide = tmp_path / "wide.safetensors"
    fastbp.Network([64, 40_000, 100], rng=0).save(wide)
    other = tmp_path / "other.safetensors"
    fastbp.Network([784, 10], rng=0).save(other)
    page = tmp_path / "page.html"
    for arguments, message in {
        (model, "--example", "359"): "--example must be from 0 to 358, got 359",
        (model, "--example", "-1"): "--example must be an integer >= 0, got -1",
        (model, "--output", "/no/page.html"): "not a writable folder",
        (tmp_path / "none.safetensors",): "No such file",
        (other,): "the network has 784 inputs, but the examples of digits have 64",
        (wide,): "up to 4,000,000 weights",
        (model, "--data", tmp_path / "none.csv"): "none.csv",
    }.items():
        done = run_command("explain", "--output", page, *arguments)
        assert done.returncode == 2, arguments
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert not page.exists()
