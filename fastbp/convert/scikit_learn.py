"""Convert networks from and to estimators of scikit-learn and of `fastbp.estimators`.

This module does not import scikit-learn.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastbp.activations import ACTIVATIONS as FASTBP_ACTIVATIONS
from fastbp.activations import Activation, exponential, identity, relu, sigmoid, softmax, tanh
from fastbp.backends import BackendLike, use_backend
from fastbp.convert.weights_and_biases import host_parameters, network_from_arrays
from fastbp.costs import cross_entropy, log_likelihood, poisson, quadratic
from fastbp.datasets.foreign_arrays import as_numpy
from fastbp.errors import InputError, brief, choose, finite_number, whole_number
from fastbp.network import Network
from fastbp.optimizers import LBFGS, SGD, Adam, Optimizer, OptimizerName, optimizer_of
from fastbp.training.lbfgs import NO_LIMIT, refuse_options

Array = npt.NDArray[Any]
ACTIVATIONS = {"identity": identity, "logistic": sigmoid, "tanh": tanh, "relu": relu}
"""A mapping from scikit-learn's names of activations to the activations of fastbp."""

OUTPUT_LAYERS = {
    "softmax": (softmax, log_likelihood),
    "logistic": (sigmoid, cross_entropy),
    "identity": (identity, quadratic),
    "exp": (exponential, poisson),
}
"""A mapping from an estimator's `out_activation_` to the activation of its output layer and its cost."""

_LOSSES = {"identity": "squared_error", "exp": "poisson"}  # `loss` of a regressor, for its `out_activation_`


def from_sklearn(
    estimator: Any, *, backend: BackendLike | None = None, rng: int | np.random.Generator | None = None
) -> Network:
    """Return the network of a fitted `MLPClassifier` or `MLPRegressor`.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator of scikit-learn or of `fastbp.estimators`.
    backend, rng
        As in `fastbp.Network`.

    Returns
    -------
    Network
        A network in the dtype of `coefs_`. The examples for this network are columns, whereas the estimator's examples
        are rows.

    Raises
    ------
    InputError
        If `estimator` is not a fitted `MLPClassifier` or `MLPRegressor`, or if its attributes do not form a network.

    See Also
    --------
    training_from_sklearn : Return the options for continuing the training.

    Notes
    -----
    `net.feedforward(X.T).T` equals `predict_proba(X)` of a classifier and `predict(X)` of a regressor. A classifier
    with two classes becomes a network with one output, the probability of the second class. With three or more
    classes, `estimator.classes_[net.predict(X.T)]` are the predicted classes.

    Examples
    --------
    >>> import pytest; estimators = pytest.importorskip("fastbp.estimators")
    >>> linear = estimators.MLPRegressor(hidden_layer_sizes=(), tol=9.0, random_state=0)
    >>> from_sklearn(linear.fit([[0.0], [1.0]], [0.0, 1.0]))
    <Network 1-1: identity; quadratic cost; float64 on numpy>
    """
    coefs, intercepts = getattr(estimator, "coefs_", None), getattr(estimator, "intercepts_", None)
    if not (isinstance(coefs, (list, tuple)) and isinstance(intercepts, (list, tuple))):
        raise InputError(
            "estimator must be a fitted MLPClassifier or MLPRegressor, "
            f"got {type(estimator).__name__} without lists coefs_ and intercepts_"
        )
    if len(coefs) != len(intercepts) or not coefs:
        given = f"{len(coefs)} and {len(intercepts)}"
        raise InputError(f"coefs_ and intercepts_ must each have one array per layer, got {given}")
    last, cost = choose("out_activation_", getattr(estimator, "out_activation_", None), OUTPUT_LAYERS)
    hidden = getattr(estimator, "activation", None)
    names = hidden if isinstance(hidden, (list, tuple)) else [hidden] * (len(coefs) - 1)
    activations = [*map(_activation, names), last]
    weights = {f"coefs_[{l}]": as_numpy(f"coefs_[{l}]", w).T for l, w in enumerate(coefs)}
    biases = {f"intercepts_[{l}]": b for l, b in enumerate(intercepts)}
    return network_from_arrays(weights, biases, activations, cost, backend, rng)


