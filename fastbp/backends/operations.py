"""Names from before 0.2 that pickles of a `Network` refer to; they now live in `fastbp.operations`."""

from fastbp.backends import restored as _restored
from fastbp.operations import Formulas, Parameters, Plan

__all__ = ["Formulas", "Parameters", "Plan", "_restored"]
