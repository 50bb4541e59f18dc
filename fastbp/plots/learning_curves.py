"""Learning curves of a training. They need matplotlib (`pip install fastbp[plot]`)."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastbp.errors import InputError, brief
from fastbp.files.atomic import check_target, write_atomically
from fastbp.training.history import History

FORMATS = (".png", ".svg")


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
    if find_spec("matplotlib") is None:
        raise InputError("pictures need matplotlib, which is not installed: pip install 'fastbp[plot]'")
    return path


def save_curves(history: History, path: str | Path, title: str) -> None:
    """Draw the costs over the epochs, and the validation accuracy if there is one; save as PNG or SVG."""
    path = check_picture(path)
    figure = _curves(history, title)
    with write_atomically(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=150)


def _curves(history: History, title: str) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    panels = 2 if history.validation_accuracy else 1
    figure = Figure(figsize=(4.8 * panels, 3.6), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    epochs = range(1, len(history.cost) + 1)
    axes[0].plot(epochs, history.cost, label="training", marker="." if len(epochs) < 30 else "")
    if history.validation_cost:
        axes[0].plot(epochs, history.validation_cost, label="validation", marker="." if len(epochs) < 30 else "")
    axes[0].set(ylabel="cost", yscale="log")
    axes[0].legend()
    if panels == 2:
        axes[1].plot(epochs, history.validation_accuracy, color="C1", marker="." if len(epochs) < 30 else "")
        axes[1].set(ylabel="validation accuracy")
        axes[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    for panel in axes:
        panel.set(xlabel="epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
    return figure
