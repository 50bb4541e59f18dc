"""Convert networks from and to PyTorch: modules, and state dicts of linear layers.

In the state dict of a `torch.nn.Sequential`, the weights of the first layer are named "0.weight" and have the shape
(n_1, n_0). The biases of the first layer are called "0.bias" and have shape (n_1,).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastbp.activations import Activation, ActivationName, activation_of
from fastbp.backends import BackendLike
from fastbp.convert.activation_table import row_of
from fastbp.convert.layer_order import sorted_layers
from fastbp.convert.pytorch_modules import LOG_SOFTMAX, FoundChain, chain_of, is_module
from fastbp.convert.weights_and_biases import default_cost, host_parameters, network_from_arrays
from fastbp.costs import Cost, CostName, cost_of, cross_entropy, log_likelihood
from fastbp.datasets.foreign_arrays import as_numpy
from fastbp.errors import InputError, brief
from fastbp.network import Network

Activations = ActivationName | Activation | Sequence[ActivationName | Activation]


def from_torch(
    state_dict: Any,
    activations: Activations | None = None,
    cost: CostName | Cost | None = None,
    *,
    order: Sequence[str] | None = None,
    backend: BackendLike | None = None,
    rng: int | np.random.Generator | None = None,
) -> Network:
    """Return the network in a PyTorch model, or in the state dict of its `torch.nn.Linear` layers.

    Parameters
    ----------
    state_dict : torch.nn.Module, or mapping of str to array
        A model on the CPU, or a state dict. A model must be a chain of linear layers and activations, written in any
        way that `torch.fx` can trace. Dropout is left out, as in `model.eval()`. In a state dict, weights have names
        like "0.weight" and shapes (n_l, n_{l−1}), and biases have names like "0.bias" and shapes (n_l,). Its arrays may
        be of any library.
    activations : name, Activation, or a sequence with one per layer, optional
        As in `fastbp.Network`. Required for a state dict, which does not contain the activations. A model contains
        them. Then you can only add "softmax" or "sigmoid" for the last layer, if the model is trained with PyTorch's
        `CrossEntropyLoss` or `BCEWithLogitsLoss`.
    cost : name or Cost, optional
        As in `fastbp.Network`. Required for a state dict. For a model trained with `CrossEntropyLoss` or `NLLLoss`,
        pass "log-likelihood". For a model trained with `BCEWithLogitsLoss` or `BCELoss`, pass "cross-entropy". If the
        last layer of the model is linear, it then gets the activation "softmax" or "sigmoid", which is a part of these
        losses in PyTorch. By default, the outputs are those of the model, and the cost is "log-likelihood" for softmax
        outputs, "cross-entropy" for sigmoid outputs, and "quadratic" for others.
    order : sequence of str, optional
        The names of the layers in the order in which they are applied, like ["stem", "blocks.0", "head"]. Only needed
        for a state dict whose names and shapes do not determine this order. Names determine it if they differ only in
        numbers ("fc1" and "fc2", "layer_one" and "layer_two"). The first layer may also have a name like "input" or
        "encoder", and the last layer a name like "out", "head" or "decoder". The order of the entries in the dict is
        not used.
    backend, rng
        As in `fastbp.Network`.

    Returns
    -------
    Network
        A network in float64 if at least one weight matrix is float64, otherwise in float32. Weights in float16 and
        bfloat16 become float32.

    Raises
    ------
    InputError
        If the model contains anything other than linear layers and activations, or an entry of the state dict is not
        the weight or the bias of a linear layer. If the order of the layers is not determined, or the layers do not fit
        together. If only some of the layers have biases.

    Examples
    --------
    >>> import numpy as np
    >>> linear = {"0.weight": np.ones((3, 2)), "0.bias": np.zeros(3), "2.weight": np.ones((1, 3)), "2.bias": np.ones(1)}
    >>> from_torch(linear, ["relu", "identity"], "quadratic").feedforward([1.0, 2.0])
    array([10.])

    >>> import pytest; torch = pytest.importorskip("torch")
    >>> from_torch(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)), cost="quadratic")
    <Network 4-8-3: tanh, identity; quadratic cost; float32 on numpy>
    """
    if is_module(state_dict):
        if order is not None:
            raise InputError("order is only for a state dict; a model says in which order its layers are applied")
        return _from_module(state_dict, activations, cost, backend, rng)
    weights, biases = _layers_of(state_dict, order)
    if activations is None or cost is None:
        missing = "activations" if activations is None else "cost"
        like = 'activations=["relu", "softmax"], cost="log-likelihood"'
        raise InputError(f"a state dict does not contain {missing}; pass the model itself, or for example {like}")
    return network_from_arrays(weights, biases, activations, cost, backend, rng)


def to_torch(net: Network) -> dict[str, Any]:
    """Return the state dict of a network for `torch.nn.Sequential(Linear, σ, Linear, σ, …)`.

    Parameters
    ----------
    net : Network
        Any network. Only its weights and biases are converted, not its activations and cost.

    Returns
    -------
    dict of str to torch.Tensor
        The entries of the first layer are "0.weight" with shape (n_1, n_0) and "0.bias" with shape (n_1,). Those of the
        second layer are "2.weight" and "2.bias", and so on. All are in the network's dtype. W¹ is multiplied by the
        network's input scale. If the network has no biases, the dict has none either, as for `Linear(…, bias=False)`.

    Raises
    ------
    InputError
        If PyTorch is not installed.

    See Also
    --------
    to_torch_module : Return a model with the activations.

    Notes
    -----
    To continue with L2 regularization of strength λ on n training examples, set `weight_decay` of `torch.optim.SGD` to
    λ/n. Set it for the weights only, not for the biases.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> net = Network([2, 3, 1], "tanh", rng=0)
    >>> same = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1), torch.nn.Tanh())
    >>> same.load_state_dict(to_torch(net))
    <All keys matched successfully>
    """
    weights, biases = host_parameters(net)
    torch = _torch("to_torch")
    state_dict = {}
    for l, w in enumerate(weights):
        state_dict[f"{2 * l}.weight"] = torch.from_numpy(w)
        if biases:
            state_dict[f"{2 * l}.bias"] = torch.from_numpy(biases[l])
    return state_dict


def to_torch_module(net: Network) -> Any:
    """Return a network as a `torch.nn.Sequential` of linear layers and activations.

    Parameters
    ----------
    net : Network
        A network whose activations are part of fastbp.

    Returns
    -------
    torch.nn.Sequential
        A model that maps rows of inputs, shape (m, n_0), to rows of outputs, shape (m, n_L), in the network's dtype.
        Each layer, including the last one, is a `Linear` followed by the module of its activation. W¹ is multiplied by
        the network's input scale.

    Raises
    ------
    InputError
        If PyTorch is not installed, or has no module for an activation.

    Notes
    -----
    `CrossEntropyLoss` and `BCEWithLogitsLoss` contain softmax and sigmoid. To train with one of these losses, leave out
    the last module: `model[:-1]`.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> to_torch_module(Network([2, 3, 1], ["relu", "identity"], rng=0))
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
      (1): ReLU()
      (2): Linear(in_features=3, out_features=1, bias=True)
      (3): Identity()
    )
    """
    nn, modules = _torch("to_torch_module").nn, []
    state_dict = to_torch(net)
    for n_in, n_out, activation in zip(net.sizes[:-1], net.sizes[1:], net.activations, strict=True):
        kind, _, options = row_of(activation, "PyTorch").torch
        if kind is None:
            raise InputError(f"PyTorch has no module for the activation {brief(activation.name)}; to_torch converts W")
        linear = nn.utils.skip_init(nn.Linear, n_in, n_out, bias=bool(net.biases))
        modules += [linear, getattr(nn, kind)(**{name: values[0] for name, values in options.items()})]
    model = nn.Sequential(*modules)
    model.load_state_dict(state_dict, assign=True)
    return model


def _torch(what: str) -> Any:
    try:
        import torch
    except ImportError:
        raise InputError(f"{what} needs PyTorch, which is not installed: pip install torch") from None
    return torch


def _from_module(model: Any, activations: Activations | None, cost: CostName | Cost | None, *options: Any) -> Network:
    chain = chain_of(model)
    found: list[Any] = [layer.activation for layer in chain.layers]
    own = None if cost is None else cost_of(cost)
    if found[-1] == LOG_SOFTMAX:
        if own != log_likelihood:
            raise InputError(
                "model ends with log-softmax, which is not an activation of fastbp; pass cost='log-likelihood' for a "
                "network that returns the probabilities, softmax"
            )
        found[-1] = "softmax"
    if activations is not None:
        found = _agreed(chain, found, activations)
    elif found[-1] == "identity" and own is not None:
        found[-1] = {log_likelihood: "softmax", cross_entropy: "sigmoid"}.get(own, "identity")
    without = [layer.name for layer in chain.layers if layer.bias is None]
    _check_biases(without, len(chain.layers))
    weights = {f"{layer.name}.weight": layer.weight for layer in chain.layers}
    biases = {f"{layer.name}.bias": layer.bias for layer in chain.layers if layer.bias is not None}
    own = default_cost(activation_of(found[-1])) if own is None else own
    backend, rng = options
    return network_from_arrays(weights, biases, found, own, backend, rng, input_scale=chain.input_scale)


def _agreed(chain: FoundChain, found: list[str], activations: Activations) -> list[Any]:
    """Check the user's activations against those of the model, and return them. They may add one for the last layer."""
    given = [activations] * len(found) if isinstance(activations, (str, Activation)) else list(activations)
    if len(given) != len(found):
        raise InputError(f"activations must be one per layer of the model (here {len(found)}), got {len(given)}")
    for l, (layer, name, choice) in enumerate(zip(chain.layers, found, given, strict=True)):
        added = l == len(found) - 1 and name == "identity"
        if not added and activation_of(choice).name != name:
            raise InputError(
                f"activations must be those of the model: it has {name} after layer {brief(layer.name)}, "
                f"got {brief(activation_of(choice).name)}; leave them out"
            )
    return given


