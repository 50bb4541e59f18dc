"""The estimators against scikit-learn's: the same random_state gives the same parameters, apart from the documented
differences.
"""

import inspect
import warnings

import numpy as np
import pytest
import sklearn
from refusals import refused
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.utils._param_validation import InvalidParameterError

import fastbp
from fastbp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SOLVERS = {
    "plain": {"solver": "sgd", "momentum": 0.0},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "nesterov": {"solver": "sgd"},
    "adam": {"solver": "adam"},
}
TARGETS = ["two classes", "three classes", "labels", "number", "numbers"]


def examples(target, n=103, dtype=np.float64):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((n, 6)).astype(dtype)
    score = x @ rng.standard_normal((6, 3)) + 0.3 * rng.standard_normal((n, 3))
    y = {
        "two classes": np.array(["no", "yes"])[(score[:, 0] > 0).astype(int)],
        "three classes": score.argmax(axis=1) * 10,
        "labels": (score > 0).astype(int),
        "number": score[:, 0],
        "numbers": score,
    }[target]
    return x, y


def small(target, kinds=(MLPClassifier, MLPRegressor), **options):
    """Return an estimator with a small network for the given kind of targets."""
    options = {"hidden_layer_sizes": (9,), "random_state": 3, "batch_size": 20, "max_iter": 4} | options
    return kinds[target.startswith("number")](**options)


def pair(target, **options):
    """Return fastbp's estimator and scikit-learn's."""
    return small(target, **options), small(target, (TheirClassifier, TheirRegressor), **options)


def assert_same_parameters(ours, theirs, tolerance=1e-9):
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_parameters_loss_and_predictions_match_scikit_learn(solver, target):
    x, y = examples(target)
    ours, theirs = pair(target, learning_rate_init=0.03, alpha=0.1, **SOLVERS[solver])
    ours.fit(x, y)
    theirs.fit(x, y)
    assert_same_parameters(ours, theirs)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.score(x, y) == pytest.approx(theirs.score(x, y))
    if not target.startswith("number"):
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-9)
        np.testing.assert_allclose(ours.predict_log_proba(x), theirs.predict_log_proba(x), atol=1e-9)
    else:
        np.testing.assert_allclose(ours.predict(x), theirs.predict(x), atol=1e-9)


def test_one_unshuffled_epoch_from_assigned_parameters_matches_scikit_learn(rng):
    x, y = examples("three classes")
    ours, theirs = pair("three classes", max_iter=1, warm_start=True, shuffle=False, **SOLVERS["plain"])
    coefs, intercepts = [rng.standard_normal((6, 9)), rng.standard_normal((9, 3))], [np.zeros(9), np.ones(3)]
    for net in (ours, theirs):
        net.fit(x, y)
        net.coefs_, net.intercepts_ = [w.copy() for w in coefs], [b.copy() for b in intercepts]
        net.fit(x, y)
    assert_same_parameters(ours, theirs)
    assert np.abs(ours.coefs_[0] - coefs[0]).max() > 1e-6


@pytest.mark.parametrize(
    "options",
    [
        {"hidden_layer_sizes": (), "max_iter": 3},
        {"hidden_layer_sizes": (8, 5), "activation": "tanh"},
        {"hidden_layer_sizes": 7, "activation": "logistic"},
        {"activation": "identity", "batch_size": "auto"},
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5, "power_t": 0.7},
        {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 2.0, "max_iter": 60, "tol": 0.1},
        {"solver": "adam", "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3, "learning_rate_init": 0.1},
        {"early_stopping": True, "validation_fraction": 0.2, "max_iter": 60, "n_iter_no_change": 3},
        {"max_iter": 300, "learning_rate_init": 0.1, "tol": 1e-2},
        {"random_state": np.random.RandomState(8)},
    ],
    ids=lambda options: "random_state" if "random_state" in options else str(options),  # its str contains an address
)  # fmt: skip
def test_options_match_scikit_learn(options):
    import copy

    x, y = examples("two classes")
    y = (y == "yes").astype(int)  # with text, scikit-learn 1.6 to 1.8 fails if early_stopping=True
    ours, theirs = pair("two classes", **options)
    theirs.random_state = copy.deepcopy(theirs.random_state)
    ours.fit(x, y)
    theirs.fit(x, y)
    assert ours.n_iter_ == theirs.n_iter_
    assert_same_parameters(ours, theirs, tolerance=1e-7)
    assert (ours.validation_scores_ is None) == (theirs.validation_scores_ is None)
    if ours.validation_scores_ is not None:
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_)
        assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)
        assert ours.best_loss_ is None
    else:
        assert ours.best_loss_ == pytest.approx(min(theirs.loss_curve_), rel=1e-3)


