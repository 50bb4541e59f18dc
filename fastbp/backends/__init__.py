"""Backends: the compiled code and the array libraries that run the equations, on the CPU or on a GPU.

Functions of arrays, like `fastbp.backprop`, use the backend of their arrays. A network uses the backend given as an
argument. Without this argument, it uses the backend set with `use_backend`, else the one named in the environment
variable FASTBP_BACKEND, else "numpy".
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
from typing import Any, TypeAlias, cast

from fastbp.backends.array_kinds import NAMES, BackendName, detach, device_of, kind
from fastbp.errors import InputError, brief, choose
from fastbp.operations import Backend

__all__ = [
    "NAMES",
    "BackendLike",
    "BackendName",
    "available",
    "detach",
    "device_of",
    "get",
    "infer",
    "kind",
    "restored",
    "use_backend",
]

BackendLike: TypeAlias = BackendName | ModuleType | Backend
"""A backend, the name of a backend, or an array API namespace."""

_CUPY = re.compile(r"cupy(?::(\d+|local))?(\+tf32)?")  # the groups are the device and the option "+tf32"
_CUPY_PLAIN = re.compile(r"cupy-plain(?::(\d+|local))?")
_MEANT = {
    "gpu": "'cupy' (an NVIDIA GPU), 'torch:cuda' or 'torch:mps' (other GPUs, with PyTorch)",
    "cuda": "'cupy', or 'torch:cuda' for PyTorch",
    "mps": "'torch:mps'",
    "rocm": "'torch:cuda', with a build of PyTorch for ROCm, or 'cupy-plain', with a CuPy for ROCm",
    "cpu": "'numpy'",
}
"""Names that other libraries give to devices, and the backends for them."""
_chosen: ContextVar[Backend | None] = ContextVar("fastbp_backend", default=None)


def available() -> dict[str, str | None]:
    """Return which backends can be used, and why the others cannot be used.

    Returns
    -------
    dict
        Maps each name in `NAMES` to None if the backend can be used. Otherwise it maps the name to the reason, which is
        one line and includes the command that fixes the problem.

    Notes
    -----
    "numpy" runs compiled code on the CPU, and "cupy" runs compiled code on a GPU. "numpy-plain" runs the same equations
    as plain NumPy expressions, for comparison, and "cupy-plain" as CuPy's array expressions. "torch" and
    "array_api_strict" run them with the array API libraries of these names. Of all these libraries, this function
    imports only CuPy, if it is installed.

    Examples
    --------
    >>> available()["numpy"] is None
    True
    """
    from fastbp.backends.cupy.diagnosis import plain_unavailable_reason, unavailable_reason

    reasons: dict[str, str | None] = dict.fromkeys(NAMES)
    reasons |= {"cupy": unavailable_reason(), "cupy-plain": plain_unavailable_reason()}
    for package in ("torch", "array_api_strict"):
        if find_spec(package) is None:
            reasons[package] = f"not installed: pip install {package.replace('_', '-')}"
    return reasons


def get(choice: BackendLike | None = None) -> Backend:
    """Return the chosen backend, by default the current one.

    Parameters
    ----------
    choice : str, module or Backend, optional
        The name of a backend, a backend, or an array API namespace whose arrays are writable. The default is the
        current backend. This is the backend set with `use_backend`, else the one named in the environment variable
        FASTBP_BACKEND, else "numpy".

        "cupy" means CuPy's current device, and "cupy:1" means the second GPU. "cupy:local" means the GPU of this rank,
        where a launcher such as mpiexec has started one rank per GPU. With "cupy+tf32" or "cupy:1+tf32",
        products of float32 matrices are faster, but use only 10 bits of the mantissas of the factors. "auto" means
        "cupy" if a GPU can be used, and "numpy" otherwise. The choice made for "auto" is logged once.

        "cupy-plain" and "cupy-plain:1" compute with CuPy's array expressions, which needs no numba-cuda. "torch:cuda",
        "torch:cuda:1" and "torch:mps" are devices of PyTorch. They are used only when they are named.

    Returns
    -------
    Backend
        The backend. Calls with the same name and device return the same object.

    Raises
    ------
    InputError
        If the name is unknown or the backend cannot be used. The message contains the reason.

    Notes
    -----
    Type checkers accept names with the GPU numbers 0 to 7. For a name that is built at run time, like
    ``f"cupy:{rank}"``, use ``typing.cast(BackendName, name)``.

    Examples
    --------
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
def use_backend(choice: BackendLike) -> Iterator[Backend]:
    """Set the current backend within a `with` block.

    Parameters
    ----------
    choice : str, module or Backend
        Any value that `get` accepts.

    Yields
    ------
    Backend
        The backend that is current within the block.

    Raises
    ------
    InputError
        If the name is unknown or the backend cannot be used.

    Notes
    -----
    The setting applies to the current thread or asyncio task only.

    Examples
    --------
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
    """Return the backend for the given arrays. The first array decides.

    Parameters
    ----------
    **arrays : array
        Arrays of any library, all on the CPU or all on the same GPU. The keywords are used in error messages.

    Returns
    -------
    Backend
        The backend of the first array's library. For NumPy arrays, this is the current backend if it works on NumPy
        arrays, else "numpy". The same holds for arrays of a library whose arrays are read-only. For arrays on a GPU of
        CuPy, this is "cupy", or "cupy-plain" if the current backend is "cupy-plain".

    Raises
    ------
    InputError
        If the arrays are on different devices.

    Examples
    --------
    >>> import numpy as np
    >>> infer(x=np.zeros(3), y=np.zeros(3)).name
    'numpy'
    """
    (first, array), *others = arrays.items()
    number = device_of(array)
    for name, other in others:
        if None in (number, device_of(other)) and number != device_of(other):
            here, there = ("on the CPU", "on a GPU") if number is None else ("on a GPU", "on the CPU")
            given = f"{first} ({kind(array)}) is {here} and {name} ({kind(other)}) is {there}"
            raise InputError(f"{given}; move both to one device")
        if device_of(other) != number:
            given = f"{first} is on GPU {number} and {name} is on GPU {device_of(other)}"
            raise InputError(f"{given}; move both to one device")
    if kind(array) == "cupy" or (kind(array) == "numpy" and number is not None):  # no namespace, but on a GPU
        return _named(f"cupy-plain:{number}" if get().name.startswith("cupy-plain") else f"cupy:{number}")
    if kind(array) == "torch" and str(array.device) != "cpu":
        return _named(f"torch:{array.device}")
    if kind(array) in NAMES and kind(array) != "numpy":
        return _named(kind(array))
    if kind(array) != "numpy":
        with suppress(InputError):  # raised for libraries whose arrays are read-only
            return _over(array.__array_namespace__())
    current = get()
    return current if current.name.startswith("numpy") else _named("numpy")


def _named(name: str) -> Backend:
    if name == "auto":
        return _automatic()
    if match := _CUPY.fullmatch(name):
        from fastbp.backends.cupy.device import cupy_backend

        device = match[1] if match[1] in (None, "local") else int(match[1])
        return cupy_backend(cast(Any, device), tf32=match[2] is not None)
    if match := _CUPY_PLAIN.fullmatch(name):
        from fastbp.backends.cupy.expressions import cupy_plain_backend

        return cupy_plain_backend(match[1] if match[1] in (None, "local") else int(match[1]))  # type: ignore[arg-type]
    if name.startswith("torch:"):
        from fastbp.backends.torch_devices import torch_backend

        return torch_backend(name)
    if name in _MEANT:
        raise InputError(f"unknown backend {name!r}; did you mean {_MEANT[name]}?")
    choose("backend", name, dict.fromkeys((*NAMES, "auto")))
    return _on_host(name)


@cache
def _automatic() -> Backend:
    from fastbp.backends.cupy.diagnosis import unavailable_reason

    reason = unavailable_reason()
    backend = _named("numpy" if reason else "cupy")
    why = f", because cupy cannot be used: {reason}" if reason else ""
    logging.getLogger("fastbp").warning(f"backend auto: using {backend.name}{why}")
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
        raise InputError(f"{namespace.__name__!r} is not an array API namespace; valid backends: {', '.join(NAMES)}")
    return ArrayAPI(root, namespace)


def restored(name: str, namespace: str) -> Backend:
    """Return the backend whose name, or whose array API namespace, was written to a pickle."""
    return _named(name) if name.partition(":")[0] in NAMES else _over(import_module(namespace))


Backend.restore = staticmethod(restored)
