"""Convert networks to and from ONNX models. The package `onnx` is needed (extra `onnx`)."""

import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from fastbp import __version__
from fastbp.activations import ACTIVATIONS
from fastbp.backends import BackendLike
from fastbp.convert.onnx_chains import network_in
from fastbp.convert.onnx_graphs import graph_of
from fastbp.convert.weights_and_biases import default_cost, host_parameters, network_from_arrays
from fastbp.costs import COSTS, Cost, CostName, cost_of
from fastbp.errors import InputError, brief, choose, one_line
from fastbp.files.reading import open_regular, read_bounded, reading
from fastbp.network import Network

LARGEST = 2**31 - 1
"""The largest possible size of an ONNX file in bytes, which is the limit of its format, protocol buffers."""

_IR_VERSION = {13: 7, 20: 9}  # versions of the file format, by operator set
_KEY = "fastbp"  # key of fastbp's description in the metadata of a model


def to_onnx(net: Network, *, dtype: Literal["float32", "float64"] | None = None) -> Any:
    """Return a network as an ONNX model.

    Parameters
    ----------
    net : Network
        A network whose activations are part of fastbp.
    dtype : "float32" or "float64", optional
        The dtype of the model, by default that of the network.

    Returns
    -------
    onnx.ModelProto
        A model with one input "x" of shape (n, n_0), one example per row. The output "a" of shape (n, n_L) has the
        network's outputs. A network with two or more outputs has a second output "class" of shape (n,): the index of
        the largest output. The model multiplies x by the network's input scale. It uses the operator set 13, or 20 for
        gelu.

    Raises
    ------
    InputError
        If the package `onnx` is not installed, if an activation is not part of fastbp, or if onnxruntime has no
        operator for an activation in float64.

    Notes
    -----
    `onnx.save(model, path)` saves the model. To run it in onnxruntime, call
    `onnxruntime.InferenceSession(path).run(["a"], {"x": rows})`.

    Examples
    --------
    >>> import pytest; onnx = pytest.importorskip("onnx")
    >>> model = to_onnx(Network([2, 3, 1], ["relu", "sigmoid"], rng=0))
    >>> [node.op_type for node in model.graph.node]
    ['Gemm', 'Relu', 'Gemm', 'Sigmoid']
    """
    weights, biases = host_parameters(net, scaled=False)
    if dtype is not None:
        chosen = choose("dtype", dtype, {"float32": np.float32, "float64": np.float64})
        weights, biases = [w.astype(chosen) for w in weights], [b.astype(chosen) for b in biases]
    _check_size(sum(array.nbytes for array in (*weights, *biases)))
    graph = graph_of(weights, biases, net.activations, input_scale=net.input_scale)
    onnx = _onnx("to_onnx")
    helper, element = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype(weights[0].dtype)
    nodes = [helper.make_node(n.operator, n.inputs, [n.output], n.output, **n.attributes) for n in graph.nodes]
    outputs = [helper.make_tensor_value_info("a", element, ["n", net.sizes[-1]])]
    if net.sizes[-1] > 1:
        nodes.append(helper.make_node("ArgMax", ["a"], ["class"], "class", axis=1, keepdims=0))
        outputs.append(helper.make_tensor_value_info("class", onnx.TensorProto.INT64, ["n"]))
    inputs = [helper.make_tensor_value_info("x", element, ["n", net.sizes[0]])]
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "fastbp", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", graph.opset)],
        ir_version=_IR_VERSION[graph.opset],
        producer_name="fastbp",
        producer_version=__version__,
    )
    helper.set_model_props(model, {_KEY: json.dumps({"cost": net.cost_function.name})})
    return model


def from_onnx(
    model: Any,
    cost: CostName | Cost | None = None,
    *,
    backend: BackendLike | None = None,
    rng: int | np.random.Generator | None = None,
) -> Network:
    """Return the network in an ONNX model.

    Parameters
    ----------
    model : path-like, bytes or onnx.ModelProto
        The path of a file, its content, or the model itself. It must be a chain of matrix products (Gemm, or MatMul and
        Add) and activations. Before the first product, the inputs may be flattened, and multiplied or divided by a
        number. Outputs that are computed from the network's outputs, such as classes, are left out.
    cost : name or Cost, optional
        As in `fastbp.Network`. By default, for a model made by `to_onnx`, the cost of the network that was converted.
        For other models, it is "log-likelihood" for softmax outputs, "cross-entropy" for sigmoid outputs, and
        "quadratic" for others.
    backend, rng
        As in `fastbp.Network`.

    Returns
    -------
    Network
        A network in float64 if the weights are float64, otherwise in float32. Its examples are columns, whereas those
        of the model are rows.

    Raises
    ------
    InputError
        If the package `onnx` is not installed, or if the model cannot be read or is not such a chain. The message names
        the node.

    Examples
    --------
    >>> import pytest; onnx = pytest.importorskip("onnx")
    >>> from_onnx(to_onnx(Network([2, 3, 1], ["relu", "sigmoid"], "cross-entropy", rng=0)))
    <Network 2-3-1: relu, sigmoid; cross-entropy cost; float32 on numpy>
    """
    onnx = _onnx("from_onnx")
    if isinstance(model, onnx.ModelProto):
        return _network_of(onnx, model, cost, backend, rng)
    if isinstance(model, (bytes, bytearray)):
        return _network_of(onnx, _parsed(onnx, bytes(model)), cost, backend, rng)
    with reading(model):
        with open_regular(model) as file:
            content = read_bounded(file, LARGEST)
        return _network_of(onnx, _parsed(onnx, content), cost, backend, rng)


def onnx_bytes(net: Network, dtype: Any = None) -> bytes:
    """Return a network as the content of an ONNX file."""
    content: bytes = to_onnx(net, dtype=dtype).SerializeToString()
    return content


def _onnx(what: str) -> Any:
    try:
        import onnx
    except ImportError:
        raise InputError(f"{what} needs the package onnx, which is not installed: pip install 'fastbp[onnx]'") from None
    return onnx


def _check_size(size: int) -> None:
    if size > LARGEST - 2**20:
        raise InputError(f"an ONNX file holds at most 2 GiB, and the weights of this network take {size / 2**30:.1f}")


def _parsed(onnx: Any, content: bytes) -> Any:
    try:
        return onnx.ModelProto.FromString(content)
    except Exception as error:  # protobuf's DecodeError, which has moved between its versions
        raise InputError(f"it is not an ONNX model: {one_line(error)}") from error


def _network_of(onnx: Any, model: Any, cost: Any, backend: Any, rng: Any) -> Network:
    found = network_in(onnx, model)
    last = ACTIVATIONS[found.activations[-1]]
    chosen = _saved_cost(model) or default_cost(last) if cost is None else cost_of(cost)
    activations: list[Any] = found.activations
    return network_from_arrays(
        found.weights, found.biases, activations, chosen, backend, rng, input_scale=found.input_scale
    )


def _saved_cost(model: Any) -> Cost | None:
    """Return the cost in the metadata of a model, or None if they contain no built-in cost."""
    texts = {entry.key: entry.value for entry in model.metadata_props}
    try:
        description = json.loads(texts.get(_KEY, "{}"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"its metadata '{_KEY}' are damaged: {one_line(error)}") from error
    name = description.get("cost") if isinstance(description, Mapping) else None
    if name is not None and not isinstance(name, str):
        raise InputError(f"its metadata '{_KEY}' are damaged: the cost is {brief(name)}")
    return COSTS.get(name or "")
