"""What the book's networks compute, layer by layer, on columns of plain NumPy arrays: forward, and back."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import InputError

Array = npt.NDArray[Any]
Function = Callable[[Any], Any]


def sigmoid(z: Any) -> Any:
    """Return σ(z) = 1/(1 + e^(−z)), a number or an array of any shape. Chapter 1, equation (3).

    >>> float(sigmoid(0.0))
    0.5
    """
    with np.errstate(over="ignore"):  # e^(−z) = ∞ gives σ = 0, which is right
        return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z: Any) -> Any:
    """Return σ′(z) = σ(z) (1 − σ(z)), a number or an array of any shape. Chapter 2.

    >>> float(sigmoid_prime(0.0))
    0.25
    """
    a = sigmoid(z)
    return a * (1.0 - a)


def drawn(sizes: Sequence[int]) -> tuple[list[Array], list[Array]]:
    """Return (biases, weights), (n_l, 1) and (n_l, n_{l−1}), each number drawn from N(0, 1) by `numpy.random.randn`."""
    # The book's generator, and biases first: the same seed gives the book's network.
    biases: list[Array] = [np.random.randn(n, 1) for n in sizes[1:]]  # noqa: NPY002
    weights = [np.random.randn(n, n_in) for n, n_in in zip(sizes[1:], sizes[:-1], strict=True)]  # noqa: NPY002
    return biases, weights


def sizes_of(weights: Sequence[Any]) -> tuple[int, ...]:
    """Return the sizes of the layers by the weights, which count where they differ from a network's `sizes`."""
    shapes = [np.shape(w) for w in weights]
    if not shapes or any(len(shape) != 2 for shape in shapes):
        raise InputError(f"weights have shapes {shapes}; wanted is a list of one or more (n_l, n_{{l-1}}) arrays")
    return (shapes[0][1], *(shape[0] for shape in shapes))


def forward(
    weights: Sequence[Any], biases: Sequence[Any], a: Array, sigma: Function
) -> tuple[list[Array], list[Array]]:
    """Return (zs, activations): z = W a + b and a ← σ(z) from layer to layer, the input first among the latter."""
    zs: list[Array] = []
    activations = [a]
    for w, b in zip(weights, biases, strict=True):
        zs.append(_weighted_input(w, activations[-1], b))
        activations.append(sigma(zs[-1]))
    return zs, activations


def backward(
    weights: Sequence[Any], zs: list[Array], activations: list[Array], delta: Any, sigma_prime: Function
) -> tuple[list[Array], list[Array]]:
    """Return (deltas, nabla_w) from the output error: δˡ, a column an example, and δˡ (aˡ⁻¹)ᵀ. (BP2) to (BP4)."""
    if np.shape(delta) != zs[-1].shape:
        raise InputError(f"the output error has shape {np.shape(delta)} and the output {zs[-1].shape}; see y")
    deltas = [delta]
    for w, z in zip(weights[:0:-1], zs[-2::-1], strict=True):
        deltas.insert(0, np.dot(np.transpose(w), deltas[0]) * sigma_prime(z))
    return deltas, [np.dot(delta, a.T) for delta, a in zip(deltas, activations[:-1], strict=True)]


def _weighted_input(w: Any, a: Array, b: Any) -> Array:
    """Return z = W a + b, or raise `InputError` where b has a shape that would broadcast to something else."""
    z = np.dot(w, a) + b
    wanted = (np.shape(w)[0], a.shape[1])
    if z.shape != wanted:
        raise InputError(
            f"biases of shape {np.shape(b)} for weights of shape {np.shape(w)}; wanted is ({wanted[0]}, 1)"
        )
    return np.asarray(z)
