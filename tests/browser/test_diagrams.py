"""Diagrams of the documentation: the Mermaid that the site brings along draws each of them."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser

from documents import ROOT, Block, blocks

MERMAID = ROOT / "docs/site/theme/vendor/mermaid.tiny.js"
DIAGRAMS = [pytest.param(block, id=block.name) for block in blocks() if block.language == "mermaid"]


@pytest.fixture(scope="module")
def drawing(browser: Browser) -> Any:
    """A page that has nothing but Mermaid, and no network."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.set_content("<body></body>")
    page.add_script_tag(path=MERMAID)
    yield page
    context.close()


@pytest.mark.parametrize("block", DIAGRAMS)
def test_every_diagram_is_drawn(drawing: Any, block: Block) -> None:
    drawn = drawing.evaluate("text => mermaid.render('drawn', text).then(made => made.svg)", block.text)
    assert drawn.startswith("<svg")
    assert "Syntax error" not in drawn


def test_a_diagram_that_can_not_be_drawn_is_seen(drawing: Any) -> None:
    with pytest.raises(Exception, match=r"Parse error|Lexical error|No diagram type"):
        drawing.evaluate("text => mermaid.render('wrong', text)", "flowchart LR\n  a --> ")
