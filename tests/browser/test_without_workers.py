"""What the page shows and asks where nothing runs: an API server, the API, and jobs with the status of a test."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

import making
from browser.visitor import WINDOW, go, serious_barriers
from carryon_core.messages import StoreConfig
from carryon_store import open_store
from conftest import S3_BUCKET
from status_site import ADMIN, JOBS, Site, job

NOW = "2026-11-21T18:00:00Z"
WORK = {"total": 4000, "useful": 3100, "checkpointing": 30, "lost": 220, "saved": 700}


def condition(kind: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": NOW}


@pytest.fixture(scope="module")
def config(moto_endpoint: str) -> StoreConfig:
    return StoreConfig(uri=f"s3://{S3_BUCKET}/page", endpoint=moto_endpoint)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, config: StoreConfig, browser: Browser) -> Iterator[Site]:
    """Artifacts are handed out by presigned addresses here, of an origin that the page may not talk to."""
    with Site(tmp_path_factory.mktemp("site"), default_store=config, presign=True) as made:
        yield made


@pytest.fixture
def page(site: Site, browser: Browser) -> Iterator[Page]:
    """A window that is signed in; one that reported an error fails its test."""
    context = browser.new_context(**WINDOW)
    made, wrong = context.new_page(), list[str]()
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    made.goto(f"{site.url}/#token={ADMIN}")
    expect(made.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
    yield made
    context.close()
    for each in site.kube("GET", JOBS)["items"]:
        site.kube("DELETE", f"{JOBS}/{each['metadata']['name']}")
    assert wrong == []


def sees(page: Page, name: str, phase: str) -> None:
    """The list shows a job so: the API knows of it."""
    expect(page.locator(f'[data-job="default/{name}"] [data-phase="{phase}"]')).to_be_visible()


def test_who_leaves_what_is_not_saved_is_asked_whichever_way_they_go(page: Page) -> None:
    go(page, "#/new")
    name = page.get_by_label("Name", exact=True).first
    question = page.get_by_role("dialog", name="Leave without saving?")
    # Nothing was written yet: nothing is asked.
    page.get_by_role("link", name="Import").click()
    expect(page.get_by_role("heading", name="Import an archive")).to_be_visible()
    page.go_back()
    name.fill("half-written")
    page.get_by_role("link", name="Import").click()
    expect(question).to_contain_text("Your new job is not saved")
    assert serious_barriers(page) == []
    question.get_by_role("button", name="Stay").click()
    expect(question).to_have_count(0)
    page.wait_for_url("**/#/new")
    expect(name).to_have_value("half-written")
    page.go_back()
    expect(question).to_be_visible()
    page.keyboard.press("Escape")
    expect(question).to_have_count(0)
    page.wait_for_url("**/#/new")
    expect(name).to_have_value("half-written")
    # Closing the window is asked about by the browser itself.
    with page.expect_event("dialog") as asked:
        page.close(run_before_unload=True)
    assert asked.value.type == "beforeunload"
    asked.value.dismiss()
    expect(name).to_have_value("half-written")
    page.get_by_role("button", name="Sign out").click()
    question.get_by_role("button", name="Stay").click()
    page.get_by_role("link", name="Jobs", exact=True).click()
    question.get_by_role("button", name="Leave").click()
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
    go(page, "#/new")
    expect(name).to_have_value("")


def test_who_stays_is_led_back_also_on_a_page_that_was_loaded_anew(page: Page) -> None:
    go(page, "#/import")
    go(page, "#/new")
    page.reload()
    page.get_by_label("Name", exact=True).first.fill("half-written")
    page.go_back()
    page.get_by_role("dialog", name="Leave without saving?").get_by_role("button", name="Stay").click()
    page.wait_for_url("**/#/new")
    expect(page.get_by_label("Name", exact=True).first).to_have_value("half-written")
    page.go_back()
    page.get_by_role("dialog", name="Leave without saving?").get_by_role("button", name="Leave").click()
    expect(page.get_by_role("heading", name="Import an archive")).to_be_visible()


def test_who_goes_back_to_what_is_not_saved_by_themselves_is_not_asked_any_longer(page: Page) -> None:
    go(page, "#/import")
    go(page, "#/new")
    name = page.get_by_label("Name", exact=True).first
    question = page.get_by_role("dialog", name="Leave without saving?")
    name.fill("half-written")
    page.go_back()
    expect(question).to_be_visible()
    page.go_forward()
    expect(question).to_have_count(0)
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(question).to_be_visible()
    question.get_by_role("button", name="Stay").click()
    page.wait_for_url("**/#/new")
    expect(name).to_have_value("half-written")


def test_what_was_sent_is_saved_and_nothing_is_asked(site: Site, page: Page) -> None:
    site.kube("POST", JOBS, job("edited"))
    sees(page, "edited", "Pending")
    go(page, "#/jobs/default/edited/edit")
    page.get_by_label("How many").fill("5")
    expect(page.locator(".findings h2")).to_have_text("Valid")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".job-title h1")).to_have_text("edited")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert site.kube("GET", f"{JOBS}/edited")["spec"]["items"]["count"] == 5


def test_a_pause_has_an_end_where_somebody_gives_it_one(site: Site, page: Page) -> None:
    site.kube("POST", JOBS, job("reel"))
    running = {"total": 3, "succeeded": 1, "failed": 0, "active": 1, "remaining": 2}
    accepted = [condition("Accepted"), condition("Progressing")]
    site.status("reel", {"observedGeneration": 1, "phase": "Running", "units": running, "conditions": accepted})
    sees(page, "reel", "Running")
    go(page, "#/jobs/default/reel")
    page.get_by_role("button", name="Pause until a time").click()
    dialog = page.get_by_role("dialog", name="Pause reel for a while")
    dialog.get_by_label("How long").fill("")
    expect(dialog.get_by_text("Say for how long.")).to_be_visible()
    expect(dialog.get_by_role("button", name="Pause")).to_be_disabled()
    dialog.get_by_label("How long").fill("90")
    dialog.get_by_label("Counted in").select_option("minutes")
    expect(dialog.get_by_text("Goes on at")).to_be_visible()
    assert serious_barriers(page) == []
    before = datetime.now(UTC)
    dialog.get_by_role("button", name="Pause").click()
    expect(page.locator(".toast").filter(has_text="Pausing until")).to_be_visible()
    spec = site.kube("GET", f"{JOBS}/reel")["spec"]
    ahead = datetime.fromisoformat(spec["suspendUntil"]) - before
    assert timedelta(minutes=89) < ahead < timedelta(minutes=91)
    assert not spec["suspend"]
    still = {**running, "active": 0}
    site.status("reel", {"phase": "Suspended", "units": still, "conditions": [condition("Suspended")]})
    notice = page.locator(f'[data-goes-on="{spec["suspendUntil"]}"]')
    expect(notice).to_contain_text("Goes on at")
    # Another time is another press away, and the list says it too.
    notice.get_by_role("button", name="Another time").click()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    go(page, "#/")
    expect(page.locator('[data-job="default/reel"]')).to_contain_text("goes on in 1 h")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_analytics_show_what_came_of_all_jobs_and_of_none(site: Site, page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.get_by_role("link", name="Analytics").click()
    expect(page.get_by_text("Nothing to add up yet")).to_be_visible()
    assert serious_barriers(page) == []
    for name, kind in (("one", "Succeeded"), ("two", "Failed"), ("three", "")):
        site.kube("POST", JOBS, job(name))
        ended = [condition(each) for each in (kind, "Finished") if kind]
        site.status(
            name,
            {
                "observedGeneration": 1,
                "phase": kind or "Running",
                "units": {"total": 15, "succeeded": 14, "failed": 1, "active": 0, "remaining": 1},
                "stages": [{"name": "clip", "succeeded": "0-1", "started": NOW, "finished": "2026-11-21T18:17:00Z"}],
                "counters": {"failures": 1, "disruptions": 4},
                "recentFailures": [
                    {"stage": "clip", "unit": "2", "reason": "OutOfMemory", "message": "", "attempt": 1, "time": NOW}
                ],
                "gpuSeconds": WORK,
                "conditions": [condition("Accepted"), *ended],
            },
        )
    go(page, "#/")
    for name, phase in (("one", "Succeeded"), ("two", "Failed"), ("three", "Running")):
        sees(page, name, phase)
    page.get_by_role("link", name="Analytics").click()
    figure = page.locator(".figure").filter(has_text="Jobs that succeed")
    expect(figure).to_contain_text("50 %")
    expect(figure).to_contain_text("1 of 2")
    expect(page.locator(".figure").filter(has_text="Saved by resuming")).to_contain_text("35 min")
    causes = page.get_by_role("region", name="Attempts that did not finish, by cause")
    expect(causes.get_by_role("row", name="Pod lost")).to_contain_text("12")
    expect(causes.get_by_role("row", name="OutOfMemory")).to_contain_text("3")
    expect(page.get_by_role("region", name="Time per stage").get_by_role("row", name="clip")).to_contain_text("17 min")
    assert serious_barriers(page) == []
    page.set_viewport_size({"width": 360, "height": 780})
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    expect(page.get_by_role("link", name="Analytics")).to_be_in_viewport(ratio=1)
    assert serious_barriers(page) == []


SLOW_ANALYTICS = """() => {
  const real = window.fetch;
  window.fetch = async (url, options) => {
    if (String(url).includes("/analytics")) await new Promise((resolve, reject) => {
      setTimeout(resolve, 1500);
      options.signal.addEventListener("abort", () => reject(new DOMException("left", "AbortError")));
    });
    return real(url, options);
  };
}"""


def test_analytics_come_though_jobs_change_faster_than_they_can_be_added_up(site: Site, page: Page) -> None:
    site.kube("POST", JOBS, job("busy"))
    expect(page.locator('[data-job="default/busy"]')).to_be_visible()
    page.evaluate(SLOW_ANALYTICS)
    page.get_by_role("link", name="Analytics").click()
    figures = page.locator(".figures")
    deadline = time.monotonic() + 30
    for step in itertools.count():
        if figures.is_visible():
            break
        assert time.monotonic() < deadline
        site.kube("PATCH", f"{JOBS}/busy", {"metadata": {"labels": {"step": str(step)}}})
        page.wait_for_timeout(50)


def test_a_text_in_s3_is_read_on_the_page_though_the_page_may_not_talk_to_s3(
    site: Site, page: Page, config: StoreConfig, tmp_path: Path
) -> None:
    made = site.kube("POST", JOBS, job("subtitled", items={"list": [{"id": "dunes"}]}))
    resolved = making.resolved(made)
    files = {
        "scene.srt": (b"1\n00:00:00,000 --> 00:00:02,000\nDunes <b>at dawn</b>\n", "application/octet-stream"),
        "facts.json": (b'{"seed": 7}', "application/json"),
    }
    making.make(open_store(config), resolved, tmp_path, 0, files)
    done = {"total": 1, "succeeded": 1, "failed": 0, "active": 0, "remaining": 0}
    stages = [{"name": "clip", "total": 1, "succeeded": "0"}]
    status = {"observedGeneration": 1, "phase": "Succeeded", "units": done, "stages": stages}
    site.status("subtitled", {**status, "resolved": {"output": config.uri}})
    sees(page, "subtitled", "Succeeded")
    go(page, "#/jobs/default/subtitled/units/clip/dunes")
    expect(page.get_by_role("region", name="scene.srt")).to_contain_text("Dunes <b>at dawn</b>")
    expect(page.get_by_role("region", name="facts.json")).to_contain_text('{"seed": 7}')
