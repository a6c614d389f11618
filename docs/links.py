"""What a built site refers to: every file and anchor is there, and nothing comes from outside.

Links that a reader may follow to other sites are counted, not checked: that needs a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser fetches by itself; the `href` of an `a` it follows only when told.
_FETCHED = {
    "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src",
    "audio": "src", "embed": "src", "object": "data", "input": "src", "link": "href",
}  # fmt: skip
_IN_STYLE = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")
_OUTSIDE = re.compile(r"^(https?:)?//", re.IGNORECASE)


@dataclass
class Page:
    """What one file refers to.

    Attributes:
        anchors: places within it that a link may name.
        links: where a reader may go.
        fetched: what a browser loads with it.
    """

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._style = tag == "style"
        self.page.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.page.links.append(values["href"])
        reference = values.get(_FETCHED.get(tag, ""))
        if reference and values.get("rel") not in ("canonical", "author"):
            self.page.fetched.append(reference)
        self.page.fetched += [
            part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()
        ]
        self.page.fetched += in_style(values.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self._style:
            self.page.fetched += in_style(data)

    def handle_endtag(self, tag: str) -> None:
        self._style = False


def in_style(text: str) -> list[str]:
    """List what a style sheet makes a browser fetch.

    >>> in_style("@import 'a.css'; p { background: url(b.png) }")
    ['a.css', 'b.png']
    """
    return [url or imported for url, imported in _IN_STYLE.findall(text)]


def read_page(text: str) -> Page:
    """Read what a page of HTML refers to.

    >>> page = read_page('<p id="x"><a href="b.html#y">b</a><img src="c.png">')
    >>> page.anchors, page.links, page.fetched
    ({'x'}, ['b.html#y'], ['c.png'])
    """
    reader = _Reader()
    reader.feed(text)
    return reader.page


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        pages: how many there are.
        links: how many lead to places within the site, all of which were looked at.
        outward: addresses of other sites that readers may follow; these were not looked at.
        problems: one line for each link that leads nowhere and each request to the outside.
    """

    pages: int
    links: int
    outward: frozenset[str]
    problems: tuple[str, ...]


def check(folder: Path) -> Report:
    """Check all pages and style sheets of a site.

    Args:
        folder: the built site.

    Returns:
        What was found; the site is sound if it has no problems.
    """
    pages = {path: read_page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    styles = {path: Page(fetched=in_style(path.read_text(encoding="utf-8")))
              for path in folder.rglob("*.css")}  # fmt: skip
    problems: list[str] = []
    outward: set[str] = set()
    links = 0
    for path, page in {**pages, **styles}.items():
        asked = filter(_OUTSIDE.match, page.fetched)
        problems += [f"{path.relative_to(folder)} fetches {reference}" for reference in asked]
        for reference in (*page.links, *page.fetched):
            scheme = urlsplit(reference).scheme
            if _OUTSIDE.match(reference):
                outward.add(reference)
            elif scheme not in ("data", "mailto", "javascript", "blob"):
                links += 1
                problems += _lost(path, reference, folder, pages)
    return Report(len(pages), links, frozenset(outward), tuple(sorted(set(problems))))


def _lost(path: Path, reference: str, folder: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """Say that a link from `path` leads nowhere, or nothing."""
    parts = urlsplit(reference)
    where = path.parent / unquote(parts.path) if parts.path else path
    target = where.resolve()
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file() or not target.is_relative_to(folder.resolve()):
        yield f"{path.relative_to(folder)} refers to {reference}, which is not there"
        return
    page = pages.get(folder / target.relative_to(folder.resolve()))
    anchor = unquote(parts.fragment)
    if page is not None and anchor and not anchor.startswith("/") and anchor not in page.anchors:
        yield f"{path.relative_to(folder)} refers to {reference}, where there is no such anchor"
