"""The self-test of a GPU: the report of `fastbp check --backend cupy`.

The self-test uses CuPy only through a backend and `Instruments`. The tests replace both, so that they can run the
self-test on a machine without a GPU.
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
from fastbp.backends.cupy.replay import MODES, replay_at_most
from fastbp.cli.check.host import HEAD, Check, gradients, trainings
from fastbp.cli.check.kernel_checks import kernels, max_error, put_columns, put_matrix, read_columns
from fastbp.costs import output_rule, quadratic
from fastbp.errors import InputError
from fastbp.network import Network
from fastbp.operations import Examples, Formulas, Parameters, Plan, WorkspacePool, step_config
from fastbp.optimizers import OPTIMIZERS, OptimizerName
from fastbp.parameters import new_optimizer_state

Array = npt.NDArray[Any]
_TF32_ERROR = 2.0**-9  # each of two factors has an error of 2⁻¹¹, or 2⁻¹⁰ if truncated; all terms are positive


def head(backend: CuPy, instruments: Instruments) -> Iterator[str]:
    """Yield the first lines of the report: versions, the device and the date, and the head of the table."""
    yield f"fastbp {__version__} on {backend.name}, {datetime.date.today().isoformat()}"
    for name, value in instruments.about(backend.device.number).items():
        yield f"  {name:<10} {value}"
    yield HEAD


def checks(backend: CuPy, instruments: Instruments) -> Iterator[Check]:
    """Run the self-test of a GPU and yield each check when it is done; raises `InputError` for a TF32 backend."""
    if backend.name.endswith("+tf32"):
        exact = backend.name.removesuffix("+tf32")
        raise InputError(
            f"fastbp check needs a backend without TF32, got {backend.name!r}; pass {exact!r}, which checks TF32 too"
        )
    yield from kernels(backend)
    yield from gradients(backend)
    yield from trainings(backend)
    yield from epochs(backend, instruments)
    yield from streams(backend, instruments)
    yield from steps(backend, instruments)
    yield from replays(backend)
    yield from small_networks(backend, instruments)
    yield from products(backend, instruments)


# Epochs.


def epochs(backend: CuPy, instruments: Instruments) -> Iterator[Check]:
    """Yield the checks of one epoch on the digits. The results are compared with the backend numpy and a second run."""
    uint8: dict[str, Any] = {"input_scale": 1 / 16}
    first = _trained(backend, **uint8)
    error = _max_difference(first, _trained("numpy", **uint8))
    yield Check("one epoch on digits (uint8), 64-30-10, float32, vs numpy", error, 2e-5)
    softmax: dict[str, Any] = {"activations": ["tanh", "softmax"], "cost": "log-likelihood", "eta": 0.3}
    error = _max_difference(_trained(backend, **softmax), _trained("numpy", **softmax))
    yield Check("one epoch with tanh and softmax, float32, vs numpy", error, 2e-5)
    adam: dict[str, Any] = {"dtype": "float64", "optimizer": "adam"}
    error = _max_difference(_trained(backend, **adam), _trained("numpy", **adam))
    yield Check("one epoch with Adam, float64, vs numpy", error, 1e-10)
    count = _count_differing(first, _trained(backend, **uint8))
    yield Check("parameters that differ between two equal runs", count, 0)
    with backend.device.device_context(), instruments.stream():
        count = _count_differing(first, _trained(backend, **uint8))
        yield Check("parameters that differ in a run on another stream", count, 0)


def _trained(
    backend: Any, eta: float | None = None, optimizer: OptimizerName = "sgd", input_scale: float = 1.0,
    dropout: float = 0.0, sizes: tuple[int | None, int] = (None, 50), **options: Any,
) -> list[Array]:  # fmt: skip
    """Return the parameters after one epoch on digits. The images are uint8 if there is an input scale.

    `sizes` are the number of examples, by default all, and of examples in a mini-batch.
    """
    (x, labels), _ = datasets.digits()
    x, labels = x[:, : sizes[0]], labels[: sizes[0]]
    if input_scale != 1.0:
        x = np.rint(x / input_scale).astype(np.uint8)
    net = Network([64, 30, 10], backend=backend, rng=0, input_scale=input_scale, **options)
    net.train(
        x, labels, epochs=1, mini_batch_size=sizes[1], eta=eta, optimizer=optimizer, dropout=dropout, progress=False
    )
    host = net.to("numpy")
    return [*host.weights, *host.biases]


def _max_difference(some: list[Array], others: list[Array]) -> float:
    return max(max_error(a, b) for a, b in zip(some, others, strict=True))


def _count_differing(some: list[Array], others: list[Array]) -> int:
    return sum(int(np.count_nonzero(a != b)) for a, b in zip(some, others, strict=True))


# Streams.


def streams(backend: CuPy, instruments: Instruments) -> Iterator[Check]:
    """Yield the checks of streams. All work of a training step must be enqueued on the current stream.

    A stream is blocked, and a step is enqueued on it. Then all arrays that the step writes are read on the default
    stream. If an array has changed, some work was not on the current stream. After the blocked stream is released, the
    result must equal that of a step on a stream that was never blocked.
    """
    with backend.device.device_context(), instruments.stream():
        free, blocked = Step(backend), Step(backend)
        free.enqueue()  # first, so that all kernels are loaded and all memory is allocated
        backend.synchronize()
        before = blocked.written()
        with instruments.blocked():
            blocked.enqueue()
            with instruments.default_stream():
                meanwhile = blocked.written()
        backend.synchronize()
        count = sum(map(_differ, before, meanwhile))
        yield Check("arrays changed by a step while its stream is blocked", count, 0)
        count = sum(map(_differ, free.written(), blocked.written()))
        yield Check("arrays that differ from a step on an unblocked stream", count, 0)


def _differ(a: Array, b: Array) -> bool:
    return a.tobytes() != b.tobytes()


class Step:
    """A training step with Adam, ready to be enqueued. Before the step, its workspace is filled with NaN."""

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
            backend.assign(backend.columns(block), np.full(block.T.shape, np.nan, np.float32))
        total = backend.new_cost_total(10, 8, "float32")
        backend.set_cost_total(total, 0.0)
        used = moments.nabla, moments.first, moments.second
        self._matrices = [*weights, *(w for part in used for w in part.weights), total]
        self._blocks += [*biases, *(b for part in used for b in part.biases)]
        x, y = plan.array(rng.random((8, 20))), plan.array(rng.random((8, 10)))
        examples = Examples(x, y, plan.block(0, 8), 1.0)
        order = backend.upload(rng.permutation(8))
        step = step_config(OPTIMIZERS["adam"], 0.1, steps=0, count=1, lmbda=0.1, n=8)
        self._arguments = ops, Parameters(weights, biases), moments, ws, examples, order, step, 8, total

    def enqueue(self) -> None:
        """Enqueue the step on the current stream."""
        self._backend.run(equations.train_mini_batches, *self._arguments)

    def written(self) -> list[Array]:
        """Return host copies of all arrays that the step changes."""
        rows = [self._backend.columns(block) for block in self._blocks]
        return [self._backend.to_host(array) for array in (*self._matrices, *rows)]


# Allocations and copies.


def steps(backend: CuPy, instruments: Instruments) -> Iterator[Check]:
    """Yield the checks of allocations and copies.

    The steps of an epoch must not allocate or copy anything, and the whole epoch must copy only 3 arrays. The second
    epoch is checked, because all memory has been allocated by then.
    """
    events: list[tuple[str, int]] = []
    x, y = np.random.default_rng(0).random((6, 47)), np.zeros(47, np.int64)
    net = Network([6, 5, 3], backend=backend, rng=0)
    with backend.device.device_context(), instruments.allocations() as sizes:

        def record(name: str) -> None:
            events.append((name, len(sizes)))

        with _recorded(backend, record), replay_at_most("eager"):
            net.train(x, y, epochs=2, mini_batch_size=5, progress=False, callback=lambda epoch: record("epoch"))
    names = [name for name, _ in events]
    second = events[names.index("epoch") + 1 :]
    launches = [i for i, (name, _) in enumerate(second) if name in ("launch", "gemm")]
    within = second[launches[0] : launches[-1] + 1]
    copies = ("upload", "to_host")
    yield Check("allocations during the steps of an epoch", within[-1][1] - within[0][1], 0)
    yield Check("host copies during the steps of an epoch", sum(name in copies for name, _ in within), 0)
    # The uploads are the order of the examples and the cost total. The download is the cost total.
    yield Check("host copies in an epoch: 2 uploads, 1 download", sum(name in copies for name, _ in second), 3)


def replays(backend: CuPy) -> Iterator[Check]:
    """Yield the checks of replayed steps. They must give the same bits as steps without a replay."""
    cases: list[tuple[OptimizerName, dict[str, Any]]] = [
        ("sgd", {"input_scale": 1 / 16}),
        ("momentum", {"dtype": "float32", "activations": ["tanh", "softmax"], "cost": "log-likelihood"}),
        ("adam", {"dtype": "float64", "dropout": 0.25}),
    ]
    for optimizer, options in cases:
        options["sizes"] = 144, 10  # in calls of 1, 4 and 9 steps, and a shorter mini-batch
        with replay_at_most("eager"):
            eager = _trained(backend, optimizer=optimizer, **options)
        for mode in MODES[1:]:
            with replay_at_most(mode):
                count = _count_differing(eager, _trained(backend, optimizer=optimizer, **options))
            what = f"{optimizer}, {options.get('dtype', 'float32')}"
            yield Check(f"parameters that differ: {what}, {_REPLAYED[mode]}", count, 0)
    yield Check("kinds of replay that failed on this device", len(backend.device.refused), 0)


_REPLAYED = {"ready": "recorded calls", "graph": "CUDA graph"}


def small_networks(backend: CuPy, instruments: Instruments) -> Iterator[Check]:
    """Yield the checks of the kernel that trains small networks, with mini-batches of 10 and a shorter one."""
    options: dict[str, Any] = {"input_scale": 1 / 16, "sizes": (144, 10)}
    first = _trained(backend, **options)
    error = _max_difference(first, _trained("numpy", **options))
    yield Check("steps in one launch, 64-30-10 (uint8), float32, vs numpy", error, 2e-5)
    with backend.device.device_context(), instruments.stream():
        count = _count_differing(first, _trained(backend, **options))
    yield Check("parameters that differ in such a run on another stream", count, 0)


@contextmanager
def _recorded(backend: CuPy, record: Callable[[str], None]) -> Iterator[None]:
    """Record the calls of a backend's device within a `with` block."""
    device = backend.device
    backend.device = _RecordingDevice(device, record)
    try:
        yield
    finally:
        backend.device = device


