"""Stand-in `Instruments`: streams on the CPU that run enqueued work at once unless they are blocked."""

from contextlib import contextmanager, nullcontext

import numpy as np
from gpu_stand_in import StandIn


class StreamedDevice:
    """A stand-in device whose current stream can be blocked; work enqueued meanwhile runs when it is unblocked."""

    def __init__(self, device):
        self._device, self.waiting, self.on_default = device, None, False

    def __getattr__(self, name):
        return getattr(self._device, name)

    def enqueue(self, operation, *arguments):
        if self.waiting is None or self.on_default:
            operation(*arguments)
        else:
            self.waiting.append((operation, arguments))

    def launch(self, *arguments):
        self.enqueue(self._device.launch, *arguments)

    def gemm(self, *arguments):
        self.enqueue(self._device.gemm, *arguments)


class TF32Device:
    """A stand-in device that rounds the factors of products to 10 bits."""

    def __init__(self, device):
        self._device = device

    def __getattr__(self, name):
        return getattr(self._device, name)

    def gemm(self, op_a, op_b, a, b, *rest):
        self._device.gemm(op_a, op_b, rounded(a), rounded(b), *rest)


def rounded(array):
    bits = array.copy(order="K").view(np.uint32)
    return ((bits + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)


class StandInInstruments:
    """Replaces `Instruments`."""

    def __init__(self, backend, streamed=StreamedDevice):
        self.device = backend.device = streamed(backend.device)

    def about(self, number):
        return {"device": f"a stand-in, number {number}, which says nothing about GPUs"}

    def stream(self):
        return nullcontext()

    @contextmanager
    def default_stream(self):
        self.device.on_default = True
        yield
        self.device.on_default = False

    @contextmanager
    def blocked(self):
        self.device.waiting = []
        yield
        waiting, self.device.waiting = self.device.waiting, None
        for operation, arguments in waiting:
            operation(*arguments)

    @contextmanager
    def allocations(self):
        sizes, empty = [], self.device._device.empty
        self.device._device.empty = lambda shape, dtype: sizes.append(shape) or empty(shape, dtype)
        yield sizes
        del self.device._device.empty

    def tf32(self, number):
        backend = StandIn()
        backend.device = TF32Device(backend.device)
        return backend
