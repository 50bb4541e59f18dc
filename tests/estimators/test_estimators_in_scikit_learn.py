"""The estimators among scikit-learn's tools: its own checks, none excepted; pipelines, searches, frames, pickles."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
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

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ESTIMATORS = [
    MLPClassifier(),
    MLPRegressor(),
    MLPClassifier((20, 10), ["tanh", "logistic"], solver="sgd", learning_rate_init=0.1),
    MLPRegressor((20,), "tanh", solver="sgd", learning_rate="adaptive", alpha=0.1, backend="numpy-plain"),
]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    (x, labels), _ = fastbp.datasets.digits()
    return np.ascontiguousarray(x.T[:300]), labels[:300]


@pytest.mark.parametrize(("ours", "theirs"), [(MLPClassifier, TheirClassifier), (MLPRegressor, TheirRegressor)])
def test_names_and_defaults_are_scikit_learns(ours, theirs):
    given, wanted = ours().get_params(), theirs().get_params()
    assert {name: wanted[name] for name in given if name in wanted} == {n: given[n] for n in given if n in wanted}
    assert given.keys() - wanted.keys() <= {"backend", "class_weight"}
    assert wanted.keys() - given.keys() <= {"max_fun", "loss"}


def test_a_search_in_two_processes_over_a_pipeline_finds_what_it_finds_in_one(digits):
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((10,), max_iter=5, random_state=0))
    grid = {"mlpclassifier__alpha": [1e-4, 10.0], "mlpclassifier__solver": ["adam", "sgd"]}
    one, two = (GridSearchCV(pipeline, grid, cv=2, n_jobs=n).fit(*digits) for n in (1, 2))
    np.testing.assert_allclose(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])
    assert two.best_estimator_.predict(digits[0]).shape == (300,)


def test_scores_by_cross_validation(digits):
    scores = cross_val_score(MLPClassifier((20,), learning_rate_init=0.01, max_iter=30, random_state=0), *digits, cv=3)
    assert scores.min() > 0.7
    proba = cross_val_predict(MLPClassifier((5,), max_iter=2), *digits, cv=2, method="predict_proba")
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-5)


def test_clones_copies_and_pickles_go_on_as_the_estimator_does(digits, tmp_path):
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
        np.testing.assert_array_equal(copy.coefs_[0], net.coefs_[0])  # the optimizer's moments came along


def test_frames_are_known_by_their_columns():
    frame = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0], "kind": ["x", "y", "x", "y"]})
    y = pd.Series(["low", "low", "high", "high"])
    columns = ColumnTransformer([("kind", OneHotEncoder(), ["kind"])], remainder="passthrough")
    net = make_pipeline(columns, MLPClassifier((5,), "tanh", learning_rate_init=0.1, random_state=0)).fit(frame, y)
    assert net.predict(frame).tolist() == y.tolist()
    alone = MLPRegressor((3,), max_iter=1).fit(frame[["size"]], frame["size"])
    assert alone.feature_names_in_.tolist() == ["size"]
    with pytest.raises(ValueError, match="feature names"):
        alone.predict(frame[["size"]].rename(columns={"size": "length"}))


def test_an_estimator_for_each_output(digits):
    x, labels = digits
    nets = MultiOutputClassifier(MLPClassifier((5,), max_iter=2)).fit(x, np.stack([labels, labels % 2], axis=1))
    assert nets.predict(x).shape == (300, 2)


def test_without_scikit_learn_one_line_says_what_to_install(run_python):
    source = """
import sys
sys.modules["sklearn"] = None
try:
    import fastbp.estimators
except ImportError as error:
    print(error)
"""
    done = run_python(source)
    wanted = "fastbp.estimators needs scikit-learn 1.6 or later: pip install 'fastbp[sklearn]'\n"
    assert done.stdout == wanted, done.stderr