def to_sklearn(net: Network, estimator: Any, *, classes: Any = None) -> Any:
    """Return a fitted `MLPClassifier` or `MLPRegressor` with the weights and biases of a network.

    Parameters
    ----------
    net : Network
        A network with biases. The hidden activations must be identity, sigmoid, tanh or relu. For an estimator of
        scikit-learn, but not for one of fastbp, all hidden layers must have the same activation. For an
        `MLPClassifier`, the last layer must be softmax with the log-likelihood cost, or sigmoid with the cross-entropy
        cost. For an `MLPRegressor`, the last layer must be identity with the quadratic cost, or exponential with the
        cost poisson if its loss is "poisson". An estimator of fastbp can have any hidden activations.
    estimator : MLPClassifier or MLPRegressor
        An estimator of scikit-learn or of `fastbp.estimators`. The result has the same class and the same parameters.
        The estimator passed here is not changed.
    classes : array-like, optional
        The class of each output, in ascending order. By default 0, 1, …

    Returns
    -------
    MLPClassifier or MLPRegressor
        A new estimator with the class and the parameters of `estimator`. Only `hidden_layer_sizes` and `activation` are
        taken from the network. W¹ is multiplied by the network's input scale.

    Raises
    ------
    InputError
        If the estimator cannot represent the network.

    Notes
    -----
    To continue training with the same options as before, pass `MLPClassifier(**training_to_sklearn(n, …))` as the
    estimator. Then train the result with `partial_fit`, or with `fit` after setting `warm_start=True`.

    scikit-learn uses one sigmoid output for two classes. A softmax layer with two outputs therefore becomes one sigmoid
    output, σ(z₂ − z₁). A training step moves the weights of this output half as far as it would move the difference
    between the weights of the two softmax outputs.

    A network with several sigmoid outputs becomes a multilabel classifier. Its targets are columns of 0 and 1, and a
    row may contain any number of 1s. `predict_proba(X)` returns all outputs, and `predict_proba(X).argmax(axis=1)`
    equals `net.predict(X.T)`.

    Examples
    --------
    >>> import pytest; estimators = pytest.importorskip("fastbp.estimators")
    >>> net = Network([2, 3, 3], ["relu", "softmax"], "log-likelihood", rng=0)
    >>> to_sklearn(net, estimators.MLPClassifier(), classes=["a", "b", "c"]).predict([[0.0, 1.0]]).shape
    (1,)
    """
    if not hasattr(estimator, "fit") or not hasattr(estimator, "hidden_layer_sizes"):
        raise InputError(f"estimator must be an MLPClassifier() or MLPRegressor(), got {brief(estimator)}")
    weights, biases = host_parameters(net)
    output = _out_activation(net, type(estimator).__name__, is_classifier=hasattr(estimator, "predict_proba"))
    if output in _LOSSES and estimator.get_params().get("loss", "squared_error") != _LOSSES[output]:
        given = f"{brief(getattr(estimator, 'loss', 'squared_error'))}"
        raise InputError(f"loss must be '{_LOSSES[output]}' for the cost {net.cost_function.name}, got {given}")
    if output == "softmax" and net.sizes[-1] == 2:
        weights[-1], biases[-1] = weights[-1][1:] - weights[-1][:1], biases[-1][1:] - biases[-1][:1]
    layers = [w.shape[0] for w in weights[:-1]]
    model = _fit_to_zeros(estimator, layers, _hidden_activations(net, estimator), _zero_examples(net, output, classes))
    model.coefs_, model.intercepts_ = [w.T for w in weights], biases
    return model


