"""Check the bounds on the structure of the source: `python tools/check_structure.py`, from the root of the repository.

At most 24 entries directly in `fastbp/`, at most ten layers, no circle of imports, no file over 350 lines of code, and
no file name that occurs twice. Exits with 1 if a bound is exceeded. Needs the extra `dev`.
"""

import ast
import sys
import tokenize
import tomllib
from collections import Counter
from pathlib import Path

import grimp

SOURCES = ("fastbp", "kernels/fastbp_kernels", "benchmarks", "tools")
MOST_ENTRIES, MOST_LAYERS, MOST_LINES = 24, 10, 350
TWICE = {
    "__init__.py",
    "__main__.py",
    "network.py",  # fastbp's, and the book's
    "operations.py",  # of today, and one for pickles of before 0.2
}
_NO_CODE = (
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENCODING, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
)  # fmt: skip


def entries() -> list[str]:
    """Return what lies directly in `fastbp/`."""
    return sorted(path.name for path in Path("fastbp").iterdir() if path.name != "__pycache__")


def layers() -> list[str]:
    """Return the layers of the first contract of import-linter."""
    with open("pyproject.toml", "rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return list(contracts[0]["layers"])


def circles() -> list[list[str]]:
    """Return the groups of modules that import one another, directly or through others.

    The package `fastbp` itself is left out: modules read the version from it, and it imports them when they are used.
    """
    graph = grimp.build_graph("fastbp", "fastbp_kernels", exclude_type_checking_imports=True)
    modules = graph.modules - {"fastbp"}
    below = {
        module: {module} | {name for name in graph.find_upstream_modules(module) if name != "fastbp"}
        for module in _without_root(graph, modules)
    }
    groups = {frozenset(other for other in below[module] if module in below[other]) for module in modules}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _without_root(graph: grimp.ImportGraph, modules: set[str]) -> set[str]:
    for module in modules:
        graph.remove_import(importer=module, imported="fastbp")
    return modules


def code_lines(path: Path) -> int:
    """Return how many lines of a file hold code: no docstring, comment or blank line."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        for statement in getattr(node, "body", []) if isinstance(getattr(node, "body", None), list) else []:
            if isinstance(statement, ast.Expr) and isinstance(getattr(statement.value, "value", None), str):
                docstrings.update(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    lines: set[int] = set()
    with open(path, "rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in _NO_CODE:
                lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def main() -> int:
    """Print each bound with what was found; return the exit code."""
    files = [path for source in SOURCES for path in sorted(Path(source).rglob("*.py"))]
    longest = max(files, key=code_lines)
    names = Counter(path.name for path in files if path.parts[0] in ("fastbp", "kernels"))
    twice = sorted(name for name, count in names.items() if count > 1 and name not in TWICE)
    found = [
        (len(entries()) <= MOST_ENTRIES, f"{len(entries())} entries in fastbp/, at most {MOST_ENTRIES}"),
        (len(layers()) <= MOST_LAYERS, f"{len(layers())} layers, at most {MOST_LAYERS}"),
        (not circles(), f"circles of imports: {circles() or 'none'}"),
        (code_lines(longest) <= MOST_LINES, f"{code_lines(longest)} lines of code in {longest}, at most {MOST_LINES}"),
        (not twice, f"file names that occur twice: {', '.join(twice) or 'none'}"),
    ]
    for passed, text in found:
        print("passed" if passed else "FAILED", "", text)
    return 0 if all(passed for passed, _ in found) else 1


if __name__ == "__main__":
    sys.exit(main())
