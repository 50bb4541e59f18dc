"""Run Python and the command `fastbp` in tests, in a new process or in this one. Warnings are errors."""

import io
import os
import sys
from types import SimpleNamespace
from unittest import mock

_DEPRECATIONS = ["DeprecationWarning", "PendingDeprecationWarning"]
PYTHON = [sys.executable, "-W", "error"]
for _category in _DEPRECATIONS:  # as in pyproject.toml: errors in our own code only, not inside other packages
    PYTHON += ["-W", f"default::{_category}", "-W", f"error::{_category}:__main__"]
FASTBP = [*PYTHON, "-m", "fastbp"]


def run_command(*arguments, stdout=..., stderr=..., **environment):
    """Run `fastbp` in this process, much faster than in a new one; return its exit code and what it printed.

    A stream that is passed replaces the one that collects the output.
    """
    from fastbp import cli

    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["fastbp", *map(str, arguments)]),
        mock.patch.object(sys, "stdout", out if stdout is ... else stdout),
        mock.patch.object(sys, "stderr", err if stderr is ... else stderr),
        mock.patch.dict(os.environ, environment),  # also undoes what the command sets
    ):
        try:
            cli.main()
        except SystemExit as error:
            code = error.code
    return SimpleNamespace(returncode=code or 0, stdout=out.getvalue(), stderr=err.getvalue())
