"""The calls of CuPy, tested without a GPU.

The arrays are real CuPy arrays on host memory, and products go through CuPy's real code around cuBLAS. For functions
that need a GPU, the arguments are checked against the signatures that CuPy declares.
"""

import ctypes
import importlib
import inspect
import re
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install 'fastbp[cuda13]'")
pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")

importlib.import_module("cupy.cublas")
from cupy.cuda import device as cupy_device
from cupy.cuda import function, stream
from cupy_backends.cuda.api import driver as driver_api
from cupy_backends.cuda.libs import cublas
from numba import types

import fastbp
from fastbp import backends, equations
from fastbp.backends.cupy import cublas_entry, memory
from fastbp.backends.cupy import device as cupy_module
from fastbp.backends.cupy.device import CuPy, CuPyDevice
from fastbp.backends.cupy.replay import MODES, replay_at_most
from fastbp.operations import Examples, OptimizerState, Parameters, WorkspacePool, step_config
from fastbp.optimizers import SGD, Adam
from fastbp.parameters import as_parameters, new_optimizer_state, plan_of
from fastbp_kernels.cuda import compilation, kernels
from ptx import run

pytestmark = pytest.mark.cuda


def cupy_view(host):
    """Return a CuPy array that shares the memory of a NumPy array. Views of it can be made without a GPU."""
    owner = cupy.cuda.UnownedMemory(host.ctypes.data, max(host.nbytes, 1), host, 0)
    return cupy.ndarray(host.shape, host.dtype, memptr=cupy.cuda.MemoryPointer(owner, 0))


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

    monkeypatch.setattr(compilation, "_loaded", lambda kernel, number: Function(kernel, None))
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
    owner = cupy.cuda.UnownedMemory(host.ctypes.data, host.nbytes, host, 1)
    return cupy.ndarray(3, "float64", memptr=cupy.cuda.MemoryPointer(owner, 0))


def test_cupy_arrays_are_used_without_a_copy(device):
    array = cupy_view(np.ones((2, 3), np.float32))
    assert CuPy("cupy", device).from_foreign("x", array) is array
    assert CuPy("cupy", device).from_foreign("x", np.ones(3)) is None


def test_contiguous_rows_are_not_copied(device):
    rows = cupy_view(np.ones((3, 2), np.float32))
    assert CuPy("cupy", device).contiguous(rows.T.T).data.ptr == rows.data.ptr


def test_arrays_of_other_libraries_are_taken_over_by_dlpack_or_by_the_cuda_interface(device, monkeypatch):
    taken = []
    monkeypatch.setattr(cupy, "from_dlpack", lambda array: taken.append(("dlpack", array)))
    monkeypatch.setattr(cupy, "asarray", lambda array: taken.append(("interface", array)))
    both = SimpleNamespace(__dlpack__=None, __cuda_array_interface__={})
    only = SimpleNamespace(__cuda_array_interface__={})
    for array in (both, only):
        device.from_foreign(array)
    assert taken == [("dlpack", both), ("interface", only)]


@pytest.mark.parametrize("shape", [(7, 11), (3, 64), (1, 200)])
def test_large_arrays_are_uploaded_in_pieces(device, shape, rng, monkeypatch):
    sizes, asarray, asked = [], cupy.asarray, []
    monkeypatch.setattr(cupy, "asarray", lambda host: sizes.append(host.nbytes) or asarray(host))
    monkeypatch.setattr(CuPyDevice, "assign", lambda self, target, value: _fill(target, numpy_view(value)))
    monkeypatch.setattr(cupy_module, "check_fits", lambda what, size: asked.append((what, size)))
    monkeypatch.setattr(cupy_module, "_LARGE", 300)
    monkeypatch.setattr(cupy_module, "_PIECE", 256)
    host = rng.random(shape)
    found = device.upload(host)
    np.testing.assert_array_equal(numpy_view(found), host)
    assert sum(sizes) == host.nbytes
    assert max(sizes) == 256  # CuPy pins as much as the largest piece
    assert asked == [(f"an array of shape {shape} in float64", host.nbytes)]
    sizes.clear()
    device.upload(host[:1, :5])
    assert sizes == [40]
    assert len(asked) == 1


