"""Every command and every Python block of the tutorial runs."""

import os
import re
import shlex
from pathlib import Path

from commands import run_command

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/first-hour.md").read_text(encoding="utf-8")


def test_the_installation_command_is_that_of_the_readme():
    (command,) = re.findall(r"^    (python3 -m venv .*)$", PAGE, re.MULTILINE)
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_and_python_block_runs_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}  # one namespace, since blocks use names of earlier blocks
    for language, block in re.findall(r"```(sh|python)\n(.*?)```", PAGE, re.DOTALL):
        if language == "python":
            exec(compile(block, "docs/first-hour.md", "exec"), names)
        else:
            for line in block.splitlines():
                done = run_command(*shlex.split(line)[1:])
                assert done.returncode == 0, (line, done.stderr)
    created = {"curves.png", "speed.png", "digits.safetensors", "run.safetensors", "fruit.safetensors", "kinds.csv"}
    assert created <= set(os.listdir(tmp_path))
    head, *kinds = (tmp_path / "kinds.csv").read_text().splitlines()
    assert head == "kind,apple,pear"
    assert [line.split(",")[0] for line in kinds] == ["pear", "apple"]


def test_every_subcommand_is_on_the_page():
    from fastbp.cli import fastbp

    for name in fastbp.commands:
        assert re.search(rf"^fastbp {name}\b", PAGE, re.MULTILINE), name
