"""What people read about a job: views, bars, lines and endings, from dicts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console, RenderableType

from carryon_core import names
from carryon_jobs.view import JobView, UnitView, elapsed, span
from carryon_standalone.cli import logs, render
from carryon_standalone.cli.follow import rests

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FAILURE = {"stage": "clip", "unit": "dunes", "reason": "Crashed", "message": "no luck", "attempt": 3}


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def condition(kind: str, status: str = "True", **fields: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": kind, "message": "", "lastTransitionTime": ago(200), **fields}


def job(
    *, suspend: bool = False, suspendUntil: str | None = None, generation: int = 2, **status: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": "reel", "namespace": "film", "generation": generation, "creationTimestamp": ago(300)},
        "spec": {
            "suspend": suspend,
            "suspendUntil": suspendUntil,
            "stages": [{"name": "image"}, {"name": "clip", "approval": "Required"}],
            "approved": {"clip": ["dunes"]},
        },
        "status": {"observedGeneration": 2, **status},
    }


RUNNING = job(
    phase="Running",
    progress="12/30",
    message="12 of 30 units done",
    units={"succeeded": 12, "failed": 1, "active": 3, "remaining": 17},
    time={"started": ago(100)},
    stages=[
        {"name": "image", "total": 15, "succeeded": "0-8,11", "failed": "9", "active": [{"pod": "p", "units": "8,10"}]},
        {"name": "clip", "total": 15, "succeeded": "0-1", "active": [{"pod": "q", "units": "2-3"}]},
    ],
    recentFailures=[FAILURE],
)
SUCCEEDED = job(
    phase="Succeeded",
    message="30 of 30 units done",
    time={"started": ago(100), "finished": ago(10)},
    conditions=[condition("Succeeded"), condition("Finished")],
    resolved={"output": "file:///data/my%20clips"},
)
FAILED = job(
    phase="Failed",
    message="1 failed",
    conditions=[condition("Failed"), condition("Finished")],
    resume={"possible": True, "reason": "1 failed", "action": "carryon resume reel (1 remaining)"},
)
SUSPENDED = job(
    suspend=True,
    phase="Suspended",
    message="9 of 15 units done",
    conditions=[condition("Suspended")],
    resume={"possible": True, "reason": "suspended", "action": "carryon resume reel (6 remaining)"},
)
UNTIL = job(
    suspendUntil="2126-03-02T06:00:00Z", phase="Suspended", message="9 of 15", conditions=[condition("Suspended")]
)
AWAITING = job(
    phase="AwaitingApproval",
    units={"active": 0},
    conditions=[condition("AwaitingApproval", message="6 units of stage clip wait")],
)
STALLED = job(phase="Stalled", units={"active": 0}, conditions=[condition("Stalled", message="no GPU seconds left")])
CANCELLED = job(message="9 of 15 units done", conditions=[condition("Cancelled"), condition("Finished")])
REFUSED = job(message="no", conditions=[condition("Accepted", "False", message="items.list has the id twice")])
NEW = {"metadata": {"name": "reel", "namespace": "film", "generation": 1}, "spec": {"stages": [{"name": "clip"}]}}
EDITED = {**SUCCEEDED, "metadata": {**SUCCEEDED["metadata"], "generation": 3}}


def shown(content: RenderableType, width: int = 200) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(content)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m"), (200, "3m20s"), (7200, "2h"), (3601, "1h"), (363600, "4d5h")],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_job_that_nobody_has_looked_at_yet_is_pending() -> None:
    view = JobView.of(NEW)
    assert render.columns(view, NOW) == ("reel", "Pending", "", "0", "0", "-", "")
    assert not rests(view)


def test_a_row_has_the_columns_that_kubectl_shows() -> None:
    assert render.columns(JobView.of(RUNNING), NOW) == (
        "reel", "Running", "12/30", "1", "3", "5m", "12 of 30 units done",
    )  # fmt: skip


def test_work_of_a_pod_that_is_done_already_is_not_active() -> None:
    image, clip = JobView.of(RUNNING).stages
    assert (image.done, image.failures, str(image.active)) == (10, 1, "10")
    assert [image.state(index) for index in (0, 9, 10, 12)] == ["done", "failed", "active", "waiting"]
    assert str(clip.active) == "2-3"


def test_the_clock_stops_when_a_job_has_ended() -> None:
    assert elapsed(JobView.of(RUNNING), NOW) == "1m40s"
    assert elapsed(JobView.of(SUCCEEDED), NOW) == "1m30s"


def test_progress_has_a_bar_for_each_stage_and_the_last_failures() -> None:
    text = shown(render.progress(JobView.of(RUNNING), NOW))
    heading, image, clip, failure = text.splitlines()
    assert heading == "reel  Running  1m40s  12 of 30 units done"
    assert image.startswith("image ━")
    assert image.endswith("10/15 1 active 1 failed")
    assert clip.endswith("2/15  2 active")
    assert failure == "  clip/dunes (attempt 3): Crashed: no luck"


def test_text_from_jobs_is_never_markup() -> None:
    view = JobView.of(job(phase="Running", message="[red]9[/red] of 15", recentFailures=[{**FAILURE, "unit": "[b]x"}]))
    assert "[red]9[/red] of 15" in shown(render.progress(view, NOW))
    assert "[b]x" in shown(render.progress(view, NOW))
    assert "[red]9[/red] of 15" in shown(render.jobs_table([view], NOW))
    assert "[red]9[/red] of 15" in shown(render.describe(view, [], NOW))


def test_only_news_becomes_lines() -> None:
    before, after = JobView.of(job(phase="Pending")), JobView.of(RUNNING)
    assert list(render.news(before, after)) == [
        "reel: Running (12 of 30 units done)",
        "reel: image 10/15 done",
        "reel: clip 2/15 done",
        "reel: failed: clip/dunes (attempt 3): Crashed: no luck",
    ]
    assert list(render.news(after, after)) == []


def test_the_end_of_a_job_is_told_after_what_led_to_it() -> None:
    over = {**RUNNING["status"], "phase": "Succeeded", "conditions": [{"type": "Finished", "status": "True"}]}
    told = list(render.news(JobView.of(job(phase="Pending")), JobView.of(job(**over))))
    assert told[0] == "reel: image 10/15 done"
    assert told[-1] == "reel: Succeeded (12 of 30 units done)"


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (SUCCEEDED, ["reel succeeded: 30 of 30 units done in 1m30s", "artifacts: /data/my clips/film/reel/"]),
        (FAILED, ["reel failed: 1 failed", "to carry on: carryon resume reel (1 remaining)"]),
        (SUSPENDED, ["reel is suspended: 9 of 15 units done", "to carry on: carryon resume reel (6 remaining)"]),
        (UNTIL, ["reel is suspended until 2126-03-02T06:00:00Z: 9 of 15"]),
        (
            AWAITING,
            [
                "reel waits for approval: 6 units of stage clip wait",
                "to carry on: carryon approve reel STAGE [ITEM...], or --all",
            ],
        ),
        (STALLED, ["reel is stalled: no GPU seconds left"]),
        (CANCELLED, ["reel was cancelled: 9 of 15 units done"]),
        (REFUSED, ["reel can't be carried out as written: items.list has the id twice"]),
    ],
)
def test_a_job_that_rests_says_how_it_stands_and_what_to_do(given: dict[str, Any], lines: list[str]) -> None:
    view = JobView.of(given)
    assert rests(view)
    assert list(render.ending(view, NOW)) == lines


@pytest.mark.parametrize("given", [AWAITING, STALLED])
def test_a_job_that_waits_for_a_person_while_others_work_does_not_rest(given: dict[str, Any]) -> None:
    status = {**given["status"], "units": {"active": 1}}
    assert not rests(JobView.of({**given, "status": status}))


def test_units_that_made_nothing_are_told_apart() -> None:
    stage = {"name": "image", "total": 4, "succeeded": "0-2", "skipped": "1-2", "failed": "3"}
    view = JobView.of(job(stages=[stage], units={"outcomes": {"skipped": 2, "generated": 1, "filtered": 0}}))
    assert [view.stages[0].state(index) for index in range(4)] == ["done", "skipped", "skipped", "failed"]
    text = shown(render.describe(view, [], NOW))
    assert "1 generated, 2 skipped" in text
    assert "3/4 (0-2)   1 (3)    0        2 (1-2)" in text


def test_counters_have_a_line_where_there_are_some() -> None:
    counts = {"resumes": 1, "failures": 2, "stuck": 0, "notResumable": 1, "round": 1}
    spent = {"total": 150, "useful": 90, "checkpointing": 0, "lost": 7, "saved": 720}
    text = shown(render.describe(JobView.of(job(counters=counts, gpuSeconds=spent)), [], NOW))
    assert "1 resume, 2 failures, 1 started over, round 1" in text
    assert "2m30s in all, 1m30s useful, 7s lost; saved 12m by resuming" in text


def test_what_resuming_saved_is_told_while_a_job_runs_and_when_it_has_succeeded() -> None:
    saved = {"gpuSeconds": {"useful": 90, "saved": 65}}
    assert "saved 1m5s by resuming" in shown(render.progress(JobView.of(job(**saved)), NOW))
    ended = JobView.of(job(conditions=[condition("Succeeded"), condition("Finished")], **saved))
    assert render.ending(ended, NOW)[0].endswith(", saved 1m5s by resuming")
    assert "saved" not in shown(render.progress(JobView.of(job()), NOW))
    assert "saved" not in render.ending(JobView.of(job(conditions=[condition("Succeeded")])), NOW)[0]


def test_describe_leaves_out_what_only_says_that_all_is_well() -> None:
    claims = [condition("Stalled", "False"), condition("ItemsStale", "False"), condition("Finished", "False")]
    text = shown(render.describe(JobView.of(job(conditions=claims)), [], NOW))
    assert "not Finished" in text
    assert "Stale" not in text
    stale = [condition("ItemsStale", message="items.csv is gone")]
    assert "items.csv is gone" in shown(render.describe(JobView.of(job(conditions=stale)), [], NOW))


def test_conditions_of_an_earlier_generation_end_nothing() -> None:
    view = JobView.of(EDITED)
    assert not view.holds("Succeeded")
    assert not rests(view)


def test_a_job_that_is_still_stopping_does_not_rest() -> None:
    assert not rests(JobView.of(job(suspend=True, phase="Suspending", conditions=[condition("Suspended", "False")])))


def test_artifacts_in_a_bucket_are_named_by_uri() -> None:
    given = job()
    given["spec"]["output"] = {"uri": "s3://bucket/clips/"}
    assert JobView.of(given).artifacts == "s3://bucket/clips/film/reel/"
    assert JobView.of(NEW).artifacts is None


def test_conditions_are_sentences() -> None:
    said = [
        render.condition_sentence(condition("Finished", "False", message="9 of 15 units done"), NOW),
        render.condition_sentence(condition("Succeeded"), NOW),
        render.condition_sentence(condition("Accepted", "Unknown"), NOW),
    ]
    assert said == [
        "not Finished since 3m20s: Finished, 9 of 15 units done",
        "Succeeded since 3m20s: Succeeded",
        "unknown whether Accepted since 3m20s: Accepted",
    ]


def test_describe_tells_what_webhooks_were_told() -> None:
    told = [
        {
            "hook": 0,
            "condition": "Stalled",
            "state": "Delivered",
            "attempts": 1,
            "attempted": ago(9),
            "result": "HTTP 200",
        },
        {
            "hook": 0,
            "condition": "Failed",
            "attempts": 3,
            "attempted": ago(9),
            "next": ago(-40),
            "result": "HTTP 503",
        },
        {"hook": 1, "condition": "Failed", "state": "Pending"},
        {
            "hook": 2,
            "condition": "Failed",
            "state": "GivenUp",
            "attempts": 1,
            "attempted": ago(9),
            "result": "HTTP 410",
        },
    ]
    text = shown(render.describe(JobView.of(job(notifications=told)), [], NOW))
    assert "Webhooks" in text
    assert "  spec.notify[0]: Stalled, told 9s ago: HTTP 200 (1 attempt)" in text
    assert "  spec.notify[0]: Failed, to be told again in 40s: HTTP 503 (3 attempts)" in text
    assert "  spec.notify[1]: Failed, about to be told" in text
    assert "  spec.notify[2]: Failed, not told, and will not be: HTTP 410 (1 attempt)" in text
    assert "Webhooks" not in shown(render.describe(JobView.of(job()), [], NOW))


def test_describe_shows_stages_as_ranges_and_pods_that_stop() -> None:
    pods = [
        {"metadata": {"name": "reel-a-1", "creationTimestamp": ago(9)}, "status": {"phase": "Running"}},
        {"metadata": {"name": "reel-b-1", "creationTimestamp": ago(9), "deletionTimestamp": ago(1)}},
    ]
    text = shown(render.describe(JobView.of(RUNNING), pods, NOW))
    assert "10/15 (0-8,11)" in text
    assert "clip/dunes (attempt 3): Crashed: no luck" in text
    assert "  reel-a-1   Running              9s" in text
    assert "  reel-b-1   Pending (stopping)   9s" in text


def test_units_have_their_artifacts_beside_them() -> None:
    table = render.units_table(
        [UnitView("clip", "a[b]", "done", ("/x/1.mp4", "/x/2.mp4")), UnitView("clip", "c", "waiting", ())]
    )
    assert shown(table).splitlines() == [
        "UNIT        STATE     ARTIFACTS",
        "clip/a[b]   done      /x/1.mp4",
        "                      /x/2.mp4",
        "clip/c      waiting",
    ]


def pod(name: str, stage: str, *items: str) -> dict[str, Any]:
    listed = "[" + ", ".join(f'"{item}"' for item in items) + "]"
    labels, annotations = {names.LABEL_STAGE: stage}, {names.ANNOTATION_UNITS: listed}
    return {"metadata": {"name": name, "labels": labels, "annotations": annotations}}


def test_a_pod_is_found_by_its_unit() -> None:
    pods = [pod("a", "image", "7"), pod("b", "clip", "7", "8"), pod("c", "clip", "9")]
    found = {unit: [each["metadata"]["name"] for each in logs.chosen(pods, unit)] for unit in ("7", "clip/7", "8", "x")}
    assert found == {"7": ["a", "b"], "clip/7": ["b"], "8": ["b"], "x": []}
    assert logs.chosen(pods, None) == pods
    assert [logs.label(each) for each in pods] == ["image/7", "clip/7+1", "clip/9"]
