"""Exceptions, and checks of arguments. A message is one line, which says what must hold and what was given."""

import difflib
import functools
import inspect
import math
import reprlib
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


OTHER_NAMES = {
    "activation": "activations",
    "alpha": "lmbda",
    "batch_size": "mini_batch_size",
    "callbacks": "callback",
    "device": "backend",
    "dropout_rate": "dropout",
    "hidden": "sizes",
    "hidden_layer_sizes": "sizes",
    "l2": "lmbda",
    "layer_sizes": "sizes",
    "layers": "sizes",
    "learning_rate": "eta",
    "learning_rate_init": "eta",
    "loss": "cost",
    "lr": "eta",
    "max_iter": "epochs",
    "n_epochs": "epochs",
    "num_epochs": "epochs",
    "random_state": "rng",
    "seed": "rng",
    "validation_data": "validation",
    "validation_fraction": "validation",
    "verbose": "progress",
    "weight_decay": "lmbda",
}
"""A mapping from names of arguments in other libraries to fastbp's names of the same arguments."""

_SHORT = 60  # the most characters of a value in a message


class InputError(ValueError):
    """An argument, a file or a setting cannot be used. The message is one line that says what would be right."""


class DivergedError(ArithmeticError, ValueError):
    """Training was stopped because the cost is no longer finite. The message says what to reduce."""


class CheckpointError(InputError):
    """Training has finished, but the last checkpoint could not be written. The network has its trained parameters."""


class RankError(RuntimeError):
    """Another rank of a training over MPI has failed, or the ranks disagree. The message names the rank."""


class GradientError(ArithmeticError):
    """Backpropagation and finite differences disagree. The message says where and by how much."""


class _Abridged(reprlib.Repr):
    """A variant of `reprlib.Repr` that allows longer results.

    It also handles integers that are too long for Python to print.
    """

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxlong = self.maxother = _SHORT

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() < 10_000 else f"an integer of {x.bit_length():,} bits"


_ABRIDGED = _Abridged()


def brief(value: Any) -> str:
    r"""Return the repr of any value in one line of at most 60 characters, for a message.

    >>> brief("sigmid"), brief([784, 30, 10])
    ("'sigmid'", '[784, 30, 10]')
    >>> brief("a" * 10**6)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaaa'"
    """
    return truncate(" ".join(_ABRIDGED.repr(value).split()), _SHORT)


def truncate(text: str, length: int) -> str:
    """Return the beginning of a text, with at most `length` characters.

    >>> truncate("'x.npy'", 60), truncate("xxxxxx", 4)
    ("'x.npy'", 'xxx…')
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def one_line(error: BaseException) -> str:
    """Return the message of an exception in one line of at most 300 characters, or its type if it has no message."""
    return truncate(" ".join(str(error).split()), 300) or type(error).__name__


def choose(kind: str, name: Any, choices: Mapping[str, T]) -> T:
    """Return the choice with the given name.

    Raises `InputError` for an unknown name. The message gives the valid names and the closest one.

    >>> choose("activation", "sigmid", {"sigmoid": 1, "tanh": 2})
    Traceback (most recent call last):
    fastbp.errors.InputError: unknown activation 'sigmid'; did you mean 'sigmoid'? valid: sigmoid, tanh
    """
    if isinstance(name, str) and name in choices:
        return choices[name]
    near = difflib.get_close_matches(name[:_SHORT], choices, n=1) if isinstance(name, str) else []
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(f"unknown {kind} {brief(name)}; {hint}valid: {', '.join(choices)}")


def whole_number(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Return a value as an int; raise `InputError` unless it is an integer within the bounds.

    >>> whole_number("epochs", 30)
    30
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        number = int(value)
        if least <= number and (most is None or number <= most):
            return number
    bounds = f">= {least}" if most is None else f"from {least} to {most}"
    raise InputError(f"{name} must be an integer {bounds}, got {brief(value)}")


def finite_number(name: str, value: Any, *, positive: bool) -> float:
    """Return a value as a float; raise `InputError` unless it is finite and positive.

    With `positive=False`, zero is accepted too.

    >>> finite_number("eta", 3, positive=True)
    3.0
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        number = _as_float(value)
        if math.isfinite(number) and (number > 0 or (number == 0 and not positive)):
            return number
    bounds = "a positive number" if positive else "a number >= 0"
    raise InputError(f"{name} must be {bounds}, got {brief(value)}")


def number_between(name: str, value: Any, low: float, high: float, *, low_included: bool = False) -> float:
    """Return a value as a float; raise `InputError` unless it is above `low` and below `high`.

    With `low_included`, `low` itself is accepted too.

    >>> number_between("momentum", 0.9, 0.0, 1.0)
    0.9
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        number = _as_float(value)
        if low < number < high or (low_included and number == low):
            return number
    bounds = f"at least {low:g} and below {high:g}" if low_included else f"between {low:g} and {high:g}"
    raise InputError(f"{name} must be {bounds}, got {brief(value)}")


def check_bounds(name: str, bounds: Any) -> None:
    """Raise `InputError` unless `bounds` is a pair of numbers.

    >>> check_bounds("outputs", (0.0, 1.0))
    """
    if not (isinstance(bounds, tuple) and len(bounds) == 2 and all(isinstance(v, Real) for v in bounds)):
        raise InputError(f"{name} must be a pair of numbers, like (0.0, 1.0), got {brief(bounds)}")


def check_signature(owner: str, role: str, function: Callable[..., Any], arguments: str) -> None:
    """Raise `InputError` unless a function can be called with the given arguments, such as "z, a"."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some functions written in C
        return
    try:
        signature.bind(*arguments.split(", "))
    except TypeError:
        given = truncate(str(signature), _SHORT)
        raise InputError(f"{owner}: {role} must take ({arguments}), got {given}") from None


def plural(count: int, noun: str) -> str:
    """Return a count with its noun in the singular or plural.

    >>> plural(1, "column"), plural(3, "column")
    ('1 column', '3 columns')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def explain_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap a function so that it raises a helpful `TypeError` for misspelt keywords and those of other libraries.

    The message gives fastbp's name of the argument.

    >>> explain_keywords(lambda eta: eta)(learning_rate=3.0)
    Traceback (most recent call last):
    TypeError: learning_rate: fastbp calls it eta
    >>> explain_keywords(lambda dropout=0.0: dropout)(droput=0.5)
    Traceback (most recent call last):
    TypeError: unknown argument droput; did you mean dropout?
    """
    code = function.__code__
    valid = frozenset(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])

    @functools.wraps(function)
    def explained(*arguments: P.args, **named: P.kwargs) -> T:
        for name in named.keys() - valid:
            if OTHER_NAMES.get(name) in valid:
                raise TypeError(f"{name}: fastbp calls it {OTHER_NAMES[name]}")
            if near := difflib.get_close_matches(name, valid, 1):
                raise TypeError(f"unknown argument {name}; did you mean {near[0]}?")
        return function(*arguments, **named)

    return explained
