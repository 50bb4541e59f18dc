"""`fastbp check --backend cupy` without a GPU: asked of a stand-in all of it passes, of one with a fault it fails."""

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
from fastbp.backends.cupy import instruments as cuda_instruments
from fastbp.cli.check import gpu as selfcheck_gpu
from fastbp.cli.check import kernel_checks as selfcheck_kernels
from fastbp.errors import InputError
from fastbp_kernels.cuda import kernels as cuda

pytestmark = pytest.mark.cuda


def checked(*, fault=None, group):
    backend = StandIn()
    streamed = fault(backend) if fault is not None else None
    yield from group(backend, StandInInstruments(backend, streamed or StreamedDevice))


def test_every_kernel_is_checked_and_passes(monkeypatch):
    monkeypatch.setattr(selfcheck_kernels, "SHAPES", [(5, 130)])
    backend = StandIn()
    checks = list(selfcheck_kernels.kernels(backend))
    assert [check.what for check in checks if not check.passed] == []
    assert {name.partition(",")[0] for name in cuda.KERNELS} - {"gather from uint8"} <= set(backend.device.asked)


@pytest.mark.parametrize("group", ["epochs", "streams", "steps", "products"])
def test_a_stand_in_passes(group):
    checks = list(checked(group=getattr(selfcheck_gpu, group)))
    assert [check for check in checks if not check.passed] == []
    assert all(len(selfcheck_gpu.row(check)) <= 100 for check in checks)


# Faults: each has a backend do something wrong, which the named row must tell.


def forgets_beta(backend):
    gemm = backend.device.gemm
    backend.device.gemm = lambda *arguments: gemm(*arguments[:-1], 0.0)


def misses_the_last_example(backend):
    launch = backend.device.launch
    backend.device.launch = lambda kernel, *arguments: launch(kernel, *arguments[:-2], arguments[-2] - 1, arguments[-1])


def rounds_otherwise_each_time(backend):
    gemm, rng = backend.device.gemm, np.random.default_rng(0)

    def wavering(op_a, op_b, a, b, out, alpha, beta):
        gemm(op_a, op_b, a, b, out, alpha * (1 + 1e-6 * rng.random()), beta)

    backend.device.gemm = wavering


def looks_at_each_layer(backend):
    _beside_affine(backend, lambda device, out: device.to_host(out))


def takes_memory_in_each_layer(backend):
    _beside_affine(backend, lambda device, out: device.empty(out.shape, "float32"))


def _beside_affine(backend, act):
    operations = backend.operations

    def with_more(*arguments, **options):
        ops = operations(*arguments, **options)

        def matmul(w, a, z):
            ops.matmul(w, a, z)
            act(backend.device, z)

        return ops._replace(matmul=matmul)

    backend.operations = with_more


def fetches_the_cost_twice(backend):
    read_cost_total = backend.read_cost_total
    backend.read_cost_total = lambda total: read_cost_total(total) + 0 * read_cost_total(total)


def gathers_on_the_default_stream(backend):
    class Device(StreamedDevice):
        def launch(self, kernel, *arguments):
            (self._device.launch if kernel.name == "gather" else super().launch)(kernel, *arguments)

    return Device


def overtakes(backend):
    class Device(StreamedDevice):
        def enqueue(self, *work):
            super().enqueue(*work)
            if self.waiting:
                self.waiting.insert(0, self.waiting.pop())

    return Device


def has_tf32_on(backend):
    backend.device = TF32Device(backend.device)


@pytest.mark.parametrize(
    ("fault", "group", "what"),
    [
        (forgets_beta, "epochs", "an epoch on digits as bytes"),
        (rounds_otherwise_each_time, "epochs", "parameters of which a second run has another bit"),
        (gathers_on_the_default_stream, "streams", "arrays that a step writes to before"),
        (overtakes, "streams", "arrays that it leaves otherwise"),
        (takes_memory_in_each_layer, "steps", "allocations within the steps"),
        (looks_at_each_layer, "steps", "copies to or from the host within them"),
        (fetches_the_cost_twice, "steps", "copies in all of it"),
        (has_tf32_on, "products", "products are of float32"),
    ],
)
def test_a_fault_fails(fault, group, what):
    checks = checked(fault=fault, group=getattr(selfcheck_gpu, group))
    assert any(check.what.startswith(what) and not check.passed for check in checks)


