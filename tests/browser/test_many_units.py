"""A job of 10,000 units is as quick to look at as one of ten."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from browser.visitor import Visit
from plane import Plane
from reels import reel

UNITS = 10_000
ELEMENTS_MOST = 1_500
"""Of the whole page, whatever is shown."""
LONGEST_MS = 250
"""That the page may be deaf for at a time, on a machine that is busy with other tests."""

pytestmark = pytest.mark.slow

NOTE_LONG_TASKS = """() => {
  window.tasks = [];
  new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((each) => each.duration)))
    .observe({ type: "longtask" });
}"""


def test_10_000_units_are_shown_with_few_elements_and_without_a_halt(plane: Plane, visit: Visit) -> None:
    plane.apply(reel("many", clips=UNITS, parallelism=0))
    plane.wait_for("many", lambda job: ((job.get("status") or {}).get("units") or {}).get("total") == UNITS)
    visitor = visit().open("many")
    page = visitor.page
    visitor.sees_progress(f"0/{UNITS:,}")
    page.evaluate(NOTE_LONG_TASKS)
    page.get_by_role("application").focus()
    page.keyboard.press("End")
    expect(page.locator(".map-readout")).to_contain_text("clip 9999")
    page.get_by_role("button", name="Cards").click()
    expect(visitor.unit("clip", 0)).to_contain_text("0")
    for _ in range(12):
        page.mouse.wheel(0, 20_000)
        page.wait_for_timeout(60)
        assert page.evaluate("() => document.querySelectorAll('*').length") < ELEMENTS_MOST
    # The wheel goes on turning for a while: at the end there is nowhere to go.
    expect(visitor.unit("clip", UNITS - 1)).to_be_in_viewport()
    visitor.unit("clip", UNITS - 1).focus()
    page.keyboard.press("Home")
    expect(visitor.unit("clip", 0)).to_be_focused()
    page.keyboard.press("End")
    expect(visitor.unit("clip", UNITS - 1)).to_be_focused()
    expect(visitor.unit("clip", UNITS - 1)).to_contain_text("9999")
    page.get_by_role("button", name="List").click()
    expect(page.get_by_text(f"1\u201350 of {UNITS:,}")).to_be_visible()
    assert page.evaluate("() => document.querySelectorAll('*').length") < ELEMENTS_MOST
    page.get_by_role("button", name="Map").click()
    plane.patch("many", {"spec": {"parallelism": 1, "unitsPerPod": 50}})
    expect(page.locator(".legend [data-state=done] .count")).to_be_visible(timeout=60_000)
    assert max(page.evaluate("() => window.tasks"), default=0) < LONGEST_MS
    # Last, because axe is a long task too.
    page.get_by_role("button", name="List").click()
    assert visitor.serious_barriers() == []
