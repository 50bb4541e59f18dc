"""Fingerprints of a training run's data, schedule, formulas and generator. A checkpoint recognises its run by them.

A fingerprint is a short text. Equal content has equal fingerprints in every process and on every device.
"""

import copy
import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.activations import ACTIVATIONS
from fastbp.costs import COSTS
from fastbp.errors import brief
from fastbp.operations import Plan
from fastbp.optimizers import OPTIMIZERS, Optimizer
from fastbp.schedules import Schedule, eta_of
from fastbp_kernels.specialize import global_names

Array = Any
HASHED_WHOLE = 2**26
"""Arrays of up to this number of bytes are hashed completely. For a larger array, a sample of this size is hashed."""

PYTHON = str(sys.implementation.cache_tag)
"""The version of Python. Fingerprints of formulas depend on it, because each version compiles functions differently."""

_BLOCK = 2**16  # bytes in each block of a sample, or one example if that is larger
_PIECE = 2**20  # bytes copied to the host at a time
_MOST_EPOCHS = 10_000  # a schedule is evaluated for at most this number of epochs
_CONSTANT_PART = {"PCG64": "inc", "PCG64DXSM": "inc", "Philox": "key"}  # part of the state that never changes


def of_examples(rows: Array, to_host: Callable[[Array], npt.NDArray[Any]]) -> str:
    """Return the fingerprint of a matrix with one example per row: shape, dtype, and a hash of the values.

    The hash depends neither on the memory layout nor on the device. For arrays of up to `HASHED_WHOLE` bytes, it covers
    all values. For a larger array it covers a sample of that size, in blocks spread evenly from the first example to
    the last. The sample limits time and memory, but a change outside the sample is not detected.

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
    """Return the fingerprint of a schedule, made from the η that it returns for each epoch.

    It does not matter whether the schedule is a function or an object. If there are more than 10,000 epochs, the
    schedule is called for 10,000 of them, evenly spread. A copy of the schedule is called, because calls may change the
    state of a schedule.

    >>> of_schedule(lambda epoch, epochs: 0.5, 3) == of_schedule(lambda epoch, epochs: 1 / 2, 3)
    True
    """
    schedule, etas = _copied(schedule), []
    for epoch in np.unique(np.linspace(1, epochs, min(epochs, _MOST_EPOCHS)).astype(np.int64)).tolist():
        try:
            etas.append(f"{eta_of(schedule, epoch, epochs):.9g}")  # 9 digits: the last ones of math.cos may differ
        except Exception as error:  # training will raise it if it reaches that epoch
            etas.append(type(error).__name__)
    return _hash(" ".join(etas))


def of_formulas(plan: Plan) -> dict[str, str]:
    """Return the fingerprints of the activations and the cost in a plan that are not part of fastbp, by name."""
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


def of_optimizer(optimizer: Optimizer) -> dict[str, str]:
    """Return a dict with the fingerprint of your own optimizer's formula. It is empty for built-in optimizers."""
    if type(optimizer) in map(type, OPTIMIZERS.values()):
        return {}
    functions = optimizer.formula, *filter(callable, optimizer.constants.values())
    return {f"optimizer {brief(optimizer.name)}": _hash(_content(functions, ()))}


def of_texts(texts: Iterable[str]) -> str:
    """Return the fingerprint of several fingerprints in order."""
    return _hash(" ".join(texts))


def of_generator(state: Mapping[str, Any]) -> str:
    """Return the fingerprint of a generator, made from the part of its state that depends only on its seed.

    Drawing numbers does not change this part. Generators without such a part have the fingerprint "".

    >>> drawn, other = np.random.default_rng(0), np.random.default_rng(1)
    >>> before = of_generator(drawn.bit_generator.state)
    >>> _ = drawn.random(9)
    >>> before == of_generator(drawn.bit_generator.state) != of_generator(other.bit_generator.state)
    True
    """
    name = _CONSTANT_PART.get(state["bit_generator"])
    return "" if name is None else str(np.asarray(state["state"][name]).tolist())


def _copied(schedule: Schedule) -> Schedule:
    """Return a shallow copy of a schedule. If it is a method, the copy is bound to a copy of the method's object."""
    if isinstance(schedule, MethodType):
        return MethodType(schedule.__func__, copy.copy(schedule.__self__))
    return copy.copy(schedule)


def _content(value: Any, callers: tuple[Any, ...]) -> str:
    """Return a text that describes what a function computes: its code, its constants, and all that it reads.

    `callers` are the functions that are being described at the moment. If one of them is called again, only its name is
    given.
    """
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
