"""What fastbp uses of scikit-learn's private interface, and warnings that look like scikit-learn's."""

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from sklearn import get_config
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call as check_partial_fit_first_call
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = [
    "HOOKS",
    "Interval",
    "Options",
    "StrOptions",
    "check_partial_fit_first_call",
    "check_sample_weight",
    "for_mini_batches",
    "validate_unless_fitted",
    "validating",
    "warn",
]

Method = TypeVar("Method", bound=Callable[..., Any])

HOOKS = frozenset(
    {
        "_backprop",
        "_compute_loss_grad",
        "_fit",
        "_fit_lbfgs",
        "_fit_stochastic",
        "_forward_pass",
        "_forward_pass_fast",
        "_init_coef",
        "_initialize",
        "_loss_grad_lbfgs",
        "_predict",
        "_score",
        "_score_with_function",
        "_unpack",
        "_update_no_improvement_count",
        "_validate_input",
    }
)
"""The methods of scikit-learn's networks that a subclass may have replaced. The estimators here never call them."""


def validating(method: Method) -> Method:
    """Let a method validate the parameters of its estimator first."""
    decorated: Method = _fit_context(prefer_skip_nested_validation=True)(method)
    return decorated


def validate_unless_fitted(estimator: Any) -> None:
    """Validate the parameters of an estimator in the first call of `partial_fit`, as scikit-learn does.

    Unlike `validating`, this does not take time in later calls.
    """
    if not hasattr(estimator, "coefs_") and not get_config()["skip_parameter_validation"]:
        estimator._validate_params()


def for_mini_batches(method: Method) -> Method:
    """Remove a method from estimators whose solver does not train on mini-batches."""
    decorated: Method = available_if(lambda estimator: estimator._check_solver())(method)
    return decorated


_THEIR_MODULE = "sklearn.neural_network._multilayer_perceptron"


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning of scikit-learn's module, so that filters for this module match it.

    >>> with warnings.catch_warnings():
    ...     warnings.filterwarnings("ignore", module="sklearn")
    ...     warn("Training interrupted by user.")
    """
    registry = globals().setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, __file__, 1, module=_THEIR_MODULE, registry=registry)
