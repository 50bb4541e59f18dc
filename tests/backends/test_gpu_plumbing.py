"""Lines that ask a GPU, NCCL or MPI, on stand-ins that check what they are given. They say nothing about a GPU."""

import ctypes
import importlib
import runpy
import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install 'fastbp[cuda13]'")
pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")

importlib.import_module("cupy.cublas")
from cupy_backends.cuda.libs.cublas import CUBLASError

from fastbp import backends
from fastbp.backends.cupy import cublas_entry, diagnosis, instruments, rank_sums
from fastbp.backends.cupy import device as cupy_device
from fastbp.backends.cupy.device import CuPyDevice
from fastbp_kernels.cuda import compilation, kernels, listing
from fastbp_kernels.specialize import FormulaError

pytestmark = pytest.mark.cuda


def test_the_current_gpu_and_the_gpu_of_a_rank(monkeypatch):
    monkeypatch.setattr(cupy.cuda, "Device", lambda: SimpleNamespace(id=1))
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 3)
    monkeypatch.setattr(diagnosis, "unavailable_reason", lambda number=None: None)
    monkeypatch.setattr(cupy_device, "_usable", set())
    monkeypatch.setattr(cupy_device, "_on_device", lambda number, tf32: (number, tf32))
    monkeypatch.setenv("SLURM_LOCALID", "5")
    assert cupy_device.current_number() == 1
    assert backends.get("cupy") == (1, False)
    assert backends.get("cupy:local") == (2, False)  # the sixth rank of a node with three GPUs


def test_a_gpu_is_waited_for_and_has_a_bus_id(monkeypatch):
    waited = []
    stream = SimpleNamespace(synchronize=lambda: waited.append("stream"))
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: stream)
    monkeypatch.setattr(cupy.cuda.runtime, "deviceGetPCIBusId", lambda number: f"0000:0{number}:00.0")
    device = CuPyDevice(2)
    device.synchronize()
    assert waited == ["stream"]
    assert device.bus_id() == "0000:02:00.0"
    target = np.zeros(3)
    device.assign(target, 2.0)
    assert target.tolist() == [2.0, 2.0, 2.0]


class Comm:
    """The second of two ranks, whose MPI doubles an array."""

    def Get_rank(self):  # noqa: N802
        return 1

    def Get_size(self):  # noqa: N802
        return 2

    def bcast(self, name):
        assert name is None  # only the first rank makes the name
        return "a name"

    def allgather(self, mine):
        return [("another host", "0", *mine[2:]), mine]

    def Allreduce(self, own, total):  # noqa: N802
        assert own == "in place"
        total *= 2.0


def test_cupys_own_module_of_nccl_can_be_asked(monkeypatch):
    """`import cupy` does not import it, and without NCCL its import warns, which would be an error here."""
    monkeypatch.delattr(cupy.cuda, "nccl", raising=False)
    monkeypatch.delitem(sys.modules, "cupy.cuda.nccl", raising=False)
    assert CuPyDevice(0).why_no_nccl() in ("", "CuPy has no NCCL: pip install nvidia-nccl-cu12 (or -cu13)")


def test_nccl_gets_the_addresses_and_the_stream(monkeypatch):
    made, given = [], []

    class Communicator:
        def __init__(self, *arguments):
            made.append(arguments)

        def allReduce(self, *arguments):  # noqa: N802
            given.append(arguments)

    nccl = SimpleNamespace(
        available=True, NcclCommunicator=Communicator, NCCL_FLOAT32="f4", NCCL_FLOAT64="f8", NCCL_SUM="sum"
    )
    monkeypatch.setattr(cupy.cuda, "nccl", nccl, raising=False)
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: SimpleNamespace(ptr=77))
    device = CuPyDevice(0)
    assert device.why_no_nccl() == ""
    reduce = device.connect_nccl(Comm())
    array = SimpleNamespace(data=SimpleNamespace(ptr=64), size=6, dtype=np.dtype("float64"))
    reduce(array)
    assert made == [(2, "a name", 1)]
    assert given == [(64, 64, 6, "f8", "sum", 77)]  # in place, on the current stream
    nccl.available = False
    assert device.why_no_nccl().startswith("CuPy has no NCCL: pip install nvidia-nccl-cu12")


