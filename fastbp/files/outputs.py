"""What a command prints and writes, any of which may fail: a disk may be full, the reader of a pipe may have gone."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fastbp.errors import InputError

FAILED, STOPPED, CLOSED = 2, 130, 141
"""Exit codes: an output or the command failed; Ctrl-C; standard output is a pipe that nothing reads any more.

The last two are those of processes that SIGINT and SIGPIPE end, 128 more than the number of the signal.
"""


class OutputError(Exception):
    """Standard output cannot be written to; `code` is the exit code that follows from it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def print_line(text: str, end: str = "\n") -> None:
    """Print text on standard output and flush it; raises `OutputError` if that fails.

    >>> print_line("hello")
    hello
    """
    if sys.stdout is None:
        raise OutputError("cannot write to standard output: it is closed", FAILED)
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError as error:
        raise OutputError("standard output is closed at its other end", CLOSED) from error
    except (OSError, ValueError) as error:  # ValueError: a closed file, or an encoding that lacks a character
        raise OutputError(f"cannot write to standard output: {_reason(error)}", FAILED) from error


def warn(text: str) -> None:
    """Print a line on standard error, or nothing where that fails."""
    BestEffortStream(sys.stderr).write(f"{text}\n")


class BestEffortStream:
    """A text stream, or None, whose writes never fail: after the first that does, nothing more is written.

    For progress and the like, without which the work goes on.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self._works = stream, stream is not None

    def write(self, text: str) -> None:
        """Write text and flush it."""
        if self._works:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):  # ValueError: the stream has been closed
                self._works = False

    def flush(self) -> None:
        """Do nothing: each write has been flushed."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)  # the encoding and the width of a terminal, for tqdm


class Outputs:
    """The outputs of one command: each is attempted, whatever happened to those before it.

    A failure is reported on standard error. `code` is the exit code so far.
    """

    def __init__(self) -> None:
        self.code = 0
        self._printing = True

    def attempt(self, what: str, make: Callable[..., Any], *arguments: Any) -> bool:
        """Call a function that makes an output; report an exception, and return whether there was none.

        `what` completes "cannot", for exceptions whose message is not meant for a user.
        """
        try:
            make(*arguments)
        except (InputError, OutputError) as error:
            self.failed(error)
        except Exception as error:  # whatever matplotlib raises, say, costs its own output only
            self.failed(InputError(f"cannot {what}: {_reason(error)}"))
        else:
            return True
        return False

    def print(self, text: str) -> None:
        """Print text on standard output, unless that failed before."""
        if self._printing:
            self._printing = self.attempt("print", print_line, text)

    def failed(self, error: Exception) -> None:
        """Report an error in one line; one of a pipe that was closed is not worth a line."""
        if isinstance(error, OutputError) and error.code == CLOSED:
            self.code = self.code or CLOSED
        else:
            self.code = FAILED
            warn(f"fastbp: {' '.join(str(error).split())}")

    def stopped(self) -> None:
        """Record that Ctrl-C has ended the work; the exit code of a failure takes precedence."""
        if self.code != FAILED:
            self.code = STOPPED


def discard_unwritten() -> None:
    """Drop what standard output and error still hold and cannot write; for the end of a process.

    The interpreter flushes both as it exits, and would report the failure once more, with an exit code of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):  # of streams that are no files, and of closed ones
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"
