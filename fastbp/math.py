"""The functions that a formula of your own may use: `from fastbp.math import exp`.

They work on arrays of NumPy and of other libraries. In a compiled formula, functions for the CPU or for CUDA take their
place.

>>> from fastbp.math import exp, where
>>> where(exp(0.0) > 0.5, 1.0, 0.0)
1.0
"""

from fastbp_kernels.words import exp, expm1, log, log1p, maximum, sqrt, tanh, where

__all__ = ["exp", "expm1", "log", "log1p", "maximum", "sqrt", "tanh", "where"]
