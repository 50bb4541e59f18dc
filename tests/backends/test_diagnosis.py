"""The messages if CUDA cannot be used: one line, with the command that fixes the problem.

The tests of the real CuPy compile a driver library with a few public entry points, and run in a new Python process.
What needs a GPU or another environment is tested with stand-in modules.
"""

import ctypes
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import fastbp
from fastbp.backends.cupy import diagnosis, memory
from fastbp.backends.cupy.memory import DeviceMemoryError

GIB = 2**30
LIBRARIES_FOR_12 = ("nvidia-cublas-cu12", "nvidia-cuda-nvrtc-cu12", "nvidia-nvjitlink-cu12", "nvidia-cuda-nvcc-cu12")
LIBRARIES_FOR_13 = ("nvidia-cublas", "nvidia-cuda-nvrtc", "nvidia-nvjitlink", "nvidia-nvvm")
FOR_12 = {"cupy-cuda12x": "14.2.0", "cuda-bindings": "12.9.10"} | dict.fromkeys(LIBRARIES_FOR_12, "12.9.86")
FOR_13 = {"cupy-cuda13x": "14.2.0", "cuda-bindings": "13.5.0"} | dict.fromkeys(LIBRARIES_FOR_13, "13.5.37")

needs_cupy = [
    pytest.mark.cuda,
    pytest.mark.skipif(find_spec("cupy") is None or find_spec("numba_cuda") is None, reason="no CuPy and numba-cuda"),
]
needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None or not sys.platform.startswith("linux"), reason="no cc, or not Linux"
)

# The driver functions that the CUDA runtime calls before it looks for a device. Environment variables set the answers.
DRIVER = """
#include <stdlib.h>
#include <string.h>
static int value_of(const char *name) { const char *text = getenv(name); return text ? atoi(text) : 0; }
int cuInit(unsigned flags) { return value_of("DRIVER_INIT"); }
int cuDriverGetVersion(int *version) { *version = value_of("DRIVER_VERSION"); return 0; }
int cuGetProcAddress_v2(const char *name, void **entry, int version, unsigned long long flags, int *status) {
    *entry = NULL;
    if (!strcmp(name, "cuInit")) *entry = cuInit;
    if (!strcmp(name, "cuDriverGetVersion")) *entry = cuDriverGetVersion;
    if (!strcmp(name, "cuGetProcAddress")) *entry = cuGetProcAddress_v2;
    if (status) *status = *entry ? 0 : 1;
    return *entry ? 0 : 500;  /* CUDA_ERROR_NOT_FOUND */
}
int cuGetProcAddress(const char *name, void **entry, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(name, entry, version, flags, NULL);
}
"""
ASK = """
from fastbp.backends.cupy.diagnosis import unavailable_reason
print(unavailable_reason())
"""
# Hides libraries from CuPy and cuda-core; both use cuda.pathfinder to find them.
HIDE = """
import sys
import cuda.pathfinder
find = cuda.pathfinder.load_nvidia_dynamic_lib
def hide(name):
    if name in sys.argv[1:]:
        raise cuda.pathfinder.DynamicLibNotFoundError(f'Failure finding "{name}"')
    return find(name)
cuda.pathfinder.load_nvidia_dynamic_lib = hide
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """The folder of a driver library whose answers are set with environment variables."""
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.c").write_text(DRIVER, encoding="utf-8")
    command = ["cc", "-shared", "-fPIC", "-o", folder / "libcuda.so.1", folder / "driver.c"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return str(folder)


@pytest.fixture
def diagnose(run_python, monkeypatch):
    """Return a function that runs the diagnosis in a new process and returns its message."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def ask(*arguments, source=ASK, **environment):
        finished = run_python(source, *arguments, **environment)
        assert not finished.returncode, finished.stderr
        (line,) = finished.stdout.splitlines()
        return line

    return ask


def cuda_major():
    return 12 if diagnosis._version("cupy-cuda12x") else 13


def driver_is_installed():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


