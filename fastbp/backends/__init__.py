"""Where the algorithm runs: which backends there are, and which one is meant.

A backend is chosen by the data, by an argument, by `use_backend` or by the environment variable FASTBP_BACKEND, in this
order.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from fastbp.backends.operations import Backend
from fastbp.checks import InputError, choose

NAMES = ("numpy", "numpy-plain", "cupy", "torch", "array_api_strict")
_NO_CUPY = "this version of fastbp has no CUDA backend yet"
_chosen: ContextVar[Backend | None] = ContextVar("fastbp_backend", default=None)


def available() -> dict[str, str | None]:
    """Return every backend's name, with None where it can be used and otherwise the reason why not.

    "numpy" is compiled and fused; "numpy-plain" the same equations as plain NumPy expressions, for comparison; the
    others are namespaces of the array API. Nothing is imported to find out.

    >>> available()["numpy"] is None
    True
    """
    reasons = dict.fromkeys(NAMES) | {"cupy": _NO_CUPY}
    for package in ("torch", "array_api_strict"):
        if find_spec(package) is None:
            reasons[package] = f"not installed: pip install {package.replace('_', '-')}"
    return reasons


def get(choice: Any = None) -> Backend:
    """Return a backend by its name, or over an array namespace, or the current one for None.

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
    return _named(choice if isinstance(choice, str) else repr(choice))


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


def kind(array: Any) -> str:
    """Return the name of the package that an array is of; lists and numbers count as NumPy's. Nothing is imported.

    >>> kind(np.zeros(3)), kind([0.0])
    ('numpy', 'numpy')
    """
    if isinstance(array, np.ndarray):
        return "numpy"
    package = type(array).__module__.partition(".")[0]
    return package if package in NAMES or hasattr(array, "__array_namespace__") else "numpy"


def detached(array: Any) -> Any:
    """Return an array without a history of its own that it would pass on, as PyTorch's tensors may have.

    >>> detached([1.0])
    [1.0]
    """
    return array.detach() if hasattr(array, "detach") else array


def of(**arrays: Any) -> Backend:
    """Return the backend that runs on arrays of this kind; raises `InputError`, naming both, if they are of two.

    For NumPy's arrays that is the current backend if it works on them, else "numpy".

    >>> of(x=np.zeros(3), y=np.zeros(3)).name
    'numpy'
    """
    (first, array), *others = arrays.items()
    for name, other in others:
        if kind(other) != kind(array):
            raise InputError(
                f"arrays of two kinds: {first} is {kind(array)}'s and {name} is {kind(other)}'s; wanted is one kind"
            )
    if kind(array) == "numpy":
        current = get()
        return current if current.name.startswith("numpy") else _named("numpy")
    if kind(array) in NAMES:
        return _named(kind(array))
    return _over(array.__array_namespace__())


@cache
def _named(name: Any) -> Backend:
    reason = choose("backend", name, available())
    if reason is not None:
        raise InputError(f"backend {name!r} cannot be used: {reason}")
    if name == "numpy":
        from fastbp.backends.numpy import CompiledNumPy

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
