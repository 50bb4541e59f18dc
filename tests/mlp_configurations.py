"""Random configurations of estimators, and what fastbp's and scikit-learn's make of them."""

import warnings
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor

from fastbp.estimators import MLPClassifier, MLPRegressor

KINDS = {"fastbp": (MLPClassifier, MLPRegressor), "scikit-learn": (TheirClassifier, TheirRegressor)}
HAS_WEIGHTS_AND_LOSS = "loss" in signature(TheirRegressor).parameters  # not before scikit-learn 1.7
CURVES = ("n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_")


@dataclass
class Configuration:
    """An estimator's options, data, and the calls: pairs of a method and of options to set before the call."""

    seed: int
    target: str
    options: dict[str, Any]
    x: Any
    y: Any
    w: Any
    calls: list[tuple[str, dict[str, Any]]]

    def __str__(self):
        kind = f"{type(self.x).__name__}{self.x.shape} {self.x.dtype}" if hasattr(self.x, "dtype") else "list"
        weights = "" if self.w is None else ", weights"
        return f"seed {self.seed}: {self.target}, {kind}{weights}, {self.options}, {self.calls}"


def configuration(seed):
    """Return the configuration with the given number."""
    rng = np.random.default_rng(seed)

    def one_of(*values):
        return values[rng.integers(len(values))]

    target = one_of("two", "texts", "four", "labels", "number", "numbers", "counts")
    n, features = int(rng.integers(20, 120)), int(rng.integers(1, 9))
    x, y = _data(rng, target, n, features)
    dtype = one_of("float64", "float64", "float64", "float32")
    x = (x * one_of(0.1, 1.0, 1.0, 10.0)).astype(dtype)
    x = one_of(np.asarray, np.asfortranarray, _strided, np.ndarray.tolist, _csr, _csc)(x)
    w = rng.random(n) * (rng.random(n) > 0.02) if rng.random() < 0.3 else None
    layers = one_of((), (5,), (int(rng.integers(1, 13)),), (7, 4), (6, 3, 5))
    options = {
        "hidden_layer_sizes": layers,
        "activation": one_of("identity", "logistic", "tanh", "relu"),
        "solver": one_of("sgd", "adam", "lbfgs"),
        "alpha": one_of(0.0, 1e-4, 0.1),
        "batch_size": one_of("auto", 5, 16, n, n + 9),
        "learning_rate": one_of("constant", "invscaling", "adaptive"),
        "learning_rate_init": one_of(0.001, 0.01, 0.05),
        "power_t": one_of(0.25, 0.5),
        "max_iter": int(rng.integers(1, 25)),
        "shuffle": one_of(True, True, False),
        "random_state": int(rng.integers(1000)),
        "tol": one_of(0.0, 1e-4, 1e-2),
        "warm_start": one_of(False, True),
        "momentum": one_of(0.0, 0.5, 0.9),
        "nesterovs_momentum": one_of(False, True),
        "early_stopping": one_of(False, False, True),
        "validation_fraction": one_of(0.1, 0.25),
        "beta_1": one_of(0.9, 0.5),
        "beta_2": one_of(0.999, 0.9),
        "n_iter_no_change": one_of(1, 3, 10),
        "max_fun": one_of(15000, 10),
    }
    if target == "counts" and HAS_WEIGHTS_AND_LOSS:
        options["loss"] = "poisson"
    if options["solver"] != "lbfgs" and rng.random() < 0.3:
        options["early_stopping"] = one_of(False, False, False, True)
        calls = [(one_of("partial_fit", "partial_fit", "fit"), {}) for _ in range(rng.integers(2, 5))]
    else:
        calls = [("fit", {}) for _ in range(one_of(1, 1, 2))]
    if not HAS_WEIGHTS_AND_LOSS:
        w = None
    if len(calls) > 1 and rng.random() < 0.3:
        calls[-1][1].update(one_of({"learning_rate_init": 0.02}, {"alpha": 0.01}, {"batch_size": 7}, {"momentum": 0.3}))
    return Configuration(seed, target, options, x, y, w, calls)


