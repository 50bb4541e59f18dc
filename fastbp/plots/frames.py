"""Results as DataFrames of pandas, which is imported only when they are used."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastbp.gradients import Trace
    from fastbp.training.history import History


def history_frame(history: "History") -> Any:
    """Return a DataFrame with one row per epoch; see `History.to_frame`."""
    import pandas as pd

    names = ("cost", "validation_cost", "validation_accuracy", "seconds")
    columns = {name: getattr(history, name) for name in names if getattr(history, name)}
    return pd.DataFrame(columns, index=pd.RangeIndex(1, len(history.cost) + 1, name="epoch"))


def trace_frame(trace: "Trace") -> Any:
    """Return a DataFrame with one row per example and neuron; see `Trace.to_frame`."""
    import pandas as pd

    from fastbp.plots.traces import _host

    frames = []
    for l, (a, g) in enumerate(zip(trace.activations, trace.activation_gradients, strict=True)):
        n, m = a.shape
        nothing = np.full((n, m), np.nan)
        z, delta = (trace.zs[l - 1], trace.deltas[l - 1]) if l else (nothing, nothing)
        example, neuron = np.divmod(np.arange(n * m), n)
        values = {"z": z, "a": a, "delta": delta, "dC_da": g}
        columns = {name: _host(trace, array).T.ravel() for name, array in values.items()}
        frames.append(pd.DataFrame({"example": example, "layer": l, "neuron": neuron, **columns}))
    return pd.concat(frames, ignore_index=True).sort_values(["example", "layer", "neuron"], ignore_index=True)
