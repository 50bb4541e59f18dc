"""The true change of the cost when one weighted input z changes by Δz. The prediction for small Δz is δ Δz."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fastbp.operations import Formulas

Values = npt.NDArray[np.float64]

NUDGES = np.array([k / 10 for k in range(-20, 21) if k])
"""The values of Δz."""

MOST_NEURONS = 256
"""The most neurons of a layer for which the true change is computed: those with the largest |δ|."""

_CELLS = 2**21  # numbers in one block


@dataclass(frozen=True)
class Example:
    """A network in float64 with the input and the target of one example, as columns. `biases` may be empty."""

    weights: list[Values]
    biases: list[Values]
    formulas: "Formulas"
    x: Values
    y: Values

    def weighted_inputs(self) -> list[Values]:
        """Return z of each layer: equations (1) and (2)."""
        zs, a = [], self.x
        for l, activation in enumerate(self.formulas.activations):
            zs.append(self._next(l, a))
            a = activation.f(zs[-1])
        return zs

    def costs(self, z: Values, layer: int) -> Values:
        """Return C_x for each column z of weighted inputs of a layer."""
        with np.errstate(all="ignore"):  # formulas may overflow far from the z of the example
            a = self.formulas.activations[layer].f(z)
            for l in range(layer + 1, len(self.weights)):
                z = self._next(l, a)
                a = self.formulas.activations[l].f(z)
            costs: Values = np.sum(self.formulas.output.cost(z, a, np.broadcast_to(self.y, z.shape)), axis=0)
        return costs

    def _next(self, layer: int, a: Values) -> Values:
        z: Values = self.weights[layer] @ a
        return z + self.biases[layer] if self.biases else z


def true_changes(example: Example, zs: list[Values], layer: int, neurons: npt.NDArray[np.int64]) -> Values:
    """Return C(z_j + Δz) − C(z_j) for some neurons j of a layer and each Δz in `NUDGES`.

    `zs` are the weighted inputs of all layers, as columns. The result has shape (neurons, nudges).
    """
    last = layer == len(zs) - 1
    widest = max(map(len, zs[layer + (not last) :]))
    at_once = max(1, _CELLS // (widest * len(NUDGES)))
    before, changes = example.costs(zs[-1], len(zs) - 1), []
    for start in range(0, len(neurons), at_once):
        part = neurons[start : start + at_once]
        columns = _nudged(zs[layer], part) if last else _next_layer_nudged(example, zs, layer, part)
        changes.append((example.costs(columns, layer + (not last)) - before).reshape(len(part), -1))
    return np.concatenate(changes)


def _nudged(z: Values, neurons: npt.NDArray[np.int64]) -> Values:
    """Return a column of weighted inputs for each neuron and each Δz."""
    columns = np.repeat(z, len(neurons) * len(NUDGES), axis=1)
    columns[np.repeat(neurons, len(NUDGES)), np.arange(columns.shape[1])] += np.tile(NUDGES, len(neurons))
    return columns


def _next_layer_nudged(example: Example, zs: list[Values], layer: int, neurons: npt.NDArray[np.int64]) -> Values:
    """Return a column of weighted inputs of the next layer for each neuron and each Δz.

    The activation of one neuron changes. So one column of the weights is enough, and no matrix product is needed.
    """
    f, z = example.formulas.activations[layer].f, zs[layer][neurons]
    with np.errstate(all="ignore"):
        changes = f(z + NUDGES) - f(z)
    columns: Values = zs[layer + 1][:, :, None] + example.weights[layer + 1][:, neurons, None] * changes
    return columns.reshape(len(columns), -1)


def largest_errors(delta: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the indices of the neurons with the largest |δ|, at most `MOST_NEURONS`, in ascending order.

    >>> largest_errors(np.array([0.5, -2.0, 0.1])).tolist()
    [0, 1, 2]
    """
    return np.sort(np.argsort(-np.abs(delta), kind="stable")[:MOST_NEURONS])
