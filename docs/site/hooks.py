"""What MkDocs does besides: publishes the examples that pages link to, and refuses pages that ask others for things."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
LOADED = {"script": ("src",), "img": ("src", "srcset"), "link": ("href",), "iframe": ("src",), "source": ("src",)}
"""What a browser fetches by itself: tag -> attributes. Of links, all but those that only name something."""
NAMES_ONLY = {"canonical", "alternate", "next", "prev", "license"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Files of the repository that pages link to lie beside the pages."""
    for path in sorted((ROOT / "examples").iterdir()):
        if path.suffix in (".yaml", ".py"):
            files.append(File.generated(config, f"examples/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """In the repository they are one folder further up."""
    return re.sub(r"\]\((\.\./)+(examples/[^)]+)\)", lambda link: f"]({link[0][5:-1]})", markdown)


class Fetched(HTMLParser):
    """Collects the addresses on other hosts that a page makes its reader's browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one tag."""
        given = dict(attrs)
        if tag == "link" and set((given.get("rel") or "").split()) <= NAMES_ONLY:
            return
        for name in LOADED.get(tag, ()):
            if re.match(r"(https?:)?//", given.get(name) or ""):
                self.addresses.append(str(given[name]))


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site of which a page or a style sheet asks another host for something.

    Raises:
        PluginError: One does; the message has the page and the address.
    """
    for page in Path(config.site_dir).rglob("*.html"):
        fetched = Fetched()
        fetched.feed(page.read_text(encoding="utf-8"))
        if fetched.addresses:
            raise PluginError(f"{page}: readers would have to fetch {', '.join(fetched.addresses)}")
    for sheet in Path(config.site_dir).rglob("*.css"):
        if outside := re.findall(r"url\(['\"]?((?:https?:)?//[^)]*)\)", sheet.read_text(encoding="utf-8")):
            raise PluginError(f"{sheet}: readers would have to fetch {', '.join(outside)}")