class TestRealCuPy:
    pytestmark = needs_cupy

    @pytest.mark.skipif(driver_is_installed(), reason="a driver is installed")
    def test_no_driver(self, diagnose):
        assert diagnose().startswith("the NVIDIA driver is not installed or does not respond: install version 5")

    @needs_compiler
    def test_an_old_driver(self, diagnose, driver):
        said = diagnose(LD_LIBRARY_PATH=driver, DRIVER_VERSION="11080")
        assert f"it supports CUDA 11.8, but this CuPy needs CUDA {cuda_major()}.0; update the driver to" in said
        assert "fastbp[" not in said  # no extra is for CUDA 11

    @needs_compiler
    @pytest.mark.skipif(find_spec("cupy") is None or cuda_major() == 12, reason="this driver is new enough for CUDA 12")
    def test_a_driver_for_the_other_extra(self, diagnose, driver):
        said = diagnose(LD_LIBRARY_PATH=driver, DRIVER_VERSION="12020")
        assert "it supports CUDA 12.2, but this CuPy needs CUDA 13.0; update the driver to 580 or newer" in said
        assert said.endswith("nvidia-nvvm && pip install 'fastbp[cuda12]'")

    @needs_compiler
    def test_no_device(self, diagnose, driver):
        said = diagnose(LD_LIBRARY_PATH=driver, DRIVER_VERSION="13000", DRIVER_INIT="100")
        assert said.startswith("the NVIDIA driver is installed but finds no GPU: check nvidia-smi -L")

    @needs_compiler
    @pytest.mark.parametrize("value", ["", "-1"])
    def test_every_device_hidden(self, diagnose, driver, value):
        said = diagnose(LD_LIBRARY_PATH=driver, DRIVER_VERSION="13000", DRIVER_INIT="100", CUDA_VISIBLE_DEVICES=value)
        assert said == f"CUDA_VISIBLE_DEVICES is {value!r}, which hides every GPU: unset CUDA_VISIBLE_DEVICES"

    @needs_compiler
    def test_another_error(self, diagnose, driver):
        said = diagnose(LD_LIBRARY_PATH=driver, DRIVER_VERSION="13000", DRIVER_INIT="803")
        assert said.startswith("CUDA reports cudaErrorSystemDriverMismatch: system has unsupported display driver")
        assert "(error 803)" in said

    @pytest.mark.parametrize(
        ("hidden", "message"),
        [
            (["cublas", "cublasLt"], "CuPy is installed without cuBLAS"),
            (["nvrtc"], "CuPy is installed without NVRTC"),
            (["nvvm"], "numba-cuda is installed without NVVM"),
            (["nvJitLink"], "numba-cuda is installed without nvJitLink"),
        ],
    )
    def test_a_missing_library(self, diagnose, hidden, message):
        said = diagnose(*hidden, source=HIDE + ASK)
        assert said.startswith(message)
        assert said.endswith(f": pip install 'fastbp[cuda{cuda_major()}]'")

    def test_out_of_memory(self, monkeypatch):
        import cupy

        pool = SimpleNamespace(free_bytes=lambda: 0, get_limit=lambda: 0)
        monkeypatch.setattr(cupy.cuda.runtime, "memGetInfo", lambda: (GIB, 8 * GIB))
        monkeypatch.setattr(cupy, "get_default_memory_pool", lambda: pool)
        words = r"allocating 3,000,000,000 bytes .*, with 1.0 GiB of 8.0 GiB free on the GPU; reduce mini_batch_size"
        with pytest.raises(DeviceMemoryError, match=words), memory.translate_out_of_memory():
            raise cupy.cuda.memory.OutOfMemoryError(3_000_000_000, 7 * GIB)


@pytest.fixture
def installed(monkeypatch):
    """Return a function that pretends that only these packages for CUDA are installed."""

    def pretend(**versions):
        def version(package):
            try:
                return versions[package]
            except KeyError:
                raise metadata.PackageNotFoundError(package) from None

        monkeypatch.setattr(metadata, "version", version)
        for name, package in (("cupy", "cupy"), ("numba_cuda", "numba-cuda")):
            monkeypatch.setitem(sys.modules, name, None)
            if any(of.startswith(package) for of in versions):
                module(monkeypatch, name)

    return pretend


def module(monkeypatch, name, **contents):
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    made.__path__ = []
    vars(made).update(contents)
    monkeypatch.setitem(sys.modules, name, made)
    return made


