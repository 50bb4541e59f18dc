"""Old names that pickles of a `Network` from before 0.2 refer to. The functions are now in `fastbp_kernels.softmax`."""

from fastbp_kernels.softmax import log_likelihood, softmax

__all__ = ["log_likelihood", "softmax"]