@pytest.fixture
def mpi4py(monkeypatch):
    """A stand-in for mpi4py. Its library is set by the test."""
    package, mpi = ModuleType("mpi4py"), ModuleType("mpi4py.MPI")
    mpi.__file__, mpi.IN_PLACE, package.MPI = "MPI.so", "in place", mpi
    monkeypatch.setitem(sys.modules, "mpi4py", package)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", mpi)


def test_mpi_that_reads_the_memory_of_gpus_sums_in_place(mpi4py, monkeypatch, caplog):
    monkeypatch.setattr(rank_sums, "is_cuda_aware", lambda: True)
    waited = []
    device = SimpleNamespace(
        bus_id=lambda: "1", why_no_nccl=lambda: "no NCCL", synchronize=lambda: waited.append("stream")
    )
    block = np.ones((1, 4))
    rank_sums.sum_in_place(device, Comm(), block)()
    assert block.tolist() == [[2.0] * 4]
    assert waited == ["stream"]
    assert not caplog.messages  # the first rank says it
    same = [("a", "0", "", False), ("a", "0", "", False)]
    assert rank_sums.choose_way(same)[0] == rank_sums.HOST


def mpich(value):
    def query(kind, answer):
        assert kind == 0
        answer._obj.value = value
        return 0

    return SimpleNamespace(MPIX_GPU_query_support=query)


@pytest.mark.parametrize(
    ("library", "aware"),
    [
        (SimpleNamespace(MPIX_Query_cuda_support=lambda: 1), True),
        (SimpleNamespace(MPIX_Query_cuda_support=lambda: 0), False),
        (mpich(1), True),
        (mpich(0), False),
        (SimpleNamespace(), False),
    ],
)
def test_the_mpi_library_is_asked_whether_it_reads_the_memory_of_gpus(mpi4py, monkeypatch, library, aware):
    monkeypatch.setattr(rank_sums.ctypes, "CDLL", lambda file: library if file == "MPI.so" else None)
    assert rank_sums.is_cuda_aware() is aware


def test_a_kernel_is_loaded_for_the_architecture_of_the_device(monkeypatch):
    loaded = []

    class Module:
        def load(self, cubin):
            loaded.append(cubin)

        def get_function(self, name):
            return name, len(loaded)

    device = nullcontext()
    device.compute_capability = "90"
    monkeypatch.setattr(cupy.cuda.function, "Module", Module)
    monkeypatch.setattr(cupy.cuda, "Device", lambda number: device)
    kernel = kernels.add_column_sums("float32")
    assert compilation._loaded.__wrapped__(kernel, 0) == ("add_column_sums", 1)
    (cubin,) = loaded
    assert cubin == kernel.linked("sm_90")
    assert cubin.startswith(b"\x7fELF")


def test_a_kernel_that_fails_for_another_reason_than_a_formula_is_named():
    def body(x, m, n):
        x[0] = m.no_such_attribute

    kernel = compilation.Kernel("broken", body, compilation.pointers("float32", 1), compilation.thread_per_element)
    with pytest.raises(FormulaError, match=r"^broken cannot be compiled for CUDA: "):
        compilation.checked(kernel, "float32", {})


def test_cublas_is_called_in_the_library_that_cupy_uses():
    """The real library, without a GPU: it refuses a handle that does not exist."""
    entries = cublas_entry.cublas.__wrapped__()
    with pytest.raises(CUBLASError, match="CUBLAS_STATUS_NOT_INITIALIZED"):
        entries._set_stream(ctypes.c_void_p(0), ctypes.c_void_p(0))


def test_the_self_test_asks_for_streams_that_do_not_wait_and_for_tf32(monkeypatch):
    made = []

    class Stream:
        null = nullcontext()

        def __init__(self, *, non_blocking):
            made.append(non_blocking)

    monkeypatch.setattr(cupy.cuda, "Stream", Stream)
    monkeypatch.setattr(instruments, "cupy_backend", lambda number, *, tf32: (number, tf32))
    assert isinstance(instruments.Instruments().stream(), Stream)
    assert made == [True]
    assert instruments.Instruments().default_stream() is Stream.null
    assert instruments.Instruments().tf32(1) == (1, True)


def test_the_listing_is_a_command(monkeypatch, capsys):
    monkeypatch.setattr(listing, "KERNELS", {})
    runpy.run_module("fastbp_kernels.cuda", run_name="__main__")
    assert capsys.readouterr().out.split()[:3] == ["kernel", "dtype", "registers"]
