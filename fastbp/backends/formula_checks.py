"""Find mistakes in the formulas of an activation or a cost before training (`check_formula`)."""

import inspect
import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.activations import identity, reads_first_argument
from fastbp.backends.interrupts import uninterrupted
from fastbp.costs import Cost, output_rule
from fastbp.errors import GradientError, InputError, brief, check_bounds, one_line
from fastbp_kernels.specialize import FormulaError

Array = npt.NDArray[Any]
Formula = Callable[..., Any]

_STEP = 1e-4  # relative to the range; truncation and rounding errors of fourth-order differences are about 1e-12
_TOLERANCE, _KINK = 1e-7, 1e-4
_LIMIT = 8.0
_POINTS = np.linspace(-_LIMIT, _LIMIT, 120) + math.pi / 300  # shifted: a kink at a round number is several steps away
_LARGE = np.array([-1e4, -100.0, -0.0, 0.0, 100.0, 1e4])
_WIDTH = 10.0  # width of the range in which outputs and targets are tested, if they are unbounded


class FormulaReport(NamedTuple):
    """The result of `check_formula`.

    Attributes
    ----------
    kind : {"activation", "cost"}
        "activation" if `f` takes one argument, "cost" if it takes two.
    needs_z : bool
        For an activation, whether `prime` reads z; pass the same `needs_z` to `fastbp.Activation`. False for a cost.
    largest_error : float
        The largest difference between `prime` and finite differences of `f`, relative to max(1, |f|, |prime|).
    cuda : bool or None
        True if the formulas were compiled for CUDA. None if this was not tried, because numba-cuda is not installed.
    """

    kind: str
    needs_z: bool
    largest_error: float
    cuda: bool | None


def check_formula(f: Formula, prime: Formula, *, within: tuple[float, float] = (-math.inf, math.inf)) -> FormulaReport:
    """Check the two formulas of an activation or of a cost, and return a short report.

    The following is checked, in this order:

    1. `f` and `prime` are Python functions with one or two arguments. They compile for the CPU in float32 and float64.
       The float32 version does not compute in float64.
    2. `f` and `prime` take NumPy arrays, and return an array of the same shape, or a number.
    3. f(NaN) is NaN. For other numbers (up to ±10⁴ for an activation), neither `f` nor `prime` is NaN.
    4. `prime` agrees with finite differences of `f`. Points near a kink of `f` are left out.
    5. If numba-cuda is installed, `f` and `prime` compile for CUDA. This needs no GPU.

    Parameters
    ----------
    f, prime : callable
        f(z) and prime(z, a) of an activation, or f(a, y) and prime(a, y) of a cost, as for `fastbp.Activation` and
        `fastbp.Cost`.
    within : pair of float
        For a cost, the bounds of outputs and targets, as for `fastbp.Cost`. For an activation, it has no effect.

    Returns
    -------
    FormulaReport
        A named tuple (kind, needs_z, largest_error, cuda).

    Raises
    ------
    InputError
        If a check other than the fourth fails. The message names the formula, and says what must be changed.
    GradientError
        If `prime` is not the derivative of `f`. The message gives a point and both values.

    See Also
    --------
    check_gradients : Compare the gradient of a network with finite differences of its cost.

    Examples
    --------
    >>> from fastbp.math import exp
    >>> def swish_f(z):
    ...     return z / (1.0 + exp(-z))
    >>> def swish_prime(z, a):
    ...     s = 1.0 / (1.0 + exp(-z))
    ...     return s + a * (1.0 - s)
    >>> report = check_formula(swish_f, swish_prime)
    >>> report.kind, report.needs_z, report.largest_error < 1e-9
    ('activation', True, True)
    >>> check_formula(swish_f, lambda z, a: a * (1.0 - a))
    Traceback (most recent call last):
    fastbp.errors.GradientError: prime is not the derivative of f: at z = 2.22896 it is -2.0372, but finite
    differences give 1.09838
    """
    check_bounds("within", within)
    is_cost = _arity("f", f, (1, 2)) == 2
    _arity("prime", prime, (2,))
    _compile_for_cpu(f, prime, is_cost)
    problem = _Cost(f, prime, within) if is_cost else _Activation(f, prime)
    for dtype in ("float32", "float64"):
        problem.check_values(dtype)
    error = problem.check_derivative()
    needs_z = not is_cost and reads_first_argument(prime)
    return FormulaReport("cost" if is_cost else "activation", needs_z, error, _compile_for_cuda(f, prime, is_cost))


