"""Compile kernels for CUDA and launch them.

Numba compiles a kernel to PTX, which is NVIDIA's assembly language for all devices. nvJitLink links the PTX for one
device. CuPy loads the kernel and launches it on CuPy's current stream. Only loading and launching need a GPU.
`Kernel.ptx` and `Kernel.linked` work without a GPU.
"""

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from numba import cuda, types

from fastbp_kernels import words
from fastbp_kernels.compile_events import notify_compile
from fastbp_kernels.cuda.kernel_files import kept
from fastbp_kernels.formulas import diagnose_formula
from fastbp_kernels.specialize import FormulaError, fingerprint, lower

Formula = Callable[..., Any]
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
"""The architectures for which the tests link kernels.

They are Turing, two of Ampere, Ada, Hopper, and two of Blackwell."""
WARP = 32
_MAX_BLOCKS_Y = 65_535  # CUDA's limit on the number of blocks along y
_BLOCK_2D = (32, 8)  # numbers of threads in a block along x and along y
_KEPT = "fastbp_kernels.cuda."  # the package whose kernels are kept on disk
_BLOCK_1D = 128  # number of threads in a block that has threads along x only


# ---- Launch geometry, computed from the number of examples m and the number of neurons n


class Geometry(NamedTuple):
    """The sizes of a launch: the number of blocks, the number of threads in a block, and a block's shared memory."""

    grid: tuple[int, int]
    block: tuple[int, int]
    shared_bytes: int = 0


def thread_per_element(m: int, n: int) -> Geometry:
    """Return the sizes of a launch with one thread per element.

    Threads along x run over the neurons, and threads along y run over the examples. CUDA limits the number of blocks
    along y, so kernels must let a thread compute more than one element.
    """
    return Geometry((_blocks(n, _BLOCK_2D[0]), min(_blocks(m, _BLOCK_2D[1]), _MAX_BLOCKS_Y)), _BLOCK_2D)


def flat_thread_per_element(m: int, n: int) -> Geometry:
    """Return the sizes of a launch with one thread per element. All threads are along x.

    CUDA allows 2³¹ − 1 blocks along x.
    """
    return Geometry((_blocks(m * n, _BLOCK_1D), 1), (_BLOCK_1D, 1))


def thread_per_neuron(m: int, n: int) -> Geometry:
    """Return the sizes of a launch with one thread per neuron."""
    return flat_thread_per_element(1, n)


def warp_per_example(dtype: str) -> Callable[[int, int], Geometry]:
    """Return the `geometry` function of a kernel that uses one block per example. Each block is one warp.

    The shared memory of a block holds the n numbers of the example, and one number per thread.
    """
    itemsize = np.dtype(dtype).itemsize
    return lambda m, n: Geometry((_blocks(m, 1), 1), (WARP, 1), (WARP + n) * itemsize)


