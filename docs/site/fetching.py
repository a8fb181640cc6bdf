"""What a browser fetches by itself when it shows a page. Pure: the site's build and its tests ask here."""

from __future__ import annotations

import re
from html.parser import HTMLParser

LOADED = {
    "link": ("href",),
    "img": ("src", "srcset"),
    "object": ("data",),
    "video": ("src", "poster"),
    **dict.fromkeys(("audio", "embed", "iframe", "script", "source", "track"), ("src",)),
}
"""What a browser fetches by itself: tag -> attributes. Of links, all but those that only name something."""
NAMES_ONLY = {"canonical", "alternate", "next", "prev", "license"}
"""Links that a browser does not follow."""
_OTHERS = r"(?:https?:)?//"


def of_page(html: str) -> list[str]:
    """Addresses on other hosts that a page makes its reader's browser fetch."""
    page = _Page()
    page.feed(html)
    return page.addresses


def of_sheet(css: str) -> list[str]:
    """Addresses on other hosts that a style sheet makes it fetch."""
    return re.findall(rf"(?:url\(|@import)\s*['\"]?({_OTHERS}[^)'\"\s]*)", css)


class _Page(HTMLParser):
    """Collects them."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one tag."""
        given = dict(attrs)
        if tag == "link" and set((given.get("rel") or "").split()) <= NAMES_ONLY:
            return
        for name in LOADED.get(tag, ()):
            if re.match(_OTHERS, given.get(name) or ""):
                self.addresses.append(str(given[name]))
        self.addresses += of_sheet(given.get("style") or "")
