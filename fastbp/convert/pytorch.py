"""State dicts of PyTorch's linear layers: "0.weight" (n_l, n_{l−1}) and "0.bias" (n_l,) for the first, and so on."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastbp.activations import Activation, ActivationName
from fastbp.backends import BackendLike
from fastbp.convert.weights_and_biases import host_parameters, network_from_arrays
from fastbp.costs import Cost, CostName
from fastbp.errors import InputError, brief
from fastbp.network import Network


def from_torch(
    state_dict: Mapping[str, Any],
    activations: ActivationName | Activation | Sequence[ActivationName | Activation],
    cost: CostName | Cost,
    *,
    backend: BackendLike | None = None,
    rng: int | np.random.Generator | None = None,
) -> Network:
    """Return the network in a state dict of `torch.nn.Linear` layers.

    Parameters
    ----------
    state_dict : mapping of str to array
        Weights "….weight" (n_l, n_{l−1}) and biases "….bias" (n_l,): arrays of any library, on the host. If the names
        of the layers differ only in their numbers, the layers are sorted by these numbers. Otherwise they are taken in
        the order of the dict.
    activations, cost
        As in `fastbp.Network`; a state dict does not contain them. For `CrossEntropyLoss` the last activation is
        "softmax" and the cost "log-likelihood"; for `BCEWithLogitsLoss` they are "sigmoid" and "cross-entropy".
    backend, rng
        As in `fastbp.Network`.

    Returns
    -------
    Network
        In float64 if one of the weights is float64, otherwise in float32: float16 becomes float32.

    Raises
    ------
    InputError
        If an entry is not the weight or the bias of a linear layer, the layers do not fit together, or only some of
        the layers have biases.

    Examples
    --------
    >>> import numpy as np
    >>> linear = {"0.weight": np.ones((3, 2)), "0.bias": np.zeros(3), "2.weight": np.ones((1, 3)), "2.bias": np.ones(1)}
    >>> from_torch(linear, ["relu", "identity"], "quadratic").feedforward([1.0, 2.0])
    array([10.])
    """
    if not isinstance(state_dict, Mapping):
        raise InputError(f"state_dict must be a dict, got {type(state_dict).__name__}; pass model.state_dict()")
    for name in state_dict:
        if not isinstance(name, str) or _layer_name(name) is None:
            given = brief(str(name))
            raise InputError(f"state_dict must contain only weights and biases of linear layers, got {given}")
    layers = _sorted_layers(list(dict.fromkeys(str(_layer_name(name)) for name in state_dict)))
    weights, biases = (
        {name: state_dict[name] for layer in layers if (name := f"{layer}{kind}") in state_dict}
        for kind in ("weight", "bias")
    )
    if (biases and len(biases) != len(layers)) or len(weights) != len(layers):
        given = f"weights of {len(weights)} and biases of {len(biases)} of {len(layers)} layers"
        raise InputError(f"state_dict must have the weight of every layer, and all biases or none, got {given}")
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
        "0.weight" (n_1, n_0) and "0.bias" (n_1,) for the first layer, "2.weight" and "2.bias" for the second, and so
        on, in the network's dtype. W¹ is multiplied by the network's input scale. Without biases the dict is for
        `Linear(…, bias=False)`.

    Raises
    ------
    InputError
        If PyTorch is not installed.

    Notes
    -----
    `weight_decay` = λ/n of `torch.optim.SGD` is L2 regularization with λ, if you set it for the weights only.

    Examples
    --------
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
        raise InputError("to_torch needs PyTorch, which is not installed: pip install torch") from None
    state_dict = {}
    for l, w in enumerate(weights):
        state_dict[f"{2 * l}.weight"] = from_numpy(w)
        if biases:
            state_dict[f"{2 * l}.bias"] = from_numpy(biases[l])
    return state_dict


def _layer_name(name: str) -> str | None:
    """Return what precedes "weight" or "bias" in a name ("" for a lone `Linear`), or None for any other name."""
    match = re.fullmatch(r"(|.*\.)(weight|bias)", name, re.DOTALL)
    return match[1] if match else None


def _sorted_layers(names: list[str]) -> list[str]:
    """Return the layers sorted by the numbers in their names, or unchanged if the names differ in more than numbers.

    A saved file may have sorted "10." before "2.".
    """
    if len({re.sub(r"\d+", "#", name) for name in names}) > 1:
        return names
    return sorted(names, key=lambda name: [(len(number), number) for number in re.findall(r"\d+", name)])
