"""Activation functions. Each one is defined by two scalar formulas, σ(z) and its derivative σ′.

The formula of σ′ may use z and the activation a = σ(z). If it uses only the activation, fastbp does not store z, which
saves memory and memory traffic. If it uses z, set `needs_z=True`. Write formulas with the functions of `fastbp.math`,
and write numbers with a decimal point. The CPU kernels, the CUDA kernels, the array expressions and the gradient check
are all made from these formulas. Your own activation is therefore as fast as the built-in ones:

>>> from fastbp.math import exp
>>> def swish_f(z):
...     return z / (1.0 + exp(-z))
>>> def swish_prime(z, a):
...     s = 1.0 / (1.0 + exp(-z))
...     return s + a * (1.0 - s)
>>> swish = Activation("swish", swish_f, swish_prime, needs_z=True)
>>> import fastbp
>>> net = fastbp.Network([64, 30, 10], activations=[swish, "sigmoid"], rng=0)
"""

import dis
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from fastbp.errors import InputError, brief, check_bounds, check_signature, choose
from fastbp_kernels import softmax as columns
from fastbp_kernels.specialize import Content, content_of
from fastbp_kernels.words import Array, erf, exp, expm1, log1p, maximum, where
from fastbp_kernels.words import tanh as tanh_of

ActivationName = Literal[
    "sigmoid",
    "tanh",
    "relu",
    "leaky-relu",
    "elu",
    "gelu",
    "gelu-tanh",
    "silu",
    "softplus",
    "exponential",
    "identity",
    "softmax",
]


@dataclass(frozen=True)
class Activation:
    """An activation function a = f(z), applied element by element, with its derivative da/dz = prime(z, a).

    Parameters
    ----------
    name : str
        The name used in messages and saved files.
    f : callable
        A function of z, which is a number or an array of any shape. It returns the activation, with the shape and dtype
        of z.
    prime : callable
        A function of z and `a`. It returns the derivative, with the shape and dtype of z.
    needs_z : bool
        Whether `prime` reads its argument z.
    outputs : pair of float
        Lower and upper bound of the values of `f`. Some costs require bounded outputs.

    Raises
    ------
    InputError
        If a formula is not callable or takes other arguments, or if `prime` uses z although `needs_z` is False.

    Notes
    -----
    The functions are read when the object is made. To change a formula, make a new object.

    References
    ----------
    Equation (2) of the notes.

    Examples
    --------
    >>> sigmoid.f(0.0), sigmoid.prime(0.0, 0.5)
    (0.5, 0.25)
    """

    name: str
    f: Callable[[Array], Array]
    prime: Callable[[Array, Array], Array]
    needs_z: bool = False
    outputs: tuple[float, float] = (float("-inf"), float("inf"))
    _content: Content = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for role, arguments in (("f", "z"), ("prime", "z, a")):
            if not callable(getattr(self, role)):
                given = brief(getattr(self, role))
                raise InputError(f"activation {brief(self.name)}: {role} must be a function, got {given}")
            check_signature(f"activation {brief(self.name)}", role, getattr(self, role), arguments)
        check_bounds(f"activation {brief(self.name)}: outputs", self.outputs)
        if not self.needs_z and reads_first_argument(self.prime):
            raise InputError(f"activation {brief(self.name)}: prime reads z; pass needs_z=True")
        object.__setattr__(self, "_content", content_of(self.f, self.prime))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_content"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.__post_init__()


def reads_first_argument(function: Callable[..., Array]) -> bool:
    """Return whether the code of a function reads its first argument.

    >>> reads_first_argument(lambda z, a: a), reads_first_argument(lambda z, a: z)
    (False, True)
    """
    code = getattr(function, "__code__", None)
    if code is None or not code.co_varnames:
        return False
    loads = (step.argval for step in dis.get_instructions(code) if step.opname.startswith("LOAD_FAST"))
    return any(code.co_varnames[0] in (value if isinstance(value, tuple) else (value,)) for value in loads)


def _sigmoid(z: Array) -> Array:
    return 1.0 / (1.0 + exp(-z))


def _sigmoid_prime(z: Array, a: Array) -> Array:
    return a * (1.0 - a)


def _tanh(z: Array) -> Array:
    return tanh_of(z)


def _tanh_prime(z: Array, a: Array) -> Array:
    return 1.0 - a * a


def _relu(z: Array) -> Array:
    return maximum(z, 0.0)


def _relu_prime(z: Array, a: Array) -> Array:
    return where(a > 0.0, 1.0, 0.0)


def _leaky_relu(z: Array) -> Array:
    return where(z > 0.0, z, 0.01 * z)


def _leaky_relu_prime(z: Array, a: Array) -> Array:
    return where(a > 0.0, 1.0, 0.01)


def _elu(z: Array) -> Array:
    return where(z > 0.0, z, expm1(z))


def _elu_prime(z: Array, a: Array) -> Array:
    return where(a > 0.0, 1.0, 1.0 + a)  # for z ≤ 0, a + 1 = e^z


_ROOT_HALF = math.sqrt(1 / 2)
_ROOT_8_OVER_PI = math.sqrt(8 / math.pi)
_DENSITY_0 = 1 / math.sqrt(2 * math.pi)  # φ(0) of the standard normal distribution


