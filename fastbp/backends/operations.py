"""Aliases for pickles of a `Network` from before version 0.2; the objects are now in `fastbp.operations`."""

from fastbp.backends import restored as _restored
from fastbp.operations import Formulas, Parameters, Plan

__all__ = ["Formulas", "Parameters", "Plan", "_restored"]
