"""ONNX models: what onnxruntime computes from them, and back; other models are refused by the name of a node."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

import fastbp
from fastbp import convert
from fastbp.convert.activation_table import ROWS

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from onnx import TensorProto, helper, numpy_helper

PLAIN = "numpy-plain"
X = np.random.default_rng(0).normal(size=(40, 6))
BOUNDS = {"float32": 1e-5, "float64": 1e-12}  # of the difference, relative to the largest output


def run(model, x, *names):
    """Return outputs of a model in onnxruntime, after a check of the model by the package onnx."""
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(names or None, {session.get_inputs()[0].name: x})


def close(actual, expected, dtype):
    assert np.abs(actual - expected).max() <= BOUNDS[dtype] * np.abs(expected).max()


def network(name, dtype, outputs=3, **options):
    names, cost = (["tanh", name], "log-likelihood") if name == "softmax" else ([name, name], "quadratic")
    return fastbp.Network([6, 8, outputs], names, cost, dtype=dtype, backend=PLAIN, rng=0, **options)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("name", ROWS)
def test_every_activation_in_onnxruntime_and_back(name, dtype):
    net = network(name, dtype)
    if dtype == "float64" and not ROWS[name].onnx.double:
        message = f"no operator for the activation '{name}' with the precision of float64; pass dtype='float32'"
        refused(message, convert.to_onnx, net)
        model, dtype = convert.to_onnx(net, dtype="float32"), "float32"
    else:
        model = convert.to_onnx(net)
    a, classes = run(model, X.astype(dtype))
    assert a.dtype == dtype
    close(a, net.feedforward(X.T).T, dtype)
    np.testing.assert_array_equal(classes, a.argmax(axis=1))
    back = convert.from_onnx(model, backend=PLAIN)
    assert (back.activations, back.cost_function, back.dtype) == (net.activations, net.cost_function, dtype)
    close(back.feedforward(X.T), net.feedforward(X.T), dtype)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.onnx.double])
def test_onnxruntime_does_not_compute_what_is_refused_in_float64(name):
    net = network(name, "float64")
    model = convert.to_onnx(net, dtype="float32")
    for tensor in model.graph.initializer:
        array = next(a for a in (*net.weights, *net.biases) if np.float32(a).tobytes() == tensor.raw_data)
        tensor.CopyFrom(numpy_helper.from_array(array.reshape(tuple(tensor.dims)), tensor.name))
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    reason = ""
    a = expected = net.feedforward(X.T).T
    try:
        (a,) = run(model, X, "a")
    except Exception as error:
        reason = str(error)
    inaccurate = np.abs(a - expected).max() > BOUNDS["float64"] * np.abs(expected).max()
    assert inaccurate or "Could not find an implementation" in reason


networks = st.builds(
    lambda sizes, names, dtype, bias, scale, seed: fastbp.Network(
        [6, *sizes], names[: len(sizes)], dtype=dtype, bias=bias, input_scale=scale, rng=seed, backend=PLAIN
    ),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.lists(st.sampled_from(["sigmoid", "tanh", "relu", "identity"]), min_size=4, max_size=4),
    st.sampled_from(["float32", "float64"]),
    st.booleans(),
    st.sampled_from([1.0, 1 / 255]),
    st.integers(0, 99),
)


@settings(max_examples=40, deadline=None)
@given(networks)
def test_networks_of_any_depth_without_biases_and_with_scaled_inputs(net):
    model = convert.to_onnx(net)
    (a,) = run(model, X.astype(net.dtype), "a")
    expected = net.feedforward(X.T).T
    np.testing.assert_allclose(a, expected, rtol=BOUNDS[net.dtype], atol=BOUNDS[net.dtype] * 0.1)
    back = convert.from_onnx(model.SerializeToString(), backend=PLAIN)
    assert (back.sizes, back.input_scale, len(back.biases)) == (
        net.sizes,
        np.dtype(net.dtype).type(net.input_scale),
        len(net.biases),
    )
    np.testing.assert_allclose(back.feedforward(X.T).T, expected, rtol=BOUNDS[net.dtype], atol=1e-6)


@pytest.mark.parametrize("cost", ["quadratic", "cross-entropy", "sum-squared"])
def test_the_cost_is_kept(tmp_path, cost):
    net = fastbp.Network([6, 3], "sigmoid", cost, rng=0)
    onnx.save(convert.to_onnx(net), tmp_path / "net.onnx")
    assert convert.from_onnx(tmp_path / "net.onnx").cost_function.name == cost
    assert convert.from_onnx(tmp_path / "net.onnx", "quadratic").cost_function.name == "quadratic"


def test_a_converted_network_can_be_trained():
    net = convert.from_onnx(convert.to_onnx(fastbp.Network([6, 3], "softmax", "log-likelihood", rng=0)), rng=0)
    before = net.cost(X.T, np.arange(40) % 3)
    net.train(X.T, np.arange(40) % 3, epochs=5, eta=0.1, progress=False)
    assert net.cost(X.T, np.arange(40) % 3) < before


W = {
    1: np.random.default_rng(1).normal(size=(5, 6)).astype("f"),
    2: np.random.default_rng(2).normal(size=(3, 5)).astype("f"),
}
B = {1: np.arange(5, dtype="f"), 2: np.arange(3, dtype="f")}


def model_of(*nodes, opset=21, inputs=(("x", ["n", 6]),), output="y", **constants):
    """Return a model of nodes, each an operator with the names of inputs and output, and attributes."""
    made = [helper.make_node(op, ins.split(), outs.split(), **attributes) for op, ins, outs, attributes in nodes]
    known = {"w1": W[1], "w1t": W[1].T, "b1": B[1], "w2": W[2], "w2t": W[2].T, "b2": B[2], **constants}
    used = {name for node in made for name in node.input}
    return helper.make_model(
        helper.make_graph(
            made,
            "g",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", "outputs"])],
            [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in known.items() if n in used],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )


def node(operator, inputs, outputs, **attributes):
    return operator, inputs, outputs, attributes


LAST = [node("Gemm", "a w2 b2", "y", transB=1)]
RIGHT = {
    "MatMul and Add": [node("MatMul", "x w1t", "z"), node("Add", "z b1", "s"), node("Relu", "s", "a"), *LAST],
    "bias first": [node("MatMul", "x w1t", "z"), node("Add", "b1 z", "s"), node("Tanh", "s", "a"), *LAST],
    "Gemm, not transposed": [node("Gemm", "x w1t b1", "z"), node("Sigmoid", "z", "a"), *LAST],
    "alpha and beta": [node("Gemm", "x w1 b1", "a", transB=1, alpha=0.5, beta=2.0), *LAST],
    "flattened": [node("Flatten", "x", "f"), node("Gemm", "f w1 b1", "a", transB=1), *LAST],
    "reshaped": [node("Reshape", "x shape", "f"), node("Gemm", "f w1 b1", "a", transB=1), *LAST],
    "scaled": [node("Div", "x four", "f"), node("Gemm", "f w1 b1", "a", transB=1), *LAST],
    "dropout": [node("Gemm", "x w1 b1", "z", transB=1), node("Dropout", "z", "a"), *LAST],
    "casts": [node("Cast", "x", "c", to=1), node("Gemm", "c w1 b1", "z", transB=1), node("Identity", "z", "a"), *LAST],
    "transposed constant": [node("Transpose", "w1", "v"), node("MatMul", "x v", "z"), node("Add", "z b1", "a"), *LAST],
    "softmax and class": [node("Gemm", "x w1 b1", "z", transB=1), node("Softmax", "z", "y"), node("ArgMax", "y", "k")],
    "no biases": [node("Gemm", "x w1", "a", transB=1), node("Gemm", "a w2", "y", transB=1)],
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_models_of_other_programs_become_the_same_network(name):
    constants = {"shape": np.array([-1, 6]), "four": np.array(4, "f")}
    model = model_of(*RIGHT[name], **constants)
    expected = run(model, X.astype("f"), "y")[0]
    close(convert.from_onnx(model, backend=PLAIN).feedforward(X.T).T, expected, "float32")


FIRST = node("Gemm", "x w1 b1", "z", transB=1)
DAMAGED = {
    "convolution": (model_of(node("Conv", "x w1", "y")), "got Conv 'y' after layer 0"),
    "batch norm": (
        model_of(FIRST, node("BatchNormalization", "z b1 b1 b1 b1", "a"), *LAST),
        "got BatchNormalization 'a' after layer 1",
    ),
    "residual": (
        model_of(FIRST, node("Relu", "z", "r"), node("Add", "z r", "a"), *LAST),
        "a branch to Relu 'r' and Add 'a'",
    ),
    "other slope": (model_of(FIRST, node("LeakyRelu", "z", "a", alpha=0.2), *LAST), "got LeakyRelu 'a' with alpha=0.2"),
    "softmax over examples": (model_of(FIRST, node("Softmax", "z", "y", axis=0)), "got Softmax 'y' with axis=0"),
    "two activations": (model_of(FIRST, node("Relu", "z", "r"), node("Tanh", "r", "a"), *LAST), "got Tanh 'a'"),
    "activation of the input": (model_of(node("Relu", "x", "y")), "got Relu 'y' after layer 0"),
    "input times input": (model_of(node("Mul", "x x", "y")), "got Mul 'y'"),
    "one minus the input": (model_of(node("Sub", "one x", "y"), one=np.ones(1, "f")), "got Sub 'y'"),
    "one by the input": (model_of(node("Div", "one x", "y"), one=np.ones(1, "f")), "got Div 'y'"),
    "scale per column": (
        model_of(node("Mul", "x s", "f"), node("Gemm", "f w1", "y", transB=1), s=np.ones(6, "f")),
        "got Mul 'f'",
    ),
    "no layers": (model_of(node("Identity", "x", "y")), "it has no layers"),
    "layers after classes": (model_of(FIRST, node("Sub", "z b1", "a"), *LAST), "got Gemm 'y' with .*transB=1"),
    "two inputs": (
        model_of(FIRST, inputs=(("x", [1, 6]), ("u", [1]))),
        r"it must have one input, .* got 2: \['x', 'u'\]",
    ),
    "weights times input": (model_of(node("MatMul", "w1 x", "y")), "got MatMul 'y' after layer 0"),
    "computed weights": (model_of(node("MatMul", "x x", "y")), "got MatMul 'y' after layer 0"),
    "transposed input": (model_of(node("Gemm", "x w1", "y", transA=1)), "got Gemm 'y' with"),
    "bias of another shape": (
        model_of(node("MatMul", "x w1t", "z"), node("Add", "z b2", "y")),
        "got Add 'y' after layer 1",
    ),
    "some biases": (model_of(node("Gemm", "x w1", "a", transB=1), *LAST), "all biases or none, got 1 without"),
    "old operator set": (model_of(FIRST, opset=6), "in a version from 7 to [0-9]+, got version 6"),
    "future operator set": (model_of(FIRST, opset=999), "got version 999; .*pip install -U onnx"),
    "no operator set": (model_of(FIRST), "got none"),
    "loop": (model_of(FIRST, node("Relu", "z", "r"), node("Tanh", "r", "z2")), "got Tanh 'z2'"),
    "value computed twice": (model_of(FIRST, FIRST), "its value 'z' must be computed by one node, got two"),
    "whole numbers": (
        model_of(node("MatMul", "x w1t", "y"), w1t=np.ones((6, 5), int)),
        "'w1t' must contain floats, got INT64",
    ),
    "not finite": (model_of(node("MatMul", "x w1t", "y"), w1t=np.full((6, 5), np.nan, "f")), "w1t must be finite"),
    "layers that do not fit": (model_of(FIRST, node("Gemm", "z w1 b1", "y", transB=1)), "must take 5 inputs"),
    "own domain": (model_of(("Gemm", "x w1", "y", {"domain": "com.example"})), "got com.example.Gemm 'y'"),
    "on in training": (
        model_of(FIRST, node("Dropout", "z ratio on", "a"), *LAST, ratio=np.array(0.5, "f"), on=np.array(True)),
        "got Dropout 'a'",
    ),
}  # fmt: skip
del DAMAGED["no operator set"][0].opset_import[:]


@pytest.mark.parametrize("name", DAMAGED)
def test_other_models_are_refused_by_the_name_of_a_node(name, tmp_path):
    model, message = DAMAGED[name]
    refused(message, convert.from_onnx, model)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    refused(f"cannot load '.*net.onnx': .*{message}", convert.from_onnx, tmp_path / "net.onnx")


def hostile(change):
    model = model_of(FIRST)
    change(next(tensor for tensor in model.graph.initializer if tensor.name == "w1"))
    return model


HOSTILE = {
    "sizes beyond the data": (lambda t: t.dims.__setitem__(0, 2**40), "is damaged: it has 30 numbers for the shape"),
    "negative sizes": (lambda t: t.dims.__setitem__(0, -5), "is damaged: it has 30 numbers"),
    "empty": (lambda t: t.dims.__setitem__(0, 0), "is damaged: it has 30 numbers"),
    "unknown type": (lambda t: setattr(t, "data_type", 99), "must contain floats, got the type 99"),
    "another file": (lambda t: setattr(t, "data_location", 1), r"is in another file; pass onnx.load\(path\)"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_constants_are_refused_before_memory_is_allocated(name):
    change, message = HOSTILE[name]
    refused(f"its constant 'w1' .*{message}|{message}", convert.from_onnx, hostile(change))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 10**6))
def test_a_damaged_file_is_read_or_refused_in_one_line(position, byte, end):
    content = bytearray(convert.to_onnx(network("relu", "float32")).SerializeToString())
    content[position % len(content)] = byte
    if end % 3 == 0:
        del content[-(end % 100) :]
    message = "read"
    try:
        convert.from_onnx(bytes(content), backend=PLAIN)
    except fastbp.InputError as error:
        message = str(error)
    assert "\n" not in message


def test_files_that_are_no_models_are_refused(tmp_path):
    (tmp_path / "text").write_text("hello")
    refused("cannot load '.*text': it is not an ONNX model|operator set", convert.from_onnx, tmp_path / "text")
    refused("cannot load '.*none.onnx': No such file", convert.from_onnx, tmp_path / "none.onnx")
    refused("it is a folder", convert.from_onnx, tmp_path)
    refused("path must be the name of a file", convert.from_onnx, 3)


def test_external_data_are_read_by_onnx_as_the_message_says(tmp_path):
    net = fastbp.Network([6, 300, 3], "tanh", rng=0, backend=PLAIN)
    path = tmp_path / "net.onnx"
    onnx.save(convert.to_onnx(net), path, save_as_external_data=True, location="net.data", size_threshold=10)
    refused(r"is in another file; pass onnx.load\(path\)", convert.from_onnx, path)
    back = convert.from_onnx(onnx.load(path), backend=PLAIN)
    np.testing.assert_array_equal(back.feedforward(X.T), net.feedforward(X.T))


def test_what_cannot_be_converted_is_refused(monkeypatch):
    own = fastbp.Activation("own", lambda z: 2.0 * z, lambda z, a: 2.0)
    refused("to be converted to ONNX, got 'own'", convert.to_onnx, fastbp.Network([2, 1], own))
    refused("net must be a fastbp.Network, got int", convert.to_onnx, 3)
    refused("unknown dtype 'float16'", convert.to_onnx, network("relu", "float32"), dtype="float16")
    wide = fastbp.Network([2, 1], rng=0)
    with monkeypatch.context() as patch:
        patch.setattr("fastbp.convert.onnx_models.LARGEST", 2**20)
        refused("an ONNX file holds at most 2 GiB", convert.to_onnx, wide)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    refused(
        r"to_onnx needs the package onnx, .*pip install 'fastbp\[onnx\]'", convert.to_onnx, network("relu", "float32")
    )
    refused(r"from_onnx needs the package onnx", convert.from_onnx, "net.onnx")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "its metadata 'fastbp' are damaged"), ('{"cost": 3}', "damaged: the cost is 3"), ("[" * 10**5, "damaged")],
)
def test_damaged_metadata_are_refused(text, message):
    model = convert.to_onnx(network("relu", "float32"))
    helper.set_model_props(model, {"fastbp": text})
    refused(message, convert.from_onnx, model)


def test_the_program_in_the_documents_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs/export.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    onnx.save(convert.to_onnx(fastbp.Network([64, 30, 10], rng=0)), "digits.onnx")
    variables = {}
    exec(page.partition("```python\n")[2].partition("```")[0], variables)
    assert (variables["a"].shape, variables["classes"].shape) == ((3, 10), (3,))
