"""ONNX models with the preparation of a table and the names of classes, computed by onnxruntime."""

import numpy as np
import pandas as pd
import pytest
from commands import run_command
from refusals import refused

import fastbp
from fastbp import convert
from fastbp.datasets import fit

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

BOUNDS = {"float32": 1e-5, "float64": 1e-12}


def numbers(rows=120):
    """Return numbers of very different sizes, among them some that float32 cannot represent."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"time": rng.normal(2e9, 1e3, rows), "size": rng.random(rows), "same": 7.0})
    return frame.assign(count=rng.integers(0, 5, rows))


def mixed():
    rng = np.random.default_rng(1)
    texts = {"city": rng.choice(["Oslo", "Røros", "Lima"], 120), "code": rng.choice(["1", "2", "x"], 120)}
    return numbers().assign(**texts, member=rng.random(120) < 0.5)[["city", "time", "size", "member", "code", "count"]]


def with_missing():
    frame = mixed().astype({"city": object})
    frame.loc[3, "size"], frame.loc[5, "city"], frame.loc[[7, 8], "time"] = np.nan, None, np.nan
    return frame


def pixels():
    return pd.DataFrame(np.random.default_rng(2).integers(0, 256, (120, 64)), columns=[f"p{j}" for j in range(64)])


def clashing():
    """Return a table whose columns have the names of values in the graph."""
    names = ["a", "class", "inputs", "weights_1", "z_1", "a_"]
    return pd.DataFrame(np.random.default_rng(3).random((120, 6)), columns=names).assign(index=["u", "v"] * 60)


TABLES = {"numbers": numbers, "mixed": mixed, "missing": with_missing, "pixels": pixels, "clashing": clashing}
LABELS = {
    "text": lambda frame: np.array(["no", "ja", "non"])[np.arange(120) % 3],
    "integers": lambda frame: np.array([3, -1, 10])[np.arange(120) % 3],
    "booleans": lambda frame: np.arange(120) % 2 == 0,
    "regression": lambda frame: 500 + 20 * np.random.default_rng(4).normal(size=120),
}


def trained(frame, dtype="float32"):
    """Return a network with a preparation that was trained on a table for a few epochs. Its label column is "y"."""
    preparation = fit(frame, "y", missing="mean")
    last, cost = ("softmax", "log-likelihood") if preparation.target.classes else ("identity", "quadratic")
    sizes = [len(preparation.inputs), 5, preparation.target.outputs]
    net = fastbp.Network(
        sizes, ["tanh", last], cost, dtype=dtype, rng=0, backend="numpy-plain", input_scale=preparation.input_scale
    )
    net.preparation = preparation
    net.train(preparation.transform(frame), preparation.labels(frame), epochs=3, eta=0.1, progress=False)
    return net


def run(model, frame):
    """Return the outputs of a model for a table, by the names of the outputs."""
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {}
    for value in session.get_inputs():
        if value.shape[1] > 1:
            feeds[value.name] = frame.drop(columns="y", errors="ignore").to_numpy(float)
        elif value.type == "tensor(string)":
            feeds[value.name] = frame[[value.name]].fillna("").to_numpy(object)
        else:
            feeds[value.name] = frame[[value.name]].to_numpy(float)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("table", TABLES)
def test_the_exported_model_predicts_what_the_saved_network_predicts(table, label, dtype, tmp_path):
    frame = TABLES[table]()
    frame["y"] = LABELS[label](frame)
    trained(frame, dtype).save(tmp_path / "net")
    done = run_command("export", tmp_path / "net", tmp_path / "net.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    net = fastbp.load(tmp_path / "net", backend="numpy-plain")
    expected = net.predict(frame)
    found = run(onnx.load(tmp_path / "net.onnx"), frame)
    if label == "regression":
        assert np.abs(found["prediction"][:, 0] - expected).max() <= BOUNDS[dtype] * np.abs(expected).max()
    else:
        a, classes = found.values()
        assert classes.tolist() == expected.tolist()
        outputs = net.feedforward(net.preparation.transform(frame)).T
        assert np.abs(a - outputs).max() <= BOUNDS[dtype] * outputs.max()
    back = convert.from_onnx(tmp_path / "net.onnx", backend="numpy-plain")
    assert back.preparation == net.preparation
    assert back.predict(frame).tolist() == expected.tolist() if label != "regression" else True
    np.testing.assert_allclose(back.weights[0], net.weights[0], rtol=1e-6)


def test_inputs_have_the_names_and_types_of_the_columns():
    inputs = convert.to_onnx(trained(mixed().assign(y=LABELS["text"](None)))).graph.input
    kinds = {value.name: value.type.tensor_type.elem_type for value in inputs}
    assert kinds == {"city": 8, "time": 11, "size": 11, "member": 11, "code": 8, "count": 11}


def test_categories_that_training_did_not_have_give_zeros():
    net = trained(mixed().assign(y=LABELS["text"](None)))
    other = mixed().assign(city="Bern")
    assert run(convert.to_onnx(net), other)["class"].tolist() == net.predict(other).tolist()


def test_a_table_without_column_names_has_one_input(tmp_path):
    frame = numbers().assign(y=LABELS["text"](None))
    frame.to_csv(tmp_path / "t.csv", header=False, index=False)
    prepared = fastbp.datasets.prepare(tmp_path / "t.csv")
    net = fastbp.Network([4, 3], "softmax", "log-likelihood", rng=0, backend="numpy-plain")
    net.preparation = prepared.preparation
    found = run(convert.to_onnx(net), frame)
    inputs = net.preparation.transform(fastbp.datasets.read_table(tmp_path / "t.csv"))
    assert found["class"].tolist() == net.preparation.target.answers(net.feedforward(inputs)).tolist()


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_classes_of_a_network_without_a_preparation(outputs, dtype):
    x = np.random.default_rng(0).normal(size=(4, 50)).astype(dtype)
    y = np.array(["no", "ja", "non"])[np.arange(50) % max(2, outputs)]
    net = fastbp.Network([4, outputs], dtype=dtype, rng=0, backend="numpy-plain")
    net.train(x, y, epochs=3, progress=False)
    model = convert.to_onnx(net)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(["class"], {"x": x.T})[0].tolist() == net.predict(x).tolist()
    assert convert.from_onnx(model).classes == net.classes


def test_damaged_descriptions_are_refused():
    model = convert.to_onnx(trained(numbers().assign(y=LABELS["text"](None))))
    text = model.metadata_props[0].value
    for old, new, message in [
        ('"network": ["inputs", "a"]', '"network": ["inputs"]', "the network has the ends"),
        ('"network": ["inputs", "a"]', '"network": ["z_1", "a"]', "it must be a chain|it has no layers"),
        ('"task": "classification"', '"task": "guess"', "unknown task 'guess'"),
        ('"preparation": {', '"preparation": 3, "other": {', "must be of type dict"),
    ]:
        assert old in text
        model.metadata_props[0].value = text.replace(old, new)
        refused(message, convert.from_onnx, model)
