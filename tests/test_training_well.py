"""The Python blocks of docs/training-well.md run, and its comparison of settings is possible."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs/training-well.md").read_text(encoding="utf-8")


def test_every_python_block_runs_in_order():
    pytest.importorskip("matplotlib")
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(compile(block, "docs/training-well.md", "exec"), names)
    best, last, *means = (float(number) for number in printed.getvalue().split())
    assert 1 <= best <= 100
    assert last > 0.9
    assert min(means) > 0.9