def _arity(role: str, function: Formula, valid: tuple[int, ...]) -> int:
    """Return the number of arguments without a default value, or raise `InputError` if it is not valid."""
    if not inspect.isfunction(function):
        raise InputError(f"{role} must be a Python function (def or lambda), got {brief(function)}")
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.default is p.empty]
    if len(names) not in valid or any(p.kind is not p.POSITIONAL_OR_KEYWORD for p in parameters):
        forms = {"f": "f(z) or f(a, y)", "prime": "prime(z, a) or prime(a, y)"}
        raise InputError(f"{role} must have the arguments {forms[role]}, got {role}({', '.join(names)})")
    return len(names)


def _compile_for_cpu(f: Formula, prime: Formula, is_cost: bool) -> None:
    from fastbp_kernels.formulas import diagnose_formula

    for dtype in ("float32", "float64"):
        for role, function, arity in (("f", f, 2 if is_cost else 1), ("prime", prime, 2)):
            try:
                with uninterrupted():
                    diagnose_formula(function, arity, dtype)
            except FormulaError as error:
                raise InputError(f"{role}: {error}") from error


def _compile_for_cuda(f: Formula, prime: Formula, is_cost: bool) -> bool | None:
    if find_spec("numba_cuda") is None:
        return None
    from fastbp_kernels.cuda import kernels

    try:
        for dtype in ("float32", "float64"):
            with uninterrupted():
                if is_cost:
                    rule = output_rule(identity, Cost("checked", f, prime))
                    kernels.add_cost(rule.cost, dtype, weighted=False)
                    kernels.output_error(rule.error, dtype, weighted=False, bias=True)
                else:
                    kernels.activate(f, dtype, bias=True, keep_z=True)
                    kernels.hadamard(prime, dtype, bias=True)
    except FormulaError as error:
        raise InputError(f"f or prime cannot be used on CUDA: {error}") from error
    return True


class _Activation:
    """The checks of an activation's formulas, at several z."""

    def __init__(self, f: Formula, prime: Formula) -> None:
        self.f, self.prime = f, prime

    def check_values(self, dtype: str) -> None:
        z = np.concatenate([_POINTS, _LARGE]).astype(dtype)
        a = _values("f", self.f, z)
        _not_nan("f", a, z=z)
        _not_nan("prime", _values("prime", self.prime, z, a), z=z)
        _nan_stays(_values("f", self.f, np.full(1, np.nan, dtype)))

    @np.errstate(all="ignore")
    def check_derivative(self) -> float:
        prime = self.prime(_POINTS, self.f(_POINTS))
        return _check_derivative(self.f, prime, _STEP * 2 * _LIMIT, z=_POINTS)


