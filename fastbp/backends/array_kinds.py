"""Find out which library an array belongs to, and which device it is on."""

from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

import numpy as np

# fmt: off
BackendName: TypeAlias = Literal[
    "numpy", "numpy-plain", "cupy", "torch", "array_api_strict", "auto",
    "cupy:0", "cupy:1", "cupy:2", "cupy:3", "cupy:4", "cupy:5", "cupy:6", "cupy:7",
    "cupy:local", "cupy:local+tf32", "cupy+tf32", "cupy:0+tf32", "cupy:1+tf32", "cupy:2+tf32", "cupy:3+tf32",
    "cupy:4+tf32", "cupy:5+tf32", "cupy:6+tf32", "cupy:7+tf32",
    "cupy-plain", "cupy-plain:0", "cupy-plain:1", "cupy-plain:2", "cupy-plain:3", "cupy-plain:local",
    "torch:cpu", "torch:mps", "torch:xpu", "torch:cuda", "torch:cuda:0", "torch:cuda:1", "torch:cuda:2", "torch:cuda:3",
]
# fmt: on
"""The names that type checkers accept for `fastbp.backends.get`. At run time, any GPU number is accepted."""

NAMES = ("numpy", "numpy-plain", "cupy", "cupy-plain", "torch", "array_api_strict")
"""The names of the backends, without devices and options."""

_DLPACK_CUDA = 2  # kDLCUDA


def kind(array: Any) -> str:
    """Return the name of an array's library, without importing it.

    Parameters
    ----------
    array : array_like
        An array of any library, a list or a number.

    Returns
    -------
    str
        The name of the top-level package, like "torch". For lists, numbers and other objects that are not arrays, the
        name is "numpy".

    Examples
    --------
    >>> kind(np.zeros(3)), kind([0.0])
    ('numpy', 'numpy')
    """
    if isinstance(array, np.ndarray):
        return "numpy"
    package = type(array).__module__.partition(".")[0]
    return package if package in NAMES or hasattr(array, "__array_namespace__") else "numpy"


def detach(array: Any) -> Any:
    """Return a PyTorch tensor without its gradient history; other arrays are returned unchanged.

    Parameters
    ----------
    array : array_like
        An array of any library.

    Returns
    -------
    array_like
        For a PyTorch tensor, a tensor that shares its memory. Otherwise the given array itself.

    Examples
    --------
    >>> detach([1.0])
    [1.0]
    """
    return array.detach() if hasattr(type(array), "detach") else array


def device_of(array: Any) -> int | None:
    """Return the number of the GPU that holds an array.

    Parameters
    ----------
    array : array_like
        An array of CuPy, or of any library with the DLPack protocol or `__cuda_array_interface__`.

    Returns
    -------
    int or None
        The number of the CUDA device. It is None for arrays on the CPU and for objects that are not arrays.

    Examples
    --------
    >>> device_of(np.zeros(3)) is None
    True
    """
    if isinstance(array, np.ndarray):
        return None
    if kind(array) == "cupy":
        return int(array.device.id)
    try:
        if hasattr(array, "__dlpack_device__"):
            device, number = array.__dlpack_device__()
            return int(number) if device == _DLPACK_CUDA else None
        interface = getattr(array, "__cuda_array_interface__", None)
    except (ValueError, TypeError, RuntimeError, BufferError):
        return None  # an array without memory, like PyTorch's meta tensors
    return None if interface is None else _device_of_memory(interface["data"][0])


def _device_of_memory(pointer: int) -> int:
    """Return the number of the GPU that memory is on; the current one if CuPy is missing, or there is no memory."""
    if pointer == 0 or find_spec("cupy") is None:
        return 0
    from cupy.cuda import runtime

    return int(runtime.pointerGetAttributes(pointer).device)
