"""Check whether the GPU has enough free memory, and raise an error with advice if it has not."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastbp.errors import InputError

_CUDA_OUT_OF_MEMORY = 2  # CUresult and cudaError_t
_CUBLAS_OUT_OF_MEMORY = (1, 3)  # CUBLAS_STATUS_NOT_INITIALIZED, from cublasCreate, and CUBLAS_STATUS_ALLOC_FAILED


class DeviceMemoryError(InputError, MemoryError):
    """The GPU does not have enough free memory. The message says how much is free, and what to reduce."""


def check_fits(what: str, size: int) -> None:
    """Raise `DeviceMemoryError` unless the current device has `size` bytes free.

    Free memory includes the memory that CuPy's pool keeps for reuse. If the pool has a limit, the limit applies.
    """
    free, total = free_and_total()
    if size > free:
        raise DeviceMemoryError(
            f"{what} needs {_readable(size)} on the GPU, but only {_readable(free)} of {_readable(total)} are free; "
            "use fewer examples at a time, data of dtype uint8 (a quarter of float32), or backend='numpy'"
        )


@contextmanager
def translate_out_of_memory() -> Iterator[None]:
    """Within a `with` block, turn errors of CuPy, CUDA and cuBLAS about too little memory into `DeviceMemoryError`.

    The message says how much memory is free, and what to reduce. CUDA and cuBLAS allocate memory of their own, outside
    CuPy's pool, when they load a kernel or compute their first product.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if (what := _lack_of_memory(error)) is None:
            raise
        free, total = free_and_total()
        raise DeviceMemoryError(
            f"{what}, with {_readable(free)} of {_readable(total)} free on the GPU; "
            "reduce mini_batch_size or the layer sizes, or use data of dtype uint8"
        ) from error


def _lack_of_memory(error: Exception) -> str | None:
    """Return what could not be allocated, or None if an error has another cause.

    The classes of errors are recognized by their names, so that CuPy is not imported here.
    """
    name, status = type(error).__name__, getattr(error, "status", None)
    if name == "OutOfMemoryError":
        return str(error).rstrip(".")
    if name in ("CUDADriverError", "CUDARuntimeError") and status == _CUDA_OUT_OF_MEMORY:
        return "CUDA could not allocate memory for its own use"
    if name == "CUBLASError" and status in _CUBLAS_OUT_OF_MEMORY:
        return f"cuBLAS could not allocate memory for its own use ({error})"
    return None


def free_and_total() -> tuple[int, int]:
    """Return the number of free bytes and of all bytes on the current device.

    Memory that CuPy's pool keeps for reuse counts as free.
    """
    import cupy

    free, total = cupy.cuda.runtime.memGetInfo()
    pool = cupy.get_default_memory_pool()
    free += pool.free_bytes()
    limit = pool.get_limit()  # 0 means no limit
    return (min(free, limit - pool.used_bytes()), min(total, limit)) if limit else (free, total)


def _readable(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
