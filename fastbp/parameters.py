"""Functions that make the plan of a network from a user's arguments, and that draw, check and list its parameters.

A *plan* says what is computed and where. The *parameters* are the arrays Wˡ and bˡ. Users see them as the two lists
`Network.weights` and `Network.biases`. The equations get the same memory in the form of a `Parameters` object.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from operator import is_
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastbp import backends
from fastbp.activations import Activation, activation_of, softmax
from fastbp.costs import Cost, cost_of, output_rule
from fastbp.datasets.foreign_arrays import as_backend_array
from fastbp.errors import InputError, brief, choose, finite_number, plural, truncate, whole_number
from fastbp.operations import Backend, Formulas, OptimizerState, Parameters, Plan
from fastbp.optimizers import UpdateRule

Array = Any
Shapes = list[tuple[int, int]]
DTYPES = ("float32", "float64")

InitName = Literal["scaled", "large"]
INITS: dict[str, Callable[[int], float]] = {"scaled": lambda n_in: float(n_in) ** -0.5, "large": lambda n_in: 1.0}
"""The standard deviation of the initial weights of a neuron, given its number of inputs.

"scaled" is 1/√n_in. For inputs in [−1, 1], the variance of z is then at most 2, however wide the layers are, so
sigmoids do not saturate (Nielsen, chapter 3, "Weight initialization"). "large" is 1, as in Nielsen's chapter 1.
"""


def plan_of(
    sizes: Sequence[int],
    activations: str | Activation | Sequence[str | Activation],
    cost: str | Cost,
    *,
    bias: bool,
    dtype: npt.DTypeLike,
    backend: Backend,
    input_scale: float = 1.0,
) -> Plan:
    """Return the plan of a network from a user's arguments.

    Raises `InputError` if an argument is invalid, or if the arguments do not match.
    """
    if not isinstance(bias, (bool, np.bool_)):
        raise InputError(f"bias must be True or False, got {brief(bias)}")
    layers = _sizes(sizes)
    chosen = _activations(activations, len(layers) - 1)
    formulas = Formulas(chosen, output_rule(chosen[-1], cost_of(cost)), bool(bias))
    scale = finite_number("input_scale", input_scale, positive=True)
    plan = Plan(layers, formulas, dtype_name(dtype), backend, scale)
    _check_memory(plan)
    return plan


def shapes_of(plan: Plan) -> tuple[Shapes, Shapes]:
    """Return two lists of shapes: (n_l, n_{l−1}) of the weights, and (n_l, 1) of the biases.

    There is one shape per layer. Without biases the second list is empty.
    """
    weights = list(zip(plan.sizes[1:], plan.sizes[:-1], strict=True))
    return weights, [(n, 1) for n in plan.sizes[1:]] if plan.formulas.bias else []


def generator_of(rng: int | np.random.Generator | None) -> np.random.Generator:
    """Return a generator: a new one with a seed, or the given one. Raises `InputError` for anything else.

    >>> generator_of(0).integers(10).item()
    8
    """
    if isinstance(rng, np.random.Generator):
        return rng
    try:
        return np.random.default_rng(None if rng is None else whole_number("rng", rng, least=0))
    except InputError:
        raise InputError(f"rng must be an integer >= 0 or a numpy.random.Generator, got {brief(rng)}") from None


def draw_parameters(plan: Plan, rng: np.random.Generator, init: str) -> tuple[list[Array], list[Array]]:
    """Return random weights and biases: Wˡ from N(0, σ²) with σ from `INITS`, and bˡ from N(0, 1).

    The numbers are drawn on the host in float64, so every backend gets the same numbers. All biases are drawn first.
    """
    deviation = choose("init", init, INITS)
    weights, biases = shapes_of(plan)
    drawn_biases = [plan.array(rng.standard_normal(shape)) for shape in biases]
    return [plan.array(rng.standard_normal(shape) * deviation(shape[1])) for shape in weights], drawn_biases


def empty_parameters(plan: Plan) -> tuple[list[Array], list[Array]]:
    """Return arrays for weights and biases; their content is undefined until it is overwritten."""
    weights, biases = shapes_of(plan)
    empty = plan.backend.empty
    return [empty(shape, plan.dtype) for shape in weights], [empty(shape, plan.dtype) for shape in biases]


def checked_parameters(name: str, arrays: Iterable[Array], plan: Plan, *, copied: bool = False) -> list[Array]:
    """Return weights or biases as arrays that the equations can work on.

    `name` is "weights" or "biases". Arrays that are usable already are returned without a copy, unless `copied` is
    true. Raises `InputError` if the number of arrays or a shape is wrong, or if an array is not finite or cannot be
    read.
    """
    shapes = shapes_of(plan)[0 if name == "weights" else 1]
    try:
        arrays = list(arrays)
    except TypeError:
        raise InputError(f"{name} must be a list of arrays, got {brief(arrays)}") from None
    if len(arrays) != len(shapes):
        expected = "an empty list (the network has no biases)"
        if shapes:
            expected = f"{plural(len(shapes), 'array')} of shapes {', '.join(map(str, shapes))}"
        raise InputError(f"{name} must be {expected}, got {plural(len(arrays), 'array')}")
    return [
        array if not copied and _is_usable(array, shape, plan) else _converted(f"{name}[{l}]", array, shape, plan)
        for l, (array, shape) in enumerate(zip(arrays, shapes, strict=True))
    ]


class ParameterList:
    """The weights or the biases of a network, both as fixed arrays and as the list that users see.

    The arrays always stay the same objects. Assigned values are copied into them. So everything that works on the
    arrays, such as training, sees the new values.
    """

    def __init__(self, name: str, arrays: Sequence[Array]) -> None:
        self._name, self._arrays, self.listed = name, list(arrays), list(arrays)

    def assign(self, arrays: Iterable[Array], plan: Plan) -> None:
        """Copy new values into the arrays. If one of the values is invalid, raise `InputError` and change nothing."""
        values = checked_parameters(self._name, arrays, plan)
        for own, value in zip(self._arrays, values, strict=True):
            if value is not own:
                plan.backend.assign(own, value)
        self.listed[:] = self._arrays

    def current(self, plan: Plan) -> list[Array]:
        """Return the arrays, after copying new values into them if a user has replaced items of the list."""
        if len(self.listed) != len(self._arrays) or not all(map(is_, self.listed, self._arrays)):
            self.assign(self.listed, plan)
        return self._arrays


Listed = ParameterList  # the name in pickles of networks that were written by fastbp 0.1


def as_parameters(weights: Sequence[Array], biases: Sequence[Array], plan: Plan) -> Parameters:
    """Return checked lists of weights and biases in the form that the equations take.

    The result shares memory with the arrays in the lists. Without biases, bˡ has no rows.
    """
    columns = plan.backend.columns
    placeholder = plan.block(0, 1)
    blocks = [b.T for b in biases] if plan.formulas.bias else [placeholder] * len(weights)
    return Parameters(tuple(weights), tuple(columns(block) for block in blocks))


def zeros(plan: Plan) -> Parameters:
    """Return zeros in the form of the parameters. Sums of gradients and an optimizer's moments start with zeros."""
    return _zeros(plan, shapes_of(plan)[0], [n if plan.formulas.bias else 0 for n in plan.sizes[1:]])


