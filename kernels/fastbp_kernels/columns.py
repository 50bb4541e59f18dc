"""Two functions of `fastbp_kernels.softmax`, under the names in pickles of a `Network` from versions before 0.2."""

from fastbp_kernels.softmax import log_likelihood, softmax

__all__ = ["log_likelihood", "softmax"]
