"""Convert networks to and from ONNX models. The package `onnx` is needed (extra `onnx`)."""

import json
from typing import Any, Literal

import numpy as np

from fastbp import __version__
from fastbp.activations import ACTIVATIONS
from fastbp.backends import BackendLike
from fastbp.convert.onnx_chains import network_in
from fastbp.convert.onnx_graphs import Graph, graph_of, with_other_names
from fastbp.convert.onnx_tables import DOUBLE, FLOAT, Value, add_answers, add_preparation, table_inputs
from fastbp.convert.weights_and_biases import default_cost, host_parameters, network_from_arrays
from fastbp.costs import COSTS, Cost, CostName, cost_of
from fastbp.datasets.preparation import from_description
from fastbp.errors import InputError, brief, choose, one_line
from fastbp.files.reading import field, open_regular, read_bounded, reading
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
        the largest output, or the name of its class if the network has `classes`. The model multiplies x by the
        network's input scale. It uses the operator set 13, or 20 for gelu. If the network has a preparation, the model
        prepares the columns of a table: it has one input of shape (n, 1) per column, float64 or text, with the name of
        the column. For pixels and for tables without column names or text, it has one input "x" in float64. Instead of
        "a", a network that predicts numbers then has an output "prediction" in the unit of the label column.

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
    description: dict[str, Any] = {"cost": net.cost_function.name}
    inputs, graph, outputs = _graph_for_users(net, weights, biases, description)
    onnx = _onnx("to_onnx")
    helper, domains = onnx.helper, dict.fromkeys(node.domain for node in graph.nodes)
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node(n.operator, n.inputs, [n.output], n.output, domain=n.domain, **n.attributes)
                for n in graph.nodes
            ],
            "fastbp",
            [helper.make_tensor_value_info(*value) for value in inputs],
            [helper.make_tensor_value_info(*value) for value in outputs],
            [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid(name, 1 if name else graph.opset) for name in domains],
        ir_version=_IR_VERSION[graph.opset],
        producer_name="fastbp",
        producer_version=__version__,
    )
    helper.set_model_props(model, {_KEY: json.dumps(description)})
    return model


def _graph_for_users(
    net: Network, weights: list[Any], biases: list[Any], description: dict[str, Any]
) -> tuple[list[Value], Graph, list[Value]]:
    """Return the inputs, the graph and the outputs of a model, with the preparation of the network if it has one.

    What `from_onnx` needs is added to the description, which will be in the metadata.
    """
    preparation, dtype = net.preparation, weights[0].dtype
    x, a = "x" if preparation is None else "inputs", "a"
    network = graph_of(weights, biases, net.activations, input_scale=net.input_scale, x=x, a=a)
    graph = Graph([], network.constants, network.opset)
    if preparation is None:
        inputs = [Value(x, DOUBLE if dtype == np.float64 else FLOAT, ("n", net.sizes[0]))]
    else:
        inputs = table_inputs(preparation)
        add_preparation(graph, preparation, [f"input {j}" for j in range(len(inputs))], dtype, x)
    graph.nodes.extend(network.nodes)
    target = None if preparation is None else preparation.target
    outputs = add_answers(graph, target, net.classes or (), net.sizes[-1], a, dtype)
    if preparation is None:
        description |= {"classes": list(net.classes)} if net.classes else {}
        return inputs, graph, outputs
    names = {f"input {j}": value.name for j, value in enumerate(inputs)}
    for name in [*graph.constants, *(node.output for node in graph.nodes)]:
        while names.get(name, name) in [value.name for value in inputs]:
            names[name] = names.get(name, name) + "_"
    description |= {"preparation": preparation.description(), "network": [names.get(x, x), names.get(a, a)]}
    return inputs, with_other_names(graph, names), [v._replace(name=names.get(v.name, v.name)) for v in outputs]


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
    description = _described(model)
    preparation = from_description(field(description, "preparation", dict)) if "preparation" in description else None
    names = [] if preparation is None else [str(name) for name in field(description, "network", list)]
    if len(names) != (0 if preparation is None else 2):
        raise InputError(f"its metadata '{_KEY}' are damaged: the network has the ends {brief(names)}")
    found = network_in(onnx, model, (names[0], names[1]) if names else None)
    last = ACTIVATIONS[found.activations[-1]]
    chosen = COSTS.get(description.get("cost", "")) or default_cost(last) if cost is None else cost_of(cost)
    activations: list[Any] = found.activations
    net = network_from_arrays(
        found.weights, found.biases, activations, chosen, backend, rng, input_scale=found.input_scale
    )
    if preparation is not None:
        net.preparation = preparation
    elif "classes" in description:
        net.classes = field(description, "classes", list)
    return net


def _described(model: Any) -> dict[str, Any]:
    """Return fastbp's description in the metadata of a model, or an empty one for models of other programs."""
    texts = {entry.key: entry.value for entry in model.metadata_props}
    try:
        description = json.loads(texts.get(_KEY, "{}"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"its metadata '{_KEY}' are damaged: {one_line(error)}") from error
    if not isinstance(description, dict):
        return {}
    if not isinstance(description.get("cost", ""), str):
        raise InputError(f"its metadata '{_KEY}' are damaged: the cost is {brief(description['cost'])}")
    return description
