"""`fastbp check --backend cupy` without a GPU: it passes on a stand-in, and fails on one with a fault."""

import datetime
import inspect
import threading
from itertools import islice

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("cupy", reason="CuPy is not installed: pip install 'fastbp[cuda13]'")
pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")

import cupy
from cupy.cuda import runtime
from gpu_instruments import StandInInstruments, StreamedDevice, TF32Device
from gpu_stand_in import StandIn

from fastbp import backends, cli
from fastbp.backends.cupy import instruments
from fastbp.cli.check import gpu as gpu_check
from fastbp.cli.check import kernel_checks
from fastbp.cli.check.host import row
from fastbp.errors import InputError
from fastbp_kernels.cuda.listing import KERNELS

pytestmark = pytest.mark.cuda


def checked(*, fault=None, group):
    backend = StandIn(one_block=group is gpu_check.small_networks)
    streamed = fault(backend) if fault is not None else None
    yield from group(backend, StandInInstruments(backend, streamed or StreamedDevice))


def test_every_kernel_is_checked_and_passes(monkeypatch):
    monkeypatch.setattr(kernel_checks, "SHAPES", [(5, 130)])
    backend = StandIn()
    checks = list(kernel_checks.kernels(backend))
    assert [check.what for check in checks if not check.passed] == []
    assert {name.partition(",")[0] for name in KERNELS} - {"gather from uint8"} <= set(backend.device.calls)


@pytest.mark.parametrize("group", ["epochs", "streams", "steps", "small_networks", "products"])
def test_a_stand_in_passes(group):
    checks = list(checked(group=getattr(gpu_check, group)))
    assert [check for check in checks if not check.passed] == []
    assert all(len(row(check)) <= 80 for check in checks)


def test_replays_on_a_stand_in_pass(monkeypatch):
    monkeypatch.setattr("fastbp.training.loop._SECONDS_PER_CALL", 1e6)  # replay although the interpreter is slow
    backend = StandIn()
    checks = list(gpu_check.replays(backend))
    assert [check for check in checks if not check.passed] == []
    assert backend.device.calls.count("graph") == 3 * 12
    assert all(len(row(check)) <= 80 for check in checks)


def test_a_replay_that_fails_or_differs_fails_the_check(monkeypatch):
    monkeypatch.setattr("fastbp.training.loop._SECONDS_PER_CALL", 1e6)
    backend = StandIn()
    backend.device.fail_at = 3
    ready = backend.device.ready_gemm
    backend.device.ready_gemm = lambda *arguments: ready(*arguments[:-2], 1.5 * arguments[-2], arguments[-1])
    failed = [check.what for check in gpu_check.replays(backend) if not check.passed]
    assert failed[0] == "parameters that differ: sgd, float32, recorded calls"
    assert failed[-1] == "kinds of replay that failed on this device"


# Faults: each makes a backend do something wrong; the named check must fail.


def forgets_beta(backend):
    gemm = backend.device.gemm
    backend.device.gemm = lambda *arguments: gemm(*arguments[:-1], 0.0)


def skips_the_last_example(backend):
    launch = backend.device.launch
    backend.device.launch = lambda kernel, *arguments: launch(kernel, *arguments[:-2], arguments[-2] - 1, arguments[-1])


def takes_a_step_less(backend):
    launch = backend.device.launch

    def with_less(kernel, *arguments):
        *before, count, n_0, n_2, m, n_1 = arguments if kernel.name == "train_in_one_block" else (1,) * 5
        launch(kernel, *((*before, count - 1, n_0, n_2, m, n_1) if before else arguments))

    backend.device.launch = with_less


def rounds_differently_each_time(backend):
    gemm, rng = backend.device.gemm, np.random.default_rng(0)

    def random_scale(op_a, op_b, a, b, out, alpha, beta):
        gemm(op_a, op_b, a, b, out, alpha * (1 + 1e-6 * rng.random()), beta)

    backend.device.gemm = random_scale


def downloads_each_layer(backend):
    _after_each_matmul(backend, lambda device, out: device.to_host(out))


def allocates_in_each_layer(backend):
    _after_each_matmul(backend, lambda device, out: device.empty(out.shape, "float32"))


def _after_each_matmul(backend, act):
    operations = backend.operations

    def with_more(*arguments, **options):
        ops = operations(*arguments, **options)

        def matmul(w, a, z):
            ops.layers[0].matmul(w, a, z)
            act(backend.device, z)

        return ops._replace(layers=tuple(layer._replace(matmul=matmul) for layer in ops.layers))

    backend.operations = with_more


def downloads_the_cost_twice(backend):
    read_cost_total = backend.read_cost_total
    backend.read_cost_total = lambda total: read_cost_total(total) + 0 * read_cost_total(total)


def gathers_on_the_default_stream(backend):
    class Device(StreamedDevice):
        def launch(self, kernel, *arguments):
            (self._device.launch if kernel.name == "gather" else super().launch)(kernel, *arguments)

    return Device


