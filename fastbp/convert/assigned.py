"""Weights and biases as the other libraries have them: on the host, for inputs as they come; and back."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.foreign_arrays import as_numpy
from fastbp.errors import InputError
from fastbp.network import Network

Array = npt.NDArray[Any]


def host_parameters(net: Network) -> tuple[list[Array], list[Array]]:
    """Return copies of Wˡ (n_l, n_{l−1}) and bˡ (n_l,) on the host, the network's scale of inputs multiplied into W¹.

    >>> weights, biases = host_parameters(Network([2, 3, 1], rng=0))
    >>> [w.shape for w in weights], [b.shape for b in biases]
    ([(3, 2), (1, 3)], [(3,), (1,)])
    """
    if not isinstance(net, Network):
        raise InputError(f"net is of {type(net).__name__}; wanted is a fastbp.Network")
    host = net.to("numpy")
    first, *others = host.weights
    return [np.asarray(first * net.input_scale, net.dtype), *others], [b[:, 0] for b in host.biases]


def network_of(
    weights: Mapping[str, Any], biases: Mapping[str, Any], activations: Any, cost: Any, backend: Any, rng: Any
) -> Network:
    """Return a network of matrices Wˡ (n_l, n_{l−1}) and vectors bˡ (n_l,), or none, by their names.

    It is in float64 if one of the W is, else in float32. Raises `InputError` for what does not make a network.
    """
    if not weights:
        raise InputError("there are no weights; wanted is one matrix or more")
    ws = [as_numpy(name, w) for name, w in weights.items()]
    for name, w in zip(weights, ws, strict=True):
        if w.ndim != 2 or 0 in w.shape:
            raise InputError(f"{name} has shape {w.shape}; wanted is a matrix, of the layer's outputs and inputs")
    for (before, w), (name, after) in pairwise(zip(weights, ws, strict=True)):
        if w.shape[0] != after.shape[1]:
            raise InputError(f"{before} makes {w.shape[0]} outputs, and {name} takes {after.shape[1]}")
    bs = [as_numpy(name, b) for name, b in biases.items()]
    for (name, b), w in zip(zip(biases, bs, strict=True), ws, strict=False):
        if b.shape != (w.shape[0],):
            raise InputError(f"{name} has shape {b.shape}; wanted is {(w.shape[0],)}")
    sizes = [ws[0].shape[1], *(w.shape[0] for w in ws)]
    dtype = "float64" if any(w.dtype == np.float64 for w in ws) else "float32"
    net = Network(sizes, activations, cost, bias=bool(biases), dtype=dtype, backend=backend, rng=rng)
    for name, array in zip((*weights, *biases), (*ws, *bs), strict=True):
        if not np.isfinite(array).all():  # looked at last, for the network has refused what is too large
            raise InputError(f"{name} holds NaN or infinity; wanted are finite numbers")
    net.weights, net.biases = ws, [b[:, None] for b in bs]
    return net