def test_a_faulty_kernel_fails():
    backend = StandIn()
    misses_the_last_example(backend)
    (first,) = islice(selfcheck_kernels.kernels(backend), 1)
    assert not first.passed


def test_products_that_are_worse_than_tf32s_fail(monkeypatch):
    monkeypatch.setattr("gpu_instruments.rounded", lambda array: np.float32(1.01) * array)
    assert [check.passed for check in checked(group=selfcheck_gpu.products)] == [True, False]


def test_the_command_prints_a_table_and_its_exit_code_says_whether_all_passed(monkeypatch):
    backend = StandIn()
    backend.name = "cupy"
    monkeypatch.setattr(backends, "get", lambda choice=None: backend)
    monkeypatch.setattr(cuda_instruments, "Instruments", lambda: StandInInstruments(backend))
    monkeypatch.setattr(selfcheck_gpu, "checks", lambda *both: [*selfcheck_gpu.products(*both)])
    passed = CliRunner().invoke(cli.fastbp, ["check", "--backend", "cupy"])
    assert passed.exit_code == 0, passed.output
    assert datetime.date.today().isoformat() in passed.output.splitlines()[0]
    assert "stand-in" in passed.output.splitlines()[1]
    assert passed.output.splitlines()[-1] == "all passed"
    has_tf32_on(backend)
    failed = CliRunner().invoke(cli.fastbp, ["check", "--backend", "cupy"])
    assert failed.exit_code == 1
    assert "FAILED" in failed.output
    assert failed.output.splitlines()[-1] == "1 failed"


def test_tf32_is_not_what_is_checked():
    backend = StandIn()
    backend.name = "cupy+tf32"
    with pytest.raises(InputError, match="wanted is 'cupy'"):
        next(selfcheck_gpu.checks(backend, StandInInstruments(backend)))


# CuPy's own calls: their signatures, and the driver's part on the host.


def test_what_is_asked_of_cupy_is_there_with_the_parameters_it_is_given(monkeypatch):
    stream = cupy.cuda.Stream
    assert inspect.signature(stream.__init__).bind(None, non_blocking=True)
    assert inspect.signature(stream.launch_host_func).bind(None, print, 1)
    assert callable(stream.null.__enter__)
    assert "size(int)" in cupy.cuda.MemoryHook.malloc_preprocess.__doc__
    properties = {"name": b"GPU", "major": 9, "minor": 0, "totalGlobalMem": 2**33}
    monkeypatch.setattr(runtime, "getDeviceProperties", lambda number: properties)
    monkeypatch.setattr(runtime, "driverGetVersion", lambda: 13010)
    monkeypatch.setattr(runtime, "runtimeGetVersion", lambda: 13000)
    about = cuda_instruments.Instruments().about(0)
    assert about["device"] == "GPU, compute capability 9.0, 8.0 GiB"
    assert about["driver"] == "offers CUDA 13.1"
    assert cupy.__version__ in about["CuPy"]


def test_a_stream_is_held_until_the_block_is_left(monkeypatch):
    class Stream:
        def launch_host_func(self, callback, arg):
            self.thread = threading.Thread(target=callback, args=(arg,))
            self.thread.start()

    stream = Stream()
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: stream)
    with cuda_instruments.Instruments().held():
        assert stream.thread.is_alive()
    stream.thread.join(1)
    assert not stream.thread.is_alive()


def test_sizes_that_the_pool_is_asked_for_are_listed(monkeypatch):
    with cuda_instruments.Instruments().allocations() as sizes:  # CuPy's own hook, and no GPU to ask it
        assert sizes == []

    class Asked:
        def __enter__(self):
            self.malloc_preprocess(device_id=0, size=100, mem_size=512)

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(cupy.cuda, "MemoryHook", Asked)
    with cuda_instruments.Instruments().allocations() as sizes:
        assert sizes == [100]
