"""How the CUDA backend is chosen, and what becomes of arrays and networks that go there; no GPU is needed for it."""

import pickle
import re

import numpy as np
import pytest

import fastbp
from fastbp import backends
from fastbp.backends.cupy import device as cupy_backend
from fastbp.backends.cupy import diagnosis as cuda_present

pytestmark = pytest.mark.cuda
NOTHING_HERE = "no GPU at all: buy one"


class Device:
    """What is made of a number and a precision, in the place of `CuPyDevice`."""

    def __init__(self, number, *, tf32=False):
        self.number, self.tf32, self.xp = number, tf32, np


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs that answer, of which the second is CuPy's current one."""
    monkeypatch.setattr(
        cuda_present, "unavailable_reason", lambda device=None: None if device in (None, 0, 1) else "only two"
    )
    monkeypatch.setattr(cupy_backend, "CuPyDevice", Device)
    monkeypatch.setattr(cupy_backend, "_current", lambda: 1)
    cupy_backend._on_device.cache_clear()
    backends._automatic.cache_clear()
    yield
    cupy_backend._on_device.cache_clear()
    backends._automatic.cache_clear()


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(cuda_present, "unavailable_reason", lambda device=None: NOTHING_HERE)
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
def test_a_name_says_device_and_precision(gpus, name, number, tf32, full):
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


def test_a_device_that_is_not_there(gpus):
    with pytest.raises(fastbp.InputError, match="backend 'cupy' cannot be used: only two"):
        backends.get("cupy:7")


def test_without_a_gpu_the_reason_is_said(no_gpu):
    with pytest.raises(fastbp.InputError, match=f"backend 'cupy' cannot be used: {NOTHING_HERE}"):
        fastbp.Network([2, 1], backend="cupy")
    assert backends.available()["cupy"] == NOTHING_HERE


def test_auto_takes_the_gpu_and_says_so_once(gpus, capsys):
    assert backends.get("auto").kind == backends.get("auto").kind == "cupy"
    assert capsys.readouterr().err == "backend auto: cupy:1\n"


def test_auto_without_a_gpu_is_numpy_and_says_why_once(no_gpu, capsys, monkeypatch):
    monkeypatch.setenv("FASTBP_BACKEND", "auto")
    assert fastbp.Network([2, 1]).backend == fastbp.Network([2, 1]).backend == "numpy"
    assert capsys.readouterr().err == f"backend auto: numpy, since cupy cannot be used: {NOTHING_HERE}\n"


class OnGPU:
    """An array of another library on the first GPU, or on another one."""

    def __init__(self, number=0):
        self.number = number

    def __dlpack_device__(self):
        return 2, self.number

    def __array_namespace__(self):
        return np


def test_anything_on_the_same_gpu_is_taken_by_dlpack(gpus):
    backend = backends.get("cupy:0")
    taken = []
    backend.device.from_foreign = lambda array: taken.append(array) or "the same memory"
    array = OnGPU()
    assert backend.from_foreign("x", array) == "the same memory"
    assert taken == [array]
    with pytest.raises(fastbp.InputError, match="x is on GPU 1, and the network on GPU 0; wanted is one device"):
        backend.from_foreign("x", OnGPU(1))


def test_a_softmax_wider_than_shared_memory_is_refused(gpus):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")
    with pytest.raises(fastbp.InputError, match="softmax over 12257 outputs; wanted are at most 12256 in float32"):
        fastbp.Network([2, 12_257], "softmax", "log-likelihood", backend="cupy:0")
