"""The equations on a GPU as CuPy's own array expressions. The name of this backend is "cupy-plain".

Each expression is one or more kernels of CuPy, and its results are new arrays. So this backend is slower than "cupy",
whose kernels are fused. It needs neither numba-cuda nor NVIDIA's compilers: it works with every CuPy that finds a GPU.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

from fastbp.backends.array_api import ArrayAPI
from fastbp.backends.cupy import device as compiled
from fastbp.backends.cupy.gpu_arrays import GPUArrays
from fastbp.errors import InputError
from fastbp.operations import Backend

Array = Any


class CuPyPlain(GPUArrays, ArrayAPI):
    """The equations, interpreted with CuPy's array expressions on one GPU. `device` is a `CuPyDevice`."""

    def __init__(self, name: str, device: Any) -> None:
        super().__init__(name, device.xp, device)

    def __reduce__(self) -> tuple[Callable[..., Backend], tuple[str, ...]]:
        return self.restore, (f"cupy-plain:{self.device.number}", "cupy")

    def read_cost_total(self, total: Array) -> float:
        """Return the total as a Python number."""
        return float(self.to_host(total)[0])

    def _units(self, count: int) -> Array:
        return self.xp.arange(count, dtype=self.xp.int64)  # of the current device


def cupy_plain_backend(number: int | Literal["local"] | None = None) -> CuPyPlain:
    """Return the backend for a GPU, by default CuPy's current device; raises `InputError` if it cannot be used.

    The number "local" means the GPU of this rank, as in `cupy_backend`.
    """
    from fastbp.backends.cupy.diagnosis import plain_unavailable_reason

    if number == "local":
        number = None if plain_unavailable_reason() else compiled.local_number()
    if not (_usable and (compiled.current_number() if number is None else number) in _usable):
        reason = plain_unavailable_reason(number)
        if reason is not None:
            raise InputError(f"backend 'cupy-plain' cannot be used: {reason}")
    number = compiled.current_number() if number is None else number
    _usable.add(number)
    return _on_device(number)


_usable: set[int] = set()
"""The devices that have been found usable."""


@cache
def _on_device(number: int) -> CuPyPlain:
    return CuPyPlain(f"cupy-plain:{number}" if number else "cupy-plain", compiled.CuPyDevice(number))