def _layers_of(state_dict: Any, order: Sequence[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the weights and the biases in a state dict by name, in the order in which the layers are applied."""
    if not isinstance(state_dict, Mapping):
        given = type(state_dict).__name__
        raise InputError(f"state_dict must be a dict or a torch.nn.Module, got {given}; pass model.state_dict()")
    for name, value in state_dict.items():
        if not isinstance(name, str) or _layer_name(name) is None:
            nested = isinstance(value, Mapping) and any(_layer_name(str(key)) is not None for key in value)
            hint = f"; pass its item {brief(str(name))}" if nested else ""
            given = f"{brief(str(name))}{hint}"
            raise InputError(f"state_dict must contain only weights and biases of linear layers, got {given}")
    layers = list(dict.fromkeys(str(_layer_name(name)) for name in state_dict))
    with_weights, with_biases = (
        [layer for layer in layers if f"{layer}{kind}" in state_dict] for kind in ("weight", "bias")
    )
    if len(with_weights) != len(layers):
        given = f"weights of {len(with_weights)} and biases of {len(with_biases)} of {len(layers)} layers"
        raise InputError(f"state_dict must have the weight of every layer, and all biases or none, got {given}")
    _check_biases([layer.removesuffix(".") for layer in layers if layer not in with_biases], len(layers))
    layers = _sorted_layers(state_dict, layers, order)
    weights, biases = (
        {name: state_dict[name] for layer in layers if (name := f"{layer}{kind}") in state_dict}
        for kind in ("weight", "bias")
    )
    return weights, biases


def _sorted_layers(state_dict: Mapping[str, Any], layers: list[str], order: Sequence[str] | None) -> list[str]:
    names = {layer.removesuffix("."): layer for layer in layers}
    if order is not None:
        if isinstance(order, str) or sorted(map(str, order)) != sorted(names):
            expected = f"the names of all {len(names)} layers in order, each once ({brief(list(names))})"
            raise InputError(f"order must be {expected}, got {brief(order)}")
        return [names[str(name)] for name in order]
    shapes = {name: as_numpy(f"{layer}weight", state_dict[f"{layer}weight"]).shape for name, layer in names.items()}
    if len(layers) < 2 or not all(len(shape) == 2 for shape in shapes.values()):
        return layers  # `network_from_arrays` refuses what is not a matrix
    return [names[name] for name in sorted_layers(list(shapes), [(shape[0], shape[1]) for shape in shapes.values()])]


def _check_biases(without: list[str], layers: int) -> None:
    """Raise `InputError` if some layers have biases and others do not."""
    if 0 < len(without) < layers:
        raise InputError(
            f"the layers must have all biases or none, got {len(without)} of {layers} layers without, the first of "
            f"them {brief(without[0])}; give it a bias of zeros"
        )


def _layer_name(name: str) -> str | None:
    """Return the part of a name before the final "weight" or "bias", or None for any other name.

    In the state dict of a single `Linear`, this part is "".
    """
    match = re.fullmatch(r"(|.*\.)(weight|bias)", name, re.DOTALL)
    return match[1] if match else None
