"""The cost of all training examples and its gradient, as a function of one vector of parameters.

The optimizers of SciPy need this form. They run on the host, in float64. `FullBatch` copies the vector into parameters
on a network's backend, evaluates the equations, and returns the gradient as a vector.

The examples are divided into groups, and each group into blocks that fit into the cache of a core. On the backend
"numpy", several threads take the groups. Each group has its own gradient, and the gradients are added in a fixed order.
How the examples are divided depends on the sizes only, so the results do not depend on the number of threads.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.equations import add_cost_and_gradient, gather_and_add_cost_and_gradient
from fastbp.operations import Examples, Operations, Parameters, Plan, PreparingBackend, Workspace, WorkspacePool
from fastbp.parameters import zeros
from fastbp.training.inference import batch_size

Array = Any
Indices = npt.NDArray[np.int64]
Vector = npt.NDArray[np.float64]
_CACHE_BYTES = 2**20  # of a core's L2 cache, into which x, a and δ of a block should fit
_MIN_BLOCK = 256  # examples in a block, because BLAS packs W once per product
_MIN_GROUP = 512  # examples in a group, because the gradients of all groups have to be added
_MAX_GROUPS = 8
_MIN_SPLIT = 2**23  # multiplications; fewer are done in one group


class FullBatch:
    """The average cost of examples and its gradient, evaluated for one vector of parameters after another.

    `examples` are the examples on the plan's backend, and `source` is the dtype of their inputs, as in
    `Backend.operations`. `indices` are the numbers of the examples to be used, or None for all of them.

    If several ranks evaluate n examples together, `part` says which of the given examples are this rank's. Sums over
    these are divided by n, so the results have to be summed over the ranks.
    """

    def __init__(
        self, plan: Plan, examples: Examples, source: str, indices: Indices | None = None, part: slice | None = None,
        n: int | None = None,
    ) -> None:  # fmt: skip
        self._plan, self._p = plan, zeros(plan)
        part = part or slice(0, int(examples.y.shape[0]) if indices is None else len(indices))
        own = part.stop - part.start
        self.n = own if n is None else n
        self._multiplications = 3 * own * plan.multiplications
        operations, sparse = plan.operations(source), source == "sparse"
        in_place = indices is None and source == plan.dtype and examples.scale == 1.0
        if not in_place and indices is None:
            indices = np.arange(part.stop)
        count, size = self._n_groups(own), _block_size(plan, max(own, 1), sparse=sparse)
        bounds = [part.start + own * g // count for g in range(count + 1)]
        self._groups = [
            _Group(plan, self._p, operations, examples, indices, slice(*bound), size, self.n)
            for bound in pairwise(bounds)
        ]

    def __call__(self, theta: Vector) -> tuple[float, Vector]:
        """Return C = (1/n) Σ s_x C_x and ∂C/∂θ, without the L2 term.

        θ has all weights, layer by layer and in C order, and then all biases.
        """
        unpack(theta, self._p, self._plan)
        run = [group.run for group in self._groups]
        self._plan.backend.for_each(lambda g: run[g](), range(len(run)), self._multiplications)
        gradient = pack(self._groups[0].nabla, self._plan)
        for group in self._groups[1:]:
            gradient += pack(group.nabla, self._plan)
        return sum(group.cost() for group in self._groups) / self.n, gradient

    def rounded(self, theta: Vector) -> Vector:
        """Return a copy of θ with the rounding errors of the plan's dtype."""
        return theta.astype(self._plan.dtype).astype(np.float64)

    def weights_in(self, theta: Vector) -> Vector:
        """Return the part of θ that has the weights, with the rounding errors of the plan's dtype."""
        count = self._plan.multiplications  # there is one multiplication per weight
        return theta[:count].astype(self._plan.dtype).astype(np.float64, copy=False)

    def _n_groups(self, own: int) -> int:
        if not isinstance(self._plan.backend, PreparingBackend) or self._multiplications < _MIN_SPLIT:
            return 1
        return int(2 ** math.log2(min(_MAX_GROUPS, max(1, own // _MIN_GROUP))) // 1)


class _Group:
    """A group of examples, with its own gradient and its own sum of costs. `run` evaluates both."""

    def __init__(
        self, plan: Plan, p: Parameters, operations: Operations, examples: Examples, indices: Indices | None,
        group: slice, size: int, n: int,
    ) -> None:  # fmt: skip
        self._backend, self.nabla = plan.backend, zeros(plan)
        self._total = plan.backend.new_cost_total(plan.sizes[-1], size, plan.dtype)
        prepare: Callable[..., Callable[[], None]] = partial(partial, plan.backend.run)
        if isinstance(plan.backend, PreparingBackend):
            prepare = plan.backend.prepare
        memory = WorkspacePool(plan, operations, size, examples.x)
        self._calls = []
        for start in range(group.start, group.stop, size):
            part = slice(start, min(start + size, group.stop))
            ws, result = memory.workspace(part.stop - start), (1.0 / n, self.nabla, self._total)
            if indices is None:
                ws = _in_place(ws, examples, part, plan)
                self._calls.append(prepare(add_cost_and_gradient, operations, p, ws, *result))
            else:
                order = plan.backend.upload(indices[part])
                self._calls.append(
                    prepare(gather_and_add_cost_and_gradient, operations, p, ws, examples, order, *result)
                )

    def run(self) -> None:
        """Compute the gradient and the sum of the costs for the present parameters."""
        for array in (*self.nabla.weights, *self.nabla.biases):
            array[...] = 0.0
        self._backend.set_cost_total(self._total, 0.0)
        for call in self._calls:
            call()

    def cost(self) -> float:
        """Return the sum of the costs that `run` has computed."""
        return self._backend.read_cost_total(self._total)


def pack(p: Parameters, plan: Plan) -> Vector:
    """Return parameters, or a gradient, as one vector of float64 on the host: all weights, and then all biases."""
    arrays = [plan.backend.to_host(array).reshape(-1) for array in (*p.weights, *p.biases)]
    return np.concatenate(arrays, dtype=np.float64)


def unpack(theta: Vector, p: Parameters, plan: Plan) -> None:
    """Copy a vector from `pack` into parameters."""
    host, start = theta.astype(plan.dtype, copy=False), 0
    for array in (*p.weights, *p.biases):
        shape = tuple(array.shape)
        stop = start + math.prod(shape)
        array[...] = plan.backend.upload(host[start:stop].reshape(shape))
        start = stop


def _in_place(ws: Workspace, examples: Examples, part: slice, plan: Plan) -> Workspace:
    """Return the workspace with the memory of the examples themselves in place of copies."""
    x, y, s = (plan.backend.columns(array[part, :]) for array in examples[:3])
    return ws._replace(activations=(x, *ws.activations[1:]), y=y, s=s)


def _block_size(plan: Plan, n: int, *, sparse: bool) -> int:
    """Return the number of examples in a block."""
    if not isinstance(plan.backend, PreparingBackend):
        return batch_size(plan.sizes, n)
    inputs = 0 if sparse else plan.sizes[0]
    bytes_per_example = (inputs + 3 * sum(plan.sizes[1:])) * np.dtype(plan.dtype).itemsize
    return batch_size(plan.sizes, min(n, max(_MIN_BLOCK, _CACHE_BYTES // bytes_per_example)))
