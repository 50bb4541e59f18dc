"""Check the links within a built site: `python tools/check_links.py site`. Exits with 1 if one leads nowhere.

Every file that a page refers to must exist, and every `#anchor` must be on its page. Links to other sites are not
followed. Pages must not load anything from other sites.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the attributes of an element."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        loads = values.get("src") or (
            values.get("href") if tag == "link" and "stylesheet" in values.get("rel", "") else ""
        )
        if loads:
            self.loaded.append(loads)


def problems(site: Path) -> list[str]:
    """Return one line per link that leads nowhere, and per file that is loaded from another site."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        found += [f"{name} loads {link}" for link in page.loaded if urlsplit(link).netloc]
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                found.append(f"{name}: no such file: {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name}: no such anchor: {link}")
    return found


def main() -> int:
    """Print the problems; return the exit code."""
    found = problems(Path(sys.argv[1]))
    print("\n".join(found) or "all links within the site lead somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
