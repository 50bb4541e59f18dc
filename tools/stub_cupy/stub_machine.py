"""Run a program on a machine with two GPUs that are functions of `driver.c`: `python stub_machine.py MODULE …`.

CuPy must be built without CUDA (`CUPY_INSTALL_USE_STUB=1`). Then each of its modules has functions of the CUDA runtime
and of cuBLAS that do nothing. Those of `driver.c`, whose library is loaded first, take their place. The driver's
functions are found by `SoftLink`, the class through which CuPy opens libraries. NVRTC is NVIDIA's, and compiles CuPy's
own kernels to PTX. The interpreter of `tests/ptx` executes the kernels.
"""

import atexit
import ctypes
import os
import runpy
import struct
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PINNED, NOWHERE = -1, -2  # in place of the number of a device: memory of the host that is pinned, and any other


class Machine:
    """Two GPUs. `errors` are those of kernels, and `launches` counts executed kernels by their names."""

    def __init__(self, library: Path) -> None:
        ctypes.CDLL(str(library.with_name("libcublasLt.so.13")))
        self.driver = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        self.driver.stand_in_faults.restype = self.driver.stand_in_log.restype = ctypes.c_char_p
        self.errors: list[str] = []
        self.launches: Counter[str] = Counter()
        self.ptx_of_cubin: dict[bytes, str] = {}
        self._modules: list[str] = []
        self._functions: list[tuple[str, str, list[int]]] = []  # name, PTX, and the sizes of the parameters
        integer, pointer = ctypes.c_int, ctypes.c_void_p
        self._callbacks = (
            ctypes.CFUNCTYPE(integer, pointer)(self._load),
            ctypes.CFUNCTYPE(integer, integer, ctypes.c_char_p, ctypes.POINTER(integer))(self._describe),
            ctypes.CFUNCTYPE(integer, integer, ctypes.POINTER(ctypes.c_uint), ctypes.POINTER(pointer))(self._execute),
        )
        self.driver.stand_in_callbacks(*self._callbacks)

    def faults(self) -> list[str]:
        """Return the uses of a device, or of its memory, while another one was current."""
        return self.driver.stand_in_faults().decode().splitlines()

    def log(self) -> list[tuple[str, int, int]]:
        """Return the uses of devices: the function, the device, and the device that was current."""
        lines = (line.split() for line in self.driver.stand_in_log().decode().splitlines())
        return [(name, int(device), int(current)) for name, device, current in lines]

    def forget(self) -> None:
        """Empty the log and the list of faults."""
        self.driver.stand_in_forget()

    def compute(self, value: bool) -> None:
        """Choose whether launches, products and copies are done. Otherwise they cost nothing, and are not logged."""
        self.driver.stand_in_computes(int(value))

    def _load(self, image: int) -> int:
        try:
            self._modules.append(self._ptx(image))
        except Exception:
            self._note_error()
            return -1
        return len(self._modules) - 1

    def _ptx(self, image: int) -> str:
        if ctypes.string_at(image, 4) != b"\x7fELF":
            return ctypes.string_at(image).decode()
        header = ctypes.string_at(image, 64)
        (programs, sections), (program, programs_count, section, sections_count) = (
            struct.unpack_from("<QQ", header, 32),
            struct.unpack_from("<HHHH", header, 54),
        )
        size = max(programs + program * programs_count, sections + section * sections_count)
        return self.ptx_of_cubin[ctypes.string_at(image, size)]

    def _describe(self, module: int, name: bytes, sizes) -> int:
        from ptx import parameter_sizes

        try:
            ptx = self._modules[module]
            found = parameter_sizes(ptx)
        except Exception:
            self._note_error()
            self._functions.append((name.decode(), "", []))
            return -1
        self._functions.append((name.decode(), ptx, found))
        for i, size in enumerate(found):
            sizes[i] = size
        return len(found)

    def _execute(self, function: int, geometry, parameters) -> int:
        from ptx import run_at_addresses

        name, ptx, sizes = self._functions[function]
        try:
            packed = [ctypes.string_at(parameters[i], size) for i, size in enumerate(sizes)]
            run_at_addresses(ptx, tuple(geometry[:3]), tuple(geometry[3:6]), packed, self._reachable, geometry[6])
            self.launches[name] += 1
        except Exception:
            self._note_error(name)
            return 1
        return 0

    def block(self, address: int) -> tuple[int, int, int]:
        """Return the first address, the size and the device of the block of memory that has an address.

        The device is `PINNED` for pinned memory, and `NOWHERE` for memory that the driver has not allocated.
        """
        start, size = ctypes.c_size_t(), ctypes.c_size_t()
        device = self.driver.stand_in_block(ctypes.c_size_t(address), ctypes.byref(start), ctypes.byref(size))
        return start.value, size.value, device

    def _reachable(self, address: int) -> tuple[int, int]:
        from ptx import PTXError

        start, size, device = self.block(address)
        current = ctypes.c_int()
        self.driver.cudaGetDevice(ctypes.byref(current))
        if device != current.value:
            raise PTXError(f"device {current.value} reaches address {address:#x}, which is on device {device}")
        return start, size

    def _note_error(self, kernel: str = "") -> None:
        self.errors.append(f"{kernel}: {traceback.format_exc(limit=3)}")
        print(self.errors[-1], file=sys.stderr)


