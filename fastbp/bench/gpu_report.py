"""The part of the report of a benchmark that is about GPUs: a table of the modes of steps, and its legend."""

from collections.abc import Iterator

from fastbp.bench.results import Machine, Measurement, Results
from fastbp.bench.timing import Spread

_COLUMNS = ("m", "backend", "GEMM", "eager", "host", "ready", "graph", "host", "block", "fused")
_TIMES = (
    ("eager", "seconds"),
    ("eager", "host_seconds"),
    ("ready", "seconds"),
    ("graph", "seconds"),
    ("graph", "host_seconds"),
    ("block", "seconds"),
)
_WIDTHS = (7, 12, 5, 7, 7, 7, 7, 7, 7, 5)
GPU_LEGEND = """\
On a GPU, the host enqueues steps, and the GPU computes them.
eager, ready, graph, block: time of a step, if steps follow one another, and the
  mode in which the host enqueues them: it interprets the equations, or makes
  recorded calls, or launches a CUDA graph, or launches one kernel with one
  block for many steps of a small network. Training uses the last one that the
  GPU, the backend and the network have.
host: the part of this time in which the host is busy. If it is all of it, the
  GPU waits for the host; if it is little, the time is that of the GPU.
GEMM: rate of the matrix products alone, which the host makes one by one, as a
  share of the peak, the best rate of a large square product in this run.
fused: speedup of fastbp's kernels over CuPy's array expressions (cupy-plain).
kernels: bandwidth of the operations other than products, on large arrays: the
  bytes that they must read and write, per second."""


def gpu_table(results: Results) -> Iterator[str]:
    """Yield the lines of the table, which fit into 80 columns, or nothing if no GPU was measured."""
    measured = [m for m in results.measurements if m.steps]
    if not measured:
        return
    yield f"{'share':>26}{'time of a step, and of the host':>38}"
    yield _line(_COLUMNS)
    previous = ""
    for m in measured:
        if m.net != previous:
            yield m.net
        yield _line(_cells(m, results))
        previous = m.net


def kernels_line(machine: Machine) -> Iterator[str]:
    """Yield the lines about kernels of a machine."""
    rates = [f"{name} {rate / 1e9:,.3g}" for name, rate in (machine.kernel_bytes_per_second or {}).items()]
    if rates:
        yield f"  kernels, GB/s: {', '.join(rates)}"


def _cells(m: Measurement, results: Results) -> tuple[str, ...]:
    steps = m.steps or {}
    share = results.share_of_products(m)
    times = [short_time(getattr(steps[mode], which).median) if mode in steps else "–" for mode, which in _TIMES]
    unfused = results.unfused(m)
    return (
        f"{m.mini_batch_size:,}",
        m.backend,
        "–" if share is None else f"{share:.0%}",
        *times,
        "–" if unfused is None else _times(unfused, m.epoch_seconds),
    )


def short_time(seconds: float) -> str:
    """Return a time in at most seven characters.

    >>> short_time(2.31e-5), short_time(0.0456), short_time(3e-7)
    ('23.1 µs', '45.6 ms', '0.3 µs')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs" if seconds >= 1e-6 else f"{seconds / 1e-6:.1g} µs"


def _times(other: Spread, own: Spread) -> str:
    ratio = other.median / own.median
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2g}×"


def _line(cells: tuple[str, ...]) -> str:
    return " ".join(
        f"{cell:{'<' if i == 1 else '>'}{width}}" for i, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    )
