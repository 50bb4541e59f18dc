"""Find out whether the CUDA backend can be used and, if not, what is missing and which command fixes it.

CuPy is imported only when `unavailable_reason` is called, because `import cupy` takes a quarter of a second.
"""

import os
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from fastbp.errors import brief, one_line

INSTALL = "pip install 'fastbp[cuda13]' (for drivers older than 580: 'fastbp[cuda12]')"
LEAST_DRIVER = {12: "525", 13: "580"}  # docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
LEAST_CAPABILITY = (7, 5)  # Turing: the kernels are compiled for it, and it is the oldest that CUDA 13 supports

_MAJORS = {"cupy-cuda12x": 12, "cupy-cuda13x": 13}
_ROCM = ("cupy-rocm-7-0", "cupy-rocm-5-0", "cupy-rocm-4-3")
_CUPY_PACKAGES = ("cupy", "cupy-cuda11x", *_MAJORS, *_ROCM)
# Maps the packages of the libraries for CUDA 13 to those for CUDA 12. If both are installed, those for 13 are loaded.
_LIBRARIES = {
    "nvidia-cublas": "nvidia-cublas-cu12",
    "nvidia-cuda-nvrtc": "nvidia-cuda-nvrtc-cu12",
    "nvidia-nvjitlink": "nvidia-nvjitlink-cu12",
    "nvidia-nvvm": "nvidia-cuda-nvcc-cu12",
}
_FIRST_NUMPY_TOO_NEW = (2, 5)  # it has no numpy.row_stack, which numba-cuda 0.30.4 uses when it is imported
_INSUFFICIENT_DRIVER, _NO_DEVICE = 35, 100  # cudaError_t


def unavailable_reason(device: int | None = None) -> str | None:
    """Return the reason why the CUDA backend cannot be used on a device, or None if it can.

    The default is the current device. The reason is one line that says what is wrong and how to fix it. The
    function checks the installed packages first, then their shared libraries, the driver and the device.

    >>> isinstance(unavailable_reason(1000), str)
    True
    """
    packages = _cupy_problem(INSTALL) or _compiler_problem() or _mixed_versions()
    return packages or _cupy_library_problem() or _compiler_library_problem() or _driver_or_device_problem(device)


def plain_unavailable_reason(device: int | None = None) -> str | None:
    """Return the reason why the backend "cupy-plain" cannot be used on a device, or None if it can.

    This backend needs only CuPy and a GPU. The default is the current device.

    >>> isinstance(plain_unavailable_reason(1000), str)
    True
    """
    packages = _cupy_problem(f"{INSTALL}, or on an AMD GPU: pip install {_ROCM[0]}") or _mixed_versions()
    return packages or _cupy_library_problem() or _driver_or_device_problem(device, "cupy-plain")


def _cupy_problem(install: str) -> str | None:
    cupys = [name for name in _CUPY_PACKAGES if _version(name)]
    if len(cupys) > 1:
        return (
            f"{' and '.join(map(_with_version, cupys))} are both installed and overwrite each other's files; keep one: "
            f"pip uninstall -y {' '.join(cupys)} && {INSTALL}"
        )
    if find_spec("cupy") is None:
        return f"CuPy is not installed: {install}"
    return None


def _compiler_problem() -> str | None:
    if _version("cupy-cuda11x"):
        return (
            f"CuPy must be built for CUDA 12 or 13, got {_with_version('cupy-cuda11x')}, which is for CUDA 11: "
            f"pip uninstall -y cupy-cuda11x && {INSTALL}"
        )
    for name in filter(_version, _ROCM):
        return f"CuPy must be built for CUDA 12 or 13, got {_with_version(name)}, for ROCm: use backend='cupy-plain'"
    if find_spec("numba_cuda") is None:
        return f"numba-cuda, which compiles the kernels, is not installed: {_install()}, or use 'cupy-plain'"
    if (numpy := _version("numpy")) and tuple(map(int, numpy.split(".")[:2])) >= _FIRST_NUMPY_TOO_NEW:
        return f"{_with_version('numba-cuda')} needs NumPy 2.4 or older, got {numpy}: pip install 'numpy<2.5'"
    return None


def _mixed_versions() -> str | None:
    """Return a message if packages for another CUDA version than CuPy's are installed, otherwise None."""
    # A CuPy built from source, or from conda, is not checked further: the name of its package does not contain the CUDA
    # version, and its libraries are not installed as wheels.
    return next((_other_versions(name, major) for name, major in _MAJORS.items() if _version(name)), None)


def _other_versions(cupy: str, major: int) -> str | None:
    bindings = _version("cuda-bindings")
    others = ["cuda-bindings"] if bindings and int(bindings.partition(".")[0]) != major else []
    for for_13, for_12 in _LIBRARIES.items():
        loaded = [name for name in (for_13, for_12) if _version(name)][:1]
        others += [name for name in loaded if (13 if name == for_13 else 12) != major]
    if not others:
        return None
    other = 25 - major
    return (
        f"packages for different CUDA versions are installed: {_with_version(cupy)} is for CUDA {major}, "
        f"{', '.join(map(_with_version, others))} for CUDA {other}; keep one version: "
        f"pip uninstall -y {' '.join(others)} && pip install 'fastbp[cuda{major}]', "
        f"or pip uninstall -y {cupy} && pip install 'fastbp[cuda{other}]'"
    )


