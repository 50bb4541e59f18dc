"""Two functions of `fastbp_kernels.softmax`. A `Network` pickled before version 0.2 looks for them in this module."""

from fastbp_kernels.softmax import log_likelihood, softmax

__all__ = ["log_likelihood", "softmax"]
