"""Check whether the GPU has enough free memory, and raise an error with advice if it has not."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastbp.errors import InputError


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
    """Within a `with` block, turn CuPy's out-of-memory errors into `DeviceMemoryError`.

    The message says how much memory is free, and what to reduce.
    """
    from cupy.cuda import memory

    try:
        yield
    except memory.OutOfMemoryError as error:
        free, total = free_and_total()
        raise DeviceMemoryError(
            f"{str(error).rstrip('.')}, with {_readable(free)} of {_readable(total)} free on the GPU; "
            "reduce mini_batch_size or the layer sizes, or use data of dtype uint8"
        ) from error


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
