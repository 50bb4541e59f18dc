"""Arrays from any library. Arrays of the backend's library are used directly, and others are read as NumPy arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import backends
from fastbp.errors import InputError, truncate
from fastbp.operations import Backend

Array = Any


def as_backend_array(name: str, values: Array, backend: Backend) -> Array:
    """Return `values` as an array of the backend if they are on its device, and otherwise as a NumPy array.

    Memory is shared with `values` where possible. `name` is used in error messages. Raises `InputError` unless `values`
    are real numbers that can be read (see `as_numpy`).

    >>> as_backend_array("x", [1.0, 2.0], backends.get("numpy"))
    array([1., 2.])
    """
    values = backends.detach(values)
    native = None if backends.kind(values) == "numpy" else backend.from_foreign(name, values)
    if native is None:
        return as_numpy(name, values)
    if not backend.xp.isdtype(native.dtype, ("bool", "integral", "real floating")):
        raise InputError(f"{name} must contain real numbers, got dtype {native.dtype}")
    return native


def as_numpy(name: str, values: Array) -> npt.NDArray[Any]:
    """Return `values` as a NumPy array of real numbers; bfloat16 becomes float32.

    The array shares memory with `values` if possible, so never write to it. `values` may be lists, or any object with a
    buffer, `__array__`, `__array_interface__` or `__dlpack__`. Raises `InputError` if they cannot be read in one of
    these ways, or if they are on a GPU, sparse, masked, or not real numbers.

    >>> as_numpy("x", [[1, 2], [3, 4]]).shape
    (2, 2)
    """
    if type(values) is np.ndarray and values.dtype.kind in "buif":
        return values
    values = backends.detach(values)
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(f"{name} must not be a masked array, whose masked values would count; pass {name}.filled(...)")
    if not isinstance(values, np.ndarray):
        _check_is_readable(name, values)
    if str(getattr(values, "dtype", "")) == "torch.bfloat16":
        values = values.float()  # exact; NumPy has no bfloat16
    try:
        array = np.from_dlpack(values) if _has_only_dlpack(values) else np.asarray(values)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        reason = truncate(str(error).strip().partition("\n")[0], 300)
        given = f"got {type(values).__name__}: {reason}"
        raise InputError(f"{name} must be an array that NumPy can read, {given}") from error
    if array.dtype.name == "bfloat16":  # of the package ml_dtypes, from JAX
        array = array.astype(np.float32)
    if array.dtype.kind not in "buif":
        raise InputError(f"{name} must contain real numbers, got dtype {array.dtype}")
    return array


def _check_is_readable(name: str, values: Array) -> None:
    """Raise `InputError` for sparse arrays and for arrays on a GPU.

    Some libraries would copy an array from the GPU without being asked.
    """
    if backends.device_of(values) is not None:
        raise InputError(
            f"{name} must be on the CPU, got a GPU array of {backends.kind(values)}; copy it to the CPU, "
            "or use a network on the same GPU: backend='cupy'"
        )
    if hasattr(type(values), "toarray"):
        raise InputError(f"{name} must be a dense array, got a sparse {type(values).__name__}; pass {name}.toarray()")


def _has_only_dlpack(values: Array) -> bool:
    return hasattr(values, "__dlpack__") and not any(hasattr(values, f"__array{p}__") for p in ("", "_interface"))
