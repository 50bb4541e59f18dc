"""Sparse inputs from SciPy, with one example per column."""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import InputError, brief, plural
from fastbp.operations import Plan, PreparingBackend
from fastbp_kernels.sparse_rows import SparseRows

Array = Any


@dataclass(frozen=True)
class SparseColumns:
    """Checked sparse inputs of shape (n_0, n). `rows` has the entries of each example, in the dtype of the network."""

    rows: SparseRows
    shape: tuple[int, int]

    def take(self, indices: npt.NDArray[np.int64]) -> "SparseColumns":
        """Return a copy of the examples with these indices."""
        return _converted(self._csc()[:, indices], str(self.rows.values.dtype))

    def toarray(self) -> npt.NDArray[Any]:
        """Return a dense array of shape (n_0, n)."""
        dense: npt.NDArray[Any] = self._csc().toarray(order="F")
        return dense

    def _csc(self) -> Any:
        from scipy import sparse

        starts, inputs, values = self.rows
        return sparse.csc_array((values, inputs, starts), self.shape)


def is_sparse(values: Any) -> bool:
    """Return whether `values` are a sparse matrix or a sparse array of SciPy.

    >>> is_sparse([[1.0, 0.0]])
    False
    """
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(values))


def as_sparse_columns(name: str, values: Any, inputs: int, plan: Plan) -> SparseColumns:
    """Return sparse inputs in the layout that compiled code reads, one example after another.

    A matrix in the CSC format has this layout already. Any other format is converted. Raises `InputError` if the
    shape does not fit, if an entry is not finite in the plan's dtype, or if the backend cannot use sparse inputs.
    """
    kind = type(values).__name__
    if not isinstance(plan.backend, PreparingBackend):
        raise InputError(
            f"{name} can be sparse only with the backend 'numpy', got a {kind} for {brief(plan.backend.name)}; "
            f"pass {name}.toarray()"
        )
    if values.ndim != 2 or values.shape[0] != inputs:
        hint = f"; pass {name}.T if rows are examples" if values.ndim == 2 and values.shape[1] == inputs else ""
        raise InputError(
            f"{name} must have {plural(inputs, 'row')} (one per input), got a {kind} of shape {values.shape}{hint}"
        )
    if values.shape[1] == 0:
        raise InputError(f"{name} must have at least one column (one per example), got shape {values.shape}")
    if values.dtype.kind not in "buif":
        raise InputError(f"{name} must contain real numbers, got dtype {values.dtype}")
    csc = values if values.format == "csc" else values.tocsc()
    starts, entries = np.asarray(csc.indptr), csc.indices[: csc.indptr[-1]]
    whole = len(starts) == csc.shape[1] + 1 and starts[0] == 0 and (np.diff(starts) >= 0).all()
    if not (whole and min(len(entries), len(csc.data)) >= starts[-1] and _are_below(entries, inputs)):
        raise InputError(f"{name} must be a valid {kind}, got one whose indptr or indices are out of range")
    with np.errstate(over="ignore"):  # infinity is refused below
        columns = _converted(csc, plan.dtype)
    found = columns.rows.values
    if not (len(found) == 0 or np.isfinite(np.dot(found, found)) or np.isfinite(found).all()):
        entry = np.flatnonzero(~np.isfinite(found))[0]
        column = int(np.searchsorted(columns.rows.starts, entry, side="right")) - 1
        where = f"{csc.data[entry]} (row {entries[entry]}, column {column})"
        raise InputError(f"{name} must contain finite numbers in the range of {plan.dtype}, got {where}")
    return columns


def _are_below(entries: npt.NDArray[Any], inputs: int) -> bool:
    return len(entries) == 0 or bool(entries.min() >= 0 and entries.max() < inputs)


def _converted(csc: Any, dtype: str) -> SparseColumns:
    """Return a CSC matrix of SciPy as sparse columns. Arrays are copied only if they need another dtype."""
    parts = (csc.indptr, np.int64), (csc.indices, np.int32), (csc.data, dtype)
    starts, inputs, values = (np.ascontiguousarray(part, kind) for part, kind in parts)
    return SparseColumns(SparseRows(starts, inputs[: starts[-1]], values[: starts[-1]]), csc.shape)
