"""Pipelines of scikit-learn with fastbp's estimators, converted by skl2onnx: the same predictions in onnxruntime."""

import numpy as np
import pytest
from refusals import refused

from fastbp import convert

skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.normal(10, 5, size=(60, 4)).astype(np.float32)
TARGETS = {
    "three classes of text": np.array(["no", "yes", "grün"])[(X[:, 0] > 8).astype(int) + (X[:, 0] > 12)],
    "two classes of text": np.where(X[:, 0] > 10, "yes", "no"),
    "three classes of numbers": np.array([3, -1, 7])[(X[:, 0] > 8).astype(int) + (X[:, 0] > 12)],
    "two classes": (X[:, 0] > 10).astype(int),
    "booleans": X[:, 0] > 10,
    "one class": np.zeros(60, int),
    "several labels": (X[:, :3] > 10).astype(int),
}
NUMBERS = {"one number": X[:, 0] + X[:, 1], "several numbers": X[:, :2] / 5}


def run(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def fitted(kind, y, activation="tanh", dtype=np.float32):
    options = {"hidden_layer_sizes": (8, 5), "activation": activation, "max_iter": 300, "tol": 0.01}
    estimator = kind(**options, learning_rate_init=0.01, random_state=0)
    return make_pipeline(StandardScaler(), estimator).fit(X.astype(dtype), y)


@pytest.fixture(autouse=True)
def registered():
    convert.register_skl2onnx()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("target", TARGETS)
def test_classifiers(target, dtype):
    pipeline, x = fitted(MLPClassifier, TARGETS[target], dtype=dtype), X.astype(dtype)
    model = skl2onnx.to_onnx(pipeline, x, options={"zipmap": False})
    label, probabilities = run(model, x)
    np.testing.assert_allclose(probabilities, pipeline.predict_proba(x), rtol=1e-5, atol=1e-6)
    assert label.tolist() == np.asarray(pipeline.predict(x)).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("target", NUMBERS)
@pytest.mark.parametrize("activation", ["relu", "logistic", "identity", ["tanh", "relu"]])
def test_regressors(target, dtype, activation):
    pipeline, x = fitted(MLPRegressor, NUMBERS[target], activation, dtype), X.astype(dtype)
    (found,) = run(skl2onnx.to_onnx(pipeline, x), x)
    expected = pipeline.predict(x).reshape(60, -1)
    assert found.shape == expected.shape
    assert found.dtype == dtype
    assert abs(found - expected).max() <= 1e-5 * abs(expected).max()


def test_probabilities_by_name_of_the_class():
    pipeline = fitted(MLPClassifier, TARGETS["three classes of text"])
    _, probabilities = run(skl2onnx.to_onnx(pipeline, X), X)
    expected = pipeline.predict_proba(X)
    for j, name in enumerate(pipeline.classes_):
        np.testing.assert_allclose([each[name] for each in probabilities], expected[:, j], rtol=1e-5, atol=1e-6)


def test_the_network_of_a_converted_estimator_is_read_back():
    pipeline = fitted(MLPClassifier, TARGETS["three classes of text"])
    model = skl2onnx.to_onnx(pipeline[-1], X, options={"zipmap": False})
    net = convert.from_onnx(model)
    expected = pipeline[-1].predict_proba(X)
    np.testing.assert_allclose(net.feedforward(X.T).T, expected, rtol=1e-5, atol=1e-6)
    refused("it must be a chain .* got Scaler", convert.from_onnx, skl2onnx.to_onnx(pipeline, X))


def test_a_model_of_scikit_learns_own_estimator_is_read():
    from sklearn.neural_network import MLPClassifier as Theirs

    model = Theirs((5,), tol=1.0, max_iter=2, n_iter_no_change=1, random_state=0).partial_fit(
        X, TARGETS["two classes"], classes=[0, 1]
    )
    net = convert.from_onnx(skl2onnx.to_onnx(model, X, options={"zipmap": False}))
    np.testing.assert_allclose(net.feedforward(X.T)[0], model.predict_proba(X)[:, 1], rtol=1e-5, atol=1e-6)


def test_what_is_missing_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skl2onnx", None)
    refused(r"needs skl2onnx, .*pip install 'fastbp\[onnx\]' skl2onnx", convert.register_skl2onnx)
