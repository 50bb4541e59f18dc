"""The tutorial does what it says, command by command and line by line."""

import os
import re
import shlex
from pathlib import Path

from commands import run_command

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/first-hour.md").read_text(encoding="utf-8")


def test_it_installs_as_the_readme_does():
    (command,) = re.findall(r"^    (python3 -m venv .*)$", PAGE, re.MULTILINE)
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_and_line_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}  # one session of Python, since a block builds on those before
    for language, block in re.findall(r"```(sh|python)\n(.*?)```", PAGE, re.DOTALL):
        if language == "python":
            exec(compile(block, "docs/first-hour.md", "exec"), names)
        else:
            for line in block.splitlines():
                done = run_command(*shlex.split(line)[1:])
                assert done.returncode == 0, (line, done.stderr)
    made = {"curves.png", "speed.png", "digits.safetensors", "run.safetensors", "own.safetensors", "classes.csv"}
    assert made <= set(os.listdir(tmp_path))
    assert len((tmp_path / "classes.csv").read_text().splitlines()) == 1 + 359


def test_the_commands_of_the_page_are_all_there_are():
    from fastbp.cli import fastbp

    for name in fastbp.commands:
        assert re.search(rf"^fastbp {name}\b", PAGE, re.MULTILINE), name
