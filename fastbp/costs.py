"""C and its kin: a cost is two scalar formulas, its share C_x of one output, and ∂C/∂a.

What the algorithm needs at the output is a rule for a pair, an activation with a cost: the error δᴸ of (BP1), and C_x
itself. Most pairs follow from their formulas; two have rules of their own, since the formulas would lose the answer: in
float32 the sigmoid reaches 1 at z = 17, where (a − y)/(a(1 − a)) · a(1 − a) is NaN and ln(1 − a) infinite.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fastbp.activations import ACTIVATIONS, Activation, sigmoid, softmax
from fastbp.errors import InputError, brief, check_bounds, choose
from fastbp_kernels import softmax as columns
from fastbp_kernels.words import Array, exp, log, log1p, where


@dataclass(frozen=True)
class Cost:
    """A cost: C_x = Σ_j f(a_j, y_j) over the outputs, with ∂C_x/∂a_j = prime(a_j, y_j).

    `f` and `prime` take outputs and targets, numbers or arrays of one shape; `within` are the bounds that both outputs
    and targets must keep. The notes' two assumptions hold by this form: C is an average over examples, and a function
    of the outputs alone. Equations (3) and (4) of the notes.

    >>> quadratic.f(1.0, 0.0), quadratic.prime(1.0, 0.0)
    (0.5, 1.0)
    """

    name: str
    f: Callable[[Array, Array], Array]
    prime: Callable[[Array, Array], Array]
    within: tuple[float, float] = (float("-inf"), float("inf"))

    def __post_init__(self) -> None:
        for role in ("f", "prime"):
            if not callable(getattr(self, role)):
                given = brief(getattr(self, role))
                raise InputError(f"cost {brief(self.name)}: {role} is {given}; wanted is a function")
        check_bounds(f"cost {brief(self.name)}: within", self.within)


def _quadratic(a: Array, y: Array) -> Array:
    return 0.5 * (a - y) * (a - y)


def _quadratic_prime(a: Array, y: Array) -> Array:
    return a - y


def _sum_squared(a: Array, y: Array) -> Array:
    return (a - y) * (a - y)


def _sum_squared_prime(a: Array, y: Array) -> Array:
    return 2.0 * (a - y)


def _cross_entropy(a: Array, y: Array) -> Array:
    return -where(y > 0.0, y * log(a), 0.0 * y) - where(y < 1.0, (1.0 - y) * log1p(-a), 0.0 * y)  # 0 ln 0 is 0


def _cross_entropy_prime(a: Array, y: Array) -> Array:
    return where(y < 1.0, (1.0 - y) / (1.0 - a), 0.0 * y) - where(y > 0.0, y / a, 0.0 * y)


def _log_likelihood(a: Array, y: Array) -> Array:
    return -where(y > 0.0, y * log(a), 0.0 * y)


def _log_likelihood_prime(a: Array, y: Array) -> Array:
    return -where(y > 0.0, y / a, 0.0 * y)


quadratic = Cost("quadratic", _quadratic, _quadratic_prime)
"""C_x = ½ ‖y − a‖², the notes' (4)."""

sum_squared = Cost("sum-squared", _sum_squared, _sum_squared_prime)
"""C_x = ‖y − a‖², deeplizard's C₀, with derivative 2(a − y)."""

cross_entropy = Cost("cross-entropy", _cross_entropy, _cross_entropy_prime, within=(0.0, 1.0))
"""C_x = −Σ y ln a + (1 − y) ln(1 − a)."""

log_likelihood = Cost("log-likelihood", _log_likelihood, _log_likelihood_prime, within=(0.0, 1.0))
"""C_x = −Σ y ln a, of a softmax, for targets that sum to 1."""

COSTS = {cost.name: cost for cost in (quadratic, sum_squared, cross_entropy, log_likelihood)}
"""Every cost that can be asked for by name."""


def cost_of(choice: Any) -> Cost:
    """Return a cost as it is, or the one of a name; raises `InputError` for anything else.

    >>> cost_of("quadratic").name
    'quadratic'
    """
    return choice if isinstance(choice, Cost) else choose("cost", choice, COSTS)


@dataclass(frozen=True)
class OutputRule:
    """What an activation with a cost does at the output: C_x = Σ cost(z, a, y) and δᴸ = error(z, a, y), elementwise.

    `needs_z` says that one of them reads z. Equation (BP1) of the notes.
    """

    activation: Activation
    cost_function: Cost
    cost: Callable[[Array, Array, Array], Array]
    error: Callable[[Array, Array, Array], Array]
    needs_z: bool

    def __reduce__(self) -> tuple[Callable[..., "OutputRule"], tuple[Activation, Cost]]:
        return output_rule, (self.activation, self.cost_function)  # its formulas may be closures, which no pickle takes


@lru_cache(maxsize=128)
def output_rule(activation: Activation, cost: Cost) -> OutputRule:
    """Return the rule of a pair, always the same one, by which its kernels are known; or raise `InputError`.

    >>> output_rule(sigmoid, cross_entropy).error(0.0, 0.75, 0.25)
    0.5
    """
    _check_pair(activation, cost)
    if (activation, cost) == (softmax, log_likelihood):
        return OutputRule(activation, cost, _softmax_log_likelihood, _difference, needs_z=True)
    if (activation, cost) == (sigmoid, cross_entropy):
        return OutputRule(activation, cost, _sigmoid_cross_entropy, _difference, needs_z=True)
    f, cost_prime, prime = cost.f, cost.prime, activation.prime

    def cost_of_output(z: Array, a: Array, y: Array) -> Array:
        return f(a, y)

    def error(z: Array, a: Array, y: Array) -> Array:
        return cost_prime(a, y) * prime(z, a)

    return OutputRule(activation, cost, cost_of_output, error, activation.needs_z)


def _difference(z: Array, a: Array, y: Array) -> Array:
    return a - y


def _sigmoid_cross_entropy(z: Array, a: Array, y: Array) -> Array:
    # −y ln σ(z) − (1 − y) ln(1 − σ(z)), where max(z, 0) − z y would cancel for y near 1 and a large z
    return where(z > 0.0, z * (1.0 - y), -z * y) + log1p(exp(-abs(z)))


def _softmax_log_likelihood(z: Array, a: Array, y: Array) -> Array:
    return columns.log_likelihood(z, y)


def _check_pair(activation: Activation, cost: Cost) -> None:
    if not _go_together(activation, cost):
        costs = [name for name, other in COSTS.items() if _go_together(activation, other)]
        outputs = [name for name, other in ACTIVATIONS.items() if _go_together(other, cost)]
        raise InputError(
            f"cost {brief(cost.name)} does not go with {brief(activation.name)} in the last layer; valid costs there: "
            f"{', '.join(costs)}; valid last layers for this cost: {', '.join(outputs)}"
        )


def _go_together(activation: Activation, cost: Cost) -> bool:
    if softmax == activation or log_likelihood == cost:
        return (activation, cost) == (softmax, log_likelihood)
    return cost.within[0] <= activation.outputs[0] and activation.outputs[1] <= cost.within[1]
