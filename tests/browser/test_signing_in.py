"""Who is not known sees nothing; who no longer is keeps what is on the screen, and is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser.pictures import held_from
from browser.visitor import Visit
from carryon_standalone.home import Home
from plane import Plane
from reels import reel

pytestmark = pytest.mark.slow


def test_a_stranger_sees_a_form_and_a_wrong_token_is_refused_in_words(plane: Plane, visit: Visit) -> None:
    plane.apply(reel("secret", clips=1))
    visitor = visit(signed_in=False)
    visitor.page.goto(visitor.origin)
    expect(visitor.page.get_by_role("heading", name="Sign in to Carryon")).to_be_visible()
    assert visitor.serious_barriers() == []
    visitor.page.get_by_label("Token").fill("not-a-token")
    visitor.page.get_by_role("button", name="Sign in").click()
    expect(visitor.page.get_by_role("alert").filter(has_text="token")).to_be_visible()
    assert "secret" not in visitor.page.content()
    visitor.page.get_by_label("Token").fill(Home.of(plane.data).token.read_text().strip())
    visitor.page.get_by_role("button", name="Sign in").click()
    expect(visitor.page.get_by_role("link", name="secret")).to_be_visible()
    token = Home.of(plane.data).token.read_text().strip()
    kept = visitor.page.evaluate("() => [document.cookie, JSON.stringify(localStorage), location.href].join()")
    assert token not in kept


def test_a_server_that_is_away_is_said_and_comes_back_by_itself(plane: Plane, visit: Visit, gate: Path) -> None:
    plane.apply(reel("long", clips=2, script=held_from(1, gate)))
    visitor = visit().open("long")
    visitor.sees_progress("1/2")
    banner = visitor.page.get_by_role("alert").filter(has_text="Live updates are interrupted")
    with plane.without("page"):
        expect(banner).to_be_visible()
    gate.touch()
    visitor.sees_progress("2/2", timeout=60)
    expect(banner).to_have_count(0)
