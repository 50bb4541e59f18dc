"""The calls of CuPy that only the self-test of a GPU needs: versions, streams, allocations and TF32 products."""

import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from threading import Event
from typing import Any

from fastbp.backends.cupy.device import CuPy, cupy_backend

_MAX_BLOCKED = (
    10.0  # seconds after which a blocked stream continues, so that a faulty backend fails the check and does not hang
)


class Instruments:
    """The calls of CuPy for the self-test. The tests replace this class on machines without a GPU."""

    def about(self, number: int) -> dict[str, str]:
        """Return the names and versions for the head of the report."""
        import cupy

        runtime = cupy.cuda.runtime
        device = runtime.getDeviceProperties(number)
        return {
            "device": f"{device['name'].decode()}, compute capability {device['major']}.{device['minor']}, "
            f"{device['totalGlobalMem'] / 2**30:.1f} GiB",
            "driver": f"supports CUDA {_dotted(runtime.driverGetVersion())}",
            "CuPy": f"{cupy.__version__} on CUDA {_dotted(runtime.runtimeGetVersion())}",
            "compilers": ", ".join(f"{name} {version(name)}" for name in ("numba-cuda", "cuda-core", "numba")),
            "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}, "
            f"NumPy {version('numpy')}",
        }

    def stream(self) -> AbstractContextManager[Any]:
        """Return a context in which a new stream is current.

        The new stream does not wait for the default stream, and the default stream does not wait for it.
        """
        import cupy

        stream: AbstractContextManager[Any] = cupy.cuda.Stream(non_blocking=True)
        return stream

    def default_stream(self) -> AbstractContextManager[Any]:
        """Return a context in which the default stream is current."""
        import cupy

        stream: AbstractContextManager[Any] = cupy.cuda.Stream.null
        return stream

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Block the current stream until the `with` block ends."""
        import cupy

        released = Event()
        cupy.cuda.get_current_stream().launch_host_func(lambda event: event.wait(_MAX_BLOCKED), released)
        try:
            yield
        finally:
            released.set()

    @contextmanager
    def allocations(self) -> Iterator[list[int]]:
        """Yield a list. Each allocation from CuPy's pool in the `with` block appends its size to the list."""
        import cupy

        sizes: list[int] = []

        class AllocationLog(cupy.cuda.MemoryHook):  # type: ignore[misc]
            name = "fastbp's check"

            def malloc_preprocess(self, **request: int) -> None:
                sizes.append(request["size"])

        with AllocationLog():
            yield sizes

    def tf32(self, number: int) -> CuPy:
        """Return the backend that uses TF32 products on a device."""
        return cupy_backend(number, tf32=True)


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
