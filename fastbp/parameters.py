"""What a network is made of: its plan, and the lists of weights and biases, checked at the door."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import backends
from fastbp.activations import Activation, activation_of, softmax
from fastbp.costs import Cost, cost_of, output_rule
from fastbp.datasets.foreign_arrays import as_backend_array
from fastbp.errors import InputError, brief, finite_number, plural, truncate, whole_number
from fastbp.operations import Backend, Formulas, OptimizerState, Parameters, Plan
from fastbp.optimizers import UpdateRule

Array = Any
Shapes = list[tuple[int, int]]
Tensors = dict[str, npt.NDArray[Any]]
DTYPES = ("float32", "float64")


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
    """Return the plan of a network; raises `InputError` for anything that makes none."""
    if not isinstance(bias, (bool, np.bool_)):
        raise InputError(f"bias is {brief(bias)}; wanted is True or False")
    layers = _sizes(sizes)
    chosen = _activations(activations, len(layers) - 1)
    formulas = Formulas(chosen, output_rule(chosen[-1], cost_of(cost)), bool(bias))
    scale = finite_number("input_scale", input_scale, positive=True)
    plan = Plan(layers, formulas, dtype_name(dtype), backend, scale)
    _check_fits(plan)
    return plan


def shapes_of(plan: Plan) -> tuple[Shapes, Shapes]:
    """Return the shapes of the weights and of the biases, layer by layer."""
    weights = list(zip(plan.sizes[1:], plan.sizes[:-1], strict=True))
    return weights, [(n, 1) for n in plan.sizes[1:]] if plan.formulas.bias else []


def checked_parameters(name: str, arrays: Iterable[Array], plan: Plan, *, copied: bool = False) -> list[Array]:
    """Return weights or biases as arrays that the equations can work on, the same ones where they are such already.

    Raises `InputError` if they are too few or many, of another shape, not finite, or cannot be read.
    """
    shapes = shapes_of(plan)[0 if name == "weights" else 1]
    try:
        arrays = list(arrays)
    except TypeError:
        raise InputError(f"{name} is {brief(arrays)}; wanted is a list of arrays") from None
    if len(arrays) != len(shapes):
        wanted = f"are {len(shapes)}, of shapes {', '.join(map(str, shapes))}" if shapes else "is none"
        raise InputError(f"{plural(len(arrays), 'array')} of {name}; wanted {wanted}")
    return [
        array if not copied and _is_ready(array, shape, plan) else _made_ready(f"{name}[{l}]", array, shape, plan)
        for l, (array, shape) in enumerate(zip(arrays, shapes, strict=True))
    ]


class ParameterList:
    """Weights or biases: arrays that stay the same ones all their life, and the list in which a user finds them.

    What is assigned is copied into the arrays, so that whoever works on them, training among others, goes on with it.
    """

    def __init__(self, name: str, arrays: Sequence[Array]) -> None:
        self._name, self._arrays, self.listed = name, list(arrays), list(arrays)

    def assign(self, arrays: Iterable[Array], plan: Plan) -> None:
        """Take over other values; raises `InputError`, and changes nothing, if there is one that cannot be."""
        values = checked_parameters(self._name, arrays, plan)
        for own, value in zip(self._arrays, values, strict=True):
            if value is not own:
                own[...] = value
        self.listed[:] = self._arrays

    def current(self, plan: Plan) -> list[Array]:
        """Return the arrays, after taking over what has been put into the list meanwhile."""
        if list(map(id, self.listed)) != list(map(id, self._arrays)):
            self.assign(self.listed, plan)
        return self._arrays


def as_parameters(weights: Sequence[Array], biases: Sequence[Array], plan: Plan) -> Parameters:
    """Return checked lists as the equations take them; a layer without biases gets a block without rows."""
    columns = plan.backend.columns
    placeholder = plan.block(0, 1)
    blocks = [b.T for b in biases] if plan.formulas.bias else [placeholder] * len(weights)
    return Parameters(tuple(weights), tuple(columns(block) for block in blocks))


def zeros(plan: Plan) -> Parameters:
    """Return zeros in the form of the parameters: what gradients are added to, and moments at rest."""
    return _zeros(plan, shapes_of(plan)[0], [n if plan.formulas.bias else 0 for n in plan.sizes[1:]])


def new_optimizer_state(plan: Plan, rule: UpdateRule | None = None) -> OptimizerState:
    """Return the moments of a rule before its first step; of plain descent, which has none, blocks without rows."""
    layers = len(plan.sizes) - 1
    nothing = _zeros(plan, [(0, 0)] * layers, [0] * layers)
    if rule is None:
        return OptimizerState(nothing, nothing, nothing)
    return OptimizerState(zeros(plan), zeros(plan), zeros(plan) if rule.moments == 2 else nothing)


def dtype_name(dtype: npt.DTypeLike) -> str:
    """Return "float32" or "float64", however it is given; raises `InputError` for any other.

    >>> dtype_name(float)
    'float64'
    """
    try:
        name = np.dtype(dtype).name
    except Exception:  # a TypeError mostly; of a text that is almost a dtype also others, and warnings made errors
        name = str(dtype)
    if name not in DTYPES:
        raise InputError(f"dtype is {brief(name)}; valid: {', '.join(DTYPES)}")
    return name


def host_tensors(prefix: str, p: Parameters, plan: Plan) -> Tensors:
    """Return copies on the host of what is in parameters, by name: matrices Wˡ, and rows bˡ, whatever the backend."""
    blocks = [plan.backend.columns(b) for b in p.biases] if plan.formulas.bias else []
    return {
        f"{prefix}{kind}.{l}": plan.backend.to_host(array)
        for kind, arrays in (("weights", p.weights), ("biases", blocks))
        for l, array in enumerate(arrays)
    }


def check_tensors(prefix: str, tensors: Mapping[str, npt.NDArray[Any]], p: Parameters, plan: Plan) -> None:
    """Raise `InputError` unless tensors are those that `host_tensors` makes of parameters like these."""
    wanted = host_tensors(prefix, p, plan)
    for name in sorted(wanted.keys() ^ {name for name in tensors if name.startswith(prefix)}):
        raise InputError(f"its tensors and its description disagree about {brief(name)}")
    for name, like in wanted.items():
        given = tensors[name]
        if given.shape != like.shape or given.dtype != like.dtype or not np.isfinite(given).all():
            raise InputError(f"{name} is no finite {like.dtype} of shape {like.shape}")


def put_tensors(prefix: str, tensors: Mapping[str, npt.NDArray[Any]], p: Parameters, plan: Plan) -> None:
    """Write tensors that have been checked into parameters, in place; the inverse of `host_tensors`."""
    for l, w in enumerate(p.weights):
        w[...] = plan.backend.upload(tensors[f"{prefix}weights.{l}"])
    for l, b in enumerate(p.biases if plan.formulas.bias else ()):
        b[...] = plan.backend.columns(plan.backend.upload(tensors[f"{prefix}biases.{l}"]))


def _zeros(plan: Plan, weights: Shapes, biases: Sequence[int]) -> Parameters:
    def zero(shape: tuple[int, int]) -> Array:
        array = plan.backend.empty(shape, plan.dtype)
        array[...] = 0.0
        return array

    return Parameters(tuple(map(zero, weights)), tuple(plan.backend.columns(zero((1, n))) for n in biases))


def _sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    try:
        listed = list(sizes)
    except TypeError:
        raise InputError(
            f"sizes is {brief(sizes)}; wanted is a list of two or more whole numbers, like [784, 30, 10]"
        ) from None
    if len(listed) < 2 or isinstance(sizes, (str, bytes, set, frozenset, dict)):
        raise InputError(f"sizes is {brief(sizes)}; wanted are two layers or more, like [784, 30, 10]")
    return tuple(whole_number(f"sizes[{l}]", n) for l, n in enumerate(listed))


def _check_fits(plan: Plan) -> None:
    needed: int = sum(n * k for n, k in shapes_of(plan)[0]) * np.dtype(plan.dtype).itemsize
    present = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**40
    if needed > present:
        layers = truncate("-".join(map(brief, plan.sizes[:10])), 60)
        raise InputError(
            f"sizes {layers} take {min(needed // 2**30, 10**18):,} GiB of weights in {plan.dtype}, and "
            f"this machine has {present / 2**30:,.0f} GiB; wanted are smaller layers"
        )


def _activations(choice: str | Activation | Sequence[str | Activation], layers: int) -> tuple[Activation, ...]:
    if isinstance(choice, (str, Activation)):
        choices: list[str | Activation] = [choice] * layers
    else:
        try:
            choices = list(choice)
        except TypeError:
            given = brief(choice)
            raise InputError(f"activations is {given}; wanted is a name, an Activation, or a list of them") from None
    if len(choices) != layers:
        raise InputError(
            f"{plural(len(choices), 'activation')} for {plural(layers, 'layer')} of weights; wanted is one each"
        )
    activations = tuple(activation_of(name) for name in choices)
    if softmax in activations[:-1]:
        raise InputError(f"softmax in layer {activations.index(softmax) + 2}; valid: in the last layer only")
    return activations


def _is_ready(array: Array, shape: tuple[int, int], plan: Plan) -> bool:
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


def _made_ready(name: str, array: Array, shape: tuple[int, int], plan: Plan) -> Array:
    given = as_backend_array(name, array, plan.backend)
    host = given if isinstance(given, np.ndarray) else plan.backend.to_host(given)
    if host.shape != shape:
        raise InputError(f"{name} has shape {brief(host.shape)}; wanted is {shape}")
    with np.errstate(over="ignore"):
        converted = host.astype(plan.dtype)
    if not np.isfinite(converted).all():
        raise InputError(f"{name} holds NaN, infinity, or what {plan.dtype} cannot hold; wanted are finite numbers")
    return plan.copied(converted)
