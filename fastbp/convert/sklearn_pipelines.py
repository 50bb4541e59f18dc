"""Let skl2onnx convert scikit-learn pipelines that contain fastbp's estimators to ONNX."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastbp.convert.onnx_graphs import Graph, graph_of
from fastbp.convert.scikit_learn import from_sklearn
from fastbp.convert.weights_and_biases import host_parameters
from fastbp.errors import InputError

_FLOAT, _INT64, _STRING, _DOUBLE = 1, 7, 8, 11  # numbers of ONNX's types


def register_skl2onnx() -> None:
    """Register fastbp's estimators in skl2onnx, so that it can convert pipelines that contain them.

    Call this once, before `skl2onnx.to_onnx` or `skl2onnx.convert_sklearn`.

    Raises
    ------
    InputError
        If skl2onnx or scikit-learn is not installed.

    Notes
    -----
    The options "zipmap", "nocl" and "output_class_labels" of skl2onnx work as for its own classifiers. A regressor with
    several outputs gives an output of shape (n, outputs). In float64, the inputs of the pipeline must be float64.

    Examples
    --------
    >>> import pytest; skl2onnx = pytest.importorskip("skl2onnx")
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from fastbp.estimators import MLPRegressor
    >>> x = np.float32([[0.0, 1.0], [1.0, 0.0], [1.0, 3.0]])
    >>> net = MLPRegressor(hidden_layer_sizes=(3,), tol=9.0, random_state=0)
    >>> pipeline = make_pipeline(StandardScaler(), net).fit(x, [0, 1, 2])
    >>> register_skl2onnx()
    >>> [node.op_type for node in skl2onnx.to_onnx(pipeline, x).graph.node]
    ['Scaler', 'Cast', 'Gemm', 'Relu', 'Gemm', 'Identity']
    """
    try:
        from skl2onnx import update_registered_converter
        from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
    except ImportError:
        raise InputError(
            "register_skl2onnx needs skl2onnx, which is not installed: pip install 'fastbp[onnx]' skl2onnx"
        ) from None
    try:
        from fastbp.estimators import MLPClassifier, MLPRegressor
    except ImportError as error:
        raise InputError(str(error)) from error
    options = {"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [False, True]}
    shapes = calculate_linear_classifier_output_shapes
    update_registered_converter(MLPClassifier, "FastbpMLPClassifier", shapes, _convert_classifier, options=options)
    update_registered_converter(MLPRegressor, "FastbpMLPRegressor", _set_output_type, _convert_regressor)


def _set_output_type(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    kind = DoubleTensorType if isinstance(operator.inputs[0].type, DoubleTensorType) else FloatTensorType
    operator.outputs[0].type = kind([None, operator.raw_operator.n_outputs_])


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    _Nodes(scope, operator, container).add_network(operator.outputs[0].full_name)


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    model, nodes = operator.raw_operator, _Nodes(scope, operator, container)
    label, probabilities = (output.full_name for output in operator.outputs[:2])
    one_output = model.n_outputs_ == 1
    a = nodes.add_network(scope.get_unique_variable_name("a") if one_output else probabilities)
    if model.out_activation_ == "logistic" and not one_output:  # multilabel
        half = nodes.constant("half", nodes.float, np.asarray(0.5))
        above = nodes.add("Greater", [a, half])
        nodes.add("Cast", [above], label, to=_INT64)
        return
    if one_output:
        one = nodes.constant("one", nodes.float, np.ones((1, 1)))
        other = nodes.add("Sub", [one, a])
        nodes.add("Concat", [other, a][: len(model.classes_)], probabilities, axis=1)
    index = nodes.add("ArgMax", [probabilities], axis=1, keepdims=0)
    texts = model.classes_.dtype.kind not in "biuf"
    classes = [str(c).encode() for c in model.classes_] if texts else model.classes_.astype(np.int64)
    nodes.add("Gather", [nodes.constant("classes", _STRING if texts else _INT64, classes), index], label)


class _Nodes:
    """Adds nodes with unique names to a container of skl2onnx."""

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        from skl2onnx.common.data_types import DoubleTensorType

        self._scope, self._operator, self._container = scope, operator, container
        self.float = _DOUBLE if isinstance(operator.inputs[0].type, DoubleTensorType) else _FLOAT

    def add(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        output = self._scope.get_unique_variable_name(kind.lower()) if output is None else output
        name = self._scope.get_unique_operator_name(kind)
        self._container.add_node(kind, inputs, [output], name=name, op_version=13, **attributes)
        return output

    def constant(self, name: str, kind: int, values: Any) -> str:
        """Add a constant, and return its name."""
        unique: str = self._scope.get_unique_variable_name(name)
        array = np.asarray(values)
        self._container.add_initializer(unique, kind, array.shape, values if kind == _STRING else array.ravel())
        return unique

    def add_network(self, output: str) -> str:
        """Add the layers of the estimator, and return the name of the outputs."""
        x = self.add("Cast", [self._operator.inputs[0].full_name], to=self.float)
        graph = self._graph()
        names: Mapping[str, str] = {
            "x": x,
            "a": output,
            **{name: self.constant(name, self.float, array) for name, array in graph.constants.items()},
        }
        for node in graph.nodes:
            inputs = [names[name] for name in node.inputs]
            last = names.get(node.output) or self._scope.get_unique_variable_name(node.output)
            names = {**names, node.output: self.add(node.operator, inputs, last, **node.attributes)}
        return output

    def _graph(self) -> Graph:
        net = from_sklearn(self._operator.raw_operator, backend="numpy-plain")
        dtype = np.float64 if self.float == _DOUBLE else np.float32
        weights, biases = ([array.astype(dtype) for array in part] for part in host_parameters(net))
        return graph_of(weights, biases, net.activations)
