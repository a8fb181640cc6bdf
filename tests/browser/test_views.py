"""Every view, with and without much in it: usable by keyboard and screen reader, and deaf to what names say."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from browser.pictures import PICTURE
from browser.visitor import Visit, Visitor
from plane import Plane, finished
from reels import reel

EVIL = "<img src=x onerror=window.pwned=1>"
SCRIPT = "<script>window.pwned=1</script>"
ORDER = ["resume", "pause", "restart", "cancel", "retry", "edit", "redo", "approve", "export", "delete"]


def hostile() -> dict[str, Any]:
    """A job that says scripts wherever a job may say something, and whose program says more."""
    says = f"echo '{SCRIPT}' >&2; cd $CARRYON_OUTPUT; echo '{EVIL}{SCRIPT}' > page.html; cp page.html it.svg"
    made = reel("hostile", script=f'{says}; [ "$CARRYON_INDEX" != 1 ] || exit 12')
    made["spec"]["items"] = {"list": [{"id": item, "params": {"prompt": EVIL}} for item in (EVIL, SCRIPT, "../../x")]}
    made["spec"]["stages"][0]["generate"]["command"]["args"].append("{{ item.prompt }}")
    return made


def at_ease(visitor: Visitor, what: str) -> None:
    found = visitor.serious_barriers()
    assert found == [], f"{what}: {found}"


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_nothing_serious_in_any_view(plane: Plane, visit: Visit, scheme: str) -> None:
    plane.apply(reel("reel", clips=4, script=f'[ "$CARRYON_INDEX" != 2 ] || exit 12; {PICTURE}', unitsPerPod=4))
    plane.wait_for("reel", finished)
    visitor = visit(color_scheme=scheme, reduced_motion="reduce")
    page = visitor.page
    expect(page.get_by_role("link", name="reel", exact=True)).to_be_visible()
    at_ease(visitor, "jobs")
    page.get_by_role("checkbox", name="Select reel").check()
    at_ease(visitor, "jobs, one selected")
    visitor.open("reel").sees_unit("clip", 3, "done")
    at_ease(visitor, "job")
    for view in ("Map", "List"):
        page.get_by_role("button", name=view).click()
        at_ease(visitor, f"job, {view}")
    page.get_by_text("Settings", exact=True).click()
    expect(page.get_by_role("region", name="The job as YAML")).to_contain_text("GenerationJob")
    at_ease(visitor, "settings")
    for action, title in (("delete", "Delete reel?"), ("export", "Export reel"), ("redo", "Make a unit anew")):
        visitor.press(action)
        expect(page.get_by_role("dialog", name=title)).to_be_visible()
        at_ease(visitor, title)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    for item in ("1", "2"):
        visitor.go(f"#/jobs/default/reel/units/clip/{item}")
        panel = page.get_by_role("complementary", name=f"Unit clip {item}")
        expect(panel.get_by_role("heading", name="Attempts")).to_be_visible()
        at_ease(visitor, f"unit {item}")
    for route, heading in (("#/new", "New job"), ("#/jobs/default/reel/edit", "Edit reel")):
        visitor.go(route)
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
        expect(page.locator(".findings h2")).not_to_have_text("Checking…")
        at_ease(visitor, heading)
        page.get_by_role("button", name="YAML").click()
        at_ease(visitor, f"{heading}, as YAML")
    visitor.go("#/import")
    expect(page.get_by_role("heading", name="Import an archive")).to_be_visible()
    at_ease(visitor, "import")


def test_names_prompts_logs_and_files_that_are_scripts_are_shown_and_never_run(plane: Plane, visit: Visit) -> None:
    plane.apply(hostile())
    plane.wait_for("hostile", finished)
    visitor = visit().open("hostile")
    page = visitor.page
    page.on("dialog", lambda dialog: visitor.wrong.append(dialog.message))
    expect(visitor.unit("clip", 0)).to_contain_text(EVIL)
    for index in range(3):
        visitor.unit("clip", index).click()
        expect(page.get_by_role("complementary").get_by_role("heading", name="Attempts")).to_be_visible()
        if index != 1:
            expect(page.get_by_role("region", name="page.html")).to_contain_text(SCRIPT)
            for name in ("page.html", "it.svg"):
                with visitor.context.expect_page() as opening:
                    page.get_by_role("link", name=name, exact=True).click()
                opening.value.wait_for_load_state()
                assert opening.value.evaluate("() => window.pwned") is None, name
                opening.value.close()
        else:
            expect(page.get_by_role("region", name="End of the log")).to_contain_text(SCRIPT)
        page.get_by_role("link", name="Close this unit").click()
    page.get_by_text("Settings", exact=True).click()
    expect(page.get_by_role("region", name="The job as YAML")).to_contain_text(EVIL)
    visitor.go("#/jobs/default/hostile/edit")
    expect(page.get_by_role("textbox", name="Id of item 1")).to_have_value(EVIL)
    assert page.evaluate("() => window.pwned") is None


def test_controls_stand_in_one_order_and_those_that_cannot_be_used_say_why(plane: Plane, visit: Visit) -> None:
    plane.apply(reel("reel", clips=1, script=PICTURE))
    plane.wait_for("reel", finished)
    visitor = visit().open("reel")
    visitor.sees_phase("Succeeded")
    buttons = visitor.page.locator(".job-head [data-action]")
    assert buttons.evaluate_all("found => found.map(each => each.dataset.action)") == ORDER
    assert visitor.reason("pause") == "It has succeeded: there is nothing to pause"
    pause = visitor.control("pause")
    expect(pause).to_have_attribute("aria-disabled", "true")
    pause.focus()
    visitor.page.keyboard.press("Shift+Tab")
    visitor.page.keyboard.press("Tab")
    expect(pause).to_be_focused()
    expect(visitor.page.get_by_role("tooltip", name="It has succeeded: there is nothing to pause")).to_be_visible()
    visitor.page.keyboard.press("Enter")
    visitor.sees_toast("Pause: it has succeeded: there is nothing to pause")
    assert not plane.get("reel")["spec"].get("suspend")


def test_the_keyboard_alone_gets_from_the_list_to_a_unit_and_back(plane: Plane, visit: Visit) -> None:
    plane.apply(reel("reel", clips=12, script=PICTURE, unitsPerPod=6))
    plane.wait_for("reel", finished)
    visitor = visit()
    page = visitor.page
    page.get_by_role("link", name="reel", exact=True).focus()
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
    page.get_by_role("button", name="Map").click()
    page.get_by_role("application").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".map-readout")).to_contain_text("clip 2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("complementary", name="Unit clip 2")).to_be_visible()
