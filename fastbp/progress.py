"""Telling a person how training goes: a bar on a terminal, a plain line an epoch anywhere else."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastbp.training import Epoch, Watcher
from fastbp_kernels.compiling import told_of_compiling


@contextmanager
def watching(wanted: bool, examples: int) -> Iterator[Watcher]:
    """Give a watcher of training over so many examples in all, which writes to standard error."""
    if not wanted:
        yield Watcher()
        return
    lines = Lines() if sys.stderr is None or sys.stderr.closed or not sys.stderr.isatty() else Bar(examples)
    try:
        with told_of_compiling(lines.compiling):
            yield lines
    finally:
        lines.close()


class Lines(Watcher):
    """A line an epoch, at most two a second, and always the last."""

    def __init__(self) -> None:
        self._silent_until, self._compiling = 0.0, False

    def finished(self, epoch: Epoch) -> None:
        """Print the epoch unless one was printed just now."""
        now = time.perf_counter()
        if now >= self._silent_until or epoch.number == epoch.epochs:
            self._silent_until = now + 0.5
            self.print(str(epoch))

    def compiling(self) -> None:
        """Print, once, why nothing is to be seen for some seconds."""
        if not self._compiling:
            self._compiling = True
            self.print("compiling, which takes some seconds the first time")

    def close(self) -> None:
        """Leave."""

    def print(self, line: str) -> None:
        """Print a line."""
        if sys.stderr is not None and not sys.stderr.closed:
            print(line, file=sys.stderr, flush=True)


class Bar(Lines):
    """A bar that moves with the examples, below the lines."""

    def __init__(self, examples: int) -> None:
        from tqdm import tqdm

        class Quiet(tqdm):  # type: ignore[misc]
            monitor_interval = 0  # no thread of its own, which a fork would leave behind

        super().__init__()
        self._bar = Quiet(total=examples, unit=" examples", unit_scale=True, dynamic_ncols=True, leave=False)

    def advanced(self, examples: int) -> None:
        """Move."""
        self._bar.update(examples)

    def print(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()
