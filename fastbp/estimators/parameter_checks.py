"""Checks of the parameters of the estimators."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from fastbp.activations import ACTIVATIONS as FASTBP_ACTIVATIONS
from fastbp.activations import Activation
from fastbp.errors import InputError, choose, plural, whole_number
from fastbp.estimators.from_scikit_learn import Interval, Options, StrOptions
from fastbp.optimizers import Optimizer

HiddenActivation = (
    Literal["identity", "logistic", "tanh", "relu", "leaky-relu", "elu", "gelu", "gelu-tanh", "silu", "softplus"]
    | Activation
)
Solver = Literal["lbfgs", "sgd", "adam"] | Optimizer
LearningRate = Literal["constant", "invscaling", "adaptive"]

OUTPUTS = {"identity": "quadratic", "exp": "poisson", "logistic": "cross-entropy", "softmax": "log-likelihood"}
"""A mapping from `out_activation_` to fastbp's name of the cost."""

_OTHER_NAMES = {"logistic": "sigmoid", "exp": "exponential"}
_OTHERS = set(FASTBP_ACTIVATIONS) - {"identity", "sigmoid", "tanh", "relu", "exponential", "softmax"}
_NAMES = ["identity", "logistic", "tanh", "relu", *sorted(_OTHERS)]

CONSTRAINTS: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions(set(_NAMES)), Activation, list, tuple],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"}), Optimizer],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "backend": "no_validation",  # type: ignore[dict-item]
    "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
}
"""The valid values of the parameters that both estimators have, for scikit-learn's validation."""

CLASS_WEIGHT: list[Any] = [Mapping, StrOptions({"balanced"}), None]
LOSS: list[Any] = [StrOptions({"squared_error", "poisson"})]


def hidden_layers(sizes: Any, activation: Any) -> tuple[list[int], list[str | Activation]]:
    """Return the sizes of the hidden layers and their activations, which are scikit-learn's names or objects.

    Raises `InputError` if `sizes` or `activation` is invalid.

    >>> hidden_layers((30, 20), "relu")
    ([30, 20], ['relu', 'relu'])
    """
    listed = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
    if any(isinstance(n, Real) and n <= 0 for n in listed):
        raise InputError(f"hidden_layer_sizes must be > 0, got {listed}.")
    layers = [whole_number("hidden_layer_sizes", n) for n in listed]
    if isinstance(activation, (str, Activation)):
        return layers, [activation] * len(layers)
    for each in activation:
        if not isinstance(each, Activation):
            choose("activation", each, dict.fromkeys(_NAMES))
    if len(activation) != len(layers):
        given = f"{plural(len(activation), 'name')} for {plural(len(layers), 'hidden layer')}"
        raise InputError(f"activation must have one name per hidden layer, got {given}")
    return layers, list(activation)


def fastbp_activations(activations: Sequence[str | Activation], output: str) -> tuple[str | Activation, ...]:
    """Return the activations of all layers, with fastbp's names in place of scikit-learn's.

    >>> fastbp_activations(["relu"], "logistic")
    ('relu', 'sigmoid')
    """
    return tuple([_OTHER_NAMES.get(a, a) if isinstance(a, str) else a for a in (*activations, output)])
