"""Configuration of the site: `sphinx-build -W -n docs site`, with the extra `docs`. Nothing is downloaded."""

import os
import re
import warnings
from pathlib import Path

os.environ.setdefault("FASTBP_THREADS", "2")
HERE = Path(__file__).parent
(HERE / "_generated").mkdir(exist_ok=True)

import fastbp  # noqa: E402 (FASTBP_THREADS is read at import)

project, author, copyright = "fastbp", "The fastbp developers", "the fastbp developers"
version = release = fastbp.__version__
extensions = [
    "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_parser", "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]  # fmt: skip
exclude_patterns = ["_generated", "auto_gallery/*.ipynb", "auto_gallery/*.md5", "auto_gallery/*.py", "gallery"]
suppress_warnings = ["config.cache"]  # the order of the gallery is a function, which cannot be pickled
templates_path = ["_templates"]
root_doc = "index"
default_role = "code"

# API
autosummary_generate = True
autodoc_typehints = "none"  # the docstrings describe the types
autodoc_member_order = "bysource"
autodoc_default_options = {
    "exclude-members": "count, index, get_metadata_routing, set_fit_request, set_partial_fit_request, "
    "set_score_request",
}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|np|npt|sklearn|matplotlib|pandas|torch|collections|types|typing)\..*"),
    ("py:class", r"fastbp\.operations\.Backend"),  # the interface of a backend is not public
]

# Markdown
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Gallery
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "remove_config_comments": True,
    "min_reported_time": 1e9,
    "abort_on_example_error": True,
    "capture_repr": (),
    "write_computation_times": False,
    "plot_gallery": "True",
}

# HTML
html_theme = "pydata_sphinx_theme"
html_title = "fastbp"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_extra_path = ["_generated"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": [], "learn/index": []},
    "footer_start": ["copyright"],
    "footer_end": [],
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
}
html_sidebars = {"index": [], "learn/index": [], "changelog": []}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def write_explained_pages(app):
    """Train two small networks, and write the pages of `fastbp explain` that the site links to."""
    folder = HERE / "_generated"
    (x, labels), (x_test, labels_test) = fastbp.datasets.digits()
    net = fastbp.Network([64, 30, 10], rng=0)
    net.train(x, labels, epochs=3, eta=3.0, progress=False)
    net.trace(x_test[:, 7], labels_test[7:8]).to_html(folder / "explain-digit.html", outputs=list("0123456789"))
    xor = fastbp.Network([2, 3, 1], "tanh", dtype="float64", rng=1)
    xor.trace([1.0, 0.0], [1.0]).to_html(folder / "explain-xor.html", inputs=["x₁", "x₂"], outputs=["XOR"])


def add_guide_pages(app, docname, source):
    """List in the guide every page of docs/ that no other page lists."""
    if docname != "guide/index":
        return
    listed = "".join((HERE / f"{name}.md").read_text() for name in ("guide/index", "learn/index", "benchmarks/index"))
    listed += (HERE / "contributing/index.md").read_text() + (HERE / "index.md").read_text()
    others = [
        page.stem for page in sorted(HERE.glob("*.md")) if f"/{page.stem}\n" not in listed and page.stem != "index"
    ]
    source[0] = source[0].replace("<other pages>", "\n".join(f"/{name}" for name in others if name != "changelog"))


_TABLE = re.compile(r"^\|(.*)\|$")
_RULE = re.compile(r"^\|[ -|:]*\|$")


def as_rst(app, what, name, obj, options, lines):
    """Convert the Markdown in docstrings: tables, and signs that mean something else in reStructuredText."""
    out = []
    for line in lines:
        stripped = line.strip()
        if _TABLE.match(stripped):
            if _RULE.match(stripped) and set(stripped) <= set("|- :"):
                continue
            if not out or not out[-1].strip().startswith(("* -", "-")):
                out += ["", ".. list-table::", "   :header-rows: 1", ""]
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", stripped[1:-1])]
            out += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(cells)]
            continue
        out.append(line if stripped.startswith((">>>", "...")) else _escaped(line))
    lines[:] = out


def _escaped(line):
    """Escape |x|, and underscores at the end of names, outside of code."""
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(
        part if i % 2 else re.sub(r"\|(?=\S)|(?<=\w)_(?=\W|$)", r"\\\g<0>", part) for i, part in enumerate(parts)
    )


def setup(app):
    """Connect the functions above."""
    warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive.*")
    app.connect("builder-inited", write_explained_pages)
    app.connect("source-read", add_guide_pages)
    app.connect("autodoc-process-docstring", as_rst, priority=600)
