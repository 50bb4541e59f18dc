"""Names that are needed to load pickles of a `Network` from before version 0.2.

Later pickles refer to the classes in `fastbp.operations` and to `fastbp.backends.restored`.
"""

from fastbp.backends import restored as _restored
from fastbp.operations import Formulas, Parameters, Plan

__all__ = ["Formulas", "Parameters", "Plan", "_restored"]
