"""Whether the CUDA backend can be used here and, if not, what is missing and the command that mends it.

Nothing of CUDA is imported before it is asked for: `import cupy` takes a quarter of a second.
"""

import os
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from fastbp.errors import brief

INSTALL = "pip install 'fastbp[cuda13]' (for drivers before 580: 'fastbp[cuda12]')"
LEAST_DRIVER = {12: "525", 13: "580"}  # docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
LEAST_CAPABILITY = (7, 5)  # Turing: what the kernels are compiled for, and the oldest that CUDA 13 knows

_MAJORS = {"cupy-cuda12x": 12, "cupy-cuda13x": 13}
_CUPYS = ("cupy", "cupy-cuda11x", *_MAJORS)
# The wheels of CUDA 13's libraries, and of CUDA 12's: where both are installed, the former are loaded.
_LIBRARIES = {
    "nvidia-cublas": "nvidia-cublas-cu12",
    "nvidia-cuda-nvrtc": "nvidia-cuda-nvrtc-cu12",
    "nvidia-nvjitlink": "nvidia-nvjitlink-cu12",
    "nvidia-nvvm": "nvidia-cuda-nvcc-cu12",
}
_INSUFFICIENT_DRIVER, _NO_DEVICE = 35, 100  # cudaError_t


def unavailable_reason(device: int | None = None) -> str | None:
    """Return None where the CUDA backend can be used on a device, or on the current one; else why not, and the remedy.

    The answer is one line: what was found, and what to do about it. Looked at in this order: the packages that are
    installed, whether they find their libraries, the driver, the device.

    >>> isinstance(unavailable_reason(1000), str)
    True
    """
    return _of_packages() or _of_libraries() or _of_driver_and_device(device)


def _of_packages() -> str | None:
    cupys = [name for name in _CUPYS if _version(name)]
    if len(cupys) > 1:
        return (
            f"{' and '.join(map(_with_version, cupys))} are installed over each other; keep one: "
            f"pip uninstall -y {' '.join(cupys)} && {INSTALL}"
        )
    if find_spec("cupy") is None:
        return f"CuPy is not installed: {INSTALL}"
    if cupys == ["cupy-cuda11x"]:
        return f"{_with_version(*cupys)} is of CUDA 11; wanted is 12 or 13: pip uninstall -y cupy-cuda11x && {INSTALL}"
    if find_spec("numba_cuda") is None:
        return f"numba-cuda is not installed, which compiles the kernels: {_install()}"
    # CuPy built at home, or conda's, has no CUDA in its name, and its libraries do not come as wheels.
    return next((_mixed(name, major) for name, major in _MAJORS.items() if name in cupys), None)


def _mixed(cupy: str, major: int) -> str | None:
    """Say which packages are of another CUDA than CuPy is."""
    bindings = _version("cuda-bindings")
    strangers = ["cuda-bindings"] if bindings and int(bindings.partition(".")[0]) != major else []
    for of_13, of_12 in _LIBRARIES.items():
        loaded = [name for name in (of_13, of_12) if _version(name)][:1]
        strangers += [name for name in loaded if (13 if name == of_13 else 12) != major]
    if not strangers:
        return None
    other = 25 - major
    return (
        f"CUDA majors are mixed: {_with_version(cupy)} is of CUDA {major}, "
        f"{', '.join(map(_with_version, strangers))} of CUDA {other}; keep one major: "
        f"pip uninstall -y {' '.join(strangers)} && pip install 'fastbp[cuda{major}]', "
        f"or pip uninstall -y {cupy} && pip install 'fastbp[cuda{other}]'"
    )


def _of_libraries() -> str | None:
    """Say which library of CUDA is not found, by having each loaded."""
    reason = "CuPy cannot be imported"
    try:
        from cupy.cuda import nvrtc

        reason = "CuPy is installed without cuBLAS"
        import cupy.cublas  # noqa: F401  # fails without libcublas

        reason = "CuPy is installed without NVRTC"
        nvrtc.getVersion()
        reason = "cuda-core is too old or cannot be imported"
        from cuda.core import Linker, LinkerOptions, ObjectCode  # noqa: F401
        from cuda.pathfinder import load_nvidia_dynamic_lib

        for library, name in (("nvvm", "NVVM"), ("nvJitLink", "nvJitLink")):
            reason = f"numba-cuda is installed without {name}"
            load_nvidia_dynamic_lib(library)
    except (ImportError, RuntimeError, OSError) as error:
        return f"{reason} ({_one_line(error)}): {_install()}"
    return None


def _of_driver_and_device(device: int | None) -> str | None:
    from cupy.cuda import runtime

    try:
        count = runtime.getDeviceCount()
        if count == 0:
            return _no_device()
        number = runtime.getDevice() if device is None else device
        if number not in range(count):
            valid = ", ".join(f"cupy:{i}" for i in range(count))
            return f"there is no device cupy:{number}; valid: {valid}{_visible()}"
        return _too_old(runtime.getDeviceProperties(number))
    except runtime.CUDARuntimeError as error:
        if error.status == _INSUFFICIENT_DRIVER:
            return _driver(runtime.driverGetVersion(), runtime.runtimeGetVersion())
        if error.status == _NO_DEVICE:
            return _no_device()
        return (
            f"CUDA answers {_one_line(error)} (error {error.status}): see whether nvidia-smi answers, and after an "
            "update of the driver restart the machine"
        )


def _driver(version: int, runtime: int) -> str:
    major = runtime // 1000
    least = LEAST_DRIVER.get(major, "the newest")
    if version == 0:
        return (
            f"no NVIDIA driver answers: install {least} or newer from https://www.nvidia.com/drivers (in a container: "
            "docker run --gpus all), until nvidia-smi shows the GPU"
        )
    older = ""
    if version >= 12000 and major > 12:
        of_13 = " ".join(name for name in (*_CUPYS, *_LIBRARIES) if _version(name))
        older = f", or take CUDA 12: pip uninstall -y {of_13} && pip install 'fastbp[cuda12]'"
    return (
        f"the NVIDIA driver is too old: it offers CUDA {_dotted(version)}, and this CuPy needs CUDA {major}.0; "
        f"update the driver to {least} or newer from https://www.nvidia.com/drivers{older}"
    )


def _no_device() -> str:
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return (
            f"CUDA_VISIBLE_DEVICES is {brief(os.environ['CUDA_VISIBLE_DEVICES'])}, which hides every GPU: "
            "unset CUDA_VISIBLE_DEVICES"
        )
    return (
        "the NVIDIA driver is installed and finds no GPU: see nvidia-smi -L (in a container: docker run --gpus all), "
        "or use backend='numpy'"
    )


def _visible() -> str:
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if value is None else f" (CUDA_VISIBLE_DEVICES is {brief(value)})"


def _too_old(properties: dict[str, Any]) -> str | None:
    capability = (properties["major"], properties["minor"])
    if capability >= LEAST_CAPABILITY:
        return None
    return (
        f"{properties['name'].decode()} has compute capability {capability[0]}.{capability[1]}; wanted is 7.5 (Turing) "
        "or newer: use backend='numpy'"
    )


def _install() -> str:
    """Return the command that completes what is installed, without a second CuPy beside the first."""
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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
