"""What fits into a device's memory, and what is said where something does not."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastbp.errors import InputError


class DeviceMemoryError(InputError, MemoryError):
    """A device has not the memory for what was asked; the message says how much is free, and what to lower."""


def check_fits(what: str, size: int) -> None:
    """Raise `DeviceMemoryError` unless the current device has `size` bytes free, before anything is uploaded.

    Free is what the driver has and what CuPy's pool keeps for reuse, within the pool's limit where one is set.
    """
    free, total = free_and_total()
    if size > free:
        raise DeviceMemoryError(
            f"{what} takes {_readable(size)} on the device, where {_readable(free)} of {_readable(total)} are free; "
            "wanted is less at a time, or data kept as uint8 (a quarter of float32), or backend='numpy'"
        )


@contextmanager
def translate_out_of_memory() -> Iterator[None]:
    """Raise `DeviceMemoryError`, with figures and what to lower, where CuPy finds no memory within a `with` block."""
    from cupy.cuda import memory

    try:
        yield
    except memory.OutOfMemoryError as error:
        free, total = free_and_total()
        raise DeviceMemoryError(
            f"{str(error).rstrip('.')}, with {_readable(free)} of {_readable(total)} free on the device; "
            "lower mini_batch_size or the sizes of the layers, or keep the data as uint8"
        ) from error


def free_and_total() -> tuple[int, int]:
    """Return how many bytes of the current device are free, CuPy's pool included, and how many there are."""
    import cupy

    free, total = cupy.cuda.runtime.memGetInfo()
    pool = cupy.get_default_memory_pool()
    free += pool.free_bytes()
    limit = pool.get_limit()  # 0: none
    return (min(free, limit - pool.used_bytes()), min(total, limit)) if limit else (free, total)


def _readable(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
