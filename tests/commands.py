"""How tests start Python and the command `fastbp` in processes of their own, where warnings are errors."""

import sys

_DEPRECATIONS = ["DeprecationWarning", "PendingDeprecationWarning"]
PYTHON = [sys.executable, "-W", "error"]
for _category in _DEPRECATIONS:  # as in pyproject.toml: errors only of our own code, not of other packages' insides
    PYTHON += ["-W", f"default::{_category}", "-W", f"error::{_category}:__main__"]
FASTBP = [*PYTHON, "-c", "from fastbp.cli import main; main()"]
