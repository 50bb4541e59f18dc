"""Names from before 0.2 that pickles of a `Network` refer to; they now live in `fastbp_kernels.softmax`."""

from fastbp_kernels.softmax import log_likelihood, softmax

__all__ = ["log_likelihood", "softmax"]
