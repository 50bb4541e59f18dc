"""Arrays from any library. Arrays of the backend's library are used directly, and others are read as NumPy arrays."""

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import backends
from fastbp.errors import InputError, brief, truncate
from fastbp.operations import Backend

Array = Any
_FRAMES = ("pandas", "polars", "pyarrow")
_MISSING = ("NAType", "NoneType")  # the types of pandas.NA and None


def as_backend_array(name: str, values: Array, backend: Backend) -> Array:
    """Return `values` as an array of the backend if they are on its device, and otherwise as a NumPy array.

    Memory is shared with `values` where possible. `name` is used in error messages. Raises `InputError` unless `values`
    are real numbers that can be read (see `as_numpy`).

    >>> as_backend_array("x", [1.0, 2.0], backends.get("numpy"))
    array([1., 2.])
    """
    values = backends.detach(values)
    is_foreign = backends.kind(values) != "numpy" or backends.device_of(values) is not None
    native = backend.from_foreign(name, values) if is_foreign else None
    if native is None:
        return as_numpy(name, values)
    if not backend.xp.isdtype(native.dtype, ("bool", "integral", "real floating")):
        raise InputError(f"{name} must contain real numbers, got dtype {native.dtype}")
    return native


def as_numpy(name: str, values: Array) -> npt.NDArray[Any]:
    """Return `values` as a NumPy array of real numbers; bfloat16 becomes float32.

    The array shares memory with `values` if possible, so never write to it. `values` may be lists, or any object with a
    buffer, `__array__`, `__array_interface__` or `__dlpack__`. Raises `InputError` if they cannot be read in one of
    these ways, or if they are on a GPU, sparse, masked, or not real numbers. In frames of pandas, Polars and PyArrow,
    missing numbers become NaN.

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
    if array.dtype.name == "bfloat16":  # a dtype of the package ml_dtypes, which JAX uses
        array = array.astype(np.float32)
    if array.dtype == object and type(values).__module__.partition(".")[0] in _FRAMES:
        array = _numbers_in(name, array)
    if array.dtype.kind not in "buif":
        hint = f"; pass {name}.astype(float)" if isinstance(values, np.ndarray) and array.dtype == object else ""
        raise InputError(f"{name} must contain real numbers, got dtype {array.dtype}{hint}")
    return array


def text_labels(values: Array) -> npt.NDArray[Any] | None:
    """Return labels that are text as an array of shape (n,), or None for other values. Some labels may be missing.

    >>> text_labels(["no", "yes"]).tolist(), text_labels([0, 1])
    (['no', 'yes'], None)
    """
    if type(values) is np.ndarray and values.dtype.kind in "buif":
        return None
    first = values
    while isinstance(first, (list, tuple)):
        first = next((value for value in first if value is not None), None)
    if not (
        isinstance(first, str) or isinstance(values, np.ndarray) or type(values).__module__.partition(".")[0] in _FRAMES
    ):
        return None
    try:
        array = np.asarray(values, object if isinstance(values, (list, tuple)) else None)  # NaN must not become "nan"
    except (TypeError, ValueError):
        return None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    is_text = array.dtype.kind in "UT"
    if array.dtype == object:
        others = [value for value in array.flat if not isinstance(value, str)]
        is_text = len(others) < array.size and all(type(v).__name__ in _MISSING or v != v for v in others)
    return array if array.ndim == 1 and array.size and is_text else None


def _numbers_in(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the numbers in an array of Python objects from a frame. Missing numbers become NaN."""
    kinds = set(map(type, array.flat))
    missing = {kind for kind in kinds if kind.__name__ in _MISSING}
    others = kinds - missing
    if not all(issubclass(kind, (Real, np.bool_)) for kind in others):
        example = next(v for v in array.flat if type(v) not in missing and not isinstance(v, (Real, np.bool_)))
        advice = f"leave out columns of text and dates, or pass pandas.get_dummies({name}, dtype=float)"
        raise InputError(f"{name} must contain real numbers, got {brief(example)}; {advice}")
    if missing:
        array = np.frompyfunc(lambda value: math.nan if type(value) in missing else value, 1, 1)(array)
    whole = not missing and all(issubclass(kind, Integral) for kind in others)
    try:
        return array.astype(np.int64 if whole else np.float64)
    except OverflowError as error:
        raise InputError(f"{name} must contain numbers in the range of float64, got an integer beyond it") from error


def _check_is_readable(name: str, values: Array) -> None:
    """Raise `InputError` for sparse arrays and for arrays on a GPU.

    Without this check, some libraries would silently copy an array from the GPU.
    """
    if backends.device_of(values) is not None:
        library = type(values).__module__.partition(".")[0]
        raise InputError(
            f"{name} must be on the CPU, got a GPU array of {library}; copy it to the CPU, "
            "or use a network on the same GPU: backend='cupy'"
        )
    if hasattr(type(values), "toarray"):
        raise InputError(f"{name} must be a dense array, got a sparse {type(values).__name__}; pass {name}.toarray()")


def _has_only_dlpack(values: Array) -> bool:
    return hasattr(values, "__dlpack__") and not any(hasattr(values, f"__array{p}__") for p in ("", "_interface"))
