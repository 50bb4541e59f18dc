"""The calls of CuPy, tested without a GPU.

The arrays are real CuPy arrays on host memory, and products go through CuPy's real code around cuBLAS. For functions
that need a GPU, the arguments are checked against the signatures that CuPy declares.
"""

import ctypes
import importlib
import inspect
import re
from contextlib import nullcontext
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install 'fastbp[cuda13]'")
pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")

importlib.import_module("cupy.cublas")
from cupy.cuda import device as cupy_device
from cupy.cuda import function, stream
from cupy_backends.cuda.libs import cublas

import fastbp
from fastbp import backends, equations
from fastbp.backends.cupy.device import CuPy, CuPyDevice
from fastbp.operations import Examples, OptimizerState, Parameters, WorkspacePool, step_config
from fastbp.optimizers import SGD
from fastbp.parameters import plan_of
from fastbp_kernels.cuda import compilation
from ptx import run

pytestmark = pytest.mark.cuda


def cupy_view(host):
    """Return a CuPy array that shares the memory of a NumPy array. Views of it can be made without a GPU."""
    memory = cupy.cuda.UnownedMemory(host.ctypes.data, max(host.nbytes, 1), host, 0)
    return cupy.ndarray(host.shape, host.dtype, memptr=cupy.cuda.MemoryPointer(memory, 0))


def numpy_view(array):
    """Return a NumPy view of such an array, with the same memory layout."""
    if array.size == 0:
        return np.empty(array.shape, array.dtype)
    bytes_ = (ctypes.c_char * array.nbytes).from_address(array.data.ptr)
    order = "C" if array.flags.c_contiguous else "F"
    return np.frombuffer(bytes_, array.dtype).reshape(array.shape, order=order)


def with_signature_of(real, stand_in):
    """Return a stand-in that accepts only the arguments of the real function's signature."""
    signature = inspect.signature(real)

    def call(*arguments, **named):
        signature.bind(*arguments, **named)
        return stand_in(*arguments, **named)

    return call


def matrix(pointer, rows, columns, ld, dtype):
    flat = (ctypes.c_char * (((columns - 1) * ld + rows) * np.dtype(dtype).itemsize)).from_address(pointer)
    return np.lib.stride_tricks.as_strided(
        np.frombuffer(flat, dtype), (rows, columns), (np.dtype(dtype).itemsize, ld * np.dtype(dtype).itemsize)
    )