def training_from_sklearn(estimator: Any, n: int) -> dict[str, Any]:
    """Return the options that make `Network.train` train like an estimator.

    For mini-batches of m examples, λ is α n/m.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        An estimator of scikit-learn or of `fastbp.estimators`, fitted or not.
    n : int
        Number of training examples.

    Returns
    -------
    dict
        `epochs`, `mini_batch_size`, `eta`, `lmbda` and `optimizer`, or only `epochs`, `lmbda` and `optimizer` for the
        solver "lbfgs". The parameters for early stopping (`tol`, `n_iter_no_change`, `early_stopping`, `max_fun`) and
        for random numbers have no equivalent and are left out.

    Raises
    ------
    InputError
        If the learning rate of "sgd" is not constant, or if `shuffle` is False.

    Examples
    --------
    >>> import pytest; estimators = pytest.importorskip("fastbp.estimators")
    >>> options = training_from_sklearn(estimators.MLPClassifier(alpha=0.01, batch_size=20), 1000)
    >>> options["lmbda"], options["mini_batch_size"], options["optimizer"]
    (0.5, 20, Adam(beta_1=0.9, beta_2=0.999, epsilon=1e-08))
    """
    if not hasattr(estimator, "hidden_layer_sizes"):
        raise InputError(f"estimator must be an MLPClassifier or MLPRegressor, got {brief(estimator)}")
    n, given = whole_number("n", n), estimator.get_params(deep=False)
    if given["solver"] == LBFGS:
        alpha = finite_number("alpha", given["alpha"], positive=False)
        return {"epochs": given["max_iter"], "lmbda": alpha, "optimizer": LBFGS}
    own = isinstance(given["solver"], Optimizer)
    solvers = (given["solver"],) if own else ("sgd", "adam")
    valid: dict[str, tuple[Any, ...]] = {"solver": solvers, "shuffle": (True,)}
    if given["solver"] != "adam":
        valid["learning_rate"] = ("constant",)
    for name, values in valid.items():
        if given[name] not in values:
            valid_values = " or ".join(map(repr, values))
            raise InputError(f"{name} must be {valid_values} for Network.train, got {brief(given[name])}")
    m = min(n, 200 if given["batch_size"] == "auto" else whole_number("batch_size", given["batch_size"]))
    if given["solver"] == "sgd":
        optimizer: Optimizer = SGD(given["momentum"], nesterov=bool(given["nesterovs_momentum"]))
    else:
        optimizer = given["solver"] if own else Adam(given["beta_1"], given["beta_2"], given["epsilon"])
    dropout = given.get("dropout", 0.0)
    return ({"dropout": dropout} if np.any(dropout) else {}) | {
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
    mini_batch_size: int | None = None,
    eta: float | None = None,
    lmbda: float = 0.0,
    optimizer: OptimizerName | Literal["lbfgs"] | Optimizer = "sgd",
    momentum: float | None = None,
) -> dict[str, Any]:
    """Return the parameters that make an estimator train like `Network.train` or like `SGD` of M. Nielsen's book.

    For mini-batches of m examples, α is λ m/n.

    Parameters
    ----------
    n : int
        Number of training examples.
    epochs, mini_batch_size, eta, lmbda, optimizer, momentum
        As in `fastbp.Network.train`. `eta` must be a number, not a schedule. `mini_batch_size` is the m above.

    Returns
    -------
    dict
        Arguments for `MLPClassifier` or `MLPRegressor`. `n_iter_no_change` is infinite, so that training does not stop
        before the last epoch. After the last epoch, scikit-learn warns that training did not converge.

    Raises
    ------
    InputError
        If an argument is invalid.

    Examples
    --------
    >>> options = training_to_sklearn(1000, epochs=5, mini_batch_size=20, eta=0.5, lmbda=0.5)
    >>> options["alpha"], options["batch_size"], options["solver"], options["momentum"]
    (0.01, 20, 'sgd', 0.0)
    """
    n, epochs = whole_number("n", n), whole_number("epochs", epochs)
    lmbda = finite_number("lmbda", lmbda, positive=False)
    if optimizer == LBFGS:
        refuse_options({"eta": eta, "mini_batch_size": mini_batch_size, "momentum": momentum})
        return {"max_iter": epochs, "alpha": lmbda, "solver": LBFGS, "tol": 1e-5, "max_fun": NO_LIMIT}
    chosen = optimizer_of(optimizer, momentum)
    m = min(10, n) if mini_batch_size is None else whole_number("mini_batch_size", mini_batch_size, most=n)
    options: dict[str, Any] = {
        "max_iter": epochs,
        "batch_size": m,
        "learning_rate_init": finite_number("eta", chosen.default_eta if eta is None else eta, positive=True),
        "alpha": lmbda * m / n,
        "n_iter_no_change": math.inf,
    }
    if isinstance(chosen, SGD):
        return options | {"solver": "sgd", "momentum": chosen.momentum, "nesterovs_momentum": chosen.nesterov}
    if not isinstance(chosen, Adam):
        raise InputError(f"optimizer must be SGD or Adam for scikit-learn, got {brief(optimizer)}")
    return options | {"solver": "adam", "beta_1": chosen.beta_1, "beta_2": chosen.beta_2, "epsilon": chosen.epsilon}


