"""Check the operations of a backend one by one, by comparison with plain NumPy in float64."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import backends
from fastbp.activations import ACTIVATIONS, exponential, softmax
from fastbp.cli.check.host import Check, output_rules
from fastbp.costs import COSTS, output_rule
from fastbp.operations import Backend, Formulas, Operations
from fastbp.optimizers import MAX_STATE, OPTIMIZERS

Array = npt.NDArray[Any]
Case = Callable[[Backend, str, Operations], list[Array]]
"""A function that runs one operation on a backend.

Its arguments are the backend, the name of a dtype and the operations. It returns host copies of the arrays that
changed."""

ROUNDING = {"float32": 2e-6, "float64": 4e-15}
"""The largest error of one operation that passes, relative to max(1, |value|).

It is about 16 units in the last place. The largest errors are those of exp and of functions computed from it.
Of the 16 units, 2 are due to the GPU's instruction `ex2.approx`. The float32 kernels flush denormals to 0, and this
error is within the bound too.
"""
# Shapes (n, m). They are near multiples of 32 by 8, which is the size of a thread block, and of 16, which is the number
# of examples in a partial sum.
SHAPES = [(1, 1), (33, 32), (5, 130), (257, 9)]
_PLAIN = backends.get("numpy-plain")


def kernels(backend: Backend) -> Iterator[Check]:
    """Yield one check per operation and dtype: the largest error over all formulas and shapes."""
    for dtype, limit in ROUNDING.items():
        cases: dict[str, Iterator[tuple[str, Formulas, bool, Case]]] = {
            "activate": _activations(dtype),
            "hadamard": _hadamards(dtype),
            "output_error": _outputs(dtype, _output_error),
            "add_cost": _outputs(dtype, _add_cost),
            "add_squares": _squares(dtype),
            "add_column_sums": _column_sums(backend, dtype),
            "dropout": _dropouts(dtype),
            "optimizer_step": _optimizer_steps(dtype),
            "products": _products(dtype),
            "gather": _gathers(dtype, dtype),
            "gather uint8 to": _gathers("uint8", dtype),
        }
        for operation, operation_cases in cases.items():
            source = "uint8" if "uint8" in operation else dtype
            errors: dict[str, float] = {}
            for formula, formulas, keep_z, case in operation_cases:
                error = _case_error(backend, dtype, source, formulas, keep_z, case)
                errors[formula] = max(errors.get(formula, 0.0), error)
            worst = max(errors, key=errors.__getitem__)
            which = f", worst of {len(errors)}: {worst}" if len(errors) > 1 else ""
            yield Check(f"{operation} {dtype}{which}", errors[worst], limit)


def _case_error(backend: Backend, dtype: str, source: str, formulas: Formulas, keep_z: bool, case: Case) -> float:
    got = case(backend, dtype, backend.operations(formulas, dtype, source, keep_z=keep_z))
    with np.errstate(all="ignore"):
        exact = case(_PLAIN, "float64", _PLAIN.operations(formulas, "float64", source, keep_z=keep_z))
    return max(max_error(a, b) for a, b in zip(got, exact, strict=True))


def max_error(got: Array, exact: Array) -> float:
    """Return the largest error relative to max(1, |exact|).

    Where a value is infinite or NaN in only one of the two arrays, the error is infinite.

    >>> max_error(np.array([np.inf, np.nan, 101.0]), np.array([np.inf, np.nan, 100.0]))
    0.01
    >>> max_error(np.zeros(1), np.array([np.nan]))
    inf
    """
    got, exact = got.astype(np.float64), exact.astype(np.float64)
    same = (got == exact) | (np.isnan(got) & np.isnan(exact))
    with np.errstate(all="ignore"):
        errors = np.where(same, 0.0, np.abs(got - exact) / np.maximum(1.0, np.abs(exact)))
    return float(np.max(np.where(np.isnan(errors), np.inf, errors), initial=0.0))


# The cases of each operation. Blocks of columns have shape (n, m). Their values are rounded to the dtype under test.


def _activations(dtype: str) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for l, name in enumerate(ACTIVATIONS):
        for bias, keep_z in ((True, False), (False, True)):
            for n, m in SHAPES:
                rng = np.random.default_rng(n)
                z = _weighted_inputs(name, rng, n, m, dtype)
                b = _normal(rng, n, 1, dtype)

                def run(
                    backend: Backend, d: str, ops: Operations, l: int = l, z: Array = z, b: Array = b
                ) -> list[Array]:
                    layer = ops.layers[l]
                    z_block, b_block = put_columns(backend, z, d), put_columns(backend, b, d)
                    a = put_columns(backend, np.zeros_like(z), d) if layer.keeps_z else z_block
                    backend.run(layer.activate, z_block, a, b_block)
                    return [read_columns(backend, a), read_columns(backend, z_block)]

                yield name, _all_activations(bias), keep_z, run


def _hadamards(dtype: str) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for l, (name, g) in enumerate(ACTIVATIONS.items()):
        for n, m in SHAPES if g != softmax else ():
            rng = np.random.default_rng(n)
            z, delta = _weighted_inputs(name, rng, n, m, dtype), _normal(rng, n, m, dtype)
            a = _applied(g.f, z, dtype)

            def run(
                backend: Backend, d: str, ops: Operations, l: int = l, z: Array = z, a: Array = a, delta: Array = delta
            ) -> list[Array]:
                z_block, a_block, delta_block = (put_columns(backend, block, d) for block in (z, a, delta))
                sums = _sums(backend, z.shape, d)
                backend.run(ops.layers[l].hadamard, z_block, a_block, delta_block, sums)
                return [read_columns(backend, delta_block), read_columns(backend, sums).sum(axis=0) / z.shape[1]]

            yield name, _all_activations(True), True, run


def _all_activations(bias: bool) -> Formulas:
    return Formulas(tuple(ACTIVATIONS.values()), output_rule(softmax, COSTS["log-likelihood"]), bias)


def _outputs(
    dtype: str, operation: Callable[[Sequence[Array], Backend, str, Operations], list[Array]]
) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for rule in output_rules():
        for weighted in (False, True):
            for n, m in SHAPES:
                rng = np.random.default_rng(n)
                z = 3 * _normal(rng, n, m, dtype)
                a = _applied(rule.activation.f, z, dtype)
                y, s = rng.random((n, m)).astype(dtype), rng.random((int(weighted), m)).astype(dtype)
                formulas = Formulas((rule.activation,), rule, True, weighted)
                run = partial(operation, (z, a, y, s))
                yield f"{rule.activation.name} {rule.cost_function.name}", formulas, False, run


def _output_error(zays: Sequence[Array], backend: Backend, d: str, ops: Operations) -> list[Array]:
    delta, sums = put_columns(backend, np.zeros_like(zays[0]), d), _sums(backend, zays[0].shape, d)
    backend.run(ops.output_error, *(put_columns(backend, block, d) for block in zays), delta, sums)
    return [read_columns(backend, delta), read_columns(backend, sums).sum(axis=0) / zays[0].shape[1]]


def _add_cost(zays: Sequence[Array], backend: Backend, d: str, ops: Operations) -> list[Array]:
    n, m = zays[0].shape
    total = backend.new_cost_total(n, m, d)
    backend.set_cost_total(total, 1.0)
    for _ in range(2):
        backend.run(ops.add_cost, *(put_columns(backend, block, d) for block in zays), total)
    return [np.array(backend.read_cost_total(total) / (n * m))]


def _squares(dtype: str) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for n, m in SHAPES:
        w = _normal(np.random.default_rng(n), n, m, dtype)

        def run(backend: Backend, d: str, ops: Operations, w: Array = w) -> list[Array]:
            total = backend.new_cost_total(1, 1, d)
            backend.set_cost_total(total, 1.0)
            for _ in range(2):
                backend.run(ops.add_squares, 0.5, put_matrix(backend, w, d), total)
            return [np.array(backend.read_cost_total(total) / w.size)]

        yield "", _all_activations(True), False, run


def _column_sums(backend: Backend, dtype: str) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for n, m in SHAPES:
        rng = np.random.default_rng(n)
        sums, b = _normal(rng, n, backend.n_partial_sums(m), dtype), _normal(rng, n, 1, dtype)

        def run(backend: Backend, d: str, ops: Operations, sums: Array = sums, b: Array = b) -> list[Array]:
            b_block = put_columns(backend, b, d)
            summed = sums.astype(np.float64).sum(axis=1, keepdims=True) if backend is _PLAIN else sums
            backend.run(ops.add_column_sums, -0.5, put_columns(backend, summed, d), 0.75, b_block)
            return [read_columns(backend, b_block)]

        yield "", _all_activations(True), False, run


def _dropouts(dtype: str) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for n, m in SHAPES:
        rng = np.random.default_rng(n)
        a, examples, keys = _normal(rng, n, m, dtype), rng.integers(0, 2**33, m), rng.integers(0, 2**32, 2)

        def run(
            backend: Backend, d: str, ops: Operations, a: Array = a, examples: Array = examples, keys: Array = keys
        ) -> list[Array]:
            drop, block, out = backend.dropout(d), put_columns(backend, a, d), put_columns(backend, a, d)
            for target in (out, block):  # from one block to another, and in place
                arguments = 2**15, 2.0, int(keys[0]), int(keys[1]), len(a), backend.upload(examples), block, target
                backend.run(drop, *arguments)
            return [read_columns(backend, out), read_columns(backend, block)]

        yield "", _all_activations(True), False, run


def _optimizer_steps(dtype: str) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for name, optimizer in OPTIMIZERS.items():
        rule = optimizer.rule
        if rule is None:
            continue
        for n, k in SHAPES:
            rng = np.random.default_rng(n)
            w, nabla = (_normal(rng, n, k, dtype) for _ in range(2))
            # Not negative, because they may be averages of squares.
            state = [np.abs(_normal(rng, n, k, dtype)) for _ in optimizer.state]
            unused = [np.zeros((0, k), dtype) for _ in range(MAX_STATE - len(state))]
            scalars = (0.125, 0.0625, 1.0, optimizer.constants_of_steps(0.125, 0, 1)[0])

            def run(
                backend: Backend,
                d: str,
                ops: Operations,
                arrays: Any = (nabla, *state, *unused, w),
                scalars: Any = scalars,
            ) -> list[Array]:
                matrices = [put_matrix(backend, array, d) for array in arrays]
                backend.run(ops.optimizer_step, *scalars, *matrices)
                return [backend.to_host(matrix) for matrix in matrices]

            yield name, replace(_all_activations(True), rule=rule), False, run


def _products(dtype: str) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for n, m in SHAPES:
        k = 1 + m % 33
        rng = np.random.default_rng(n)
        w, a, delta = _normal(rng, n, k, dtype), _normal(rng, k, m, dtype), _normal(rng, n, m, dtype)
        scale = max(n, k, m) ** -0.5  # so that the sums of products are about 1

        def run(
            backend: Backend, d: str, ops: Operations, w: Any = w * scale, a: Any = a, delta: Any = delta * scale
        ) -> list[Array]:
            matrix, a_block, delta_block = (
                put_matrix(backend, w, d),
                put_columns(backend, a, d),
                put_columns(backend, delta, d),
            )
            z, out = (put_columns(backend, np.full_like(like, np.nan), d) for like in (delta, a))
            backend.run(ops.layers[0].matmul, matrix, a_block, z)
            backend.run(ops.matmul_transposed, matrix, delta_block, out)
            backend.run(ops.layers[0].add_outer, -0.5, delta_block, a_block, 0.75, matrix)
            return [read_columns(backend, z), read_columns(backend, out), backend.to_host(matrix)]

        yield "", _all_activations(True), False, run


def _gathers(source: str, dtype: str) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for n, m in SHAPES:
        rng = np.random.default_rng(n)
        data, order = rng.integers(0, 256, (50, n)).astype(source), rng.integers(0, 50, m)

        def run(backend: Backend, d: str, ops: Operations, data: Array = data, order: Array = order) -> list[Array]:
            out = put_columns(backend, np.zeros((data.shape[1], len(order))), d)
            converted = data if data.dtype == np.uint8 else data.astype(d)
            backend.run(ops.gather_x, backend.upload(converted), backend.upload(order), 1 / 255, out)
            return [read_columns(backend, out)]

        yield "", _all_activations(True), False, run


def _normal(rng: np.random.Generator, n: int, m: int, dtype: str) -> Array:
    return rng.standard_normal((n, m)).astype(dtype)


def _weighted_inputs(name: str, rng: np.random.Generator, n: int, m: int, dtype: str) -> Array:
    """Return z for an activation. It has special values, unless they would make errors of z or of sums infinite."""
    scale = {softmax.name: 30, exponential.name: 3}.get(name)
    return scale * _normal(rng, n, m, dtype) if scale else _with_special_values(rng, n, m, dtype)


def _with_special_values(rng: np.random.Generator, n: int, m: int, dtype: str) -> Array:
    """Return numbers of different magnitudes; a tenth are inf, NaN, zero, denormal, or near the overflow of exp."""
    z = rng.standard_normal((n, m)) * 10.0 ** rng.integers(-3, 2, (n, m))
    special = rng.choice([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-40, 88.0, -104.0, 1e30], (n, m))
    return np.where(rng.random((n, m)) < 0.1, special, z).astype(dtype)


def _applied(f: Callable[[Array], Array], z: Array, dtype: str) -> Array:
    with np.errstate(all="ignore"):
        return f(z.astype(np.float64)).astype(dtype)


def put_matrix(backend: Backend, host: Array, dtype: str) -> Any:
    """Return a new array on the backend with the content of a host array."""
    array = backend.empty(host.shape, dtype)
    backend.assign(array, np.ascontiguousarray(host, dtype))
    return array


def put_columns(backend: Backend, host: Array, dtype: str) -> Any:
    """Return a new block of columns on the backend with the shape and content of a host array."""
    return backend.columns(put_matrix(backend, host.T, dtype))


def read_columns(backend: Backend, columns: Any) -> Array:
    """Return a host copy of a block of columns. Each column becomes a row."""
    return backend.to_host(backend.columns(columns))


def _sums(backend: Backend, shape: tuple[int, ...], dtype: str) -> Any:
    return put_columns(backend, np.full((shape[0], backend.n_partial_sums(shape[1])), np.nan), dtype)