def test_partial_fit_and_warm_start_continue_as_in_scikit_learn():
    x, y = examples("three classes")
    ours, theirs = pair("three classes", shuffle=False)
    for net in (ours, theirs):
        for part in (slice(0, 40), slice(40, None), slice(0, 60)):
            net.partial_fit(x[part], y[part], classes=[0, 10, 20])
    assert_same_parameters(ours, theirs)
    assert (ours.n_iter_, ours.t_, len(ours.loss_curve_)) == (theirs.n_iter_, theirs.t_, len(theirs.loss_curve_))
    for net in pair("three classes", warm_start=True, max_iter=2):
        net.fit(x, y).fit(x, y)
        assert (net.n_iter_, net.t_, len(net.loss_curve_)) == (2, 4 * len(x), 4)


def test_partial_fit_after_fit_keeps_the_optimizer_state():
    x, y = examples("number")
    ours, theirs = pair("number")
    for net in (ours, theirs):
        net.fit(x, y).partial_fit(x, y)
    assert_same_parameters(ours, theirs)


def test_each_hidden_layer_can_have_a_different_activation():
    x, y = examples("three classes")
    one = small("three classes", hidden_layer_sizes=(8, 5), activation="tanh")
    listed = small("three classes", hidden_layer_sizes=(8, 5), activation=["tanh", "tanh"])
    other = small("three classes", hidden_layer_sizes=(8, 5), activation=["tanh", "relu"])
    assert_same_parameters(listed.fit(x, y), one.fit(x, y), tolerance=0)
    other.set_params(max_iter=1, learning_rate_init=1e-12).fit(x, y)
    a = np.maximum(np.tanh(x @ other.coefs_[0] + other.intercepts_[0]) @ other.coefs_[1] + other.intercepts_[1], 0.0)
    e = np.exp(a @ other.coefs_[2] + other.intercepts_[2])
    np.testing.assert_allclose(other.predict_proba(x), e / e.sum(axis=1, keepdims=True), rtol=1e-9)


@pytest.mark.parametrize("target", ["three classes", "labels", "numbers"])
@pytest.mark.parametrize("solver", ["nesterov", "adam"])
def test_a_weight_of_two_equals_having_the_example_twice(solver, target):
    x, y = examples(target, n=40)
    counts = np.arange(40) % 3
    options = {"batch_size": "auto", "alpha": 0.5, "shuffle": False, "max_iter": 20, **SOLVERS[solver]}
    weighted, repeated = small(target, **options), small(target, **options)
    weighted.fit(x, y, sample_weight=counts)
    repeated.fit(np.repeat(x, counts, axis=0), np.repeat(y, counts, axis=0))
    assert_same_parameters(weighted, repeated)
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 2.0])
@pytest.mark.parametrize("target", TARGETS)
def test_sample_weights_match_scikit_learn(target, alpha):
    x, y = examples(target)
    w = np.random.default_rng(0).uniform(0.1, 5.0, len(x))
    ours, theirs = pair(target, alpha=alpha, early_stopping=True, max_iter=8)
    if "sample_weight" not in inspect.signature(theirs.fit).parameters:
        pytest.skip("scikit-learn 1.6 has no sample weights")
    if sklearn.__version__.startswith(("1.7.", "1.8.")) and y.dtype.kind == "U":
        y = np.unique(y, return_inverse=True)[1]  # in these versions, early stopping fails with classes that are text
    ours.fit(x, y, sample_weight=w)
    theirs.fit(x, y, sample_weight=w)
    assert_same_parameters(ours, theirs)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-9)


def test_one_number_as_the_weight_of_all_examples_changes_only_the_l2_term():
    x, y = examples("number")
    one, two = small("number", alpha=0.1), small("number", alpha=0.2)
    assert_same_parameters(two.fit(x, y, sample_weight=2.0), one.fit(x, y), tolerance=1e-12)


def test_mini_batches_without_weight_leave_the_parameters_as_they_are():
    x, y = examples("number", n=40)
    options = {"shuffle": False, "max_iter": 3, "batch_size": 10, "alpha": 1.0, **SOLVERS["plain"]}
    w = np.repeat([1.0, 0.0, 2.0, 0.0], 10)
    some, fewer = small("number", **options), small("number", **options)
    some.fit(x, y, sample_weight=w)
    assert_same_parameters(some, fewer.fit(x[w > 0], y[w > 0], sample_weight=w[w > 0]), tolerance=1e-12)


