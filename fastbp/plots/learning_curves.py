"""Pictures of how training went; needs matplotlib, the extra `plot`."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastbp.errors import InputError
from fastbp.files.tensors import check_target, write_whole
from fastbp.training.history import History

FORMATS = (".png", ".svg")


def check_picture(path: str | Path) -> Path:
    """Return a path that a picture can be saved to, or raise `InputError` before any work is done for it.

    >>> check_picture("curves.gif")
    Traceback (most recent call last):
    fastbp.errors.InputError: cannot save a picture as 'curves.gif'; valid endings: .png, .svg
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"cannot save a picture as {str(path)!r}; valid endings: {', '.join(FORMATS)}")
    check_target(path)
    if find_spec("matplotlib") is None:
        raise InputError("pictures need matplotlib, which is not installed: pip install 'fastbp[plot]'")
    return path


def save_curves(history: History, path: str | Path, title: str) -> None:
    """Draw the cost and, where there is one, the validation accuracy over the epochs; save PNG or SVG, whole or not."""
    path = check_picture(path)
    figure = _curves(history, title)
    with write_whole(path) as file:
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
        axes[0].plot(epochs, history.validation_cost, label="held out", marker="." if len(epochs) < 30 else "")
    axes[0].set(ylabel="cost", yscale="log")
    axes[0].legend()
    if panels == 2:
        axes[1].plot(epochs, history.validation_accuracy, color="C1", marker="." if len(epochs) < 30 else "")
        axes[1].set(ylabel="held-out examples right")
        axes[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    for panel in axes:
        panel.set(xlabel="epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
    return figure
