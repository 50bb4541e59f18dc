"""Networks in files: what describes one, and how it is had back; works on plans and parameters, knows no Network.

`describe` and `plan_from` are each other's inverse, and so are `tensors_of` and `parameters_from`, `generator_state`
and `generator_from`. What a network comes to have besides goes into both of a pair, and `VERSION` up where an older
fastbp would read the file wrongly.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp import __version__, backends
from fastbp.activations import ACTIVATIONS, Activation
from fastbp.costs import COSTS, Cost
from fastbp.errors import InputError, brief, choose, one_line, truncate, whole_number
from fastbp.files.tensors import StrPath, Tensors, field, read_tensors, reading, write_tensors
from fastbp.operations import Backend, Plan
from fastbp.parameters import DTYPES, checked_parameters, plan_of

Array = Any
VERSION = 1
"""Of model files; one of a later version is refused."""

_WIDEST = 2**31 - 1
"""Neurons in a layer: BLAS counts in 32 bits."""

_GENERATORS: dict[str, Any] = {
    name: getattr(np.random, name) for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
}
_MOST = {"pos": 624, "buffer_pos": 4}
"""Indices into a generator's own buffer, which NumPy does not check: past it, it would read memory that is not its."""


class Model(NamedTuple):
    """What a network is: its plan, weights and biases on the plan's backend, and where its mini-batches come from."""

    plan: Plan
    weights: list[Array]
    biases: list[Array]
    rng: np.random.Generator


def write_model(path: StrPath, model: Model) -> None:
    """Write a model, whole or not at all; raises `InputError` if it cannot be written, or could not be read again."""
    plan, weights, biases, rng = model
    description = {"kind": "model", "version": VERSION, "fastbp": __version__, **describe(plan)}
    description["generator"] = generator_state(rng)
    write_tensors(path, tensors_of(plan, weights, biases), description)


def read_model(
    path: StrPath, *, backend: Any = None, activations: Iterable[Activation] = (), cost: Cost | None = None
) -> Model:
    """Return the model of a file, on a backend; activations and a cost that are not fastbp's own must be given."""
    chosen = backends.get(backend)
    own = _own_activations(activations)
    tensors, description = read_tensors(path, "model", VERSION)
    with reading(path):
        plan = plan_from(description, chosen, own, cost)
        weights, biases = parameters_from(tensors, plan)
        return Model(plan, weights, biases, generator_from(field(description, "generator", dict)))


def describe(plan: Plan) -> dict[str, Any]:
    """Return, as JSON can hold it, what a plan computes, wherever it does.

    Formulas go by their names. Raises `InputError` where the names would not bring the same formulas back.
    """
    formulas = plan.formulas
    for activation in formulas.activations:
        _check_name("activation", activation, (*ACTIVATIONS.values(), *formulas.activations))
    _check_name("cost", formulas.output.cost_function, COSTS.values())
    return {
        "sizes": list(plan.sizes),
        "activations": [activation.name for activation in formulas.activations],
        "cost": formulas.output.cost_function.name,
        "bias": formulas.bias,
        "dtype": plan.dtype,
        "input_scale": plan.input_scale,
    }


def plan_from(
    description: Mapping[str, Any],
    backend: Backend,
    activations: Mapping[str, Activation] | None = None,
    cost: Cost | None = None,
) -> Plan:
    """Return the plan that a description is of, on a backend; the inverse of `describe`.

    `activations` by their names and `cost` are those that fastbp has not. Raises `InputError` for a field that is
    missing or of a wrong type, and for formulas that have to be given.
    """
    sizes = [whole_number(f"sizes[{l}]", n, most=_WIDEST) for l, n in enumerate(field(description, "sizes", list))]
    return plan_of(
        sizes,
        _activations(field(description, "activations", list), {**ACTIVATIONS, **(activations or {})}),
        _cost(field(description, "cost", str), cost),
        bias=field(description, "bias", bool),
        dtype=_dtype(field(description, "dtype", str)),
        backend=backend,
        input_scale=field(description, "input_scale", float),
    )


def tensors_of(plan: Plan, weights: Sequence[Array], biases: Sequence[Array]) -> Tensors:
    """Return weights and biases by names, as NumPy's arrays; raises `InputError` for NaN and infinity."""
    tensors = {}
    for kind, arrays in (("weights", weights), ("biases", biases)):
        for l, array in enumerate(arrays):
            host = plan.backend.to_host(array)
            if not np.isfinite(host).all():  # nobody could load it, and it might replace one that was sound
                raise InputError(f"{kind}[{l}] holds NaN or infinity; wanted are finite numbers")
            tensors[f"{kind}.{l}"] = host
    return tensors