def test_class_weights_equal_the_corresponding_example_weights():
    x, y = examples("three classes")
    each = {0: 1.0, 10: 3.0, 20: 0.5}
    by_class = small("three classes", class_weight=each)
    by_example = small("three classes")
    by_example.fit(x, y, sample_weight=[each[label] for label in y])
    assert_same_parameters(by_class.fit(x, y), by_example, tolerance=1e-12)
    balanced = small("three classes", class_weight="balanced")
    counts = {label: np.sum(y == label) for label in each}
    by_example.fit(x, y, sample_weight=[len(y) / (3 * counts[label]) for label in y])
    assert_same_parameters(balanced.fit(x, y), by_example, tolerance=1e-12)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array])
@pytest.mark.parametrize("target", ["three classes", "numbers"])
def test_sparse_rows_give_the_same_result_as_dense_rows(container, target):
    x, y = examples(target)
    x[np.abs(x) < 1.0] = 0.0
    dense = small(target, early_stopping=True, max_iter=6)
    rows = small(target, early_stopping=True, max_iter=6)
    weights = np.arange(len(x)) % 4
    dense.fit(x, y, sample_weight=weights)
    assert_same_parameters(rows.fit(container(x), y, sample_weight=weights), dense, tolerance=1e-12)
    assert rows.validation_scores_ == pytest.approx(dense.validation_scores_)
    np.testing.assert_allclose(rows.predict(container(x)), dense.predict(x), atol=1e-12)


