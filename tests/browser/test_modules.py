"""The page's pure modules, each rule by itself, in the browser that runs them; no API is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from carryon_api.app import PAGE


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[Page]:
    with served(PAGE) as origin:
        page = browser.new_page()
        page.goto(f"{origin}/icon.svg")
        yield page
        page.close()


def run(window: Page, module: str, code: str, *given: Any) -> Any:
    """What an expression gives in which `m` is a module of the page, and `given` what is handed in."""
    return window.evaluate(
        "async ([module, code, given]) => JSON.parse(JSON.stringify((new Function('m', 'given', `return ${code}`))"
        "(await import(`/model/${module}.js`), given) ?? null))",
        [module, code, list(given)],
    )


@pytest.mark.parametrize(
    ("text", "ranges"),
    [("", []), ("3", [[3, 3]]), ("0-8,11", [[0, 8], [11, 11]]), ("99999", [[99999, 99999]])],
)
def test_index_sets_are_read_and_written_as_the_api_does(window: Page, text: str, ranges: list[list[int]]) -> None:
    assert run(window, "ranges", "m.parse(given[0])", text) == ranges
    assert run(window, "ranges", "m.count(given[0])", text) == sum(last - first + 1 for first, last in ranges)
    indexes = [index for first, last in ranges for index in range(first, last + 1)]
    assert run(window, "ranges", "m.format(given[0])", indexes) == text


@pytest.mark.parametrize("text", ["a", "3-1", "1,,2", "-1"])
def test_what_is_no_index_set_is_no_empty_one(window: Page, text: str) -> None:
    assert run(window, "ranges", "(() => { try { m.parse(given[0]); return false } catch { return true } })()", text)


def test_each_unit_has_one_state_and_skipped_ones_are_not_shown_as_done(window: Page) -> None:
    ranges = {"succeeded": "0-3", "skipped": "3", "failed": "5", "active": "6-7", "waitingForApproval": "8"}
    seen = "[[...s].map(code => m.STATES[code]), m.tally(s), [...m.chosen(s, 'active')]]"
    code = f"(s => {seen})(m.paint(given[0]))"
    states, counts, active = run(window, "units", code, {"total": 10, "ranges": ranges})
    assert states == [
        *["done"] * 3,
        "skipped",
        "waiting",
        "failed",
        "active",
        "active",
        "waitingForApproval",
        "waiting",
    ]
    assert counts == {"done": 3, "active": 2, "failed": 1, "waitingForApproval": 1, "skipped": 1, "waiting": 2}
    assert active == [6, 7]


def test_only_pages_with_a_unit_that_changed_are_looked_at_again(window: Page) -> None:
    code = "[...m.changedPages(Uint8Array.from(given[0]), Uint8Array.from(given[1]), 4)]"
    assert run(window, "units", code, [0] * 12, [0] * 12) == []
    assert run(window, "units", code, [0] * 12, [0, 1, 1, *[0] * 8, 2]) == [0, 2]
    assert run(window, "units", code, [0] * 4, [0] * 6) == [1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7200, "2 h"),
        (7260, "2 h 1 min"),
        (370_800, "4 d 7 h"),
    ],
)
def test_a_duration_reads_in_its_two_largest_parts(window: Page, seconds: float, text: str) -> None:
    assert run(window, "wording", "m.span(given[0])", seconds) == text


def job(phase: str = "Running", **more: Any) -> dict[str, Any]:
    """A summary, every action of which is possible."""
    names = ("resume", "pause", "restart", "cancel", "retry", "redo", "approve", "edit", "delete")
    can = {"possible": True, "reason": "it can", "action": "", "label": "", "already": False}
    made = {
        "namespace": "default",
        "name": "reel",
        "uid": "1",
        "labels": {},
        "phase": phase,
        "message": "",
        "suspend": False,
        "deleting": False,
        "created": "2026-11-21T10:00:00Z",
        "started": None,
        "finished": None,
        "units": {"total": 3, "succeeded": 1, "failed": 0, "active": 1, "remaining": 2},
        "actions": {name: dict(can) for name in names},
    }
    return {**made, **more}


def controls(window: Page, summary: dict[str, Any], local: str = "{}", rights: Any = None) -> dict[str, dict[str, Any]]:
    made = run(window, "controls", f"m.controls(given[0], {local}, given[1] ?? {{}})", summary, rights)
    return {each["id"]: each for each in made}


def test_a_job_that_pauses_says_so_until_it_is_suspended(window: Page) -> None:
    asked = job("Suspending", suspend=True)
    asked["actions"]["pause"] = {**asked["actions"]["pause"], "possible": False, "already": True, "label": "Pause"}
    assert controls(window, asked)["pause"]["label"] == "Pausing…"
    assert controls(window, asked)["pause"]["busy"]
    assert controls(window, {**asked, "phase": "Running"})["pause"]["label"] == "Pausing…"
    assert controls(window, {**asked, "phase": "Suspended"})["pause"]["label"] == "Pause"
    assert controls(window, job(), "{sending: new Set(['pause'])}")["pause"]["label"] == "Pausing…"


def test_what_the_signed_in_user_may_not_do_is_disabled_with_that_reason(window: Page) -> None:
    made = controls(window, job(), rights={"canEdit": {"default": False}, "canDelete": {"default": True}})
    assert [name for name, each in made.items() if each["enabled"]] == ["delete"]
    assert made["pause"]["reason"] == "you may not change jobs in namespace default"
    still = job("Succeeded", units={"total": 3, "succeeded": 3, "failed": 0, "active": 0, "remaining": 0})
    assert controls(window, still, rights={"canEdit": {"default": False}})["export"]["enabled"]


def test_a_job_at_work_is_exported_only_once_it_stands_still(window: Page) -> None:
    still = {"total": 3, "succeeded": 1, "failed": 0, "active": 0, "remaining": 2}
    assert run(window, "controls", "m.isStill(given[0])", job("Suspended", units=still))
    assert not run(window, "controls", "m.isStill(given[0])", job("Suspending", units=still))
    assert not run(window, "controls", "m.isStill(given[0])", job("Suspended"))
    assert not run(window, "controls", "m.isStill(given[0])", job("Running", units=still))


def feed(window: Page, events: list[tuple[str, Any]], only: str | None = None) -> dict[str, Any]:
    code = (
        "(f => ({jobs: [...f.jobs.keys()], statuses: [...f.statuses.keys()], progress: [...f.progress.keys()], "
        "complete: f.complete}))(given[0].reduce((f, [type, data]) => m.reduce(f, {type, data}, given[1]), m.EMPTY))"
    )
    found: dict[str, Any] = run(window, "feed", code, events, only)
    return found


def test_a_snapshot_of_all_jobs_forgets_those_that_are_gone_and_one_of_a_job_does_not(window: Page) -> None:
    one, other = job(), job(name="film", uid="2")
    both = ("snapshot", {"jobs": [one, other]})
    assert feed(window, [both, ("snapshot", {"jobs": [other]})])["jobs"] == ["default/film"]
    assert feed(window, [both])["complete"]
    only = feed(window, [("job", other), ("snapshot", {"jobs": [one]})], "default/reel")
    assert set(only["jobs"]) == {"default/reel", "default/film"}
    assert not only["complete"]
    assert feed(window, [("job", one), ("snapshot", {"jobs": []})], "default/reel")["jobs"] == []


def test_a_job_of_the_same_name_takes_nothing_over_from_the_one_before(window: Page) -> None:
    before = [("status", job()), ("progress", {"namespace": "default", "name": "reel", "units": []})]
    assert feed(window, before)["progress"] == ["default/reel"]
    after = feed(window, [*before, ("job", job(uid="9"))])
    assert (after["jobs"], after["statuses"], after["progress"]) == (["default/reel"], [], [])


def test_a_late_word_of_a_deletion_leaves_the_job_that_took_its_place(window: Page) -> None:
    gone = ("deleted", {"namespace": "default", "name": "reel", "uid": "1"})
    assert feed(window, [("job", job(uid="2")), gone])["jobs"] == ["default/reel"]
    assert feed(window, [("job", job()), gone])["jobs"] == []


def test_active_jobs_come_before_recent_ones_and_each_the_latest_first(window: Page) -> None:
    jobs = [
        job("Succeeded", name="old", finished="2026-11-21T09:00:00Z"),
        job("Succeeded", name="new", finished="2026-11-21T11:00:00Z"),
        job("Suspended", name="held", created="2026-11-21T08:00:00Z"),
        job("Running", name="first", started="2026-11-20T10:00:00Z"),
        job("Stalled", name="second", started="2026-11-21T10:00:00Z"),
    ]
    asked = {"filter": "all", "search": "", "namespace": ""}
    code = "(l => [l.active, l.recent].map(part => part.map(job => job.name)))(m.listed(given[0], given[1]))"
    assert run(window, "listing", code, jobs, asked) == [["second", "first"], ["new", "old", "held"]]
    assert run(window, "listing", code, jobs, {**asked, "filter": "attention"}) == [["second"], []]
    assert run(window, "listing", code, jobs, {**asked, "search": "ne SUCC"}) == [[], ["new"]]


@pytest.mark.parametrize("item", ["dunes", "a b", "100 %", "ü", "<b>", "?x#y"])
def test_an_address_leads_to_the_unit_it_was_made_for(window: Page, item: str) -> None:
    code = (
        "m.route(m.toJob({namespace: 'default', name: 'reel'}, 'units', 'clip', m.itemKey({item: given[0], index: 7})))"
    )
    assert run(window, "route", code, item) == {
        "view": "job",
        "namespace": "default",
        "name": "reel",
        "unit": {"stage": "clip", "item": item},
    }


@pytest.mark.parametrize("item", ["a/b", "..", ".", "~3"])
def test_an_id_that_would_be_read_as_a_path_is_named_by_its_index(window: Page, item: str) -> None:
    assert run(window, "route", "m.itemKey({item: given[0], index: 7})", item) == "~7"


def test_a_unit_whose_id_is_not_known_yet_is_named_by_its_index(window: Page) -> None:
    assert run(window, "route", "m.itemKey({index: 7})") == "~7"


def test_a_value_that_is_taken_out_of_a_manifest_takes_what_it_leaves_empty_with_it(window: Page) -> None:
    manifest = {"spec": {"retry": {"perUnit": 3}, "seed": 0, "stages": [{"name": "a"}]}}
    put = "m.put(given[0], given[1], given[2] ?? undefined)"
    assert run(window, "manifest", put, manifest, ["spec", "retry", "perUnit"], None) == {
        "spec": {"seed": 0, "stages": [{"name": "a"}]}
    }
    changed = run(window, "manifest", put, manifest, ["spec", "stages", 0, "generate", "text", "model"], "x")
    assert changed["spec"]["stages"] == [{"name": "a", "generate": {"text": {"model": "x"}}}]
    assert json.loads(json.dumps(manifest)) == manifest


def test_what_a_server_added_is_not_sent_back(window: Page) -> None:
    metadata = {"name": "reel", "labels": {"a": "b"}, "uid": "1", "resourceVersion": "2", "managedFields": []}
    made = run(window, "manifest", "m.bare(given[0])", {"metadata": metadata, "spec": {}, "status": {}})
    assert made == {"metadata": {"name": "reel", "labels": {"a": "b"}}, "spec": {}}


NOON = 1_795_262_400_000
"""2026-11-21T12:00:00Z."""


@pytest.mark.parametrize(
    ("choice", "time"),
    [
        ({"way": "for", "many": "8", "unit": "hours"}, "2026-11-21T20:00:00Z"),
        ({"way": "for", "many": " 1.5 ", "unit": "minutes"}, "2026-11-21T12:01:30Z"),
        ({"way": "for", "many": "2", "unit": "days"}, "2026-11-23T12:00:00Z"),
        ({"way": "until", "time": "2026-11-22T06:00Z"}, "2026-11-22T06:00:00Z"),
    ],
)
def test_a_pause_ends_when_somebody_said(window: Page, choice: dict[str, str], time: str) -> None:
    assert run(window, "until", "m.goesOn(given[0], given[1])", choice, NOON) == {"time": time, "problem": ""}


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ({"way": "for", "many": "", "unit": "hours"}, "for how long"),
        ({"way": "for", "many": "soon", "unit": "hours"}, "for how long"),
        ({"way": "for", "many": "0", "unit": "hours"}, "past"),
        ({"way": "for", "many": "-1", "unit": "hours"}, "past"),
        ({"way": "for", "many": "9000", "unit": "days"}, "more than a year"),
        ({"way": "until", "time": ""}, "until when"),
        ({"way": "until", "time": "2026-11-21T11:59Z"}, "past"),
    ],
)
def test_a_pause_without_a_sensible_end_is_not_sent(window: Page, choice: dict[str, str], problem: str) -> None:
    found = run(window, "until", "m.goesOn(given[0], given[1])", choice, NOON)
    assert found["time"] == ""
    assert problem in found["problem"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, True),
        ({"phase": "Suspending"}, True),
        ({"phase": "Running"}, False),
        ({"suspend": True}, False),
        ({"suspendUntil": None}, False),
        ({"suspendUntil": "2026-11-21T11:00:00Z"}, False),
    ],
)
def test_only_a_job_that_goes_on_by_itself_says_when(window: Page, changes: dict[str, Any], said: bool) -> None:
    until = "2026-11-21T20:00:00Z"
    paused = {"phase": "Suspended", "suspend": False, "suspendUntil": until, **changes}
    assert run(window, "until", "m.waitsUntil(given[0], given[1])", paused, NOON) == (until if said else None)


@pytest.mark.parametrize(
    ("rate", "said"),
    [(None, "\u2013"), (0, "0 %"), (0.5, "50 %"), (0.974, "97.4 %"), (0.9999, "99.99 %"), (1, "100 %")],
)
def test_one_failure_in_ten_thousand_is_no_100_percent(window: Page, rate: float | None, said: str) -> None:
    assert run(window, "analytics", "m.percent(given[0])", rate) == said


def test_analytics_put_the_worst_first_and_leave_nothing_out_of_the_whole(window: Page) -> None:
    told = {
        "jobs": {"total": 4, "active": 1, "succeeded": 2, "failed": 1, "cancelled": 0, "successRate": 0.6667},
        "units": {"total": 60, "succeeded": 40, "failed": 2, "successRate": 0.9524},
        "retries": {"failures": 3, "stuck": 0, "disruptions": 9, "notResumable": 1, "reasons": {"A": 1, "B": 3}},
        "stages": [
            {"stage": "image", "jobs": 3, "units": 45, "meanSeconds": 60.0, "secondsPerUnit": 4.0},
            {"stage": "clip", "jobs": 2, "units": 0, "meanSeconds": 600.0, "secondsPerUnit": None},
        ],
        "gpuSeconds": {"total": 1000, "useful": 700, "checkpointing": 10, "lost": 90, "saved": 120},
    }
    figures = run(window, "analytics", "m.figures(given[0])", told)
    assert [each["value"] for each in figures] == ["67 %", "95.2 %", "12", "2 min"]
    assert figures[0]["said"] == "2 of 3; 1 not over"
    causes = run(window, "analytics", "m.causes(given[0])", told)
    assert [(each["label"], each["value"]) for each in causes] == [
        ("Failed", 3),
        ("Stuck", 0),
        ("Pod lost", 9),
        ("Started over", 1),
    ]
    assert [each["label"] for each in run(window, "analytics", "m.reasons(given[0])", told)] == ["B", "A"]
    stages = run(window, "analytics", "m.stageTimes(given[0])", told)
    assert [(each["label"], each["share"]) for each in stages] == [("clip", 1), ("image", 0.1)]
    assert stages[1]["each"] == "4 s"
    work = run(window, "analytics", "m.work(given[0])", told)
    assert sum(each["share"] for each in work) == pytest.approx(1)
    assert work[-1]["said"] == "3 min 20 s", "what is in none of the parts"
    nothing = {**told, "gpuSeconds": dict.fromkeys(told["gpuSeconds"], 0)}
    assert run(window, "analytics", "m.work(given[0])", nothing) == []
