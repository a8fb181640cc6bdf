"""Every view, with and without much in it: usable by keyboard and screen reader, and deaf to what names say."""

from __future__ import annotations

import pytest
from playwright.sync_api import Route, expect

from browser.pictures import PICTURE
from browser.visitor import Visit, Visitor
from plane import Plane, finished
from reels import reel

pytestmark = pytest.mark.slow


def at_ease(visitor: Visitor, what: str) -> None:
    found = visitor.serious_barriers()
    assert found == [], f"{what}: {found}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_view(plane: Plane, visit: Visit, scheme: str) -> None:
    plane.apply(reel("viewed", clips=4, script=f'[ "$CARRYON_INDEX" != 2 ] || exit 12; {PICTURE}', unitsPerPod=4))
    plane.wait_for("viewed", finished)
    visitor = visit(color_scheme=scheme)
    page = visitor.page
    expect(page.get_by_role("link", name="viewed", exact=True)).to_be_visible()
    at_ease(visitor, "jobs")
    page.get_by_role("checkbox", name="Select viewed").check()
    at_ease(visitor, "jobs, one selected")
    visitor.open("viewed").sees_unit("clip", 3, "done")
    at_ease(visitor, "job")
    for view in ("Map", "List"):
        page.get_by_role("button", name=view).click()
        at_ease(visitor, f"job, {view}")
    page.get_by_text("Settings", exact=True).click()
    expect(page.get_by_role("region", name="The job as YAML")).to_contain_text("GenerationJob")
    at_ease(visitor, "settings")
    for action, title in (("delete", "Delete viewed?"), ("export", "Export viewed"), ("redo", "Make a unit anew")):
        visitor.press(action)
        expect(page.get_by_role("dialog", name=title)).to_be_visible()
        at_ease(visitor, title)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    for item in ("1", "2"):
        visitor.go(f"#/jobs/default/viewed/units/clip/{item}")
        panel = page.get_by_role("complementary", name=f"Unit clip {item}")
        expect(panel.get_by_role("heading", name="Attempts")).to_be_visible()
        at_ease(visitor, f"unit {item}")
    for route, heading in (("#/new", "New job"), ("#/jobs/default/viewed/edit", "Edit viewed")):
        visitor.go(route)
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
        expect(page.locator(".findings h2")).not_to_have_text("Checking…")
        at_ease(visitor, heading)
        page.get_by_role("button", name="YAML").click()
        at_ease(visitor, f"{heading}, as YAML")
    visitor.go("#/import")
    expect(page.get_by_role("heading", name="Import an archive")).to_be_visible()
    at_ease(visitor, "import")


def test_on_a_phone_nothing_is_wider_than_the_screen_and_every_control_can_be_tapped(
    plane: Plane, visit: Visit
) -> None:
    plane.apply(reel("pocket", clips=12, script=PICTURE, unitsPerPod=6))
    plane.wait_for("pocket", finished)
    visitor = visit(viewport={"width": 360, "height": 740}, has_touch=True)
    page = visitor.page
    wider = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    job = "#/jobs/default/pocket"
    for route, shown in (
        ("#/", page.get_by_role("link", name="pocket", exact=True)),
        (job, visitor.unit("clip", 0).locator("img")),
        (f"{job}/units/clip/3", page.get_by_role("heading", name="Attempts")),
        (f"{job}/edit", page.get_by_label("Made by")),
        ("#/new", page.get_by_label("Made by")),
        ("#/import", page.get_by_role("heading", name="Import an archive")),
    ):
        visitor.go(route)
        expect(shown).to_be_visible()
        assert page.evaluate(wider) <= 0, route
        assert visitor.serious_barriers() == [], route
    visitor.open("pocket").sees_phase("Succeeded")
    small = "found => found.filter(each => each.getBoundingClientRect().height < 44).map(each => each.textContent)"
    assert page.locator(".job-head [data-action]").evaluate_all(small) == []
    visitor.control("pause").tap(force=True)
    visitor.sees_toast("Pause: it has succeeded: there is nothing to pause")


def test_a_unit_is_opened_before_its_name_is_known(plane: Plane, visit: Visit) -> None:
    plane.apply(reel("unnamed", clips=2, script=PICTURE))
    plane.wait_for("unnamed", finished)
    visitor = visit()
    page = visitor.page
    held: list[Route] = []
    page.route("**/unnamed/units?*", lambda route: held.append(route))
    visitor.open("unnamed")
    visitor.sees_unit("clip", 1, "done")
    expect(visitor.unit("clip", 1)).to_contain_text("#1")
    visitor.unit("clip", 1).focus()
    page.keyboard.press("Enter")
    panel = page.get_by_role("complementary", name="Unit clip 1")
    expect(panel.get_by_role("heading", level=2)).to_be_focused()
    for request in held:
        request.continue_()
    expect(visitor.unit("clip", 1)).not_to_contain_text("#")
    panel.get_by_role("button", name="Redo…").click()
    expect(page.get_by_label("Item", exact=True)).to_have_value("1")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    expect(visitor.unit("clip", 1)).to_be_focused()


def test_the_keyboard_alone_gets_from_the_list_to_a_unit_and_back(plane: Plane, visit: Visit) -> None:
    plane.apply(reel("typed", clips=12, script=PICTURE, unitsPerPod=6))
    plane.wait_for("typed", finished)
    visitor = visit()
    page = visitor.page
    page.get_by_role("link", name="typed", exact=True).focus()
    page.keyboard.press("Enter")
    visitor.sees_unit("clip", 0, "done")
    visitor.unit("clip", 0).focus()
    for key in ("ArrowRight", "ArrowDown", "End", "ArrowLeft", "Home", "ArrowRight"):
        page.keyboard.press(key)
    expect(visitor.unit("clip", 1)).to_be_focused()
    page.keyboard.press("Enter")
    panel = page.get_by_role("complementary", name="Unit clip 1")
    expect(panel.get_by_role("heading", level=2)).to_be_focused()
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    expect(visitor.unit("clip", 1)).to_be_focused()
    page.get_by_role("button", name="Map").click()
    page.get_by_role("application").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".map-readout")).to_contain_text("clip 2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("complementary", name="Unit clip 2")).to_be_visible()
