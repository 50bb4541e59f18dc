"""Conversion of parameters to named tensors on the host, and back. Model files and checkpoints contain such tensors.

Layers with weights are counted from 0. For layer l, the tensor "weights.l" is Wˡ, of shape (n_l, n_{l−1}), and
"biases.l" is bˡ. Checkpoints store bˡ as a row, (1, n_l). Model files store it as a column, (n_l, 1), like
`Network.biases`. The functions here use columns if `bias_columns` is true. A file may contain several sets of tensors.
The names in different sets then begin with different prefixes, such as "velocity.".
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import InputError, brief
from fastbp.files.tensors import Tensors
from fastbp.operations import Parameters, Plan
from fastbp.parameters import shapes_of


def host_tensors(prefix: str, p: Parameters, plan: Plan, *, bias_columns: bool = False) -> Tensors:
    """Copy parameters to the host, and return the copies by name."""
    rows = [plan.backend.to_host(plan.backend.columns(b)) for b in p.biases] if plan.formulas.bias else []
    tensors = {f"{prefix}weights.{l}": plan.backend.to_host(w) for l, w in enumerate(p.weights)}
    return tensors | {f"{prefix}biases.{l}": row.T if bias_columns else row for l, row in enumerate(rows)}


def check_tensors(
    prefix: str, tensors: Mapping[str, npt.NDArray[Any]], plan: Plan, *, bias_columns: bool = False
) -> None:
    """Raise `InputError` unless there is a finite tensor of the right shape for each parameter of a plan."""
    weights, biases = shapes_of(plan)
    shapes = {f"{prefix}weights.{l}": shape for l, shape in enumerate(weights)}
    shapes |= {f"{prefix}biases.{l}": (n, 1) if bias_columns else (1, n) for l, (n, _) in enumerate(biases)}
    for name in sorted(shapes.keys() ^ tensors.keys()):
        raise unmatched(name, missing=name in shapes)
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != plan.dtype:
            raise InputError(f"{name} must be {plan.dtype} of shape {shape}, got {tensor.dtype} of {tensor.shape}")
        if not np.isfinite(tensor).all():
            raise InputError(f"{name} must be finite, got NaN or infinity")


def unmatched(name: str, *, missing: bool) -> InputError:
    """Return the error for a tensor that is missing from a file, or that its description does not require."""
    return InputError(
        f"its tensors do not match its description: {brief(name)} {'is missing' if missing else 'is not expected'}"
    )


def put_tensors(
    prefix: str, tensors: Mapping[str, npt.NDArray[Any]], p: Parameters, plan: Plan, *, bias_columns: bool = False
) -> None:
    """Copy tensors into parameters. The tensors must have passed `check_tensors`."""
    for l, w in enumerate(p.weights):
        plan.backend.assign(w, tensors[f"{prefix}weights.{l}"])
    for l, b in enumerate(p.biases if plan.formulas.bias else ()):
        row = tensors[f"{prefix}biases.{l}"]
        plan.backend.assign(plan.backend.columns(b), row.T if bias_columns else row)
