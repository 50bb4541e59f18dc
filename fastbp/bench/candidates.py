"""The candidates of a benchmark: the backends to be measured, and the CPU or GPU that each of them runs on.

The floor of a candidate is the time of the matrix products alone (`fastbp.bench.floor`). A point of the grid is a
network with a mini-batch size (`fastbp.bench.grid`).
"""

import os
import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from fastbp import backends
from fastbp.backends import BackendName
from fastbp.backends.torch_devices import TorchDevice
from fastbp.bench.grid import Point, bytes_of
from fastbp.bench.timing import Clock
from fastbp.errors import InputError
from fastbp.operations import Backend

ON_CPU = "CPU"


@dataclass(frozen=True)
class Candidate:
    """A backend to be measured, and the backend whose matrix products are timed as its floor.

    `where` is "CPU", or the name of the GPU's backend. `device` is the name of the CPU or GPU. `free_bytes` returns the
    free memory of this device.
    """

    name: str
    backend: Backend
    floor: Backend
    where: str
    device: str
    free_bytes: Callable[[], int]
    clock: Clock = time.perf_counter

    @property
    def on_gpu(self) -> bool:
        """Whether the data for this candidate have to be sent to a GPU."""
        return self.where != ON_CPU


def choose_candidates(names: Sequence[str] = ()) -> tuple[list[Candidate], str | None]:
    """Return the candidates, and the reason why a GPU is not among them.

    If names are given, the candidates are the backends with these names, and the reason is None. Otherwise the
    candidates are the compiled backend, plain NumPy and, if a GPU can be used, CuPy with compiled kernels and with its
    own array expressions. The reason is then None if a GPU can be used. Raises `InputError` if a name is unknown, or if
    a backend with a given name cannot be used.

    >>> [candidate.name for candidate in choose_candidates(["numpy-plain"])[0]]
    ['numpy-plain']
    """
    reason = None
    if not names:
        reasons = backends.available()
        on_gpu = [name for name in ("cupy", "cupy-plain") if reasons[name] is None]
        names, reason = ("numpy", "numpy-plain", *on_gpu), None if on_gpu else reasons["cupy"]
    chosen = dict.fromkeys(backends.get(cast(BackendName, name)) for name in names)
    return [_candidate(backend) for backend in chosen], reason


def check_memory(points: Sequence[Point], dtype: str, candidates: Sequence[Candidate]) -> None:
    """Raise `InputError` for the first point of the grid that does not fit into memory. The message has an estimate."""
    # Candidates on the same device hold their data at the same time. The CPU always holds the data once.
    sharing = {ON_CPU: 1, **Counter(candidate.where for candidate in candidates)}
    free = {ON_CPU: available_memory(), **{candidate.where: candidate.free_bytes() for candidate in candidates}}
    for point in points:
        for where, count in sharing.items():
            needed = count * bytes_of(point, dtype)
            if needed > free[where]:
                raise InputError(
                    f"{point} in {dtype} needs an estimated {needed / 2**30:,.1f} GiB of memory ({where}), but "
                    f"{free[where] / 2**30:,.1f} GiB are free; choose smaller --sizes or --mini-batch-size, or one "
                    "--backend at a time"
                )


def cpu_name() -> str:
    """Return the name of the CPU as the operating system reports it.

    >>> cpu_name() != ""
    True
    """
    with suppress(OSError):
        if found := re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M):
            return found[1].strip()
    return platform.processor() or platform.machine()


def cpu_count() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int:
    """Return the available memory in bytes. If the system does not report it, return the total memory."""
    with suppress(OSError):
        if found := re.search(r"^MemAvailable:\s*(\d+) kB$", Path("/proc/meminfo").read_text(encoding="utf-8"), re.M):
            return 1024 * int(found[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**40


def _compiled(backend: Backend) -> Backend:
    """Return the backend with compiled kernels on the GPU of "cupy-plain", or the given one if there is none."""
    if backend.name.startswith("cupy-plain"):
        with suppress(InputError):
            return backends.get(cast(BackendName, f"cupy:{backend.device.number}"))  # type: ignore[attr-defined]
    return backend


def _candidate(backend: Backend) -> Candidate:
    name = backend.name
    if name.startswith("cupy"):
        gpu, floor = backend.device, _compiled(backend)  # type: ignore[attr-defined]
        return Candidate(name, backend, floor, floor.name, gpu.description(), gpu.free_bytes)
    if name.startswith("torch:") and name != "torch:cpu":
        torch = cast(TorchDevice, backend)
        return Candidate(name, backend, backend, name, torch.description(), lambda: torch.free_bytes(available_memory))
    floor = backends.get("numpy") if backend.kind == "numpy" else backend
    return Candidate(name, backend, floor, ON_CPU, f"{cpu_name()}, {cpu_count()} cores", available_memory)