def _gelu(z: Array) -> Array:
    return 0.5 * z * (1.0 + erf(_ROOT_HALF * z))


def _gelu_prime(z: Array, a: Array) -> Array:
    return 0.5 * (1.0 + erf(_ROOT_HALF * z)) + _DENSITY_0 * z * exp(-0.5 * z * z)  # Φ(z) + z φ(z)


def _gelu_tanh_argument(z: Array) -> Array:
    return _ROOT_8_OVER_PI * (z + 0.044715 * z * z * z)


def _gelu_tanh(z: Array) -> Array:
    return z / (1.0 + exp(-_gelu_tanh_argument(z)))  # (1 + tanh u)/2 is the sigmoid of 2 u


def _gelu_tanh_prime(z: Array, a: Array) -> Array:
    v = _gelu_tanh_argument(z)
    e = exp(-abs(v))
    s = 1.0 / (1.0 + e)  # σ(|v|)
    slope = z * (e * s * s)  # z σ′(v). The next line multiplies it by z twice, because z² may overflow
    return where(v > 0.0, s, e * s) + _ROOT_8_OVER_PI * (slope + 0.134145 * (slope * z) * z)


def _silu(z: Array) -> Array:
    return z / (1.0 + exp(-z))


def _silu_prime(z: Array, a: Array) -> Array:
    e = exp(-abs(z))
    s = 1.0 / (1.0 + e)  # σ(|z|)
    return where(z > 0.0, s, e * s) + z * (e * s * s)  # accurate for large z, unlike σ + a (1 − σ)


def _softplus(z: Array) -> Array:
    return maximum(z, 0.0) + log1p(exp(-abs(z)))  # ln(1 + e^z), in a form that does not overflow


def _softplus_prime(z: Array, a: Array) -> Array:
    return -expm1(-a)  # σ(z) = 1 − e^(−a)


def _exponential(z: Array) -> Array:
    return exp(z)


def _exponential_prime(z: Array, a: Array) -> Array:
    return a


def _identity(z: Array) -> Array:
    return z


def _identity_prime(z: Array, a: Array) -> Array:
    return 1.0


def _softmax_prime(z: Array, a: Array) -> Array:
    raise InputError("softmax has no element-wise derivative; use it with the log-likelihood cost, for which δ = a − y")


sigmoid = Activation("sigmoid", _sigmoid, _sigmoid_prime, outputs=(0.0, 1.0))
"""a = 1/(1 + e^(−z)); a′ = a (1 − a)."""

tanh = Activation("tanh", _tanh, _tanh_prime, outputs=(-1.0, 1.0))
"""a = tanh z; a′ = 1 − a²."""

relu = Activation("relu", _relu, _relu_prime, outputs=(0.0, float("inf")))
"""a = max(z, 0); a′ is 1 where a > 0, else 0."""

leaky_relu = Activation("leaky-relu", _leaky_relu, _leaky_relu_prime)
"""a = z where z > 0, else z/100; a′ is 1 or 1/100."""

elu = Activation("elu", _elu, _elu_prime, outputs=(-1.0, float("inf")))
"""a = z where z > 0, else e^z − 1; a′ is 1 or a + 1."""

gelu = Activation("gelu", _gelu, _gelu_prime, needs_z=True)
"""a = z Φ(z) = z (1 + erf(z/√2))/2; a′ = Φ(z) + z φ(z). Φ and φ: distribution function and density of N(0, 1)."""

gelu_tanh = Activation("gelu-tanh", _gelu_tanh, _gelu_tanh_prime, needs_z=True)
"""a = z (1 + tanh u)/2 with u = √(2/π) (z + 0.044715 z³). It differs from `gelu` by up to 0.0005."""

silu = Activation("silu", _silu, _silu_prime, needs_z=True)
"""a = z σ(z), also called swish; a′ = σ(z) + z σ′(z), where σ is the sigmoid."""

softplus = Activation("softplus", _softplus, _softplus_prime, outputs=(0.0, float("inf")))
"""a = ln(1 + e^z); a′ = 1 − e^(−a), which is the sigmoid of z."""

exponential = Activation("exponential", _exponential, _exponential_prime, outputs=(0.0, float("inf")))
"""a = e^z; a′ = a. Meant for the last layer, with the Poisson cost."""

identity = Activation("identity", _identity, _identity_prime)
"""a = z; a′ = 1."""

softmax = Activation("softmax", columns.softmax, _softmax_prime, needs_z=True, outputs=(0.0, 1.0))
"""a = e^z / Σ e^z over each column. Only for the last layer, with the log-likelihood cost."""

ACTIVATIONS = {
    activation.name: activation
    for activation in (
        sigmoid,
        tanh,
        relu,
        leaky_relu,
        elu,
        gelu,
        gelu_tanh,
        silu,
        softplus,
        exponential,
        identity,
        softmax,
    )
}
"""The built-in activations, by name."""


def activation_of(choice: Any) -> Activation:
    """Return the activation with the given name; an `Activation` is returned unchanged.

    Raises `InputError` for anything else.

    >>> activation_of("tanh").name
    'tanh'
    """
    return choice if isinstance(choice, Activation) else choose("activation", choice, ACTIVATIONS)
