"""The book's files of networks: sigmoid layers, and a cost by the name that the book gives it."""

from typing import Any

from fastbp.activations import sigmoid
from fastbp.book.json_files import read_network, write_network
from fastbp.convert.assigned import host_parameters
from fastbp.costs import cross_entropy, quadratic
from fastbp.errors import InputError, brief, choose
from fastbp.files.tensors import StrPath, reading
from fastbp.network import Network

COSTS = {"QuadraticCost": quadratic, "CrossEntropyCost": cross_entropy}
"""What the book calls a cost, and what fastbp does."""


def from_book(path: StrPath, *, backend: Any = None, rng: Any = None) -> Network:
    """Return the network of a file that the book's `network2` wrote, or fastbp's: sigmoid layers, in float64.

    `backend` and `rng` are as in `Network`. Raises `InputError` for a file that is anything else, or names a cost of
    one's own. The book, chapter 3.

    >>> import tempfile
    >>> net = Network([2, 3, 1], cost="cross-entropy", rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_book(net, folder + "/net.json")
    ...     from_book(folder + "/net.json")
    <Network 2-3-1: sigmoid, sigmoid; cross-entropy cost; float64 on numpy>
    """
    sizes, weights, biases, name = read_network(path)
    with reading(path):
        cost = choose("cost", name[:60], COSTS)
    net = Network(sizes, "sigmoid", cost, dtype="float64", backend=backend, rng=rng)
    net.weights, net.biases = weights, biases
    return net


def to_book(net: Network, path: StrPath) -> None:
    """Write a network as the book's `network2.Network.save` does, whole or not at all; `network2.load` reads it.

    The scale of its inputs is multiplied into W¹. Raises `InputError` for what the book's networks have not: other
    activations than sigmoid, other costs than quadratic and cross-entropy, no biases; and if the file cannot be
    written. The book, chapter 3; see `from_book`.
    """
    weights, biases = host_parameters(net)
    others = [activation.name for activation in net.activations if activation != sigmoid]
    if others:
        raise InputError(f"the network has an activation {brief(others[0])}; the book's have sigmoid in every layer")
    names = {cost: name for name, cost in COSTS.items()}
    if net.cost_function not in names:
        raise InputError(
            f"the network has the cost {brief(net.cost_function.name)}; the book's are quadratic, cross-entropy"
        )
    if not biases:
        raise InputError("the network has no biases; the book's have them in every layer")
    write_network(path, net.sizes, weights, [b[:, None] for b in biases], names[net.cost_function])
