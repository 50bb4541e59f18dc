"""What both backends of CuPy share: arrays on one GPU, transfers, and the context of the device."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.backends.array_kinds import device_of
from fastbp.backends.cupy.memory import translate_out_of_memory
from fastbp.errors import InputError
from fastbp.operations import Backend

Array = Any


class GPUArrays(Backend):
    """A backend whose arrays are CuPy's, on one GPU. Its work is enqueued on CuPy's current stream.

    `device` is a `CuPyDevice`, which makes all calls of CuPy.
    """

    kind = "cupy"
    device: Any

    def device_context(self) -> AbstractContextManager[Any]:
        """Return a context in which this GPU is CuPy's current device."""
        context: AbstractContextManager[Any] = self.device.device_context()
        return context

    def from_foreign(self, name: str, array: Array) -> Array | None:
        """Return an array as a CuPy array if it is on this GPU, or None if it is on the CPU.

        The array may belong to any library. Raises `InputError` for an array on another GPU.
        """
        number = device_of(array)
        if number is None:
            return None
        if number != self.device.number:
            given = f"{name} is on GPU {number} and the network is on GPU {self.device.number}"
            raise InputError(f"{given}; move both to one device")
        with self.device_context():
            return self.device.from_foreign(array)

    def run(self, equation: Callable[..., None], *arguments: Any) -> None:
        """Run an equation as Python code. It enqueues its operations on the current stream."""
        with self.device_context(), translate_out_of_memory():
            equation(*arguments)

    def empty(self, shape: Sequence[int], dtype: str) -> Array:
        """Return a new, uninitialized array on the device, in C order."""
        with self.device_context(), translate_out_of_memory():
            return self.device.empty(tuple(shape), dtype)

    def upload(self, host: npt.NDArray[Any]) -> Array:
        """Return a copy on the device, in C order."""
        with self.device_context(), translate_out_of_memory():
            return self.device.upload(np.ascontiguousarray(host))

    def assign(self, target: Array, values: Any) -> None:
        """Copy a number, a NumPy array, or an array on this device into an array on this device."""
        value = self.upload(values) if isinstance(values, np.ndarray) else values
        with self.device_context(), translate_out_of_memory():
            self.device.assign(target, value)

    def to_host(self, array: Array) -> npt.NDArray[Any]:
        """Return a copy as a NumPy array."""
        with self.device_context():
            host: npt.NDArray[Any] = self.device.to_host(array)
            return host

    def synchronize(self) -> None:
        """Wait until all work enqueued on the current stream is done."""
        with self.device_context():
            self.device.synchronize()
