"""The layout of help texts."""

from collections.abc import Iterable
from shutil import get_terminal_size

import click

_NARROW = 70  # columns of a terminal
_HYPHEN = "\ue000"  # replaces a hyphen until lines have been broken; it is no character of any language


class HelpFormatter(click.HelpFormatter):
    """A formatter of help texts that fits terminals of any width, and does not break a line after a hyphen.

    If a terminal is too narrow for two columns, the description of an option begins below its name.
    """

    def __init__(self, width: int | None = None, max_width: int | None = None) -> None:
        super().__init__(width=width or max(20, min(get_terminal_size().columns, max_width or 80) - 1))

    def write(self, string: str) -> None:
        """Add text."""
        super().write(string.replace(_HYPHEN, "-"))

    def write_text(self, text: str) -> None:
        """Add a paragraph."""
        super().write_text(text.replace("-", _HYPHEN))

    def write_dl(self, rows: Iterable[tuple[str, str | None]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Add a list of names and their descriptions."""
        narrow = self.width < _NARROW
        texts = [(name, (text or "").replace("-", _HYPHEN)) for name, text in rows]
        super().write_dl(texts, 2 if narrow else col_max, col_spacing)


class Context(click.Context):
    """A context whose help texts are formatted by `HelpFormatter`."""

    formatter_class = HelpFormatter
