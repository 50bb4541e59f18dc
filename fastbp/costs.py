"""Cost functions. Each one is defined by two scalar formulas: the part of C_x for one output, and ∂C_x/∂a.

At the output layer, the algorithm needs the error δᴸ of (BP1) and the cost C_x. For most pairs of an activation and a
cost, δᴸ and C_x follow from the formulas of the activation and of the cost. Three pairs have their own formulas,
because the general ones lose precision. In float32, for example, the sigmoid reaches 1 at z = 17.
Then (a − y)/(a(1 − a)) · a(1 − a) is NaN, and ln(1 − a) is infinite.

You can write your own cost with the functions of `fastbp.math`, as for an activation:

>>> from fastbp.math import log
>>> def itakura_saito(a, y):
...     return y / a - log(y / a) - 1.0
>>> def itakura_saito_prime(a, y):
...     return (a - y) / (a * a)
>>> cost = Cost("itakura-saito", itakura_saito, itakura_saito_prime, within=(0.0, float("inf")))
>>> import fastbp
>>> net = fastbp.Network([64, 30, 10], activations=["gelu", "exponential"], cost=cost, rng=0)
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from fastbp.activations import ACTIVATIONS, Activation, exponential, relu, sigmoid, softmax
from fastbp.errors import InputError, brief, check_bounds, check_signature, choose
from fastbp_kernels import softmax as columns
from fastbp_kernels.specialize import Content, content_of
from fastbp_kernels.words import Array, exp, log, log1p, where

CostName = Literal["quadratic", "sum-squared", "absolute-error", "huber", "cross-entropy", "log-likelihood", "poisson"]


@dataclass(frozen=True)
class Cost:
    """A cost function C_x = Σ_j f(a_j, y_j), summed over the outputs j, with ∂C_x/∂a_j = prime(a_j, y_j).

    The two assumptions of the notes hold for every cost of this form: C is an average over examples, and C_x is a
    function of the outputs only.

    Parameters
    ----------
    name : str
        The name used in messages and saved files.
    f : callable
        A function of the outputs `a` and the targets y, which are numbers or arrays of the same shape. It returns the
        contributions to C_x.
    prime : callable
        A function of `a` and y. It returns the derivative of `f` with respect to `a`.
    within : pair of float
        The lower and the upper bound of outputs and targets.

    Raises
    ------
    InputError
        If a formula is not callable or takes other arguments, or if the bounds are not a pair of numbers.

    Notes
    -----
    The functions are read when the object is made. To change a formula, make a new object.

    References
    ----------
    Equations (3) and (4) of the notes.

    Examples
    --------
    >>> quadratic.f(1.0, 0.0), quadratic.prime(1.0, 0.0)
    (0.5, 1.0)
    """

    name: str
    f: Callable[[Array, Array], Array]
    prime: Callable[[Array, Array], Array]
    within: tuple[float, float] = (float("-inf"), float("inf"))
    _content: Content = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for role in ("f", "prime"):
            if not callable(getattr(self, role)):
                given = brief(getattr(self, role))
                raise InputError(f"cost {brief(self.name)}: {role} must be a function, got {given}")
            check_signature(f"cost {brief(self.name)}", role, getattr(self, role), "a, y")
        check_bounds(f"cost {brief(self.name)}: within", self.within)
        object.__setattr__(self, "_content", content_of(self.f, self.prime))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_content"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.__post_init__()


def _quadratic(a: Array, y: Array) -> Array:
    return 0.5 * (a - y) * (a - y)


def _quadratic_prime(a: Array, y: Array) -> Array:
    return a - y


def _sum_squared(a: Array, y: Array) -> Array:
    return (a - y) * (a - y)


def _sum_squared_prime(a: Array, y: Array) -> Array:
    return 2.0 * (a - y)


def _absolute_error(a: Array, y: Array) -> Array:
    return abs(a - y)


def _absolute_error_prime(a: Array, y: Array) -> Array:
    r = a - y
    return where(r > 0.0, 1.0, where(r < 0.0, -1.0, r))  # r itself for 0 and NaN


def _huber(a: Array, y: Array) -> Array:
    r = abs(a - y)
    return where(r > 1.0, r - 0.5, 0.5 * r * r)


def _huber_prime(a: Array, y: Array) -> Array:
    r = a - y
    return where(r > 1.0, 1.0, where(r < -1.0, -1.0, r))


def _cross_entropy(a: Array, y: Array) -> Array:
    return -where(y > 0.0, y * log(a), 0.0 * y) - where(y < 1.0, (1.0 - y) * log1p(-a), 0.0 * y)  # 0 ln 0 is 0


def _cross_entropy_prime(a: Array, y: Array) -> Array:
    return where(y < 1.0, (1.0 - y) / (1.0 - a), 0.0 * y) - where(y > 0.0, y / a, 0.0 * y)


def _log_likelihood(a: Array, y: Array) -> Array:
    return -where(y > 0.0, y * log(a), 0.0 * y)


def _log_likelihood_prime(a: Array, y: Array) -> Array:
    return -where(y > 0.0, y / a, 0.0 * y)


def _poisson(a: Array, y: Array) -> Array:
    return a - where(y > 0.0, y * log(a), 0.0 * y)  # 0 ln 0 is 0


def _poisson_prime(a: Array, y: Array) -> Array:
    return 1.0 - where(y > 0.0, y / a, 0.0 * y)


quadratic = Cost("quadratic", _quadratic, _quadratic_prime)
"""C_x = ½ ‖y − a‖²: equation (4) of the notes."""

sum_squared = Cost("sum-squared", _sum_squared, _sum_squared_prime)
"""C_x = ‖y − a‖²: C₀ of the deeplizard course, with the derivative 2(a − y)."""

absolute_error = Cost("absolute-error", _absolute_error, _absolute_error_prime)
"""C_x = Σ |a − y|. With one output, C is the mean absolute error. ∂C_x/∂a is −1, 0 or 1."""

huber = Cost("huber", _huber, _huber_prime)
"""C_x = Σ ½ (a − y)² where |a − y| ≤ 1, and |a − y| − ½ elsewhere. ∂C_x/∂a is a − y, limited to [−1, 1]."""

cross_entropy = Cost("cross-entropy", _cross_entropy, _cross_entropy_prime, within=(0.0, 1.0))
"""C_x = −Σ y ln a + (1 − y) ln(1 − a)."""

log_likelihood = Cost("log-likelihood", _log_likelihood, _log_likelihood_prime, within=(0.0, 1.0))
"""C_x = −Σ y ln a. Only with softmax, for targets that sum to 1."""

poisson = Cost("poisson", _poisson, _poisson_prime, within=(0.0, float("inf")))
"""C_x = Σ a − y ln a, for counts y with expectation a. It is −ln of the Poisson probability of y, without Σ ln y!."""

COSTS = {
    cost.name: cost for cost in (quadratic, sum_squared, absolute_error, huber, cross_entropy, log_likelihood, poisson)
}
"""The built-in costs, by name."""


def cost_of(choice: Any) -> Cost:
    """Return the cost with the given name; a `Cost` is returned unchanged.

    Raises `InputError` for anything else.

    >>> cost_of("quadratic").name
    'quadratic'
    """
    return choice if isinstance(choice, Cost) else choose("cost", choice, COSTS)


@dataclass(frozen=True)
class OutputRule:
    """The formulas of the output layer for a pair of activation and cost.

    C_x = Σ cost(z, a, y), and δᴸ = error(z, a, y). The functions `cost` and `error` are applied element by element.
    `needs_z` is True if one of them reads z. `error` is equation (BP1).
    """

    activation: Activation
    cost_function: Cost
    cost: Callable[[Array, Array, Array], Array]
    error: Callable[[Array, Array, Array], Array]
    needs_z: bool

    def __reduce__(self) -> tuple[Callable[..., "OutputRule"], tuple[Activation, Cost]]:
        return output_rule, (
            self.activation,
            self.cost_function,
        )  # its formulas may be closures, which cannot be pickled


@lru_cache(maxsize=128)
def output_rule(activation: Activation, cost: Cost) -> OutputRule:
    """Return the output rule for an activation and a cost.

    The same pair always gives the same object, so that this object can identify the compiled code for the pair. Raises
    `InputError` if the activation and the cost cannot be combined.

    >>> output_rule(sigmoid, cross_entropy).error(0.0, 0.75, 0.25)
    0.5
    """
    _check_pair(activation, cost)
    formula = _COSTS_FROM_Z.get((activation, cost))
    if formula is not None:
        return OutputRule(activation, cost, formula, _difference, needs_z=True)
    f, cost_prime, prime = cost.f, cost.prime, activation.prime

    def cost_of_output(z: Array, a: Array, y: Array) -> Array:
        return f(a, y)

    def error(z: Array, a: Array, y: Array) -> Array:
        return cost_prime(a, y) * prime(z, a)

    return OutputRule(activation, cost, cost_of_output, error, activation.needs_z)


def _difference(z: Array, a: Array, y: Array) -> Array:
    return a - y


def _sigmoid_cross_entropy(z: Array, a: Array, y: Array) -> Array:
    # This is −y ln σ(z) − (1 − y) ln(1 − σ(z)). With max(z, 0) − z y instead of `where`, precision would be lost by
    # cancellation if y is near 1 and z is large.
    return where(z > 0.0, z * (1.0 - y), -z * y) + log1p(exp(-abs(z)))


def _softmax_log_likelihood(z: Array, a: Array, y: Array) -> Array:
    return columns.log_likelihood(z, y)


def _exponential_poisson(z: Array, a: Array, y: Array) -> Array:
    return a - where(y > 0.0, y * z, 0.0 * y)  # ln a is z, also where a has underflowed to 0


_COSTS_FROM_Z = {
    (softmax, log_likelihood): _softmax_log_likelihood,
    (sigmoid, cross_entropy): _sigmoid_cross_entropy,
    (exponential, poisson): _exponential_poisson,
}
"""The costs of the pairs that have their own formulas. These costs are computed from z. For these pairs, δᴸ = a − y."""


def _check_pair(activation: Activation, cost: Cost) -> None:
    if not _can_be_combined(activation, cost):
        costs = [name for name, other in COSTS.items() if _can_be_combined(activation, other)]
        outputs = [name for name, other in ACTIVATIONS.items() if _can_be_combined(other, cost)]
        raise InputError(
            f"cost {brief(cost.name)} cannot be used with {brief(activation.name)} in the last layer; costs for this "
            f"activation: {', '.join(costs)}; activations for this cost: {', '.join(outputs)}"
        )


def _can_be_combined(activation: Activation, cost: Cost) -> bool:
    if softmax == activation or log_likelihood == cost:
        return (activation, cost) == (softmax, log_likelihood)
    if (activation, cost) == (relu, poisson):
        return False  # half of the outputs of relu are 0, where ln a is infinite
    return cost.within[0] <= activation.outputs[0] and activation.outputs[1] <= cost.within[1]
