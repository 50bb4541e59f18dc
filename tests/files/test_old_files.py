"""Models, checkpoints and pickles written by fastbp 0.1 load, give the same results, and continue training."""

import importlib.util
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import optimizers, schedules
from fastbp.activations import ACTIVATIONS
from fastbp.costs import COSTS

FOLDER = Path(__file__).parent / "written_by_0_1"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
ESTIMATORS = ["classifier", "classifier_sgd", "classifier_partial_fit", "classifier_sgd_partial_fit", "regressor"]
MODELS = ["model", "model_without_biases", "model_float32", "model_own_activation"]
CHECKPOINTS = ["checkpoint_momentum", "checkpoint_adam", "checkpoint_own_activation"]


@pytest.fixture(scope="module")
def written():
    """Return the module that wrote the files: its data, its settings, and its own activation."""
    spec = importlib.util.spec_from_file_location("write_files", FOLDER / "write_files.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unpickled(name):
    return pickle.loads((FOLDER / f"{name}.pickle").read_bytes())


def assert_same(given, expected, rtol=1e-5):
    """Assert that results are the recorded ones, up to rounding: BLAS libraries differ in the last digits."""
    assert given.keys() == expected.keys()
    for name, value in expected.items():
        if name == "best_epoch":
            assert given[name] == value
        elif name in ("weights", "biases"):
            for a, b in zip(given[name], value, strict=True):
                np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7)
        else:
            np.testing.assert_allclose(given[name], value, rtol=rtol, atol=1e-7)


@pytest.mark.parametrize("name", MODELS)
def test_a_model(name, written):
    net = fastbp.load(FOLDER / f"{name}.safetensors", activations=[written.SWISH], backend="numpy")
    rtol = 1e-3 if net.dtype == "float32" else 1e-5
    assert_same(written.result(net), EXPECTED[name], rtol)
    assert_same(written.result(net, written.train(net, {"epochs": 2})), EXPECTED[f"{name}_trained"], rtol)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint(name, written, tmp_path):
    path = tmp_path / "run"
    shutil.copy(FOLDER / f"{name}.safetensors", path)
    activations, cost, options = written.RUNS[name][:3]
    net = written.new_network(activations, cost, rng=0)
    history = written.train(net, options, checkpoint=path, resume=True)
    assert_same(written.result(net, history), EXPECTED[name])


def test_a_pickled_network(written):
    net, history = unpickled("network"), unpickled("history")
    assert_same(written.result(net, history), EXPECTED["network"])
    assert_same(written.result(net, written.train(net, {"epochs": 2})), EXPECTED["network_trained"])


def test_a_pickled_trace():
    for delta, expected in zip(unpickled("trace").deltas, EXPECTED["trace"], strict=True):
        np.testing.assert_allclose(delta, expected, rtol=1e-5)


def test_pickled_optimizers_schedules_and_formulas(written):
    sgd, adam = optimizers.SGD, optimizers.Adam
    assert unpickled("optimizers") == [sgd(momentum=0.9), sgd(0.5, nesterov=True), adam(beta_2=0.99)]
    assert unpickled("schedules") == [schedules.Step(0.5, every=2), schedules.Cosine(0.5)]
    activations, cost = unpickled("formulas")
    assert activations == (ACTIVATIONS["tanh"], ACTIVATIONS["softmax"])
    assert cost == COSTS["log-likelihood"]


@pytest.mark.parametrize("name", ["book_network", "book_network2"])
def test_a_pickled_network_of_the_book(name, written):
    net = unpickled(name)
    np.testing.assert_allclose(net.feedforward(written.X[0].reshape(4, 1)), EXPECTED[name], rtol=1e-5)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_pickled_estimator(name, written):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    estimator, expected = unpickled(name), EXPECTED[name]
    np.testing.assert_allclose(written.predicted(estimator), expected["outputs"], rtol=1e-5)
    if "after_partial_fit" in expected:
        estimator.partial_fit(written.X, written.X[:, 0] if name == "regressor" else written.Y)
        np.testing.assert_allclose(written.predicted(estimator), expected["after_partial_fit"], rtol=1e-5)


def test_a_pickled_estimator_that_is_not_fitted(written):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from fastbp.estimators import MLPClassifier

    estimator = unpickled("classifier_unfitted")
    assert estimator.get_params() == MLPClassifier((5,)).get_params()
    estimator.set_params(random_state=0).partial_fit(written.X, written.Y, classes=[0, 1])
    expected = EXPECTED["classifier_partial_fit"]["outputs"]
    np.testing.assert_allclose(written.predicted(estimator), expected, rtol=1e-5)
