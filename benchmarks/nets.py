"""The networks and mini-batch sizes that are timed, and the preparation of mini-batches on a backend."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.mnist import Rows
from benchmarks.peers import parameters
from fastbp import equations
from fastbp.backends.interrupts import uninterrupted
from fastbp.bench.grid import name_of
from fastbp.operations import Backend, Examples, Plan, WorkspacePool, step_config
from fastbp.optimizers import SGD
from fastbp.parameters import as_parameters, checked_parameters, new_optimizer_state, plan_of

NETS = [((784, 30, 10), 10), ((784, 100, 10), 10), ((784, 800, 10), 100), ((784, 1024, 1024, 10), 256)]


def name(net: tuple[Sequence[int], int]) -> str:
    """Return the name of a network with its mini-batch size.

    >>> name(NETS[0])
    '784-30-10 × 10'
    """
    return f"{name_of(net[0])} × {net[1]}"


@dataclass(frozen=True)
class PreparedTraining:
    """A network and its examples on a backend, so that only the equations remain to be run."""

    plan: Plan
    arguments: tuple[Any, ...]
    transferred: int  # bytes of the examples that were sent to the backend

    def train(self) -> None:
        """Train on all mini-batches once, and wait for the backend to finish."""
        *_, order, _, m, _ = self.arguments
        with uninterrupted(), self.plan.backend.worker_context(self.plan, "uint8", m, len(order)):
            self.plan.backend.run(equations.train_mini_batches, *self.arguments)
            self.plan.backend.synchronize()


def prepare(sizes: Sequence[int], m: int, data: Rows, count: int, dtype: str, backend: Backend) -> PreparedTraining:
    """Prepare the training on the first `count` mini-batches of m examples, in random order."""
    plan = plan_of(sizes, "sigmoid", "quadratic", bias=True, dtype=dtype, backend=backend, input_scale=1 / 255)
    weights, biases = parameters(sizes, dtype)
    p = as_parameters(checked_parameters("weights", weights, plan), checked_parameters("biases", biases, plan), plan)
    host = (data.images, np.eye(sizes[-1], dtype=dtype)[data.labels], np.empty((len(data.images), 0), dtype))
    x, y, s = (backend.upload(array) for array in host)
    operations = plan.operations("uint8")
    order = np.random.default_rng(0).permutation(len(data.images))[: count * m]
    if len(order) % m:
        order = order[: -(len(order) % m)]
    step = step_config(SGD(), 0.1, steps=0, count=len(order) // m, lmbda=0.0, n=len(data.images))
    total = backend.new_cost_total(sizes[-1], m, dtype)
    backend.set_cost_total(total, 0.0)
    ws = WorkspacePool(plan, operations, m).workspace(m)
    examples = Examples(x, y, s, plan.input_scale)
    arguments = (operations, p, new_optimizer_state(plan), ws, examples, backend.upload(order), step, m, total)
    return PreparedTraining(plan, arguments, sum(array.nbytes for array in host))
