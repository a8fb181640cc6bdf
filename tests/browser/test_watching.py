"""People watch a reel being made, stop it, and have it go on."""

from __future__ import annotations

import time
from pathlib import Path

from playwright.sync_api import expect

from browser.pictures import PICTURE, WIDTH, held_from
from browser.visitor import Visit
from plane import Plane
from reels import reel

LATEST = 2.0
"""Seconds that a step may take from a worker to the eye."""


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


def test_the_step_of_a_unit_is_shown_at_most_2_seconds_behind_its_worker(
    plane: Plane, visit: Visit, tmp_path: Path
) -> None:
    steps = tmp_path / "steps"
    counting = (
        f'for step in $(seq 24); do echo $step/24 | tee "$CARRYON_PROGRESS" > {steps}; sleep 0.25; done; {PICTURE}'
    )
    plane.apply(reel("slow", clips=1, script=counting))
    visitor = visit().open("slow")
    visitor.sees_unit("clip", 0, "active")
    told: list[tuple[float, int]] = []
    behind: list[tuple[int, int]] = []
    label = visitor.unit("clip", 0).locator(".unit-label")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and visitor.unit("clip", 0).get_attribute("data-state") == "active":
        now = time.monotonic()
        if steps.exists() and (known := steps.read_text().partition("/")[0]).isdigit():
            told.append((now, int(known)))
        shown = label.text_content() or ""
        step = int(shown.partition("step ")[2].partition("/")[0] or 0)
        due = max((number for at, number in told if at <= now - LATEST), default=0)
        behind.append((due, step))
        visitor.page.wait_for_timeout(100)
    assert max(step for _, step in behind) >= 12, f"only {behind} was shown"
    assert [pair for pair in behind if pair[1] < pair[0]] == []
    visitor.sees_progress("1/1")
