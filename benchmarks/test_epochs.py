"""Time an epoch of training: fastbp on each backend, its floor, and the peers.

The floor is the time of the matrix products alone. A peer is other code that computes the same gradient.
"""

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.nets import NETS, name
from fastbp import backends
from fastbp.bench.floor import make_floor

ROUNDS = 5


def timed(benchmark, group, peer, net, data):
    """Check the gradient of a peer, then time its epochs."""
    sizes, m = net
    benchmark.group = group
    benchmark.extra_info["version"] = peer.version()
    x = data.images / np.dtype(peer.dtype).type(255)
    y = np.eye(sizes[-1], dtype=peer.dtype)[data.labels]
    weights, biases = peers.parameters(sizes, peer.dtype)
    peer.check(weights, biases, x[:m], y[:m])
    peer.begin(weights, biases, x, y, m, 0.1)
    benchmark.pedantic(peer.epoch, rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.parametrize("net", NETS, ids=name)
def test_epoch(benchmark, net, data, dtype, backend):
    timed(benchmark, f"epoch, {name(net)}, {dtype}", peers.Fastbp(dtype, backend.name), net, data)


@pytest.mark.parametrize("net", NETS, ids=name)
def test_floor_of_an_epoch(benchmark, net, data, dtype):
    benchmark.group = f"epoch, {name(net)}, {dtype}"
    sizes, m = net
    floor = make_floor(backends.get("numpy"), sizes, dtype, data.images / np.dtype(dtype).type(255), m)
    benchmark.pedantic(floor, rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.filterwarnings("default")  # other libraries may warn
@pytest.mark.parametrize("kind", peers.PEERS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("net", NETS, ids=name)
def test_epoch_of_peer(benchmark, net, data, kind):
    peer = kind()
    if reason := peer.missing():
        pytest.skip(f"{peer.name}: {reason}")
    if sum(n * k for n, k in zip(net[0], net[0][1:], strict=False)) > peer.largest_net:
        pytest.skip(f"{peer.name}: an epoch takes too long")
    timed(benchmark, f"epoch, {name(net)}, {peer.dtype}", peer, net, data)
