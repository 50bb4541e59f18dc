"""How other programs write the activations of fastbp: one row per activation."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fastbp.activations import ACTIVATIONS, Activation
from fastbp.errors import InputError, brief


class Torch(NamedTuple):
    """An activation in PyTorch: a class in `torch.nn`, names of functions or tensor methods, and required options.

    `options` maps the name of each option to its valid values. The options are in the order of the function's
    arguments. The first valid value is used for new modules.
    """

    module: str | None
    functions: tuple[str, ...] = ()
    options: Mapping[str, tuple[Any, ...]] = {}


class ONNX(NamedTuple):
    """An operator of ONNX with its attributes.

    `opset` is the first version of the operator set that has the operator. `double` says whether onnxruntime can
    compute it in float64 with full precision. With `times_z`, the activation is z times the result of the operator.
    """

    operator: str
    attributes: Mapping[str, Any] = {}
    opset: int = 13
    double: bool = True
    times_z: bool = False


class Row(NamedTuple):
    """An activation in PyTorch and ONNX, and as an expression of z in C."""

    torch: Torch
    onnx: ONNX
    c: str | None


# In C, REAL is float or double, and EXP, TANH, … are the functions of this type.
_ROWS = {
    "sigmoid": Row(Torch("Sigmoid", ("sigmoid", "expit")), ONNX("Sigmoid"), "1 / (1 + EXP(-z))"),
    "tanh": Row(Torch("Tanh", ("tanh",)), ONNX("Tanh"), "TANH(z)"),
    "relu": Row(Torch("ReLU", ("relu",)), ONNX("Relu"), "z > 0 ? z : 0"),
    "leaky-relu": Row(
        Torch("LeakyReLU", ("leaky_relu",), {"negative_slope": (0.01,)}),
        ONNX("LeakyRelu", {"alpha": 0.01}, double=False),
        "z > 0 ? z : (REAL)0.01 * z",
    ),
    "softplus": Row(
        Torch("Softplus", ("softplus",), {"beta": (1,), "threshold": (20,)}),
        ONNX("Softplus", double=False),
        "(z > 0 ? z : 0) + LOG1P(EXP(-FABS(z)))",
    ),
    "identity": Row(Torch("Identity"), ONNX("Identity"), "z"),
    "softmax": Row(Torch("Softmax", ("softmax",), {"dim": (1, -1, None)}), ONNX("Softmax", {"axis": 1}), None),
    "gelu": Row(
        Torch("GELU", ("gelu",), {"approximate": ("none",)}),
        ONNX("Gelu", {"approximate": "none"}, 20, double=False),
        "z * (REAL)0.5 * ERFC(z * (REAL)-0.70710678118654752)",
    ),
    "gelu-tanh": Row(
        Torch("GELU", ("gelu",), {"approximate": ("tanh",)}),
        ONNX("Gelu", {"approximate": "tanh"}, 20, double=False),  # constants in float32: errors of 1e-9
        "z / (1 + EXP((REAL)-1.5957691216057308 * (z + (REAL)0.044715 * z * z * z)))",
    ),
    "silu": Row(Torch("SiLU", ("silu",)), ONNX("Sigmoid", times_z=True), "z / (1 + EXP(-z))"),
    "elu": Row(
        Torch("ELU", ("elu",), {"alpha": (1,)}), ONNX("Elu", {"alpha": 1.0}, double=False), "z > 0 ? z : EXPM1(z)"
    ),
    "exponential": Row(Torch(None, ("exp",)), ONNX("Exp"), "EXP(z)"),
}
ROWS = {name: row for name, row in _ROWS.items() if name in ACTIVATIONS}
"""The built-in activations in other programs."""


def row_of(activation: Activation, program: str) -> Row:
    """Return the row of a built-in activation. Raises `InputError` for an activation that is not part of fastbp.

    >>> from fastbp.activations import relu
    >>> row_of(relu, "PyTorch").torch.module
    'ReLU'
    """
    if ACTIVATIONS.get(activation.name) != activation or activation.name not in ROWS:
        raise InputError(
            f"net must have activations that are part of fastbp to be converted to {program}, "
            f"got {brief(activation.name)}; valid: {', '.join(ROWS)}"
        )
    return ROWS[activation.name]
