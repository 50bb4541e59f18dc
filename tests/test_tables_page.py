"""Every command and every Python block of docs/tables.md runs."""

import re
import shlex
from pathlib import Path

from commands import run_command

PAGE = (Path(__file__).parent.parent / "docs/tables.md").read_text(encoding="utf-8")


def test_every_command_and_python_block_runs_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, printed = {}, ""
    for language, block in re.findall(r"```(sh|python|text)\n(.*?)```", PAGE, re.DOTALL):
        if language == "python":
            exec(compile(block, "docs/tables.md", "exec"), names)
        elif language == "sh":
            for line in block.splitlines():
                done = run_command(*shlex.split(line)[1:])
                assert done.returncode == 0, (line, done.stderr)
                printed += done.stdout
        else:
            assert all(line in printed for line in block.splitlines())
    assert (tmp_path / "species.csv").read_text().startswith("species,setosa,versicolor,virginica\nsetosa,")
    assert names["net"].score(names["frame"]) > 0.9
