"""Optimizers: plain gradient descent, momentum, Nesterov momentum and Adam.

An update rule is one scalar formula, written with the functions of `fastbp.math`. Every backend makes its own kernel
from this formula. In one pass, the kernel reads a parameter, its gradient and the optimizer's state, and writes the new
values.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.errors import InputError, brief, choose, finite_number, number_between
from fastbp_kernels.words import sqrt

Array = Any
Constants = tuple[float, float, float]


class UpdateRule(NamedTuple):
    """The rule by which an optimizer updates a parameter w.

    `formula(w, g, first, second, eta, k_1, k_2, k_3)` returns the new (w, first, second). g is the entry of ∇C for w,
    with the L2 term. `first` and `second` are two numbers called moments. They are the optimizer's state for w. k_1 to
    k_3 are the optimizer's constants. `moments` is the number of moments in use, 1 or 2. If it is 1, `second` is
    returned unchanged.
    """

    formula: Callable[..., tuple[Array, Array, Array]]
    moments: int


def _momentum(
    w: Array, g: Array, v: Array, rest: Array, eta: float, mu: float, _k_2: float, _k_3: float
) -> tuple[Array, Array, Array]:
    v = mu * v - eta * g
    return w + v, v, rest


def _nesterov(
    w: Array, g: Array, v: Array, rest: Array, eta: float, mu: float, _k_2: float, _k_3: float
) -> tuple[Array, Array, Array]:
    v = mu * v - eta * g
    return w + (mu * v - eta * g), v, rest


def _adam(
    w: Array, g: Array, m: Array, v: Array, eta: float, rho_1: float, rho_2: float, epsilon: float
) -> tuple[Array, Array, Array]:
    # The arguments are ρ = 1 − β instead of β, because in float32 the difference 1 − ρ is exact to the last digit. The
    # difference 1 − β₂ would be exact only to the fifth digit, because β₂ = 0.999 is rounded.
    m = (1.0 - rho_1) * m + rho_1 * g
    v = (1.0 - rho_2) * v + rho_2 * g * g
    return w - eta * m / (sqrt(v) + epsilon), m, v


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, θ ← θ − η g, with optional momentum.

    With momentum, v ← μ v − η g and θ ← θ + v; with Nesterov momentum, v ← μ v − η g and θ ← θ + μ v − η g.

    Parameters
    ----------
    momentum : float
        μ, at least 0 and below 1.
    nesterov : bool
        Whether to use Nesterov momentum.

    Raises
    ------
    InputError
        If a parameter is out of range.

    References
    ----------
    Nielsen's book, chapter 3. Sutskever et al. 2013, "On the importance of initialization and momentum in deep
    learning". The formula of the paper is rewritten so that it needs the gradient only at θ.

    Examples
    --------
    >>> SGD(0.9, nesterov=True)
    SGD(momentum=0.9, nesterov=True)
    """

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        momentum = number_between("momentum", self.momentum, 0.0, 1.0, low_included=True)
        object.__setattr__(self, "momentum", momentum)
        if not isinstance(self.nesterov, bool):
            raise InputError(f"nesterov must be True or False, got {brief(self.nesterov)}")

    @property
    def default_eta(self) -> float:
        """The default of η: 3 (1 − μ), which is 3.0 without momentum and 0.3 for μ = 0.9.

        The default decreases with μ because the velocity adds up 1/(1 − μ) steps.
        """
        return 3.0 * (1.0 - self.momentum)

    @property
    def rule(self) -> UpdateRule | None:
        """The update rule, or None for plain gradient descent, which only adds −η g to the parameter."""
        if self.momentum == 0.0:
            return None
        return UpdateRule(_nesterov if self.nesterov else _momentum, moments=1)

    @property
    def constants(self) -> Constants:
        """The constants of the update rule: μ, and two that are not used."""
        return self.momentum, 0.0, 0.0

    def etas(self, eta: float, steps: int, count: int) -> npt.NDArray[np.float64]:
        """Return the learning rates of `count` steps. All of them are equal to `eta`."""
        return np.full(count, eta)


@dataclass(frozen=True)
class Adam:
    """Adam: θ ← θ − η_t m/(√v + ε), where m and v are moving averages of the gradient g and of its square.

    Both averages start at 0, and each step updates them: m ← β₁ m + (1 − β₁) g and v ← β₂ v + (1 − β₂) g². Starting at
    0 biases the averages. In step t, η_t = η √(1 − β₂ᵗ)/(1 − β₁ᵗ) corrects this bias.

    Parameters
    ----------
    beta_1, beta_2 : float
        Decay rates of m and v, at least 0 and below 1.
    epsilon : float
        A positive number that keeps the denominator away from 0.

    Raises
    ------
    InputError
        If a parameter is out of range.

    References
    ----------
    Kingma and Ba 2015, "Adam: a method for stochastic optimization": algorithm 1, in the order of computation given at
    the end of section 2.

    Examples
    --------
    >>> Adam()
    Adam(beta_1=0.9, beta_2=0.999, epsilon=1e-08)
    """

    default_eta: ClassVar[float] = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        for name in ("beta_1", "beta_2"):
            object.__setattr__(self, name, number_between(name, getattr(self, name), 0.0, 1.0, low_included=True))
        object.__setattr__(self, "epsilon", finite_number("epsilon", self.epsilon, positive=True))

    @property
    def rule(self) -> UpdateRule:
        """The update rule, with two moments."""
        return UpdateRule(_adam, moments=2)

    @property
    def constants(self) -> Constants:
        """The constants of the update rule: 1 − β₁, 1 − β₂ and ε."""
        return 1.0 - self.beta_1, 1.0 - self.beta_2, self.epsilon

    def etas(self, eta: float, steps: int, count: int) -> npt.NDArray[np.float64]:
        """Return η_t for the next `count` steps, after `steps` earlier steps.

        >>> Adam(beta_1=0.5, beta_2=0.75).etas(1.0, steps=0, count=1).tolist()  # √(1 − 0.75)/(1 − 0.5)
        [1.0]
        """
        # Computed one by one: NumPy's power of an array may round differently if the array has another length. A run
        # that continues from a checkpoint may call this for other numbers of steps, and must get the same values.
        ts = range(steps + 1, steps + count + 1)
        return np.array([eta * math.sqrt(1.0 - self.beta_2**t) / (1.0 - self.beta_1**t) for t in ts])


OptimizerName = Literal["sgd", "momentum", "nesterov", "adam"]
Optimizer = SGD | Adam
OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(),
    "momentum": SGD(0.9),
    "nesterov": SGD(0.9, nesterov=True),
    "adam": Adam(),
}


def optimizer_of(choice: Any, momentum: Any = None) -> Optimizer:
    """Return the optimizer with the given name and momentum; an optimizer object is returned unchanged.

    Raises `InputError` for an unknown name, or if `momentum` is given although the optimizer is an object or has no
    momentum.

    >>> optimizer_of("sgd", momentum=0.5)
    SGD(momentum=0.5, nesterov=False)
    """
    optimizer = choice if isinstance(choice, Optimizer) else choose("optimizer", choice, OPTIMIZERS)
    if momentum is None:
        return optimizer
    if optimizer is choice or not isinstance(optimizer, SGD):
        valid = ", ".join(name for name, named in OPTIMIZERS.items() if isinstance(named, SGD))
        given = f"momentum={brief(momentum)} cannot be combined with optimizer {brief(choice)}"
        raise InputError(f"{given}; optimizers that take momentum: {valid}")
    return dataclasses.replace(optimizer, momentum=momentum)
