"""Choose the BLAS library for compiled code. Find its file, and find out whether its number of threads can be set.

Compiled code calls the BLAS that SciPy is linked to. Which BLAS this is depends on where SciPy comes from. SciPy's
wheels contain OpenBLAS, except that the wheels for recent macOS use Accelerate. Conda's packages call OpenBLAS, MKL or
BLIS through `libblas.so.3`. The function `dladdr` of the dynamic linker tells which file contains SciPy's matrix
product. Windows has no such function. There the file is guessed.
"""

import contextlib
import ctypes
import os
import sys
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any, NamedTuple

import scipy

from fastbp_kernels.numba_private import load_library

CHOICES = ("scipy", "mkl")
_CYTHON_BLAS = "scipy.linalg.cython_blas"
VARIABLE = "FASTBP_BLAS"
# Names of the matrix product in SciPy's wheels, in Fortran and in Accelerate.
_PRODUCTS = ("scipy_dgemm_", "dgemm_", "dgemm$NEWLAPACK", "dgemm")


class NoBLASError(ValueError):
    """The environment asks for a BLAS that is unknown or not installed. The message is one line."""


def chosen() -> str:
    """Return the name of the BLAS chosen in the environment. Raise `NoBLASError` if this BLAS cannot be used.

    The name is one of `CHOICES`.

    >>> chosen() in CHOICES
    True
    """
    name = os.environ.get(VARIABLE) or "scipy"
    if name not in CHOICES:
        raise NoBLASError(f"{VARIABLE} must be {' or '.join(CHOICES)}, got {name!r}")
    if name == "mkl":
        _load_mkl()
    return name


class Library(NamedTuple):
    """A BLAS library. `path` is its file, and `controller` is threadpoolctl's controller of its threads.

    `path` is "" if the file is unknown. `controller` is None if threadpoolctl does not know the library.
    """

    path: str
    controller: Any

    def describe(self) -> str:
        """Return a text with the name and version of the library and the kind of its threads.

        >>> Library("/System/Accelerate.framework/libBLAS.dylib", None).describe()
        'Accelerate, whose number of threads cannot be set'
        """
        if self.controller is None:
            return f"{self.name()}, whose number of threads cannot be set"
        layer = getattr(self.controller, "threading_layer", None)
        return f"{self.name()} {self.controller.version}" + (f", threads by {layer}" if layer else "")

    def name(self) -> str:
        """Return the name of the library."""
        if self.controller is not None:
            return str(self.controller.internal_api)
        if "Accelerate.framework" in self.path or "vecLib.framework" in self.path:
            return "Accelerate"
        return os.path.basename(self.path) or "an unknown BLAS"


@cache
def library(choice: str) -> Library:
    """Return the library for a choice, "scipy" or "mkl". For "mkl", MKL must have been loaded (by `chosen`)."""
    from threadpoolctl import ThreadpoolController

    extension = cython_blas().__file__  # loads SciPy's BLAS; only loaded libraries are found
    controllers = [found for found in ThreadpoolController().lib_controllers if found.user_api == "blas"]
    if choice == "mkl":
        return _by_name("mkl", controllers) or Library("", None)
    return identify(file_of_product(extension), controllers, folder=Path(extension).parents[1])


@cache
def cython_blas() -> Any:
    """Return the module `scipy.linalg.cython_blas`, without importing the rest of `scipy.linalg`.

    The module needs 5 ms to load, and the package `scipy.linalg` 180 ms.
    """
    if loaded := sys.modules.get(_CYTHON_BLAS):
        return loaded
    spec = PathFinder.find_spec("cython_blas", [os.path.join(scipy.__path__[0], "linalg")])
    if spec is None or spec.loader is None:
        from scipy.linalg import cython_blas

        return cython_blas
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    # Cython has added the module to `sys.modules`. A later import of `scipy.linalg` must find its submodules by itself.
    sys.modules.pop(_CYTHON_BLAS, None)
    return module


def product_address(name: str) -> int:
    """Return the address of SciPy's matrix product, a function in C. `name` is "sgemm" or "dgemm".

    Its 13 arguments are addresses: (opA, opB, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc).
    """
    capsule = cython_blas().__pyx_capi__[name]
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    signature = ctypes.pythonapi.PyCapsule_GetName
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature.restype, signature.argtypes = ctypes.c_char_p, [ctypes.py_object]
    return pointer(capsule, signature(capsule))  # type: ignore[no-any-return]


def identify(path: str, controllers: list[Any], folder: Path) -> Library:
    """Return the library at a path. If the path is "", return the library that SciPy most likely uses.

    `controllers` are all BLAS libraries found by threadpoolctl. `folder` is the folder of SciPy.
    """
    for found in controllers:
        if path and os.path.realpath(found.filepath) == os.path.realpath(path):
            return Library(path, found)
    if path:  # MKL has several files, and the controller's file may be another one
        return (_by_name("mkl", controllers) if "mkl" in os.path.basename(path) else None) or Library(path, None)
    beside = os.path.realpath(folder.with_name("scipy.libs"))
    own = [found for found in controllers if os.path.dirname(os.path.realpath(found.filepath)) == beside]
    likely = own or controllers
    return Library(likely[0].filepath, likely[0]) if len(likely) == 1 else Library("", None)


def file_of_product(extension: str) -> str:
    """Return the file of the BLAS that an extension module calls, or "" if the system cannot tell.

    `extension` is the path of the extension module.
    """
    if sys.platform == "win32":
        return ""
    calling, process = ctypes.CDLL(extension), ctypes.CDLL(None)
    dladdr = getattr(process, "dladdr", None)
    for name in _PRODUCTS:
        product = getattr(calling, name, None)  # searches the module and the libraries it is linked to
        if product is not None and dladdr is not None:
            info = _AddressInfo()
            if dladdr(ctypes.cast(product, ctypes.c_void_p), ctypes.byref(info)) and info.file:
                return os.path.realpath(os.fsdecode(info.file))
    return ""


class _AddressInfo(ctypes.Structure):
    """The result of `dladdr` for an address (the struct `Dl_info` in C)."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )
    file: bytes | None


def _by_name(name: str, controllers: list[Any]) -> Library | None:
    return next((Library(found.filepath, found) for found in controllers if found.internal_api == name), None)


def mkl_files(installed: list[str]) -> list[str]:
    """Return paths where MKL may be found. The likeliest come first.

    First come files of the installed package, then files in the folders of a conda environment, then names without a
    folder. `installed` lists the files of the installed package.
    """
    endings = (".so", ".dylib", ".dll")
    found = [path for path in installed if "mkl_rt" in os.path.basename(path) and any(end in path for end in endings)]
    for folder in ("lib", "Library/bin"):  # conda's folders on Unix and on Windows
        found += sorted(map(str, Path(sys.prefix, folder).glob("*mkl_rt*")), reverse=True)
    return [*found, "libmkl_rt.so.2", "libmkl_rt.so", "libmkl_rt.2.dylib", "mkl_rt.2.dll"]


@cache
def _load_mkl() -> None:
    """Load MKL so that compiled code finds its symbols. MKL may come from pip, from conda or from the system."""
    try:
        installed = [str(file.locate()) for file in metadata.files("mkl") or []]
    except metadata.PackageNotFoundError:
        installed = []
    for path in mkl_files(installed):
        with contextlib.suppress(RuntimeError):
            return load_library(path)  # type: ignore[no-any-return]
    raise NoBLASError(f"{VARIABLE} is 'mkl', which is not installed: pip install 'fastbp[mkl]'")
