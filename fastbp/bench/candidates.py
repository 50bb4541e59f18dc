"""Who is measured: backends, the machine that each runs on, and what there is of its memory."""

import os
import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fastbp import backends
from fastbp.bench.grid import Point, bytes_of
from fastbp.bench.timing import Clock
from fastbp.errors import InputError
from fastbp.operations import Backend

ON_CPU = "CPU"


@dataclass(frozen=True)
class Candidate:
    """A backend that is measured, and the one whose bare products are its floor.

    `where` it runs is "CPU" or the GPU's backend; there are the device's name and its free memory.
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
        """Whether what it works on has to be sent there."""
        return self.where != ON_CPU


def choose_candidates(names: Sequence[str] = ()) -> tuple[list[Candidate], str | None]:
    """Return the backends of these names, or all there are: compiled, plain, and CuPy's; and why no GPU is among those.

    Raises `InputError` for a name that is unknown, or of what cannot be used.

    >>> [contender.name for contender in choose_candidates(["numpy-plain"])[0]]
    ['numpy-plain']
    """
    reason = None
    if not names:
        reason = backends.available()["cupy"]
        names = ("numpy", "numpy-plain") if reason else ("numpy", "numpy-plain", "cupy")
    return [_contender(backend) for backend in dict.fromkeys(map(backends.get, names))], reason


def check_memory(points: Sequence[Point], dtype: str, among: Sequence[Candidate]) -> None:
    """Raise `InputError`, with the estimate, for the first point that does not fit where its backends run."""
    sharing = {ON_CPU: 1, **Counter(contender.where for contender in among)}  # data are made on the CPU in any case
    free = {ON_CPU: memory(), **{contender.where: contender.free_bytes() for contender in among}}
    for point in points:
        for where, count in sharing.items():
            needed = count * bytes_of(point, dtype)
            if needed > free[where]:
                raise InputError(
                    f"{point.name} × {point.m} in {dtype} takes an estimated {needed / 2**30:,.1f} GiB of memory "
                    f"({where}), where {free[where] / 2**30:,.1f} GiB are free; wanted are smaller --sizes or "
                    "--mini-batch-size, or one --backend at a time"
                )


def processor() -> str:
    """Return the processor's name, as the system has it.

    >>> processor() != ""
    True
    """
    with suppress(OSError):
        if found := re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M):
            return found[1].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Return the bytes of memory that the system could still give, or has, where it tells no more than that."""
    with suppress(OSError):
        if found := re.search(r"^MemAvailable:\s*(\d+) kB$", Path("/proc/meminfo").read_text(encoding="utf-8"), re.M):
            return 1024 * int(found[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**40


def _contender(backend: Backend) -> Candidate:
    name = backend.name
    if name.startswith("cupy"):
        gpu = backend.device  # type: ignore[attr-defined]
        return Candidate(name, backend, backend, name, gpu.description(), gpu.free_bytes)
    floor = backends.get("numpy") if backend.kind == "numpy" else backend
    return Candidate(name, backend, floor, ON_CPU, f"{processor()}, {cores()} cores", memory)
