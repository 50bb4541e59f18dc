"""The self-test of training on several ranks: rows of `fastbp check` under mpiexec."""

import hashlib
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from fastbp import datasets
from fastbp.backends import BackendLike
from fastbp.cli.check.host import Check
from fastbp.network import Network
from fastbp.operations import Backend
from fastbp.optimizers import OptimizerName
from fastbp.training.ranks import Ranks

Name = OptimizerName | Literal["lbfgs"]


def checks(backend: Backend, ranks: Ranks) -> Iterator[Check]:
    """Train on all ranks; compare the parameters with those of one process, and among the ranks."""
    optimizers: tuple[Name, ...] = ("sgd", "adam", "lbfgs")
    for optimizer in optimizers:
        found, expected = _trained(backend, ranks, optimizer), _trained("numpy", Ranks(), optimizer)
        error = float(np.max(np.abs(found - expected)))
        yield Check(f"one epoch on {ranks.size} ranks with {optimizer}, float64, vs one process", error, 1e-10)
        bits = ranks.gather(hashlib.sha256(found.tobytes()).digest())
        yield Check("ranks with other parameters than the first", sum(other != bits[0] for other in bits), 0)


def _trained(backend: BackendLike, ranks: Ranks, optimizer: Name) -> npt.NDArray[np.float64]:
    """Return the parameters after one epoch on digits, whose last mini-batch has one example."""
    (x, labels), _ = datasets.digits()
    net = Network([64, 30, 10], dtype="float64", backend=backend, rng=0)
    x, labels, m = x[:, :1001], labels[:1001], None if optimizer == "lbfgs" else 50
    net.train(x, labels, epochs=1, mini_batch_size=m, optimizer=optimizer, comm=ranks.comm, progress=False)
    host = net.to("numpy")
    return np.concatenate([np.ravel(array) for array in (*host.weights, *host.biases)])
