"""What people do with the page every day: what `make test` runs, on one control plane. The other modules are slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from browser.pictures import PICTURE, WIDTH, held_from
from browser.visitor import Visit
from carryon_standalone.home import Home
from plane import JOBS, Plane, finished, until
from reels import begun_units, reel, versions

EVIL = "<img src=x onerror=window.pwned=1>"
SCRIPT = "<script>window.pwned=1</script>"
ORDER = ["resume", "pause", "pause-until", "restart", "cancel", "retry", "edit", "redo", "approve", "export", "delete"]


def hostile() -> dict[str, Any]:
    """A job that says scripts wherever a job may say something, and whose program says more."""
    says = f"echo '{SCRIPT}' >&2; cd $CARRYON_OUTPUT; echo '{EVIL}{SCRIPT}' > page.html; cp page.html it.svg"
    made = reel("hostile", script=f'{says}; [ "$CARRYON_INDEX" != 1 ] || exit 12')
    made["spec"]["items"] = {"list": [{"id": item, "params": {"prompt": EVIL}} for item in (EVIL, SCRIPT, "../../x")]}
    made["spec"]["stages"][0]["generate"]["command"]["args"].append("{{ item.prompt }}")
    return made


def test_a_reel_grows_from_0_of_15_to_15_of_15_before_ones_eyes_without_a_reload(
    plane: Plane, visit: Visit, gate: Path
) -> None:
    visitor = visit()
    last = gate.with_name("last")
    # Each of the three pods stops before its last two units.
    halfway = f"[ $((CARRYON_INDEX % 5)) -lt 3 ] || while [ ! -e {last} ]; do sleep 0.25; done"
    plane.apply(reel("growing", script=f"{halfway}; {held_from(0, gate)}", unitsPerPod=5))
    visitor.page.get_by_role("link", name="growing", exact=True).click()
    visitor.sees_progress("0/15")
    visitor.watch("[data-progress]")
    gate.touch()
    visitor.sees_progress("9/15", timeout=60)
    last.touch()
    visitor.sees_progress("15/15", timeout=60)
    visitor.sees_phase("Succeeded")
    for index in range(15):
        visitor.sees_unit("clip", index, "done")
    seen = visitor.watched()
    done = [int(each.split("/")[0]) for each in seen if "/" in each]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 15)
    assert 9 in done, f"only {seen} was shown on the way"
    expect(visitor.unit("clip", 14).locator("img")).to_be_visible()
    shown = "picture => picture.decode().then(() => picture.naturalWidth)"
    assert visitor.unit("clip", 14).locator("img").evaluate(shown) == WIDTH


def test_a_paused_reel_says_what_remains_and_finishes_with_that_while_another_browser_sees_the_same(
    plane: Plane, visit: Visit, gate: Path
) -> None:
    plane.apply(reel("paused", script=held_from(6, gate), parallelism=1, unitsPerPod=15))
    visitor, other = visit().open("paused"), visit().open("paused")
    visitor.sees_progress("6/15")
    visitor.sees_unit("clip", 6, "active")
    visitor.watch("[data-action=pause]")
    visitor.press("pause")
    for each in (visitor, other):
        each.sees_phase("Suspended")
        expect(each.control("resume")).to_have_text("Resume (9 remaining)")
        each.sees_progress("6/15")
    assert visitor.watched() == ["Pause", "Pausing…", "Pause"]
    assert "suspended already" in other.reason("pause").lower()
    gate.touch()
    other.press("resume")
    other.sees_toast("Resumed: 6 kept, 9 to make")
    for each in (visitor, other):
        each.sees_progress("15/15")
        each.sees_phase("Succeeded")


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


def test_a_job_exported_while_it_runs_is_deleted_dropped_back_in_and_finishes_without_making_anything_again(
    plane: Plane, visit: Visit, gate: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    noted = f'echo "$CARRYON_STAGE/$CARRYON_ITEM" >> {begun}'
    held = f'[ "$CARRYON_INDEX" -lt 4 ] || while [ ! -e {gate} ]; do sleep 0.1; done'
    plane.apply(reel("travelling", clips=6, script=f"{held}; {noted}; {PICTURE}", unitsPerPod=6))
    visitor = visit(accept_downloads=True).open("travelling")
    page = visitor.page
    visitor.sees_progress("4/6")
    visitor.press("export")
    visitor.watch(".notice.held strong")
    with page.expect_download(timeout=60_000) as downloading:
        page.get_by_role("button", name="Pause and download").click()
    assert downloading.value.suggested_filename == "travelling.carryon"
    archive = tmp_path / "travelling.carryon"
    downloading.value.save_as(archive)
    visitor.sees_phase("Suspended")
    assert visitor.watched() == ["Pausing for the export."]
    before = versions(plane.job_folder("travelling"))

    visitor.press("delete")
    page.get_by_role("button", name="Delete the job").click()
    expect(page.get_by_text("has been deleted")).to_be_visible()
    until(lambda: plane.request("GET", JOBS)["items"] == [])

    visitor.drop(archive)
    expect(page.get_by_text("4 of 6 done")).to_be_visible()
    assert visitor.serious_barriers() == []
    page.get_by_label("Name", exact=True).fill("travelling-again")
    page.get_by_role("button", name="Import", exact=True).click()
    visitor.sees_toast("Imported: 4 of 6 done")
    expect(page.locator(".job-title h1")).to_have_text("travelling-again")
    visitor.sees_progress("4/6")
    gate.touch()
    expect(visitor.control("resume")).to_have_text("Resume (2 remaining)")
    visitor.press("resume")
    visitor.sees_toast("Resumed: 4 kept, 2 to make")
    visitor.sees_progress("6/6")
    assert begun_units(begun) == [f"clip/{index}" for index in range(6)]
    after = versions(plane.job_folder("travelling-again"))
    for unit, made in before.items():
        assert [each.contents for each in after[unit]] == [each.contents for each in made]


def test_whoever_is_signed_out_keeps_what_they_see_and_can_sign_in_again(
    plane: Plane, visit: Visit, gate: Path
) -> None:
    plane.apply(reel("long", clips=2, script=held_from(1, gate)))
    visitor = visit().open("long")
    assert "token" not in visitor.page.url
    visitor.sees_progress("1/2")
    visitor.context.clear_cookies()
    visitor.press("pause")
    banner = visitor.page.get_by_role("alert").filter(has_text="You are signed out")
    expect(banner).to_be_visible()
    visitor.sees_progress("1/2")
    assert not plane.get("long")["spec"].get("suspend")
    banner.get_by_role("button", name="Sign in again").click()
    visitor.page.get_by_label("Token").fill(Home.of(plane.data).token.read_text().strip())
    visitor.page.get_by_role("button", name="Sign in", exact=True).click()
    expect(banner).to_have_count(0)
    gate.touch()
    visitor.sees_progress("2/2")


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
    plane.apply(reel("done", clips=1, script=PICTURE))
    plane.wait_for("done", finished)
    visitor = visit().open("done")
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
    assert not plane.get("done")["spec"].get("suspend")
