"""How tests run Python and the command `fastbp`, in a process of their own or in this one; warnings are errors."""

import io
import os
import sys
from types import SimpleNamespace
from unittest import mock

_DEPRECATIONS = ["DeprecationWarning", "PendingDeprecationWarning"]
PYTHON = [sys.executable, "-W", "error"]
for _category in _DEPRECATIONS:  # as in pyproject.toml: errors only of our own code, not of other packages' insides
    PYTHON += ["-W", f"default::{_category}", "-W", f"error::{_category}:__main__"]
FASTBP = [*PYTHON, "-m", "fastbp"]


def run_command(*arguments, stdout=..., stderr=..., **environment):
    """Run `fastbp` in this process, which is much faster; return its exit code and what it printed.

    Streams of a test's own take the place of those that collect what is printed.
    """
    from fastbp import cli

    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["fastbp", *map(str, arguments)]),
        mock.patch.object(sys, "stdout", out if stdout is ... else stdout),
        mock.patch.object(sys, "stderr", err if stderr is ... else stderr),
        mock.patch.dict(os.environ, environment),  # which also takes back what the command sets
    ):
        try:
            cli.main()
        except SystemExit as left:
            code = left.code
    return SimpleNamespace(returncode=code or 0, stdout=out.getvalue(), stderr=err.getvalue())
