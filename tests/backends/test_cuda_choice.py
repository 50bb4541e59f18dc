"""The choice of the CUDA backend and of its device, and arrays of other libraries on it; tested without a GPU."""

import pickle
import re
from contextlib import nullcontext

import numpy as np
import pytest

import fastbp
from fastbp import backends
from fastbp.backends import array_kinds
from fastbp.backends.cupy import device as cupy_device
from fastbp.backends.cupy import diagnosis
from fastbp.datasets.foreign_arrays import as_backend_array

pytestmark = pytest.mark.cuda
NO_GPU = "no GPU at all: buy one"


class Device:
    """Replaces `CuPyDevice`."""

    device_context = staticmethod(nullcontext)

    def __init__(self, number, *, tf32=False):
        self.number, self.tf32, self.xp = number, tf32, np


@pytest.fixture
def gpus(monkeypatch):
    """Two usable GPUs; the second is CuPy's current device."""
    monkeypatch.setattr(
        diagnosis, "unavailable_reason", lambda device=None: None if device in (None, 0, 1) else "only two"
    )
    monkeypatch.setattr(cupy_device, "CuPyDevice", Device)
    monkeypatch.setattr(cupy_device, "current_number", lambda: 1)
    monkeypatch.setattr(cupy_device, "_usable", set())
    cupy_device._on_device.cache_clear()
    backends._automatic.cache_clear()
    yield
    cupy_device._on_device.cache_clear()
    backends._automatic.cache_clear()


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(diagnosis, "unavailable_reason", lambda device=None: NO_GPU)
    monkeypatch.setattr(cupy_device, "_usable", set())
    backends._automatic.cache_clear()
    yield
    backends._automatic.cache_clear()


@pytest.mark.parametrize(
    ("name", "number", "tf32", "full"),
    [
        ("cupy", 1, False, "cupy:1"),
        ("cupy:0", 0, False, "cupy"),
        ("cupy:1", 1, False, "cupy:1"),
        ("cupy:0+tf32", 0, True, "cupy+tf32"),
        ("cupy+tf32", 1, True, "cupy:1+tf32"),
    ],
)
def test_the_name_selects_device_and_precision(gpus, name, number, tf32, full):
    backend = backends.get(name)
    assert (backend.device.number, backend.device.tf32, backend.name, backend.kind) == (number, tf32, full, "cupy")
    assert backends.get(name) is backend


def test_a_backend_is_pickled_by_its_name(gpus):
    backend = backends.get("cupy:1+tf32")
    assert pickle.loads(pickle.dumps(backend)) is backend


@pytest.mark.parametrize("name", ["cupy:", "cupy:x", "cupy+fast", "cupy:1:2", "Cupy"])
def test_other_names_are_unknown(name):
    said = re.escape(f"unknown backend {name!r}; ") + ".*valid: numpy, .*cupy.*auto"
    with pytest.raises(fastbp.InputError, match=said):
        backends.get(name)


def test_the_packages_are_inspected_once_per_device(gpus, monkeypatch):
    asked, reason = [], diagnosis.unavailable_reason
    monkeypatch.setattr(diagnosis, "unavailable_reason", lambda device=None: asked.append(device) or reason(device))
    for _ in range(3):
        backends.get("cupy"), backends.get("cupy:1"), backends.get("cupy:0")
        with pytest.raises(fastbp.InputError, match="only two"):  # a failure is looked into each time
            backends.get("cupy:7")
    assert asked == [None, 0, 7, 7, 7]


def test_a_device_that_does_not_exist(gpus):
    with pytest.raises(fastbp.InputError, match="backend 'cupy' cannot be used: only two"):
        backends.get("cupy:7")


def test_without_a_gpu_the_error_contains_the_reason(no_gpu):
    with pytest.raises(fastbp.InputError, match=f"backend 'cupy' cannot be used: {NO_GPU}"):
        fastbp.Network([2, 1], backend="cupy")
    assert backends.available()["cupy"] == NO_GPU


def test_auto_uses_the_gpu_and_logs_it_once(gpus, caplog):
    assert backends.get("auto").kind == backends.get("auto").kind == "cupy"
    assert caplog.messages == ["backend auto: using cupy:1"]


def test_auto_without_a_gpu_uses_numpy_and_logs_the_reason_once(no_gpu, caplog, monkeypatch):
    monkeypatch.setenv("FASTBP_BACKEND", "auto")
    assert fastbp.Network([2, 1]).backend == fastbp.Network([2, 1]).backend == "numpy"
    assert caplog.messages == [f"backend auto: using numpy, because cupy cannot be used: {NO_GPU}"]


class OnGPU:
    """An array of another library on the first GPU, or on another one."""

    def __init__(self, number=0):
        self.number = number

    def __dlpack_device__(self):
        return 2, self.number

    def __array_namespace__(self):
        return np


def test_arrays_of_other_libraries_on_the_same_gpu_are_imported_with_dlpack(gpus):
    backend = backends.get("cupy:0")
    imported = []
    backend.device.from_foreign = lambda array: imported.append(array) or "the same memory"
    array = OnGPU()
    assert backend.from_foreign("x", array) == "the same memory"
    assert imported == [array]
    with pytest.raises(fastbp.InputError, match="x is on GPU 1 and the network is on GPU 0; move both to one"):
        backend.from_foreign("x", OnGPU(1))


class OnlyDLPack:
    """An array without a namespace, as some libraries have, on a GPU."""

    shape, ndim, dtype = (2, 3), 2, np.dtype("float32")

    def __dlpack_device__(self):
        return 2, 1

    def __dlpack__(self, **options):
        raise AssertionError("read on the host")


class OnlyCUDAInterface:
    """An array of a library like Numba, on a GPU."""

    shape, ndim, dtype = (2, 3), 2, np.dtype("float32")
    __cuda_array_interface__ = {"data": (4096, False), "shape": (2, 3), "typestr": "<f4", "version": 3}  # noqa: RUF012


@pytest.mark.parametrize("array", [OnlyDLPack(), OnlyCUDAInterface()])
def test_arrays_without_a_namespace_are_used_on_their_gpu(gpus, array, monkeypatch):
    monkeypatch.setattr(array_kinds, "_device_of_memory", lambda pointer: {4096: 1}[pointer])
    backend = backends.get("cupy:1")
    backend.device.from_foreign = lambda given: (given, "shared")
    assert backends.device_of(array) == 1
    assert backends.infer(x=array).name == "cupy:1"
    assert backend.from_foreign("x", array) == (array, "shared")
    with pytest.raises(fastbp.InputError, match="x is on GPU 1 and the network is on GPU 0; move both to one device"):
        as_backend_array("x", array, backends.get("cupy:0"))
    with pytest.raises(
        fastbp.InputError, match=r"x must be on the CPU, got a GPU array of (tests|test_cuda_choice); copy"
    ):
        as_backend_array("x", array, backends.get("numpy"))
    backend.device.from_foreign = lambda given: np.ones(given.shape)
    assert as_backend_array("x", array, backend).shape == (2, 3)


def test_a_softmax_wider_than_shared_memory_is_refused(gpus):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")
    with pytest.raises(fastbp.InputError, match="softmax in float32 must have at most 12256 outputs, got 12257"):
        fastbp.Network([2, 12_257], "softmax", "log-likelihood", backend="cupy:0")
