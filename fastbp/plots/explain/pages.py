"""HTML pages in one file, without requests: the page about a trace, and what it shares with the page of a benchmark."""

import html
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fastbp.files.atomic import check_target, write_atomically
from fastbp.files.reading import StrPath
from fastbp.plots.explain.values import check_trace, page_values

if TYPE_CHECKING:
    from fastbp.gradients import Trace

# The browser refuses every request, also if names in the data contained HTML.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'"


def write_page(
    trace: "Trace", path: StrPath, example: int = 0, *, inputs: Sequence[str] = (), outputs: Sequence[str] = (),
    subject: str = "one example",
) -> None:  # fmt: skip
    """Write the page about one example of a trace. Bad arguments are refused before anything is computed."""
    inputs, outputs = list(inputs), list(outputs)  # may be arrays
    check_trace(trace, example, inputs, outputs)
    check_target(path)
    values = page_values(trace, example, inputs, outputs)
    page = assembled(f"Backpropagation of {subject}", "fastbp.plots.explain", "explain", values)
    with write_atomically(path) as file:
        file.write(page.encode(errors="backslashreplace"))


def assembled(title: str, package: str, name: str, data: dict[str, Any]) -> str:
    """Return a page made from the files NAME.html, NAME.css and NAME.js of a package, and data for the script."""
    folder = files(package)
    body, style, script = ((folder / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    common = (files("fastbp.plots.explain") / "common.css").read_text(encoding="utf-8")
    content = json.dumps(data, allow_nan=False).replace("<", "\\u003c")  # no text in it can end the script element
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{common}{style}</style>
</head>
<body>
{body}<script type="application/json" id="data">{content}</script>
<script>
{script}</script>
</body>
</html>
"""
