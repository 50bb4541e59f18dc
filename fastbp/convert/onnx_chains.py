"""Find the chain of layers in an ONNX model. Any other model is refused, and the error names the node.

Constants are read only after their sizes have been compared with the data in the file.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.convert.activation_table import ROWS
from fastbp.errors import InputError, brief, one_line

Array = npt.NDArray[Any]

OLDEST_OPSET = 7
"""The oldest operator set that is read. In older ones, Gemm and Add had an attribute for broadcasting."""

_BYTES = {"FLOAT": 4, "DOUBLE": 8, "FLOAT16": 2, "BFLOAT16": 2}  # bytes of one number, by the name of its type
_AFTER = {
    "ArgMax", "ArrayFeatureExtractor", "Binarizer", "Cast", "Concat", "Gather", "Greater", "GreaterOrEqual", "Identity",
    "LabelEncoder", "Less", "Not", "Reshape", "Squeeze", "Sub", "TopK", "Where", "ZipMap",
}  # fmt: skip
"""The operators that turn outputs into classes, or change their form."""

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "LeakyRelu": {"alpha": 0.01},
    "Elu": {"alpha": 1.0},
    "Gelu": {"approximate": "none"},
    "Softmax": {"axis": -1},
    "Gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0},
    "Flatten": {"axis": 1},
}


@dataclass
class FoundNetwork:
    """A network found in an ONNX model.

    `weights` and `biases` have the names of constants as keys. Their shapes are (n_l, n_{l−1}) and (n_l,).
    """

    weights: dict[str, Array] = field(default_factory=dict)
    biases: dict[str, Array] = field(default_factory=dict)
    activations: list[str] = field(default_factory=list)
    input_scale: float = 1.0


def network_in(onnx: Any, model: Any, ends: tuple[str, str] | None = None) -> FoundNetwork:
    """Return the network in a model, or raise `InputError`. The argument `onnx` is the package.

    `ends` has the names of the inputs and of the outputs of the network, if it is only a part of the model.
    """
    newest = onnx.defs.onnx_opset_version()
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions or not OLDEST_OPSET <= max(versions) <= newest:
        given = f"version {max(versions)}" if versions else "none"
        raise InputError(
            f"its operator set must be ai.onnx in a version from {OLDEST_OPSET} to {newest}, got {given}; "
            "onnx.version_converter converts older ones, and newer ones need: pip install -U onnx"
        )
    walk = _Walk(onnx, model.graph, ends)
    walk.follow()
    without = len(walk.found.weights) - len(walk.found.biases)
    if 0 < without < len(walk.found.weights):
        raise InputError(f"its layers must have all biases or none, got {without} without; give them biases of zeros")
    return walk.found


class _Walk:
    """The state of a walk along a graph: the name of the value that was computed last, and the network so far."""

    def __init__(self, onnx: Any, graph: Any, ends: tuple[str, str] | None = None) -> None:
        self.found = FoundNetwork()
        self._onnx, self._tensors = onnx, {tensor.name: tensor for tensor in graph.initializer}
        if graph.sparse_initializer:
            raise InputError("its weights must be dense, got sparse ones")
        self._makers: dict[str, Any] = {}
        self._users: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self._users.setdefault(name, []).append(node)
            for name in node.output:
                if name in self._makers:
                    raise InputError(f"its value {brief(name)} must be computed by one node, got two")
                self._makers[name] = node
        inputs = [entry.name for entry in graph.input if entry.name not in self._tensors]
        if ends is None and len(inputs) != 1:
            raise InputError(f"it must have one input, the examples, got {len(inputs)}: {brief(inputs)}")
        self._value, self._last = (str(inputs[0]), "") if ends is None else ends
        self._needs_bias = False  # whether the last node was a product, so that a bias may follow

    def follow(self) -> None:
        """Follow the nodes to the outputs of the network."""
        seen: set[str] = set()
        while self._value != self._last and (users := self._users.get(self._value, [])):
            if self._value in seen:
                raise InputError(f"its value {brief(self._value)} depends on itself")
            seen.add(self._value)
            if self.found.weights and any(_operator(node) in _AFTER - {"Identity", "Cast"} for node in users):
                self._check_has_no_layers_after(users)
                break
            if (node := self._sigmoid_times_z(users)) is None:
                if len(users) > 1:
                    names = " and ".join(map(_name, users[:2]))
                    raise InputError(f"it must be a chain of layers, got a branch to {names}")
                node = users[0]
                if not self._apply(node):
                    raise self._refusal(node)
            self._value = node.output[0]
        if not self.found.weights:
            raise InputError("it has no layers: no Gemm or MatMul of the input")

    def _check_has_no_layers_after(self, nodes: list[Any]) -> None:
        """Raise `InputError` if anything other than classes is computed from the outputs."""
        waiting, seen = list(nodes), set[str]()
        while waiting:
            node = waiting.pop()
            if _operator(node) not in _AFTER:
                raise self._refusal(node)
            for name in set(node.output) - seen:
                seen.add(name)
                waiting += self._users.get(name, [])

    def _apply(self, node: Any) -> bool:
        """Add one node to the network; return False if it cannot be part of a chain."""
        operator, first = _operator(node), not self.found.weights
        if operator in ("Gemm", "MatMul"):
            return self._apply_product(node, operator)
        if operator == "Add":
            return self._apply_bias(node)
        if operator == "Identity" or (operator == "Dropout" and self._is_off(node)):
            return True
        if operator == "Cast":
            return self._type_name(_attributes(node).get("to", 0)) in _BYTES
        if operator == "Flatten":
            return bool(_attributes(node)["axis"] == 1)
        if operator in ("Mul", "Div") and first:
            return self._apply_scale(node, operator)
        if operator == "Reshape" and first:
            return self._flattens(node)
        for name, row in ROWS.items():
            form = row.onnx
            if (operator, False) == (form.operator, form.times_z) and _match(form.attributes, _attributes(node)):
                return self._apply_activation(name)
        return False

    def _apply_product(self, node: Any, operator: str) -> bool:
        options = _attributes(node)
        w = self._constant(node.input[1]) if len(node.input) > 1 and node.input[0] == self._value else None
        if w is None or w.ndim != 2 or options.get("transA", 0):
            return False
        w = w * np.asarray(options.get("alpha", 1.0), w.dtype) if options.get("alpha", 1.0) != 1.0 else w
        name = node.input[1] if node.input[1] not in self.found.weights else f"{node.input[1]} of {_name(node)}"
        self.found.weights[name] = w if options.get("transB", 0) else w.T
        self.found.activations.append("identity")
        self._needs_bias = True
        has_bias = operator == "Gemm" and len(node.input) > 2 and node.input[2]
        return self._add_bias(node.input[2], float(options["beta"])) if has_bias else True

    def _apply_bias(self, node: Any) -> bool:
        others = [name for name in node.input if name != self._value]
        if not (self._needs_bias and self.found.activations[-1] == "identity" and len(others) == 1):
            return False
        return self._add_bias(others[0], 1.0)

    def _add_bias(self, name: str, factor: float) -> bool:
        b, outputs = self._constant(name), next(reversed(self.found.weights.values())).shape[0]
        if b is None or b.shape not in ((outputs,), (1, outputs), (1,), (), (1, 1)):
            return False
        b = np.broadcast_to(b.reshape(-1), (outputs,)) * np.asarray(factor, b.dtype)
        self.found.biases[name if name not in self.found.biases else f"{name} of layer {len(self.found.weights)}"] = b
        self._needs_bias = False
        return True

    def _apply_activation(self, name: str) -> bool:
        if not self.found.weights or self.found.activations[-1] != "identity":
            return False  # fastbp has one activation after each layer
        self.found.activations[-1] = name
        return True

    def _apply_scale(self, node: Any, operator: str) -> bool:
        others = [name for name in node.input if name != self._value]
        value = self._constant(others[0]) if len(others) == 1 else None
        if value is None or value.size != 1 or (operator == "Div" and node.input[0] != self._value):
            return False
        factor = float(value.reshape(-1)[0])
        if not (math.isfinite(factor) and factor > 0):
            return False
        self.found.input_scale *= factor if operator == "Mul" else 1.0 / factor
        return True

    def _flattens(self, node: Any) -> bool:
        shape = self._constant(node.input[1], integers=True) if len(node.input) > 1 else None
        return shape is not None and shape.shape == (2,) and int(shape[0]) in (-1, 0)

    def _is_off(self, node: Any) -> bool:
        """Return whether a Dropout node does nothing, as in inference."""
        return len(node.input) < 3 or not node.input[2]

    def _sigmoid_times_z(self, users: list[Any]) -> Any:
        """Add silu if z is only used for z · σ(z). Return the node of this product, or None for other uses of z."""
        names = [name for name, row in ROWS.items() if row.onnx.times_z]
        by_operator = {_operator(node): node for node in users}
        if not names or len(users) != 2 or by_operator.keys() != {"Sigmoid", "Mul"}:
            return None
        factor, product = by_operator["Sigmoid"], by_operator["Mul"]
        after = self._users.get(factor.output[0], [])
        if [_operator(node) for node in after] == ["Sum"] and len(after[0].input) == 1:  # as in models of fastbp
            factor = after[0]
        one_use = self._users.get(factor.output[0], []) == [product]
        is_product = set(product.input) == {self._value, factor.output[0]} and len(product.input) == 2
        return product if one_use and is_product and self._apply_activation(names[0]) else None

    def _constant(self, name: str, *, integers: bool = False) -> Array | None:
        """Return the value of a constant, or None if a value is not constant."""
        if name in self._tensors:
            return self._array(name, self._tensors[name], integers=integers)
        node = self._makers.get(name)
        if node is None:
            return None
        if _operator(node) == "Constant":
            tensor = next((entry.t for entry in node.attribute if entry.name == "value"), None)
            return None if tensor is None else self._array(name, tensor, integers=integers)
        source = str(node.input[0]) if len(node.input) == 1 else ""
        if _operator(node) not in ("Identity", "Transpose") or source not in self._tensors:
            return None
        array = self._array(source, self._tensors[source], integers=integers)
        if _operator(node) == "Identity":
            return array
        return array.T if array.ndim == 2 and _attributes(node).get("perm", [1, 0]) == [1, 0] else None

    def _array(self, name: str, tensor: Any, *, integers: bool) -> Array:
        """Return a tensor as an array. Its declared size is first compared with the size of its data."""
        kind, shape = self._type_name(tensor.data_type), tuple(tensor.dims)
        if tensor.data_location == self._onnx.TensorProto.EXTERNAL:
            raise InputError(
                f"its constant {brief(name)} is in another file; pass onnx.load(path), which reads that file as well"
            )
        if kind not in _BYTES and not (integers and kind == "INT64"):
            raise InputError(f"its constant {brief(name)} must contain floats, got {kind}")
        size = _BYTES.get(kind, 8)
        count = math.prod(shape) if all(n >= 0 for n in shape) else -1
        entries = max(len(tensor.float_data), len(tensor.double_data), len(tensor.int32_data), len(tensor.int64_data))
        present = len(tensor.raw_data) // size if tensor.raw_data else entries
        if count != present:
            given = f"{present:,} numbers for the shape {brief(shape)}"
            raise InputError(f"its constant {brief(name)} is damaged: it has {given}")
        try:
            array: Array = self._onnx.numpy_helper.to_array(tensor)
        except (ValueError, TypeError) as error:
            raise InputError(f"its constant {brief(name)} is damaged: {one_line(error)}") from error
        return array if array.dtype.char in "dql" else array.astype(np.float32)

    def _type_name(self, number: int) -> str:
        known = self._onnx.TensorProto.DataType
        return str(known.Name(number)) if number in known.values() else f"the type {number}"

    def _refusal(self, node: Any) -> InputError:
        options = ", ".join(f"{name}={brief(value)}" for name, value in sorted(_attributes(node).items()))
        layers = len(self.found.weights)
        operators = ", ".join(dict.fromkeys(row.onnx.operator for row in ROWS.values()))
        return InputError(
            f"it must be a chain of Gemm, or MatMul and Add, and activations ({operators}), "
            f"got {_name(node)}{f' with {options}' if options else ''} after layer {layers}"
        )


def _operator(node: Any) -> str:
    standard = node.domain in ("", "ai.onnx", "ai.onnx.ml")
    return str(node.op_type if standard else f"{node.domain}.{node.op_type}")


def _name(node: Any) -> str:
    return f"{brief(_operator(node))[1:-1]} {brief(node.name or next(iter(node.output), ''))}"


def _attributes(node: Any) -> dict[str, Any]:
    """Return the attributes of a node that are numbers or text. Missing attributes have ONNX's default values."""
    kinds = {1: "f", 2: "i", 3: "s", 7: "ints"}
    found = {str(a.name): getattr(a, kinds[a.type]) for a in node.attribute if a.type in kinds}
    plain = {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value if isinstance(value, (int, float))
        else list(value)
        for name, value in found.items()
    }  # fmt: skip
    return {**_DEFAULTS.get(_operator(node), {}), **plain}


def _match(expected: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Return whether a node has the expected attributes. Numbers are compared in float32, and axis −1 is axis 1."""
    return all(
        given.get(name) == value
        or (name == "axis" and given.get(name) == -1)
        or (isinstance(value, float) and np.float32(given.get(name, np.nan)) == np.float32(value))
        for name, value in expected.items()
    )
