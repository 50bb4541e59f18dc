"""A picture of a trace."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import whole_number
from fastbp.plots.canvas import axes

if TYPE_CHECKING:
    from fastbp.gradients import Trace


def trace(trace: "Trace", *, example: int = 0, ax: Any = None) -> Any:
    """Draw z, a, ∂C_x/∂a and δ of each layer as rows of cells, for one example.

    Parameters
    ----------
    trace : Trace
        What `Network.trace` returned.
    example : int
        The column of the trace, counted from 0.
    ax : matplotlib.axes.Axes, optional
        Where to draw, by default in a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes. Each row has its own scale of colours; the number at its end is its largest absolute value.

    Raises
    ------
    InputError
        If the column does not exist, or matplotlib is not installed.

    Examples
    --------
    >>> from fastbp import Network
    >>> ax = Network([2, 3, 1], rng=0).trace([0.0, 1.0], [1.0]).plot()
    >>> len(ax.get_yticklabels())
    10
    """
    whole_number("example", example, least=0, most=trace.activations[0].shape[1] - 1)
    rows = [(name, array[:, example]) for name, array in _rows(trace)]
    ax = axes(ax, 6.4, 0.8 + 0.32 * len(rows))
    for i, (_, values) in enumerate(rows):
        largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
        cells = np.clip(np.nan_to_num(values / (largest or 1.0), posinf=1.0, neginf=-1.0), -1.0, 1.0)[None]
        ax.imshow(
            cells,
            extent=(0.0, 1.0, i + 0.4, i - 0.4),
            aspect="auto",
            cmap="PuOr_r",
            vmin=-1.0,
            vmax=1.0,
            interpolation="nearest",
        )
        ax.text(1.01, i, f"±{largest:.2g}", va="center", size=8)
    ax.set(xlim=(0.0, 1.0), ylim=(len(rows) - 0.5, -0.5), xticks=[])
    ax.set_yticks(range(len(rows)), [name for name, _ in rows])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def host_arrays(trace: "Trace", arrays: list[Any]) -> list[npt.NDArray[np.float64]]:
    """Return arrays of a trace as NumPy arrays in float64."""
    host = trace.network.plan.backend.to_host if trace.network is not None else np.asarray
    return [np.asarray(host(array), np.float64) for array in arrays]


def _rows(trace: "Trace") -> list[tuple[str, npt.NDArray[np.float64]]]:
    rows = []
    activations, gradients = host_arrays(trace, trace.activations), host_arrays(trace, trace.activation_gradients)
    zs, deltas = host_arrays(trace, trace.zs), host_arrays(trace, trace.deltas)
    for l, (a, g) in enumerate(zip(activations, gradients, strict=True), 1):
        if l > 1:
            rows.append((f"$z^{{{l}}}$", zs[l - 2]))
        rows += [(f"$a^{{{l}}}$", a), (rf"$\partial C/\partial a^{{{l}}}$", g)]
        if l > 1:
            rows.append((rf"$\delta^{{{l}}}$", deltas[l - 2]))
    return rows
