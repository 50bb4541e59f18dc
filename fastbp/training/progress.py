"""Progress on standard error: a bar on a terminal, one line per epoch elsewhere. In a notebook, a bar in the output."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

from fastbp.files.outputs import BestEffortStream, wrapped
from fastbp.files.reading import StrPath
from fastbp.training.history import Epoch
from fastbp.training.loop import Watcher
from fastbp_kernels.compile_events import on_compile

_LARGE = 2**26  # bytes that take about a second to read


@contextmanager
def watching(progress: bool, examples: int) -> Iterator[Watcher]:
    """Yield a `Watcher` that writes progress to standard error. If `progress` is False, it writes no progress.

    `examples` is the number of examples to be processed in all epochs together.
    """
    if not progress:
        yield Watcher()
        return
    lines = NotebookBar(examples) if _in_notebook() else Bar(examples) if _on_terminal() else Lines()
    try:
        with on_compile(lines.compiling):
            yield lines
    finally:
        lines.close()


@contextmanager
def reading(path: StrPath) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the number of bytes just read, and reports progress on standard error.

    The total is the size of the file, or of all files in the folder. Progress is reported at once for large files,
    after half a second for others, and not at all for small ones.
    """
    total = _size(Path(path))
    stream, begun, done, shown = BestEffortStream(sys.stderr), time.perf_counter(), 0, 0.0
    quiet = 0.0 if total is not None and total > _LARGE else 0.5
    bar: Any = None

    small = total is not None and total < _LARGE / 16

    def advance(count: int) -> None:
        nonlocal bar, done, shown
        if small:
            return
        done += count
        seconds = time.perf_counter() - begun
        if bar is not None:
            bar.update(count)
        elif seconds > quiet and _on_terminal():
            bar = _bar(total, stream, unit="B", unit_scale=True, desc="reading")
            bar.update(done)
        elif seconds > quiet and (not shown or seconds > shown + 2.0):
            shown = seconds
            of = f" of {total / 1e6:,.0f}" if total else ""
            stream.write(f"reading: {done / 1e6:,.0f}{of} MB\n")

    if not quiet:
        advance(0)  # show progress at once, because pandas is imported next
    try:
        yield advance
    finally:
        if bar is not None:
            bar.close()


