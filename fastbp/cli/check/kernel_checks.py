"""Proof, here and now, that each operation of a backend does what its formula says: plain NumPy's result in float64."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import backends
from fastbp.activations import ACTIVATIONS, softmax
from fastbp.cli.check.host import Check
from fastbp.costs import COSTS, OutputRule, output_rule
from fastbp.errors import InputError
from fastbp.operations import Backend, Formulas, Operations
from fastbp.optimizers import OPTIMIZERS

Array = npt.NDArray[Any]
Case = Callable[[Backend, str, Operations], list[Array]]
"""Carries out one operation on a backend in a dtype, and returns on the host what it wrote."""

ROUNDING = {"float32": 2e-6, "float64": 4e-15}
"""Of one operation, relative to 1 or to what is larger: some 16 units in the last place, of exp and of what is made of
it, 2 of them for `ex2.approx`; denormals that float32 kernels flush to 0 are within."""
SHAPES = [(1, 1), (33, 32), (5, 130), (257, 9)]  # (n, m), around blocks of 32 by 8 and parts of 16
_PLAIN = backends.get("numpy-plain")


def kernels(backend: Backend) -> Iterator[Check]:
    """Yield one check for each operation and dtype: the worst of all formulas and shapes, against NumPy in float64."""
    for dtype, bound in ROUNDING.items():
        cases: dict[str, Iterator[tuple[str, Formulas, bool, Case]]] = {
            "activate": _activations(dtype),
            "hadamard": _hadamards(dtype),
            "output_error": _outputs(dtype, _output_error),
            "add_cost": _outputs(dtype, _add_cost),
            "add_column_sums": _column_sums(backend, dtype),
            "optimizer_step": _moves(dtype),
            "products": _products(dtype),
            "gather": _gathers(dtype, dtype),
            "gather from uint8": _gathers("uint8", dtype),
        }
        for operation, acts in cases.items():
            source = "uint8" if operation.endswith("uint8") else dtype
            errors: dict[str, float] = {}
            for formula, formulas, keep_z, act in acts:
                error = _difference(backend, dtype, source, formulas, keep_z, act)
                errors[formula] = max(errors.get(formula, 0.0), error)
            worst = max(errors, key=errors.__getitem__)
            which = f", {len(errors)} formulas, worst {worst}" if len(errors) > 1 else ""
            yield Check(f"{operation} in {dtype}{which}", errors[worst], bound)


def _difference(backend: Backend, dtype: str, source: str, formulas: Formulas, keep_z: bool, act: Case) -> float:
    here = act(backend, dtype, backend.operations(formulas, dtype, source, keep_z=keep_z))
    with np.errstate(all="ignore"):
        exact = act(_PLAIN, "float64", _PLAIN.operations(formulas, "float64", source, keep_z=keep_z))
    return max(off(a, b) for a, b in zip(here, exact, strict=True))


def off(got: Array, exact: Array) -> float:
    """Return the largest error, relative to 1 or to what is larger; infinite where just one is infinite or NaN.

    >>> off(np.array([np.inf, np.nan, 101.0]), np.array([np.inf, np.nan, 100.0])), off(np.zeros(1), np.array([np.nan]))
    (0.01, inf)
    """
    got, exact = got.astype(np.float64), exact.astype(np.float64)
    same = (got == exact) | (np.isnan(got) & np.isnan(exact))
    with np.errstate(all="ignore"):
        errors = np.where(same, 0.0, np.abs(got - exact) / np.maximum(1.0, np.abs(exact)))
    return float(np.max(np.where(np.isnan(errors), np.inf, errors), initial=0.0))


# What each operation is asked to do. Blocks of columns are (n, m); their numbers are of the dtype that is checked.


def _activations(dtype: str) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for l, name in enumerate(ACTIVATIONS):
        for bias, keep_z in ((True, False), (False, True)):
            for n, m in SHAPES:
                rng = np.random.default_rng(n)
                z = 30 * _normal(rng, n, m, dtype) if name == softmax.name else _of_every_kind(rng, n, m, dtype)
                b = _normal(rng, n, 1, dtype)

                def act(where: Backend, d: str, ops: Operations, l: int = l, z: Array = z, b: Array = b) -> list[Array]:
                    layer = ops.layers[l]
                    z_there, b_there = put_columns(where, z, d), put_columns(where, b, d)
                    a = put_columns(where, np.zeros_like(z), d) if layer.keeps_z else z_there
                    where.run(layer.activate, z_there, a, b_there)
                    return [fetch_rows(where, a), fetch_rows(where, z_there)]

                yield name, _of_all_activations(bias), keep_z, act


def _hadamards(dtype: str) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for l, (name, g) in enumerate(ACTIVATIONS.items()):
        for n, m in SHAPES if g != softmax else ():
            rng = np.random.default_rng(n)
            z, delta = _of_every_kind(rng, n, m, dtype), _normal(rng, n, m, dtype)
            a = _applied(g.f, z, dtype)

            def act(
                where: Backend, d: str, ops: Operations, l: int = l, z: Array = z, a: Array = a, delta: Array = delta
            ) -> list[Array]:
                there, sums = put_columns(where, delta, d), _sums(where, z.shape, d)
                where.run(ops.layers[l].hadamard, put_columns(where, z, d), put_columns(where, a, d), there, sums)
                return [fetch_rows(where, there), fetch_rows(where, sums).sum(axis=0) / z.shape[1]]

            yield name, _of_all_activations(True), True, act


def _of_all_activations(bias: bool) -> Formulas:
    return Formulas(tuple(ACTIVATIONS.values()), output_rule(softmax, COSTS["log-likelihood"]), bias)


def _outputs(
    dtype: str, operation: Callable[[Sequence[Array], Backend, str, Operations], list[Array]]
) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for rule in _rules():
        for weighted in (False, True):
            for n, m in SHAPES:
                rng = np.random.default_rng(n)
                z = 3 * _normal(rng, n, m, dtype)
                a = _applied(rule.activation.f, z, dtype)
                y, s = rng.random((n, m)).astype(dtype), rng.random((int(weighted), m)).astype(dtype)
                formulas = Formulas((rule.activation,), rule, True, weighted)
                act = partial(operation, (z, a, y, s))
                yield f"{rule.activation.name} {rule.cost_function.name}", formulas, False, act


def _rules() -> Iterator[OutputRule]:
    for activation in ACTIVATIONS.values():
        for cost in COSTS.values():
            try:
                yield output_rule(activation, cost)
            except InputError:
                continue


def _output_error(zays: Sequence[Array], where: Backend, d: str, ops: Operations) -> list[Array]:
    delta, sums = put_columns(where, np.zeros_like(zays[0]), d), _sums(where, zays[0].shape, d)
    where.run(ops.output_error, *(put_columns(where, block, d) for block in zays), delta, sums)
    return [fetch_rows(where, delta), fetch_rows(where, sums).sum(axis=0) / zays[0].shape[1]]


def _add_cost(zays: Sequence[Array], where: Backend, d: str, ops: Operations) -> list[Array]:
    n, m = zays[0].shape
    total = where.new_cost_total(n, m, d)
    where.set_cost_total(total, 1.0)
    for _ in range(2):
        where.run(ops.add_cost, *(put_columns(where, block, d) for block in zays), total)
    return [np.array(where.read_cost_total(total) / (n * m))]


def _column_sums(backend: Backend, dtype: str) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for n, m in SHAPES:
        rng = np.random.default_rng(n)
        sums, b = _normal(rng, n, backend.n_partial_sums(m), dtype), _normal(rng, n, 1, dtype)

        def act(where: Backend, d: str, ops: Operations, sums: Array = sums, b: Array = b) -> list[Array]:
            there = put_columns(where, b, d)
            summed = sums.astype(np.float64).sum(axis=1, keepdims=True) if where is _PLAIN else sums
            where.run(ops.add_column_sums, -0.5, put_columns(where, summed, d), 0.75, there)
            return [fetch_rows(where, there)]

        yield "", _of_all_activations(True), False, act


def _moves(dtype: str) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for name, optimizer in OPTIMIZERS.items():
        rule = optimizer.rule
        if rule is None:
            continue
        for n, k in SHAPES:
            rng = np.random.default_rng(n)
            w, first, nabla = (_normal(rng, n, k, dtype) for _ in range(3))
            second = np.abs(_normal(rng, n, k, dtype)) if rule.moments == 2 else np.zeros((0, k), dtype)
            scalars = (0.125, 0.0625, *optimizer.constants)

            def act(
                where: Backend, d: str, ops: Operations, arrays: Any = (nabla, first, second, w), scalars: Any = scalars
            ) -> list[Array]:
                there = [put_matrix(where, array, d) for array in arrays]
                where.run(ops.optimizer_step, *scalars, *there)
                return [where.to_host(array) for array in there]

            yield name, replace(_of_all_activations(True), rule=rule), False, act


def _products(dtype: str) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for n, m in SHAPES:
        k = 1 + m % 33
        rng = np.random.default_rng(n)
        w, a, delta = _normal(rng, n, k, dtype), _normal(rng, k, m, dtype), _normal(rng, n, m, dtype)
        scale = max(n, k, m) ** -0.5  # so that a sum of that many products is about 1

        def act(
            where: Backend, d: str, ops: Operations, w: Any = w * scale, a: Any = a, delta: Any = delta * scale
        ) -> list[Array]:
            w_there, a_there, delta_there = (
                put_matrix(where, w, d),
                put_columns(where, a, d),
                put_columns(where, delta, d),
            )
            z, out = put_columns(where, np.full_like(delta, np.nan), d), put_columns(where, np.full_like(a, np.nan), d)
            where.run(ops.matmul, w_there, a_there, z)
            where.run(ops.matmul_transposed, w_there, delta_there, out)
            where.run(ops.add_outer, -0.5, delta_there, a_there, 0.75, w_there)
            return [fetch_rows(where, z), fetch_rows(where, out), where.to_host(w_there)]

        yield "", _of_all_activations(True), False, act


def _gathers(source: str, dtype: str) -> Iterator[tuple[str, Formulas, bool, Case]]:
    for n, m in SHAPES:
        rng = np.random.default_rng(n)
        data, order = rng.integers(0, 256, (50, n)).astype(source), rng.integers(0, 50, m)

        def act(where: Backend, d: str, ops: Operations, data: Array = data, order: Array = order) -> list[Array]:
            out = put_columns(where, np.zeros((data.shape[1], len(order))), d)
            kept = data if data.dtype == np.uint8 else data.astype(d)
            where.run(ops.gather_x, where.upload(kept), where.upload(order), 1 / 255, out)
            return [fetch_rows(where, out)]

        yield "", _of_all_activations(True), False, act


def _normal(rng: np.random.Generator, n: int, m: int, dtype: str) -> Array:
    return rng.standard_normal((n, m)).astype(dtype)


def _of_every_kind(rng: np.random.Generator, n: int, m: int, dtype: str) -> Array:
    """Return numbers of different size, a tenth of them special: where exp overflows, and what is no number."""
    z = rng.standard_normal((n, m)) * 10.0 ** rng.integers(-3, 2, (n, m))
    special = rng.choice([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-40, 88.0, -104.0, 1e30], (n, m))
    return np.where(rng.random((n, m)) < 0.1, special, z).astype(dtype)


def _applied(f: Callable[[Array], Array], z: Array, dtype: str) -> Array:
    with np.errstate(all="ignore"):
        return f(z.astype(np.float64)).astype(dtype)


def put_matrix(where: Backend, host: Array, dtype: str) -> Any:
    """Return new memory of a backend with the content of a host array."""
    array = where.empty(host.shape, dtype)
    array[...] = where.upload(np.ascontiguousarray(host, dtype))
    return array


def put_columns(where: Backend, host: Array, dtype: str) -> Any:
    """Return a new block of columns of a backend with the content of a host array of that shape."""
    return where.columns(put_matrix(where, host.T, dtype))


def fetch_rows(where: Backend, columns: Any) -> Array:
    """Return a block of columns as rows on the host."""
    return where.to_host(where.columns(columns))


def _sums(where: Backend, shape: tuple[int, ...], dtype: str) -> Any:
    return put_columns(where, np.full((shape[0], where.n_partial_sums(shape[1])), np.nan), dtype)
