"""Defaults of `fastbp train` that depend on the data and on other options: activations, cost and learning rate."""

from typing import NamedTuple

from fastbp.activations import ACTIVATIONS
from fastbp.costs import COSTS
from fastbp.errors import choose
from fastbp.optimizers import SGD, Optimizer

IMAGES, CLASSES, NUMBERS = "images", "classes", "numbers"
"""Purposes of a network. Images are digits, mnist and folders of IDX files. Classes or numbers are in your own data."""

_COST_OF_OUTPUT = {"softmax": "log-likelihood", "sigmoid": "cross-entropy"}
_OUTPUT_OF_COST = {cost: output for output, cost in _COST_OF_OUTPUT.items()}


class Formulas(NamedTuple):
    """The names of the activations, one per layer, and the name of the cost."""

    activations: list[str]
    cost: str


def formulas(purpose: str, activations: str | None, cost: str | None, layers: int) -> Formulas:
    """Return the activations and the cost of a network with the given number of `layers` with weights.

    For images, the default is sigmoid in all layers with the quadratic cost, as in the book. In other cases, `cost` and
    the number of names in `activations` decide:

    - One name without a cost is the activation of the hidden layers. The output layer then has softmax with the
      log-likelihood cost for images and classes, and identity with the quadratic cost for numbers.
    - One name with a cost is the activation of all layers.
    - A cost without names determines the activation of the output layer. The hidden layers are sigmoid layers.
    - Several names are the activations of the layers. The cost, unless it is given, depends on the last name.

    Raises `InputError` for unknown names.

    >>> formulas("classes", "relu", None, 2)
    Formulas(activations=['relu', 'softmax'], cost='log-likelihood')
    """
    names = [name.strip().lower() for name in (activations or "sigmoid").split(",")]
    for name in names:
        choose("activation", name, ACTIVATIONS)
    if cost is not None:
        cost = cost.lower()
        choose("cost", cost, COSTS)
    book = purpose == IMAGES and {*names} == {"sigmoid"}
    if len(names) > 1:
        return Formulas(names, cost or ("quadratic" if book else _COST_OF_OUTPUT.get(names[-1], "quadratic")))
    if book or (activations is not None and cost is not None):
        return Formulas(names * layers, cost or "quadratic")
    if cost is None:
        output, cost = ("identity", "quadratic") if purpose == NUMBERS else ("softmax", "log-likelihood")
    else:
        output = _OUTPUT_OF_COST.get(cost, "identity" if purpose == NUMBERS else "sigmoid")
    hidden = "sigmoid" if names[0] == "softmax" else names[0]  # softmax is for the output layer only
    return Formulas([hidden] * (layers - 1) + [output], cost)


def eta(purpose: str, chosen: Formulas, optimizer: Optimizer, *, pixels: bool) -> float:
    """Return a learning rate at which a network with these formulas trains.

    Optimizers other than SGD, such as Adam, have their own default. For SGD with momentum μ, the rate is (1 − μ) times
    one of these factors: 3 for images and sigmoid layers, as in the book; 0.3 for a softmax or sigmoid output and
    inputs from 0 to 1; 0.1 for such an output and other inputs; and 0.03 for other outputs.

    >>> eta("classes", Formulas(["relu", "softmax"], "log-likelihood"), SGD(), pixels=False)
    0.1
    """
    if not isinstance(optimizer, SGD):
        return optimizer.default_eta
    if set(chosen.activations) == {"sigmoid"} and purpose == IMAGES:
        return optimizer.default_eta
    classes = chosen.activations[-1] in ("softmax", "sigmoid")
    rate = 0.03 if not classes else 0.3 if pixels or purpose == IMAGES else 0.1
    return rate * (optimizer.default_eta / SGD().default_eta)