def _size(path: Path) -> int | None:
    """Return the size in bytes of a file or of all files in a folder, or None for standard input."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else None


@contextmanager
def stages(count: int) -> Iterator[Callable[[str], None]]:
    """Yield a function that reports progress on standard error.

    Call this function at the start of each of the `count` steps of work, with the name of the step.
    """
    lines, begun = Lines(), 0
    style = "{n}/{total} {desc} {bar}  {elapsed}, about {remaining} left"
    bar = _bar(count, lines.stream, bar_format=style) if _on_terminal() else None

    def report_stage(name: str) -> None:
        nonlocal begun
        begun += 1
        if bar is None:
            lines.print(f"{begun}/{count}  {name}")
        else:
            bar.set_description_str(name, refresh=False)
            bar.n = begun - 1
            bar.refresh()

    try:
        with on_compile(lines.compiling):
            yield report_stage
    finally:
        if bar is not None:
            bar.close()


class Lines(Watcher):
    """Prints a line after each epoch, but at most two lines per second; the line of the last epoch is always printed.

    The examples per second and the time left include the time for validation and checkpoints.

    Lines that cannot be written are dropped, and training continues.
    """

    def __init__(self) -> None:
        self.stream = BestEffortStream(sys.stderr)
        self._silent_until, self._compiling, self._since = 0.0, False, time.perf_counter()
        self.rate: float | None = None  # examples per second of the last epoch

    def resumed(self, epoch: int, epochs: int, finished: bool) -> None:
        """Print with which epoch a run continues, or that it was finished."""
        if not finished:
            self.print(f"continuing with epoch {epoch} of {epochs}")
        elif epoch > epochs:
            self.print(f"this run was finished: it has {epoch - 1} epochs; to continue it, ask for more epochs")
        else:
            self.print(f"this run was finished: it stopped early after {epoch - 1} epochs")

    def finished(self, epoch: Epoch) -> None:
        """Print the epoch, unless a line was printed within the last half second."""
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        self.rate = epoch.examples_per_second * epoch.seconds / max(seconds, epoch.seconds)
        if now >= self._silent_until or epoch.number == epoch.epochs:
            self._silent_until = now + 0.5
            self.print(str(epoch._replace(seconds=seconds, examples_per_second=self.rate)))

    def warned(self, message: str) -> None:
        """Print a warning."""
        self.print(f"warning: {message}")

    def compiling(self) -> None:
        """Print, on the first call only, that code is being compiled, which takes some seconds."""
        if not self._compiling:
            self._compiling = True
            self.print("compiling; this takes some seconds the first time")

    def close(self) -> None:
        """Do nothing, because lines need no cleaning up."""

    def print(self, line: str) -> None:
        """Print a line."""
        self.stream.write(f"{wrapped(line, sys.stderr)}\n")


class Bar(Lines):
    """Shows a bar with the fraction of examples processed, and prints lines above the bar.

    The examples per second and the time left are those of the last epoch, as in its line.
    """

    def __init__(self, examples: int) -> None:
        super().__init__()
        style = "{percentage:3.0f}% {bar} {speed} examples/s  {left} s left"  # like the line of an epoch
        self._bar = _bar(examples, self.stream, rate_of=lambda: self.rate, bar_format=style)

    def resumed(self, epoch: int, epochs: int, finished: bool) -> None:
        """Print with which epoch a run continues. The examples of earlier epochs do not count for the rate."""
        super().resumed(epoch, epochs, finished)
        self._bar.initial = self._bar.n

    def advanced(self, examples: int) -> None:
        """Advance the bar."""
        self._bar.update(examples)

    def print(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.write(wrapped(line, sys.stderr), file=self.stream)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()


class NotebookBar(Lines):
    """Shows one bar below the cell of a notebook, with the results of the current epoch."""

    def __init__(self, examples: int) -> None:
        super().__init__()
        from tqdm import notebook, std

        style = "{l_bar}{bar}| {left} s left"
        kind = notebook.tqdm if find_spec("ipywidgets") else std.tqdm
        self._bar = _bar(examples, sys.stdout, kind=kind, bar_format=style, leave=True)

    def advanced(self, examples: int) -> None:
        """Advance the bar."""
        self._bar.update(examples)

    def print(self, line: str) -> None:
        """Show a line in place of the previous one."""
        self._bar.set_description_str(line)

    def warned(self, message: str) -> None:
        """Print a warning that stays."""
        self._bar.write(f"warning: {message}", file=sys.stdout)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def _on_terminal() -> bool:
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


def _bar(
    total: int | None,
    stream: Any,
    kind: Any = None,
    rate_of: Callable[[], float | None] = lambda: None,
    **options: Any,
) -> Any:
    """Return a bar of tqdm. Its format may contain {speed} and {left}, from the rate that `rate_of` returns.

    If it returns None, the rate is the average since the start of the bar. `kind` is a subclass of tqdm's bar.
    """
    from tqdm import tqdm

    class Quiet(kind or tqdm):  # type: ignore[misc]
        monitor_interval = 0  # do not start tqdm's thread: a fork would not copy it

        @property
        def format_dict(self) -> dict[str, Any]:
            """What the format of the bar may show. tqdm itself shows 0 seconds left as long as it knows no rate."""
            shown: dict[str, Any] = super().format_dict
            done, elapsed = shown["n"] - shown["initial"], shown["elapsed"]
            rate = rate_of() or (done / elapsed if elapsed else 0.0)
            left = f"{(shown['total'] - shown['n']) / rate:,.0f}" if rate and shown["total"] else "?"
            return {**shown, "left": left, "speed": f"{rate:,.0f}" if rate else "?"}

    return Quiet(total=total, file=stream, **_size_of(stream), **({"leave": False} | options))


def _size_of(stream: Any) -> dict[str, Any]:
    """Return the options for the size of a bar: that of the terminal at any time, or a usual one if it reports 0.

    On a terminal with 0 columns and rows, tqdm itself would show nothing.
    """
    with suppress(OSError, ValueError, AttributeError):  # not a terminal
        if 0 in os.get_terminal_size(stream.fileno()):
            return {"ncols": get_terminal_size().columns - 1, "nrows": 24}
    return {"dynamic_ncols": True}
