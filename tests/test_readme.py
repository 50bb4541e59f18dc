"""The code in the README runs, and the equations, tests and files that documents name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def blocks(document, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)


def test_the_python_blocks_of_the_readme_run(run_python):
    done = run_python("\n".join(blocks("README.md", "python")))
    assert done.returncode == 0, done.stderr


def test_the_readme_is_short_and_its_equations_are_those_of_the_source():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 700
    (equations,) = blocks("README.md", "py")
    source = (ROOT / "fastbp/equations.py").read_text(encoding="utf-8").splitlines()
    code = [line for line in equations.splitlines() if not line.lstrip().startswith("#")]
    assert len(code) == 10
    assert all(line in source for line in code)


def test_functions_and_tests_named_in_equations_md_exist():
    text = (ROOT / "docs/equations.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+)\.py::(\w+)`", text)
    assert len(named) > 20
    for module, name in named:
        (path,) = [*ROOT.glob(f"fastbp/**/{module}.py"), *ROOT.glob(f"tests/**/{module}.py")]
        assert re.search(rf"^(?: *def |class ){name}\b", path.read_text(encoding="utf-8"), re.MULTILINE), (module, name)


DOCUMENTS = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", sorted(DOCUMENTS))
def test_files_named_in_documents_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for path in re.findall(r"`((?:fastbp|kernels|benchmarks|tests|docs)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path
