"""What a check of a GPU asks of CuPy beside what the backend does: names, another stream, a look at the memory pool."""

import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from threading import Event
from typing import Any

from fastbp import backends
from fastbp.backends.cupy.device import CuPy

_LONGEST = 10.0  # seconds that a stream is held: what waits for it meanwhile fails the check, and hangs nothing


class Instruments:
    """CuPy on the current device, as far as a check looks at it."""

    def about(self, number: int) -> dict[str, str]:
        """Return the names and versions that a report should hold."""
        import cupy

        runtime = cupy.cuda.runtime
        device = runtime.getDeviceProperties(number)
        return {
            "device": f"{device['name'].decode()}, compute capability {device['major']}.{device['minor']}, "
            f"{device['totalGlobalMem'] / 2**30:.1f} GiB",
            "driver": f"offers CUDA {_dotted(runtime.driverGetVersion())}",
            "CuPy": f"{cupy.__version__} on CUDA {_dotted(runtime.runtimeGetVersion())}",
            "compilers": ", ".join(f"{name} {version(name)}" for name in ("numba-cuda", "cuda-core", "numba")),
            "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}, "
            f"NumPy {version('numpy')}",
        }

    def stream(self) -> AbstractContextManager[Any]:
        """Return a context in which a new stream is current that does not wait for the default one, nor it for this."""
        import cupy

        stream: AbstractContextManager[Any] = cupy.cuda.Stream(non_blocking=True)
        return stream

    def default_stream(self) -> AbstractContextManager[Any]:
        """Return a context in which the default stream is current."""
        import cupy

        stream: AbstractContextManager[Any] = cupy.cuda.Stream.null
        return stream

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the current stream from going on until the `with` block is left."""
        import cupy

        released = Event()
        cupy.cuda.get_current_stream().launch_host_func(lambda event: event.wait(_LONGEST), released)
        try:
            yield
        finally:
            released.set()

    @contextmanager
    def allocations(self) -> Iterator[list[int]]:
        """Give a list that gets the size of whatever is asked of CuPy's pool within the `with` block."""
        import cupy

        sizes: list[int] = []

        class AllocationLog(cupy.cuda.MemoryHook):  # type: ignore[misc]
            name = "fastbp's check"

            def malloc_preprocess(self, **asked: int) -> None:
                sizes.append(asked["size"])

        with AllocationLog():
            yield sizes

    def tf32(self, number: int) -> CuPy:
        """Return the backend of a device whose products of float32 go by 10 bits."""
        backend = backends.get(f"cupy:{number}+tf32")
        assert isinstance(backend, CuPy)
        return backend


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
