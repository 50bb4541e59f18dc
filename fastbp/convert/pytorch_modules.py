"""Find the chain of layers in a PyTorch module, by following the operations of its `forward` with `torch.fx`.

Only chains of linear layers and activations are accepted. Everything else is refused, because it would change the
outputs. The error names the operation and the layer.
"""

import builtins
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastbp.convert.activation_table import ROWS
from fastbp.errors import InputError, brief, one_line

LOG_SOFTMAX = "log-softmax"
"""The activation found in a model that ends with `LogSoftmax`. It is not an activation of fastbp."""

_DEFAULTS = {"negative_slope": 0.01, "dim": None, "beta": 1, "threshold": 20, "alpha": 1, "approximate": "none"}
_WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
_SKIPPED = ("Identity", "Dropout", "AlphaDropout", "FeatureAlphaDropout")  # the identity in eval mode
_DROPOUTS = ("dropout", "alpha_dropout", "feature_alpha_dropout")
_PART = "from_torch(model.head, ...) converts a part of a model"
_HINTS = {
    "BatchNorm": "torch.nn.utils.fusion.fuse_linear_bn_eval puts it into the Linear before it",
    "batch_norm": "torch.nn.utils.fusion.fuse_linear_bn_eval puts it into the Linear before it",
    "Conv": f"the Linear layers after it can be converted: {_PART}",
    "conv": f"the Linear layers after it can be converted: {_PART}",
}


@dataclass
class FoundLayer:
    """A linear layer of a module: its parameters, which are tensors (or None for no bias), and its activation."""

    name: str
    weight: Any
    bias: Any
    activation: str = "identity"


@dataclass
class FoundChain:
    """The layers of a module in the order in which they are applied, and the factor that multiplies the inputs."""

    layers: list[FoundLayer]
    input_scale: float


def is_module(value: Any) -> bool:
    """Return whether a value is a module of PyTorch, without importing PyTorch."""
    return callable(getattr(value, "state_dict", None)) and callable(getattr(value, "named_modules", None))


def chain_of(model: Any) -> FoundChain:
    """Return the chain of layers in a module; raise `InputError` if the module is not a chain of layers."""
    model = _unwrapped(model)
    for name, module in model.named_modules():
        if getattr(module, "_forward_hooks", None) or getattr(module, "_forward_pre_hooks", None):
            raise InputError(f"model must not have forward hooks, which cannot be converted, got one in {brief(name)}")
    with _eval_mode(model):
        walk = _Walk(model)
        for node in _graph_of(model).nodes:
            walk.follow(node)
    return FoundChain(walk.layers, walk.input_scale)


def _unwrapped(model: Any) -> Any:
    while type(model).__name__ in _WRAPPERS and type(model).__module__.startswith("torch."):
        model = getattr(model, _WRAPPERS[type(model).__name__])
    return model


