"""How parameters are moved along the gradient: plain descent, momentum, Nesterov's, Adam.

A rule is one formula over the numbers of one parameter, in the words of `fastbp_kernels.words`, of which every backend
makes its own kernel: a single pass that reads w, g and what is remembered of gradients before, and writes the new ones.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.errors import InputError, brief, choose, finite_number, number_between
from fastbp_kernels.words import sqrt

Array = Any
Constants = tuple[float, float, float]


class UpdateRule(NamedTuple):
    """`formula(w, g, first, second, eta, k_1, k_2, k_3)` gives the new w, first and second moment of one parameter.

    g is its entry in ∇C, L2 included, and the k are constants. `moments` is how many moments there are, 1 or 2; a
    second one that is not there is given back as it came.
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
    # ρ = 1 − β comes and not β: 1 − ρ is right to float32's last digit, and 1 − β₂ of a rounded 0.999 to the fifth.
    m = (1.0 - rho_1) * m + rho_1 * g
    v = (1.0 - rho_2) * v + rho_2 * g * g
    return w - eta * m / (sqrt(v) + epsilon), m, v


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: θ ← θ − η g for a gradient g, or through a velocity v ← μ v − η g, θ ← θ + v.

    `momentum` is μ, from 0 to below 1. With `nesterov` the step is taken from where the velocity leads:
    θ ← θ + μ v − η g. The book, chapter 3; Sutskever et al. 2013, "On the importance of initialization and momentum in
    deep learning", in the form that needs the gradient at θ alone. Raises `InputError`.

    >>> SGD(0.9, nesterov=True)
    SGD(momentum=0.9, nesterov=True)
    """

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        momentum = number_between("momentum", self.momentum, 0.0, 1.0, low_included=True)
        object.__setattr__(self, "momentum", momentum)
        if not isinstance(self.nesterov, bool):
            raise InputError(f"nesterov is {brief(self.nesterov)}; wanted is True or False")

    @property
    def default_eta(self) -> float:
        """η where none is asked for: 3 (1 − μ), for a velocity adds up 1/(1 − μ) steps: 3.0, or 0.3 with μ = 0.9."""
        return 3.0 * (1.0 - self.momentum)

    @property
    def rule(self) -> UpdateRule | None:
        """The rule of a velocity, or None for plain descent, which is done where the gradient is formed."""
        if self.momentum == 0.0:
            return None
        return UpdateRule(_nesterov if self.nesterov else _momentum, moments=1)

    @property
    def constants(self) -> Constants:
        """μ, in its place among the constants of the rule."""
        return self.momentum, 0.0, 0.0

    def etas(self, eta: float, steps: int, count: int) -> npt.NDArray[np.float64]:
        """Return η of each of `count` steps: η itself."""
        return np.full(count, eta)


@dataclass(frozen=True)
class Adam:
    """Adam: θ ← θ − η_t m/(√v + ε), by means of the gradient and of its square that forget.

    m ← β₁ m + (1 − β₁) g and v ← β₂ v + (1 − β₂) g² start at 0, for which step t makes up by
    η_t = η √(1 − β₂ᵗ)/(1 − β₁ᵗ). Kingma and Ba 2015, "Adam: a method for stochastic
    optimization", algorithm 1 in the order of computation that the end of its section 2 gives. `beta_1` and `beta_2`
    are from 0 to below 1, `epsilon` is positive. Raises `InputError`.

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
        """The rule of two moments."""
        return UpdateRule(_adam, moments=2)

    @property
    def constants(self) -> Constants:
        """1 − β₁, 1 − β₂ and ε, as the rule takes them."""
        return 1.0 - self.beta_1, 1.0 - self.beta_2, self.epsilon

    def etas(self, eta: float, steps: int, count: int) -> npt.NDArray[np.float64]:
        """Return η_t of each of `count` steps, of which `steps` went before.

        >>> Adam(beta_1=0.5, beta_2=0.75).etas(1.0, steps=0, count=1).tolist()  # √(1 − 0.75)/(1 − 0.5)
        [1.0]
        """
        # One by one: an array's power may round otherwise for another number of steps, and a run that goes on from a
        # checkpoint takes them by other numbers.
        ts = range(steps + 1, steps + count + 1)
        return np.array([eta * math.sqrt(1.0 - self.beta_2**t) / (1.0 - self.beta_1**t) for t in ts])


Optimizer = SGD | Adam
OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(),
    "momentum": SGD(0.9),
    "nesterov": SGD(0.9, nesterov=True),
    "adam": Adam(),
}


def optimizer_of(choice: Any, momentum: Any = None) -> Optimizer:
    """Return the optimizer of a name, its momentum set if that is given, or an optimizer as it is.

    Raises `InputError` for an unknown name, and where momentum is given beside an optimizer that is made with its own.

    >>> optimizer_of("sgd", momentum=0.5)
    SGD(momentum=0.5, nesterov=False)
    """
    optimizer = choice if isinstance(choice, Optimizer) else choose("optimizer", choice, OPTIMIZERS)
    if momentum is None:
        return optimizer
    if optimizer is choice or not isinstance(optimizer, SGD):
        valid = ", ".join(name for name, named in OPTIMIZERS.items() if isinstance(named, SGD))
        given = f"momentum is {brief(momentum)} beside optimizer {brief(choice)}"
        raise InputError(f"{given}; wanted is one that takes it: {valid}")
    return dataclasses.replace(optimizer, momentum=momentum)
