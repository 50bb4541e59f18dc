"""Get the weights and biases of a `Network` as NumPy arrays, and make a `Network` from such arrays."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.activations import Activation, ActivationName, sigmoid, softmax
from fastbp.costs import Cost, CostName, cross_entropy, log_likelihood, quadratic
from fastbp.datasets.foreign_arrays import as_numpy
from fastbp.errors import InputError, brief
from fastbp.network import Network

Array = npt.NDArray[Any]


def host_parameters(net: Network, *, scaled: bool = True, finite: bool = False) -> tuple[list[Array], list[Array]]:
    """Return copies of a network's weights and biases on the host, as two lists of NumPy arrays.

    Each Wˡ has shape (n_l, n_{l−1}), and each bˡ has shape (n_l,). W¹ is multiplied by the network's input scale,
    unless `scaled` is False. With `finite`, raises `InputError` for parameters that are not finite.

    >>> weights, biases = host_parameters(Network([2, 3, 1], rng=0))
    >>> [w.shape for w in weights], [b.shape for b in biases]
    ([(3, 2), (1, 3)], [(3,), (1,)])
    """
    if not isinstance(net, Network):
        raise InputError(f"net must be a fastbp.Network, got {type(net).__name__}")
    host = net.to("numpy")
    for name in ("weights", "biases") if finite else ():
        for l, array in enumerate(getattr(host, name)):
            if not np.isfinite(array).all():
                raise InputError(f"{name}[{l}] must be finite, got NaN or infinity")
    first, *others = host.weights
    scale = net.input_scale if scaled else 1.0
    return [np.asarray(first * scale, net.dtype), *others], [b[:, 0] for b in host.biases]


def default_cost(last: Activation) -> Cost:
    """Return the usual cost for the activation of the last layer. It is used if the source of a network has no cost.

    >>> default_cost(softmax).name
    'log-likelihood'
    """
    return {softmax: log_likelihood, sigmoid: cross_entropy}.get(last, quadratic)


def network_from_arrays(
    weights: Mapping[str, Any],
    biases: Mapping[str, Any],
    activations: ActivationName | Activation | Sequence[ActivationName | Activation],
    cost: CostName | Cost,
    backend: Any,
    rng: Any,
    input_scale: float = 1.0,
) -> Network:
    """Return a network with the given weights and biases.

    The matrices Wˡ have shapes (n_l, n_{l−1}), and the vectors bˡ have shapes (n_l,). Their keys in the two mappings
    are used as their names in error messages. If `biases` is empty, the network has no biases. The network is in
    float64 if at least one of the matrices is float64, otherwise in float32. Raises `InputError` for arrays that do not
    form a network.
    """
    if not weights:
        raise InputError("weights must contain at least one matrix, got none")
    weights, biases = ({_printable(name): array for name, array in part.items()} for part in (weights, biases))
    ws = [as_numpy(name, w) for name, w in weights.items()]
    for name, w in zip(weights, ws, strict=True):
        if w.ndim != 2 or 0 in w.shape:
            raise InputError(f"{name} must be a matrix with at least one row and one column, got shape {w.shape}")
    for (before, w), (name, after) in pairwise(zip(weights, ws, strict=True)):
        if w.shape[0] != after.shape[1]:
            raise InputError(f"{name} must take {w.shape[0]} inputs, the outputs of {before}, got {after.shape[1]}")
    bs = [as_numpy(name, b) for name, b in biases.items()]
    for (name, b), w in zip(zip(biases, bs, strict=True), ws, strict=False):
        if b.shape != (w.shape[0],):
            raise InputError(f"{name} must have shape {(w.shape[0],)}, got {b.shape}")
    sizes = [ws[0].shape[1], *(w.shape[0] for w in ws)]
    dtype = np.dtype(np.float64 if any(w.dtype == np.float64 for w in ws) else np.float32)
    net = Network(
        sizes, activations, cost, bias=bool(biases), dtype=dtype, backend=backend, rng=rng, input_scale=input_scale
    )
    for name, array in zip((*weights, *biases), (*ws, *bs), strict=True):
        if not np.isfinite(array).all():  # checked last, after `Network` has refused what does not fit into memory
            raise InputError(f"{name} must be finite, got NaN or infinity")
    net.weights, net.biases = ws, [b[:, None] for b in bs]
    return net


def _printable(name: str) -> str:
    """Return the name of an array in a form that fits into a one-line message."""
    return name if str(name).isprintable() and len(name) <= 200 else brief(name)
