"""Charts of a benchmark: throughput and share of the peak rate. They need matplotlib (`pip install fastbp[plot]`)."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from fastbp.bench.grid import flops_per_example
from fastbp.bench.results import Measurement, Results
from fastbp.errors import InputError, choose
from fastbp.files.atomic import write_atomically
from fastbp.plots.canvas import axes
from fastbp.plots.curves import check_picture

# Okabe and Ito's colours, which colour-blind readers can tell apart; line styles and markers differ too, for greyscale.
_STYLES = (("#0072B2", "-", "o"), ("#E69F00", "--", "s"), ("#009E73", "-.", "^"), ("#CC79A7", ":", "D"))
Style = tuple[str, str, str]


def save_chart(results: Results, path: str | Path) -> None:
    """Draw throughput and share of the peak rate over the mini-batch size, for each network; save as PNG or SVG."""
    path = check_picture(path)
    figure = _figure(results)
    with write_atomically(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=150)


def throughput(results: Results, net: str | None = None, *, ax: Any = None) -> Any:
    """Draw the training examples per second over the mini-batch size, for one network.

    Parameters
    ----------
    results : Results
        What `fastbp.bench.results.read_results` returned for a file of `fastbp bench --json`.
    net : str, optional
        The network, such as "784-30-10", by default the first one that was measured.
    ax : matplotlib.axes.Axes, optional
        Where to draw, by default in a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes.

    Raises
    ------
    InputError
        If there are no measurements of this network, or matplotlib is not installed.
    """
    nets = {m.net: None for m in results.measurements}
    if not nets:
        raise InputError("there are no measurements to draw")
    net = next(iter(nets)) if net is None else net
    choose("network", net, nets)
    ax = axes(ax)
    measured = [m for m in results.measurements if m.net == net]
    ax.set(title=net, yscale="log", xlabel="mini-batch size", ylabel="examples/s")
    _plot_throughput(ax, measured, _styles(results))
    ax.legend()
    return ax


def _figure(results: Results) -> Any:
    from matplotlib.figure import Figure

    nets = sorted({m.sizes for m in results.measurements}, key=flops_per_example)
    columns = 2 if len(nets) == 4 else min(len(nets), 3)
    blocks = -(-len(nets) // columns)
    figure = Figure(figsize=(1.0 + 3.2 * columns, 1.4 + 4.4 * blocks), layout="constrained")
    figure.suptitle(
        f"Training in {results.dtype}: {'; '.join(m.device for m in results.machines)}; {results.date[:10]}"
    )
    axes = figure.subplots(2 * blocks, columns, squeeze=False, sharey="row")
    styles = _styles(results)
    for i in range(blocks * columns):
        block, column = divmod(i, columns)
        above, below = axes[2 * block][column], axes[2 * block + 1][column]
        if i >= len(nets):
            above.set_axis_off()
            below.set_axis_off()
            continue
        measured = [m for m in results.measurements if m.sizes == nets[i]]
        above.set(title=measured[0].net, yscale="log", ylabel="" if column else "examples/s")
        below.set(xlabel="mini-batch size", ylabel="" if column else "share of peak")
        _plot_throughput(above, measured, styles)
        _plot_share_of_peak(below, measured, results, styles)
    for row in axes[1::2]:
        row[0].set_ylim(bottom=0.0)  # for all panels of the row, now that all lines have been drawn
    handles = {line.get_label(): line for panel in axes.flat for line in panel.get_lines()}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 4))
    return figure


def _styles(results: Results) -> dict[str, Style]:
    return dict(zip(dict.fromkeys(m.backend for m in results.measurements), cycle(_STYLES), strict=False))


def _plot_throughput(axes: Any, measured: list[Measurement], styles: dict[str, Style]) -> None:
    """Draw the examples per second with bars from quartile to quartile, and the rate of the matrix products alone."""
    for where in dict.fromkeys(m.where for m in measured):
        backend, first = next(pair for pair in _by_backend(measured) if pair[1][0].where == where)
        floors = [m.examples / m.floor_seconds.median for m in first]
        sizes = [m.mini_batch_size for m in first]
        axes.plot(
            sizes, floors, color=styles[backend][0], linewidth=5, alpha=0.3, label=f"matrix products alone, {where}"
        )
    for backend, of_backend in _by_backend(measured):
        sizes = [m.mini_batch_size for m in of_backend]
        _plot_line(axes, sizes, [m.examples_per_second for m in of_backend], backend, styles)
        low, high = ([m.examples / getattr(m.epoch_seconds, end) for m in of_backend] for end in ("high", "low"))
        axes.vlines(sizes, low, high, color=styles[backend][0])
    _format_batch_axis(axes, measured)


def _plot_share_of_peak(axes: Any, measured: list[Measurement], results: Results, styles: dict[str, Style]) -> None:
    """Draw the rate of the matrix products as a share of the peak rate."""
    from matplotlib.ticker import PercentFormatter

    for backend, of_backend in _by_backend(measured):
        peak = results.peak(of_backend[0].where)
        if peak is not None:
            shares = [m.flops_per_second / peak for m in of_backend]
            _plot_line(axes, [m.mini_batch_size for m in of_backend], shares, backend, styles)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _format_batch_axis(axes, measured)


def _plot_line(axes: Any, sizes: list[int], values: list[float], backend: str, styles: dict[str, Style]) -> None:
    color, line, marker = styles[backend]
    axes.plot(sizes, values, color=color, linestyle=line, marker=marker, markersize=5, label=backend)


def _by_backend(measured: list[Measurement]) -> Iterator[tuple[str, list[Measurement]]]:
    for backend in dict.fromkeys(m.backend for m in measured):
        yield backend, sorted((m for m in measured if m.backend == backend), key=lambda m: m.mini_batch_size)


def _format_batch_axis(axes: Any, measured: list[Measurement]) -> None:
    """Use a logarithmic axis with ticks at the mini-batch sizes that were measured."""
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted({m.mini_batch_size for m in measured})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(alpha=0.3)
