"""The floor: what the bare matrix products of training take, of the same shapes, by the same BLAS, and nothing else.

alpha is not 0, for which BLAS would return at once; there is no gather, rows come as they lie.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.backends.interrupts import uninterrupted
from fastbp.operations import Backend, Operations, Parameters, Workspace, WorkspacePool
from fastbp.parameters import plan_of

Array = Any


def products(ops: Operations, p: Parameters, ws: Workspace, mini_batches: Array) -> None:
    """Carry out the products of (1), (BP2) and (BP4) for one mini-batch after another; z stands in for a."""
    for i in range(mini_batches.shape[0]):
        x = mini_batches[i, ...]
        ops.matmul(p.weights[0], x, ws.zs[0])
        for l in range(1, len(p.weights)):
            ops.matmul(p.weights[l], ws.zs[l - 1], ws.zs[l])
        for l in range(len(p.weights) - 2, -1, -1):
            ops.matmul_transposed(p.weights[l + 1], ws.deltas[l + 1], ws.deltas[l])
        ops.add_outer(-1e-9, ws.deltas[0], x, 1.0, p.weights[0])
        for l in range(1, len(p.weights)):
            ops.add_outer(-1e-9, ws.deltas[l], ws.zs[l - 1], 1.0, p.weights[l])


def floor_of(backend: Backend, sizes: tuple[int, ...], dtype: str, rows: npt.NDArray[Any]) -> Callable[[], None]:
    """Return the products for rows of shape (mini-batches, m, n_0), ready to be called.

    Compiled ones are BLAS's alone, without the tiles that fastbp multiplies a few columns by.
    """
    plan = plan_of(sizes, "sigmoid", "quadratic", bias=True, dtype=dtype, backend=backend)
    operations = plan.operations("uint8")  # those of training, so that nothing more has to be compiled
    mini_batches: Array = rows
    if backend.name == "numpy":
        with uninterrupted():
            operations = operations._replace(matmul=_bare_affine(dtype), add_outer=_bare_add_outer(dtype))
    else:
        mini_batches = backend.xp.permute_dims(plan.copied(rows), (0, 2, 1))
    rng = np.random.default_rng(0)
    shapes = zip(sizes[1:], sizes[:-1], strict=True)
    weights = tuple(plan.copied(rng.standard_normal(shape) * shape[1] ** -0.5) for shape in shapes)
    p = Parameters(weights, tuple(backend.columns(plan.block(0, 1)) for _ in weights))
    ws = WorkspacePool(plan, operations, rows.shape[1]).workspace(rows.shape[1])
    for delta in ws.deltas:
        delta[...] = 1e-3
    return lambda: backend.run(products, operations, p, ws, mini_batches)


@cache
def _bare_affine(dtype: str) -> Any:
    from numba import types

    from fastbp_kernels.cpu import blas
    from fastbp_kernels.cpu.jit_cache import compiled_kernel

    product = blas.whole_product(dtype)

    def kernel(w: Any, a: Any, z: Any) -> None:
        product(blas.TRANSPOSED, blas.AS_IT_IS, w.shape[1], 1.0, w, a, 0.0, z)

    return compiled_kernel(kernel, types.void(*[types.Array(getattr(types, dtype), 2, "C")] * 3))


@cache
def _bare_add_outer(dtype: str) -> Any:
    from numba import types

    from fastbp_kernels.cpu import blas
    from fastbp_kernels.cpu.jit_cache import compiled_kernel

    product = blas.whole_product(dtype)

    def kernel(alpha: Any, delta: Any, a: Any, beta: Any, w: Any) -> None:
        product(blas.AS_IT_IS, blas.TRANSPOSED, delta.shape[0], alpha, a, delta, beta, w)

    block = types.Array(getattr(types, dtype), 2, "C")
    return compiled_kernel(kernel, types.void(types.float64, block, block, types.float64, block))