def test_sparse_rows_are_made_dense_only_on_other_backends_and_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    x = sparse.csr_array((rng.random(6000), (rng.integers(0, 3000, 6000), rng.integers(0, 2000, 6000))), (3000, 2000))
    made = []
    toarray = sparse.csr_array.toarray
    monkeypatch.setattr(sparse.csr_array, "toarray", lambda a, *args: made.append(a.shape[0]) or toarray(a, *args))
    net = MLPRegressor(hidden_layer_sizes=(4,), batch_size=50, max_iter=1, random_state=0).fit(x, np.arange(3000.0))
    predicted = net.predict(x)
    assert not made
    np.testing.assert_allclose(predicted, net.predict(x.toarray()), rtol=1e-10)
    with fastbp.use_backend("numpy-plain"):
        made.clear()
        np.testing.assert_allclose(net.predict(x), predicted, rtol=1e-10)
        assert max(made) * 2000 <= 2**20
        made.clear()
        other = MLPRegressor(hidden_layer_sizes=(4,), batch_size=50, max_iter=1, random_state=0).fit(
            x, np.arange(3000.0)
        )
        assert set(made) == {50}
        assert_same_parameters(other, net, tolerance=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("target", TARGETS)
def test_float32_is_kept_and_other_dtypes_become_float64(dtype, target):
    x, y = examples(target, dtype=dtype)
    ours = small(target)
    ours.fit(x, y)
    assert {a.dtype for a in ours.coefs_ + ours.intercepts_} == {np.dtype(dtype)}
    if target.startswith("number"):
        assert ours.predict(x).dtype == dtype
    else:
        assert ours.predict_proba(x).dtype == dtype
    assert MLPClassifier((3,), max_iter=1).fit([[0], [1]], [0, 1]).coefs_[0].dtype == np.float64


@pytest.mark.parametrize("name", ["numpy-plain", "array_api_strict"])
def test_other_backends_give_the_same_result(name):
    x, y = examples("three classes")
    plain = small("three classes", backend=name, max_iter=2)
    compiled = small("three classes", max_iter=2)
    assert_same_parameters(plain.fit(x, y).partial_fit(x, y), compiled.fit(x, y).partial_fit(x, y), tolerance=1e-10)
    np.testing.assert_allclose(plain.predict_proba(x), compiled.predict_proba(x), atol=1e-12)
    with fastbp.use_backend(name):
        np.testing.assert_allclose(compiled.predict_proba(x), plain.predict_proba(x), atol=1e-12)


def test_predictions_use_assigned_coefs():
    net = MLPRegressor(hidden_layer_sizes=(), max_iter=1, random_state=0).fit([[0.0, 1.0], [2.0, 3.0]], [0.0, 1.0])
    net.coefs_, net.intercepts_ = [np.array([[2.0], [3.0]])], [np.array([1.0])]
    assert net.predict([[10.0, 100.0]]).tolist() == [321.0]
    net.coefs_ = [np.ones((3, 1))]
    refused(r"weights\[0\] must have shape \(1, 2\), got \(1, 3\)", net.predict, [[10.0, 100.0]])


def test_input_arrays_are_not_changed():
    x, y = examples("number")
    frozen, w = x.copy(order="F"), np.linspace(0, 1, len(x))
    for array in (frozen, y, w):
        array.flags.writeable = False
    ours = small("number")
    ours.fit(frozen, y, w)
    np.testing.assert_array_equal(frozen, x)


def test_early_stopping_restores_the_best_parameters():
    x, y = examples("three classes", n=60)
    net = small("three classes", early_stopping=True, max_iter=30, n_iter_no_change=4, validation_fraction=0.5)
    w = np.where(y == 0, 0.5, 2.0)
    net.fit(x, y, sample_weight=w)
    assert net.best_validation_score_ == max(net.validation_scores_)
    best = 1 + int(np.argmax(net.validation_scores_))
    again = small("three classes", early_stopping=True, max_iter=best, n_iter_no_change=4, validation_fraction=0.5)
    assert_same_parameters(again.fit(x, y, sample_weight=w), net, tolerance=0)
    rare = np.where(np.arange(60) == 7, 99, y)  # several classes are not stratified, so one example is enough
    assert 99 in net.fit(x, rare).classes_


def test_verbose_prints_losses_scores_and_the_reason_for_stopping(capsys):
    x, y = examples("two classes")
    y = (y == "yes").astype(int)
    MLPClassifier((3,), max_iter=400, tol=0.1, verbose=True, early_stopping=True, random_state=0).fit(x, y)
    ours = capsys.readouterr().out
    TheirClassifier((3,), max_iter=400, tol=0.1, verbose=True, early_stopping=True, random_state=0).fit(x, y)
    assert ours == capsys.readouterr().out
    adaptive = {"solver": "sgd", "learning_rate": "adaptive", "tol": 9.0, "verbose": 1, "random_state": 0}
    MLPClassifier((3,), **adaptive).fit(x, y)
    ours = capsys.readouterr().out
    TheirClassifier((3,), **adaptive).fit(x, y)
    assert ours == capsys.readouterr().out
    assert "Learning rate too small. Stopping." in ours


def test_a_single_class_is_predicted_with_one_column_of_probabilities():
    net = MLPClassifier((3,), max_iter=2).fit([[0.0], [1.0]], ["a", "a"])
    assert net.predict([[5.0]]).tolist() == ["a"]
    assert net.predict_proba([[5.0]]).shape == (1, 1)


def test_ctrl_c_ends_training_and_keeps_the_parameters(monkeypatch):
    x, y = examples("number")
    net = small("number", max_iter=50)

    def interrupt(self, order, eta):
        if net.n_iter_ == 2:
            raise KeyboardInterrupt
        return run(self, order, eta)

    from fastbp.estimators.epochs import EpochTrainer

    run = EpochTrainer.run_epoch
    monkeypatch.setattr(EpochTrainer, "run_epoch", interrupt)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        net.fit(x, y)
    monkeypatch.undo()
    two = small("number", max_iter=2)
    assert_same_parameters(two.fit(x, y), net, tolerance=0)


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "adams"},
        {"activation": "sigmoid"},
        {"activation": None},
        {"hidden_layer_sizes": "big"},
        {"alpha": -1.0},
        {"batch_size": 0},
        {"learning_rate": "cosine"},
        {"learning_rate_init": 0},
        {"power_t": "1"},
        {"max_iter": 1.5},
        {"tol": float("nan")},
        {"momentum": 1.1},
        {"early_stopping": "False"},
        {"validation_fraction": 1.0},
        {"beta_1": 1.0},
        {"epsilon": 0.0},
        {"n_iter_no_change": 0},
        {"max_fun": 0},
        {"dropout": 1.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_invalid_parameters_are_refused_as_by_scikit_learn(kind, options):
    net = kind(**{"hidden_layer_sizes": (5,), "max_iter": 1} | options)
    (name,) = options
    with pytest.raises(
        InvalidParameterError, match=f"The '{name}' parameter of {kind.__name__} must be .* Got .* inst"
    ):
        net.fit(np.ones((20, 2)), np.arange(20) % 2)
    with pytest.raises(NotFittedError):
        net.predict(np.ones((20, 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": ["relu", "relu"]}, "one name per hidden layer, got 2 names for 1 hidden layer"),
        ({"activation": ["rely"]}, "did you mean 'relu'"),
        ({"hidden_layer_sizes": (5, 0)}, r"hidden_layer_sizes must be > 0, got \[5, 0\]"),
        ({"hidden_layer_sizes": (5.5,)}, "hidden_layer_sizes must be an integer >= 1, got 5.5"),
        ({"early_stopping": True, "validation_fraction": 0.01}, "The validation set is too small"),
        ({"dropout": [0.1]}, "dropout must be a rate for all hidden layers, or a list"),
        ({"backend": "nump"}, "did you mean 'numpy'"),
    ],
    ids=str,
)
def test_other_parameters_that_cannot_be_used_are_refused(options, message):
    refused(message, MLPRegressor(**{"hidden_layer_sizes": (5,)} | options).fit, np.ones((20, 2)), np.arange(20) % 2)


def test_invalid_examples_are_refused():
    x, y = np.ones((6, 2)), np.array([0, 1, 2, 0, 1, 2])
    net = MLPClassifier((3,), max_iter=1)
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(5,\), expected \(6,\)!"):
        net.fit(x, y, sample_weight=np.ones(5))
    with pytest.raises(ValueError, match="Sample weights must contain at least one non-zero number"):
        net.fit(x, y, sample_weight=np.zeros(6))
    with pytest.raises(ValueError, match="Multioutput target data is not supported"):
        net.fit(x, np.stack([y, y], axis=1))
    net = MLPClassifier((3,), max_iter=1)
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        net.partial_fit(x, y)
    refused(r"`self.classes_` has \[0 1\]. 'y' has \[0 1 2\]", net.partial_fit, x, y, classes=[0, 1])
    net.set_params(class_weight="balanced")
    refused("class_weight must be a dict or None for partial_fit, got 'balanced'", net.partial_fit, x, y)
    net.set_params(class_weight=None).fit(x, y)
    with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
        net.partial_fit(x, y, classes=[0, 1])
    refused("partial_fit does not support early_stopping=True", net.set_params(early_stopping=True).partial_fit, x, y)
    net = MLPClassifier((3,), early_stopping=True, validation_fraction=0.5)
    refused("sample_weight must not be 0 for all (training|held-out) examples", net.fit, x, y, [0, 1, 0, 0, 0, 0])
    refused("sample_weight must have a finite sum", net.fit, x, y, sample_weight=[1e308] * 6)
    net = MLPClassifier((3,), max_iter=1, warm_start=True).fit(x, y)
    refused("warm_start can only be used where `y` has the same classes", net.fit, x, y + 1)
    refused(
        r"hidden_layer_sizes must be those of coefs_, \[3\], got \[4\]", net.set_params(hidden_layer_sizes=4).fit, x, y
    )
    masked = np.ma.masked_array(x, x > 0)
    refused("X must not be a masked array", MLPClassifier().fit, masked, y)
    MLPClassifier(max_iter=1).fit(np.ma.masked_array(x), y)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_divergence_raises_a_value_error_in_scikit_learns_words(kind):
    x, y = examples("two classes")
    net = kind(hidden_layer_sizes=(5,), solver="sgd", learning_rate_init=1e200, max_iter=5)
    with pytest.raises(
        ValueError, match=r"Solver produced non-finite parameter weights\. The input data may"
    ) as raised:
        net.fit(x, (y == "yes").astype(int))
    assert isinstance(raised.value, fastbp.DivergedError)
    with pytest.raises(NotFittedError):
        net.predict(x)


def test_early_stopping_goes_on_after_divergence_and_keeps_the_best_parameters():
    x, y = examples("number")
    ours, theirs = pair("number", solver="sgd", learning_rate_init=1e3, early_stopping=True, max_iter=6)
    ours.fit(x, y)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        theirs.fit(x, y)
    np.testing.assert_array_equal(ours.validation_scores_, theirs.validation_scores_)
    assert np.isnan(ours.validation_scores_).any()
    assert_same_parameters(ours, theirs)


def test_many_rows_of_one_feature():
    """A matrix of one row is both C- and Fortran-ordered, so its columns are read where they are."""
    x, y = np.linspace(0, 1, 9000)[:, None], np.arange(9000) % 2
    net = MLPClassifier((3,), max_iter=1, random_state=0).fit(x[:100], y[:100])
    expected = np.concatenate([net.predict_proba(x[start : start + 30]) for start in range(0, 9000, 30)])
    np.testing.assert_allclose(net.predict_proba(x), expected, rtol=1e-12)