@pytest.mark.parametrize(("status", "lacks"), [(1, True), (3, True), (13, False)])
def test_errors_of_cublas_about_memory(monkeypatch, status, lacks):
    """With CuPy's own class, and the status that a call by ctypes returns."""
    monkeypatch.setattr(memory, "free_and_total", lambda: (2**30, 2**33))
    expected = memory.DeviceMemoryError if lacks else cublas.CUBLASError
    said = "cuBLAS could not allocate memory" if lacks else "CUBLAS_STATUS"
    with pytest.raises(expected, match=said), memory.translate_out_of_memory():
        cublas_entry._checked(status)


# Loading: machine code from nvJitLink, or else the PTX.


class Module:
    """CuPy's module. It accepts machine code, or PTX, or neither."""

    def __init__(self, accepts):
        self.accepts, self.loaded = accepts, []

    def load(self, code):
        if not code.startswith(self.accepts):
            raise driver_api.CUDADriverError(218)  # CUDA_ERROR_INVALID_PTX
        self.loaded.append(code)


def kernel_that_links(cubin):
    def linked(architecture):
        if cubin is None:
            raise RuntimeError("nvJitLink error: ERROR_UNRECOGNIZED_OPTION\nERROR 3: -v")
        return cubin

    return SimpleNamespace(name="activate", linked=linked, ptx=".version 8.0")


def test_a_kernel_that_cannot_be_linked_is_compiled_by_the_driver():
    module = Module(accepts=b"\x7fELF")
    compilation._load(module, kernel_that_links(b"\x7fELF..."), "sm_90")
    assert module.loaded == [b"\x7fELF..."]
    module = Module(accepts=b".version")
    compilation._load(module, kernel_that_links(None), "sm_90")
    assert module.loaded == [b".version 8.0"]


def test_a_kernel_that_nothing_can_load_is_named_with_versions():
    message = (
        r"^kernel activate cannot be loaded for sm_90 with cuda-core \S+, numba-cuda \S+: linking failed with "
        r"RuntimeError: nvJitLink error: ERROR_UNRECOGNIZED_OPTION, and the driver refused the PTX with CUDADriverError"
    )
    with pytest.raises(RuntimeError, match=message) as caught:
        compilation._load(Module(accepts=b"nothing"), kernel_that_links(None), "sm_90")
    assert "\n" not in str(caught.value)


def test_a_launch_links_without_options_of_the_assembler(monkeypatch):
    given = []

    class Linker:
        def __init__(self, code, options):
            given.append((options.arch, options.ptxas_options))

        def link(self, target):
            return SimpleNamespace(code=b"\x7fELF")

        def get_info_log(self):
            return ""

    monkeypatch.setattr("cuda.core.Linker", Linker)
    kernel = replace(kernels.gather("uint8", "float32"), made_from=None)  # which is not kept on disk
    assert kernel.linked("sm_80") == b"\x7fELF"
    kernel.link("sm_80", "-v")
    assert given == [("sm_80", None), ("sm_80", ["-v"])]


# Replay: calls that are made ready once, and captured in CUDA graphs.


class Function:
    """CuPy's function of a loaded kernel. A call launches it at once, and the driver knows it by `ptr`."""

    def __init__(self, kernel, ptr):
        self.kernel, self.ptr = kernel, ptr

    def __call__(self, grid, block, arguments, *, shared_mem):
        host = [numpy_view(a) if isinstance(a, cupy.ndarray) else a for a in arguments]
        run(self.kernel.ptx, grid, block, *host, shared_bytes=shared_mem)


