"""PyTorch's state dicts of linear layers: "0.weight" (n_l, n_{l−1}) and "0.bias" (n_l,), and so on."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastbp.activations import Activation
from fastbp.convert.assigned import host_parameters, network_of
from fastbp.costs import Cost
from fastbp.errors import InputError, brief
from fastbp.network import Network


def from_torch(
    state_dict: Mapping[str, Any],
    activations: str | Activation | Sequence[str | Activation],
    cost: str | Cost,
    *,
    backend: Any = None,
    rng: Any = None,
) -> Network:
    """Return the network of a state dict of `torch.nn.Linear` layers, on the host: the values may be anybody's arrays.

    `activations` and `cost` are not in a state dict, and are given as in `Network`: for `CrossEntropyLoss` the last
    activation is "softmax" and the cost "log-likelihood", for `BCEWithLogitsLoss` they are "sigmoid" and
    "cross-entropy". Layers whose names differ by their numbers alone are taken in the order of these, others as they
    come. float16 becomes float32. `backend` and `rng` are as in `Network`.

    Raises `InputError` for entries that are no linear layer's weight or bias, layers that do not follow each other, and
    biases in some layers alone.

    >>> import numpy as np
    >>> linear = {"0.weight": np.ones((3, 2)), "0.bias": np.zeros(3), "2.weight": np.ones((1, 3)), "2.bias": np.ones(1)}
    >>> from_torch(linear, ["relu", "identity"], "quadratic").feedforward([1.0, 2.0])
    array([10.])
    """
    if not isinstance(state_dict, Mapping):
        raise InputError(f"state_dict is of {type(state_dict).__name__}; wanted is a dict, as of model.state_dict()")
    for name in state_dict:
        if not isinstance(name, str) or _stem(name) is None:
            raise InputError(f"state_dict has {brief(str(name))}; wanted are weights and biases of linear layers alone")
    layers = _in_order(list(dict.fromkeys(str(_stem(name)) for name in state_dict)))
    weights, biases = (
        {name: state_dict[name] for layer in layers if (name := f"{layer}{kind}") in state_dict}
        for kind in ("weight", "bias")
    )
    if (biases and len(biases) != len(layers)) or len(weights) != len(layers):
        given = f"weights of {len(weights)} layers and biases of {len(biases)}"
        raise InputError(f"state_dict has {given}; wanted are biases of all or none")
    return network_of(weights, biases, activations, cost, backend, rng)


def to_torch(net: Network) -> dict[str, Any]:
    """Return the state dict of a network, in PyTorch's tensors, for `torch.nn.Sequential(Linear, σ, Linear, σ, …)`.

    "0.weight" (n_1, n_0) and "0.bias" (n_1,) are of the first layer, "2.weight" of the second; the dtype is the
    network's, and the scale of its inputs is multiplied into W¹. Without biases it is for `Linear(…, bias=False)`.
    `weight_decay` = λ/n of `torch.optim.SGD` is L2, if it is given for the weights alone. Imports PyTorch, and raises
    `InputError` where that is missing.

    >>> import pytest; torch = pytest.importorskip("torch")
    >>> net = Network([2, 3, 1], "tanh", rng=0)
    >>> same = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1), torch.nn.Tanh())
    >>> same.load_state_dict(to_torch(net))
    <All keys matched successfully>
    """
    weights, biases = host_parameters(net)
    try:
        from torch import from_numpy
    except ImportError:
        raise InputError("to_torch makes PyTorch's tensors, and it is not installed: pip install torch") from None
    state_dict = {}
    for l, w in enumerate(weights):
        state_dict[f"{2 * l}.weight"] = from_numpy(w)
        if biases:
            state_dict[f"{2 * l}.bias"] = from_numpy(biases[l])
    return state_dict


def _stem(name: str) -> str | None:
    """Return what stands before "weight" or "bias": nothing for a lone `Linear`; None if the name ends otherwise."""
    match = re.fullmatch(r"(|.*\.)(weight|bias)", name, re.DOTALL)
    return match[1] if match else None


def _in_order(stems: list[str]) -> list[str]:
    """Return layers in order: a file may have sorted "10." before "2."."""
    if len({re.sub(r"\d+", "#", stem) for stem in stems}) > 1:
        return stems
    return sorted(stems, key=lambda stem: [(len(number), number) for number in re.findall(r"\d+", stem)])
