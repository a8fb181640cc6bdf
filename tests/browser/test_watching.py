"""People watch a reel being made, stop it, and have it go on."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from browser.pictures import PICTURE, WIDTH, held_from
from browser.visitor import Visit
from plane import Plane
from reels import reel


def test_a_reel_grows_from_nothing_to_15_of_15_before_ones_eyes_without_a_reload(plane: Plane, visit: Visit) -> None:
    visitor = visit()
    plane.apply(reel("reel", script=PICTURE, unitsPerPod=5))
    visitor.page.get_by_role("link", name="reel", exact=True).click()
    visitor.watch_progress()
    visitor.sees_progress("15/15")
    visitor.sees_phase("Succeeded")
    for index in range(15):
        visitor.sees_unit("clip", index, "done")
    seen = visitor.watched()
    done = [int(each.split("/")[0]) for each in seen if "/" in each]
    assert done == sorted(done)
    assert done[-1] == 15
    assert len(done) > 2, f"only {seen} was shown on the way"
    expect(visitor.unit("clip", 14).locator("img")).to_be_visible()
    shown = "picture => picture.decode().then(() => picture.naturalWidth)"
    assert visitor.unit("clip", 14).locator("img").evaluate(shown) == WIDTH


def test_a_paused_reel_says_what_remains_and_finishes_with_that_while_another_browser_sees_the_same(
    plane: Plane, visit: Visit, gate: Path
) -> None:
    plane.apply(reel("reel", script=held_from(6, gate), unitsPerPod=5))
    visitor, other = visit().open("reel"), visit().open("reel")
    visitor.sees_progress("6/15")
    visitor.press("pause")
    expect(visitor.control("pause")).to_have_text("Pausing…")
    for each in (visitor, other):
        each.sees_phase("Suspended")
        expect(each.control("resume")).to_have_text("Resume (9 remaining)")
        each.sees_progress("6/15")
    assert "suspended already" in other.reason("pause").lower()
    gate.touch()
    other.press("resume")
    other.sees_toast("Resumed: 6 kept, 9 to make")
    for each in (visitor, other):
        each.sees_progress("15/15")
        each.sees_phase("Succeeded")
