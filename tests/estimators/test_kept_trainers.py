"""`partial_fit` keeps its memory for the next call. The results are those of an estimator that keeps nothing."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from scipy import sparse

import fastbp
from fastbp.estimators import MLPClassifier, MLPRegressor

RNG = np.random.default_rng(0)
X, Y = RNG.random((30, 6)), RNG.integers(0, 3, 30)
OPTIONS = {"hidden_layer_sizes": (5,), "batch_size": 10, "random_state": 1}


def edit_coefs(net):
    net.coefs_[0] *= 0.5


def replace_coefs(net):
    net.coefs_ = [w.astype(np.float32).astype(w.dtype) for w in net.coefs_]


def change_a_moment(net):
    net._optimizer.snapshot = copy.deepcopy(net._optimizer.snapshot)
    for tensor in net._optimizer.snapshot.tensors.values():
        tensor += 0.5


# What happens between two calls: a change of the estimator, and the examples of the next call.
CHANGES = {
    "nothing": (None, X, Y),
    "other examples": (None, X[::-1].copy(), Y),
    "fewer examples": (None, X[:7], Y[:7]),
    "a short last mini-batch": (None, X[:25], Y[:25]),
    "float32": (None, X.astype(np.float32), Y),
    "sparse rows": (None, sparse.csr_matrix(X * (X > 0.8)), Y),
    "sparse rows with more entries": (None, sparse.csr_matrix(X), Y),
    "weights": (None, X, Y, np.arange(30.0)),
    "batch_size": ({"batch_size": 7}, X, Y),
    "alpha": ({"alpha": 0.5}, X, Y),
    "alpha=0": ({"alpha": 0}, X, Y),
    "activation": ({"activation": "tanh"}, X, Y),
    "an edited activation": ({"activation": fastbp.Activation("mine", lambda z: 2.0 * z, lambda z, a: 2.0)}, X, Y),
    "dropout": ({"dropout": 0.5}, X, Y),
    "backend": ({"backend": "numpy-plain"}, X, Y),
    "coefs edited in place": (edit_coefs, X, Y),
    "coefs replaced": (replace_coefs, X, Y),
    "moments": (change_a_moment, X, Y),
    "fit": (lambda net: net.set_params(max_iter=2).fit(X, Y), X, Y),
}


def train(net, change, x, y, w=None):
    with np.errstate(all="ignore"):
        if callable(change):
            change(net)
        else:
            net.set_params(**(change or {}))
        net.partial_fit(x, y, w)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Got `batch_size`")
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("name", CHANGES)
def test_nothing_stale_is_used(name, solver):
    kept = MLPClassifier(**OPTIONS, solver=solver).partial_fit(X, Y, classes=[0, 1, 2])
    fresh = copy.deepcopy(kept)
    for step in (CHANGES["nothing"], CHANGES[name], CHANGES["nothing"], CHANGES[name]):
        trainer = kept._optimizer.trainer
        train(kept, *step)
        assert trainer is not None
        fresh = copy.deepcopy(fresh)
        assert fresh._optimizer.trainer is None
        train(fresh, *step)
        for ours, expected in zip(kept.coefs_ + kept.intercepts_, fresh.coefs_ + fresh.intercepts_, strict=True):
            np.testing.assert_array_equal(ours, expected)
        assert kept.loss_curve_ == fresh.loss_curve_
        assert (kept.t_, kept._optimizer.learning_rate) == (fresh.t_, fresh._optimizer.learning_rate)


def test_the_trainer_is_kept_for_examples_of_the_same_kind():
    net = MLPRegressor(hidden_layer_sizes=(5,), batch_size=10).partial_fit(X, X[:, 0])
    trainer = net._optimizer.trainer
    net.partial_fit(X[::-1].copy(), X[:, 1])
    assert net._optimizer.trainer is trainer
    net.partial_fit(X[:20], X[:20, 1])
    assert net._optimizer.trainer is not trainer


def test_a_copy_and_a_pickle_have_no_trainer():
    net = MLPClassifier(**OPTIONS).partial_fit(X, Y, classes=[0, 1, 2])
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other._optimizer.trainer is None
        np.testing.assert_array_equal(other.partial_fit(X, Y).coefs_[0], copy.deepcopy(net).partial_fit(X, Y).coefs_[0])


def test_copies_are_independent():
    net = MLPClassifier(**OPTIONS).partial_fit(X, Y, classes=[0, 1, 2])
    other = copy.deepcopy(net)
    other.partial_fit(X[::-1].copy(), Y[::-1].copy())
    expected = copy.deepcopy(net).partial_fit(X, Y).coefs_
    np.testing.assert_array_equal(net.partial_fit(X, Y).coefs_[0], expected[0])


@pytest.mark.parametrize("kind", [np.array, sparse.csr_matrix])
def test_examples_are_not_kept_in_memory(kind):
    x = kind(X)
    net = MLPClassifier(**OPTIONS).partial_fit(x, Y, classes=[0, 1, 2])
    alive = weakref.ref(x)
    del x
    gc.collect()
    assert alive() is None
    assert net._optimizer.trainer is not None


def test_after_an_error_nothing_is_kept(monkeypatch):
    from fastbp.estimators.epochs import EpochTrainer

    net = MLPClassifier(**OPTIONS).partial_fit(X, Y, classes=[0, 1, 2])
    expected = copy.deepcopy(net).partial_fit(X, Y).coefs_
    run = EpochTrainer.run_epoch

    def out_of_memory(*arguments):
        run(*arguments)
        raise MemoryError

    monkeypatch.setattr(EpochTrainer, "run_epoch", out_of_memory)
    with pytest.raises(MemoryError):
        net.partial_fit(X, Y)
    monkeypatch.undo()
    assert net._optimizer.trainer is None
    np.testing.assert_array_equal(net.partial_fit(X, Y).coefs_[0], expected[0])