class Driver:
    """The driver's launch, a stream that can be captured, and cuBLAS's entry points, on host memory."""

    def __init__(self):
        self.kernels, self.capturing, self.captured, self.log, self.streams = [], None, [], [], 0

    def loaded(self, kernel, number):
        self.kernels.append(kernel)
        return Function(kernel, len(self.kernels))

    def launch_kernel(self, function, gx, gy, gz, bx, by, bz, shared_bytes, stream, parameters, extra):
        kernel = self.kernels[function - 1]
        kinds = (*kernel.parameters, types.uint64, types.uint64)
        arguments = []
        for kind, place in zip(kinds, (ctypes.c_void_p * len(kinds)).from_address(parameters), strict=True):
            pointer = isinstance(kind, types.CPointer)
            value = np.frombuffer(ctypes.string_at(place, 8), "uint64" if pointer else kind.name)[0]
            arguments.append(ARRAYS[int(value)] if pointer else value)
        assert (gz, bz, extra) == (1, 1, 0)
        self.do(stream, run, kernel.ptx, (gx, gy), (bx, by), *arguments, shared_bytes=shared_bytes)

    def do(self, stream, call, *arguments, **options):
        if self.capturing is None:
            assert stream == 0  # the user's
            call(*arguments, **options)
        else:
            assert stream == self.capturing
            self.captured.append(partial(call, *arguments, **options))

    def entry(self, name, dtype=None):
        """Return an entry point of cuBLAS that takes ctypes' arguments."""
        gemm = dtype and gemm_on_host(dtype)

        def multiply(handle, op_a, op_b, m, n, k, alpha, *rest):
            assert self.workspace == (None if self.capturing is None else 32 * 2**20)
            address = lambda reference: ctypes.addressof(reference._obj)
            a, lda, b, ldb, beta, c, ldc = (getattr(v, "value", v) for v in rest)
            sizes = (v.value for v in (op_a, op_b, m, n, k))
            self.do(self.stream, gemm, handle, *sizes, address(alpha), a, lda, b, ldb, address(beta), c, ldc)
            return 0

        def note(handle, *arguments):
            values = [getattr(v, "value", v) for v in arguments]
            self.log.append((name, *values))
            if name == "stream":
                self.stream, self.workspace = values[0] or 0, None
            if name == "workspace":
                self.workspace = values[1]
            return 0

        return multiply if gemm else note


ARRAYS = {}  # NumPy views of the device's arrays, by address


@pytest.fixture
def driver(device, monkeypatch):
    driver = Driver()

    class Stream:
        def __init__(self, *, non_blocking):
            assert non_blocking
            driver.streams += 1
            self.ptr = 100 + driver.streams

        def begin_capture(self):
            driver.capturing, driver.captured = self.ptr, []

        def end_capture(self):
            driver.capturing, calls = None, driver.captured
            return SimpleNamespace(launch=lambda: [call() for call in calls])

    library = SimpleNamespace(
        cublasSgemm_v2=driver.entry("gemm", "float32"), cublasDgemm_v2=driver.entry("gemm", "float64"),
        cublasSetStream_v2=driver.entry("stream"), cublasSetWorkspace_v2=driver.entry("workspace"),
        cublasSetMathMode=driver.entry("math"), cublasSetPointerMode_v2=driver.entry("pointers"),
    )  # fmt: skip
    entries = cublas_entry.CuBLAS(library)
    monkeypatch.setattr(cublas, "getMathMode", lambda handle: 0)
    monkeypatch.setattr(cublas, "setMathMode", lambda handle, mode: None)
    monkeypatch.setattr(cupy_module, "cublas", lambda: entries)
    monkeypatch.setattr(compilation, "_loaded", driver.loaded)
    monkeypatch.setattr(driver_api, "launchKernel", driver.launch_kernel)
    monkeypatch.setattr(cupy.cuda, "Stream", Stream)
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: SimpleNamespace(ptr=0))
    monkeypatch.setattr(CuPyDevice, "assign", lambda self, target, value: _fill(target, _host(value)))
    monkeypatch.setattr(cupy.cuda, "Device", lambda number: _Device())
    empty = cupy.empty

    def listed(shape, dtype):
        array = empty(shape, dtype)
        ARRAYS[array.data.ptr] = numpy_view(array)
        return array

    monkeypatch.setattr(cupy, "empty", listed)
    return driver