@contextmanager
def _eval_mode(model: Any) -> Iterator[None]:
    """Put a module into eval mode within a `with` block, so that dropout is off while the module is traced."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _graph_of(model: Any) -> Any:
    from torch import fx, nn

    class Tracer(fx.Tracer):  # type: ignore[misc]
        def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
            return isinstance(m, nn.Linear) or bool(super().is_leaf_module(m, module_qualified_name))

    try:
        return Tracer().trace(model)
    except Exception as error:  # whatever the user's `forward` raises when it is traced
        raise InputError(
            f"model: torch.fx cannot trace its forward ({one_line(error)}); "
            "pass model.state_dict() with activations, and with order=[…] if the names do not determine the order"
        ) from error


class _Walk:
    """The state of a walk along the nodes of a graph: the layers so far, and the node with their output."""

    def __init__(self, model: Any) -> None:
        self.layers: list[FoundLayer] = []
        self.input_scale = 1.0
        self._model, self._current = model, None
        self._numbers: set[Any] = set()  # nodes that are sizes of tensors
        self._flat = False  # whether the outputs have lost their last axis
        self._seen: dict[int, str] = {}  # names of layers, by the ids of modules and parameters

    def follow(self, node: Any) -> None:
        if node.op == "get_attr" or self._is_number(node):
            return
        if node.op == "placeholder":
            if self._current is not None and node.users:
                raise self._refusal(f"the second input {brief(node.name)}")
            self._current = node if self._current is None else self._current
            return
        what = _name_of(node, self._model)
        if not node.args or node.args[0] is not self._current:
            raise self._refusal(f"the branch at {what}" if node.op != "output" else "the output of several values")
        if node.op == "output":
            if not self.layers:
                raise self._refusal("a model without Linear layers")
            return
        if not self._apply(node, what):
            raise self._refusal(what)
        self._current = node

    def _is_number(self, node: Any) -> bool:
        """Return whether a node only reads the size of a tensor, or computes with such sizes."""
        name = getattr(node.target, "__name__", node.target)
        reads = any(argument in self._numbers for argument in node.all_input_nodes[:1]) or (
            name == "getattr" and node.args[1:2] == ("shape",)
        )
        if reads or (node.op == "call_method" and name in ("size", "dim")):
            self._numbers.add(node)
            return True
        return False

    def _apply(self, node: Any, what: str) -> bool:
        """Add one operation to the chain; return False if it cannot be part of a chain."""
        if node.op == "call_module":
            return self._apply_module(self._model.get_submodule(node.target), str(node.target), what)
        name = _function_name(node)
        if name == "linear":
            return self._apply_linear_function(node, what)
        if name in _DROPOUTS:
            return not _options(node, ("p", "training"), {"training": name == "dropout"})["training"]
        if name in ("float", "contiguous"):
            return True
        if name in ("mul", "truediv", "div", "true_divide") and not self.layers:
            return self._apply_scale(node, name)
        if name in ("flatten", "view", "reshape", "squeeze"):
            return self._apply_shape(node, name)
        if name == "log_softmax":
            return self._apply_log_softmax(_options(node, ("dim",), _DEFAULTS)["dim"])
        for activation, row in ROWS.items():
            options = row.torch.options
            if name in row.torch.functions and _match(options, _options(node, tuple(options), _DEFAULTS)):
                return self._apply_activation(activation)
        return False

    def _apply_module(self, module: Any, name: str, what: str) -> bool:
        from torch import nn

        kind = type(module).__name__
        if isinstance(module, nn.Linear):
            if type(module).forward is not nn.Linear.forward:
                raise self._refusal(f"{what}, which has a forward of its own")
            return self._add_layer(name, module.weight, module.bias, module)
        if not type(module).__module__.startswith("torch.nn."):
            return False
        if kind in _SKIPPED:
            return True
        if kind == "Flatten":
            return _flattens(module.start_dim, module.end_dim)
        if kind == "LogSoftmax":
            return self._apply_log_softmax(module.dim)
        for activation, row in ROWS.items():
            options = {option: getattr(module, option, _DEFAULTS[option]) for option in row.torch.options}
            if kind == row.torch.module and _match(row.torch.options, options):
                return self._apply_activation(activation)
        return False

    def _apply_linear_function(self, node: Any, what: str) -> bool:
        arguments = _options(node, ("weight", "bias"), {"weight": None, "bias": None})
        if any(value is not None and getattr(value, "op", "") != "get_attr" for value in arguments.values()):
            return False
        found = {
            name: None if value is None else _attribute(self._model, value.target) for name, value in arguments.items()
        }
        return self._add_layer(str(arguments["weight"].target), found["weight"], found["bias"], found["weight"])

    def _add_layer(self, name: str, weight: Any, bias: Any, module: Any) -> bool:
        if self._flat:
            return False
        for part in (module, weight, bias):
            if part is not None and id(part) in self._seen:
                shared = self._seen[id(part)]
                raise self._refusal(f"the layer {brief(name)}, which shares parameters with {brief(shared)}")
        self._seen |= {id(part): name for part in (module, weight, bias) if part is not None}
        self.layers.append(FoundLayer(name, weight, bias))
        return True

    def _apply_activation(self, name: str) -> bool:
        if not self.layers or (self.layers[-1].activation != "identity" and name != "identity"):
            return False  # fastbp has one activation after each layer
        if self._flat and name in ("softmax", LOG_SOFTMAX):
            return False
        if name != "identity":
            self.layers[-1].activation = name
        return True

    def _apply_log_softmax(self, dim: Any) -> bool:
        return dim in (1, -1, None) and self._apply_activation(LOG_SOFTMAX)

    def _apply_scale(self, node: Any, name: str) -> bool:
        factor = node.args[1] if len(node.args) == 2 else None
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not factor > 0 or node.kwargs:
            return False
        self.input_scale *= float(factor) if name == "mul" else 1.0 / float(factor)
        return True

    def _apply_shape(self, node: Any, name: str) -> bool:
        """Return whether a change of shape leaves the values of an example as they are.

        Before the first layer, an example may be flattened. After the last layer, a single output may lose its axis.
        """
        rest = node.args[1:]
        shape = rest[0] if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else rest
        if name == "flatten":
            options = _options(node, ("start_dim", "end_dim"), {"start_dim": 0, "end_dim": -1})
            if _flattens(options["start_dim"], options["end_dim"]):
                return True
        if self.layers and not node.kwargs and self.layers[-1].weight.shape[0] == 1:
            self._flat = rest in ((), (1,), (-1,)) if name == "squeeze" else tuple(shape) in ((), (-1,))
            return self._flat
        return name in ("view", "reshape") and not node.kwargs and not self.layers and _flattens_to(*shape)

    def _refusal(self, what: str) -> InputError:
        after = f" after layer {brief(self.layers[-1].name)}" if self.layers else ""
        hint = next((hint for name, hint in _HINTS.items() if name in what), _PART)
        return InputError(
            f"model must be a chain of Linear layers and activations ({', '.join(ROWS)}), got {what}{after}; {hint}"
        )


def _flattens(start: Any, end: Any) -> bool:
    return bool(start == 1 and end == -1)


def _flattens_to(*shape: Any) -> bool:
    """Return whether `x.view(*shape)` has one example per row: its shape is (−1, inputs), (n, −1) or (n, inputs)."""
    if len(shape) != 2 or shape == (-1, -1):
        return False
    counted = hasattr(shape[0], "op")  # the number of examples was read from x
    return isinstance(shape[1], int) and (counted or shape[0] == -1)


def _name_of(node: Any, model: Any) -> str:
    """Return the name of an operation for a message."""
    if node.op == "call_module":
        module = model.get_submodule(node.target)
        options = module.extra_repr() if len(list(module.children())) == 0 else ""
        return f"{type(module).__name__}({options}) in {brief(str(node.target))}"
    return str(getattr(node.target, "__name__", node.target))


def _function_name(node: Any) -> str:
    """Return the name of PyTorch's function or method in a node, or "" for a function of another package."""
    if node.op == "call_method":
        return str(node.target).rstrip("_")
    package = (getattr(node.target, "__module__", None) or "torch").partition(".")[0]
    name = str(getattr(node.target, "__name__", "")).removeprefix("special_").rstrip("_")
    return name if package in ("torch", "_operator") else ""


def _options(node: Any, names: tuple[str, ...], defaults: Any) -> dict[str, Any]:
    """Return the values of a function's options, which are its arguments after the input."""
    given = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
    return {name: given.get(name, defaults.get(name)) for name in names}


def _match(valid: Any, given: dict[str, Any]) -> bool:
    return all(given[name] in values for name, values in valid.items())


def _attribute(model: Any, path: str) -> Any:
    get: Callable[[Any, str], Any] = builtins.getattr
    for name in path.split("."):
        model = get(model, name)
    return model