class _RecordingDevice:
    def __init__(self, device: Any, record: Callable[[str], None]) -> None:
        self._device, self._record = device, record

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._device, name)
        if name not in ("launch", "gemm", "upload", "to_host"):
            return attribute

        def recorded(*arguments: Any) -> Any:
            self._record(name)
            return attribute(*arguments)

        return recorded


# Products.


def products(backend: CuPy, instruments: Instruments) -> Iterator[Check]:
    """Yield the checks of float32 products, without TF32 and with TF32."""
    fine = np.full((64, 64), 1 + 2.0**-12), np.ones((64, 64))  # TF32 would round 1 + 2⁻¹² to 1
    yield Check("float32 matrix product without TF32", _product_error(backend, *fine), 2e-6)
    rng = np.random.default_rng(0)
    random = rng.uniform(1, 2, (64, 64)), rng.uniform(1, 2, (64, 64))
    error = _product_error(instruments.tf32(backend.device.number), *random)
    yield Check("float32 matrix product with TF32", error, _TF32_ERROR)


def _product_error(backend: CuPy, w: Array, a: Array) -> float:
    formulas = Formulas((sigmoid,), output_rule(sigmoid, quadratic), True)
    z = put_columns(backend, np.full((len(w), a.shape[1]), np.nan), "float32")
    matmul = backend.operations(formulas, "float32", "float32").layers[0].matmul
    backend.run(matmul, put_matrix(backend, w, "float32"), put_columns(backend, a, "float32"), z)
    return max_error(read_columns(backend, z).T, w @ a)
