"""Fingerprints of what decides a run of training: data, schedule, formulas, generator.

They are short texts, equal in every process and on every device for equal content.
"""

import copy
import hashlib
import sys
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.activations import ACTIVATIONS
from fastbp.costs import COSTS
from fastbp.errors import brief
from fastbp.operations import Plan
from fastbp.schedules import Schedule, eta_of
from fastbp_kernels.specialize import global_names

Array = Any
HASHED_WHOLE = 2**26
"""Bytes of an array that are all hashed; of a larger one as many, in blocks that are spread evenly over it."""

PYTHON = str(sys.implementation.cache_tag)
"""The version of Python whose code a fingerprint of formulas is made of: another one has other code for the same."""

_BLOCK = 2**16  # bytes of each of those blocks, or one example if that has more
_PIECE = 2**20  # bytes brought to the host at a time
_MOST_EPOCHS = 10_000
_NEVER_CHANGES = {"PCG64": "inc", "PCG64DXSM": "inc", "Philox": "key"}


def of_examples(rows: Array, to_host: Callable[[Array], npt.NDArray[Any]]) -> str:
    """Return the fingerprint of a matrix with one example per row: shape, dtype, and a hash of the values.

    The hash does not depend on the layout in memory, nor on the device. Up to `HASHED_WHOLE` bytes it covers all
    values; of a larger array a sample of that size, in blocks spread evenly from the first example to the last, so
    that time and memory are bounded, and a change between the blocks is missed.

    >>> ones = np.ones((3, 2), "float32")
    >>> of_examples(ones, np.asarray) == of_examples(np.asfortranarray(ones), np.asarray)
    True
    """
    digest = hashlib.sha256()
    count, dtype = int(rows.shape[0]), to_host(rows[:1, :]).dtype
    width = max(1, int(rows.shape[1]) * dtype.itemsize)
    if count * width <= HASHED_WHOLE:
        step = max(1, _PIECE // width)
        starts = list(range(0, count, step))
    else:
        step = min(count, max(1, _BLOCK // width))
        blocks = max(2, HASHED_WHOLE // (step * width))
        starts = np.linspace(0, count - step, blocks).astype(np.int64).tolist()
    for start in starts:
        piece = np.ascontiguousarray(to_host(rows[start : min(start + step, count), :]), dtype.newbyteorder("<"))
        digest.update(piece.reshape(-1).view(np.uint8).data)
    return f"{tuple(map(int, rows.shape))} {dtype.name} {digest.hexdigest()[:32]}"


def of_schedule(schedule: Schedule, epochs: int) -> str:
    """Return the fingerprint of a schedule over so many epochs: of the η it returns, whatever kind of callable it is.

    Of more than 10,000 epochs as many are asked for, evenly spread. An object is copied before it is called.

    >>> of_schedule(lambda epoch, epochs: 0.5, 3) == of_schedule(lambda epoch, epochs: 1 / 2, 3)
    True
    """
    schedule, etas = _copied(schedule), []
    for epoch in np.unique(np.linspace(1, epochs, min(epochs, _MOST_EPOCHS)).astype(np.int64)).tolist():
        try:
            etas.append(f"{eta_of(schedule, epoch, epochs):.9g}")  # math.cos may differ in its last digits
        except Exception as error:  # training raises it if it comes to that epoch
            etas.append(type(error).__name__)
    return _hash(" ".join(etas))


def of_formulas(plan: Plan) -> dict[str, str]:
    """Return the fingerprints of a plan's activations and cost, by name, without those that come with fastbp."""
    cost = plan.formulas.output.cost_function
    own: dict[str, tuple[Any, Any]]
    own = {
        f"activation {brief(a.name)}": (a.f, a.prime)
        for a in plan.formulas.activations
        if a not in ACTIVATIONS.values()
    }
    if cost not in COSTS.values():
        own[f"cost {brief(cost.name)}"] = cost.f, cost.prime
    return {name: _hash(_content(functions, ())) for name, functions in own.items()}


def of_generator(state: Mapping[str, Any]) -> str:
    """Return the part of a generator's state that its seed decides and that never changes, or "" if it has none.

    >>> drawn, other = np.random.default_rng(0), np.random.default_rng(1)
    >>> before = of_generator(drawn.bit_generator.state)
    >>> _ = drawn.random(9)
    >>> before == of_generator(drawn.bit_generator.state) != of_generator(other.bit_generator.state)
    True
    """
    name = _NEVER_CHANGES.get(state["bit_generator"])
    return "" if name is None else str(np.asarray(state["state"][name]).tolist())


def _copied(schedule: Schedule) -> Schedule:
    """Return a schedule whose calls do not change the one given, where that can be had without copying its data."""
    if isinstance(schedule, MethodType):
        return MethodType(schedule.__func__, copy.copy(schedule.__self__))
    return copy.copy(schedule)


def _content(value: Any, callers: tuple[Any, ...]) -> str:
    """Return a text of what a function computes by: code, constants, and the content of all that it reads."""
    if isinstance(value, CodeType):
        return f"{value.co_code.hex()} {value.co_names} {_content(value.co_consts, callers)}"
    if isinstance(value, FunctionType):
        name = f"{value.__module__}.{value.__qualname__}"
        if value in callers or name.startswith(("fastbp.", "fastbp_kernels.")):
            return name
        used = global_names(value.__code__) & value.__globals__.keys()
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        parts = (value.__code__, {name: value.__globals__[name] for name in used}, value.__defaults__, cells)
        return _content(parts, (*callers, value))
    if isinstance(value, (list, tuple)):
        return f"({', '.join(_content(part, callers) for part in value)})"
    if isinstance(value, (dict, set, frozenset)):
        items = value.items() if isinstance(value, dict) else value
        return f"{{{', '.join(sorted(_content(item, callers) for item in items))}}}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {_hash(value.tobytes().hex())}"
    if value is None or isinstance(value, (int, float, complex, str, bytes, np.generic)):
        return f"{type(value).__name__} " + repr(value)
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
