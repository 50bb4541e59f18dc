"""Learning curves of one or several trainings."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastbp.errors import InputError, brief, choose
from fastbp.files.atomic import check_target, write_atomically
from fastbp.plots.canvas import COLOURS, LINES, axes, check_matplotlib, label

if TYPE_CHECKING:
    from fastbp.training.history import History

FORMATS = (".png", ".svg")
_QUANTITIES = {"cost": "cost", "accuracy": "validation accuracy"}


def learning_curves(
    history: "History | Mapping[str, History]", quantity: Literal["cost", "accuracy"] = "cost", *, ax: Any = None
) -> Any:
    """Draw the costs, or the validation accuracy, over the epochs.

    Parameters
    ----------
    history : History, or mapping of str to History
        What `Network.train` returned; or several of them with their names for the legend, which is next to the curves.
    quantity : "cost" or "accuracy"
        The costs of training and validation on a logarithmic axis, or the accuracy on the validation data.
    ax : matplotlib.axes.Axes, optional
        Where to draw, by default in a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes.

    Raises
    ------
    InputError
        If there is nothing to draw, or matplotlib is not installed.

    Examples
    --------
    >>> from fastbp import History
    >>> ax = learning_curves({"eta=1": History(cost=[0.9, 0.5]), "eta=3": History(cost=[0.8, 0.2])})
    >>> [line.get_label() for line in ax.get_lines()]
    ['eta=1: training', 'eta=3: training']
    """
    choose("quantity", quantity, _QUANTITIES)
    histories = dict(history) if isinstance(history, Mapping) else {"": history}
    curves = {
        (i, name, part): values
        for i, (name, one) in enumerate(histories.items())
        for part, values in _curves_of(one, quantity)
        if values
    }
    if not curves:
        raise InputError(f"there is no {_QUANTITIES[quantity]} to draw; pass the history of a training")
    several = len(histories) > 1
    ax = axes(ax, 6.4 if several else 4.8)
    for (i, name, part), values in curves.items():
        epochs = range(1, len(values) + 1)
        dashed = part == "validation"
        colour, line = (i, dashed) if several and quantity == "cost" else (i, i) if several else (dashed, dashed)
        style = {"color": COLOURS[colour % len(COLOURS)], "linestyle": LINES[line % len(LINES)]}
        text = ": ".join(filter(None, (str(name), part if quantity == "cost" else "")))
        ax.plot(epochs, values, label=label(text, 30), marker="." if len(epochs) < 30 else "", **style)
    _format(ax, quantity)
    if several:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    elif quantity == "cost":
        ax.legend()
    return ax


def check_picture(path: str | Path) -> Path:
    """Return the path of a picture; raises `InputError` if a picture could not be saved there.

    Call this function before the work whose result is to be drawn. It writes nothing.

    >>> check_picture("curves.gif")
    Traceback (most recent call last):
    fastbp.errors.InputError: the name of a picture must end with .png or .svg, got 'curves.gif'
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"the name of a picture must end with {' or '.join(FORMATS)}, got {brief(str(path))}")
    check_target(path)
    check_matplotlib()
    return path


def save_curves(history: "History", path: str | Path, title: str) -> None:
    """Draw the costs over the epochs, and the validation accuracy if there is one; save as PNG or SVG."""
    from matplotlib.figure import Figure

    path = check_picture(path)
    panels = 2 if history.validation_accuracy else 1
    figure = Figure(figsize=(4.8 * panels, 3.6), layout="constrained")
    figure.suptitle(label(title, 48 * panels))
    first, *others = figure.subplots(1, panels, squeeze=False)[0]
    learning_curves(history, ax=first)
    for ax in others:
        learning_curves(history, "accuracy", ax=ax)
    with write_atomically(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=150)


def _curves_of(history: "History", quantity: str) -> tuple[tuple[str, list[float]], ...]:
    if quantity == "accuracy":
        return (("validation", history.validation_accuracy),)
    return ("training", history.cost), ("validation", history.validation_cost)


def _format(ax: Any, quantity: str) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    if quantity == "accuracy":
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    else:
        ax.set_yscale("log")
    ax.set(xlabel="epoch", ylabel=_QUANTITIES[quantity])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
