"""The documentation's site asks nobody but its own host for anything, and is built from what is pinned."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from types import ModuleType

import pytest

from documents import ROOT

SITE = ROOT / "docs/site"
MERMAID = "7a644017d37f93c8359790884e6b67fb1f747c78eb20475952404bd87190a3f8"
"""SHA-256 of dist/mermaid.tiny.js in @mermaid-js/tiny 11.17.2."""


@pytest.fixture(scope="module")
def fetching() -> ModuleType:
    """What the build asks of every page."""
    spec = importlib.util.spec_from_file_location("fetching", SITE / "fetching.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://unpkg.com/mermaid@11/dist/mermaid.min.js"></script>',
        '<link rel="stylesheet" href="//fonts.example.com/css">',
        '<link rel="preconnect" href="https://fonts.example.com">',
        '<img alt="a badge" src="https://badges.example.com/x.svg">',
        '<p style="background: url(https://x.example.com/y.png)">',
        '<video poster="https://x.example.com/y.png"></video>',
    ],
)
def test_a_page_that_asks_another_host_is_refused(fetching: ModuleType, html: str) -> None:
    assert len(fetching.of_page(f"<html><body>{html}</body></html>")) == 1


def test_links_and_what_lies_beside_a_page_are_let_through(fetching: ModuleType) -> None:
    harmless = """
        <a href="https://kueue.sigs.k8s.io">Kueue</a> <link rel="canonical" href="https://docs.example.com/">
        <img src="../images/page/running.png"> <script src="vendor/mermaid.tiny.js"></script>
        <link rel="stylesheet" href="assets/main.css"> <code>src="https://x.example.com"</code>
    """
    assert fetching.of_page(harmless) == []
    assert fetching.of_sheet("a { background: url('../x.png') } b { background: url(data:image/svg+xml;,x) }") == []


@pytest.mark.parametrize("css", ["@import 'https://x.example.com/y.css';", "a { background: url(//x.example.com/y) }"])
def test_a_style_sheet_that_asks_another_host_is_refused(fetching: ModuleType, css: str) -> None:
    assert len(fetching.of_sheet(css)) == 1


def test_mermaid_is_the_one_that_was_published() -> None:
    script = SITE / "theme/vendor/mermaid.tiny.js"
    assert hashlib.sha256(script.read_bytes()).hexdigest() == MERMAID
    assert f"extra_javascript: [vendor/{script.name}]" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_what_builds_the_site_is_pinned_and_not_installed_with_the_rest() -> None:
    lines = (SITE / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[\w-]+==[\w.]+(?: ; .*)?", line) for line in lines)
    ours = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()}
    assert {"mkdocs", "mkdocs-material"} <= {line.partition("==")[0] for line in lines} - ours
