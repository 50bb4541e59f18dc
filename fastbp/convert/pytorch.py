"""Convert networks from and to state dicts of PyTorch's linear layers.

In the state dict of a `torch.nn.Sequential`, the weights of the first layer are named "0.weight" and have the shape
(n_1, n_0). The biases of the first layer are called "0.bias" and have shape (n_1,).
"""

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
        Arrays of any library, on the host. Weights have names like "0.weight" and shapes (n_l, n_{l−1}). Biases have
        names like "0.bias" and shapes (n_l,). If the names of the layers differ only in their numbers, the layers are
        sorted by these numbers. Otherwise the layers are taken in the order of the dict.
    activations, cost
        As in `fastbp.Network`. A state dict contains neither activations nor cost. For a model with PyTorch's
        `CrossEntropyLoss`, the last activation is "softmax" and the cost is "log-likelihood". For `BCEWithLogitsLoss`,
        the last activation is "sigmoid" and the cost is "cross-entropy".
    backend, rng
        As in `fastbp.Network`.

    Returns
    -------
    Network
        A network in float64 if at least one weight matrix is float64, otherwise in float32. Weights in float16 become
        float32.

    Raises
    ------
    InputError
        If an entry is not the weight or the bias of a linear layer, if the layers do not fit together, or if only some
        of the layers have biases.

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
        The entries of the first layer are "0.weight" with shape (n_1, n_0) and "0.bias" with shape (n_1,). Those of the
        second layer are "2.weight" and "2.bias", and so on. All are in the network's dtype. W¹ is multiplied by the
        network's input scale. If the network has no biases, the dict has none either, as for `Linear(…, bias=False)`.

    Raises
    ------
    InputError
        If PyTorch is not installed.

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
    """Return the part of a name before the final "weight" or "bias", or None for any other name.

    In the state dict of a single `Linear`, this part is "".
    """
    match = re.fullmatch(r"(|.*\.)(weight|bias)", name, re.DOTALL)
    return match[1] if match else None


def _sorted_layers(names: list[str]) -> list[str]:
    """Return the names of layers sorted by the numbers in them, or unchanged if they differ in more than numbers.

    Sorting is needed because a file may list the layer "10." before the layer "2.".
    """
    if len({re.sub(r"\d+", "#", name) for name in names}) > 1:
        return names
    return sorted(names, key=lambda name: [(len(number), number) for number in re.findall(r"\d+", name)])
