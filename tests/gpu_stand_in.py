"""A GPU made of this machine: NumPy's arrays, SciPy's products in place, and the kernels' PTX interpreted."""

from contextlib import nullcontext

import numpy as np
from cuda_against_cpu import execute
from scipy.linalg import blas

from fastbp.backends.cupy.device import CuPy


class StandInDevice:
    """What `CuPyDevice` is to the backend; it writes down, in order, what it is asked for."""

    def __init__(self):
        self.number, self.xp, self.asked = 0, np, []

    def device_context(self):
        return nullcontext()

    def empty(self, shape, dtype):
        self.asked.append("memory")
        return np.full(shape, 77 if dtype == "uint8" else np.nan, dtype)  # not to be read before it is written

    def upload(self, host):
        self.asked.append("upload")
        return host.copy()

    def from_foreign(self, array):
        return array

    def gemm(self, op_a, op_b, a, b, out, alpha, beta):
        self.asked.append("gemm")
        product = {"float32": blas.sgemm, "float64": blas.dgemm}[out.dtype.name]
        assert out.flags.f_contiguous
        written = product(alpha, a, b, beta, out, op_a == "T", op_b == "T", overwrite_c=1)
        assert np.shares_memory(written, out)

    def launch(self, kernel, *arguments):
        self.asked.append(kernel.name)
        execute(kernel, *arguments)

    def to_host(self, array):
        self.asked.append("download")
        return array.copy()

    def synchronize(self):
        self.asked.append("synchronize")


class StandIn(CuPy):
    """The CUDA backend on such a device; its arrays being NumPy's, so is its kind."""

    kind = "numpy"

    def __init__(self):
        super().__init__("stand-in", StandInDevice())
