"""Optimizers. Each one is a formula that updates a single parameter, and may have a state and constants.

The formula is a plain function, written with the functions of `fastbp.math`. The backends for the CPU and for CUDA
compile it to a kernel. In one pass over the arrays, the kernel reads each parameter, its gradient and its state, and
writes the new values. Your own optimizer is therefore as fast as the built-in ones:

>>> from fastbp.math import where
>>> def sign_momentum(w, g, m, eta, decay, t, rho):
...     m = (1.0 - rho) * m + rho * g
...     return w - eta * (where(m > 0.0, 1.0, -1.0) + decay * w), m
>>> optimizer = Optimizer("sign-momentum", sign_momentum, state=["m"], constants={"rho": 0.1}, default_eta=0.001)
>>> import fastbp
>>> net = fastbp.Network([2, 3, 1], rng=0)
>>> _ = net.train([[0, 0, 1, 1], [0, 1, 0, 1]], [0, 1, 1, 0], optimizer=optimizer, mini_batch_size=4, progress=False)
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Real
from types import FunctionType
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.errors import InputError, brief, choose, finite_number, number_between
from fastbp_kernels.specialize import Content, content_of, fingerprint
from fastbp_kernels.words import sqrt

Array = Any
Formula = Callable[..., Any]
Constant = float | Callable[[float, int], float]
"""A number, or a function (eta, t) that returns the number for step t. The function is called once per step."""

Constants = Mapping[str, Constant]
MAX_STATE, MAX_CONSTANTS = 3, 6


class UpdateRule(NamedTuple):
    """The part of an optimizer that kernels are compiled from.

    `state` and `constants` say how many numbers of state and how many constants the formula takes (see `Optimizer`).
    """

    name: str
    formula: Formula
    state: int
    constants: int
    content: Content


class Optimizer:
    """An optimizer, defined by a formula that updates one parameter w.

    The formula is called as `formula(w, g, *state, eta, decay, t, *constants)`. It returns the new w or, if there is
    a state, a tuple of the new w and the new state.

    Parameters
    ----------
    name : str
        The name used in messages and checkpoints.
    formula : callable
        A function whose arguments have the following names, in this order. The name of an unused argument may begin
        with an underscore. The function must work on numbers, and on arrays of equal shape.

        * w, the parameter;
        * g, the entry of ∇C for w, without the L2 term;
        * the state of w, one argument for each name in `state`, which starts at 0;
        * eta, the learning rate η of the step;
        * decay, the factor λ/n of the L2 term, which is 0 for biases;
        * t, the number of the step, counted from 1;
        * the constants.

        All arguments have the dtype of the parameters.
    state : sequence of str
        Names of up to three numbers that are kept for each parameter.
    constants : mapping, optional
        Names and values of up to six constants. A value is a number, or a function (eta, t) that returns the number
        for step t. This function is called once per step, and computes in float64.
    default_eta : float
        The learning rate η that is used if none is given.

    Raises
    ------
    InputError
        If an argument is not valid, or if the formula fails when it is tried once on numbers.

    Notes
    -----
    The formula is read when the object is made. To change it, make a new object.

    Examples
    --------
    >>> def descent(w, g, eta, decay, t):
    ...     return w - eta * (g + decay * w)
    >>> Optimizer("descent", descent, default_eta=0.5)
    Optimizer('descent', descent, default_eta=0.5)
    """

    name: str
    formula: Formula
    state: tuple[str, ...]
    constants: Constants
    default_eta: float
    _content: Content

    def __init__(
        self,
        name: str,
        formula: Formula,
        *,
        state: Sequence[str] = (),
        constants: Constants | None = None,
        default_eta: float = 0.01,
    ) -> None:
        owner = f"optimizer {brief(name)}"
        if not isinstance(name, str) or not name:
            raise InputError(f"the name of an optimizer must be a text, got {brief(name)}")
        if not isinstance(formula, FunctionType):
            raise InputError(f"{owner}: formula must be a plain Python function, got {brief(formula)}")
        if isinstance(state, str) or not all(isinstance(part, str) for part in state):
            raise InputError(f"{owner}: state must be a list of names, like ['m', 'v'], got {brief(state)}")
        values = {} if constants is None else {key: _constant(owner, key, c) for key, c in constants.items()}
        for what, given, most in (("state", state, MAX_STATE), ("constants", values, MAX_CONSTANTS)):
            if len(given) > most:
                raise InputError(f"{owner}: {what} must have at most {most} names, got {len(given)}")
        self._define(name, formula, tuple(state), values, finite_number("default_eta", default_eta, positive=True))
        self._try_formula(owner)

    def _define(self, name: str, formula: Formula, state: tuple[str, ...], constants: Constants, eta: float) -> None:
        vars(self).update(name=name, formula=formula, state=state, constants=constants, default_eta=eta)
        vars(self)["_content"] = _content_of_builtin(formula) if formula.__module__ == __name__ else content_of(formula)

    def _try_formula(self, owner: str) -> None:
        code = self.formula.__code__
        needed, given = (
            ("w", "g", *self.state, "eta", "decay", "t", *self.constants),
            code.co_varnames[: code.co_argcount],
        )
        if [name.removeprefix("_") for name in given] != [name.removeprefix("_") for name in needed]:
            raise InputError(f"{owner}: formula must take ({', '.join(needed)}), got ({', '.join(given)})")
        numbers = [
            0.5,
            0.25,
            *[0.125] * len(self.state),
            0.1,
            0.0,
            1.0,
            *self.constants_of_steps(0.1, 0, 1)[0].tolist(),
        ]
        try:
            with np.errstate(all="ignore"):
                found = self.formula(*numbers[: len(needed)])
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise InputError(f"{owner}: formula fails on numbers: {type(error).__name__}: {reason}") from error
        returned = ", ".join(f"new {part}" for part in ("w", *self.state))
        results = found if self.state else (found,)
        if not isinstance(results, tuple) or len(results) != 1 + len(self.state):
            raise InputError(f"{owner}: formula must return ({returned}), got {brief(found)}")

    @property
    def rule(self) -> UpdateRule | None:
        """The part that kernels are compiled from. It is None for plain gradient descent, which needs no kernel."""
        return UpdateRule(self.name, self.formula, len(self.state), len(self.constants), self._content)

    def constants_of_steps(self, eta: float, steps: int, count: int) -> npt.NDArray[np.float64]:
        """Return the constants of the next `count` steps, one row of six numbers per step.

        `steps` is the number of steps taken so far. If the formula takes fewer than six constants, the rest are zeros.

        >>> Adam(beta_1=0.5, beta_2=0.75).constants_of_steps(1.0, steps=0, count=1).tolist()  # √(1 − 0.75)/(1 − 0.5)
        [[1.0, 0.5, 0.25, 1e-08, 0.0, 0.0]]
        """
        rows = np.zeros((count, MAX_CONSTANTS))
        for i, (name, value) in enumerate(self.constants.items()):
            # Computed step by step, because the rounding of NumPy's powers may depend on the length of the array. A run
            # that continues from a checkpoint may ask for other numbers of steps, and must get equal values.
            rows[:, i] = [value(eta, t) for t in range(steps + 1, steps + count + 1)] if callable(value) else value
            if not np.isfinite(rows[:, i]).all():
                raise InputError(f"optimizer {brief(self.name)}: constant {name} must be finite in every step")
        return rows

    def describe(self) -> dict[str, Any]:
        """Return the name and the constants of the optimizer, as they are written to a checkpoint."""
        if dataclasses.is_dataclass(self):
            return {"optimizer": type(self).__name__, **dataclasses.asdict(self)}
        numbers = {key: value for key, value in self.constants.items() if not callable(value)}
        return {"optimizer": self.name, "constants of the optimizer": numbers}

    def _arguments(self) -> dict[str, Any]:
        if dataclasses.is_dataclass(self):
            return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {key: getattr(self, key) for key in ("name", "formula", "state", "constants", "default_eta")}

    def __getstate__(self) -> dict[str, Any]:
        return self._arguments()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"an optimizer cannot be changed; make a new one to set {name}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        values = [(key, fingerprint(v) if callable(v) else v) for key, v in self.constants.items()]
        return self.name, self._content, self.state, tuple(values), self.default_eta

    def __repr__(self) -> str:
        parts = [repr(self.name), self.formula.__name__]
        parts += [f"state={list(self.state)}"] if self.state else []
        parts += [f"constants={dict(self.constants)}"] if self.constants else []
        return f"Optimizer({', '.join(parts)}, default_eta={self.default_eta:g})"


def _constant(owner: str, name: str, value: Any) -> Constant:
    if isinstance(value, FunctionType):
        return value
    if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise InputError(f"{owner}: constant {name} must be a finite number or a function (eta, t), got {brief(value)}")


def _descent(w: Array, g: Array, eta: float, decay: float, _t: float) -> Array:
    return w - eta * (g + decay * w)


def _momentum(w: Array, g: Array, v: Array, eta: float, decay: float, _t: float, mu: float) -> tuple[Array, Array]:
    v = mu * v - eta * (g + decay * w)
    return w + v, v


def _nesterov(w: Array, g: Array, v: Array, eta: float, decay: float, _t: float, mu: float) -> tuple[Array, Array]:
    g = g + decay * w
    v = mu * v - eta * g
    return w + (mu * v - eta * g), v


@dataclass(frozen=True)
class SGD(Optimizer):
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

    Notes
    -----
    The default of η is 3 (1 − μ), which is 3.0 without momentum and 0.3 for μ = 0.9. It decreases with μ because the
    velocity adds up 1/(1 − μ) steps.

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
        vars(self)["momentum"] = momentum
        if not isinstance(self.nesterov, bool):
            raise InputError(f"nesterov must be True or False, got {brief(self.nesterov)}")
        eta = 3.0 * (1.0 - momentum)
        if momentum == 0.0:
            self._define("sgd", _descent, (), {}, eta)
        elif self.nesterov:
            self._define("nesterov", _nesterov, ("v",), {"mu": momentum}, eta)
        else:
            self._define("momentum", _momentum, ("v",), {"mu": momentum}, eta)

    @property
    def rule(self) -> UpdateRule | None:
        """The part that kernels are compiled from. It is None without momentum, because BLAS then adds −η g."""
        return None if self.momentum == 0.0 else super().rule


def _adam(
    w: Array, g: Array, m: Array, v: Array, _eta: float, decay: float, _t: float, eta_t: float, rho_1: float,
    rho_2: float, epsilon: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    # The arguments are ρ = 1 − β instead of β, because in float32 the difference 1 − ρ is exact to the last digit. The
    # difference 1 − β₂ would be exact only to the fifth digit, because β₂ = 0.999 is rounded.
    g = g + decay * w
    m = (1.0 - rho_1) * m + rho_1 * g
    v = (1.0 - rho_2) * v + rho_2 * g * g
    return w - eta_t * m / (sqrt(v) + epsilon), m, v


@dataclass(frozen=True)
class Adam(Optimizer):
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

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        beta_1, beta_2, epsilon = _checked(self, ("beta_1", "beta_2"))

        def eta_t(eta: float, t: int) -> float:
            return eta * math.sqrt(1.0 - beta_2**t) / (1.0 - beta_1**t)

        constants: Constants = {"eta_t": eta_t, "rho_1": 1.0 - beta_1, "rho_2": 1.0 - beta_2, "epsilon": epsilon}
        self._define("adam", _adam, ("m", "v"), constants, 0.001)


@cache
def _content_of_builtin(formula: Formula) -> Content:
    """Return the content of a formula of this module. It is read once, because it does not change."""
    return content_of(formula)


def _adamw(
    w: Array, g: Array, m: Array, v: Array, eta: float, decay: float, _t: float, eta_1: float, root_2: float,
    rho_1: float, rho_2: float, epsilon: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    m = (1.0 - rho_1) * m + rho_1 * g
    v = (1.0 - rho_2) * v + rho_2 * g * g
    return w - eta * decay * w - eta_1 * m / (sqrt(v) / root_2 + epsilon), m, v


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay: θ ← θ − η (λ/n) θ − η m̂/(√v̂ + ε).

    m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ) are the moving averages of `Adam`, corrected for their start at 0. The
    gradient in them has no L2 term. Instead, each step multiplies the weights by 1 − η λ/n, where λ is the argument
    `lmbda` of `Network.train`.

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
    Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2. `torch.optim.AdamW` with
    `weight_decay` λ/n takes the same steps, but also shrinks the biases.

    Examples
    --------
    >>> AdamW()
    AdamW(beta_1=0.9, beta_2=0.999, epsilon=1e-08)
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        beta_1, beta_2, epsilon = _checked(self, ("beta_1", "beta_2"))

        def eta_1(eta: float, t: int) -> float:
            return eta / (1.0 - beta_1**t)

        def root_2(_eta: float, t: int) -> float:
            return math.sqrt(1.0 - beta_2**t)

        constants: Constants = {
            "eta_1": eta_1, "root_2": root_2, "rho_1": 1.0 - beta_1, "rho_2": 1.0 - beta_2, "epsilon": epsilon
        }  # fmt: skip
        self._define("adamw", _adamw, ("m", "v"), constants, 0.001)


def _rmsprop(
    w: Array, g: Array, v: Array, eta: float, decay: float, _t: float, rho: float, epsilon: float
) -> tuple[Array, Array]:
    g = g + decay * w
    v = (1.0 - rho) * v + rho * g * g
    return w - eta * g / (sqrt(v) + epsilon), v


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop: θ ← θ − η g/(√v + ε), where v is a moving average of the square of the gradient g.

    v starts at 0, and each step updates it: v ← β v + (1 − β) g².

    Parameters
    ----------
    beta : float
        Decay rate of v, at least 0 and below 1. PyTorch calls it alpha.
    epsilon : float
        A positive number that keeps the denominator away from 0.

    Raises
    ------
    InputError
        If a parameter is out of range.

    References
    ----------
    Tieleman and Hinton 2012, lecture 6.5 of "Neural networks for machine learning". The defaults are PyTorch's.

    Examples
    --------
    >>> RMSprop()
    RMSprop(beta=0.99, epsilon=1e-08)
    """

    beta: float = 0.99
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        beta, epsilon = _checked(self, ("beta",))
        self._define("rmsprop", _rmsprop, ("v",), {"rho": 1.0 - beta, "epsilon": epsilon}, 0.01)


