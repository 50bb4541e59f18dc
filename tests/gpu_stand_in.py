"""A stand-in for a GPU on this machine: NumPy arrays, in-place products from SciPy, and an interpreter of the PTX."""

from contextlib import nullcontext

import numpy as np
from cuda_against_cpu import execute
from scipy.linalg import blas

from fastbp.backends.cupy.device import CuPy


class StandInDevice:
    """Replaces `CuPyDevice`, and records the calls of the backend in order."""

    def __init__(self):
        self.number, self.xp, self.calls = 0, np, []

    def device_context(self):
        return nullcontext()

    def empty(self, shape, dtype):
        self.calls.append("memory")
        return np.full(shape, 77 if dtype == "uint8" else np.nan, dtype)  # so that reading it before writing is noticed

    def upload(self, host):
        self.calls.append("upload")
        return host.copy()

    def from_foreign(self, array):
        return array

    def gemm(self, op_a, op_b, a, b, out, alpha, beta):
        self.calls.append("gemm")
        product = {"float32": blas.sgemm, "float64": blas.dgemm}[out.dtype.name]
        assert out.flags.f_contiguous
        written = product(alpha, a, b, beta, out, op_a == "T", op_b == "T", overwrite_c=1)
        assert np.shares_memory(written, out)

    def launch(self, kernel, *arguments):
        self.calls.append(kernel.name)
        execute(kernel, *arguments)

    def to_host(self, array):
        self.calls.append("download")
        return array.copy()

    def synchronize(self):
        self.calls.append("synchronize")


class StandIn(CuPy):
    """The CUDA backend on a stand-in device. Its kind is "numpy", because its arrays are NumPy's."""

    kind = "numpy"

    def __init__(self):
        super().__init__("stand-in", StandInDevice())
