"""The text report of a benchmark: the machines, a table, the crossovers, the failures and the verdict.

A crossover is the mini-batch size, or the network, from which a GPU trains faster than the CPU.
"""

from collections.abc import Iterator
from textwrap import wrap

from fastbp.bench.candidates import ON_CPU
from fastbp.bench.crossover import crossovers
from fastbp.bench.gpu_report import GPU_LEGEND, gpu_table, kernels_line
from fastbp.bench.results import Machine, Measurement, Results
from fastbp.bench.timing import Spread
from fastbp.bench.verdict import verdicts
from fastbp.errors import plural

_GROUPS = f"{'share of':>64}{'speedup over':>14}"  # above the last four columns
_COLUMNS = ("m", "backend", "step", "examples/s", "", "GFLOP/s", "floor", "peak", "plain", "CPU")
_WIDTHS = (6, 11, 7, 10, 5, 8, 5, 5, 6, 6)
LEGEND = """\
Medians; ± half the interquartile range of examples/s.
step: update for one mini-batch of m examples, from the call in Python to its
  end; on a GPU it is interpreted, while epochs replay it.
examples/s: training examples per second in whole epochs, with shuffling.
share of floor: time of the matrix products alone (BLAS; cuBLAS on a GPU), as a
  share of the time of the epoch. It is more than 100% only if fastbp's own
  products of small matrices are faster than BLAS.
share of peak: GFLOP/s, as a share of the best rate of a large square product.
speedup over plain: speedup over the same equations in plain NumPy.
speedup over CPU: speedup over the CPU's fastest backend."""


def report(results: Results) -> str:
    """Return the text of the report. Its table and its verdict, which is the last line, fit into 80 columns."""
    lines = [line for machine in results.machines for line in _machine_lines(machine)]
    if results.no_gpu is not None:
        lines.append(f"no usable GPU: {results.no_gpu}")
    lines += ["", *_table(results), "", LEGEND, ""] if results.measurements else []
    lines += [*table, "", GPU_LEGEND, ""] if (table := list(gpu_table(results))) else []
    lines += _transfers(results)
    lines += [f"{backend} on {fixed}: the GPU {found}" for backend, fixed, found in crossovers(results)]
    lines += [f"{failure.backend} failed while measuring {failure.what}: {failure.why}" for failure in results.failures]
    for verdict in verdicts(results):
        lines += ["", *wrap(verdict, 80, break_on_hyphens=False)]
    return "\n".join(lines).rstrip("\n")


def _machine_lines(machine: Machine) -> Iterator[str]:
    rates = " and ".join(f"{rate / 1e9:,.0f} in {dtype}" for dtype, rate in machine.gemm_flops_per_second.items())
    yield f"{machine.where}: {machine.device}"
    yield f"  matrix products, GFLOP/s: {rates}; copies: {machine.copy_bytes_per_second / 1e9:,.1f} GB/s"
    launch, to, back = machine.launch_seconds, machine.to_device_bytes_per_second, machine.from_device_bytes_per_second
    if launch is not None and to is not None and back is not None:
        transfers = f"{to / 1e9:.1f} GB/s to it, {back / 1e9:.1f} GB/s back"
        yield f"  kernel launch: {_time(launch.median)}; transfers: {transfers}"
    yield from kernels_line(machine)


def _table(results: Results) -> Iterator[str]:
    yield f"{results.dtype}{_GROUPS[len(results.dtype) :]}"
    yield _line(_COLUMNS)
    previous = ""
    for m in results.measurements:
        if m.net != previous:
            yield m.net
        yield _line(_cells(m, results))
        previous = m.net


def _cells(m: Measurement, results: Results) -> tuple[str, ...]:
    peak, cpu = results.peak(m.where), results.fastest_on_cpu().get(m.point)
    plain = next(
        (o.epoch_seconds for o in results.measurements if o.point == m.point and o.backend == "numpy-plain"), None
    )
    return (
        f"{m.mini_batch_size:,}",
        m.backend,
        _time(m.step_seconds.median),
        f"{m.examples_per_second:,.0f}",
        _half_range(m.epoch_seconds),
        f"{m.flops_per_second / 1e9:,.1f}",
        f"{m.floor_seconds.median / m.epoch_seconds.median:.0%}",
        "–" if peak is None else f"{m.flops_per_second / peak:.0%}",
        _speedup(plain, m.epoch_seconds),
        "–" if m.where == ON_CPU else _speedup(cpu, m.epoch_seconds),
    )


def _line(cells: tuple[str, ...]) -> str:
    return " ".join(
        f"{cell:{'<' if i == 1 else '>'}{width}}" for i, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    )


def _transfers(results: Results) -> Iterator[str]:
    """Yield a line about transfers for each network on each GPU, from the mini-batch size with the most examples."""
    for backend, net in dict.fromkeys((m.backend, m.net) for m in results.measurements if m.transfers is not None):
        points = [m for m in results.measurements if (m.backend, m.net) == (backend, net)]
        m = max(points, key=lambda m: m.examples)
        if (sent := m.transfers) is not None:
            data = f"{m.examples:,} examples ({_bytes(sent.data_bytes)}) sent once in {_time(sent.data_seconds.median)}"
            to, back = _bytes(sent.epoch_bytes_to_device), _bytes(sent.epoch_bytes_from_device)
            count = plural(sent.epoch_transfers, "transfer")
            yield f"{backend} on {net}: {data}; per epoch {to} sent, {back} back, {count}"


def _half_range(seconds: Spread) -> str:
    return f"±{(seconds.high - seconds.low) / 2 / seconds.median:.0%}"


def _speedup(other: Spread | None, own: Spread) -> str:
    if other is None:
        return "–"
    ratio = other.median / own.median
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2g}×"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"
