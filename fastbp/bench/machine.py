"""Peak rates of the machine: matrix products, copies and, for a GPU, kernel launches and transfers."""

from functools import partial
from typing import Any

import numpy as np

from fastbp import backends
from fastbp.bench.candidates import Candidate
from fastbp.bench.floor import make_floor
from fastbp.bench.gpu_steps import kernel_rates
from fastbp.bench.grid import BenchSettings
from fastbp.bench.results import Machine
from fastbp.bench.timing import spread, timed
from fastbp.operations import Operations
from fastbp.parameters import plan_of

Array = Any
_MAX_SECONDS = 0.3  # upper bound of the time of two products
_REPEATS, _LAUNCHES = 5, 100


def measure_machine(candidate: Candidate, settings: BenchSettings) -> Machine:
    """Measure the peak rates of the CPU or GPU on which a candidate runs, and the time of a kernel launch."""
    rates = {dtype: _gemm_rate(candidate, dtype, settings.max_side) for dtype in ("float32", "float64")}
    to_device, from_device = _transfer_rates(candidate, settings.copy_bytes) if candidate.on_gpu else (None, None)
    return Machine(
        candidate.where,
        candidate.device,
        rates,
        _copy_rate(candidate, settings.copy_bytes),
        spread(_launches(candidate)) if candidate.on_gpu else None,
        to_device,
        from_device,
        kernel_rates(candidate, settings) if candidate.on_gpu else None,
    )


def copy(source: Array, target: Array) -> None:
    """Copy the content of one array to another."""
    target[...] = source


def launches(ops: Operations, sums: Array, b: Array, count: int) -> None:
    """Launch an operation `count` times. The operation does as little as possible: it adds one number to another."""
    for _ in range(count):
        ops.add_column_sums(1.0, sums, 1.0, b)


def _gemm_rate(candidate: Candidate, dtype: str, max_side: int) -> float:
    """Return the peak rate of products of square matrices. Their size grows until two products would take too long."""
    best, side = 0.0, min(256, max_side)
    while side <= max_side and (not best or 4 * side**3 < _MAX_SECONDS * best):
        x = np.random.default_rng(0).random((side, side), np.float32).astype(dtype)
        multiply = make_floor(candidate.floor, (side, side), dtype, x, side)  # the two products W a and δ aᵀ
        multiply()
        seconds = min(timed(candidate.backend, candidate.clock, multiply) for _ in range(_REPEATS))
        best = max(best, 4 * side**3 / seconds)
        side *= 2
    return best


def _copy_rate(candidate: Candidate, size: int) -> float:
    """Return the bandwidth of a copy: bytes read plus bytes written, per second. NumPy copies with one thread."""
    backend = backends.get("numpy-plain") if candidate.floor.name == "numpy" else candidate.floor
    source, target = (backend.empty((size // 4,), "float32") for _ in range(2))
    for array in (source, target):
        backend.assign(array, 1.0)
    work = partial(backend.run, copy, source, target)
    return 2 * size / min(timed(backend, candidate.clock, work) for _ in range(_REPEATS))


def _transfer_rates(candidate: Candidate, size: int) -> tuple[float, float]:
    """Return the peak rates of transfers to the device and from it. The host memory is NumPy's, which is pageable."""
    backend, clock = candidate.backend, candidate.clock
    host = np.ones(size // 4, np.float32)
    there = backend.upload(host)
    up = min(timed(backend, clock, partial(backend.upload, host)) for _ in range(_REPEATS))
    down = min(timed(backend, clock, partial(backend.to_host, there)) for _ in range(_REPEATS))
    return size / up, size / down


def _launches(candidate: Candidate) -> list[float]:
    """Return samples of the seconds per kernel launch. Each sample is the mean of many launches in a row."""
    backend, clock = candidate.floor, candidate.clock
    plan = plan_of([1, 1], "sigmoid", "quadratic", bias=True, dtype="float32", backend=backend)
    operations, sums, b = plan.operations("uint8"), plan.array(np.zeros((1, 1))), plan.array(np.zeros((1, 1)))
    work = partial(backend.run, launches, operations, sums, b, _LAUNCHES)
    work()
    return [timed(backend, clock, work) / _LAUNCHES for _ in range(_REPEATS)]
