"""The outputs of a command. Writing any of them may fail, for example if a disk is full or a reader has exited."""

import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fastbp.errors import InputError

FAILED, STOPPED, CLOSED = 2, 130, 141
"""Exit codes. FAILED: an output or the command failed. STOPPED: Ctrl-C. CLOSED: the reader of a pipe has exited.

A process that is ended by a signal has the exit code 128 plus the number of the signal. STOPPED is this code for
SIGINT, and CLOSED is this code for SIGPIPE.
"""


class OutputError(Exception):
    """Standard output cannot be written to; `code` is the exit code for this."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def print_line(text: str, end: str = "\n") -> None:
    """Print text on standard output and flush it; raise `OutputError` if that fails.

    >>> print_line("hello")
    hello
    """
    if sys.stdout is None:
        raise OutputError("cannot write to standard output: it is closed", FAILED)
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError as error:
        raise OutputError("cannot write to standard output: its reader has exited", CLOSED) from error
    except (OSError, ValueError) as error:  # ValueError: a closed file, or an encoding that lacks a character
        raise OutputError(f"cannot write to standard output: {_reason(error)}", FAILED) from error


def print_text(text: str) -> None:
    """Print text for people on standard output: like `print_line`, but with lines that fit the terminal.

    >>> print_text("hello")
    hello
    """
    print_line(wrapped(text, sys.stdout))


def warn(text: str) -> None:
    """Print a line on standard error; ignore failures."""
    BestEffortStream(sys.stderr).write(f"{wrapped(text, sys.stderr)}\n")


def wrapped(text: str, stream: Any) -> str:
    """Return a text whose lines are broken between words if the stream is a terminal that is narrower than they are.

    >>> wrapped("one line", None)
    'one line'
    """
    if stream is None or getattr(stream, "closed", False) or not stream.isatty():
        return text
    width = _width(stream)
    options: dict[str, Any] = {"subsequent_indent": "  ", "break_long_words": False, "break_on_hyphens": False}
    lines = (textwrap.fill(line, width, **options) if len(line) > width else line for line in text.split("\n"))
    return "\n".join(lines)


def _width(terminal: Any) -> int:
    """Return the number of columns of the terminal that a stream writes to; COLUMNS in the environment has priority."""
    with suppress(OSError, ValueError, AttributeError):
        if not os.environ.get("COLUMNS"):
            return os.get_terminal_size(terminal.fileno()).columns or shutil.get_terminal_size().columns
    return shutil.get_terminal_size().columns


class BestEffortStream:
    """A wrapper of a text stream that ignores failures. After the first failure, nothing more is written.

    Use it for progress and other output that is not essential. If the stream is None, nothing is written.
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
    """The outputs of one command. Each one is attempted, even if earlier ones failed.

    Failures are reported on standard error. `code` is the exit code so far.
    """

    def __init__(self) -> None:
        self.code = 0
        self._printing = True

    def attempt(self, what: str, make: Callable[..., Any], *arguments: Any) -> bool:
        """Call a function that produces an output, and return whether the call succeeded.

        If the call raises an exception, the exception is reported. `what` completes the sentence "cannot …" in the
        report of an exception whose message is not meant for users.
        """
        try:
            make(*arguments)
        except (InputError, OutputError) as error:
            self.failed(error)
        except Exception as error:  # an exception of matplotlib, say, must not affect the other outputs
            self.failed(InputError(f"cannot {what}: {_reason(error)}"))
        else:
            return True
        return False

    def print(self, text: str) -> None:
        """Print text on standard output, unless printing has failed before."""
        if self._printing:
            self._printing = self.attempt("print", print_text, text)

    def failed(self, error: Exception) -> None:
        """Report an error in one line.

        If the reader of a pipe has exited, nothing is reported, since that is not an error.
        """
        if isinstance(error, OutputError) and error.code == CLOSED:
            self.code = self.code or CLOSED
        else:
            self.code = FAILED
            warn(f"fastbp: {' '.join(str(error).split())}")

    def stopped(self) -> None:
        """Record that Ctrl-C ended the work; the exit code of a failure takes precedence."""
        if self.code != FAILED:
            self.code = STOPPED


def discard_unwritten() -> None:
    """Discard the buffered text of standard output and standard error if this text cannot be written.

    Call this before exiting. Otherwise the interpreter would flush both streams on exit, report the failure again, and
    change the exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):  # streams that are not files, and closed ones
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"
