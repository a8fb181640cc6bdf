"""Files that people drop: what becomes of them, and what of those that are of no use."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit
from zipfile import ZipFile

import pytest
from playwright.sync_api import expect

from browser.pictures import PICTURE
from browser.visitor import Visit
from plane import JOBS, Plane, finished, suspended
from reels import reel

pytestmark = pytest.mark.slow


def test_what_is_no_archive_is_refused_with_its_reason_and_becomes_no_job(
    plane: Plane, visit: Visit, tmp_path: Path
) -> None:
    file = tmp_path / "holiday.carryon"
    file.write_bytes(b"PK\x03\x04 and nothing that follows from it")
    visitor = visit()
    visitor.drop(file)
    expect(visitor.page.get_by_role("alert").filter(has_text="holiday.carryon can't be used")).to_be_visible()
    expect(visitor.page.get_by_role("button", name="Import", exact=True)).to_have_count(0)
    assert plane.request("GET", JOBS)["items"] == []


def test_a_file_dropped_on_the_editor_lies_beside_the_job_for_a_param_to_name(
    plane: Plane, visit: Visit, tmp_path: Path
) -> None:
    photo = tmp_path / "photo of dunes.png"
    photo.write_bytes(bytes(range(256)) * 400)
    plane.apply(reel("fed", clips=1, suspend=True))
    plane.wait_for("fed", suspended)
    visitor = visit().open("fed")
    visitor.press("edit")
    visitor.page.locator(".inputs input[type=file]").set_input_files(photo)
    uri = str(visitor.page.locator(".inputs code").text_content())
    assert uri.startswith("file://")
    assert Path(unquote(urlsplit(uri).path)).read_bytes() == photo.read_bytes()


def test_finished_files_and_a_report_are_downloaded_from_beside_the_job(
    plane: Plane, visit: Visit, tmp_path: Path
) -> None:
    plane.apply(reel("packed", clips=2, script=PICTURE, unitsPerPod=2))
    plane.wait_for("packed", finished)
    visitor = visit(accept_downloads=True).open("packed")
    for link, name, holds in (
        ("Finished files (ZIP)", "packed.zip", ".png"),
        ("Report a problem", "packed-support.zip", ".json"),
    ):
        with visitor.page.expect_download() as downloading:
            visitor.page.get_by_role("link", name=link).click()
        assert downloading.value.suggested_filename == name
        downloading.value.save_as(tmp_path / name)
        with ZipFile(tmp_path / name) as archive:
            assert archive.testzip() is None
            assert any(member.endswith(holds) for member in archive.namelist()), archive.namelist()


def test_where_a_job_sends_word_is_shown_with_what_came_of_it(plane: Plane, visit: Visit) -> None:
    told = [{"url": "http://127.0.0.1:9/hook", "events": ["Succeeded"]}]
    plane.apply(reel("told", clips=1, script=PICTURE, notify=told))
    plane.wait_for("told", lambda job: bool((job.get("status") or {}).get("notifications")))
    visitor = visit().open("told")
    box = visitor.page.locator(".fact-box").filter(has=visitor.page.get_by_role("heading", name="Notifications"))
    expect(box).to_contain_text("http://127.0.0.1:9/hook")
    expect(box).to_contain_text("Succeeded:")
