"""Compiling ahead: what a network needs, found on the disk by every later process."""

import time
from typing import Any

import numpy as np

from fastbp.network import Network


def warmup(net: Network | None = None, *, optimizer: Any = "sgd") -> float:
    """Compile what a network's training and use need, or load it, and return the seconds that took.

    For `net`, of which nothing is changed, or for one like `Network([784, 30, 10])`: compiled code goes by the number
    of layers, their activations, the cost, biases, dtype and optimizer, not by the sizes. Training wants examples in
    the network's dtype, or bytes; both are looked after. What is compiled stays in a folder, which `fastbp info` names,
    so that a later process finds it there: 0.5 s to its first mini-batch, where compiling takes some seconds.

    Raises `InputError` as `Network.train` does.

    >>> warmup() > 0.0
    True
    """
    start = time.perf_counter()
    small = _like(net if net is not None else Network([784, 30, 10]))
    rng = np.random.default_rng(0)
    labels = np.arange(3) % small.sizes[-1]
    y = labels if small.sizes[-1] > 1 else np.ones((1, 3))
    for x in (rng.random((small.sizes[0], 3)), rng.integers(0, 2, (small.sizes[0], 3)).astype(np.uint8)):
        small.train(x, y, epochs=1, mini_batch_size=2, optimizer=optimizer, progress=False)  # a short one last
    small.cost(x, y)
    small.feedforward(x)
    small.backprop(x, y)
    return time.perf_counter() - start


def _like(net: Network) -> Network:
    """Return a network that runs the same code: two neurons where there are more, and one where there is one."""
    sizes = [min(n, 2) for n in net.sizes]
    return Network(
        sizes,
        net.activations,
        net.cost_function,
        bias=bool(net.biases),
        dtype=net.dtype,
        backend=net._plan.backend,
        rng=0,
    )
