"""The operations of a network as nodes of an ONNX graph. This module does not import the package `onnx`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.activations import Activation
from fastbp.convert.activation_table import row_of
from fastbp.errors import InputError, brief

Array = npt.NDArray[Any]


ML = "ai.onnx.ml"
"""The domain of the operators for categories."""


class Node(NamedTuple):
    """A node of a graph: an operator, the names of its inputs and its output, its attributes, and its domain."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = {}
    domain: str = ""


class Graph(NamedTuple):
    """A graph: nodes in order, constants by name, and the version of the operator set that the nodes need."""

    nodes: list[Node]
    constants: dict[str, Array]
    opset: int


def with_other_names(graph: Graph, names: Mapping[str, str]) -> Graph:
    """Return a graph in which values have other names. `names` maps their names to the new ones."""
    nodes = [
        node._replace(
            inputs=tuple(names.get(name, name) for name in node.inputs), output=names.get(node.output, node.output)
        )
        for node in graph.nodes
    ]
    return graph._replace(nodes=nodes, constants={names.get(name, name): c for name, c in graph.constants.items()})


def graph_of(
    weights: Sequence[Array],
    biases: Sequence[Array],
    activations: Sequence[Activation],
    *,
    input_scale: float = 1.0,
    x: str = "x",
    a: str = "a",
) -> Graph:
    """Return the graph of a network. `x` and `a` are the names of the inputs and the outputs, one example per row.

    Weights have shapes (n_l, n_{l−1}) and biases have shapes (n_l,). All have the same dtype. Raises `InputError` if an
    activation has no operator for this dtype.
    """
    dtype = weights[0].dtype
    constants: dict[str, Array] = {}
    nodes: list[Node] = []
    opset, last = 13, x
    if input_scale != 1.0:
        constants["input_scale"] = np.asarray(input_scale, dtype)
        nodes.append(Node("Mul", (x, "input_scale"), "scaled"))
        last = "scaled"
    for l, (w, activation) in enumerate(zip(weights, activations, strict=True), start=1):
        form = row_of(activation, "ONNX").onnx
        if dtype == np.float64 and not form.double:
            name = brief(activation.name)
            raise InputError(
                f"onnxruntime has no operator for the activation {name} with the precision of float64; "
                "pass dtype='float32' (--dtype float32)"
            )
        opset = max(opset, form.opset)
        constants[f"weights_{l}"] = w
        inputs = [last, f"weights_{l}"]
        if biases:
            constants[f"biases_{l}"] = biases[l - 1]
            inputs.append(f"biases_{l}")
        z, last = f"z_{l}", a if l == len(weights) else f"a_{l}"
        nodes.append(Node("Gemm", tuple(inputs), z, {"transB": 1}))
        if form.times_z:
            factor = f"s_{l}"
            nodes.append(Node(form.operator, (z,), factor, form.attributes))
            if dtype == np.float64:  # up to version 1.23, onnxruntime fuses z · σ(z) into an operator of float32
                nodes.append(Node("Sum", (factor,), factor := f"t_{l}"))
            nodes.append(Node("Mul", (z, factor), last))
        else:
            nodes.append(Node(form.operator, (z,), last, form.attributes))
    return Graph(nodes, constants, opset)
