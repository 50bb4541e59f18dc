"""The sum over the ranks of an MPI communicator, for compiled code.

The kernel calls the function MPI_Allreduce of the MPI library that mpi4py has loaded. It refers to the function by a
symbol, so its code can be cached. What differs between MPI libraries is read from memory at each call: the handles of
the communicator, of the datatype and of the operation. A handle is an int in MPICH, and a pointer in Open MPI.
"""

import ctypes
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from fastbp_kernels.cpu.blas import at
from fastbp_kernels.cpu.jit_cache import Kernel, compiled_kernel
from fastbp_kernels.numba_private import add_symbol

COUNT, DATATYPE, SUM, COMM, IN_PLACE, ERROR = range(6)
"""What the numbers in the array `handles` are. ERROR is the code of the last error of MPI, or 0."""

_MOST = 2**30  # elements in one call, because MPI_Allreduce counts them in an int


def handles(comm: Any, block: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the numbers that the kernel needs to sum a block over the ranks of an mpi4py communicator."""
    from mpi4py import MPI

    datatype = {"float32": MPI.FLOAT, "float64": MPI.DOUBLE}[block.dtype.name]
    found = [block.size, *map(MPI._handleof, (datatype, MPI.SUM, comm)), int(MPI.IN_PLACE), 0]
    return np.array([number - 2**64 if number >= 2**63 else number for number in found], np.int64)


def handle_size() -> int:
    """Return the number of bytes in a handle of the MPI library."""
    from mpi4py import MPI

    return int(MPI._sizeof(MPI.Comm))


@cache
def all_reduce(dtype: str, handle_bytes: int) -> Kernel:
    """Compile a kernel with the arguments (handles, w). It replaces a block that starts with w by its sum over ranks.

    `handles` is the array that the function `handles` returns. If MPI returns an error, the kernel writes its code to
    `handles`.
    """
    add_symbol(f"fastbp_mpi_allreduce_{handle_bytes}", _address())
    handle = np.int32 if handle_bytes == 4 else np.int64
    sum_of_ranks = _allreduce_of_ints if handle_bytes == 4 else _allreduce_of_pointers

    def kernel(handles: Any, w: Any) -> None:
        done = 0
        while done < handles[COUNT]:
            count = min(handles[COUNT] - done, _MOST)
            datatype, operation, comm = handle(handles[DATATYPE]), handle(handles[SUM]), handle(handles[COMM])
            code = sum_of_ranks(handles[IN_PLACE], at(w, 0, done), np.int32(count), datatype, operation, comm)
            if code != 0:
                handles[ERROR] = code
            done += count

    return _compiled(kernel, dtype)


@cache
def no_sum(dtype: str) -> Kernel:
    """Compile a kernel that takes the arguments of an `all_reduce` kernel and does nothing, for one rank."""

    def kernel(handles: Any, w: Any) -> None:
        pass

    return _compiled(kernel, dtype)


def _compiled(kernel: Any, dtype: str) -> Kernel:
    block = types.Array(getattr(types, dtype), 2, "C")
    compiled: Kernel = compiled_kernel(kernel, types.void(types.Array(types.int64, 1, "C"), block))
    return compiled


def _allreduce(name: str, handle: Any) -> Any:
    """Return MPI_Allreduce for compiled code: int (send buffer, receive buffer, count, datatype, operation, comm)."""
    return types.ExternalFunction(name, types.intc(types.int64, types.voidptr, types.intc, handle, handle, handle))


_allreduce_of_ints = _allreduce("fastbp_mpi_allreduce_4", types.intc)
_allreduce_of_pointers = _allreduce("fastbp_mpi_allreduce_8", types.int64)


def _address() -> int:
    """Return the address of MPI_Allreduce in the MPI library that mpi4py is linked to."""
    from mpi4py import MPI

    function = ctypes.CDLL(MPI.__file__).MPI_Allreduce
    return ctypes.cast(function, ctypes.c_void_p).value or 0