class _Device(nullcontext):
    compute_capability = "90"


def _host(value):
    return numpy_view(value) if isinstance(value, cupy.ndarray) else value


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ready_calls_and_graphs_through_cupys_arrays_have_the_bits_of_cupys_calls(driver, dtype, tf32, rng):
    """The packed arguments, the products and the capture, on real CuPy arrays, with one column among the layers."""
    x, y, order = rng.random((20, 5)), rng.random((20, 2)), rng.permutation(20)
    start = [rng.standard_normal(shape) for shape in ((1, 5), (2, 1))]
    results = {}
    for mode in MODES:
        backend = CuPy("cupy", CuPyDevice(0, tf32=tf32))
        plan = plan_of([5, 1, 2], "tanh", "quadratic", bias=True, dtype=dtype, backend=backend)
        plan = replace(plan, formulas=replace(plan.formulas, rule=Adam().rule))
        operations, moments = plan.operations(), new_optimizer_state(plan, Adam().rule)
        p = as_parameters([plan.array(w) for w in start], [plan.array(np.zeros((n, 1))) for n in (1, 2)], plan)
        examples = Examples(plan.array(x), plan.array(y), plan.block(0, 20), 1.0)
        ws, total = WorkspacePool(plan, operations, 4).workspace(4), backend.new_cost_total(2, 4, dtype)
        backend.set_cost_total(total, 0.0)
        indices = backend.empty((20,), "int64")
        _fill(indices, order)
        steps = step_config(Adam(), 0.1, steps=0, count=5, lmbda=0.1, n=20)
        take_steps = backend.training_run(plan, dtype, 4, 20)
        with replay_at_most(mode):
            take_steps(equations.train_mini_batches, operations, p, moments, ws, examples, indices, steps, 4, total)
        assert take_steps.mode == mode, backend.device.refused
        results[mode] = [numpy_view(a).tobytes() for a in (*p.weights, *p.biases, total)]
    assert results["ready"] == results["eager"] == results["graph"]
    modes = [entry[1] for entry in driver.log if entry[0] == "math"]
    assert modes == ([3, 0] * 3 if tf32 else [])  # the ready steps; the first step and the capture of the graph


@pytest.mark.parametrize("op_b", ["N", "T"])
@pytest.mark.parametrize("op_a", ["N", "T"])
@pytest.mark.parametrize("sizes", [(2, 3, 4), (1, 3, 4), (2, 1, 4), (2, 3, 1), (1, 1, 1)])
def test_the_arguments_of_products_are_those_that_cupy_passes(device, sizes, op_a, op_b, monkeypatch):
    m, n, k = sizes
    given = []
    monkeypatch.setattr(cublas, "sgemm", lambda *arguments: given.append(arguments))
    for transposed_a in (False, True):
        for transposed_b in (False, True):
            shape_a, shape_b = (m, k) if op_a == "N" else (k, m), (k, n) if op_b == "N" else (n, k)
            a = _matrix_view(shape_a, transposed_a)
            b, out = _matrix_view(shape_b, transposed_b), _matrix_view((m, n), True)
            device.gemm(op_a, op_b, a, b, out, 1.0, 0.0)
            _, ta, tb, *shape, _, _, lda, _, ldb, _, _, _ = given.pop()
            here_a, here_b, *found = cublas_entry.product_shape(op_a, op_b, a, b, out)
            assert [ta, tb, *shape, lda, ldb] == ["NT".index(here_a), "NT".index(here_b), *found]


def _matrix_view(shape, in_fortran_order):
    host = np.ones(shape[::-1] if in_fortran_order else shape, np.float32)
    return cupy_view(host).T if in_fortran_order else cupy_view(host)


def test_a_capture_that_fails_is_ended(driver, device):
    def fails(binding):
        def call():
            raise RuntimeError("not captured")

        return call

    with pytest.raises(RuntimeError, match="not captured"):
        device.capture([fails], 1)
    assert driver.capturing is None
    assert driver.log[-1] == ("stream", None)  # the workspace is given back