def _cupy_library_problem() -> str | None:
    """Load CuPy's libraries. Return a message about the first library that cannot be loaded, or None."""
    reason = "CuPy cannot be imported"
    try:
        from cupy.cuda import nvrtc

        reason = "CuPy is installed without cuBLAS"
        import cupy.cublas  # noqa: F401  # fails without libcublas

        reason = "CuPy is installed without NVRTC"
        nvrtc.getVersion()
    except (ImportError, RuntimeError, OSError) as error:
        return f"{reason} ({one_line(error)}): {_install()}"
    return None


def _compiler_library_problem() -> str | None:
    """Load the libraries of the compilers. Return a message about the first that cannot be loaded, or None."""
    reason = "cuda-core is too old or cannot be imported"
    try:
        from cuda.core import Linker, LinkerOptions, ObjectCode  # noqa: F401
        from cuda.pathfinder import load_nvidia_dynamic_lib

        for library, name in (("nvvm", "NVVM"), ("nvJitLink", "nvJitLink")):
            reason = f"numba-cuda is installed without {name}"
            load_nvidia_dynamic_lib(library)
    except (ImportError, RuntimeError, OSError) as error:
        return f"{reason} ({one_line(error)}): {_install()}"
    return None


def _driver_or_device_problem(device: int | None, backend: str = "cupy") -> str | None:
    from cupy.cuda import runtime

    try:
        count = runtime.getDeviceCount()
        if count == 0:
            return _no_device()
        number = runtime.getDevice() if device is None else device
        if number not in range(count):
            valid = ", ".join(f"{backend}:{i}" for i in range(count))
            return f"device {backend}:{number} does not exist; valid: {valid}{_visible_devices()}"
        return _gpu_too_old(runtime.getDeviceProperties(number)) if backend == "cupy" else None
    except runtime.CUDARuntimeError as error:
        if runtime.is_hip:
            reported = f"ROCm reports {one_line(error)} (error {error.status})"
            return f"{reported}: check that rocminfo shows the GPU, or use backend='numpy'"
        if error.status == _INSUFFICIENT_DRIVER:
            return _driver_too_old(runtime.driverGetVersion(), runtime.runtimeGetVersion())
        if error.status == _NO_DEVICE:
            return _no_device()
        return (
            f"CUDA reports {one_line(error)} (error {error.status}): check that nvidia-smi works; if the driver has "
            "been updated, restart the machine"
        )


def _driver_too_old(version: int, runtime: int) -> str:
    major = runtime // 1000
    least = LEAST_DRIVER.get(major, LEAST_DRIVER[13])
    if version == 0:
        return (
            f"the NVIDIA driver is not installed or does not respond: install version {least} or newer from "
            "https://www.nvidia.com/drivers (in a container: docker run --gpus all), and check that nvidia-smi shows "
            "the GPU"
        )
    older = ""
    if version >= 12000 and major > 12:
        for_13 = " ".join(name for name in (*_CUPY_PACKAGES, *_LIBRARIES) if _version(name))
        older = f", or use CUDA 12: pip uninstall -y {for_13} && pip install 'fastbp[cuda12]'"
    return (
        f"the NVIDIA driver is too old: it supports CUDA {_dotted(version)}, but this CuPy needs CUDA {major}.0; "
        f"update the driver to {least} or newer from https://www.nvidia.com/drivers{older}"
    )


def _no_device() -> str:
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return (
            f"CUDA_VISIBLE_DEVICES is {brief(os.environ['CUDA_VISIBLE_DEVICES'])}, which hides every GPU: "
            "unset CUDA_VISIBLE_DEVICES"
        )
    return (
        "the NVIDIA driver is installed but finds no GPU: check nvidia-smi -L (in a container: docker run --gpus all), "
        "or use backend='numpy'"
    )


def _visible_devices() -> str:
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if value is None else f" (CUDA_VISIBLE_DEVICES is {brief(value)})"


def _gpu_too_old(properties: dict[str, Any]) -> str | None:
    capability = (properties["major"], properties["minor"])
    if capability >= LEAST_CAPABILITY:
        return None
    return (
        f"the GPU must have compute capability 7.5 (Turing) or newer, got {capability[0]}.{capability[1]} "
        f"({properties['name'].decode()}); use backend='numpy'"
    )


def _install() -> str:
    """Return the command that installs what is missing, without installing a second CuPy package."""
    for name, major in _MAJORS.items():
        if _version(name):
            return f"pip install 'fastbp[cuda{major}]'"
    return f"pip uninstall -y cupy && {INSTALL}" if _version("cupy") else INSTALL


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _with_version(package: str) -> str:
    return f"{package} {_version(package)}"


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