def reorders_the_stream(backend):
    class Device(StreamedDevice):
        def enqueue(self, *work):
            super().enqueue(*work)
            if self.waiting:
                self.waiting.insert(0, self.waiting.pop())

    return Device


def uses_tf32(backend):
    backend.device = TF32Device(backend.device)


@pytest.mark.parametrize(
    ("fault", "group", "what"),
    [
        (forgets_beta, "epochs", "one epoch on digits (uint8)"),
        (takes_a_step_less, "small_networks", "steps in one launch, 64-30-10"),
        (rounds_differently_each_time, "epochs", "parameters that differ between two equal runs"),
        (gathers_on_the_default_stream, "streams", "arrays changed by a step while its stream is blocked"),
        (reorders_the_stream, "streams", "arrays that differ from a step on an unblocked"),
        (allocates_in_each_layer, "steps", "allocations during the steps"),
        (downloads_each_layer, "steps", "host copies during the steps"),
        (downloads_the_cost_twice, "steps", "host copies in an epoch"),
        (uses_tf32, "products", "float32 matrix product without TF32"),
    ],
)
def test_a_fault_fails(fault, group, what):
    checks = checked(fault=fault, group=getattr(gpu_check, group))
    assert any(check.what.startswith(what) and not check.passed for check in checks)


def test_a_faulty_kernel_fails():
    backend = StandIn()
    skips_the_last_example(backend)
    (first,) = islice(kernel_checks.kernels(backend), 1)
    assert not first.passed


def test_products_less_precise_than_tf32_fail(monkeypatch):
    monkeypatch.setattr("gpu_instruments.rounded", lambda array: np.float32(1.01) * array)
    assert [check.passed for check in checked(group=gpu_check.products)] == [True, False]


def test_the_command_prints_a_table_and_exits_with_1_if_a_check_fails(monkeypatch):
    backend = StandIn()
    backend.name = "cupy"
    monkeypatch.setattr(backends, "get", lambda choice=None: backend)
    monkeypatch.setattr(instruments, "Instruments", lambda: StandInInstruments(backend))
    monkeypatch.setattr(gpu_check, "checks", lambda *both: [*gpu_check.products(*both)])
    passed = CliRunner().invoke(cli.fastbp, ["check", "--backend", "cupy"])
    assert passed.exit_code == 0, passed.output
    assert datetime.date.today().isoformat() in passed.output.splitlines()[0]
    assert "stand-in" in passed.output.splitlines()[1]
    assert passed.output.splitlines()[-1] == "all passed"
    uses_tf32(backend)
    failed = CliRunner().invoke(cli.fastbp, ["check", "--backend", "cupy"])
    assert failed.exit_code == 1
    assert "FAILED" in failed.output
    assert failed.output.splitlines()[-1] == "1 failed"


def test_a_tf32_backend_is_refused():
    backend = StandIn()
    backend.name = "cupy+tf32"
    with pytest.raises(InputError, match="pass 'cupy', which"):
        next(gpu_check.checks(backend, StandInInstruments(backend)))


# The calls of CuPy: their signatures, and the work of the driver replaced by code on the host.


def test_signatures_of_the_cupy_functions_that_are_used(monkeypatch):
    stream = cupy.cuda.Stream
    assert inspect.signature(stream.__init__).bind(None, non_blocking=True)
    assert inspect.signature(stream.launch_host_func).bind(None, print, 1)
    assert callable(stream.null.__enter__)
    assert "size(int)" in cupy.cuda.MemoryHook.malloc_preprocess.__doc__
    properties = {"name": b"GPU", "major": 9, "minor": 0, "totalGlobalMem": 2**33}
    monkeypatch.setattr(runtime, "getDeviceProperties", lambda number: properties)
    monkeypatch.setattr(runtime, "driverGetVersion", lambda: 13010)
    monkeypatch.setattr(runtime, "runtimeGetVersion", lambda: 13000)
    about = instruments.Instruments().about(0)
    assert about["device"] == "GPU, compute capability 9.0, 8.0 GiB"
    assert about["driver"] == "supports CUDA 13.1"
    assert cupy.__version__ in about["CuPy"]


def test_a_stream_is_blocked_until_the_block_ends(monkeypatch):
    class Stream:
        def launch_host_func(self, callback, arg):
            self.thread = threading.Thread(target=callback, args=(arg,))
            self.thread.start()

    stream = Stream()
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: stream)
    with instruments.Instruments().blocked():
        assert stream.thread.is_alive()
    stream.thread.join(1)
    assert not stream.thread.is_alive()


def test_allocations_are_listed(monkeypatch):
    with instruments.Instruments().allocations() as sizes:  # CuPy's own hook; nothing is allocated without a GPU
        assert sizes == []

    class Asked:
        def __enter__(self):
            self.malloc_preprocess(device_id=0, size=100, mem_size=512)

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(cupy.cuda, "MemoryHook", Asked)
    with instruments.Instruments().allocations() as sizes:
        assert sizes == [100]
