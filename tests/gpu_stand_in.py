"""A stand-in for a GPU on this machine: NumPy arrays, in-place products from SciPy, and an interpreter of the PTX."""

from contextlib import nullcontext
from functools import partial

import numpy as np
from scipy.linalg import blas

from fastbp.backends.cupy import device
from fastbp.backends.cupy.device import CuPy


class StandInDevice:
    """Replaces `CuPyDevice`, and records the calls of the backend in order.

    Like a stream, it can capture: the calls are then kept in a graph and not executed, and everything else is refused.
    The capture fails at the call with the number `fail_at`. Ready calls have their scalars packed, as on a GPU, and
    refer to arrays by their addresses.
    """

    recording, tf32 = False, False

    def __init__(self):
        self.number, self.xp, self.calls, self.refused = 0, np, [], {}
        self.captured, self.fail_at = None, None

    def device_context(self):
        return nullcontext()

    def empty(self, shape, dtype):
        self._log("memory")
        return np.full(
            shape, np.nan if dtype.startswith("float") else 77, dtype
        )  # so that reading it before writing is noticed

    def upload(self, host):
        self._log("upload")
        return host.copy()

    def assign(self, target, value):
        assert self.captured is None
        target[...] = value

    def from_foreign(self, array):
        return array

    def gemm(self, *arguments):
        self._do("gemm", self._multiply, *arguments)

    def _multiply(self, op_a, op_b, a, b, out, alpha, beta):
        product = {"float32": blas.sgemm, "float64": blas.dgemm}[out.dtype.name]
        assert out.flags.f_contiguous
        written = product(alpha, a, b, beta, out, op_a == "T", op_b == "T", overwrite_c=1)
        assert np.shares_memory(written, out)

    def launch(self, kernel, *arguments):
        from cuda_against_cpu import execute  # needs numba-cuda

        self._do(kernel.name, execute, kernel, *arguments)

    def to_host(self, array):
        self._log("download")
        return array.copy()

    def synchronize(self):
        self._log("synchronize")

    # Replay.

    def binding(self):
        return "the user's stream"

    def ready_launch(self, kernel, *arguments):
        packed = *kernel.packed(*arguments)[:-2], *arguments[-2:]
        return lambda binding: partial(self.launch, kernel, *packed)

    def ready_gemm(self, *arguments):
        return lambda binding: partial(self.gemm, *arguments)

    def products(self, binding):
        return nullcontext()

    def capture(self, ready, steps):
        calls, self.captured = [bind("a private stream") for bind in ready], []
        try:
            for call in calls * steps:
                call()
            graph = self.captured
        finally:
            self.captured = None
        return partial(self._launch_graph, graph)

    def _launch_graph(self, graph):
        self.calls.append("graph")
        for call in graph:
            call()

    def _log(self, name):
        if self.captured is not None:
            raise RuntimeError(f"{name}: not permitted while the stream is capturing")
        self.calls.append(name)

    def _do(self, name, call, *arguments):
        if self.captured is None:
            self.calls.append(name)
            call(*arguments)
        elif len(self.captured) == self.fail_at:
            raise RuntimeError(f"{name}: not captured")
        else:
            self.captured.append(partial(call, *arguments))


class StandIn(CuPy):
    """The CUDA backend on a stand-in device. Its kind is "numpy", because its arrays are NumPy's.

    Small networks are trained by one kernel only with `one_block`, because compiling this kernel takes seconds.
    """

    kind = "numpy"

    def __init__(self, *, one_block=False):
        super().__init__("stand-in", StandInDevice())
        self._one_block = one_block

    def training_run(self, plan, source, m, n):
        return super().training_run(plan, source, m, n) if self._one_block else device.Replay(self, plan, source, m, n)
