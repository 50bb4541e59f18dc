"""The floor: the time of the matrix products alone, a lower bound for the time of training and of inference.

These products have the same shapes as those of the network, and use the same BLAS. Nothing else is computed. Examples
are not gathered into mini-batches, because the rows are taken in order. Activations are not computed either: z is used
in place of `a`, which has the same shape.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.backends.interrupts import uninterrupted
from fastbp.operations import Backend, Operations, Parameters, Plan, Workspace, WorkspacePool
from fastbp.parameters import plan_of

Array = Any


def make_floor(
    backend: Backend, sizes: tuple[int, ...], dtype: str, x: npt.NDArray[Any], m: int, *, forward_only: bool = False
) -> Callable[[], None]:
    """Return a function that computes the matrix products of an epoch on all rows of `x`.

    With `forward_only`, the function computes only the products of feedforward. `x` has shape (n, n_0) and is divided
    into mini-batches of m rows. The last mini-batch may be shorter. With the compiled backend, every product is a call
    of BLAS, even if training would use fastbp's own code for products of small matrices.
    """
    plan = plan_of(sizes, "sigmoid", "quadratic", bias=True, dtype=dtype, backend=backend)
    operations = plan.operations("uint8")  # the same as in training, so that nothing else has to be compiled
    if backend.name == "numpy":
        with uninterrupted():
            forward, backward, outer = _blas_products(dtype)
            layers = tuple(layer._replace(matmul=forward, add_outer=outer) for layer in operations.layers)
            operations = operations._replace(layers=layers, matmul_transposed=backward)
    n_full = len(x) // m
    last = len(x) - n_full * m or m  # a workspace must not be empty, even if no mini-batch uses it
    full_batches = _mini_batches(plan, x[: n_full * m], m)
    short_batches = _mini_batches(plan, x[n_full * m :], last)  # an array of one mini-batch or none
    rng = np.random.default_rng(0)
    shapes = zip(sizes[1:], sizes[:-1], strict=True)
    weights = tuple(plan.array(rng.standard_normal(shape) * shape[1] ** -0.5) for shape in shapes)
    p = Parameters(weights, tuple(backend.columns(plan.block(0, 1)) for _ in weights))
    pool = WorkspacePool(plan, operations, m)
    full, short = pool.workspace(m), pool.workspace(last)
    for delta in full.deltas:
        backend.assign(delta, 1e-3)
    equation = forward_products if forward_only else epoch_products
    return lambda: backend.run(equation, operations, p, full, short, full_batches, short_batches)


def epoch_products(
    ops: Operations, p: Parameters, full: Workspace, short: Workspace, full_batches: Array, short_batches: Array
) -> None:
    """Compute the products of feedforward, (BP2) and (BP4) for one mini-batch after another."""
    for i in range(full_batches.shape[0]):
        _multiply_forward(ops, p, full, full_batches[i, ...])
        _multiply_backward(ops, p, full, full_batches[i, ...])
    for i in range(short_batches.shape[0]):
        _multiply_forward(ops, p, short, short_batches[i, ...])
        _multiply_backward(ops, p, short, short_batches[i, ...])


def forward_products(
    ops: Operations, p: Parameters, full: Workspace, short: Workspace, full_batches: Array, short_batches: Array
) -> None:
    """Compute the products of feedforward for one mini-batch after another."""
    for i in range(full_batches.shape[0]):
        _multiply_forward(ops, p, full, full_batches[i, ...])
    for i in range(short_batches.shape[0]):
        _multiply_forward(ops, p, short, short_batches[i, ...])


def _multiply_forward(ops: Operations, p: Parameters, ws: Workspace, x: Array) -> None:
    """Compute zˡ = Wˡ zˡ⁻¹ for each layer."""
    ops.layers[0].matmul(p.weights[0], x, ws.zs[0])
    for l in range(1, len(p.weights)):
        ops.layers[l].matmul(p.weights[l], ws.zs[l - 1], ws.zs[l])


def _multiply_backward(ops: Operations, p: Parameters, ws: Workspace, x: Array) -> None:
    """Compute (Wˡ⁺¹)ᵀ δˡ⁺¹ down to the second layer, and Wˡ + α δˡ (zˡ⁻¹)ᵀ for each layer.

    α is not 0, because BLAS would otherwise return at once.
    """
    for l in range(len(p.weights) - 2, -1, -1):
        ops.matmul_transposed(p.weights[l + 1], ws.deltas[l + 1], ws.deltas[l])
    ops.layers[0].add_outer(-1e-9, ws.deltas[0], x, 1.0, p.weights[0])
    for l in range(1, len(p.weights)):
        ops.layers[l].add_outer(-1e-9, ws.deltas[l], ws.zs[l - 1], 1.0, p.weights[l])


def _mini_batches(plan: Plan, rows: npt.NDArray[Any], m: int) -> Array:
    """Return the rows as an array of mini-batches of m examples. Each mini-batch is a block of this backend."""
    batches = rows.reshape(-1, m, rows.shape[1])
    if plan.backend.name == "numpy":
        return batches
    return plan.backend.xp.permute_dims(plan.array(batches), (0, 2, 1))


@cache
def _blas_products(dtype: str) -> tuple[Any, Any, Any]:
    """Return `matmul`, `matmul_transposed` and `add_outer`, compiled as calls of BLAS."""
    from numba import types

    from fastbp_kernels.cpu import blas
    from fastbp_kernels.cpu.jit_cache import compiled_kernel

    product = blas.whole_product(dtype)
    block = types.Array(getattr(types, dtype), 2, "C")

    def matmul(w: Any, a: Any, z: Any) -> None:
        product(blas.TRANSPOSED, blas.AS_IT_IS, w.shape[1], 1.0, w, a, 0.0, z)

    def matmul_transposed(w: Any, delta: Any, out: Any) -> None:
        product(blas.AS_IT_IS, blas.AS_IT_IS, w.shape[0], 1.0, w, delta, 0.0, out)

    def add_outer(alpha: Any, delta: Any, a: Any, beta: Any, w: Any) -> None:
        product(blas.AS_IT_IS, blas.TRANSPOSED, delta.shape[0], alpha, a, delta, beta, w)

    return (
        compiled_kernel(matmul, types.void(block, block, block)),
        compiled_kernel(matmul_transposed, types.void(block, block, block)),
        compiled_kernel(add_outer, types.void(types.float64, block, block, types.float64, block)),
    )
