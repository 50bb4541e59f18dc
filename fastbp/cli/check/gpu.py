"""Proof, here and now, that a GPU does what the CPU does: the table of `fastbp check --backend cupy`.

Everything is asked of a backend and of `Instruments`, so that on a machine without a GPU a stand-in can be asked.
"""

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import __version__, datasets, equations
from fastbp.activations import sigmoid
from fastbp.backends.cupy.device import CuPy
from fastbp.backends.cupy.instruments import Instruments
from fastbp.cli.check import host as selfcheck
from fastbp.cli.check.host import Check
from fastbp.cli.check.kernel_checks import fetch_rows, kernels, off, put_columns, put_matrix
from fastbp.costs import output_rule, quadratic
from fastbp.errors import InputError
from fastbp.network import Network
from fastbp.operations import Examples, Formulas, Parameters, Plan, WorkspacePool, step_config
from fastbp.optimizers import OPTIMIZERS
from fastbp.parameters import new_optimizer_state

Array = npt.NDArray[Any]
_TF32 = 2.0**-9  # two factors rounded to 10 bits, each off by 2⁻¹¹, or by 2⁻¹⁰ if cut off, of a sum without signs


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


# Whole epochs.


def epochs(backend: CuPy, instruments: Instruments) -> Iterator[Check]:
    """Yield the checks of epochs on digits, against the backend numpy and against themselves."""
    bytes_: dict[str, Any] = {"input_scale": 1 / 16}
    once = _trained(backend, **bytes_)
    yield Check(
        "an epoch on digits as bytes, 64-30-10 in float32, against numpy",
        _max_difference(once, _trained("numpy", **bytes_)),
        2e-5,
    )
    softmaxed: dict[str, Any] = {"activations": ["tanh", "softmax"], "cost": "log-likelihood", "eta": 0.3}
    yield Check(
        "the same by tanh and softmax",
        _max_difference(_trained(backend, **softmaxed), _trained("numpy", **softmaxed)),
        2e-5,
    )
    adam: dict[str, Any] = {"dtype": "float64", "optimizer": "adam"}
    yield Check(
        "the same by Adam in float64", _max_difference(_trained(backend, **adam), _trained("numpy", **adam)), 1e-10
    )
    yield Check(
        "parameters of which a second run has another bit", _count_differing(once, _trained(backend, **bytes_)), 0
    )
    with backend.device.device_context(), instruments.stream():
        yield Check(
            "parameters of which a run on another stream has another bit",
            _count_differing(once, _trained(backend, **bytes_)),
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


def _max_difference(some: list[Array], others: list[Array]) -> float:
    return max(off(a, b) for a, b in zip(some, others, strict=True))


def _count_differing(some: list[Array], others: list[Array]) -> int:
    return sum(int(np.count_nonzero(a != b)) for a, b in zip(some, others, strict=True))


# Streams.


def streams(backend: CuPy, instruments: Instruments) -> Iterator[Check]:
    """Yield the checks that a step stays on the current stream.

    A stream is held, a step enqueued on it, and everything that the step writes looked at from the default stream: what
    has changed was not enqueued on the current one. Let go, the step must end where one does that nothing held.
    """
    with backend.device.device_context(), instruments.stream():
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
        weights = tuple(plan.array(rng.standard_normal(shape)) for shape in ((30, 20), (10, 30)))
        biases = tuple(backend.columns(plan.array(rng.standard_normal((1, n)))) for n in (30, 10))
        ws = WorkspacePool(plan, ops, 8).workspace(8)
        moments = new_optimizer_state(plan, formulas.rule)
        self._backend = backend
        self._blocks = [*ws.activations, *ws.deltas, *ws.sums, ws.y]
        for block in self._blocks:
            block[...] = put_columns(backend, np.full(block.shape, np.nan), "float32")
        total = backend.new_cost_total(10, 8, "float32")
        backend.set_cost_total(total, 0.0)
        self._matrices = [*weights, *moments.nabla.weights, *moments.first.weights, *moments.second.weights, total]
        self._blocks += [*biases, *moments.nabla.biases, *moments.first.biases, *moments.second.biases]
        x, y = plan.array(rng.random((8, 20))), plan.array(rng.random((8, 10)))
        examples = Examples(x, y, plan.block(0, 8), 1.0)
        order = backend.upload(rng.permutation(8))
        step = step_config(OPTIMIZERS["adam"], 0.1, steps=0, count=1, lmbda=0.1, n=8)
        self._arguments = ops, Parameters(weights, biases), moments, ws, examples, order, step, 8, total

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
    with backend.device.device_context(), instruments.allocations() as sizes:

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
    z = put_columns(backend, np.full((len(w), a.shape[1]), np.nan), "float32")
    matmul = backend.operations(formulas, "float32", "float32").matmul
    backend.run(matmul, put_matrix(backend, w, "float32"), put_columns(backend, a, "float32"), z)
    return off(fetch_rows(backend, z).T, w @ a)
