"""Read and write the files of `network2` in M. Nielsen's book *Neural Networks and Deep Learning*.

All layers of a network in such a file are sigmoid layers. The cost is given by the name of its class in the book.
"""

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
"""A mapping from the names of the book's cost classes to the costs of fastbp."""


def from_book(
    path: StrPath, *, backend: BackendLike | None = None, rng: int | np.random.Generator | None = None
) -> Network:
    """Read a network from a file written by `network2.Network.save`, either the book's or fastbp's.

    Parameters
    ----------
    path : path-like
        A JSON file with sizes, weights, biases and the name of the cost.
    backend, rng
        As in `fastbp.Network`.

    Returns
    -------
    Network
        A network in float64 with sigmoid layers and the cost named in the file.

    Raises
    ------
    InputError
        If the file cannot be read, has another format, or names a cost that is not one of the book's two costs.

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
    """Write a network to a file in the book's format, so that `network2.load` can read it.

    The file is written atomically.

    Parameters
    ----------
    net : Network
        A network with biases, sigmoid layers, and the quadratic or cross-entropy cost.
    path : path-like
        The file to write. The format has no input scale, so the file contains W¹ multiplied by the network's input
        scale.

    Raises
    ------
    InputError
        If the format cannot represent the network, or the file cannot be written.

    See Also
    --------
    from_book : Read such a file. The example there also uses `to_book`.

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
