"""Telling a person how training goes: a bar on a terminal, a plain line an epoch anywhere else."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fastbp.training import Epoch, Watcher


@contextmanager
def watching(wanted: bool, examples: int) -> Iterator[Watcher]:
    """Give a watcher of training over so many examples in all, which writes to standard error."""
    if not wanted:
        yield Watcher()
    elif sys.stderr is None or not sys.stderr.isatty():
        yield Lines()
    else:
        bar = Bar(examples)
        try:
            yield bar
        finally:
            bar.close()


class Lines(Watcher):
    """A line an epoch."""

    def finished(self, epoch: Epoch) -> None:
        """Print the epoch."""
        print(epoch, file=sys.stderr, flush=True)


class Bar(Watcher):
    """A bar that moves with the examples and carries the last epoch's figures."""

    def __init__(self, examples: int) -> None:
        from tqdm import tqdm

        class Quiet(tqdm):  # type: ignore[misc]
            monitor_interval = 0  # no thread of its own, which a fork would leave behind

        self._bar = Quiet(total=examples, unit=" examples", unit_scale=True, dynamic_ncols=True, leave=False)

    def advanced(self, examples: int) -> None:
        """Move."""
        self._bar.update(examples)

    def finished(self, epoch: Epoch) -> None:
        """Show the epoch's figures, above the bar for good."""
        self._bar.write(str(epoch), file=sys.stderr)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()
