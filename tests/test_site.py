"""The site lists everything public, and the check of its links finds what leads nowhere."""

import importlib
import re
from pathlib import Path

import pytest

import fastbp

DOCS = Path(__file__).parent.parent / "docs"
MODULES = sorted({name for name in fastbp._MODULES if name != "network"} - {"bench"})


def test_every_public_name_has_a_page():
    listed = set(re.findall(r"^   (\w+)$", (DOCS / "api/index.rst").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(fastbp.__all__) - {"__version__"} <= listed


@pytest.mark.parametrize("module", MODULES)
def test_every_public_module_has_a_page_with_all_of_its_names(module):
    page = (DOCS / f"api/{module}.rst").read_text(encoding="utf-8")
    assert f".. automodule:: fastbp.{module}\n" in page
    found = importlib.import_module(f"fastbp.{module}")
    members = re.findall(r":members:(.*)", page)
    if names := getattr(found, "__all__", None):
        for name in names:
            documented = members == [""] or re.search(rf"\b{name}\b", page)
            assert documented, name
    for thing in vars(found)[module.upper()].values() if module.upper() in vars(found) else ():
        name = next((n for n, value in vars(found).items() if value is thing), type(thing).__name__)
        assert re.search(rf"\b{name}\b", page), name


def test_the_gallery_has_ten_examples():
    assert len(list((DOCS / "gallery").glob("plot_*.py"))) >= 10


def test_the_check_of_links_finds_missing_files_and_anchors(tmp_path):
    from check_links import problems

    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="sub/">x</a><a href="sub/index.html#here">y</a><a href="http://z">z</a>'
    )
    (tmp_path / "sub/index.html").write_text('<p id="here"></p><a href="../index.html">x</a><img src="../p.png">')
    assert problems(tmp_path) == ["sub/index.html: no such file: ../p.png"]
    (tmp_path / "p.png").write_bytes(b"")
    assert problems(tmp_path) == []
    (tmp_path / "index.html").write_text('<a href="sub/#there">x</a><script src="https://elsewhere/x.js"></script>')
    assert problems(tmp_path) == [
        "index.html loads https://elsewhere/x.js",
        "index.html: no such anchor: sub/#there",
    ]
