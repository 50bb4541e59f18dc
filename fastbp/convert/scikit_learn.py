"""scikit-learn's estimators, its own and fastbp's, by their public attributes: nothing of scikit-learn is imported."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.activations import identity, relu, sigmoid, softmax, tanh
from fastbp.backends import use_backend
from fastbp.convert.assigned import host_parameters, network_of
from fastbp.costs import cross_entropy, log_likelihood, quadratic
from fastbp.datasets.foreign_arrays import as_numpy
from fastbp.errors import InputError, brief, choose, finite_number, whole_number
from fastbp.network import Network
from fastbp.optimizers import SGD, Adam, Optimizer, optimizer_of

Array = npt.NDArray[Any]
ACTIVATIONS = {"identity": identity, "logistic": sigmoid, "tanh": tanh, "relu": relu}
"""What scikit-learn calls an activation, and what fastbp does."""

OUTPUTS = {
    "softmax": (softmax, log_likelihood),
    "logistic": (sigmoid, cross_entropy),
    "identity": (identity, quadratic),
}
"""The last activation of an estimator by its `out_activation_`, and the cost that goes with it."""


def from_sklearn(estimator: Any, *, backend: Any = None, rng: Any = None) -> Network:
    """Return the network of a fitted `MLPClassifier` or `MLPRegressor`, scikit-learn's or fastbp's, in its dtype.

    Columns are examples: `net.feedforward(X.T).T` is `predict_proba(X)`, or `predict(X)` of a regressor. For two
    classes there is one output, the second's probability; for three or more `estimator.classes_[net.predict(X.T)]` are
    their names. `training_from_sklearn` says how to train on. `backend` and `rng` are as in `Network`.

    Raises `InputError` for what is no fitted network of this kind, and for parameters that make none.

    >>> import pytest; linear = pytest.importorskip("fastbp.estimators").MLPRegressor((), tol=9.0, random_state=0)
    >>> from_sklearn(linear.fit([[0.0], [1.0]], [0.0, 1.0]))
    <Network 1-1: identity; quadratic cost; float64 on numpy>
    """
    coefs, intercepts = getattr(estimator, "coefs_", None), getattr(estimator, "intercepts_", None)
    if not (isinstance(coefs, (list, tuple)) and isinstance(intercepts, (list, tuple))):
        raise InputError(f"{type(estimator).__name__} is no fitted network; wanted is an MLPClassifier or MLPRegressor")
    if len(coefs) != len(intercepts) or not coefs:
        raise InputError(f"coefs_ are {len(coefs)} and intercepts_ {len(intercepts)}; wanted is one of each a layer")
    last, cost = choose("out_activation_", getattr(estimator, "out_activation_", None), OUTPUTS)
    hidden = getattr(estimator, "activation", None)
    names = hidden if isinstance(hidden, (list, tuple)) else [hidden] * (len(coefs) - 1)
    activations = [*(choose("activation", name, ACTIVATIONS) for name in names), last]
    weights = {f"coefs_[{l}]": as_numpy(f"coefs_[{l}]", w).T for l, w in enumerate(coefs)}
    biases = {f"intercepts_[{l}]": b for l, b in enumerate(intercepts)}
    return network_of(weights, biases, activations, cost, backend, rng)


def to_sklearn(net: Network, estimator: Any, *, classes: Any = None) -> Any:
    """Return an estimator like the one given, an `MLPClassifier` or `MLPRegressor`, fitted with a network's parameters.

    It has the given one's parameters but for its layers and their activation, which are the network's; so
    `MLPClassifier(**training_to_sklearn(n, …))` trains on alike, by `partial_fit` or with `warm_start`. `classes` are
    what its outputs stand for, sorted, 0, 1, … where None. A softmax of two outputs becomes the one that scikit-learn
    has for two classes, σ(z₂ − z₁), whose weights go half as far in a step. Several sigmoid outputs become those of
    columns of 0 and 1, multilabel in scikit-learn's words, of which any number may be 1; `predict_proba` has them all,
    and its `argmax(axis=1)` is the network's `predict`. The scale of the network's inputs is multiplied into W¹.

    Raises `InputError` for a network that the estimator cannot be: an MLPClassifier's last layer is softmax with
    log-likelihood or sigmoid with cross-entropy, an MLPRegressor's identity with quadratic cost; there are biases, and
    activations identity, sigmoid, tanh and relu, of which scikit-learn's own wants the same in all hidden layers.

    >>> import pytest; estimators = pytest.importorskip("fastbp.estimators")
    >>> net = Network([2, 3, 3], ["relu", "softmax"], "log-likelihood", rng=0)
    >>> to_sklearn(net, estimators.MLPClassifier(), classes=["a", "b", "c"]).predict([[0.0, 1.0]]).shape
    (1,)
    """
    if not hasattr(estimator, "partial_fit") or not hasattr(estimator, "hidden_layer_sizes"):
        wanted = "is an MLPClassifier or MLPRegressor, made like any other"
        raise InputError(f"estimator is {brief(estimator)}; wanted {wanted}")
    if estimator.get_params().get("loss", "squared_error") != "squared_error":
        raise InputError(f"loss is {brief(estimator.loss)}; wanted is 'squared_error', fastbp's cost 'quadratic'")
    weights, biases = host_parameters(net)
    output = _output(net, type(estimator).__name__, classifies=hasattr(estimator, "predict_proba"))
    if output == "softmax" and net.sizes[-1] == 2:
        weights[-1], biases[-1] = weights[-1][1:] - weights[-1][:1], biases[-1][1:] - biases[-1][:1]
    model = _fitted_anyhow(estimator, [w.shape[0] for w in weights[:-1]], _hidden(net), _example(net, output, classes))
    model.coefs_, model.intercepts_ = [w.T for w in weights], biases
    return model


def training_from_sklearn(estimator: Any, n: int) -> dict[str, Any]:
    """Return what to give `Network.train` to train on n examples as an estimator does: λ = α n/m for mini-batches of m.

    What ends its training early (`tol`, `n_iter_no_change`, `early_stopping`) and its draws are not in it. Raises
    `InputError` for solver "lbfgs", a learning rate that is not constant, and `shuffle=False`.

    >>> import pytest; estimators = pytest.importorskip("fastbp.estimators")
    >>> options = training_from_sklearn(estimators.MLPClassifier(alpha=0.01, batch_size=20), 1000)
    >>> options["lmbda"], options["mini_batch_size"], options["optimizer"]
    (0.5, 20, Adam(beta_1=0.9, beta_2=0.999, epsilon=1e-08))
    """
    if not hasattr(estimator, "hidden_layer_sizes"):
        raise InputError(f"estimator is {brief(estimator)}; wanted is an MLPClassifier or MLPRegressor")
    n, given = whole_number("n", n), estimator.get_params(deep=False)
    valid = {"solver": ("sgd", "adam"), "shuffle": (True,)}
    if given["solver"] == "sgd":
        valid["learning_rate"] = ("constant",)
    for name, values in valid.items():
        if given[name] not in values:
            raise InputError(
                f"{name} is {brief(given[name])}, which Network.train has not; valid: {', '.join(map(str, values))}"
            )
    m = min(n, 200 if given["batch_size"] == "auto" else whole_number("batch_size", given["batch_size"]))
    if given["solver"] == "sgd":
        optimizer: Optimizer = SGD(given["momentum"], nesterov=bool(given["nesterovs_momentum"]))
    else:
        optimizer = Adam(given["beta_1"], given["beta_2"], given["epsilon"])
    return {
        "epochs": given["max_iter"],
        "mini_batch_size": m,
        "eta": given["learning_rate_init"],
        "lmbda": finite_number("alpha", given["alpha"], positive=False) * n / m,
        "optimizer": optimizer,
    }


def training_to_sklearn(
    n: int,
    *,
    epochs: int = 30,
    mini_batch_size: int = 10,
    eta: float | None = None,
    lmbda: float = 0.0,
    optimizer: str | Optimizer = "sgd",
    momentum: float | None = None,
) -> dict[str, Any]:
    """Return what to make an estimator with so that it trains as `Network.train`, or the book's `SGD`, on n examples.

    α = λ m/n for mini-batches of m. All epochs are done, since `n_iter_no_change` is infinite, and scikit-learn says
    then that they were not enough. Raises `InputError` like `Network.train`, and for schedules of η.

    >>> options = training_to_sklearn(1000, epochs=5, mini_batch_size=20, eta=0.5, lmbda=0.5)
    >>> options["alpha"], options["batch_size"], options["solver"], options["momentum"]
    (0.01, 20, 'sgd', 0.0)
    """
    n, by = whole_number("n", n), optimizer_of(optimizer, momentum)
    m = whole_number("mini_batch_size", mini_batch_size, most=n)
    options: dict[str, Any] = {
        "max_iter": whole_number("epochs", epochs),
        "batch_size": m,
        "learning_rate_init": finite_number("eta", by.default_eta if eta is None else eta, positive=True),
        "alpha": finite_number("lmbda", lmbda, positive=False) * m / n,
        "n_iter_no_change": math.inf,
    }
    if isinstance(by, SGD):
        return options | {"solver": "sgd", "momentum": by.momentum, "nesterovs_momentum": by.nesterov}
    return options | {"solver": "adam", "beta_1": by.beta_1, "beta_2": by.beta_2, "epsilon": by.epsilon}


def _output(net: Network, kind: str, *, classifies: bool) -> str:
    """Return the `out_activation_` of an estimator that is to be a network, or raise `InputError` if it cannot be."""
    valid = {name: pair for name, pair in OUTPUTS.items() if (name != "identity") == classifies}
    found = [name for name, pair in valid.items() if pair == (net.activations[-1], net.cost_function)]
    if not found:
        pairs = " or ".join(f"{activation.name} with {cost.name}" for activation, cost in valid.values())
        given = f"{net.activations[-1].name} with {net.cost_function.name}"
        raise InputError(f"the network's outputs are {given}; those of {kind} are {pairs}")
    if not net.biases:
        raise InputError(f"the network has no biases; those of {kind} have them in every layer")
    return found[0]


def _hidden(net: Network) -> list[str]:
    """Return scikit-learn's names of the activations of hidden layers."""
    names = {activation: name for name, activation in ACTIVATIONS.items()}
    for activation in net.activations[:-1]:
        if activation not in names:
            valid = ", ".join(other.name for other in names)
            raise InputError(f"the network has an activation {brief(activation.name)}; scikit-learn's are {valid}")
    return [names[activation] for activation in net.activations[:-1]]


