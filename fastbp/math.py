"""The functions that a formula of your own may use: `from fastbp.math import exp`.

| function | value |
| --- | --- |
| exp(x), expm1(x) | e^x, and e^x − 1, which is accurate for small x |
| log(x), log1p(x) | ln x, and ln(1 + x), which is accurate for small x |
| sqrt(x), tanh(x), erf(x) | square root, hyperbolic tangent, error function |
| maximum(x, floor) | the larger of the two, or NaN where x is NaN |
| where(condition, p, q) | p where the condition holds, and q elsewhere; use it instead of `if` |

The functions work on arrays of NumPy and of other libraries. In a compiled formula, they are replaced by functions for
the CPU or for CUDA. On the CPU, the errors of these are at most 4 units in the last place. A formula may also use
arithmetic, comparisons, `abs`, and numbers with a decimal point. `fastbp.check_formula` finds mistakes in a formula.

>>> from fastbp.math import erf, exp, where
>>> where(exp(0.0) > 0.5, 1.0, 0.0)
1.0
"""

from fastbp_kernels.words import erf, exp, expm1, log, log1p, maximum, sqrt, tanh, where

__all__ = ["erf", "exp", "expm1", "log", "log1p", "maximum", "sqrt", "tanh", "where"]
