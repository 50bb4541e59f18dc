"""The operations of the CUDA backend: each of them launches a kernel or calls cuBLAS through a device.

The device is a `CuPyDevice`, which launches at once, or a `Recorder` (`replay.py`), which keeps the calls.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.activations import identity
from fastbp.backends import kernels_of_formulas as fused
from fastbp.operations import Formulas, LayerOperations, Operation, Operations
from fastbp.optimizers import UpdateRule

Array = Any
Kernel = Any


def operations_on(
    device: Any, formulas: Formulas, dtype: str, source: str, numbers: Array, *, keep_z: bool = False
) -> Operations:
    """Return operations on a device. If a formula cannot be compiled, an `InputError` names it.

    `numbers` is memory on the device for the numbers of the optimizer that may differ between steps.
    """
    from fastbp_kernels.cuda import kernels as cuda

    rule, bias, weighted = formulas.output, formulas.bias, formulas.weighted
    *hidden, last = formulas.activations
    layers = [_layer(device, g, g, dtype, bias, keep_z or g.needs_z) for g in hidden]
    # The last layer's `hadamard` is never called.
    layers.append(_layer(device, last, identity, dtype, bias, keep_z or rule.needs_z))
    return Operations(
        layers=tuple(layers),
        gather_x=_gather(device, cuda.gather(source, dtype)),
        gather=_gather(device, cuda.gather(dtype, dtype)),
        matmul_transposed=lambda w, delta, out: _gemm(device, "N", "N", w.T, delta, out, 1.0, 0.0),
        add_column_sums=_add_column_sums(device, cuda.add_column_sums(dtype)),
        optimizer_step=_optimizer_step(device, formulas.rule, dtype, numbers),
        output_error=_column_kernel(
            device, fused.output_error(cuda, rule, dtype, weighted=weighted, bias=bias), shape_of=1
        ),
        add_cost=_column_kernel(device, fused.add_cost(cuda, rule, dtype, weighted=weighted), shape_of=1),
        add_squares=_add_squares(device, dtype),
        sum_over_ranks=lambda ranks, w: None,
    )


def dropout_on(device: Any, dtype: str) -> Operation:
    """Return the operation of dropout on a device."""
    from fastbp_kernels.cuda import kernels as cuda

    kernel = cuda.dropout(dtype)

    def drop(
        threshold: int, scale: float, key_0: int, key_1: int, n: int, examples: Array, a: Array, out: Array
    ) -> None:
        device.launch(kernel, threshold, scale, key_0, key_1, examples, a, out, out.shape[1], n)

    return drop


def _layer(device: Any, g: Any, of_hadamard: Any, dtype: str, bias: bool, keeps_z: bool) -> LayerOperations:
    from fastbp_kernels.cuda import kernels as cuda

    activate = fused.activate(cuda, g, dtype, bias=bias, keep_z=keeps_z)
    return LayerOperations(
        keeps_z,
        matmul=lambda w, a, z: _gemm(device, "T", "N", w.T, a, z, 1.0, 0.0),
        add_outer=lambda alpha, delta, a, beta, w: _gemm(device, "N", "T", a, delta, w.T, alpha, beta),
        activate=_column_kernel(device, activate, shape_of=1),
        hadamard=_column_kernel(device, fused.hadamard(cuda, of_hadamard, dtype, bias=bias), shape_of=2),
    )


def _gemm(device: Any, op_a: str, op_b: str, a: Array, b: Array, out: Array, alpha: float, beta: float) -> None:
    if b.size:
        device.gemm(op_a, op_b, a, b, out, alpha, beta)
    else:  # a rank may have no columns of a mini-batch
        out *= beta


def _column_kernel(device: Any, kernel: Kernel, *, shape_of: int) -> Operation:
    """Return an operation that launches a kernel and passes it the shape of the argument with index `shape_of`."""

    def operation(*arguments: Array) -> None:
        n, m = arguments[shape_of].shape
        if m:  # a rank may have no columns of a mini-batch
            device.launch(kernel, *arguments, m, n)

    return operation


def _gather(device: Any, kernel: Kernel) -> Operation:
    def gather(data: Array, indices: Array, scale: float, out: Array) -> None:
        n, m = out.shape
        if n and m:  # there are no rows if the examples are not weighted
            device.launch(kernel, data, indices, scale, out, m, n)

    return gather


def _add_column_sums(device: Any, kernel: Kernel) -> Operation:
    def add_column_sums(alpha: float, sums: Array, beta: float, b: Array) -> None:
        n, n_sums = sums.shape
        if n:
            device.launch(kernel, alpha, sums, beta, b, n_sums, n)

    return add_column_sums


def _add_squares(device: Any, dtype: str) -> Operation:
    from fastbp_kernels.cuda import kernels as cuda

    def add_squares(factor: float, w: Array, total: Array) -> None:
        device.launch(cuda.add_squares(dtype), factor, w, total, *w.shape)

    return add_squares


def _optimizer_step(device: Any, rule: UpdateRule | None, dtype: str, numbers: Array) -> Operation:
    """Return the operation of an optimizer. It writes η, t and the constants to `numbers` when they have changed."""
    from fastbp_kernels.cuda import kernels as cuda
    from fastbp_kernels.cuda.step_numbers import STEP_NUMBERS, set_numbers

    if rule is None:
        return lambda *arguments: None  # plain SGD never calls it
    kernel, setting = fused.optimizer_step(cuda, rule, dtype), set_numbers(dtype)
    present: tuple[float, ...] = ()

    def optimizer_step(eta: float, decay: float, t: float, constants: npt.NDArray[np.float64], *arrays: Array) -> None:
        nonlocal present
        if (given := (eta, t, *constants.tolist())) != present and not device.recording:
            device.launch(setting, *given, numbers, 1, STEP_NUMBERS)
            present = given
        rows, columns = arrays[-1].shape
        if rows * columns:
            device.launch(kernel, numbers, decay, *arrays, rows, columns)

    return optimizer_step
