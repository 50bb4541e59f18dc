"""Memory of training: a compiled step allocates nothing; besides data and parameters, two workspaces are enough."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError
from numba.core.runtime import _nrt_python, rtsys

from fastbp import equations
from fastbp.backends import get
from fastbp.operations import Examples, WorkspacePool, step_config
from fastbp.optimizers import SGD, Adam
from fastbp.parameters import as_parameters, checked_parameters, new_optimizer_state, plan_of
from fastbp_kernels.cpu.jit_cache import lazy_jit


def epoch_arguments(optimizer, dtype, mini_batches, rng):
    """Return the arguments of `train_mini_batches` for a number of mini-batches of 5 examples."""
    sizes, m = (7, 6, 4), 5
    plan = plan_of(sizes, "sigmoid", "quadratic", bias=True, dtype=dtype, backend=get("numpy"))
    plan = replace(plan, formulas=replace(plan.formulas, rule=optimizer.rule))
    shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
    weights = checked_parameters("weights", [rng.standard_normal(shape) for shape in shapes], plan)
    p = as_parameters(weights, checked_parameters("biases", [np.zeros((n, 1)) for n in sizes[1:]], plan), plan)
    x, y, s = (rng.random((20, n)).astype(dtype) for n in (7, 4, 0))
    order = rng.integers(0, 20, m * mini_batches)
    operations = plan.operations()
    examples = Examples(*map(plan.backend.upload, (x, y, s)), 1.0)
    step = step_config(optimizer, 0.1, steps=0, count=mini_batches, lmbda=0.1, n=20)
    ws = WorkspacePool(plan, operations, m).workspace(m)
    moments = new_optimizer_state(plan, optimizer.rule)
    return operations, p, moments, ws, examples, plan.backend.upload(order), step, m, np.zeros(1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [SGD(), SGD(momentum=0.9), Adam()], ids=["plain", "momentum", "adam"])
def test_a_compiled_epoch_allocates_nothing(optimizer, dtype, rng):
    _nrt_python.memsys_enable_stats()
    for mini_batches in (1, 1000):  # the first call compiles
        arguments = epoch_arguments(optimizer, dtype, mini_batches, rng)
        before = rtsys.get_allocation_stats().alloc
        get("numpy").run(equations.train_mini_batches, *arguments)
        assert rtsys.get_allocation_stats().alloc == before


def test_allocations_are_counted_and_refused_by_lazy_jit():
    def sum_of_new(n):
        return np.ones(n).sum()

    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats().alloc
    assert njit(sum_of_new)(3) == 3
    assert rtsys.get_allocation_stats().alloc > before
    with pytest.raises(TypingError, match="Only accept returning of array passed"):
        lazy_jit(sum_of_new)(3)


SCRIPT = """
import numpy as np
import fastbp
from fastbp.operations import WorkspacePool

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))

sizes, m = [512, 1024, 1024, 10], 4096
x = np.random.default_rng(0).random((3 * m, sizes[0]), np.float32).T
y = np.arange(3 * m) % 10
net = fastbp.Network(sizes, rng=0)
small = {"epochs": 1, "eta": 0.1, "progress": False}
net.train(x[:, :64], y[:64], mini_batch_size=32, **small)  # compiles, and BLAS allocates its buffers
before = anonymous()
peak = []
net.train(x, y, mini_batch_size=m, callback=lambda epoch: peak.append(anonymous()), **small)
ws = WorkspacePool(net._plan, net._plan.operations(), m).workspace(m)
workspace = sum(block.nbytes for block in (*ws.activations, *ws.deltas, *ws.sums, ws.y, ws.s))  # z is in activations
print((peak[0] - before) / workspace)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
def test_training_takes_at_most_two_workspaces_besides_data_and_parameters(run_python):
    done = run_python(SCRIPT)
    assert done.returncode == 0, done.stderr
    assert 0.5 < float(done.stdout) <= 2