class CUDARuntimeError(RuntimeError):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class OutOfMemoryError(MemoryError):
    pass


@pytest.fixture
def machine(monkeypatch, installed):
    """Replace CuPy and the packages it needs by stand-ins on a machine with two GPUs; return the stand-in for CuPy."""
    installed(**FOR_13, **{"numba-cuda": "0.30.4"})
    gpu = {"name": b"NVIDIA H200", "major": 9, "minor": 0}
    runtime = module(
        monkeypatch,
        "cupy.cuda.runtime",
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: 2,
        getDevice=lambda: 1,
        getDeviceProperties=lambda number: gpu,
        memGetInfo=lambda: (GIB, 8 * GIB),
        is_hip=False,
    )
    pool = SimpleNamespace(free_bytes=lambda: GIB // 2, used_bytes=lambda: GIB, get_limit=lambda: 0)
    nvrtc = module(monkeypatch, "cupy.cuda.nvrtc", getVersion=lambda: (13, 5))
    memory = module(monkeypatch, "cupy.cuda.memory", OutOfMemoryError=OutOfMemoryError)
    cuda = module(monkeypatch, "cupy.cuda", runtime=runtime, nvrtc=nvrtc, memory=memory)
    cublas = module(monkeypatch, "cupy.cublas")
    cupy = module(monkeypatch, "cupy", cuda=cuda, cublas=cublas, get_default_memory_pool=lambda: pool, pool=pool)
    pathfinder = module(monkeypatch, "cuda.pathfinder", load_nvidia_dynamic_lib=lambda name: None)
    core = module(monkeypatch, "cuda.core", Linker=None, LinkerOptions=None, ObjectCode=None)
    module(monkeypatch, "cuda", pathfinder=pathfinder, core=core)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cupy.gpu = gpu
    return cupy


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({}, "CuPy is not installed: pip install 'fastbp[cuda13]' (for drivers older than 580: 'fastbp[cuda12]')"),
        (
            FOR_12 | FOR_13,
            "cupy-cuda12x 14.2.0 and cupy-cuda13x 14.2.0 are both installed and overwrite each other's files; keep "
            "one: pip uninstall -y cupy-cuda12x cupy-cuda13x && pip install 'fastbp[cuda13]'",
        ),
        (
            {"cupy-cuda11x": "13.6.0"},
            "CuPy must be built for CUDA 12 or 13, got cupy-cuda11x 13.6.0, which is for CUDA 11: pip uninstall -y ",
        ),
        (FOR_12, "numba-cuda, which compiles the kernels, is not installed: pip install 'fastbp[cuda12]'"),
        (
            {"cupy": "14.2.0"},  # built from source
            "numba-cuda, which compiles the kernels, is not installed: pip uninstall -y cupy && pip install 'fastbp[cu",
        ),
        (
            FOR_13 | {"numba-cuda": "0.30.4", "numpy": "2.5.2"},
            "numba-cuda 0.30.4 needs NumPy 2.4 or older, got 2.5.2: pip install 'numpy<2.5'",
        ),
        (
            FOR_12 | {"numba-cuda": "0.30.4", "cuda-bindings": "13.5.0"},
            "packages for different CUDA versions are installed: cupy-cuda12x 14.2.0 is for CUDA 12, cuda-bindings "
            "13.5.0 for CUDA 13; keep one version: pip uninstall -y cuda-bindings && pip install 'fastbp[cuda12]', or "
            "pip uninstall -y cupy-cuda12x && pip install 'fastbp[cuda13]'",
        ),
        (
            FOR_12 | {"numba-cuda": "0.30.4", "nvidia-nvjitlink": "13.5.37"},
            "packages for different CUDA versions are installed: cupy-cuda12x 14.2.0 is for CUDA 12, nvidia-nvjitlink "
            "13.5.37 for CUDA 13; keep one",
        ),
        (
            {"cupy-cuda13x": "14.2.0", "numba-cuda": "0.30.4", "nvidia-cublas-cu12": "12.9.2.10"},
            "packages for different CUDA versions are installed: cupy-cuda13x 14.2.0 is for CUDA 13, "
            "nvidia-cublas-cu12 12.9.2.10 for CUDA 12; keep",
        ),
    ],
)
def test_packages(installed, versions, message):
    installed(**versions)
    said = diagnosis.unavailable_reason()
    assert said.startswith(message)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({}, "CuPy is not installed: .*, or on an AMD GPU: pip install cupy-rocm-7-0$"),
        (FOR_12 | FOR_13, "cupy-cuda12x 14.2.0 and cupy-cuda13x 14.2.0 are both installed .*; keep one: pip uninstall"),
        (FOR_12 | {"cuda-bindings": "13.5.0"}, "packages for different CUDA versions are installed: .*; keep one"),
    ],
)
def test_packages_for_the_array_expressions_of_cupy(installed, versions, message):
    installed(**versions)
    said = diagnosis.plain_unavailable_reason()
    assert re.match(message, said)
    assert "\n" not in said


