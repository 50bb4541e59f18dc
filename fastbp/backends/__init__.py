"""Where the algorithm runs: which backends there are, and which one is meant.

A backend is chosen by the data, by an argument, by `use_backend` or by the environment variable FASTBP_BACKEND, in this
order.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from fastbp.backends.array_kinds import NAMES, detach, device_of, kind
from fastbp.errors import InputError, brief, choose
from fastbp.operations import Backend

__all__ = ["NAMES", "available", "detach", "device_of", "get", "infer", "kind", "restored", "use_backend"]
_CUPY = re.compile(r"cupy(?::(\d+))?(\+tf32)?")  # a device other than the current one, products of less precision
_chosen: ContextVar[Backend | None] = ContextVar("fastbp_backend", default=None)


def available() -> dict[str, str | None]:
    """Return every backend's name, with None where it can be used and otherwise the reason why not.

    "numpy" is compiled and fused, "cupy" the same on a GPU; "numpy-plain" the same equations as plain NumPy
    expressions, for comparison; the others are namespaces of the array API. Of these CuPy alone, where it is
    installed, is imported to find out.

    >>> available()["numpy"] is None
    True
    """
    from fastbp.backends.cupy.diagnosis import unavailable_reason

    reasons: dict[str, str | None] = dict.fromkeys(NAMES) | {"cupy": unavailable_reason()}
    for package in ("torch", "array_api_strict"):
        if find_spec(package) is None:
            reasons[package] = f"not installed: pip install {package.replace('_', '-')}"
    return reasons


def get(choice: Any = None) -> Backend:
    """Return a backend by its name, or over an array namespace, or the current one for None.

    "cupy" is CuPy's current device, "cupy:1" the second; "cupy+tf32" multiplies float32 matrices faster with 10 bits of
    their mantissas. "auto" is "cupy" where a device answers and otherwise "numpy", and says once which.

    Raises `InputError` for a name that is unknown, or a backend that cannot be used, with the reason.

    >>> get("numpy").name
    'numpy'
    """
    if choice is None:
        return _chosen.get() or _named(os.environ.get("FASTBP_BACKEND") or "numpy")
    if isinstance(choice, Backend):
        return choice
    if isinstance(choice, ModuleType):
        return _over(choice)
    return _named(choice if isinstance(choice, str) else brief(choice))


@contextmanager
def use_backend(choice: Any) -> Iterator[Backend]:
    """Make a backend the current one within a `with` block, in this thread or task.

    >>> with use_backend("numpy-plain"):
    ...     get().name
    'numpy-plain'
    """
    token = _chosen.set(get(choice))
    try:
        yield get()
    finally:
        _chosen.reset(token)


def infer(**arrays: Any) -> Backend:
    """Return the backend that runs on arrays of the first one's kind; the others may be of any that lie beside it.

    For NumPy's arrays that is the current backend if it works on them, else "numpy", as for those of a library whose
    arrays cannot be written to. Raises `InputError`, naming both, for arrays on the host and on a GPU, or on two GPUs.

    >>> import numpy as np
    >>> infer(x=np.zeros(3), y=np.zeros(3)).name
    'numpy'
    """
    (first, array), *others = arrays.items()
    number = device_of(array)
    for name, other in others:
        if None in (number, device_of(other)) and number != device_of(other):
            here, there = ("on the host", "on a GPU") if number is None else ("on a GPU", "on the host")
            given = f"{first} is {kind(array)}'s, {here}, and {name} is {kind(other)}'s, {there}"
            raise InputError(f"{given}; wanted is one place")
        if device_of(other) != number:
            raise InputError(f"{first} is on GPU {number} and {name} on GPU {device_of(other)}; wanted is one device")
    if kind(array) == "cupy":
        return _named(f"cupy:{number}")
    if kind(array) in NAMES and kind(array) != "numpy":
        return _named(kind(array))
    if kind(array) != "numpy":
        with suppress(InputError):  # of a namespace whose arrays cannot be written to
            return _over(array.__array_namespace__())
    current = get()
    return current if current.name.startswith("numpy") else _named("numpy")


def _named(name: str) -> Backend:
    if name == "auto":
        return _automatic()
    if match := _CUPY.fullmatch(name):
        from fastbp.backends.cupy.device import cupy_backend

        return cupy_backend(None if match[1] is None else int(match[1]), tf32=match[2] is not None)
    choose("backend", name, dict.fromkeys((*NAMES, "auto")))
    return _on_host(name)


@cache
def _automatic() -> Backend:
    from fastbp.backends.cupy.diagnosis import unavailable_reason

    reason = unavailable_reason()
    backend = _named("numpy" if reason else "cupy")
    why = f", since cupy cannot be used: {reason}" if reason else ""
    logging.getLogger("fastbp").warning(f"backend auto: {backend.name}{why}")
    return backend


@cache
def _on_host(name: str) -> Backend:
    if name in ("torch", "array_api_strict") and find_spec(name) is None:
        raise InputError(f"backend {name!r} cannot be used: {available()[name]}")
    if name == "numpy":
        from fastbp.backends.numpy.compiled import CompiledNumPy

        return CompiledNumPy()
    from fastbp.backends.array_api import ArrayAPI

    return ArrayAPI(name, import_module({"numpy-plain": "numpy", "torch": "array_api_compat.torch"}.get(name, name)))


@cache
def _over(namespace: ModuleType) -> Backend:
    root = namespace.__name__.removeprefix("array_api_compat.").partition(".")[0]
    if root in NAMES:
        return _named(root)
    from fastbp.backends.array_api import ArrayAPI

    if not hasattr(namespace, "take"):
        raise InputError(f"{namespace.__name__!r} is no namespace of the array API; valid backends: {', '.join(NAMES)}")
    return ArrayAPI(root, namespace)


def restored(name: str, namespace: str) -> Backend:
    """Return the backend that a pickle names."""
    return get(name if name.partition(":")[0] in NAMES else import_module(namespace))


Backend.restore = staticmethod(restored)
