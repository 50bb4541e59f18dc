"""What an estimator was made with, checked when it is fitted: scikit-learn's names, fastbp's words of refusal."""

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from fastbp.errors import InputError, brief, choose, finite_number, number_between, whole_number

ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
"""What scikit-learn calls an activation, and what fastbp does."""

SOLVERS = dict.fromkeys(("sgd", "adam"))
SCHEDULES = dict.fromkeys(("constant", "invscaling", "adaptive"))


def check_parameters(given: Mapping[str, Any]) -> None:
    """Raise `InputError` for the first of an estimator's parameters, all but its layers, that cannot be used.

    >>> check_parameters({"max_iter": 0})
    Traceback (most recent call last):
    fastbp.errors.InputError: max_iter is 0; wanted is a whole number of at least 1
    """
    for name, value in given.items():
        if name in _CHECKS:
            _CHECKS[name](name, value)


def hidden_layers(sizes: Any, activation: Any) -> tuple[list[int], list[str]]:
    """Return the sizes of the hidden layers and scikit-learn's names of their activations; raises `InputError`.

    >>> hidden_layers((30, 20), "relu")
    ([30, 20], ['relu', 'relu'])
    """
    listed = list(sizes) if hasattr(sizes, "__iter__") and not isinstance(sizes, (str, bytes)) else [sizes]
    layers = [whole_number("hidden_layer_sizes", n) for n in listed]
    names = [activation] * len(layers) if isinstance(activation, str) else _listed(activation)
    for name in [activation] if isinstance(activation, str) else names:
        choose("activation", name, ACTIVATIONS)
    if len(names) != len(layers):
        raise InputError(f"activation names {len(names)}, and the hidden layers are {len(layers)}; wanted is one each")
    return layers, names


def _listed(activation: Any) -> list[Any]:
    if not isinstance(activation, (list, tuple)):
        raise InputError(
            f"activation is {brief(activation)}; wanted is a name, or a list of one a hidden layer; "
            f"valid: {', '.join(ACTIVATIONS)}"
        )
    return list(activation)


def _solver(name: str, value: Any) -> None:
    if value == "lbfgs":
        raise InputError("solver is 'lbfgs', which does not go by mini-batches; valid: sgd, adam")
    choose(name, value, SOLVERS)


def _batch_size(name: str, value: Any) -> None:
    if not (isinstance(value, str) and value == "auto"):
        try:
            whole_number(name, value)
        except InputError as error:
            raise InputError(f"{error}, or 'auto'") from None


def _patience(name: str, value: Any) -> None:
    if not (isinstance(value, Real) and value == math.inf):
        whole_number(name, value)


def _schedule(name: str, value: Any) -> None:
    choose(name, value, SCHEDULES)


def _positive(name: str, value: Any) -> None:
    finite_number(name, value, positive=True)


def _not_negative(name: str, value: Any) -> None:
    finite_number(name, value, positive=False)


def _fraction(name: str, value: Any) -> None:
    number_between(name, value, 0.0, 1.0)


def _decay(name: str, value: Any) -> None:
    number_between(name, value, 0.0, 1.0, low_included=True)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "solver": _solver,
    "alpha": _not_negative,
    "batch_size": _batch_size,
    "learning_rate": _schedule,
    "learning_rate_init": _positive,
    "power_t": _not_negative,
    "max_iter": whole_number,
    "tol": _not_negative,
    "momentum": _decay,
    "validation_fraction": _fraction,
    "beta_1": _decay,
    "beta_2": _decay,
    "epsilon": _positive,
    "n_iter_no_change": _patience,
}