def test_the_array_expressions_need_only_cupy(machine, monkeypatch, installed):
    """Without numba-cuda, on an old GPU, or with a CuPy for ROCm, only the compiled kernels cannot be used."""
    machine.gpu.update(major=7, minor=0)
    assert diagnosis.unavailable_reason().startswith("the GPU must have compute capability")
    assert diagnosis.plain_unavailable_reason() is None
    monkeypatch.setattr(metadata, "version", {"cupy-rocm-7-0": "14.2.0", "numpy": "2.5.2"}.get)
    assert diagnosis.unavailable_reason() == (
        "CuPy must be built for CUDA 12 or 13, got cupy-rocm-7-0 14.2.0, for ROCm: use backend='cupy-plain'"
    )
    assert diagnosis.plain_unavailable_reason() is None
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    assert diagnosis.plain_unavailable_reason(1) is None
    assert diagnosis.plain_unavailable_reason(2) == (
        "device cupy-plain:2 does not exist; valid: cupy-plain:0, cupy-plain:1"
    )


def test_an_error_of_rocm(machine):
    def fail():
        raise CUDARuntimeError(100, "hipErrorNoDevice:\nno ROCm-capable device is detected")

    machine.cuda.runtime.getDeviceCount, machine.cuda.runtime.is_hip = fail, True
    assert diagnosis.plain_unavailable_reason() == (
        "ROCm reports hipErrorNoDevice: no ROCm-capable device is detected (error 100): check that rocminfo shows the "
        "GPU, or use backend='numpy'"
    )


@pytest.mark.parametrize("more", [{}, dict.fromkeys(LIBRARIES_FOR_12, "12.9.86")])
def test_libraries_for_cuda_12_beside_those_for_13_are_no_problem(machine, monkeypatch, more):
    monkeypatch.setattr(metadata, "version", (FOR_13 | more | {"numpy": "2.4.6"}).get)
    assert diagnosis.unavailable_reason() is None


def test_nothing_is_missing(machine):
    assert [diagnosis.unavailable_reason(device) for device in (None, 0, 1)] == [None] * 3


def test_a_cupy_that_does_not_load(machine, monkeypatch):
    monkeypatch.delattr(machine.cuda, "nvrtc")
    monkeypatch.setitem(sys.modules, "cupy.cuda.nvrtc", None)
    assert diagnosis.unavailable_reason().startswith("CuPy cannot be imported (import of cupy.cuda.nvrtc halted")


def test_a_cuda_core_without_a_linker(machine):
    del sys.modules["cuda.core"].Linker
    said = diagnosis.unavailable_reason()
    assert said.startswith("cuda-core is too old or cannot be imported (cannot import name 'Linker'")
    assert said.endswith(": pip install 'fastbp[cuda13]'")


@pytest.mark.parametrize("device", [2, 3, -1])
def test_a_device_that_does_not_exist(machine, monkeypatch, device):
    said = f"device cupy:{device} does not exist; valid: cupy:0, cupy:1"
    assert diagnosis.unavailable_reason(device) == said
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert diagnosis.unavailable_reason(device) == said + " (CUDA_VISIBLE_DEVICES is '4,5')"