def gemm_on_host(dtype):
    """Return cuBLAS's gemm as its manual defines it, for pointers to host memory."""

    def gemm(handle, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        alpha, beta = (matrix(p, 1, 1, 1, dtype)[0, 0] for p in (alpha, beta))
        left = matrix(a, m, k, lda, dtype) if op_a == cublas.CUBLAS_OP_N else matrix(a, k, m, lda, dtype).T
        right = matrix(b, k, n, ldb, dtype) if op_b == cublas.CUBLAS_OP_N else matrix(b, n, k, ldb, dtype).T
        out = matrix(c, m, n, ldc, dtype)
        out[...] = alpha * (left @ right) + (beta * out if beta else 0)

    return gemm


@pytest.fixture
def device(monkeypatch):
    """A `CuPyDevice` whose driver calls are replaced by NumPy code on the host."""
    keep = []

    def empty(shape, dtype):
        keep.append(np.full(shape, 7, dtype))
        return cupy_view(keep[-1])

    def asarray(host):
        keep.append(host.copy())
        return cupy_view(keep[-1])

    monkeypatch.setattr(cupy, "empty", with_signature_of(cupy.empty, empty))
    monkeypatch.setattr(cupy, "asarray", with_signature_of(cupy.asarray, asarray))
    monkeypatch.setattr(cupy, "asnumpy", with_signature_of(cupy.asnumpy, lambda array: numpy_view(array).copy()))
    monkeypatch.setattr(cupy.cuda, "Device", lambda number: nullcontext())
    monkeypatch.setattr(cupy.cuda.runtime, "getDevice", lambda: 0)
    monkeypatch.setattr(cupy_device, "get_cublas_handle", lambda: 1)
    for name, stand_in in {
        "getPointerMode": lambda handle: 0,
        "setPointerMode": lambda handle, mode: None,
        "sgemm": gemm_on_host("float32"),
        "dgemm": gemm_on_host("float64"),
    }.items():
        monkeypatch.setattr(cublas, name, stand_in)

    def loaded(kernel, number):
        def launch(grid, block, arguments, *, shared_mem):
            host = [numpy_view(a) if isinstance(a, cupy.ndarray) else a for a in arguments]
            run(kernel.ptx, grid, block, *host, shared_bytes=shared_mem)

        return launch

    monkeypatch.setattr(compilation, "_loaded", loaded)
    return CuPyDevice(0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [[5, 4, 3], [3, 1, 2], [1, 1]])
def test_training_on_cupy_arrays_equals_training_on_numpy_arrays(device, dtype, sizes, rng):
    """Including views, transposes, leading dimensions and launches, and blocks of one row or one column."""
    weights = [rng.standard_normal((n, k)) for k, n in pairwise(sizes)]
    biases = [rng.standard_normal((1, n)) for n in sizes[1:]]
    x, y, order = rng.random((9, sizes[0])), rng.random((9, sizes[-1])), rng.permutation(9)
    results = []
    for backend in (CuPy("cupy", device), backends.get("numpy")):
        plan = plan_of(sizes, "sigmoid", "quadratic", bias=True, dtype=dtype, backend=backend)
        up = lambda array, plan=plan: plan.backend.upload(np.asarray(array, plan.dtype))
        here = (lambda host: host) if backend.kind == "cupy" else np.copy
        p = Parameters(tuple(here(up(w)) for w in weights), tuple(plan.backend.columns(here(up(b))) for b in biases))
        nothing = tuple(plan.block(0, 1) for _ in weights)
        no_state = OptimizerState(*[Parameters(nothing, nothing)] * 4)
        operations = plan.operations()
        examples = Examples(up(x), up(y), plan.block(0, 9), 0.5)
        for m, part in ((4, order[:8]), (1, order[8:])):
            ws = WorkspacePool(plan, operations, 4).workspace(m)
            total = plan.backend.new_cost_total(sizes[-1], 4, dtype)
            _fill(total, 0.0)
            step = step_config(SGD(), 0.7, steps=0, count=len(part) // m, lmbda=0.1, n=9)
            indices = plan.backend.upload(np.asarray(part))
            plan.backend.run(
                equations.train_mini_batches, operations, p, no_state, ws, examples, indices, step, m, total
            )
        parameters = [plan.backend.to_host(a).ravel(order="A") for a in (*p.weights, *p.biases)]
        results.append([*parameters, np.array(plan.backend.read_cost_total(total))])
    for on_cupy, on_numpy in zip(*results, strict=True):
        np.testing.assert_allclose(on_cupy, on_numpy, rtol={"float32": 1e-5, "float64": 1e-13}[dtype])


def _fill(array, value):
    (array if isinstance(array, np.ndarray) else numpy_view(array))[...] = value


@pytest.mark.parametrize("fails", [False, True])
def test_tf32_is_switched_on_for_a_product_and_off_again(device, fails, monkeypatch):
    modes = []
    monkeypatch.setattr(cublas, "getMathMode", lambda handle: 0)
    monkeypatch.setattr(cublas, "setMathMode", lambda handle, mode: modes.append(mode))
    product = cublas.sgemm
    monkeypatch.setattr(cublas, "sgemm", lambda *arguments: modes.append("product") or product(*arguments))
    a, out = (cupy_view(np.ones((2, 2), np.float32)) for _ in range(2))
    b = cupy_view(np.ones((3 if fails else 2, 2), np.float32))
    precise, fast = CuPyDevice(0), CuPyDevice(0, tf32=True)
    if fails:
        with pytest.raises(AssertionError):
            fast.gemm("N", "N", a, b, out, 1.0, 0.0)
        assert modes == [3, 0]
    else:
        precise.gemm("N", "N", a, b, out, 1.0, 0.0)
        fast.gemm("N", "N", a, b, out, 1.0, 0.0)
        assert modes == ["product", 3, "product", 0]


def test_description_and_free_memory_of_a_gpu(device, monkeypatch):
    runtime = cupy.cuda.runtime
    monkeypatch.setattr(runtime, "getDeviceProperties", lambda number: {"name": b"A GPU"})
    monkeypatch.setattr(runtime, "driverGetVersion", lambda: 13020)
    monkeypatch.setattr(runtime, "memGetInfo", lambda: (3 * 2**30, 8 * 2**30))
    pool = SimpleNamespace(free_bytes=lambda: 2**20, get_limit=lambda: 0)  # CuPy's own asks the driver
    monkeypatch.setattr(cupy, "get_default_memory_pool", lambda: pool)
    assert device.description() == f"A GPU, CUDA 13.2, CuPy {cupy.__version__}"
    assert device.free_bytes() == 3 * 2**30 + 2**20


def declared(real):
    """Return the parameters in the first line of the docstring of a compiled CuPy function."""
    line = re.match(r"[\w.]+\((.*?)\)", real.__doc__)
    return [] if line is None else [p.strip() for p in line[1].split(",") if p.strip() and p.strip() != "self"]


def test_signatures_of_the_cupy_functions_that_need_a_gpu():
    assert len(declared(function.Module.load)) == 1
    assert len(declared(function.Module.get_function)) == 1
    assert declared(cublas.getMathMode) == ["intptr_t handle"]
    assert declared(cublas.setMathMode) == ["intptr_t handle", "int mode"]
    assert declared(cupy_device.get_cublas_handle) == []
    assert declared(cupy.cuda.get_current_stream)[0].endswith("=-1")
    assert declared(cupy.from_dlpack)[0] == "array"
    assert list(inspect.signature(stream.Stream.synchronize).parameters) == ["self"]
    assert isinstance(cupy.cuda.Device(0).id, int)
    assert inspect.isdatadescriptor(cupy.cuda.Device.compute_capability)


def test_a_launch_packs_its_arguments_and_reaches_the_driver():
    """CuPy packs the arguments of a launch before it calls the driver, which is missing here."""
    launch = function.Function.__new__(function.Function)
    a = cupy_view(np.ones(3, np.float32))
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
        launch((1, 1), (32, 1), (a, np.float32(1), np.uint64(3)), shared_mem=16)
    with pytest.raises(TypeError, match="shared_memory"):
        launch((1, 1), (32, 1), (a,), shared_memory=16)


def test_arrays_of_another_device_are_refused(device):
    backend = CuPy("cupy", device)
    on_gpu_1 = _on_gpu_1(backend)
    with pytest.raises(fastbp.InputError, match=r"x is on GPU 1 and the network is on GPU 0; move both to one"):
        backend.from_foreign("x", on_gpu_1)
    with pytest.raises(fastbp.InputError, match="x is on GPU 0 and y is on GPU 1; move both to one device"):
        backends.infer(x=cupy_view(np.ones(3)), y=on_gpu_1)


def _on_gpu_1(backend):
    host = np.ones(3)
    memory = cupy.cuda.UnownedMemory(host.ctypes.data, host.nbytes, host, 1)
    return cupy.ndarray(3, "float64", memptr=cupy.cuda.MemoryPointer(memory, 0))


def test_cupy_arrays_are_used_without_a_copy(device):
    array = cupy_view(np.ones((2, 3), np.float32))
    assert CuPy("cupy", device).from_foreign("x", array) is array
    assert CuPy("cupy", device).from_foreign("x", np.ones(3)) is None


def test_contiguous_rows_are_not_copied(device):
    rows = cupy_view(np.ones((3, 2), np.float32))
    assert CuPy("cupy", device).contiguous(rows.T.T).data.ptr == rows.data.ptr