def install() -> Machine:
    """Put the machine behind CuPy, which must not have been imported; return it."""
    assert "cupy" not in sys.modules
    os.environ["CUPY_COMPILE_WITH_PTX"], os.environ["CUPY_ACCELERATORS"] = (
        "1",
        "",
    )  # without CUB, which is compiled code
    cache = tempfile.TemporaryDirectory()
    atexit.register(cache.cleanup)
    os.environ.setdefault("CUPY_CACHE_DIR", cache.name)
    machine = Machine(Path(os.environ["FASTBP_STUB_LIBRARY"]))
    _replace_soft_links(os.environ["FASTBP_STUB_LIBRARY"])
    _keep_ptx_of_cubins(machine)
    _complete_runtime(machine)
    return machine


def _replace_soft_links(library: str) -> None:
    from cuda.pathfinder import load_nvidia_dynamic_lib
    from cupy_backends.cuda import _softlink

    class SoftLink(_softlink.SoftLink):
        __slots__ = ()
        __pyx_vtable__ = vars(_softlink.SoftLink)["__pyx_vtable__"]

        def __init__(self, libname, prefix, *, mandatory=False, handle=0):
            found = load_nvidia_dynamic_lib("nvrtc").abs_path if prefix == "nvrtc" else library
            super().__init__(found, prefix, mandatory=mandatory)

    _softlink.SoftLink = SoftLink


def _keep_ptx_of_cubins(machine: Machine) -> None:
    from fastbp_kernels.cuda.compilation import Kernel

    linked = Kernel.linked

    def remembered(self, architecture):
        cubin = linked(self, architecture)
        machine.ptx_of_cubin[cubin] = self.ptx
        return cubin

    Kernel.linked = remembered


def _complete_runtime(machine: Machine) -> None:
    """Replace three functions of CuPy's runtime module, which raise errors or return nothing if CuPy has no CUDA."""
    from cupy_backends.cuda.api import runtime

    properties = {"name": b"a stand-in", "major": 9, "minor": 0, "totalGlobalMem": 8 * 2**30, "warpSize": 32}
    on_host, on_device = runtime.memoryTypeHost, runtime.memoryTypeDevice

    def device_properties(device):
        return properties | {"pciBusID": device}

    def attributes(address):
        device = machine.block(address)[2]
        there, here = (address, 0) if device >= 0 else (0, address)
        return runtime.PointerAttributes(max(device, 0), there, here, memory_type(address))

    def memory_type(address):
        device = machine.block(address)[2]
        return on_device if device >= 0 else on_host if device == PINNED else runtime.memoryTypeUnregistered

    address, integer, any_object = ctypes.c_ssize_t, ctypes.c_int, ctypes.py_object
    _replace(runtime, "getDeviceProperties", device_properties, any_object, integer)
    _replace(runtime, "pointerGetAttributes", attributes, any_object, address)
    _replace(runtime, "pointerGetMemoryType", memory_type, integer, address)


def _replace(module, name: str, function, result, argument) -> None:
    """Replace a function of a Cython module for Python, and for Cython modules that are imported afterwards."""
    capsules, api = vars(module)["__pyx_capi__"], ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_void_p, [ctypes.py_object]
    api.PyCapsule_New.restype = ctypes.py_object
    signature = api.PyCapsule_GetName(capsules[name])
    compiled = ctypes.PYFUNCTYPE(result, argument, ctypes.c_int)(lambda value, _: function(value))
    _KEPT.append((capsules[name], compiled))
    capsules[name] = api.PyCapsule_New(ctypes.cast(compiled, ctypes.c_void_p), ctypes.c_void_p(signature), None)
    setattr(module, name, function)


_KEPT: list = []  # what C code refers to


def main() -> int:
    """Run the module that the command names. Return its exit code, or 1 after a fault or an error of a kernel."""
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code
    from stub_checks import finish

    finish()
    kernels = ", ".join(f"{name} {count}" for name, count in MACHINE.launches.most_common())
    print(f"{MACHINE.launches.total()} kernels were executed: {kernels}")
    found = [*MACHINE.errors, *MACHINE.faults()]
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return int(bool(code or found))


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / folder) for folder in ("tests", "kernels", ".")]
    sys.modules["stub_machine"] = sys.modules["__main__"]
    MACHINE = install()
    sys.argv = sys.argv[1:]
    sys.exit(main())
