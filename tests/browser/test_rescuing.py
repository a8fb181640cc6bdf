"""People put right what does not go on by itself, from the page alone."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from browser.pictures import PICTURE
from browser.visitor import Visit
from plane import Plane
from reels import begun_units, reel


def test_a_unit_that_hangs_is_restarted_and_finishes(plane: Plane, visit: Visit, tmp_path: Path) -> None:
    hung = tmp_path / "hung"
    once = f'[ "$CARRYON_INDEX" != 1 ] || [ -e {hung} ] || {{ touch {hung}; sleep 600; }}'
    plane.apply(reel("stuck", clips=3, script=f"{once}; {PICTURE}"))
    visitor = visit().open("stuck")
    visitor.sees_progress("2/3")
    visitor.sees_unit("clip", 1, "active")
    expect(visitor.control("restart")).to_have_text("Restart (1 active)")
    visitor.press("restart")
    visitor.sees_toast("Restart")
    visitor.sees_progress("3/3")
    visitor.sees_phase("Succeeded")
    assert plane.get("stuck")["status"]["counters"]["restarts"] == 1


def test_a_unit_that_failed_shows_its_reason_and_log_and_is_retried(
    plane: Plane, visit: Visit, gate: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    noted = f'echo "$CARRYON_STAGE/$CARRYON_ITEM" >> {begun}'
    fails = f'[ "$CARRYON_INDEX" != 2 ] || [ -e {gate} ] || {{ echo "no colour called beige" >&2; exit 12; }}'
    plane.apply(reel("torn", clips=4, script=f"{noted}; {fails}; {PICTURE}"))
    visitor = visit().open("torn")
    visitor.sees_phase("Failed")
    visitor.sees_unit("clip", 2, "failed")
    expect(visitor.unit("clip", 2)).to_contain_text("BadRequest")
    visitor.unit("clip", 2).click()
    panel = visitor.page.get_by_role("complementary", name="Unit clip 2")
    expect(panel.get_by_role("region", name="End of the log")).to_contain_text("no colour called beige")
    visitor.page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    gate.touch()
    expect(visitor.control("retry")).to_have_text("Retry failed (1)")
    visitor.press("retry")
    visitor.sees_progress("4/4")
    visitor.sees_phase("Succeeded")
    assert begun_units(begun) == ["clip/0", "clip/1", "clip/2", "clip/2", "clip/3"]
