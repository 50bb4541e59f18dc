"""The workflow tests the Pythons that pyproject.toml promises, with commands that CONTRIBUTING.md explains."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORKFLOW = (ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def minors(text):
    """Return the minor versions of the Pythons in a text, each once, in order."""
    return sorted({int(minor) for minor in re.findall(r"\b3\.(\d+)\b", text)})


def lines(pattern, text=WORKFLOW):
    """Return what the group of a pattern matches in each line, as lines."""
    return "\n".join(re.findall(pattern, text, re.MULTILINE))


def test_the_workflow_tests_every_promised_python():
    tested = minors(lines(r"^ +python: \[(.*)\]"))
    assert PROJECT["requires-python"] == f">=3.{tested[0]}"
    assert tested == [*range(tested[0], tested[-1] + 1)]
    classifiers = lines(r"^Programming Language :: Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]))
    assert {*minors(classifiers)} <= {*tested}
    assert {*minors(lines(r"^ +python-version: (.*)$"))} <= {*tested}


def test_contributing_explains_the_commands_of_the_workflow():
    """Those of one line each: the blocks that build and use the wheel are the workflow's own."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    explained = {*re.findall(r"`([^`\n]+)`", text), *lines(r"^ {4}(\S.*)$", text).splitlines()}
    commands = {*lines(r"^ +(?:- )?run: ([^|\s].*)$").splitlines()}
    assert commands >= {"pytest -n 2", "pytest -n 2 -m cuda", "mypy"}
    assert commands <= explained, commands - explained
