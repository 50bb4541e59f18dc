"""The solver "lbfgs" against scikit-learn's: coefs, losses, numbers of iterations and warnings."""

import inspect
import warnings

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor

from fastbp.estimators import MLPClassifier, MLPRegressor

TARGETS = ["two classes", "three classes", "labels", "number", "numbers"]


def examples(target, n=120, dtype=np.float64):
    rng = np.random.default_rng(7)
    x = rng.standard_normal((n, 6))
    score = x @ rng.standard_normal((6, 3)) + rng.standard_normal((n, 3))
    y = {
        "two classes": np.array(["no", "yes"])[(score[:, 0] > 0).astype(int)],
        "three classes": score.argmax(axis=1) * 10,
        "labels": (score > 0).astype(int),
        "number": score[:, 0],
        "numbers": score,
    }[target]
    return x.astype(dtype), y


def fitted(kind, x, y, weight=None, **options):
    """Return a fitted estimator and the texts of its warnings."""
    model = kind(solver="lbfgs", random_state=1, **options)
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        model.fit(x, y) if weight is None else model.fit(x, y, weight)
    # scikit-learn 1.6 passes an option to SciPy that SciPy has deprecated.
    issued = [warning for warning in issued if not issubclass(warning.category, DeprecationWarning)]
    assert all(issubclass(warning.category, ConvergenceWarning) for warning in issued)
    compared = (
        len("lbfgs failed to converge") if sklearn.__version__.startswith("1.6.") else None
    )  # fastbp has 1.7's text
    return model, [str(warning.message)[:compared] for warning in issued]


def assert_same(target, *data, tolerance=1e-9, **options):
    kinds = (MLPRegressor, TheirRegressor) if target.startswith("number") else (MLPClassifier, TheirClassifier)
    (ours, texts), (theirs, their_texts) = (fitted(kind, *data, **options) for kind in kinds)
    assert texts == their_texts
    assert ours.n_iter_ == theirs.n_iter_
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=tolerance)
    a, b = ours.predict(data[0]), theirs.predict(data[0])
    assert a.dtype == b.dtype
    if target.startswith("number"):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    else:
        np.testing.assert_array_equal(a, b)
    return ours


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("target", TARGETS)
def test_the_same_coefs_losses_and_warnings(target, activation):
    ours = assert_same(target, *examples(target), activation=activation, hidden_layer_sizes=(9, 5), max_iter=25)
    assert ours.n_iter_ >= 10


@pytest.mark.parametrize("target", TARGETS)
def test_weights_of_examples_and_sparse_rows(target):
    x, y = examples(target)
    weight = np.linspace(0.0, 2.0, len(x))
    if "sample_weight" not in inspect.signature(TheirClassifier.fit).parameters:
        pytest.skip("scikit-learn 1.6 has no sample weights")
    assert_same(target, x, y, weight, alpha=0.1, max_iter=20)
    rows = sparse.csr_matrix(np.where(x > 0.5, x, 0.0))
    assert_same(target, rows, y, weight, alpha=0.1, max_iter=20)


@pytest.mark.parametrize("target", TARGETS)
def test_float32(target):
    assert_same(target, *examples(target, dtype=np.float32), max_iter=5, tolerance=1e-3)


def test_convergence_and_limits():
    x, y = examples("three classes")
    ours = assert_same("three classes", x, y, hidden_layer_sizes=(), max_iter=1000, alpha=1.0)
    assert ours.n_iter_ < 1000
    for options in ({"max_fun": 7}, {"tol": 0.1}, {"max_iter": 1}):
        assert_same("three classes", x, y, **options)


def test_warm_start():
    x, y = examples("number")
    kinds = MLPRegressor, TheirRegressor
    models = [
        kind(hidden_layer_sizes=(5,), solver="lbfgs", warm_start=True, max_iter=7, random_state=0) for kind in kinds
    ]
    for _ in range(2):
        with pytest.warns(ConvergenceWarning):
            ours, theirs = (model.fit(x, y) for model in models)
        for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
        assert ours.loss_ == pytest.approx(theirs.loss_)


@pytest.mark.parametrize("rows", [np.asarray, sparse.csr_matrix])
def test_other_backends(rows):
    x, y = examples("three classes")
    given = rows(np.where(x > 0.0, x, 0.0))
    weight = np.linspace(0.0, 2.0, len(x))
    options = {"hidden_layer_sizes": (5,), "max_iter": 10}
    here, there = (fitted(MLPClassifier, given, y, weight, backend=b, **options)[0] for b in ("numpy", "numpy-plain"))
    for a, b in zip(here.coefs_, there.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_partial_fit_needs_mini_batches():
    x, y = examples("number")
    with pytest.raises((AttributeError, ValueError), match="partial_fit"):
        MLPRegressor(solver="lbfgs").partial_fit(x, y)


def test_invalid_limits():
    x, y = examples("number")
    with pytest.raises(ValueError, match="The 'max_fun' parameter of MLPRegressor must be an int in the range"):
        MLPRegressor(solver="lbfgs", max_fun=0).fit(x, y)
