"""People say which pictures go on, have one drawn anew, and deal with many jobs at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser.pictures import PICTURE, held_from
from browser.visitor import Visit
from plane import JOBS, Plane, condition, finished, suspended, until
from reels import reel, versions

pytestmark = pytest.mark.slow


def test_units_wait_until_their_items_are_approved_one_by_one_or_all(plane: Plane, visit: Visit) -> None:
    film = reel("film", clips=3, script=PICTURE, unitsPerPod=3)
    (image,) = film["spec"]["stages"]
    film["spec"]["stages"] = [{**image, "name": "image"}, {**image, "after": ["image"], "approval": "Required"}]
    plane.apply(film)
    visitor = visit().open("film")
    visitor.sees_phase("AwaitingApproval")
    visitor.sees_unit("clip", 1, "waitingForApproval")
    visitor.press("approve")
    dialog = visitor.page.get_by_role("dialog", name="Approve")
    dialog.get_by_role("checkbox", name="1").check()
    assert visitor.serious_barriers() == []
    dialog.get_by_role("button", name="Approve 1").click()
    visitor.sees_unit("clip", 1, "done")
    visitor.sees_unit("clip", 0, "waitingForApproval")
    visitor.press("approve")
    dialog.get_by_role("button", name="Approve all of clip").click()
    visitor.sees_phase("Succeeded")


def test_a_unit_is_made_anew_with_another_seed_and_the_others_stay(plane: Plane, visit: Visit) -> None:
    plane.apply(reel("redone", clips=2, script=PICTURE, unitsPerPod=2))
    plane.wait_for("redone", finished)
    before = versions(plane.job_folder("redone"))
    visitor = visit().open("redone")
    visitor.unit("clip", 1).click()
    panel = visitor.page.get_by_role("complementary", name="Unit clip 1")
    expect(panel.get_by_text(str(before["clip/1"][0].done["seed"]))).to_be_visible()
    panel.get_by_role("button", name="Redo…").click()
    visitor.page.get_by_label("Seed").fill("5")
    visitor.page.get_by_role("dialog").get_by_role("button", name="Redo", exact=True).click()
    until(lambda: len(versions(plane.job_folder("redone"))["clip/1"]) == 2)
    visitor.sees_phase("Succeeded")
    expect(panel.locator(".facts")).to_contain_text("Seed5")
    after = versions(plane.job_folder("redone"))
    assert after["clip/0"] == before["clip/0"]
    (new,) = (each for each in after["clip/1"] if each not in before["clip/1"])
    assert new.done["seed"] == 5


def test_many_jobs_are_paused_with_one_press_and_deleted_after_a_question(
    plane: Plane, visit: Visit, gate: Path
) -> None:
    for name in ("one", "two"):
        plane.apply(reel(name, clips=2, script=held_from(0, gate), parallelism=1))
    plane.apply(reel("three", clips=1, script=held_from(0, gate)))
    visitor = visit()
    page = visitor.page
    for name in ("one", "two"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    bar = page.get_by_role("toolbar", name="What to do with the selected jobs")
    bar.get_by_role("button", name="Pause").click()
    visitor.sees_toast("2 of 2 jobs")
    for name in ("one", "two"):
        plane.wait_for(name, suspended)
        expect(page.locator(f'[data-job="default/{name}"] [data-phase]')).to_have_attribute("data-phase", "Suspended")
    assert not condition(plane.get("three"), "Suspended")
    for name in ("one", "two"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    bar.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Keep it").click()
    assert len(plane.request("GET", JOBS)["items"]) == 3
    bar.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete them").click()
    expect(page.locator("[data-job]")).to_have_count(1)
