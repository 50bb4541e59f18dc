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

    from fastbp.plots.traces import host_arrays

    frames = []
    activations, gradients = host_arrays(trace, trace.activations), host_arrays(trace, trace.activation_gradients)
    nothing = [np.full(activations[0].shape, np.nan)]  # the input layer has neither z nor δ
    zs, deltas = nothing + host_arrays(trace, trace.zs), nothing + host_arrays(trace, trace.deltas)
    for l, arrays in enumerate(zip(zs, activations, deltas, gradients, strict=True)):
        n, m = trace.activations[l].shape
        example, neuron = np.divmod(np.arange(n * m), n)
        columns = zip(("z", "a", "delta", "dC_da"), (array.T.ravel() for array in arrays), strict=True)
        frames.append(pd.DataFrame({"example": example, "layer": l, "neuron": neuron, **dict(columns)}))
    return pd.concat(frames, ignore_index=True).sort_values(["example", "layer", "neuron"], ignore_index=True)
