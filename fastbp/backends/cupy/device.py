"""The CUDA backend, which runs the equations as Python code on CuPy arrays.

Each operation is one call of cuBLAS or one launch of a kernel (a compiled function on the GPU). A training step copies
nothing to the host and allocates no memory. All calls of CuPy are in `CuPyDevice`. The tests replace this class by one
that uses NumPy arrays and a PTX interpreter. So they can run the rest of this backend without a GPU.
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastbp.activations import softmax
from fastbp.backends.cupy import rank_sums, small_networks
from fastbp.backends.cupy.cublas_entry import cublas, workspace_bytes
from fastbp.backends.cupy.gpu_arrays import GPUArrays
from fastbp.backends.cupy.launching import dropout_on, operations_on
from fastbp.backends.cupy.memory import check_fits, free_and_total, translate_out_of_memory
from fastbp.backends.cupy.replay import Ready, Replay
from fastbp.backends.interrupts import uninterrupted
from fastbp.errors import InputError
from fastbp.operations import Backend, Formulas, Operation, Operations, Plan, Run

Array = Any
Kernel = Any
_TF32_TENSOR_OP_MATH = 3  # a value of cublasMath_t, for which CuPy has no name
_LARGE = 2**24  # bytes; the free memory is checked before larger uploads only, because the check calls the driver
_PIECE = 2**25  # bytes of an upload at a time


def cupy_backend(number: int | Literal["local"] | None = None, *, tf32: bool = False) -> "CuPy":
    """Return the backend for a GPU, by default CuPy's current device; raises `InputError` if it cannot be used.

    The number "local" means the GPU of this rank, where a launcher has started several ranks on a node.
    """
    if number == "local":
        from fastbp.backends.cupy.diagnosis import unavailable_reason

        number = None if unavailable_reason() else local_number()
    if not (_usable and (current_number() if number is None else number) in _usable):
        from fastbp.backends.cupy.diagnosis import unavailable_reason

        reason = unavailable_reason(number)
        if reason is not None:
            raise InputError(f"backend 'cupy' cannot be used: {reason}")
    number = current_number() if number is None else number
    _usable.add(number)
    return _on_device(number, tf32)


_usable: set[int] = set()
"""The devices that have been found usable. Asking again would take 2 ms, because it reads packages' metadata."""


def local_number() -> int:
    """Return the number of this rank's GPU, where a launcher has started several ranks on a node."""
    return rank_sums.local_gpu(_count())


def _count() -> int:
    """Return the number of GPUs that this process can see."""
    import cupy

    count: int = cupy.cuda.runtime.getDeviceCount()
    return count


def current_number() -> int:
    """Return the number of CuPy's current device."""
    import cupy

    number: int = cupy.cuda.Device().id
    return number


@cache
def _on_device(number: int, tf32: bool) -> "CuPy":
    name = f"cupy:{number}" if number else "cupy"
    return CuPy(f"{name}+tf32" if tf32 else name, CuPyDevice(number, tf32=tf32))