def _data(rng, target, n, features):
    x = rng.standard_normal((n, features))
    score = x @ rng.standard_normal((features, 4)) + 0.5 * rng.standard_normal((n, 4))
    two = (score[:, 0] > 0).astype(int)
    two[:2] = 0, 1
    four = score.argmax(axis=1)
    four[:4] = range(4)
    y = {
        "two": two,
        "texts": np.array(["no", "yes"])[two],
        "four": four * 10,
        "labels": (score[:, :3] > 0).astype(int),
        "number": score[:, 0],
        "numbers": score[:, :2],
        "counts": rng.poisson(np.exp(np.clip(score[:, 0], -2, 2))).astype(float),
    }[target]
    return x, y


def _strided(x):
    return np.repeat(x, 2, axis=1)[:, ::2]


def _csr(x):
    return sparse.csr_matrix(np.where(x > 0, x, 0))


def _csc(x):
    return sparse.csc_matrix(np.where(x > 0, x, 0))


def outcome(found, library, x=None):
    """Return what the calls of a configuration give: the estimator or the exception, the warnings, and the outputs.

    If `x` is given, it replaces the inputs.
    """
    classifier, regressor = KINDS[library]
    is_regressor = found.target in ("number", "numbers", "counts")
    model = (regressor if is_regressor else classifier)(**found.options)
    inputs = found.x if x is None else x
    weight = {} if found.w is None else {"sample_weight": found.w}
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        try:
            for method, changes in found.calls:
                model.set_params(**changes)
                everything = np.arange(3) if found.target == "labels" else np.unique(found.y)
                classes = {} if method == "fit" or is_regressor else {"classes": everything}
                getattr(model, method)(inputs, found.y, **weight, **classes)
            outputs = [model.predict(inputs)] + ([] if is_regressor else [model.predict_proba(inputs)])
        except Exception as error:
            return error, [], []
    # NumPy's warnings of overflow are left out, because compiled code does not issue them. So are SciPy's warnings of
    # options that scikit-learn 1.6 uses.
    ignored = RuntimeWarning, DeprecationWarning
    texts = [(one.category, str(one.message)) for one in issued if one.category not in ignored]
    if not HAS_WEIGHTS_AND_LOSS:  # the text of scikit-learn 1.6 is shorter
        texts = [(category, text.partition("lbfgs failed to converge")[:2]) for category, text in texts]
    return model, texts, outputs


def differences(found, ours, theirs, factor=1.0):
    """Return the names of what differs between two outcomes by more than `factor` times the tolerance."""
    (model, texts, outputs), (other, other_texts, other_outputs) = ours, theirs
    if isinstance(model, Exception) or isinstance(other, Exception):
        return [] if isinstance(model, type(other)) else [f"{model!r} instead of {other!r}"]
    single = getattr(found.x, "dtype", np.float64) == np.float32
    tolerance = factor * (2e-3 if single else 1e-7)
    names = [name for name in CURVES if not _same(getattr(model, name, None), getattr(other, name, None), tolerance)]
    for name in ("coefs_", "intercepts_"):
        pairs = zip(getattr(model, name), getattr(other, name), strict=True)
        names += [name] if not all(_same(a, b, tolerance) for a, b in pairs) else []
    names += ["outputs"] if not all(_same(a, b, tolerance) for a, b in zip(outputs, other_outputs, strict=True)) else []
    return names + (["warnings"] if texts != other_texts else [])


def _same(ours, theirs, tolerance):
    if ours is None or theirs is None:
        return ours is theirs
    a, b = np.asarray(ours), np.asarray(theirs)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool((a == b).all())
    scale = max(1.0, np.abs(b[np.isfinite(b)]).max(initial=0.0))
    return np.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def is_chaotic(found, ours, theirs):
    """Return whether scikit-learn's own result changes as much, or a tenth of it, by the last digit of its inputs."""
    if isinstance(theirs[0], Exception) or isinstance(ours[0], Exception):
        return False
    dense = found.x.toarray() if sparse.issparse(found.x) else np.asarray(found.x)
    for sign in (1, -1):
        moved = outcome(found, "scikit-learn", np.nextafter(dense, sign * np.inf, dtype=dense.dtype))
        if isinstance(moved[0], Exception):
            continue
        if set(differences(found, moved, theirs, 0.1)) >= set(differences(found, ours, theirs)) - {"warnings"}:
            return True
    return False
