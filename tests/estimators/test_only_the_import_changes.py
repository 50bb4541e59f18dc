"""What other code reads, sets, filters and overrides in scikit-learn's networks, and what only fastbp's can do."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, InconsistentVersionWarning
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor

import fastbp
from fastbp.activations import ACTIVATIONS, Activation
from fastbp.estimators import MLPClassifier, MLPRegressor
from fastbp.math import sqrt
from fastbp.optimizers import SGD, AdamW

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(0).standard_normal((60, 4))
Y = X[:, 0] + X[:, 1] ** 2
TWO = (Y > 0.8).astype(int)
THREE = np.digitize(Y, [0.3, 1.2])
MANY = np.stack([Y > 0, Y > 1, X[:, 1] > 0], axis=1).astype(int)
SMALL = {"hidden_layer_sizes": (5,), "random_state": 3, "max_iter": 3}


def pair(classifier=True, **options):
    """Return fastbp's estimator and scikit-learn's."""
    kinds = (MLPClassifier, TheirClassifier) if classifier else (MLPRegressor, TheirRegressor)
    return [kind(**SMALL | options) for kind in kinds]


def assert_same(ours, theirs):
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)


@pytest.mark.filterwarnings("default")
def test_warnings_have_scikit_learns_texts_classes_and_module():
    found = []
    for net in pair(batch_size=100, max_iter=1):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            net.fit(X, TWO)
        found.append([(w.category, str(w.message)) for w in caught])
    assert found[0] == found[1]
    assert [category for category, _ in found[0]] == [UserWarning, ConvergenceWarning]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module="sklearn.neural_network")
        MLPClassifier(**SMALL).fit(X, TWO)


@pytest.mark.parametrize("name", ["_forward_pass", "_compute_loss_grad", "_init_coef", "_update_no_improvement_count"])
def test_a_class_that_overrides_a_private_method_of_scikit_learn_is_refused(name):
    with pytest.raises(TypeError, match=f"Mine replaces {name}, which fastbp.estimators never calls"):
        type("Mine", (MLPClassifier,), {name: lambda self, *arguments: None})
    mixin = type("Mixin", (), {name: lambda self, *arguments: None})
    with pytest.raises(TypeError, match="use the estimator of sklearn"):
        type("Mine", (mixin, MLPRegressor), {})
    net = MLPClassifier()
    setattr(net, name, lambda *arguments: None)
    with pytest.raises(TypeError, match=name):
        net.fit(X, TWO)
    type("Fine", (MLPClassifier,), {"score": lambda self, x, y: 1.0})


def test_pickles_have_a_version_and_those_of_a_later_version_warn():
    net = MLPClassifier(**SMALL).fit(X, TWO)
    assert net.__getstate__()["_fastbp_version"] == fastbp.__version__
    assert "_sklearn_version" in net.__getstate__()
    copied = pickle.loads(pickle.dumps(net))
    assert vars(copied).keys() == vars(net).keys()
    with pytest.warns(InconsistentVersionWarning, match="MLPClassifier from version 99.0"):
        MLPClassifier().__setstate__(net.__getstate__() | {"_fastbp_version": "99.0"})


def test_the_html_names_the_parameters_and_links_to_the_documentation():
    html = MLPRegressor(loss="poisson", dropout=0.25)._repr_html_()
    assert "poisson" in html
    assert "docs/migrating.md" in html


def test_there_is_no_partial_fit_for_lbfgs():
    for kind in (MLPClassifier, MLPRegressor):
        assert not hasattr(kind(solver="lbfgs"), "partial_fit")
        assert hasattr(kind(solver=AdamW()), "partial_fit")


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_learning_rate_can_be_read_and_set(solver):
    ours, theirs = pair(solver=solver)
    for net in (ours, theirs):
        net.fit(X, THREE)
        if solver == "sgd":
            net._optimizer.learning_rate = 0.5
        else:
            net._optimizer.learning_rate_init = 0.5
        net._no_improvement_count = 7
        net.partial_fit(X, THREE)
    assert_same(ours, theirs)
    assert ours._optimizer.learning_rate == pytest.approx(theirs._optimizer.learning_rate)
    assert ours._no_improvement_count == theirs._no_improvement_count
    np.testing.assert_array_equal(ours._label_binarizer.classes_, theirs._label_binarizer.classes_)


def test_settings_of_the_optimizer_that_change_between_calls_of_partial_fit():
    ours, theirs = pair(solver="sgd", learning_rate_init=0.1)
    for net in (ours, theirs):
        for options in ({}, {"learning_rate_init": 0.9, "momentum": 0.1}, {"solver": "adam"}, {"alpha": 1.0}):
            net.set_params(**options).partial_fit(X, THREE, classes=[0, 1, 2])
    assert_same(ours, theirs)


def test_without_hidden_layers_the_initial_parameters_depend_on_the_activation():
    for activation in ("logistic", "tanh"):
        ours, theirs = pair(hidden_layer_sizes=(), activation=activation)
        assert_same(ours.fit(X, TWO), theirs.fit(X, TWO))


@pytest.mark.parametrize("options", [{"solver": "sgd", "momentum": 1.0}, {"validation_fraction": 0}], ids=str)
def test_limits_of_parameters(options):
    ours, theirs = pair(**options)
    assert_same(ours.fit(X, TWO), theirs.fit(X, TWO))


def test_the_loss_poisson():
    ours, theirs = pair(classifier=False)
    if "loss" not in theirs.get_params():
        pytest.skip("scikit-learn 1.6 has no loss 'poisson'")
    counts = np.random.default_rng(1).poisson(np.exp(X[:, 0]))
    for net in (ours, theirs):
        net.set_params(loss="poisson", early_stopping=True, max_iter=20).fit(X, counts)
    assert_same(ours, theirs)
    assert ours.out_activation_ == theirs.out_activation_ == "exp"
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-9)


def test_early_stopping_with_a_warm_start_returns_the_same_model():
    ours, theirs = pair(early_stopping=True, warm_start=True, learning_rate_init=0.5, solver="sgd")
    for net in (ours, theirs):
        net.fit(X, TWO).fit(X, TWO)
    assert_same(ours, theirs)
    assert ours.best_validation_score_ == theirs.best_validation_score_


def test_labels_of_minus_one_and_one_in_several_columns_are_those_of_scikit_learn():
    signs = 2 * MANY - 1
    ours, theirs = pair()
    with pytest.warns(UserWarning, match="each number other than 0 means that the example has the label"):
        ours.fit(X, signs)
    assert_same(ours, theirs.fit(X, signs))


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_labels_give_sparse_predictions(container):
    found = [net.fit(X, container(MANY)).predict(X) for net in pair(max_iter=50)]
    assert type(found[0]) is type(found[1])
    np.testing.assert_array_equal(found[0].toarray(), found[1].toarray())


@pytest.mark.parametrize("of_model", [np.float32, np.float64])
@pytest.mark.parametrize("of_input", [np.float32, np.float64, np.int64])
def test_dtypes_of_predictions(of_model, of_input):
    x = (10 * X).astype(of_input)
    ours, theirs = pair(classifier=False)
    found = [net.fit(X.astype(of_model), Y).predict(x) for net in (ours, theirs)]
    assert found[0].dtype == found[1].dtype
    proba = [net.fit(X.astype(of_model), TWO).predict_proba(x) for net in pair()]
    assert proba[0].dtype == proba[1].dtype
    np.testing.assert_allclose(proba[0], proba[1], rtol=1e-4)


def test_training_continues_in_the_dtype_of_the_parameters():
    for first, second in ((np.float32, np.float64), (np.float64, np.float32)):
        ours, theirs = pair()
        for net in (ours, theirs):
            net.fit(X.astype(first), TWO).partial_fit(X.astype(second), TWO)
            assert {a.dtype for a in net.coefs_ + net.intercepts_} == {np.dtype(first)}


@pytest.mark.parametrize("dtype", [object, "U1"])
def test_unknown_text_labels_in_partial_fit(dtype):
    for net in pair():
        net.partial_fit(X, np.where(TWO, "b", "a").astype(dtype), classes=["a", "b"])
        with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
            net.partial_fit(X, np.where(TWO, "c", "a").astype(dtype))


@pytest.mark.parametrize(
    "dtype", ["Int64", "boolean", "int64[pyarrow]", "bool[pyarrow]", "string[pyarrow]", "category"]
)
def test_labels_in_pandas_extension_dtypes(dtype):
    y = pd.Series(TWO).astype(dtype)
    ours, theirs = (net.fit(X, y) for net in pair())
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    assert ours.classes_.dtype == theirs.classes_.dtype
    assert_same(ours, theirs)


def test_arrow_arrays():
    arrow = pytest.importorskip("pyarrow")
    ours, theirs = pair()
    table = arrow.table({name: X[:, i] for i, name in enumerate("abcd")})
    plain = theirs.fit(X, TWO)
    assert_same(ours.fit(table, arrow.array(TWO), arrow.array(np.ones(60))), plain)
    text = arrow.chunked_array([np.where(TWO, "b", "a")])
    assert clone(ours).fit(table, text).classes_.tolist() == ["a", "b"]
    assert clone(ours).partial_fit(table, arrow.array(TWO), classes=arrow.array([0, 1])).classes_.tolist() == [0, 1]


def soft_sign(z):
    return z / (1.0 + abs(z))


def soft_sign_prime(z, a):
    return 1.0 / ((1.0 + abs(z)) * (1.0 + abs(z)))


SOFT_SIGN = Activation("soft-sign", soft_sign, soft_sign_prime, needs_z=True)


def scaled(w, g, v, eta, decay, t):
    g = g + decay * w
    v = v + g * g
    return w - eta * g / sqrt(1.0 + v), v


OWN = fastbp.Optimizer("scaled", scaled, state=["v"])


@pytest.mark.parametrize(
    "activation", ["gelu", "elu", SOFT_SIGN, ["silu", SOFT_SIGN]], ids=["gelu", "elu", "soft-sign", "two"]
)
@pytest.mark.parametrize("solver", [AdamW(), OWN], ids=["AdamW", "own"])
def test_more_activations_and_optimizers(activation, solver):
    sizes = (5, 4) if isinstance(activation, list) else (5,)
    options = {"hidden_layer_sizes": sizes, "activation": activation, "solver": solver, "learning_rate_init": 0.1}
    net = MLPRegressor(**SMALL | options | {"max_iter": 300}).fit(X, Y)
    assert net.score(X, Y) > 0.8
    copied = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(copied.partial_fit(X, Y).coefs_[0], net.partial_fit(X, Y).coefs_[0])
    assert clone(net).get_params() == net.get_params()
    names = activation if isinstance(activation, list) else [activation]
    a = X
    for w, b, name in zip(net.coefs_[:-1], net.intercepts_[:-1], names, strict=True):
        a = ACTIVATIONS.get(name, name).f(a @ w + b) if isinstance(name, str) else name.f(a @ w + b)
    np.testing.assert_allclose(net.predict(X), (a @ net.coefs_[-1] + net.intercepts_[-1])[:, 0], rtol=1e-9)


def test_an_optimizer_object_equals_the_solver_of_this_name():
    named = MLPClassifier(**SMALL, solver="sgd", learning_rate="invscaling", learning_rate_init=0.1, momentum=0.5)
    given = clone(named).set_params(solver=SGD(0.5, nesterov=True))
    assert_same(given.fit(X, THREE), named.fit(X, THREE))


def test_dropout():
    options = SMALL | {"hidden_layer_sizes": (20, 20), "max_iter": 5}
    none, some = MLPClassifier(**options).fit(X, THREE), MLPClassifier(**options, dropout=0.5).fit(X, THREE)
    assert np.abs(none.coefs_[0] - some.coefs_[0]).max() > 1e-4
    assert_same(clone(some).fit(X, THREE), some)  # the masks follow from random_state
    plain = MLPClassifier(**options, dropout=0.5, backend="numpy-plain").fit(X, THREE)
    np.testing.assert_allclose(plain.coefs_[0], some.coefs_[0], rtol=1e-9, atol=1e-12)
    assert_same(clone(some).set_params(dropout=[0.0, 0.5, 0.5]).fit(X, THREE), some)
    assert_same(clone(none).set_params(dropout=[0.0, 0.0, 0.0]).fit(X, THREE), none)
    np.testing.assert_array_equal(some.predict_proba(X), some.predict_proba(X))


def test_deep_copies_are_independent():
    net = MLPClassifier(**SMALL, solver=OWN).fit(X, TWO)
    copied = copy.deepcopy(net)
    copied.partial_fit(X, TWO)
    assert np.abs(copied.coefs_[0] - net.coefs_[0]).max() > 0