def parameters_from(tensors: Mapping[str, npt.NDArray[Any]], plan: Plan) -> tuple[list[Array], list[Array]]:
    """Return weights and biases on the plan's backend; the inverse of `tensors_of`, and as strict as it can be."""
    layers = range(len(plan.sizes) - 1)
    names = {"weights": [f"weights.{l}" for l in layers]}
    names["biases"] = [f"biases.{l}" for l in layers] if plan.formulas.bias else []
    wanted = names["weights"] + names["biases"]
    if (odd := min(tensors.keys() ^ wanted, default=None)) is not None:
        verb = "is among its tensors" if odd in tensors else "is not among its tensors"
        raise InputError(f"its description and its tensors disagree: {brief(odd)} {verb}")
    for name in wanted:
        if tensors[name].dtype != plan.dtype:
            raise InputError(f"{name} has dtype {tensors[name].dtype}; wanted is {plan.dtype}")
    weights, biases = (
        checked_parameters(kind, [tensors[name] for name in names[kind]], plan, copied=True) for kind in names
    )
    return weights, biases


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """Return, as JSON can hold it, where a generator stands; raises `InputError` for one that is not NumPy's own.

    >>> rng = np.random.default_rng(0)
    >>> again = generator_from(generator_state(rng))
    >>> again.random() == rng.random()
    True
    """
    kind = type(rng.bit_generator)
    if _GENERATORS.get(kind.__name__) is not kind:
        raise InputError(f"a generator of {kind.__name__} cannot be saved; valid: {', '.join(_GENERATORS)}")
    state: dict[str, Any] = _plain(rng.bit_generator.state)
    return state


def generator_from(state: Mapping[str, Any]) -> np.random.Generator:
    """Return a generator that goes on from a state; the inverse of `generator_state`. Raises `InputError`."""
    generator = choose("generator", field(state, "bit_generator", str), _GENERATORS)(0)
    if not _is_like(_plain(generator.state), state):
        raise InputError("the state of its generator is not of the form that NumPy wants")
    try:
        generator.state = state
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"the state of its generator is none: {one_line(error)}") from error
    if _plain(generator.state) != state:
        raise InputError("the state of its generator is none: it has numbers out of range")
    return np.random.Generator(generator)


def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, (np.ndarray, np.generic)) else state


def _is_like(wanted: Any, given: Any) -> bool:
    if type(given) is not type(wanted):
        return False
    if isinstance(wanted, dict):
        return given.keys() == wanted.keys() and all(
            _is_like(wanted[name], given[name]) and (name not in _MOST or 0 <= given[name] <= _MOST[name])
            for name in wanted
        )
    return not isinstance(wanted, list) or (len(given) == len(wanted) and all(map(_is_like, wanted, given)))


def _own_activations(activations: Iterable[Activation]) -> dict[str, Activation]:
    given = list(activations) if isinstance(activations, Iterable) else [None]
    if not all(isinstance(activation, Activation) for activation in given):
        raise InputError(f"activations is {brief(activations)}; wanted is a list of the Activations that are your own")
    for activation in given:
        _check_name("activation", activation, (*ACTIVATIONS.values(), *given))
    return {activation.name: activation for activation in given}


def _check_name(kind: str, formula: Activation | Cost, others: Iterable[Activation | Cost]) -> None:
    """Raise `InputError` if other formulas go by the same name."""
    if any(formula.name == other.name and formula != other for other in others):
        raise InputError(
            f"{kind} {brief(formula.name)} has the name of another, with other formulas, and a file knows them by "
            "their names; wanted are names of their own"
        )


def _dtype(name: str) -> str:
    """Return the name of a dtype in a file, which is one of two: no other text is given to NumPy to make sense of."""
    if name not in DTYPES:
        raise InputError(f"dtype is {brief(name)}; valid: {', '.join(DTYPES)}")
    return name


def _activations(names: list[Any], known: Mapping[str, Activation]) -> list[Activation]:
    missing = [name for name in names if not isinstance(name, str) or name not in known]
    if missing:
        given = truncate(", ".join(map(brief, missing[:9])), 60)
        raise InputError(
            f"its activations include {given}, none of fastbp's own; give them as you made them: "
            "load(path, activations=[Activation(…), …])"
        )
    return [known[name] for name in names]


def _cost(name: str, own: Cost | None) -> Cost:
    if own is not None:
        if not isinstance(own, Cost):
            raise InputError(f"cost is {brief(own)}; wanted is a Cost of your own")
        _check_name("cost", own, COSTS.values())
        if own.name != name:
            raise InputError(f"its cost is {brief(name)}, and the one given is {brief(own.name)}")
        return own
    if name in COSTS:
        return COSTS[name]
    raise InputError(
        f"its cost {brief(name)} is none of fastbp's own; give it as you made it: load(path, cost=Cost(…))"
    )