def parameters_in_one_block(plan: Plan) -> tuple[Array, Parameters]:
    """Return a block of zeros, which is a matrix of one row, and parameters that are parts of its memory.

    The first parameter is at the start of the block. Each parameter starts at a multiple of 64 bytes.
    """
    layers = shapes_of(plan)[0]
    shapes = [*layers, *((1, n if plan.formulas.bias else 0) for n, _ in layers)]
    aligned = 64 // np.dtype(plan.dtype).itemsize
    starts = list(accumulate((-(-n * k // aligned) * aligned for n, k in shapes), initial=0))
    block, xp = plan.backend.empty((1, starts[-1]), plan.dtype), plan.backend.xp
    block[...] = 0.0
    parts = [xp.reshape(block[0, at : at + n * k], (n, k)) for at, (n, k) in zip(starts, shapes, strict=False)]
    return block, Parameters(tuple(parts[: len(layers)]), tuple(map(plan.backend.columns, parts[len(layers) :])))


def copy_parameters(source: Parameters, target: Parameters) -> None:
    """Write the values of parameters to other parameters of the same shapes."""
    for old, new in zip((*source.weights, *source.biases), (*target.weights, *target.biases), strict=True):
        new[...] = old


def new_optimizer_state(plan: Plan, rule: UpdateRule | None = None) -> OptimizerState:
    """Return the state of an optimizer before its first step: arrays of zeros.

    `rule` is the update rule of the optimizer. None is plain gradient descent, which has no state. Arrays that a rule
    does not use have no rows.
    """
    layers = len(plan.sizes) - 1
    unused = _zeros(plan, [(0, 0)] * layers, [0] * layers)
    used = 0 if rule is None else 1 + rule.state  # ∇C and the state
    return OptimizerState(*[zeros(plan) if i < used else unused for i in range(4)])


def dtype_name(dtype: npt.DTypeLike) -> str:
    """Return "float32" or "float64" for anything that NumPy understands as one of these dtypes.

    Raises `InputError` for other dtypes.

    >>> dtype_name(float)
    'float64'
    """
    try:
        name = np.dtype(dtype).name
    except Exception:  # usually TypeError; for some texts also others, such as warnings that are turned into errors
        name = str(dtype)
    return check_dtype_name(name)


def check_dtype_name(name: str) -> str:
    """Return the name of a dtype, or raise `InputError` unless it is "float32" or "float64"."""
    if name not in DTYPES:
        raise InputError(f"dtype must be {' or '.join(DTYPES)}, got {brief(name)}")
    return name


def _zeros(plan: Plan, weights: Shapes, biases: Sequence[int]) -> Parameters:
    def zero(shape: tuple[int, int]) -> Array:
        array = plan.backend.empty(shape, plan.dtype)
        plan.backend.assign(array, 0.0)
        return array

    return Parameters(tuple(map(zero, weights)), tuple(plan.backend.columns(zero((1, n))) for n in biases))


def _sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    try:
        listed = list(sizes)
    except TypeError:
        listed = []
    if len(listed) < 2 or isinstance(sizes, (str, bytes, set, frozenset, dict)):
        raise InputError(f"sizes must be a list of two or more integers, like [784, 30, 10], got {brief(sizes)}")
    return tuple(whole_number(f"sizes[{l}]", n) for l, n in enumerate(listed))


def _check_memory(plan: Plan) -> None:
    """Raise `InputError` if the weights need more memory than the machine has."""
    needed: int = sum(n * k for n, k in shapes_of(plan)[0]) * np.dtype(plan.dtype).itemsize
    present = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**40
    if needed > present:
        layers = truncate("-".join(map(brief, plan.sizes[:10])), 60)
        raise InputError(
            f"sizes {layers} take {min(needed // 2**30, 10**18):,} GiB of weights in {plan.dtype}, and "
            f"this machine has {present / 2**30:,.0f} GiB; use smaller layers"
        )


def _activations(choice: str | Activation | Sequence[str | Activation], layers: int) -> tuple[Activation, ...]:
    if isinstance(choice, (str, Activation)):
        choices: list[str | Activation] = [choice] * layers
    else:
        try:
            choices = list(choice)
        except TypeError:
            given = brief(choice)
            raise InputError(f"activations must be a name, an Activation, or a list of them, got {given}") from None
    if len(choices) != layers:
        raise InputError(
            "activations must be one activation for all layers, or a list with one for each layer with weights "
            f"(here {layers}), got a list of {len(choices)}"
        )
    activations = tuple(activation_of(name) for name in choices)
    if softmax in activations[:-1]:
        raise InputError(f"softmax must be in the last layer only, got it in layer {activations.index(softmax) + 2}")
    return activations


def _is_usable(array: Array, shape: tuple[int, int], plan: Plan) -> bool:
    """Return whether the equations can work on an array as it is."""
    if backends.kind(array) != plan.backend.kind or not hasattr(array, "dtype") or tuple(array.shape) != shape:
        return False
    if array.dtype != getattr(plan.backend.xp, plan.dtype):
        return False
    if isinstance(array, np.ndarray):
        return type(array) is np.ndarray and array.flags.carray and array.dtype.isnative
    native = plan.backend.from_foreign("parameters", array)
    if native is None or native is not array or getattr(array, "requires_grad", False):
        return False
    return plan.backend.kind != "cupy" or bool(native.flags.c_contiguous)


def _converted(name: str, array: Array, shape: tuple[int, int], plan: Plan) -> Array:
    """Return a copy of an array of any library, in a form that the equations can work on.

    Raises `InputError` if the array is invalid.
    """
    given = as_backend_array(name, array, plan.backend)
    host = given if isinstance(given, np.ndarray) else plan.backend.to_host(given)
    if host.shape != shape:
        raise InputError(f"{name} must have shape {shape}, got {brief(host.shape)}")
    with np.errstate(over="ignore"):
        converted = host.astype(plan.dtype)
    if not np.isfinite(converted).all():
        raise InputError(f"{name} must be finite in {plan.dtype}, got NaN, infinity or a number that overflows")
    return plan.array(converted)
