"""Pictures of weights and of examples."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import InputError, brief, whole_number
from fastbp.plots.canvas import axes, label

Shape = tuple[int, int]


def weight_images(w: Any, shape: Shape | None = None, *, most: int = 36, ax: Any = None) -> Any:
    """Draw the weights into each neuron of a layer as a picture, usually those of the first layer.

    Parameters
    ----------
    w : array, shape (n_l, n_{l−1})
        Weights, such as `net.weights[0]`.
    shape : pair of int, optional
        Height and width of one picture, by default a square.
    most : int
        The number of neurons that are drawn. The title says how many there are.
    ax : matplotlib.axes.Axes, optional
        Where to draw, by default in a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes. All pictures share one scale of colours, which is symmetric about 0.

    Raises
    ------
    InputError
        If the weights of a neuron do not have the shape, or matplotlib is not installed.

    Examples
    --------
    >>> ax = weight_images(np.eye(9))
    >>> ax.get_title()
    '9 of 9 neurons'
    """
    w = np.asarray(w, np.float64)
    if w.ndim != 2 or not w.size:
        raise InputError(f"w must have shape (n_l, n_{{l-1}}), got {brief(w.shape)}; pass net.weights[0]")
    height, width = _shape_of(w.shape[1], shape)
    count = min(len(w), whole_number("most", most))
    ax = axes(ax, 4.8, 4.4)
    mosaic, _ = _mosaic(w[:count].reshape(count, height, width))
    largest = float(np.nanmax(np.abs(mosaic))) or 1.0
    image = ax.imshow(mosaic, cmap="PuOr_r", vmin=-largest, vmax=largest)
    ax.figure.colorbar(image, ax=ax, shrink=0.8)
    ax.set_title(f"{count} of {len(w)} neurons")
    ax.set_axis_off()
    return ax


def predictions(
    x: Any, predicted: Any, labels: Any = None, *, names: Sequence[str] = (), shape: Shape | None = None,
    most: int = 25, ax: Any = None,
) -> Any:  # fmt: skip
    r"""Draw examples as pictures with their predicted classes. Wrong ones are marked with ✗ and show both classes.

    Parameters
    ----------
    x : array, shape (n_0, m)
        Inputs, one example per column.
    predicted, labels : array, shape (m,)
        The predicted classes, such as `net.predict(x)`, and the true ones, if they are known.
    names : sequence of str
        Names of the classes, by default their numbers.
    shape : pair of int, optional
        Height and width of one picture, by default a square.
    most : int
        The number of examples that are drawn, from the first on.
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
    >>> ax = predictions(np.eye(9), [0, 1, 2, 0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 1, 2, 0, 1, 1])
    >>> [text.get_text() for text in ax.texts][-2:]
    ['1', '✗ 2\nnot 1']
    """
    x, names = np.asarray(x, np.float64), list(names)
    predicted = np.asarray(predicted)
    truth = predicted if labels is None else np.asarray(labels)
    if x.ndim != 2 or predicted.shape != x.shape[1:] or truth.shape != predicted.shape or not x.size:
        given = f"{brief(x.shape)}, {brief(predicted.shape)} and {brief(truth.shape)}"
        raise InputError(f"x, predicted and labels must have shapes (n_0, m), (m,) and (m,), got {given}")
    height, width = _shape_of(x.shape[0], shape)
    count = min(len(predicted), whole_number("most", most))
    ax = axes(ax, 5.6, 6.0)
    mosaic, places = _mosaic(x[:, :count].T.reshape(count, height, width), above=0.9)
    ax.imshow(mosaic, cmap="Greys")
    size = 9 if not names else 7
    for (top, left), mine, right in zip(places, predicted, truth, strict=False):
        name, true_name = (label(names[int(i)] if names else i, 12, 1) for i in (mine, right))
        text = name if mine == right else f"✗ {name}\nnot {true_name}"
        colour = "black" if mine == right else "#B04A00"
        ax.text(left + width / 2 - 0.5, top - 0.08 * height, text, ha="center", va="bottom", size=size, color=colour)
    ax.set_axis_off()
    return ax


def _shape_of(n: int, shape: Shape | None) -> Shape:
    side = math.isqrt(n)
    if shape is None and side * side != n:
        raise InputError(f"{n} values are not a square picture; pass shape=(height, width)")
    height, width = (side, side) if shape is None else shape
    if height * width != n:
        raise InputError(f"shape must have {n} pixels, got {brief(shape)}")
    return height, width


def _mosaic(pictures: npt.NDArray[Any], above: float = 0.0) -> tuple[npt.NDArray[Any], list[tuple[int, int]]]:
    """Return one picture with all the others in a grid, and the top left corners of each. Between them is NaN.

    `above` is the height of the space above each picture, relative to its own height.
    """
    count, height, width = pictures.shape
    columns = math.ceil(math.sqrt(count))
    rows, free, gap = math.ceil(count / columns), max(1, round(above * height)), max(1, width // 8)
    mosaic = np.full((rows * (height + free), columns * (width + gap) - gap), np.nan)
    places = [(i // columns * (height + free) + free, i % columns * (width + gap)) for i in range(count)]
    for (top, left), picture in zip(places, pictures, strict=True):
        mosaic[top : top + height, left : left + width] = picture
    return mosaic, places
