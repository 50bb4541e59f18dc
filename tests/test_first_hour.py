"""The tutorial does what it says, command by command and line by line."""

import os
import re
import shlex
import subprocess
from pathlib import Path

from commands import FASTBP, PYTHON

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/first-hour.md").read_text(encoding="utf-8")


def test_it_installs_as_the_readme_does():
    (command,) = re.findall(r"^    (python3 -m venv .*)$", PAGE, re.MULTILINE)
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_and_line_in_order(tmp_path):
    python = []  # all of it so far, since a block builds on those before
    for language, block in re.findall(r"```(sh|python)\n(.*?)```", PAGE, re.DOTALL):
        if language == "python":
            python.append(block)
            commands = [[*PYTHON, "-c", "\n".join(python)]]
        else:
            commands = [[*FASTBP, *shlex.split(line)[1:]] for line in block.splitlines()]
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path, env=os.environ)
            assert done.returncode == 0, (command[-1], done.stderr)
    made = {"curves.png", "speed.png", "digits.safetensors", "run.safetensors", "own.safetensors", "classes.csv"}
    assert made <= set(os.listdir(tmp_path))
    assert len((tmp_path / "classes.csv").read_text().splitlines()) == 1 + 359


def test_the_commands_of_the_page_are_all_there_are():
    from fastbp.cli import fastbp

    for name in fastbp.commands:
        assert re.search(rf"^fastbp {name}\b", PAGE, re.MULTILINE), name
