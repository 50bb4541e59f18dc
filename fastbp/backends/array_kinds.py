"""Which library an array belongs to, and which device it is on."""

from typing import Any

import numpy as np

NAMES = ("numpy", "numpy-plain", "cupy", "torch", "array_api_strict")
"""The names of the backends."""

_DLPACK_CUDA = 2  # kDLCUDA


def kind(array: Any) -> str:
    """Return the name of the package that an array is of; lists and numbers count as NumPy's. Nothing is imported.

    >>> kind(np.zeros(3)), kind([0.0])
    ('numpy', 'numpy')
    """
    if isinstance(array, np.ndarray):
        return "numpy"
    package = type(array).__module__.partition(".")[0]
    return package if package in NAMES or hasattr(array, "__array_namespace__") else "numpy"


def detach(array: Any) -> Any:
    """Return an array without a history of its own that it would pass on, as PyTorch's tensors may have.

    >>> detach([1.0])
    [1.0]
    """
    return array.detach() if hasattr(type(array), "detach") else array


def device_of(array: Any) -> int | None:
    """Return the number of the GPU that an array lies on, CuPy's or by the DLPack protocol; None if it lies on none.

    >>> device_of(np.zeros(3)) is None
    True
    """
    if kind(array) == "cupy":
        return int(array.device.id)
    try:
        device, number = array.__dlpack_device__() if hasattr(array, "__dlpack_device__") else (None, None)
    except (ValueError, TypeError, RuntimeError, BufferError):
        return None  # it lies nowhere, like a meta tensor of PyTorch's
    return number if device == _DLPACK_CUDA else None