@pytest.mark.parametrize(("capability", "usable"), [((7, 0), False), ((7, 5), True), ((8, 0), True), ((12, 0), True)])
def test_gpus_older_than_turing(machine, capability, usable):
    machine.gpu.update(name=b"NVIDIA TITAN V", major=capability[0], minor=capability[1])
    said = diagnosis.unavailable_reason()
    assert (said is None) == usable
    if not usable:
        assert said.startswith("the GPU must have compute capability 7.5 (Turing) or newer, got 7.0 (NVIDIA TITAN V)")


def test_no_device_without_an_error(machine):
    machine.cuda.runtime.getDeviceCount = lambda: 0
    assert "finds no GPU" in diagnosis.unavailable_reason()


def test_an_error_of_the_device(machine):
    def fail(number):
        raise CUDARuntimeError(999, "cudaErrorUnknown:\nunknown error")

    machine.cuda.runtime.getDeviceProperties = fail
    assert diagnosis.unavailable_reason().startswith(
        "CUDA reports cudaErrorUnknown: unknown error (error 999): check that"
    )


def test_data_that_fit_and_data_that_do_not(machine):
    memory.check_fits("x", GIB + GIB // 2)  # the driver's free GiB, and what the pool keeps for reuse
    message = "x needs 1.6 GiB on the GPU, but only 1.5 GiB of 8.0 GiB are free; use fewer examples at a time, data of"
    with pytest.raises(DeviceMemoryError, match=message):
        memory.check_fits("x", GIB + GIB // 2 + GIB // 10)


def test_the_limit_of_the_pool_applies(machine):
    machine.pool.get_limit = lambda: GIB + GIB // 4  # 1 GiB of this is used
    memory.check_fits("x", GIB // 4)
    with pytest.raises(DeviceMemoryError, match=r"256.0 MiB of 1.2 GiB are free"):
        memory.check_fits("x", GIB // 4 + 1)


def test_out_of_memory_is_reported_with_figures(machine):
    said = r"with 1.5 GiB of 8.0 GiB free on the GPU; reduce mini_batch_size"
    with pytest.raises(fastbp.InputError, match=said) as caught, memory.translate_out_of_memory():
        raise OutOfMemoryError("Out of memory allocating 3,000,000,000 bytes (allocated so far: 1 bytes).")
    assert isinstance(caught.value, MemoryError)
    assert "\n" not in str(caught.value)
    with pytest.raises(ZeroDivisionError), memory.translate_out_of_memory():
        raise ZeroDivisionError
    with memory.translate_out_of_memory():
        pass


class CUBLASError(RuntimeError):
    def __init__(self, status):
        super().__init__(f"CUBLAS_STATUS_{status}")
        self.status = status


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (CUDARuntimeError(2, "cudaErrorMemoryAllocation: out of memory"), "CUDA could not allocate memory for its own"),
        (CUBLASError(1), r"cuBLAS could not allocate memory for its own use \(CUBLAS_STATUS_1\)"),
        (CUBLASError(3), r"cuBLAS could not allocate memory for its own use \(CUBLAS_STATUS_3\)"),
    ],
)
def test_memory_that_cuda_and_cublas_cannot_allocate(machine, error, what):
    said = f"^{what}.*, with 1.5 GiB of 8.0 GiB free on the GPU; reduce"
    with pytest.raises(DeviceMemoryError, match=said), memory.translate_out_of_memory():
        raise error


@pytest.mark.parametrize("error", [CUDARuntimeError(700, "an illegal address"), CUBLASError(13), RuntimeError("x")])
def test_other_errors_of_cuda_are_unchanged(machine, error):
    with pytest.raises(type(error)) as caught, memory.translate_out_of_memory():
        raise error
    assert caught.value is error


def test_cuda_packages_are_imported_only_when_needed(run_python):
    source = (
        "import sys, fastbp.backends.cupy.diagnosis, fastbp.backends.cupy.memory\n"
        "print({'cupy', 'cuda.core', 'cuda.pathfinder'} & set(sys.modules))"
    )
    assert run_python(source).stdout == "set()\n"


def test_the_extras_named_in_messages_exist():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    for major in diagnosis.LEAST_DRIVER:
        assert [name for name in extras[f"cuda{major}"] if name.startswith(f"cupy-cuda{major}x[ctk]")]
        assert [name for name in extras[f"cuda{major}"] if name.startswith(f"numba-cuda[cu{major}]")]
