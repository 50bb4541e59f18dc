"""The old place of two functions of `fastbp_kernels.softmax`, for pickles of a `Network` from versions before 0.2."""

from fastbp_kernels.softmax import log_likelihood, softmax

__all__ = ["log_likelihood", "softmax"]