def _adagrad(w: Array, g: Array, v: Array, eta: float, decay: float, _t: float, epsilon: float) -> tuple[Array, Array]:
    g = g + decay * w
    v = v + g * g
    return w - eta * g / (sqrt(v) + epsilon), v


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad: θ ← θ − η g/(√v + ε), where v is the sum of the squares of all gradients g so far.

    Parameters
    ----------
    epsilon : float
        A positive number that keeps the denominator away from 0.

    Raises
    ------
    InputError
        If epsilon is not positive.

    References
    ----------
    Duchi, Hazan and Singer 2011, "Adaptive subgradient methods for online learning and stochastic optimization". The
    defaults are PyTorch's.

    Examples
    --------
    >>> Adagrad()
    Adagrad(epsilon=1e-10)
    """

    epsilon: float = 1e-10

    def __post_init__(self) -> None:
        (epsilon,) = _checked(self, ())
        self._define("adagrad", _adagrad, ("v",), {"epsilon": epsilon}, 0.01)


def _checked(optimizer: Any, rates: tuple[str, ...]) -> list[float]:
    """Check the decay rates and `epsilon` of an optimizer, store them as Python numbers, and return them."""
    for name in rates:
        vars(optimizer)[name] = number_between(name, getattr(optimizer, name), 0.0, 1.0, low_included=True)
    vars(optimizer)["epsilon"] = finite_number("epsilon", optimizer.epsilon, positive=True)
    return [getattr(optimizer, name) for name in (*rates, "epsilon")]


OptimizerName = Literal["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad"]
OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(),
    "momentum": SGD(0.9),
    "nesterov": SGD(0.9, nesterov=True),
    "adam": Adam(),
    "adamw": AdamW(),
    "rmsprop": RMSprop(),
    "adagrad": Adagrad(),
}


LBFGS = "lbfgs"
"""The name of L-BFGS for `Network.train`. It has no `Optimizer`, because it has no formula for one parameter."""


def optimizer_of(choice: Any, momentum: Any = None) -> Optimizer:
    """Return the optimizer with the given name and momentum; an optimizer object is returned unchanged.

    Raises `InputError` for an unknown name, or if `momentum` is given although the optimizer is an object or has no
    momentum.

    >>> optimizer_of("sgd", momentum=0.5)
    SGD(momentum=0.5, nesterov=False)
    """
    if isinstance(choice, str) and choice == LBFGS:
        raise InputError(
            f"optimizer must be one that takes mini-batches ({', '.join(OPTIMIZERS)}), got {brief(choice)}"
        )
    optimizer = choice if isinstance(choice, Optimizer) else choose("optimizer", choice, {**OPTIMIZERS, LBFGS: None})
    if optimizer is None:
        raise InputError(f"optimizer must be one of {', '.join(OPTIMIZERS)} here, got {brief(choice)}")
    if momentum is None:
        return optimizer
    if optimizer is choice or not isinstance(optimizer, SGD):
        valid = ", ".join(name for name, named in OPTIMIZERS.items() if isinstance(named, SGD))
        given = f"momentum={brief(momentum)} cannot be combined with optimizer {brief(choice)}"
        raise InputError(f"{given}; optimizers that take momentum: {valid}")
    return dataclasses.replace(optimizer, momentum=momentum)