def _example(net: Network, output: str, classes: Any) -> tuple[Array, Array, dict[str, Any]]:
    """Return x, y and options for a `partial_fit` from which an estimator knows what its outputs stand for."""
    outputs = net.sizes[-1]
    x, count = np.zeros((outputs + 1, net.sizes[0]), net.dtype), max(outputs, 2)
    if output == "identity" or (output == "logistic" and outputs > 1):
        if classes is not None:
            raise InputError(f"classes are {brief(classes)}; wanted is None: these outputs are no classes")
        if output == "identity":
            return x[:1], np.zeros((1, outputs) if outputs > 1 else 1), {}
        return x[:outputs], np.eye(outputs, dtype=int), {"classes": np.arange(outputs)}
    named = np.arange(count) if classes is None else np.asarray(classes)
    if named.shape != (count,) or not (named[:-1] < named[1:]).all():
        raise InputError(f"classes are {brief(classes)}; wanted are {count}, sorted")
    return x[:count], named, {"classes": named}


def _fitted_anyhow(estimator: Any, layers: list[int], hidden: list[str], example: tuple[Any, Any, Any]) -> Any:
    """Return an estimator like another, fitted to an example and then as if it had seen none, but for its parameters.

    So all attributes are there that its version of scikit-learn keeps, those that are private among them.
    """
    own: dict[str, Any] = {"hidden_layer_sizes": tuple(layers)}
    if hidden:
        own["activation"] = hidden[0] if len(set(hidden)) == 1 else hidden
    x, y, options = example
    try:
        with use_backend("numpy-plain"):  # of which nothing has to be compiled for fastbp's
            model = type(estimator)(**own, solver="sgd", random_state=0).partial_fit(x, y, **options)
    except ValueError as error:
        raise InputError(f"{type(estimator).__name__}: {str(error).partition(chr(10))[0]}") from error
    for name in ("loss_", "_optimizer", "_memory"):  # the last two are scikit-learn's and fastbp's moments
        vars(model).pop(name, None)
    model.t_, model.n_iter_, model.loss_curve_, model.best_loss_ = 0, 0, [], math.inf
    return model.set_params(
        **{name: value for name, value in estimator.get_params(deep=False).items() if name not in own}
    )
