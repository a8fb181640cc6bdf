"""A half-done job leaves the page as a file, and comes back as a job that goes on."""

from __future__ import annotations

import base64
from pathlib import Path

from playwright.sync_api import expect

from browser.pictures import PICTURE
from browser.visitor import Visit, Visitor
from plane import JOBS, Plane, until
from reels import begun_units, reel, versions

DROP = """async ([content, name]) => {
  const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


def drop(visitor: Visitor, file: Path) -> None:
    visitor.page.evaluate(DROP, [base64.b64encode(file.read_bytes()).decode(), file.name])


def test_a_job_exported_while_it_runs_is_deleted_dropped_back_in_and_finishes_without_making_anything_again(
    plane: Plane, visit: Visit, gate: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    noted = f'echo "$CARRYON_STAGE/$CARRYON_ITEM" >> {begun}'
    held = f'[ "$CARRYON_INDEX" -lt 4 ] || while [ ! -e {gate} ]; do sleep 0.1; done'
    plane.apply(reel("reel", clips=6, script=f"{held}; {noted}; {PICTURE}", unitsPerPod=6))
    visitor = visit(accept_downloads=True).open("reel")
    page = visitor.page
    visitor.sees_progress("4/6")
    visitor.press("export")
    with page.expect_download(timeout=60_000) as downloading:
        page.get_by_role("button", name="Pause and download").click()
        expect(page.get_by_text("Pausing for the export")).to_be_visible()
    assert downloading.value.suggested_filename == "reel.carryon"
    archive = tmp_path / "reel.carryon"
    downloading.value.save_as(archive)
    visitor.sees_phase("Suspended")
    before = versions(plane.job_folder("reel"))

    visitor.press("delete")
    page.get_by_role("button", name="Delete the job").click()
    expect(page.get_by_text("has been deleted")).to_be_visible(timeout=30_000)
    until(lambda: plane.request("GET", JOBS)["items"] == [])

    drop(visitor, archive)
    expect(page.get_by_text("4 of 6 done")).to_be_visible()
    assert visitor.serious_barriers() == []
    page.get_by_label("Name", exact=True).fill("reel-again")
    page.get_by_role("button", name="Import", exact=True).click()
    visitor.sees_toast("Imported: 4 of 6 done")
    expect(page.locator(".job-title h1")).to_have_text("reel-again")
    visitor.sees_progress("4/6")
    gate.touch()
    expect(visitor.control("resume")).to_have_text("Resume (2 remaining)")
    visitor.press("resume")
    visitor.sees_toast("Resumed: 4 kept, 2 to make")
    visitor.sees_progress("6/6")
    assert begun_units(begun) == [f"clip/{index}" for index in range(6)]
    after = versions(plane.job_folder("reel-again"))
    for unit, made in before.items():
        assert [each.contents for each in after[unit]] == [each.contents for each in made]


def test_what_is_no_archive_is_refused_with_its_reason_and_becomes_no_job(
    plane: Plane, visit: Visit, tmp_path: Path
) -> None:
    file = tmp_path / "holiday.carryon"
    file.write_bytes(b"PK\x03\x04 and nothing that follows from it")
    visitor = visit()
    drop(visitor, file)
    expect(visitor.page.get_by_role("alert").filter(has_text="holiday.carryon can't be used")).to_be_visible()
    expect(visitor.page.get_by_role("button", name="Import", exact=True)).to_have_count(0)
    assert plane.request("GET", JOBS)["items"] == []
