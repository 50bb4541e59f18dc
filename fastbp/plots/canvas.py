"""What all plots share: new Axes, labels of any length, and colours."""

import textwrap
from importlib.util import find_spec
from typing import Any

from fastbp.errors import InputError

# Okabe and Ito's colours, which colour-blind readers can tell apart. Line styles differ too, for greyscale.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
LINES = ("-", "--", "-.", ":")


def axes(ax: Any, width: float = 4.8, height: float = 3.6) -> Any:
    """Return `ax`, or the Axes of a new figure if it is None; raise `InputError` if matplotlib is missing."""
    if ax is not None:
        return ax
    check_matplotlib()
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def check_matplotlib() -> None:
    """Raise `InputError` if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise InputError("pictures need matplotlib, which is not installed: pip install 'fastbp[plot]'")


def label(text: Any, width: int = 18, lines: int = 3) -> str:
    r"""Return a text in short lines, so that it fits into a picture. The end of a very long text becomes "…".

    >>> label("Iris-setosa"), label("a name that is far too long for one line")
    ('Iris-setosa', 'a name that is far\ntoo long for one\nline')
    """
    words = " ".join(str(text).split()).replace("$", r"\$")  # a dollar sign would start a formula
    return textwrap.fill(words, width, max_lines=lines, placeholder=" …")
