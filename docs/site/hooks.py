"""What MkDocs does besides: publishes the examples that pages link to, and refuses pages that ask others for things."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fetching import of_page, of_sheet
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Files of the repository that pages link to lie beside the pages."""
    for path in sorted((ROOT / "examples").iterdir()):
        if path.suffix in (".yaml", ".py"):
            files.append(File.generated(config, f"examples/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """In the repository they are one folder further up."""
    return re.sub(r"\]\((\.\./)+(examples/[^)]+)\)", lambda link: f"]({link[0][5:-1]})", markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site of which a page or a style sheet asks another host for something.

    Raises:
        PluginError: One does; the message has the page and the address.
    """
    for looked, pattern in ((of_page, "*.html"), (of_sheet, "*.css")):
        for file in Path(config.site_dir).rglob(pattern):
            if addresses := looked(file.read_text(encoding="utf-8")):
                raise PluginError(f"{file}: readers would have to fetch {', '.join(addresses)}")
