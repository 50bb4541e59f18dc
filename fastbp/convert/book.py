"""Files of the book's `network2`: sigmoid layers, and the cost under the name that the book gives it."""

import numpy as np

from fastbp.activations import sigmoid
from fastbp.backends import BackendLike
from fastbp.book.json_files import read_network, write_network
from fastbp.convert.weights_and_biases import host_parameters
from fastbp.costs import cross_entropy, quadratic
from fastbp.errors import InputError, brief, choose
from fastbp.files.reading import StrPath, reading
from fastbp.network import Network

COSTS = {"QuadraticCost": quadratic, "CrossEntropyCost": cross_entropy}
"""fastbp's costs, by the names of the book's classes."""


def from_book(
    path: StrPath, *, backend: BackendLike | None = None, rng: int | np.random.Generator | None = None
) -> Network:
    """Return the network in a file that `network2.Network.save` wrote, the book's or fastbp's.

    Parameters
    ----------
    path : path-like
        The file: JSON with sizes, weights, biases and cost.
    backend, rng
        As in `fastbp.Network`.

    Returns
    -------
    Network
        With sigmoid layers and the cost that the file names, in float64.

    Raises
    ------
    InputError
        If the file cannot be read, is not such a file, or names a cost that is not one of the book's two.

    References
    ----------
    M. Nielsen, *Neural Networks and Deep Learning*, chapter 3.

    Examples
    --------
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
    """Write a network to a file in the book's format, which `network2.load` reads. The file is written atomically.

    Parameters
    ----------
    net : Network
        A network with biases, sigmoid layers, and the quadratic or cross-entropy cost.
    path : path-like
        The file to write. W¹ is multiplied by the network's input scale, since the format has no input scale.

    Raises
    ------
    InputError
        If the format cannot represent the network, or the file cannot be written.

    See Also
    --------
    from_book : Read such a file, with an example.

    References
    ----------
    M. Nielsen, *Neural Networks and Deep Learning*, chapter 3.
    """
    weights, biases = host_parameters(net)
    others = [activation.name for activation in net.activations if activation != sigmoid]
    if others:
        raise InputError(
            f"net must have sigmoid activations in all layers for the book's format, got {brief(others[0])}"
        )
    names = {cost: name for name, cost in COSTS.items()}
    if net.cost_function not in names:
        given = brief(net.cost_function.name)
        raise InputError(f"net must have the cost quadratic or cross-entropy for the book's format, got {given}")
    if not biases:
        raise InputError("net must have biases for the book's format, got a network with bias=False")
    write_network(path, net.sizes, weights, [b[:, None] for b in biases], names[net.cost_function])