def _blocks(threads: int, size: int) -> int:
    return max(1, -(-threads // size))


# ---- Kernels


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel with one signature. Its arguments are pointers and scalars, followed by m and n.

    `parameters` are the types of these pointers and scalars. `geometry(m, n)` returns the sizes of a launch.
    `made_from` has the formulas and options in the body. Together with the name and the parameters, they identify a
    kernel of `fastbp_kernels.cuda`, whose PTX and machine code are kept on disk. If a block has many threads,
    `most_threads` is their number. The assembler then limits the registers of a thread so that such a block can run.
    """

    name: str
    body: Formula
    parameters: tuple[Any, ...]
    geometry: Callable[[int, int], Geometry]
    made_from: tuple[Any, ...] | None = None
    most_threads: int | None = None

    @cached_property
    def ptx(self) -> str:
        """The PTX of the kernel for compute capability 7.5. All later devices can run it. Its entry point is `name`."""
        text: str = kept(self._key, self._compiled)
        return text

    @property
    def _key(self) -> tuple[Any, ...] | None:
        """The key of the kernel's PTX on disk, or None if it is not kept."""
        if self.made_from is None or not self.body.__module__.startswith(_KEPT):
            return None
        parts = [fingerprint(part) if callable(part) else part for part in self.made_from]
        key = self.name, tuple(map(str, self.parameters)), repr(parts)
        return None if " at 0x" in key[-1] else key  # an object that another process cannot recognize

    def _compiled(self) -> str:
        notify_compile()
        signature = types.void(*self.parameters, types.uint64, types.uint64)
        text, _ = cuda.compile(
            self.body, signature, device=False, abi="numba", cc=(7, 5), launch_bounds=self.most_threads
        )
        mangled = re.search(r"\.entry\s+(\w+)", text)
        assert mangled is not None
        return str(text).replace(mangled[1], self.name)

    def linked(self, architecture: str) -> bytes:
        """Return the machine code for an architecture such as "sm_90". It is a cubin (an ELF file)."""
        key = self._key and (*self._key, architecture, hashlib.sha256(self.ptx.encode()).hexdigest())
        cubin: bytes = kept(key, lambda: self.link(architecture)[0])
        return cubin

    def link(self, architecture: str, *flags: str) -> tuple[bytes, str]:
        """Link the PTX for an architecture. Return the machine code, and the log of the assembler.

        `flags` are options of the assembler, such as "-v". Not every linker has them.
        """
        from cuda.core import Linker, LinkerOptions, ObjectCode

        options = LinkerOptions(arch=architecture, ptxas_options=list(flags) or None)
        linker = Linker(ObjectCode.from_ptx(self.ptx.encode()), options=options)
        return bytes(linker.link("cubin").code), linker.get_info_log()

    def packed(self, *arguments: Any) -> tuple[Any, ...]:
        """Return the arguments. Scalars are converted to the kernel's types, and arrays are unchanged."""
        kinds = (*self.parameters, types.uint64, types.uint64)
        return tuple(
            value if isinstance(kind, types.CPointer) else np.dtype(kind.name).type(value)
            for kind, value in zip(kinds, arguments, strict=True)
        )


def launch(kernel: Kernel, *arguments: Any) -> None:
    """Launch a kernel on CuPy's current device and stream, without waiting for its end.

    `arguments` are CuPy arrays for the kernel's pointers, and numbers for its scalars, for m and for n.
    """
    import cupy

    grid, block, shared_bytes = kernel.geometry(*arguments[-2:])
    _loaded(kernel, cupy.cuda.runtime.getDevice())(grid, block, kernel.packed(*arguments), shared_mem=shared_bytes)


def ready_launch(kernel: Kernel, *arguments: Any) -> Callable[[int], Callable[[], None]]:
    """Make a launch on CuPy's current device ready. Return a function that takes a stream and returns the launch.

    The arguments are packed now. The launch keeps its arrays alive.
    """
    import cupy
    from cupy_backends.cuda.api.driver import launchKernel

    function = _loaded(kernel, cupy.cuda.runtime.getDevice())
    (grid_x, grid_y), (block_x, block_y), shared_bytes = kernel.geometry(*arguments[-2:])
    values = [
        np.array(np.uintp(value.data.ptr) if isinstance(value, cupy.ndarray) else value)
        for value in kernel.packed(*arguments)
    ]
    addresses = np.array([value.ctypes.data for value in values], np.uintp)
    head = (function.ptr, grid_x, grid_y, 1, block_x, block_y, 1, shared_bytes)

    def on_stream(stream: int) -> Callable[[], None]:
        call = partial(launchKernel, *head, stream, int(addresses.ctypes.data), 0)
        vars(call)["kept"] = (function, arguments, values, addresses)
        return call

    return on_stream


@cache
def _loaded(kernel: Kernel, device: int) -> Any:
    """Load a kernel on a device and return the function by which CuPy launches it."""
    import cupy

    module = cupy.cuda.function.Module()
    _load(module, kernel, f"sm_{cupy.cuda.Device(device).compute_capability}")
    return module.get_function(kernel.name)


def _load(module: Any, kernel: Kernel, architecture: str) -> None:
    """Load the machine code of a kernel into a module. If it cannot be linked, let the driver compile the PTX."""
    try:
        cubin = kernel.linked(architecture)
    except Exception as error:  # of cuda-core, nvJitLink or the driver
        try:
            module.load(kernel.ptx.encode())
        except Exception as refused:
            versions = ", ".join(f"{name} {version(name)}" for name in ("cuda-core", "numba-cuda"))
            raise RuntimeError(
                f"kernel {kernel.name} cannot be loaded for {architecture} with {versions}: linking failed with "
                f"{_first_line(error)}, and the driver refused the PTX with {_first_line(refused)}"
            ) from error
    else:
        module.load(cubin)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def checked(kernel: Kernel, dtype: str, formulas: dict[Formula, int], results: int = 1) -> Kernel:
    """Compile a kernel and return it. Raise `FormulaError` if the compilation fails, or a float32 kernel uses float64.

    If the compilation fails because of a formula, the error names this formula. `formulas` maps each formula of the
    kernel to its number of arguments. `results` is the number of values that each of them returns.
    """
    try:
        widened = ".f64" in kernel.ptx and dtype == "float32"
    except Exception as error:  # Numba raises errors of many types
        for formula, arity in formulas.items():
            diagnose_formula(formula, arity, dtype, results)
        raise FormulaError(f"{kernel.name} cannot be compiled for CUDA: {str(error).splitlines()[0]}") from error
    if widened:
        raise FormulaError(f"{kernel.name} must compute in float32, got float64")
    return kernel


def real_type(dtype: str) -> Any:
    """Return Numba's type for the dtype with the given name."""
    return getattr(types, dtype)


def pointers(dtype: str, count: int) -> tuple[Any, ...]:
    """Return a tuple of `count` equal types. Each is Numba's type of a pointer to numbers of type `dtype`."""
    return (types.CPointer(real_type(dtype)),) * count


# ---- Formulas on CUDA


def inlined(function: Formula) -> Formula:
    """Return a device function that is always inlined.

    If the function were called instead, Numba would link device code, and linking needs a driver.
    """
    return cuda.jit(device=True, inline="always")(function)  # type: ignore[no-any-return]


@inlined
def _where(condition: Any, p: Any, q: Any) -> Any:
    return p if condition else q


@inlined
def _maximum(x: Any, floor: Any) -> Any:
    return floor if x < floor else x


CUDA_WORDS: dict[Formula, Formula] = {
    words.erf: math.erf,
    words.exp: math.exp,
    words.expm1: math.expm1,
    words.log: math.log,
    words.log1p: math.log1p,
    words.sqrt: math.sqrt,
    words.tanh: math.tanh,
    words.where: _where,
    words.maximum: _maximum,
}
"""For each function of `words`, the function used on CUDA.

Numba compiles calls of `math` to calls of libdevice, NVIDIA's library of math functions."""


def lowered(formula: Formula, dtype: str) -> Formula:
    """Return a device function for a formula. It computes with numbers of type `dtype`."""
    return inlined(lower(formula, inlined, CUDA_WORDS, np.dtype(dtype).type))
