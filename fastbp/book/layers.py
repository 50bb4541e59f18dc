"""The forward and backward pass of the book's networks, layer by layer, on NumPy arrays.

Each column of an array belongs to one example.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import InputError

Array = npt.NDArray[Any]
Function = Callable[[Any], Any]


def sigmoid(z: Any) -> Any:
    """Return σ(z) = 1/(1 + e^(−z)).

    Parameters
    ----------
    z : float or ndarray
        Weighted inputs, of any shape.

    Returns
    -------
    float or ndarray
        σ(z), with the shape of z.

    References
    ----------
    Chapter 1, equation (3).

    Examples
    --------
    >>> float(sigmoid(0.0))
    0.5
    """
    with np.errstate(over="ignore"):  # e^(−z) = ∞ gives σ = 0, which is right
        return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z: Any) -> Any:
    """Return σ′(z) = σ(z) (1 − σ(z)).

    Parameters
    ----------
    z : float or ndarray
        Weighted inputs, of any shape.

    Returns
    -------
    float or ndarray
        σ′(z), with the shape of z.

    References
    ----------
    Chapter 2.

    Examples
    --------
    >>> float(sigmoid_prime(0.0))
    0.25
    """
    a = sigmoid(z)
    return a * (1.0 - a)


def standard_normal_parameters(sizes: Sequence[int]) -> tuple[list[Array], list[Array]]:
    """Return the lists (biases, weights), drawn from N(0, 1) by `numpy.random.randn`.

    Biases have shapes (n_l, 1), and weights have shapes (n_l, n_{l−1}).
    """
    # The book uses this generator, and draws the biases first. The same seed therefore gives the book's network.
    biases: list[Array] = [np.random.randn(n, 1) for n in sizes[1:]]  # noqa: NPY002
    weights = [np.random.randn(n, n_in) for n, n_in in zip(sizes[1:], sizes[:-1], strict=True)]  # noqa: NPY002
    return biases, weights


def sizes_of(weights: Sequence[Any]) -> tuple[int, ...]:
    """Return the number of neurons of each layer, beginning with the input, from the shapes of the weights.

    The attribute `sizes` of a network may differ from these numbers, because weights of other shapes can be assigned.
    """
    shapes = [np.shape(w) for w in weights]
    if not shapes or any(len(shape) != 2 for shape in shapes):
        raise InputError(f"weights must be a list of at least one (n_l, n_{{l-1}}) array, got shapes {shapes}")
    return (shapes[0][1], *(shape[0] for shape in shapes))


def forward(
    weights: Sequence[Any], biases: Sequence[Any], a: Array, sigma: Function
) -> tuple[list[Array], list[Array]]:
    """Return the lists (zs, activations) of a forward pass with the input `a`.

    Each layer computes z = W a + b and a ← σ(z). The list of activations begins with the input.
    """
    zs: list[Array] = []
    activations = [a]
    for w, b in zip(weights, biases, strict=True):
        zs.append(_weighted_input(w, activations[-1], b))
        activations.append(sigma(zs[-1]))
    return zs, activations


def backward(
    weights: Sequence[Any], zs: list[Array], activations: list[Array], delta: Any, sigma_prime: Function
) -> tuple[list[Array], list[Array]]:
    """Return the lists (deltas, nabla_w) of a backward pass that begins with the output error `delta`.

    Each δˡ has one column per example. Each array in nabla_w is δˡ (aˡ⁻¹)ᵀ, a sum over the examples. The equations are
    (BP2) to (BP4) of chapter 2.
    """
    if np.shape(delta) != zs[-1].shape:
        raise InputError(f"the output error must have shape {zs[-1].shape}, got {np.shape(delta)}; check y")
    deltas = [delta]
    for w, z in zip(weights[:0:-1], zs[-2::-1], strict=True):
        deltas.insert(0, np.dot(np.transpose(w), deltas[0]) * sigma_prime(z))
    return deltas, [np.dot(delta, a.T) for delta, a in zip(deltas, activations[:-1], strict=True)]


def _weighted_input(w: Any, a: Array, b: Any) -> Array:
    """Return z = W a + b.

    Raises `InputError` if z has a wrong shape because NumPy has broadcast b.
    """
    z = np.dot(w, a) + b
    n = np.shape(w)[0]
    if z.shape != (n, a.shape[1]):
        raise InputError(f"biases must have shape ({n}, 1) for weights of shape {np.shape(w)}, got {np.shape(b)}")
    return np.asarray(z)
