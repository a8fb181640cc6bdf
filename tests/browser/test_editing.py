"""Jobs are written in a form or as YAML, and the API looks at them before they are sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser.pictures import PICTURE, held_from
from browser.visitor import Visit
from plane import JOBS, Plane, finished
from reels import reel

pytestmark = pytest.mark.slow


def test_a_job_written_in_the_form_is_checked_then_created_and_runs(plane: Plane, visit: Visit) -> None:
    visitor = visit().go("#/new")
    page = visitor.page
    expect(page.locator(".findings")).to_contain_text("put right")
    page.get_by_role("button", name="Create the job").click()
    expect(page.locator(".findings h2")).to_be_focused()
    assert plane.request("GET", JOBS)["items"] == []
    page.get_by_label("Name", exact=True).first.fill("made-by-hand")
    page.get_by_label("Made by").select_option("command")
    page.get_by_label("Script").fill('echo "$1" > "$CARRYON_OUTPUT/made.txt"')
    page.get_by_role("button", name="Item", exact=True).click()
    page.get_by_role("textbox", name="prompt of 1").fill("a harbour: at noon")
    page.get_by_role("button", name="YAML").click()
    written = page.get_by_role("textbox", name="The job as YAML").input_value()
    assert "prompt: 'a harbour: at noon'" in written
    page.get_by_role("button", name="Form").click()
    expect(page.locator(".findings h2")).to_have_text("Valid")
    page.get_by_role("button", name="Create the job").click()
    visitor.sees_toast("made-by-hand has been created")
    visitor.sees_progress("2/2")
    assert plane.get("made-by-hand")["spec"]["items"]["list"][1]["params"] == {"prompt": "a harbour: at noon"}


def test_yaml_that_names_an_unknown_field_is_not_sent_and_the_field_is_named(plane: Plane, visit: Visit) -> None:
    visitor = visit().go("#/new")
    page = visitor.page
    page.get_by_role("button", name="YAML").click()
    text = page.get_by_role("textbox", name="The job as YAML")
    text.fill("apiVersion: carryon.dev/v1alpha1\nkind: GenerationJob\nmetadata: {name: x\n")
    expect(page.locator(".findings")).to_contain_text("line")
    expect(page.get_by_role("button", name="Form")).to_be_disabled()
    text.fill(
        "apiVersion: carryon.dev/v1alpha1\nkind: GenerationJob\nmetadata: {name: x}\n"
        "spec:\n  parallelsim: 2\n  items: {count: 1}\n"
        "  stages: [{name: clip, generate: {command: {args: [make, '{{ item.promt }}']}}}]\n"
    )
    expect(page.locator(".findings")).to_contain_text("parallelsim")
    page.get_by_role("button", name="Create the job").click()
    expect(page.locator(".findings h2")).to_be_focused()
    assert plane.request("GET", JOBS)["items"] == []


def test_more_items_are_given_to_a_finished_job_and_an_edit_of_somebody_else_is_not_lost(
    plane: Plane, visit: Visit
) -> None:
    plane.apply(reel("longer", clips=2, script=PICTURE))
    plane.wait_for("longer", finished)
    visitor = visit().open("longer")
    page = visitor.page
    visitor.press("edit")
    page.get_by_label("How many").fill("3")
    plane.patch("longer", {"spec": {"seed": 7}})
    # Whatever is written of a job is an edit by somebody else: what came of this one is written too.
    plane.wait_for("longer", finished)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Somebody has changed this job meanwhile")).to_be_visible()
    page.get_by_role("button", name="Take theirs and begin again").click()
    expect(page.get_by_label("Seed")).to_have_value("7")
    page.get_by_label("How many").fill("3")
    page.get_by_role("button", name="Save").click()
    visitor.sees_progress("3/3")
    assert plane.get("longer")["spec"]["seed"] == 7


def test_an_edit_is_saved_though_the_jobs_status_changes_all_the_time(
    plane: Plane, visit: Visit, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    plane.apply(reel("busy", clips=4, script=held_from(1, gate), parallelism=1))
    visitor = visit().open("busy")
    page = visitor.page
    visitor.sees_progress("1/4")
    visitor.press("edit")
    page.get_by_label("How many").fill("5")
    seen = plane.get("busy")["metadata"]["resourceVersion"]
    gate.touch()
    plane.wait_for("busy", lambda job: job["metadata"]["resourceVersion"] != seen)
    page.get_by_role("button", name="Save").click()
    visitor.sees_progress("5/5")
