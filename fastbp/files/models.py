"""Model files: saving and loading a network's plan, parameters, random generator and preparation of tables.

The functions work on plans and parameters and do not depend on `Network`. `describe` and `plan_from` are inverses of
each other, and so are `generator_state` and `generator_from`. If you add a property to networks, add it to both
functions of a pair. Increase `VERSION` if an older fastbp would read the new files wrongly.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastbp import __version__, backends
from fastbp.activations import ACTIVATIONS, Activation
from fastbp.costs import COSTS, Cost
from fastbp.datasets.class_names import checked_classes
from fastbp.datasets.preparation import Preparation, from_description
from fastbp.errors import InputError, brief, choose, one_line, truncate, whole_number
from fastbp.files.parameter_tensors import check_tensors, host_tensors, put_tensors
from fastbp.files.reading import StrPath, field, reading
from fastbp.files.tensors import Tensors, read_tensors, write_tensors
from fastbp.operations import Backend, Plan
from fastbp.parameters import as_parameters, check_dtype_name, empty_parameters, plan_of

Array = Any
VERSION = 3
"""The version of the format of model files. Files of a later version are refused.

Version 2 adds the preparation of tables, and version 3 adds names of classes to networks without a preparation. Other
networks are still written in version 1 or 2, so that older versions of fastbp can read their files.
"""

_WIDEST = 2**31 - 1
"""The maximum number of neurons in a layer, because BLAS uses 32-bit sizes."""

_GENERATORS: dict[str, Any] = {
    name: getattr(np.random, name) for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
}
_MAX_INDEX = {"pos": 624, "buffer_pos": 4}
"""Upper bounds of a generator's indices into its own buffer. NumPy does not check the indices. With a larger
index, it would read past the buffer.
"""


class Model(NamedTuple):
    """A network's plan, its weights and biases on the plan's backend, and the generator that orders its mini-batches.

    The plan says what is computed and where. The arrays are those of `Network.weights`, with shapes (n_l, n_{l−1}), and
    of `Network.biases`, with shapes (n_l, 1). `preparation` is None if the network has no preparation of tables.
    """

    plan: Plan
    weights: list[Array]
    biases: list[Array]
    rng: np.random.Generator
    preparation: Preparation | None = None


def write_model(path: StrPath, model: Model) -> None:
    """Write a model file atomically; raise `InputError` if the file cannot be written or could not be loaded again."""
    plan, weights, biases, rng, preparation = model
    version = 2 if preparation is not None else VERSION if plan.classes else 1
    description = {"kind": "model", "version": version, "fastbp": __version__, **describe(plan)}
    description["generator"] = generator_state(rng)
    if preparation is not None:
        description["preparation"] = preparation.description()
    elif plan.classes:
        description["classes"] = list(plan.classes)
    tensors = host_tensors("", as_parameters(weights, biases, plan), plan, bias_columns=True)
    _check_finite(tensors)
    write_tensors(path, tensors, description)


def read_model(
    path: StrPath, *, backend: Any = None, activations: Iterable[Activation] = (), cost: Cost | None = None
) -> Model:
    """Return the model in a file, with its arrays on a backend.

    If the model uses activations or a cost that are not part of fastbp, the caller must pass them.
    """
    chosen = backends.get(backend)
    own = _own_activations(activations)
    tensors, description = read_tensors(path, "model", VERSION)
    with reading(path):
        plan = plan_from(description, chosen, own, cost)
        check_tensors("", tensors, plan, bias_columns=True)
        weights, biases = empty_parameters(plan)
        put_tensors("", tensors, as_parameters(weights, biases, plan), plan, bias_columns=True)
        rng = generator_from(field(description, "generator", dict))
        preparation = _preparation(description, plan)
        classes = classes_in(description, plan) if preparation is None else preparation.target.classes
        return Model(dataclasses.replace(plan, classes=classes), weights, biases, rng, preparation)


def describe(plan: Plan) -> dict[str, Any]:
    """Return a description of a plan, without its backend, in a form that can be written as JSON.

    Activations and costs are described by their names. Raises `InputError` if two of them have the same name.
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
    """Return the plan for a description, on a backend; the inverse of `describe`.

    `activations` maps names to the user's own activations, and `cost` is the user's own cost. Own activations and costs
    are those that are not part of fastbp. Raises `InputError` if a field is missing or invalid, or if the plan uses an
    activation or a cost that was not passed.
    """
    sizes = [whole_number(f"sizes[{l}]", n, most=_WIDEST) for l, n in enumerate(field(description, "sizes", list))]
    return plan_of(
        sizes,
        _activations(field(description, "activations", list), {**ACTIVATIONS, **(activations or {})}),
        _cost(field(description, "cost", str), cost),
        bias=field(description, "bias", bool),
        dtype=check_dtype_name(field(description, "dtype", str)),  # NumPy is not asked to interpret text from a file
        backend=backend,
        input_scale=field(description, "input_scale", float),
    )


