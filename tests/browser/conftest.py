"""A control plane with real workers, and browsers that look at it. A window that reported an error fails its test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from browser import chromium
from browser.visitor import WINDOW, Visit, Visitor
from plane import Plane

# No verdict on the speed of a machine that does other things as well.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    path = chromium.found()
    if path is None:
        pytest.skip(chromium.MISSING)
    return path


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    """Closed at the end of each module: while Playwright is there, no other test in this process may run a loop."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium_path, args=chromium.switches())
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def shared_plane(chromium_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """Started once, and only where there is a browser to look at it."""
    environment = {"CARRYON_ITEMS_INTERVAL": "1s", "CARRYON_VERIFY_INTERVAL": "3s"}
    made = Plane(tmp_path_factory.mktemp("browser") / "plane", environment=environment).start()
    yield made
    made.kill()


@pytest.fixture
def plane(shared_plane: Plane) -> Iterator[Plane]:
    """The control plane; jobs that a test leaves are removed with all that runs of them."""
    yield shared_plane
    shared_plane.clear()


@pytest.fixture
def visit(browser: Browser, plane: Plane) -> Iterator[Visit]:
    """Opens browsers of their own, signed in; arguments as of Playwright's new_context."""
    visitors: list[Visitor] = []

    def come(*, signed_in: bool = True, **options: Any) -> Visitor:
        context = browser.new_context(**{**WINDOW, **options})
        made = Visitor(plane, context, context.new_page())
        visitors.append(made)
        return made.sign_in() if signed_in else made

    yield come
    for each in visitors:
        each.context.close()
    assert [wrong for each in visitors for wrong in each.wrong] == []


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that the programs of a test wait for."""
    return tmp_path / "gate"
