"""What the page shows: the numbers of a trace as a JSON object, with arrays in base64."""

import base64
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import InputError, whole_number
from fastbp.plots.explain.true_changes import MOST_NEURONS, NUDGES, Example, largest_errors, true_changes

if TYPE_CHECKING:
    from fastbp.activations import Activation
    from fastbp.gradients import Trace, TracedNetwork

MOST_WEIGHTS = 4_000_000
"""The most weights of a network for which a page is made. In float32, such a page is a file of 22 MB."""

MOST_INPUTS = 100_000
"""The most inputs of a network for which a page is made."""


def check_trace(trace: "Trace", example: int, inputs: Sequence[str], outputs: Sequence[str]) -> "TracedNetwork":
    """Return the network of a trace; raise `InputError` if no page can be made for this example."""
    if trace.network is None:
        raise InputError("a page needs a trace with its network: pass on what Network.trace returned")
    whole_number("example", example, least=0, most=trace.activations[0].shape[1] - 1)
    for name, names, layer in (("inputs", inputs, trace.activations[0]), ("outputs", outputs, trace.activations[-1])):
        if len(names) not in (0, layer.shape[0]):
            raise InputError(f"{name} must have {layer.shape[0]} names, one per neuron, got {len(names)}")
    check_size(trace.network.plan.sizes)
    return trace.network


def check_size(sizes: Sequence[int]) -> None:
    """Raise `InputError` if a network is too large for a page.

    >>> check_size([784, 8192, 10])
    Traceback (most recent call last):
    fastbp.errors.InputError: a page can show networks with up to 4,000,000 weights and 100,000 inputs, this one has
    6,504,448 and 784; use Network.trace and its arrays
    """
    weights = sum(n * k for n, k in pairwise(sizes))
    if weights > MOST_WEIGHTS or sizes[0] > MOST_INPUTS:
        raise InputError(
            f"a page can show networks with up to {MOST_WEIGHTS:,} weights and {MOST_INPUTS:,} inputs, this one has "
            f"{weights:,} and {sizes[0]:,}; use Network.trace and its arrays"
        )


def page_values(
    trace: "Trace", example: int, inputs: Sequence[str] = (), outputs: Sequence[str] = ()
) -> dict[str, Any]:
    """Return everything that the page shows about one example, ready for JSON.

    Weights keep the network's dtype. The other arrays are float64, so they are exact. Only the true changes of the cost
    are rounded, to float32.
    """
    network = check_trace(trace, example, inputs, outputs)
    plan, host = network.plan, network.plan.backend.to_host

    def column(array: Any) -> npt.NDArray[np.float64]:
        return np.asarray(host(array), np.float64)[:, example]

    weights = [np.ascontiguousarray(host(w)) for w in network.weights]
    biases = [np.asarray(host(b), np.float64) for b in network.biases]
    activations, zs, y = [column(a) for a in trace.activations], [column(z) for z in trace.zs], column(network.y)
    exact = Example([w.astype(np.float64) for w in weights], biases, plan.formulas, activations[0][:, None], y[:, None])
    layers: list[dict[str, Any]] = [
        {"n": len(a), "a": _encoded(a), "g": _encoded(column(g))}
        for a, g in zip(activations, trace.activation_gradients, strict=True)
    ]
    exact_zs = exact.weighted_inputs()
    for l, delta in enumerate(map(column, trace.deltas)):
        neurons = largest_errors(delta)
        changes = true_changes(exact, exact_zs, l, neurons)
        layers[l + 1] |= {
            "activation": plan.formulas.activations[l].name,
            "z": _encoded(zs[l]),
            "d": _encoded(delta),
            "s": _slopes(plan.formulas.activations[l], zs[l], activations[l + 1]),
            "w": _encoded(weights[l]),
            "b": _encoded(biases[l]) if biases else None,
            "nudged": neurons.tolist(),
            "changes": _encoded(changes.astype(np.float32)),
        }
    cost = float(exact.costs(zs[-1][:, None], len(zs) - 1)[0])
    return {
        "sizes": list(plan.sizes),
        "dtype": plan.dtype,
        "cost": plan.formulas.output.cost_function.name,
        "costValue": cost if math.isfinite(cost) else None,
        "example": example,
        "y": _encoded(y),
        "inputs": list(map(str, inputs)),
        "outputs": list(map(str, outputs)),
        "shape": None if inputs else picture_shape(plan.sizes[0]),
        "nudges": NUDGES.tolist(),
        "mostNudged": MOST_NEURONS,
        "layers": layers,
    }


def picture_shape(n: int) -> tuple[int, int] | None:
    """Return the height and width of a square picture with n pixels, or None if there is none.

    >>> picture_shape(784), picture_shape(30)
    ((28, 28), None)
    """
    side = math.isqrt(n)
    return (side, side) if side * side == n and side >= 4 else None


def _slopes(activation: "Activation", z: npt.NDArray[np.float64], a: npt.NDArray[np.float64]) -> str | None:
    """Return σ′(z), or None for softmax, whose outputs depend on all weighted inputs of the layer."""
    if activation.name == "softmax":
        return None
    with np.errstate(all="ignore"):
        return _encoded(np.asarray(np.broadcast_to(activation.prime(z, a), z.shape), np.float64))


def _encoded(array: npt.NDArray[Any]) -> str:
    """Return an array as base64 of its bytes, little-endian."""
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
