"""Proof, here and now, that a GPU does what the CPU does: the table of `fastbp check --backend cupy`.

Everything is asked of a backend and of `Instruments`, so that on a machine without a GPU a stand-in can be asked.
"""

import datetime
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import backends, datasets, equations, selfcheck
from fastbp.activations import ACTIVATIONS, sigmoid, softmax
from fastbp.backends.cuda_instruments import Instruments
from fastbp.backends.cupy import CuPy
from fastbp.backends.operations import Backend, Examples, Formulas, Memory, Operations, Parameters, Plan, descent
from fastbp.checks import InputError
from fastbp.costs import COSTS, OutputRule, output_rule, quadratic
from fastbp.network import Network
from fastbp.optimizers import OPTIMIZERS
from fastbp.parameters import moments_at_rest
from fastbp.selfcheck import Check
from fastbp.version import __version__

Array = npt.NDArray[Any]
Act = Callable[[Backend, str, Operations], list[Array]]
"""Carries out one operation on a backend in a dtype, and returns on the host what it wrote."""

ROUNDING = {"float32": 2e-6, "float64": 4e-15}
"""Of one operation, relative to 1 or to what is larger: some 16 units in the last place, of exp and of what is made of
it, 2 of them for `ex2.approx`; denormals that float32 kernels flush to 0 are within."""
SHAPES = [(1, 1), (33, 32), (5, 130), (257, 9)]  # (n, m), around blocks of 32 by 8 and parts of 16
_TF32 = 2.0**-9  # two factors rounded to 10 bits, each off by 2⁻¹¹, or by 2⁻¹⁰ if cut off, of a sum without signs
_PLAIN = backends.get("numpy-plain")


def head(backend: CuPy, instruments: Instruments) -> Iterator[str]:
    """Yield the lines that say what was checked, where, and when."""
    yield f"fastbp {__version__} on {backend.name}, {datetime.date.today().isoformat()}"
    for name, value in instruments.about(backend.device.number).items():
        yield f"  {name:<10} {value}"
    yield f"{'':<67}{'figure':>9} {'at most':>9}"


def row(check: Check) -> str:
    """Return a line of the table, whose figures are counts or errors.

    >>> row(Check("copies", 3, 3)).split()
    ['copies', '3', '3', 'ok']
    """
    figures = " ".join(f"{x:>9}" if isinstance(x, int) else f"{x:9.1e}" for x in (check.error, check.bound))
    return f"{check.what:<67}{figures}  {'ok' if check.passed else 'FAILED'}"


def checks(backend: CuPy, instruments: Instruments) -> Iterator[Check]:
    """Yield the checks of a GPU, each as it is done; raises `InputError` for a backend of tf32."""
    if backend.name.endswith("+tf32"):
        raise InputError(
            f"backend {backend.name!r} is for speed; wanted is 'cupy', whose checks say how far tf32 is off"
        )
    yield from kernels(backend)
    yield from selfcheck.gradients(backend)
    yield from selfcheck.trainings(backend)
    yield from epochs(backend, instruments)
    yield from streams(backend, instruments)
    yield from steps(backend, instruments)
    yield from products(backend, instruments)


