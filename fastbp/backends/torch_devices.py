"""The devices of PyTorch: networks whose arrays are on a GPU of NVIDIA, AMD, Apple or Intel.

The equations are interpreted with PyTorch's array expressions. PyTorch must have been built for the device. Its builds
for AMD's ROCm call their devices "cuda".
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from fastbp.backends.array_api import ArrayAPI
from fastbp.errors import InputError, brief, one_line

_BUILDS = {
    "cuda": "a build for CUDA or ROCm",
    "mps": "a build for macOS on Apple silicon",
    "xpu": "a build for Intel's GPUs",
}


class TorchDevice(ArrayAPI):
    """The equations on a device of PyTorch, with PyTorch's array expressions."""

    def synchronize(self) -> None:
        """Wait for the device's current stream."""
        import torch

        if self.device.type in _BUILDS:
            getattr(torch, self.device.type).synchronize()

    def description(self) -> str:
        """Return the name of the device and the version of PyTorch."""
        import torch

        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device
        return f"{name}, PyTorch {torch.__version__}"

    def free_bytes(self, of_host: Callable[[], int]) -> int:
        """Return the number of free bytes. If PyTorch does not report it, return that of the host."""
        import torch

        return int(torch.cuda.mem_get_info(self.device)[0]) if self.device.type == "cuda" else of_host()


def torch_backend(name: str) -> TorchDevice:
    """Return the backend for a device of PyTorch; raises `InputError` if the device cannot be used.

    `name` is the name of the backend, such as "torch:cuda", "torch:cuda:1" or "torch:cpu".
    """
    if find_spec("torch") is None:
        raise InputError(f"backend {brief(name)} cannot be used: PyTorch is not installed: pip install torch")
    import torch

    try:
        device = torch.device(name.partition(":")[2])
    except RuntimeError as error:
        raise InputError(f"backend {brief(name)}: {one_line(error)}; valid: torch:cpu, torch:cuda, torch:mps") from None
    if device.type in _BUILDS:
        device = _checked(torch, device)
    return _on(device)


@cache
def _on(device: Any) -> TorchDevice:
    try:
        return TorchDevice(f"torch:{device}", import_module("array_api_compat.torch"), device)
    except (RuntimeError, AssertionError) as error:  # of PyTorch, for a device that it was not built for
        raise InputError(f"backend 'torch:{device}' cannot be used: {one_line(error)}") from error


def _checked(torch: Any, device: Any) -> Any:
    """Return the device with its number, or raise `InputError` if it cannot be used."""
    module = getattr(torch, device.type, None)
    if module is None or not module.is_available():
        raise InputError(
            f"backend 'torch:{device}' cannot be used: PyTorch {torch.__version__} finds no {device.type} device; "
            f"it needs {_BUILDS[device.type]} (https://pytorch.org), or use backend='numpy'"
        )
    count = module.device_count()
    if device.index is not None and device.index >= count:
        valid = ", ".join(f"torch:{device.type}:{i}" for i in range(count))
        raise InputError(f"backend 'torch:{device}' cannot be used: the device does not exist; valid: {valid}")
    return device if device.index is not None else torch.device(device.type, 0)