def _out_activation(net: Network, kind: str, *, is_classifier: bool) -> str:
    """Return the value of `out_activation_` for an estimator with the last layer and the cost of a network.

    Raises `InputError` if this kind of estimator cannot have this last layer and cost, or if the network has no biases.
    """
    valid = {name: pair for name, pair in OUTPUT_LAYERS.items() if (name not in _LOSSES) == is_classifier}
    found = [name for name, pair in valid.items() if pair == (net.activations[-1], net.cost_function)]
    if not found:
        pairs = " or ".join(f"{activation.name} with {cost.name}" for activation, cost in valid.values())
        given = f"{net.activations[-1].name} with {net.cost_function.name}"
        raise InputError(f"the last layer of net must be {pairs} for {kind}, got {given}")
    if not net.biases:
        raise InputError(f"net must have biases for {kind}, got a network with bias=False")
    return found[0]


def _activation(name: Any) -> Activation:
    """Return the activation for a value of an estimator's parameter `activation`."""
    if isinstance(name, Activation):
        return name
    known = ACTIVATIONS if name == "sigmoid" or not isinstance(name, str) else FASTBP_ACTIVATIONS | ACTIVATIONS
    return known[name] if name in known else choose("activation", name, ACTIVATIONS)


def _hidden_activations(net: Network, estimator: Any) -> list[str | Activation]:
    """Return the activations of the hidden layers, by their names in scikit-learn, for an estimator."""
    names: dict[Activation, str | Activation] = {activation: name for name, activation in ACTIVATIONS.items()}
    if hasattr(estimator, "dropout"):  # an estimator of fastbp
        return [names.get(a, a.name if FASTBP_ACTIVATIONS.get(a.name) == a else a) for a in net.activations[:-1]]
    for activation in net.activations[:-1]:
        if activation not in names:
            valid = ", ".join(other.name for other in names)
            raise InputError(
                f"hidden activations of net must be among {valid} for scikit-learn, got {brief(activation.name)}"
            )
    return [names[activation] for activation in net.activations[:-1]]


def _zero_examples(net: Network, output: str, classes: Any) -> tuple[Array, Array, dict[str, Any]]:
    """Return (X, y, options) for a call of `partial_fit` that tells an estimator the meaning of its outputs.

    X contains only zeros. From y and the options, `partial_fit` learns the number of outputs and the classes.
    """
    outputs = net.sizes[-1]
    x, count = np.zeros((outputs + 1, net.sizes[0]), net.dtype), max(outputs, 2)
    if output in _LOSSES or (output == "logistic" and outputs > 1):
        if classes is not None:
            raise InputError(f"classes must be None for a regressor or several sigmoid outputs, got {brief(classes)}")
        if output in _LOSSES:
            return x[:1], np.zeros((1, outputs) if outputs > 1 else 1), {}
        return x[:outputs], np.eye(outputs, dtype=int), {"classes": np.arange(outputs)}
    labels = np.arange(count) if classes is None else np.asarray(classes)
    if labels.shape != (count,) or not (labels[:-1] < labels[1:]).all():
        raise InputError(f"classes must be {count} values in ascending order, got {brief(classes)}")
    return x[:count], labels, {"classes": labels}


def _fit_to_zeros(
    estimator: Any, layers: list[int], hidden: list[str | Activation], examples: tuple[Array, Array, Mapping[str, Any]]
) -> Any:
    """Return a new estimator like the given one. It is fitted to examples, and then reset as if it were untrained.

    Fitting creates all attributes needed by the installed version of scikit-learn, including private ones.
    """
    own: dict[str, Any] = {"hidden_layer_sizes": tuple(layers)}
    if hidden:
        own["activation"] = hidden[0] if len(set(hidden)) == 1 else hidden
    if "loss" in estimator.get_params():
        own["loss"] = estimator.loss
    x, y, options = examples
    try:
        with use_backend("numpy-plain"):  # so that an estimator of fastbp compiles nothing
            model = type(estimator)(**own, solver="sgd", random_state=0).partial_fit(x, y, **options)
    except ValueError as error:
        raise InputError(f"{type(estimator).__name__}: {str(error).partition(chr(10))[0]}") from error
    for name in ("loss_", "_optimizer", "_memory"):  # scikit-learn's moments are in _optimizer, fastbp's in _memory
        vars(model).pop(name, None)
    model.t_, model.n_iter_, model.loss_curve_, model.best_loss_ = 0, 0, [], math.inf
    return model.set_params(
        **{name: value for name, value in estimator.get_params(deep=False).items() if name not in own}
    )
