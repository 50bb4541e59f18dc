"""Every command and every Python block of the tutorial runs, and prints what the tutorial shows."""

import contextlib
import io
import os
import re
import shlex
from pathlib import Path

import pytest
from commands import run_command

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/first-hour.md").read_text(encoding="utf-8")
NUMBER = r"(?<![\w.])[\d,]+(?:\.\d+)?(?:e-?\d+)?(?=%|×|\b)"


def pattern(line):
    """Return a regular expression for a line: any number matches any other, and … matches any text."""
    parts = re.split(rf"(…|{NUMBER}| +)", line.strip())
    joined = "".join(
        ".*"
        if part == "…"
        else r"[\d,.e-]+"
        if re.fullmatch(NUMBER, part)
        else r"\s+"
        if part.isspace()
        else re.escape(part)
        for part in parts
    )
    return re.compile(rf"\s*{joined}\s*")


def compare(shown, printed):
    """Assert that the lines shown are those printed, in order; a line with only … stands for any number of lines."""
    lines, skipping = printed.strip().splitlines(), False
    for line in shown.strip().splitlines():
        if line.strip() == "…":
            skipping = True
            continue
        while skipping and lines and not pattern(line).fullmatch(lines[0]):
            lines.pop(0)
        assert lines, (line, printed)
        assert pattern(line).fullmatch(lines[0]), (line, lines[0])
        lines.pop(0)
        skipping = False
    assert skipping or not lines, lines


def test_the_comparison_finds_other_texts():
    compare("accuracy 97.77% on the 359\n…\nend", "accuracy 8% on the 3\nx\ny\nend\n")
    for shown, printed in (("accuracy 1%", "cost 1%"), ("a\nb", "a"), ("a", "a\nb"), ("a\n…\nc", "a\nb")):
        with pytest.raises(AssertionError):
            compare(shown, printed)


def test_the_installation_command_is_that_of_the_readme():
    (command,) = re.findall(r"^    (python3 -m venv .*)$", PAGE, re.MULTILINE)
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_and_python_block_runs_in_order_and_prints_what_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, printed = {}, ""  # one namespace, since blocks use names of earlier blocks
    for language, block in re.findall(r"```(sh|python|text)\n(.*?)```", PAGE, re.DOTALL):
        if language == "text":
            compare(block, printed)
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block, "docs/first-hour.md", "exec"), names)
            printed = out.getvalue()
        else:
            done = run_command(*shlex.split(block)[1:])
            assert done.returncode == 0, (block, done.stderr)
            printed = done.stdout
    created = {"curves.png", "speed.html", "three.html", "seven.html", "run.safetensors", "fruit.safetensors"}
    assert created <= set(os.listdir(tmp_path))


def test_the_output_of_every_command_is_shown():
    commands = re.findall(r"```sh\nfastbp .*\n```\n\n```(\w+)", PAGE)
    assert len(commands) == len(re.findall("```sh", PAGE))
    assert set(commands) == {"text"}


def test_every_subcommand_is_on_the_page():
    from fastbp.cli import fastbp

    for name in fastbp.commands:
        assert re.search(rf"^fastbp {name}\b", PAGE, re.MULTILINE), name


@pytest.mark.slow
def test_the_mean_accuracies_over_five_seeds_are_those_of_the_table():
    rows = re.findall(r"^\| (?:`(--.*)`|none) \| ([\d.]+) % \|$", PAGE, re.MULTILINE)
    assert len(rows) == 8
    for options, mean in rows:
        accuracies = []
        for seed in range(5):
            done = run_command("train", *options.split(), "--seed", seed)
            accuracies += [float(value) for value in re.findall(r"accuracy ([\d.]+)% on the 359 test", done.stdout)]
        assert sum(accuracies) / 5 == pytest.approx(float(mean), abs=0.5), options
