"""What the machine can do: products, copies and, for a GPU, launches and transfers."""

from functools import partial
from typing import Any

import numpy as np

from fastbp import backends
from fastbp.bench.candidates import Candidate
from fastbp.bench.floor import floor_of
from fastbp.bench.grid import BenchSettings
from fastbp.bench.results import Machine
from fastbp.bench.timing import spread, timed
from fastbp.operations import Operations
from fastbp.parameters import plan_of

Array = Any
_LONGEST = 0.3  # seconds of two products
_REPEATS, _LAUNCHES = 5, 100


def measure_machine(contender: Candidate, effort: BenchSettings) -> Machine:
    """Return the best rates of products, copies and transfers where a contender runs, and how long a launch takes."""
    rates = {dtype: _gemm_rate(contender, dtype, effort.side) for dtype in ("float32", "float64")}
    to_device, from_device = _transfer_rates(contender, effort.copied) if contender.on_gpu else (None, None)
    return Machine(
        contender.where,
        contender.device,
        rates,
        _copy_rate(contender, effort.copied),
        spread(_launches(contender)) if contender.on_gpu else None,
        to_device,
        from_device,
    )


def copy(source: Array, target: Array) -> None:
    """Write one array into another."""
    target[...] = source


def launches(ops: Operations, sums: Array, b: Array, count: int) -> None:
    """Add a number to a number, again and again: as little as an operation can have to do."""
    for _ in range(count):
        ops.add_column_sums(1.0, sums, 1.0, b)


def _gemm_rate(contender: Candidate, dtype: str, most: int) -> float:
    """Return the best rate of square products: larger and larger ones, until two of them would take too long."""
    best, side = 0.0, min(256, most)
    while side <= most and (not best or 4 * side**3 < _LONGEST * best):
        rows = np.random.default_rng(0).random((1, side, side), np.float32).astype(dtype)
        multiply = floor_of(contender.floor, (side, side), dtype, rows)  # W a and δ aᵀ
        multiply()
        seconds = min(timed(contender.backend, contender.clock, multiply) for _ in range(_REPEATS))
        best = max(best, 4 * side**3 / seconds)
        side *= 2
    return best


def _copy_rate(contender: Candidate, size: int) -> float:
    """Return the best rate of a copy, each byte counted as it is read and as it is written; NumPy's has one thread."""
    backend = backends.get("numpy-plain") if contender.floor.name == "numpy" else contender.floor
    source, target = (backend.empty((size // 4,), "float32") for _ in range(2))
    for array in (source, target):
        array[...] = 1.0
    work = partial(backend.run, copy, source, target)
    return 2 * size / min(timed(backend, contender.clock, work) for _ in range(_REPEATS))


def _transfer_rates(contender: Candidate, size: int) -> tuple[float, float]:
    """Return the best rates to the device and from it, of memory as NumPy gives it."""
    backend, clock = contender.backend, contender.clock
    host = np.ones(size // 4, np.float32)
    there = backend.upload(host)
    up = min(timed(backend, clock, partial(backend.upload, host)) for _ in range(_REPEATS))
    down = min(timed(backend, clock, partial(backend.to_host, there)) for _ in range(_REPEATS))
    return size / up, size / down


def _launches(contender: Candidate) -> list[float]:
    """Return the seconds a launch in a row of many."""
    backend, clock = contender.backend, contender.clock
    plan = plan_of([1, 1], "sigmoid", "quadratic", bias=True, dtype="float32", backend=backend)
    operations, sums, b = plan.operations("uint8"), plan.copied(np.zeros((1, 1))), plan.copied(np.zeros((1, 1)))
    work = partial(backend.run, launches, operations, sums, b, _LAUNCHES)
    work()
    return [timed(backend, clock, work) / _LAUNCHES for _ in range(_REPEATS)]
