"""Anybody's arrays on their way in: the backend's own as they lie, and all others read in place as NumPy's."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import backends
from fastbp.errors import InputError, truncate
from fastbp.operations import Backend

Array = Any


def as_backend_array(name: str, values: Array, backend: Backend) -> Array:
    """Return real numbers as an array of the backend's where they lie on its device, and else as `as_numpy` does.

    >>> as_backend_array("x", [1.0, 2.0], backends.get("numpy"))
    array([1., 2.])
    """
    values = backends.detach(values)
    native = None if backends.kind(values) == "numpy" else backend.from_foreign(name, values)
    if native is None:
        return as_numpy(name, values)
    if not backend.xp.isdtype(native.dtype, ("bool", "integral", "real floating")):
        raise InputError(f"{name} has dtype {native.dtype}; wanted are real numbers")
    return native


def as_numpy(name: str, values: Array) -> npt.NDArray[Any]:
    """Return real numbers as NumPy's array: the memory where they lie, if there is one, and never to be written to.

    Values are lists, or have a buffer, `__array__`, `__array_interface__` or `__dlpack__`. Raises `InputError` for what
    cannot be read so, is on a GPU, sparse or masked, or holds no real numbers.

    >>> as_numpy("x", [[1, 2], [3, 4]]).shape
    (2, 2)
    """
    values = backends.detach(values)
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(f"{name} is a masked array, and what is masked would count; wanted is a plain one")
    if not isinstance(values, np.ndarray):
        _check_is_readable(name, values)
    try:
        array = np.from_dlpack(values) if _speaks_dlpack_alone(values) else np.asarray(values)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        reason = truncate(str(error).strip().partition("\n")[0], 300)
        raise InputError(f"{name} is no array that NumPy can read: {reason}") from error
    if array.dtype.kind not in "buif":
        raise InputError(f"{name} has dtype {array.dtype}; wanted are real numbers")
    return array


def _check_is_readable(name: str, values: Array) -> None:
    """Raise `InputError` for what its library might copy from a GPU unasked, and for what is sparse."""
    if backends.device_of(values) is not None:
        raise InputError(
            f"{name} is {backends.kind(values)}'s and on a GPU; wanted is an array on the host, or a network on the "
            "same GPU: backend='cupy'"
        )
    if hasattr(type(values), "toarray"):
        raise InputError(f"{name} is sparse ({type(values).__name__}); wanted is a dense array: {name}.toarray()")


def _speaks_dlpack_alone(values: Array) -> bool:
    return hasattr(values, "__dlpack__") and not any(hasattr(values, f"__array{p}__") for p in ("", "_interface"))