def classes_in(description: Mapping[str, Any], plan: Plan) -> tuple[str, ...]:
    """Return the names of the classes in a description, or an empty tuple if it has none."""
    return checked_classes(field(description, "classes", list), plan) if "classes" in description else ()


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """Return the state of a generator in a form that can be written as JSON.

    Raises `InputError` if the generator is not one of NumPy's.

    >>> rng = np.random.default_rng(0)
    >>> again = generator_from(generator_state(rng))
    >>> again.random() == rng.random()
    True
    """
    kind = type(rng.bit_generator)
    if _GENERATORS.get(kind.__name__) is not kind:
        raise InputError(f"rng must use one of {', '.join(_GENERATORS)} to be saved, got {kind.__name__}")
    state: dict[str, Any] = _plain(rng.bit_generator.state)
    return state


def generator_from(state: Mapping[str, Any]) -> np.random.Generator:
    """Return a generator with the given state; the inverse of `generator_state`.

    Raises `InputError` for an invalid state.
    """
    generator = choose("generator", field(state, "bit_generator", str), _GENERATORS)(0)
    if not _has_same_form(_plain(generator.state), state):
        raise InputError("the state of its generator is not of the form that NumPy uses")
    try:
        generator.state = state
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"the state of its generator is not valid: {one_line(error)}") from error
    if _plain(generator.state) != state:
        raise InputError("the state of its generator is not valid: a number is out of range")
    return np.random.Generator(generator)


def _check_finite(tensors: Tensors) -> None:
    """Raise `InputError` for NaN and infinity.

    A file with such numbers could not be loaded, and it might replace a file that can be loaded.
    """
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            kind, l = name.split(".")
            raise InputError(f"{kind}[{l}] must be finite, got NaN or infinity")


def _plain(state: Any) -> Any:
    """Return the state of a generator with lists and integers instead of NumPy's arrays and scalars."""
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, (np.ndarray, np.generic)) else state


def _has_same_form(valid: Any, given: Any) -> bool:
    """Return whether a state has the keys, types and lengths of a valid state, and indices within bounds."""
    if type(given) is not type(valid):
        return False
    if isinstance(valid, dict):
        return given.keys() == valid.keys() and all(
            _has_same_form(value, given[name]) and (name not in _MAX_INDEX or 0 <= given[name] <= _MAX_INDEX[name])
            for name, value in valid.items()
        )
    return not isinstance(valid, list) or (len(given) == len(valid) and all(map(_has_same_form, valid, given)))


def _preparation(description: Mapping[str, Any], plan: Plan) -> Preparation | None:
    if "preparation" not in description:
        return None
    preparation = from_description(field(description, "preparation", dict))
    preparation.check_sizes(plan.sizes)
    return preparation


def _own_activations(activations: Iterable[Activation]) -> dict[str, Activation]:
    """Return the activations passed by a user, by name."""
    given = list(activations) if isinstance(activations, Iterable) else [None]
    if not all(isinstance(activation, Activation) for activation in given):
        raise InputError(f"activations must be a list of Activation objects, got {brief(activations)}")
    for activation in given:
        _check_name("activation", activation, (*ACTIVATIONS.values(), *given))
    return {activation.name: activation for activation in given}


def _check_name(kind: str, formula: Activation | Cost, others: Iterable[Activation | Cost]) -> None:
    """Raise `InputError` if another formula has the same name."""
    if any(formula.name == other.name and formula != other for other in others):
        raise InputError(
            f"{kind} {brief(formula.name)} has the same name as another {kind}, and files identify them by name; "
            "rename yours"
        )


def _activations(names: list[Any], known: Mapping[str, Activation]) -> list[Activation]:
    missing = [name for name in names if not isinstance(name, str) or name not in known]
    if missing:
        given = truncate(", ".join(map(brief, missing[:9])), 60)
        raise InputError(
            f"it uses activations that are not part of fastbp: {given}; pass them: "
            "load(path, activations=[Activation(…), …])"
        )
    return [known[name] for name in names]


def _cost(name: str, own: Cost | None) -> Cost:
    if own is not None:
        if not isinstance(own, Cost):
            raise InputError(f"cost must be a Cost object, got {brief(own)}")
        _check_name("cost", own, COSTS.values())
        if own.name != name:
            raise InputError(f"cost must be {brief(name)}, as in the file, got {brief(own.name)}")
        return own
    if name in COSTS:
        return COSTS[name]
    raise InputError(f"it uses a cost that is not part of fastbp: {brief(name)}; pass it: load(path, cost=Cost(…))")
