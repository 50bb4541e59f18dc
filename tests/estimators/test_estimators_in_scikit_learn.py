"""The estimators with scikit-learn's tools: all of its estimator checks, pipelines, searches, data frames, pickles."""

import inspect
import pickle
import re

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastbp
from fastbp.estimators import MLPClassifier, MLPRegressor
from fastbp.optimizers import AdamW

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ESTIMATORS = [
    kind(**options)
    for kind in (MLPClassifier, MLPRegressor)
    for options in (
        {},
        {"early_stopping": True},
        {"solver": "sgd", "batch_size": 8},
        {"solver": "lbfgs"},
        {"hidden_layer_sizes": (20, 10), "activation": ["tanh", "gelu"], "solver": AdamW()},
        {"solver": "sgd", "learning_rate": "adaptive", "alpha": 0.1, "backend": "numpy-plain"},
    )
]
sklearn_version = tuple(map(int, sklearn.__version__.split(".")[:2]))
FAILURES = (AssertionError, ValueError, TypeError, AttributeError)
THEIRS = {MLPClassifier: TheirClassifier, MLPRegressor: TheirRegressor}


def run_with_seed(check, estimator):
    """Run a check with the same random numbers for both estimators. Some checks leave `random_state` at None."""
    np.random.seed(0)  # noqa: NPY002  (the generator that such estimators use)
    check(estimator)


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_checks_pass(estimator, check):
    try:
        run_with_seed(check, estimator)
    except FAILURES as error:
        if sklearn_version < (1, 7) and "sample_weight" in str(check):
            pytest.xfail("scikit-learn's own estimator has no sample weights before 1.7")
        too_small = any("validation set is too small" in str(e) for e in (error, error.__context__))
        if sklearn_version < (1, 7) and too_small:
            pytest.xfail("scikit-learn's own estimator accepts a single example for validation before 1.7")
        params = estimator.get_params()
        names = ["early_stopping", "batch_size", "learning_rate", "alpha"]
        names += ["solver"] if isinstance(params["solver"], str) else []
        with pytest.raises((*FAILURES, RuntimeWarning)):  # what passes for scikit-learn's own estimator must pass
            run_with_seed(check, THEIRS[type(estimator)](**{name: params[name] for name in names}))
        pytest.xfail(f"scikit-learn's own estimator fails too: {error}")


@pytest.fixture(scope="module")
def digits():
    (x, labels), _ = fastbp.datasets.digits()
    return np.ascontiguousarray(x.T[:300]), labels[:300]


@pytest.mark.parametrize(("ours", "theirs"), [(MLPClassifier, TheirClassifier), (MLPRegressor, TheirRegressor)])
def test_names_and_defaults_match_scikit_learn(ours, theirs):
    our_params, their_params = ours().get_params(), theirs().get_params()
    new = {"backend", "dropout", "class_weight"}
    if sklearn_version < (1, 7):
        new |= {"loss"}
    assert our_params.keys() - their_params.keys() <= new
    assert {name: our_params[name] for name in their_params} == their_params
    positional = [*inspect.signature(theirs).parameters]
    if sklearn_version >= (1, 7):
        assert [*inspect.signature(ours).parameters][: len(positional)] == positional


def documented(kind):
    """Return the entry of each parameter in the docstring of an estimator."""
    section = re.search(r"Parameters\n-+\n(.*?)\n\nAttributes\n", inspect.getdoc(kind), re.DOTALL)[1]
    entries = re.split(r"\n(?=\S)", section)
    return {entry.partition(" : ")[0]: entry for entry in entries}


def test_the_docstrings_describe_each_parameter_alike():
    classifier, regressor = documented(MLPClassifier), documented(MLPRegressor)
    assert classifier.keys() == MLPClassifier().get_params().keys()
    assert regressor.keys() == MLPRegressor().get_params().keys()
    assert {name: classifier[name] for name in regressor if name != "loss"} == {
        name: entry for name, entry in regressor.items() if name != "loss"
    }


def test_a_grid_search_in_two_processes_finds_the_same_as_in_one(digits):
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((10,), max_iter=5, random_state=0))
    grid = {"mlpclassifier__alpha": [1e-4, 10.0], "mlpclassifier__solver": ["adam", "sgd"]}
    one, two = (GridSearchCV(pipeline, grid, cv=2, n_jobs=n).fit(*digits) for n in (1, 2))
    np.testing.assert_allclose(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])
    assert two.best_estimator_.predict(digits[0]).shape == (300,)


def test_cross_validation(digits):
    scores = cross_val_score(MLPClassifier((20,), learning_rate_init=0.01, max_iter=30, random_state=0), *digits, cv=3)
    assert scores.min() > 0.7
    proba = cross_val_predict(MLPClassifier((5,), max_iter=2), *digits, cv=2, method="predict_proba")
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-5)


def test_pickled_copies_continue_training_as_the_estimator_does(digits, tmp_path):
    net = MLPClassifier((10,), max_iter=3, random_state=0).fit(*digits)
    joblib.dump(net, tmp_path / "net.joblib")
    assert clone(net).get_params() == net.get_params()
    assert not hasattr(clone(net), "coefs_")
    copies = [pickle.loads(pickle.dumps(net)), joblib.load(tmp_path / "net.joblib")]
    proba = net.predict_proba(digits[0])
    net.partial_fit(*digits)
    for copy in copies:
        np.testing.assert_array_equal(copy.predict_proba(digits[0]), proba)
        copy.partial_fit(*digits)
        np.testing.assert_array_equal(copy.coefs_[0], net.coefs_[0])  # the pickle contains the optimizer's moments


def test_pickles_with_the_older_name_of_the_optimizer_snapshot_can_be_loaded(digits):
    net = MLPClassifier((10,), max_iter=1, random_state=0).fit(*digits)
    pickled = pickle.dumps(net, protocol=0)
    assert pickled.count(b"epochs\nOptimizerSnapshot\n") == 1
    older = pickle.loads(pickled.replace(b"epochs\nOptimizerSnapshot\n", b"epochs\nMemory\n"))
    np.testing.assert_array_equal(older.partial_fit(*digits).coefs_[0], net.partial_fit(*digits).coefs_[0])


def test_data_frames_and_feature_names():
    frame = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0], "kind": ["x", "y", "x", "y"]})
    y = pd.Series(["low", "low", "high", "high"])
    columns = ColumnTransformer([("kind", OneHotEncoder(), ["kind"])], remainder="passthrough")
    net = make_pipeline(columns, MLPClassifier((5,), "tanh", learning_rate_init=0.1, random_state=0)).fit(frame, y)
    assert net.predict(frame).tolist() == y.tolist()
    alone = MLPRegressor(hidden_layer_sizes=(3,), max_iter=1).fit(frame[["size"]], frame["size"])
    assert alone.feature_names_in_.tolist() == ["size"]
    with pytest.raises(ValueError, match="feature names"):
        alone.predict(frame[["size"]].rename(columns={"size": "length"}))


def test_multi_output_classifier(digits):
    x, labels = digits
    nets = MultiOutputClassifier(MLPClassifier((5,), max_iter=2)).fit(x, np.stack([labels, labels % 2], axis=1))
    assert nets.predict(x).shape == (300, 2)


def test_without_scikit_learn_the_error_says_what_to_install(run_python):
    source = """
import sys
sys.modules["sklearn"] = None
try:
    import fastbp.estimators
except ImportError as error:
    print(error)
"""
    done = run_python(source)
    expected = "fastbp.estimators needs scikit-learn 1.6 or later: pip install 'fastbp[sklearn]'\n"
    assert done.stdout == expected, done.stderr