class _Cost:
    """The checks of a cost's formulas, at pairs of outputs a and targets y within the bounds."""

    def __init__(self, f: Formula, prime: Formula, within: tuple[float, float]) -> None:
        self.f, self.prime = f, prime
        low, high = within
        if not math.isfinite(low):
            low = -_WIDTH / 2 if not math.isfinite(high) else high - _WIDTH
        high = high if math.isfinite(high) else low + _WIDTH
        inner = np.linspace(low, high, 22)[1:-1] + (high - low) / 300  # shifted: kinks are mostly at round a − y
        targets = np.linspace(low, high, 11)
        self.step = _STEP * (high - low)
        self.a, self.y = (grid.ravel() for grid in np.meshgrid(inner, targets))

    def check_values(self, dtype: str) -> None:
        a, y = self.a.astype(dtype), self.y.astype(dtype)
        _not_nan("f", _values("f", self.f, a, y), a=a, y=y)
        _not_nan("prime", _values("prime", self.prime, a, y), a=a, y=y)
        _nan_stays(_values("f", self.f, np.full(1, np.nan, dtype), y[len(y) // 2 :][:1]))

    @np.errstate(all="ignore")
    def check_derivative(self) -> float:
        return _check_derivative(self.f, self.prime(self.a, self.y), self.step, a=self.a, y=self.y)


def _values(role: str, function: Formula, *arguments: Array) -> Array:
    """Return the values of a formula on arrays; raise `InputError` unless they are real numbers in the arrays' shape.

    The values may be float64, because `where(condition, 1.0, 0.0)` is float64. Compiled formulas and backends convert
    such values.
    """
    dtype, shape = arguments[0].dtype, arguments[0].shape
    try:
        with np.errstate(all="ignore"):
            value = function(*arguments)
    except Exception as error:  # the user's code may raise anything
        advice = "use the functions of fastbp.math, and where(condition, p, q) instead of if"
        raise InputError(f"{role} must take arrays: {advice}; got {type(error).__name__}: {one_line(error)}") from error
    if isinstance(value, (int, float)) and not isinstance(value, np.generic):
        return np.full(shape, value, dtype)
    if getattr(value, "shape", None) != shape or value.dtype.kind not in "fiub":
        given = f"one of {value.dtype}, shape {value.shape}" if hasattr(value, "dtype") else brief(value)
        raise InputError(f"{role} must return a real array in the shape of its arguments, {shape}, got {given}")
    return np.asarray(value, dtype)


def _not_nan(role: str, values: Array, **at: Array) -> None:
    bad = np.flatnonzero(np.isnan(values))
    if len(bad):
        names = "(z, a)" if role == "prime" and "z" in at else f"({', '.join(at)})"
        where = ", ".join(f"{name} = {array[bad[0]]:g}" for name, array in at.items())
        hint = "" if "z" in at else "; pass within=(0.0, 1.0), or other bounds of the outputs and targets"
        raise InputError(f"{role}{names} must not be NaN, got NaN at {where} in {values.dtype}{hint}")


def _nan_stays(values: Array) -> None:
    if not np.isnan(values[0]):
        raise InputError(f"f must be NaN where its argument is NaN, so that training stops, got {values[0]:g}")


def _check_derivative(f: Formula, prime: Any, step: float, **at: Array) -> float:
    """Compare `prime` with finite differences of f in its first argument; return the largest relative error."""
    (name, x), *others = at.items()
    rest = [array for _, array in others]
    below, low, here, high, above = (f(x + k * step, *rest) for k in (-2, -1, 0, 1, 2))
    measured = (below - 8 * low + 8 * high - above) / (12 * step)
    left, right = (below - 4 * low + 3 * here) / (2 * step), (-3 * here + 4 * high - above) / (2 * step)
    scale = np.maximum(1.0, np.maximum(np.abs(here), np.abs(prime)))
    smooth = np.abs(left - right) <= _KINK * scale
    if not smooth.any():
        raise GradientError(f"f has no derivative at {brief([round(float(v), 4) for v in x[:3]])}")
    error = np.where(smooth, np.abs(measured - prime) / scale, 0.0)
    worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
    if not error[worst] <= _TOLERANCE:
        where = f"{name} = {x[worst]:g}" + "".join(f", {key} = {array[worst]:g}" for key, array in others)
        got = np.broadcast_to(prime, x.shape)[worst]
        raise GradientError(
            f"prime is not the derivative of f: at {where} it is {got:.6g}, but finite differences give "
            f"{measured[worst]:.6g}"
        )
    return float(error[worst])