class CuPyDevice:
    """A GPU, used through CuPy. With `tf32`, cuBLAS rounds the factors of float32 products to 10-bit mantissas."""

    recording = False

    def __init__(self, number: int, *, tf32: bool = False) -> None:
        import cupy
        import cupy.cublas
        from array_api_compat import cupy as namespace

        self.number, self.tf32, self.xp, self._cupy = number, tf32, namespace, cupy
        self.refused: dict[str, str] = {}  # the ways of replaying steps that have failed, and why

    def device_context(self) -> AbstractContextManager[Any]:
        """Return a context in which this GPU is CuPy's current device."""
        device: AbstractContextManager[Any] = self._cupy.cuda.Device(self.number)
        return device

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Return a new, uninitialized array."""
        return self._cupy.empty(shape, dtype)

    def upload(self, host: npt.NDArray[Any]) -> Array:
        """Return a copy on the device. If the data do not fit, raise `DeviceMemoryError` and copy nothing.

        CuPy copies through pinned memory, which it rounds up to a power of two and keeps. So large arrays are copied in
        pieces.
        """
        if host.nbytes <= _LARGE:
            return self._cupy.asarray(host)
        check_fits(f"an array of shape {host.shape} in {host.dtype}", host.nbytes)
        array = self._cupy.empty(host.shape, host.dtype)
        there, here, step = array.reshape(-1), host.reshape(-1), _PIECE // host.itemsize
        for start in range(0, host.size, step):
            self.assign(there[start : start + step], self._cupy.asarray(here[start : start + step]))
        return array

    def assign(self, target: Array, value: Any) -> None:
        """Copy a number, or an array on this device, into an array on this device."""
        target[...] = value

    def from_foreign(self, array: Any) -> Array:
        """Return an array on this device as a CuPy array that shares its memory."""
        if isinstance(array, self._cupy.ndarray):
            return array
        return self._cupy.from_dlpack(array) if hasattr(array, "__dlpack__") else self._cupy.asarray(array)

    def contiguous(self, array: Array) -> Array:
        """Return the array in C order; copy it if necessary."""
        return self._cupy.ascontiguousarray(array)

    def gemm(self, op_a: str, op_b: str, a: Array, b: Array, out: Array, alpha: float, beta: float) -> None:
        """Compute the matrix product out ← alpha op(a) op(b) + beta out."""
        if not self.tf32:
            self._cupy.cublas.gemm(op_a, op_b, a, b, out=out, alpha=alpha, beta=beta)
            return
        from cupy_backends.cuda.libs import cublas

        handle = self._cupy.cuda.device.get_cublas_handle()
        usual = cublas.getMathMode(handle)
        cublas.setMathMode(handle, _TF32_TENSOR_OP_MATH)
        try:
            self._cupy.cublas.gemm(op_a, op_b, a, b, out=out, alpha=alpha, beta=beta)
        finally:
            cublas.setMathMode(handle, usual)

    def binding(self) -> tuple[int, int]:
        """Return the current stream and this thread's cuBLAS handle. Ready calls are bound to them."""
        return self._cupy.cuda.get_current_stream().ptr, self._cupy.cuda.device.get_cublas_handle()

    def ready_launch(self, kernel: Kernel, *arguments: Any) -> Ready:
        """Return the launch of a kernel, ready to be made with a binding."""
        from fastbp_kernels.cuda.compilation import ready_launch

        on_stream = ready_launch(kernel, *arguments)
        return lambda binding: on_stream(binding[0])

    def ready_gemm(self, op_a: str, op_b: str, a: Array, b: Array, out: Array, alpha: float, beta: float) -> Ready:
        """Return a matrix product, ready to be made with a binding."""
        return lambda binding: cublas().gemm(binding[1], op_a, op_b, a, b, out, alpha, beta)

    def products(self, binding: tuple[int, int]) -> AbstractContextManager[None]:
        """Return a context in which ready products can be made."""
        stream, handle = binding
        return cublas().on_stream(handle, stream, tf32=self.tf32)

    def capture(self, ready: Sequence[Ready], steps: int) -> Callable[[], None]:
        """Return a function that launches, on the current stream, a CUDA graph of the calls, repeated `steps` times.

        The calls are not executed. They are captured on a private stream, because CUDA cannot capture the default one.
        """
        stream, handle = self._cupy.cuda.Stream(non_blocking=True), self.binding()[1]
        calls = [bind((stream.ptr, handle)) for bind in ready]
        major = int(self._cupy.cuda.Device(self.number).compute_capability[:-1])
        workspace = self._cupy.empty((workspace_bytes(major),), "uint8")
        with cublas().on_stream(handle, stream.ptr, workspace, tf32=self.tf32):
            stream.begin_capture()
            try:
                for _ in range(steps):
                    for call in calls:
                        call()
            except BaseException:
                with suppress(Exception):  # the capture has to end in any case
                    stream.end_capture()
                raise
            graph = stream.end_capture()

        def launch() -> None:
            graph.launch()

        vars(launch)["kept"] = calls, workspace
        return launch

    def launch(self, kernel: Kernel, *arguments: Any) -> None:
        """Launch a kernel on the current stream."""
        from fastbp_kernels.cuda.compilation import launch

        launch(kernel, *arguments)

    def description(self) -> str:
        """Return the name of the GPU and the versions of CUDA and CuPy."""
        runtime = self._cupy.cuda.runtime
        name = runtime.getDeviceProperties(self.number)["name"].decode()
        driver = runtime.driverGetVersion()
        platform = "ROCm" if runtime.is_hip else f"CUDA {driver // 1000}.{driver % 1000 // 10}"
        return f"{name}, {platform}, CuPy {self._cupy.__version__}"

    def free_bytes(self) -> int:
        """Return the number of free bytes, including those that CuPy's pool keeps for reuse."""
        with self.device_context():
            return free_and_total()[0]

    def to_host(self, array: Array) -> npt.NDArray[Any]:
        """Return a copy on the host, in C order, after waiting for the current stream."""
        host: npt.NDArray[Any] = self._cupy.asnumpy(array)
        return host

    def synchronize(self) -> None:
        """Wait for the current stream."""
        self._cupy.cuda.get_current_stream().synchronize()

    def bus_id(self) -> str:
        """Return the PCI bus id, by which one GPU of a node differs from the others."""
        return str(self._cupy.cuda.runtime.deviceGetPCIBusId(self.number))

    def why_no_nccl(self) -> str:
        """Return why NCCL cannot be used, or an empty text."""
        return "" if _nccl().available else "CuPy has no NCCL: pip install nvidia-nccl-cu12 (or -cu13)"

    def connect_nccl(self, comm: Any) -> Callable[[Array], None]:
        """Connect the ranks of a communicator. Return a function that replaces an array by its sum over the ranks.

        The function enqueues the sum on the current stream.
        """
        nccl = _nccl()
        name = comm.bcast(nccl.get_unique_id() if comm.Get_rank() == 0 else None)
        ranks = nccl.NcclCommunicator(comm.Get_size(), name, comm.Get_rank())
        dtypes = {"float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}

        def all_reduce(array: Array) -> None:
            stream, address = self._cupy.cuda.get_current_stream().ptr, array.data.ptr
            ranks.allReduce(address, address, array.size, dtypes[array.dtype.name], nccl.NCCL_SUM, stream)

        return all_reduce


def _nccl() -> Any:
    """Return CuPy's module for NCCL, which `import cupy` does not import. Without NCCL, its import warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cupy.cuda import nccl
    return nccl


class CuPy(GPUArrays):
    """The equations on a GPU, with fused kernels and in-place cuBLAS products on CuPy's current stream."""

    def __init__(self, name: str, device: Any) -> None:
        self.name, self.device, self.xp = name, device, device.xp

    def __reduce__(self) -> tuple[Callable[..., Backend], tuple[str, ...]]:
        return self.restore, (f"cupy:{self.device.number}" + ("+tf32" if self.device.tf32 else ""), "cupy")

    def operations(self, formulas: Formulas, dtype: str, source: str, *, keep_z: bool = False) -> Operations:
        """Return operations that launch kernels. If a formula cannot be compiled, an `InputError` names it."""
        from fastbp_kernels.cuda.step_numbers import STEP_NUMBERS

        with uninterrupted():  # the kernels may have to be compiled
            numbers = self.empty((0 if formulas.rule is None else STEP_NUMBERS,), dtype)
            return operations_on(self.device, formulas, dtype, source, numbers, keep_z=keep_z)

    def dropout(self, dtype: str) -> Operation:
        """Return the operation of dropout, which launches a kernel."""
        with uninterrupted():
            return dropout_on(self.device, dtype)

    def training_run(self, plan: Plan, source: str, m: int, n: int) -> Run:
        """Return a function like `run`, which replays the step of a training instead of interpreting each step.

        For a small network, one kernel takes all steps of a call. Its results are equal to those of `run` up to
        rounding.
        """
        with uninterrupted():
            replay = Replay(self, plan, source, m, n)
            if not small_networks.suits(plan, m, tf32=self.device.tf32):
                return replay
            return small_networks.OneBlock(self, plan, source, m, replay)

    def check(self, sizes: Sequence[int], formulas: Formulas, dtype: str) -> None:
        """Raise `InputError` if a softmax layer has more outputs than fit into a thread block's shared memory."""
        if formulas.activations[-1] != softmax:
            return
        from fastbp_kernels.cuda import kernels as cuda

        most = cuda.max_softmax_outputs(dtype)
        if sizes[-1] > most:
            raise InputError(f"on CUDA, softmax in {dtype} must have at most {most} outputs, got {sizes[-1]}")

    def contiguous(self, rows: Array) -> Array:
        """Return a matrix in C order, which the kernels require; copy it if necessary."""
        with self.device_context(), translate_out_of_memory():
            return self.device.contiguous(rows)

    def columns(self, rows: Array) -> Array:
        """Return the transpose of the matrix. It is a view."""
        return rows.T

    def sum_over_ranks(self, comm: Any, block: Array) -> tuple[Operation, npt.NDArray[np.int64]]:
        """Return the operation, which sums by NCCL on the current stream if each rank has a GPU of its own."""
        with self.device_context():
            reduce = rank_sums.sum_in_place(self.device, comm, block)
        return lambda ranks, w: reduce(), np.zeros(0, np.int64)

    def n_partial_sums(self, m: int) -> int:
        """Return the number of partial sums of m columns of δ. For each neuron, one thread computes one partial sum."""
        from fastbp_kernels.cuda import kernels as cuda

        return cuda.n_partial_sums(m)

    def new_cost_total(self, n: int, m: int, dtype: str) -> Array:
        """Return memory for adding up costs. It has one accumulator for each thread of the GPU.

        Each thread adds to its own accumulator, so the order of the additions is fixed. An accumulator consists of a
        sum and its rounding error.
        """
        return self.empty((max(m, self.n_partial_sums(m) * n), 2), dtype)

    def set_cost_total(self, total: Array, cost: float) -> None:
        """Set the total to a cost.

        The first accumulator gets two numbers: the cost rounded to the dtype, and the rounding error. The others get
        zeros.
        """
        host = np.zeros(total.shape, total.dtype)
        host[0] = cost, cost - float(host.dtype.type(cost))
        self.assign(total, host)

    def read_cost_total(self, total: Array) -> float:
        """Return the sum of all accumulators as a Python number."""
        return float(self.to_host(total).sum(dtype=np.float64))
