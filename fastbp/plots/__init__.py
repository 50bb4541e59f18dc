"""Plots of results. Each function draws into the Axes `ax`, by default those of a new figure, and returns the Axes.

They need matplotlib (`pip install fastbp[plot]`) and take values such as a `History`, a `Trace` or arrays:

>>> import fastbp
>>> history = fastbp.History(cost=[0.9, 0.4, 0.2], validation_cost=[1.0, 0.5, 0.4])
>>> ax = fastbp.plots.learning_curves(history)
>>> ax.get_xlabel()
'epoch'

The charts of `fastbp bench` are drawn by `fastbp.bench.charts.throughput`.
"""

from fastbp.plots.classes import confusion_matrix, decision_regions
from fastbp.plots.curves import learning_curves
from fastbp.plots.images import predictions, weight_images
from fastbp.plots.traces import trace

__all__ = ["confusion_matrix", "decision_regions", "learning_curves", "predictions", "trace", "weight_images"]
