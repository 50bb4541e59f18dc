"""The parameters of the estimators: their types, and checks of their values when an estimator is fitted.

The names of the parameters are scikit-learn's. The error messages are worded like all others in fastbp.
"""

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, Literal, get_args

from fastbp.errors import InputError, brief, choose, finite_number, number_between, plural, whole_number

HiddenActivation = Literal["identity", "logistic", "tanh", "relu"]
Solver = Literal["lbfgs", "sgd", "adam"]
LearningRate = Literal["constant", "invscaling", "adaptive"]

ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
"""A mapping from scikit-learn's name of an activation to fastbp's name."""


def check_parameters(params: Mapping[str, Any]) -> None:
    """Raise `InputError` for the first invalid parameter of an estimator.

    `hidden_layer_sizes` and `activation` are not checked here, but by `hidden_layers`.

    >>> check_parameters({"max_iter": 0})
    Traceback (most recent call last):
    fastbp.errors.InputError: max_iter must be an integer >= 1, got 0
    """
    for name, value in params.items():
        if name in _CHECKS:
            _CHECKS[name](name, value)


def hidden_layers(sizes: Any, activation: Any) -> tuple[list[int], list[str]]:
    """Return the sizes of the hidden layers, and scikit-learn's names of their activations.

    Raises `InputError` if `sizes` or `activation` is invalid.

    >>> hidden_layers((30, 20), "relu")
    ([30, 20], ['relu', 'relu'])
    """
    listed = list(sizes) if hasattr(sizes, "__iter__") and not isinstance(sizes, (str, bytes)) else [sizes]
    layers = [whole_number("hidden_layer_sizes", n) for n in listed]
    if isinstance(activation, str):
        choose("activation", activation, ACTIVATIONS)  # checked even if there are no hidden layers
        return layers, [activation] * len(layers)
    if not isinstance(activation, (list, tuple)):
        raise InputError(
            "activation must be a name or a list with one name per hidden layer, "
            f"got {brief(activation)}; valid names: {', '.join(ACTIVATIONS)}"
        )
    for name in activation:
        choose("activation", name, ACTIVATIONS)
    if len(activation) != len(layers):
        given = f"{plural(len(activation), 'name')} for {plural(len(layers), 'hidden layer')}"
        raise InputError(f"activation must have one name per hidden layer, got {given}")
    return layers, list(activation)


def _check_solver(name: str, value: Any) -> None:
    choose(name, value, dict.fromkeys(get_args(Solver)))


def _check_learning_rate(name: str, value: Any) -> None:
    choose(name, value, dict.fromkeys(get_args(LearningRate)))


def _check_batch_size(name: str, value: Any) -> None:
    if not (isinstance(value, str) and value == "auto"):
        _check_whole_number_or("'auto'", name, value)


def _check_patience(name: str, value: Any) -> None:
    if not (isinstance(value, Real) and value == math.inf):
        _check_whole_number_or("inf", name, value)


def _check_whole_number_or(alternative: str, name: str, value: Any) -> None:
    try:
        whole_number(name, value)
    except InputError:
        raise InputError(f"{name} must be an integer >= 1 or {alternative}, got {brief(value)}") from None


def _check_positive(name: str, value: Any) -> None:
    finite_number(name, value, positive=True)


def _check_not_negative(name: str, value: Any) -> None:
    finite_number(name, value, positive=False)


def _check_fraction(name: str, value: Any) -> None:
    number_between(name, value, 0.0, 1.0)


def _check_decay(name: str, value: Any) -> None:
    number_between(name, value, 0.0, 1.0, low_included=True)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "solver": _check_solver,
    "alpha": _check_not_negative,
    "batch_size": _check_batch_size,
    "learning_rate": _check_learning_rate,
    "learning_rate_init": _check_positive,
    "power_t": _check_not_negative,
    "max_iter": whole_number,
    "tol": _check_not_negative,
    "momentum": _check_decay,
    "validation_fraction": _check_fraction,
    "beta_1": _check_decay,
    "beta_2": _check_decay,
    "epsilon": _check_positive,
    "n_iter_no_change": _check_patience,
    "max_fun": whole_number,
}
