"""Plots of classes: the confusion matrix, and the regions of two inputs."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastbp.errors import InputError, brief, whole_number
from fastbp.plots.canvas import COLOURS, axes, label

_MARKERS = "osD^vPX*"


def confusion_matrix(labels: Any, predicted: Any, names: Sequence[str] = (), *, ax: Any = None) -> Any:
    """Draw how often each class was predicted as each class.

    Parameters
    ----------
    labels, predicted : array of int, shape (m,)
        The true classes, and those of `net.predict`.
    names : sequence of str
        Names of the classes, by default their numbers.
    ax : matplotlib.axes.Axes, optional
        Where to draw, by default in a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes. Rows are true classes, and columns are predicted ones. The colour is the share of the row.

    Raises
    ------
    InputError
        If the arrays do not fit together, or matplotlib is not installed.

    Examples
    --------
    >>> ax = confusion_matrix([0, 0, 1], [0, 1, 1], ["cat", "dog"])
    >>> [text.get_text() for text in ax.texts]
    ['1', '1', '1']
    """
    labels, predicted, names = np.asarray(labels), np.asarray(predicted), list(names)
    if (
        labels.ndim != 1
        or labels.shape != predicted.shape
        or not labels.size
        or {labels.dtype.kind, predicted.dtype.kind} - set("iu")
    ):
        given = f"{brief(labels.shape)} and {brief(predicted.shape)}"
        raise InputError(f"labels and predicted must be integers of one shape (m,), got shapes {given}")
    count = 1 + max(int(labels.max()), int(predicted.max()))
    if names and len(names) < count:
        raise InputError(f"names must have a name for each of the {count} classes, got {len(names)}")
    count = len(names) or count
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (labels, predicted), 1)
    side = min(max(3.6, 1.4 + 0.42 * count), 12.0)
    ax = axes(ax, side + 0.4, side)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (i, j), n in np.ndenumerate(table):
        if n and count <= 30:
            ax.text(j, i, f"{n}", ha="center", va="center", size=8, color="white" if shares[i, j] > 0.5 else "black")
    texts = [label(name) for name in (names or range(count))]
    long = max(map(len, texts)) > 3
    if count <= 30:
        ax.set_xticks(range(count), texts, rotation=90 if long else 0, size=8)
        ax.set_yticks(range(count), texts, size=8)
    ax.set(xlabel="predicted class", ylabel="true class")
    return ax


def decision_regions(
    predict: Callable[[Any], Any], x: Any, labels: Any, names: Sequence[str] = (), *, points: int = 200, ax: Any = None
) -> Any:
    """Draw which class a network predicts for each point of a plane, and examples in it.

    Parameters
    ----------
    predict : callable
        A function of inputs of shape (2, m) that returns m classes, such as `net.predict`.
    x : array, shape (2, m)
        Examples. The plane is drawn around them.
    labels : array of int, shape (m,)
        The classes of the examples.
    names : sequence of str
        Names of the classes for the legend, by default their numbers.
    points : int
        The number of points in each direction at which `predict` is evaluated.
    ax : matplotlib.axes.Axes, optional
        Where to draw, by default in a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes.

    Raises
    ------
    InputError
        If the arrays do not fit together, or matplotlib is not installed.

    Examples
    --------
    >>> ax = decision_regions(lambda x: (x[0] > x[1]).astype(int), [[0.0, 1.0], [1.0, 0.0]], [0, 1])
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['0', '1']
    """
    x, labels, names = np.asarray(x, np.float64), np.asarray(labels), list(names)
    if x.ndim != 2 or len(x) != 2 or labels.shape != x.shape[1:] or labels.dtype.kind not in "iu" or not x.size:
        given = f"{brief(x.shape)} and {brief(labels.shape)}"
        raise InputError(f"x and labels must have shapes (2, m) and (m,), with integer labels, got {given}")
    whole_number("points", points, least=2)
    low, high = x.min(axis=1), x.max(axis=1)
    margin = 0.1 * np.maximum(high - low, 1e-9)
    first, second = (np.linspace(a, b, points) for a, b in zip(low - margin, high + margin, strict=True))
    plane = np.stack([grid.ravel() for grid in np.meshgrid(first, second)])
    regions = np.asarray(predict(plane)).reshape(points, points)
    ax = axes(ax)
    from matplotlib.colors import ListedColormap

    classes = range(1 + max(int(labels.max()), int(regions.max()), len(names) - 1))
    colours = [COLOURS[i % len(COLOURS)] for i in classes]
    extent = (first[0], first[-1], second[0], second[-1])
    ax.imshow(
        regions, origin="lower", extent=extent, aspect="auto", cmap=ListedColormap(colours), alpha=0.3, vmin=-0.5,
        vmax=len(colours) - 0.5, interpolation="nearest",
    )  # fmt: skip
    for i in classes:
        of_class = x[:, labels == i]
        marker = _MARKERS[i % len(_MARKERS)]
        ax.scatter(
            *of_class,
            s=22,
            color=colours[i],
            marker=marker,
            edgecolors="black",
            linewidths=0.5,
            label=label(names[i] if names else i),
        )
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    ax.set(xlabel="$x_1$", ylabel="$x_2$")
    return ax