def kernels(backend: Backend) -> Iterator[Check]:
    """Yield one check for each operation and dtype: the worst of all formulas and shapes, against NumPy in float64."""
    for dtype, bound in ROUNDING.items():
        cases: dict[str, Iterator[tuple[str, Formulas, bool, Act]]] = {
            "activate": _activations(dtype),
            "hadamard": _hadamards(dtype),
            "output_error": _outputs(dtype, _output_error),
            "add_cost": _outputs(dtype, _add_cost),
            "add_columns": _column_sums(backend, dtype),
            "move": _moves(dtype),
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


def _difference(backend: Backend, dtype: str, source: str, formulas: Formulas, keep_z: bool, act: Act) -> float:
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


def _activations(dtype: str) -> Iterator[tuple[str, Formulas, bool, Act]]:
    for l, name in enumerate(ACTIVATIONS):
        for bias, keep_z in ((True, False), (False, True)):
            for n, m in SHAPES:
                rng = np.random.default_rng(n)
                z = 30 * _normal(rng, n, m, dtype) if name == softmax.name else _of_every_kind(rng, n, m, dtype)
                b = _normal(rng, n, 1, dtype)

                def act(where: Backend, d: str, ops: Operations, l: int = l, z: Array = z, b: Array = b) -> list[Array]:
                    layer = ops.layers[l]
                    z_there, b_there = _columns(where, z, d), _columns(where, b, d)
                    a = _columns(where, np.zeros_like(z), d) if layer.keeps_z else z_there
                    where.run(layer.activate, z_there, a, b_there)
                    return [_rows(where, a), _rows(where, z_there)]

                yield name, _of_all_activations(bias), keep_z, act


def _hadamards(dtype: str) -> Iterator[tuple[str, Formulas, bool, Act]]:
    for l, (name, g) in enumerate(ACTIVATIONS.items()):
        for n, m in SHAPES if g != softmax else ():
            rng = np.random.default_rng(n)
            z, delta = _of_every_kind(rng, n, m, dtype), _normal(rng, n, m, dtype)
            a = _applied(g.f, z, dtype)

            def act(
                where: Backend, d: str, ops: Operations, l: int = l, z: Array = z, a: Array = a, delta: Array = delta
            ) -> list[Array]:
                there, sums = _columns(where, delta, d), _sums(where, z.shape, d)
                where.run(ops.layers[l].hadamard, _columns(where, z, d), _columns(where, a, d), there, sums)
                return [_rows(where, there), _rows(where, sums).sum(axis=0) / z.shape[1]]

            yield name, _of_all_activations(True), True, act


def _of_all_activations(bias: bool) -> Formulas:
    return Formulas(tuple(ACTIVATIONS.values()), output_rule(softmax, COSTS["log-likelihood"]), bias)


def _outputs(
    dtype: str, operation: Callable[[Sequence[Array], Backend, str, Operations], list[Array]]
) -> Iterator[tuple[str, Formulas, bool, Act]]:
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
    delta, sums = _columns(where, np.zeros_like(zays[0]), d), _sums(where, zays[0].shape, d)
    where.run(ops.output_error, *(_columns(where, block, d) for block in zays), delta, sums)
    return [_rows(where, delta), _rows(where, sums).sum(axis=0) / zays[0].shape[1]]


def _add_cost(zays: Sequence[Array], where: Backend, d: str, ops: Operations) -> list[Array]:
    n, m = zays[0].shape
    total = where.new_total(n, m, d)
    where.set_total(total, 1.0)
    for _ in range(2):
        where.run(ops.add_cost, *(_columns(where, block, d) for block in zays), total)
    return [np.array(where.cost_in(total) / (n * m))]


def _column_sums(backend: Backend, dtype: str) -> Iterator[tuple[str, Formulas, bool, Act]]:
    for n, m in SHAPES:
        rng = np.random.default_rng(n)
        sums, b = _normal(rng, n, backend.parts(m), dtype), _normal(rng, n, 1, dtype)

        def act(where: Backend, d: str, ops: Operations, sums: Array = sums, b: Array = b) -> list[Array]:
            there = _columns(where, b, d)
            summed = sums.astype(np.float64).sum(axis=1, keepdims=True) if where is _PLAIN else sums
            where.run(ops.add_columns, -0.5, _columns(where, summed, d), 0.75, there)
            return [_rows(where, there)]

        yield "", _of_all_activations(True), False, act


def _moves(dtype: str) -> Iterator[tuple[str, Formulas, bool, Act]]:
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
                there = [_matrix(where, array, d) for array in arrays]
                where.run(ops.move, *scalars, *there)
                return [where.to_host(array) for array in there]

            yield name, replace(_of_all_activations(True), rule=rule), False, act


def _products(dtype: str) -> Iterator[tuple[str, Formulas, bool, Act]]:
    for n, m in SHAPES:
        k = 1 + m % 33
        rng = np.random.default_rng(n)
        w, a, delta = _normal(rng, n, k, dtype), _normal(rng, k, m, dtype), _normal(rng, n, m, dtype)
        scale = max(n, k, m) ** -0.5  # so that a sum of that many products is about 1

        def act(
            where: Backend, d: str, ops: Operations, w: Any = w * scale, a: Any = a, delta: Any = delta * scale
        ) -> list[Array]:
            w_there, a_there, delta_there = _matrix(where, w, d), _columns(where, a, d), _columns(where, delta, d)
            z, out = _columns(where, np.full_like(delta, np.nan), d), _columns(where, np.full_like(a, np.nan), d)
            where.run(ops.affine, w_there, a_there, z)
            where.run(ops.backproject, w_there, delta_there, out)
            where.run(ops.add_outer, -0.5, delta_there, a_there, 0.75, w_there)
            return [_rows(where, z), _rows(where, out), where.to_host(w_there)]

        yield "", _of_all_activations(True), False, act


def _gathers(source: str, dtype: str) -> Iterator[tuple[str, Formulas, bool, Act]]:
    for n, m in SHAPES:
        rng = np.random.default_rng(n)
        data, order = rng.integers(0, 256, (50, n)).astype(source), rng.integers(0, 50, m)

        def act(where: Backend, d: str, ops: Operations, data: Array = data, order: Array = order) -> list[Array]:
            out = _columns(where, np.zeros((data.shape[1], len(order))), d)
            kept = data if data.dtype == np.uint8 else data.astype(d)
            where.run(ops.gather_x, where.upload(kept), where.upload(order), 1 / 255, out)
            return [_rows(where, out)]

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


def _matrix(where: Backend, host: Array, dtype: str) -> Any:
    """Return new memory of a backend with the content of a host array."""
    array = where.empty(host.shape, dtype)
    array[...] = where.upload(np.ascontiguousarray(host, dtype))
    return array


def _columns(where: Backend, host: Array, dtype: str) -> Any:
    return where.columns(_matrix(where, host.T, dtype))


def _rows(where: Backend, columns: Any) -> Array:
    return where.to_host(where.columns(columns))


def _sums(where: Backend, shape: tuple[int, ...], dtype: str) -> Any:
    return _columns(where, np.full((shape[0], where.parts(shape[1])), np.nan), dtype)


# Whole epochs.


def epochs(backend: CuPy, instruments: Instruments) -> Iterator[Check]:
    """Yield the checks of epochs on digits, against the backend numpy and against themselves."""
    bytes_: dict[str, Any] = {"input_scale": 1 / 16}
    once = _trained(backend, **bytes_)
    yield Check(
        "an epoch on digits as bytes, 64-30-10 in float32, against numpy",
        _apart(once, _trained("numpy", **bytes_)),
        2e-5,
    )
    softmaxed: dict[str, Any] = {"activations": ["tanh", "softmax"], "cost": "log-likelihood", "eta": 0.3}
    yield Check(
        "the same by tanh and softmax", _apart(_trained(backend, **softmaxed), _trained("numpy", **softmaxed)), 2e-5
    )
    adam: dict[str, Any] = {"dtype": "float64", "optimizer": "adam"}
    yield Check("the same by Adam in float64", _apart(_trained(backend, **adam), _trained("numpy", **adam)), 1e-10)
    yield Check("parameters of which a second run has another bit", _otherwise(once, _trained(backend, **bytes_)), 0)
    with backend.device.current(), instruments.stream():
        yield Check(
            "parameters of which a run on another stream has another bit",
            _otherwise(once, _trained(backend, **bytes_)),
            0,
        )


def _trained(
    backend: Any, eta: float | None = None, optimizer: str = "sgd", input_scale: float = 1.0, **options: Any
) -> list[Array]:
    """Return the parameters after an epoch on digits, as bytes where these are scaled."""
    (x, labels), _ = datasets.digits()
    if input_scale != 1.0:
        x = np.rint(x / input_scale).astype(np.uint8)
    net = Network([64, 30, 10], backend=backend, rng=0, input_scale=input_scale, **options)
    net.train(x, labels, epochs=1, mini_batch_size=50, eta=eta, optimizer=optimizer, progress=False)
    host = net.to("numpy")
    return [*host.weights, *host.biases]


def _apart(some: list[Array], others: list[Array]) -> float:
    return max(off(a, b) for a, b in zip(some, others, strict=True))


def _otherwise(some: list[Array], others: list[Array]) -> int:
    return sum(int(np.count_nonzero(a != b)) for a, b in zip(some, others, strict=True))


# Streams.


def streams(backend: CuPy, instruments: Instruments) -> Iterator[Check]:
    """Yield the checks that a step stays on the current stream.

    A stream is held, a step enqueued on it, and everything that the step writes looked at from the default stream: what
    has changed was not enqueued on the current one. Let go, the step must end where one does that nothing held.
    """
    with backend.device.current(), instruments.stream():
        free, held = Step(backend), Step(backend)  # that all kernels are loaded and all memory is there
        free.enqueue()
        backend.synchronize()
        before = held.written()
        with instruments.held():
            held.enqueue()
            with instruments.default_stream():
                meanwhile = held.written()
        backend.synchronize()
        yield Check("arrays that a step writes to before the stream's turn", sum(map(_differ, before, meanwhile)), 0)
        yield Check(
            "arrays that it leaves otherwise than without having waited",
            sum(map(_differ, free.written(), held.written())),
            0,
        )


def _differ(a: Array, b: Array) -> bool:
    return a.tobytes() != b.tobytes()


class Step:
    """One mini-batch of Adam's, ready to be enqueued; its workspace is all NaN before."""

    def __init__(self, backend: CuPy) -> None:
        rng = np.random.default_rng(0)
        formulas = Formulas((sigmoid, sigmoid), output_rule(sigmoid, quadratic), True, rule=OPTIMIZERS["adam"].rule)
        plan = Plan((20, 30, 10), formulas, "float32", backend)
        ops = plan.operations()
        weights = tuple(plan.copied(rng.standard_normal(shape)) for shape in ((30, 20), (10, 30)))
        biases = tuple(backend.columns(plan.copied(rng.standard_normal((1, n)))) for n in (30, 10))
        ws = Memory(plan, ops, 8).workspace(8)
        moments = moments_at_rest(plan, formulas.rule)
        self._backend = backend
        self._blocks = [*ws.activations, *ws.deltas, *ws.sums, ws.y]
        for block in self._blocks:
            block[...] = _columns(backend, np.full(block.shape, np.nan), "float32")
        total = backend.new_total(10, 8, "float32")
        backend.set_total(total, 0.0)
        self._matrices = [*weights, *moments.nabla.weights, *moments.first.weights, *moments.second.weights, total]
        self._blocks += [*biases, *moments.nabla.biases, *moments.first.biases, *moments.second.biases]
        x, y = plan.copied(rng.random((8, 20))), plan.copied(rng.random((8, 10)))
        examples = Examples(x, y, plan.block(0, 8), 1.0)
        order = backend.upload(rng.permutation(8))
        by = descent(OPTIMIZERS["adam"], 0.1, steps=0, count=1, lmbda=0.1, n=8)
        self._arguments = ops, Parameters(weights, biases), moments, ws, examples, order, by, 8, total

    def enqueue(self) -> None:
        """Enqueue it on the current stream."""
        self._backend.run(equations.train_mini_batches, *self._arguments)

    def written(self) -> list[Array]:
        """Return on the host all that a step writes to."""
        rows = [self._backend.columns(block) for block in self._blocks]
        return [self._backend.to_host(array) for array in (*self._matrices, *rows)]


# What a step asks for.


def steps(backend: CuPy, instruments: Instruments) -> Iterator[Check]:
    """Yield what a second epoch asks the device for, within its steps and around them."""
    events: list[tuple[str, int]] = []
    x, y = np.random.default_rng(0).random((6, 47)), np.zeros(47, np.int64)
    net = Network([6, 5, 3], backend=backend, rng=0)
    with backend.device.current(), instruments.allocations() as sizes:

        def note(name: str) -> None:
            events.append((name, len(sizes)))

        with _noted(backend, note):
            net.train(x, y, epochs=2, mini_batch_size=5, progress=False, callback=lambda epoch: note("epoch"))
    names = [name for name, _ in events]
    second = events[names.index("epoch") + 1 :]
    launches = [i for i, (name, _) in enumerate(second) if name in ("launch", "gemm")]
    within = second[launches[0] : launches[-1] + 1]
    copies = ("upload", "to_host")
    yield Check("allocations within the steps of a second epoch", within[-1][1] - within[0][1], 0)
    yield Check("copies to or from the host within them", sum(name in copies for name, _ in within), 0)
    around = sum(name in copies for name, _ in second)
    yield Check("copies in all of it: the order and the cost there, the cost back", around, 3)


@contextmanager
def _noted(backend: CuPy, note: Callable[[str], None]) -> Iterator[None]:
    """Have it noted what a backend asks its device for."""
    device = backend.device
    backend.device = _Noted(device, note)
    try:
        yield
    finally:
        backend.device = device


class _Noted:
    def __init__(self, device: Any, note: Callable[[str], None]) -> None:
        self._device, self._note = device, note

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._device, name)
        if name not in ("launch", "gemm", "upload", "to_host"):
            return asked

        def noted(*arguments: Any) -> Any:
            self._note(name)
            return asked(*arguments)

        return noted


# Products.


def products(backend: CuPy, instruments: Instruments) -> Iterator[Check]:
    """Yield how far products of float32 are off, with tf32 and without."""
    fine = np.full((64, 64), 1 + 2.0**-12), np.ones((64, 64))  # of which 10 bits leave nothing: off by 2⁻¹²
    yield Check("products are of float32 as long as tf32 is not asked for", _product_error(backend, *fine), 2e-6)
    rng = np.random.default_rng(0)
    random = rng.uniform(1, 2, (64, 64)), rng.uniform(1, 2, (64, 64))
    yield Check("products with tf32", _product_error(instruments.tf32(backend.device.number), *random), _TF32)


def _product_error(backend: CuPy, w: Array, a: Array) -> float:
    formulas = Formulas((sigmoid,), output_rule(sigmoid, quadratic), True)
    z = _columns(backend, np.full((len(w), a.shape[1]), np.nan), "float32")
    affine = backend.operations(formulas, "float32", "float32").affine
    backend.run(affine, _matrix(backend, w, "float32"), _columns(backend, a, "float32"), z)
    return off(_rows(backend, z).T, w @ a)
