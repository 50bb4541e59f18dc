"""The floor: the time of the bare matrix products of the same shapes, over the same rows in order, by the same BLAS.

A compiled loop does nothing but the products of feedforward, BP2, BP4 and descent, with alpha ≠ 0 (BLAS returns at once
for 0) and no gather. z stands in for a, whose shape it has.
"""

import time
from typing import Any

import numpy as np
from numba import njit

from fastbp_kernels.cpu.blas import AS_IT_IS, TRANSPOSED, gemm

Array = Any


class Floor:
    """The products of a network's epochs and of its feedforward, on matrices of a dtype."""

    def __init__(self, sizes: tuple[int, ...], m: int, x: Array) -> None:
        layers = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.m, self.x = m, x
        self.weights = tuple(np.full(shape, 1e-3, x.dtype) for shape in layers)
        self.zs, self.deltas = (tuple(np.full((m, n), 1e-3, x.dtype) for n in sizes[1:]) for _ in range(2))

    def epoch(self) -> float:
        """Return the seconds that the products of an epoch take."""
        start = time.perf_counter()
        _epoch(self.x, self.m, self.weights, self.zs, self.deltas)
        return time.perf_counter() - start

    def forward(self) -> float:
        """Return the seconds that the products of feeding all rows forward take."""
        start = time.perf_counter()
        _forward(self.x, self.m, self.weights, self.zs)
        return time.perf_counter() - start


@njit
def _affine(w: Array, a: Array, z: Array) -> None:
    gemm(TRANSPOSED, AS_IT_IS, w.shape[1], 1.0, w, a, 0.0, z)


@njit
def _backproject(w: Array, delta: Array, out: Array) -> None:
    gemm(AS_IT_IS, AS_IT_IS, w.shape[0], 1.0, w, delta, 0.0, out)


@njit
def _add_outer(alpha: float, delta: Array, a: Array, beta: float, w: Array) -> None:
    gemm(AS_IT_IS, TRANSPOSED, delta.shape[0], alpha, a, delta, beta, w)


@njit
def _feed(rows: Array, weights: Any, zs: Any) -> None:
    m = rows.shape[0]
    _affine(weights[0], rows, zs[0][:m])
    for l in range(1, len(weights)):
        _affine(weights[l], zs[l - 1][:m], zs[l][:m])


@njit
def _forward(x: Array, m: int, weights: Any, zs: Any) -> None:
    for start in range(0, x.shape[0], m):
        _feed(x[start : start + m], weights, zs)


@njit
def _epoch(x: Array, m: int, weights: Any, zs: Any, deltas: Any) -> None:
    for start in range(0, x.shape[0], m):
        rows = x[start : start + m]
        _feed(rows, weights, zs)
        n = rows.shape[0]
        for l in range(len(weights) - 1, 0, -1):
            _backproject(weights[l], deltas[l][:n], deltas[l - 1][:n])
        _add_outer(-1e-9, deltas[0][:n], rows, 1.0, weights[0])
        for l in range(1, len(weights)):
            _add_outer(-1e-9, deltas[l][:n], zs[l - 1][:n], 1.0, weights[l])
