"""What commands send: from a job as it is to one patch, or to the sentence why not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carryon_core import names
from carryon_core.actions import Action
from carryon_core.requests import named_units
from carryon_jobs import acting, selecting
from carryon_jobs.acting import Already
from carryon_jobs.errors import JobError
from carryon_jobs.job import Job
from carryon_standalone.cli import trying

AT = "2026-10-01T00:00:00Z"
COUNTS = {"total": 46, "succeeded": 40, "failed": 6, "active": 0, "remaining": 0}


def stage(name: str, *after: str, arg: str = "{{ item.prompt }}", **more: Any) -> dict[str, Any]:
    return {"name": name, "after": list(after), "generate": {"command": {"args": ["make", arg]}}, **more}


def film(*, annotations: dict[str, str] | None = None, status: dict[str, Any] | None = None, **spec: Any) -> Job:
    """Fifteen scenes, of which three failed."""
    ids = ["dunes", "7", *(f"scene {number}" for number in range(2, 15))]
    made = {
        "items": {"list": [{"id": item, "params": {"prompt": f"a view of {item}"}} for item in ids]},
        "stages": [
            stage("image"),
            stage("clip", "image", arg="{{ inputs.image }}", approval="Required"),
            stage("reel", "clip", arg="join", each="job"),
        ],
        **spec,
    }
    seen = {
        "observedGeneration": 1,
        "units": COUNTS,
        "stages": [
            {"name": "image", "total": 15, "succeeded": "0-6,8-14", "failed": "7"},
            {"name": "clip", "total": 15, "succeeded": "0-6,8,11-14", "failed": "7,9-10"},
            {"name": "reel", "total": 1, "failed": "0"},
        ],
        **(status or {}),
    }
    metadata = {"name": "film", "namespace": "default", "generation": 1, "annotations": annotations or {}}
    return Job({"metadata": metadata, "spec": made, "status": seen}, lambda name: {})


def sent(job: Job, make: acting.Make, action: Action) -> Any:
    return make(job, acting.verdict_on(job, action))


def retried(job: Job, *texts: str) -> dict[str, str]:
    patch = sent(job, acting.retry(texts), Action.RETRY)
    assert not isinstance(patch, Already), patch
    request = patch["metadata"]["annotations"][names.ANNOTATION_RETRY]
    return {name: str(indexes) for name, indexes in named_units(request).items()}


def test_an_item_is_named_by_its_id_or_its_index_and_the_id_goes_first() -> None:
    job = film()

    def found(*texts: str) -> dict[str, str]:
        return {name: str(indexes) for name, indexes in selecting.units(job.spec, job.ids, texts).items()}

    assert found("clip/dunes") == {"clip": "0"}
    assert found("clip/7") == {"clip": "1"}  # the item whose id is 7
    assert found("clip/8", "clip/9-11", "image/scene 3") == {"clip": "8-11", "image": "3"}
    assert found("reel/job") == found("reel/0") == found("reel") == {"reel": "0"}
    assert found("image") == {"image": "0-14"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("frame/7", 'there is no stage "frame": name one of image, clip, reel'),
        ("clip/15", 'stage "clip" has no item "15"'),
        ("clip/lagoon", 'stage "clip" has no item "lagoon"'),
        ("clip/", 'stage "clip" has no item ""'),
        ("reel/1", 'stage "reel" has one unit: name it reel/job'),
    ],
)
def test_what_is_no_unit_is_one_sentence(text: str, sentence: str) -> None:
    job = film()
    with pytest.raises(JobError, match=sentence):
        selecting.units(job.spec, job.ids, [text])


def test_retry_names_what_failed_and_what_failed_upstream_of_it() -> None:
    assert retried(film()) == {"image": "7", "clip": "7,9-10", "reel": "0"}
    assert retried(film(), "clip/9") == {"clip": "9"}
    assert retried(film(), "clip/scene 7") == {"clip": "7", "image": "7"}
    assert retried(film(), "clip") == {"clip": "7,9-10", "image": "7"}
    assert retried(film(), "reel/job") == {"reel": "0", "clip": "7,9-10", "image": "7"}


def test_retry_of_what_did_not_fail_says_how_it_stands() -> None:
    with pytest.raises(JobError, match=r"clip/3 has not failed for good \(done\): there is nothing to retry"):
        retried(film(), "clip/3")
    with pytest.raises(JobError, match=r"clip/2-9 has not failed for good \(done\)"):
        retried(film(), "clip/2-9")


def test_a_second_retry_keeps_the_units_of_the_first_while_it_is_not_handled() -> None:
    pending = film(annotations={names.ANNOTATION_RETRY: f"clip/9@{AT}"})
    assert retried(pending, "clip/10") == {"clip": "9-10"}
    assert sent(pending, acting.retry(["clip/9"]), Action.RETRY) == Already("asked already, waiting for the operator")
    assert sent(pending, acting.retry([]), Action.RETRY) == Already("asked already, waiting for the operator")
    handled = film(annotations={names.ANNOTATION_RETRY: f"clip/9@{AT}"}, status={"handled": {"retry": f"clip/9@{AT}"}})
    assert retried(handled, "clip/10") == {"clip": "10"}


def test_redo_changes_the_override_of_one_unit() -> None:
    job = film(overrides=[{"stage": "clip", "item": "dunes", "params": {"seed": 1}}])
    patch = sent(job, acting.redo("image/7", {"prompt": "rain"}), Action.REDO)
    assert patch["spec"]["overrides"] == [
        {"stage": "clip", "item": "dunes", "params": {"seed": 1}},
        {"stage": "image", "item": "7", "params": {"prompt": "rain"}},
    ]


def test_redo_of_what_gathers_takes_a_seed() -> None:
    patch = sent(film(), acting.redo("reel/job", {"seed": 5}), Action.REDO)
    assert patch["spec"]["overrides"] == [{"stage": "reel", "item": "job", "params": {"seed": 5}}]


def test_redo_refuses_what_would_change_nothing() -> None:
    with pytest.raises(JobError, match='no template of stage "image" uses promt of the item'):
        sent(film(), acting.redo("image/7", {"promt": "rain"}), Action.REDO)
    with pytest.raises(JobError, match="would change nothing"):
        sent(film(), acting.redo("image/7", {"prompt": "a view of 7"}), Action.REDO)


def test_redo_takes_one_unit() -> None:
    with pytest.raises(JobError, match='"clip" is a stage: name one of its units, such as clip/dunes'):
        sent(film(), acting.redo("clip", {"seed": 1}), Action.REDO)
    with pytest.raises(JobError, match="several units"):
        sent(film(), acting.redo("clip/8-9", {"seed": 1}), Action.REDO)


def test_params_are_json_where_they_can_be() -> None:
    given = ["steps=30", "prompt=rain over dunes", "size=[1, 2]", "note=", "sum=1=1"]
    assert acting.params_of(given) == {
        "steps": 30, "prompt": "rain over dunes", "size": [1, 2], "note": "", "sum": "1=1",
    }  # fmt: skip
    # No numbers of JSON, so nothing that a patch could carry.
    assert acting.params_of(["a=NaN", "b=-Infinity", "c=1e999"]) == {"a": "NaN", "b": "-Infinity", "c": "1e999"}
    with pytest.raises(JobError, match="write NAME=VALUE"):
        acting.params_of(["prompt"])


def test_approvals_are_ids_whichever_way_they_were_typed() -> None:
    running = {"units": {**COUNTS, "remaining": 6, "failed": 0}}
    job = film(approved={"clip": ["dunes"]}, status=running)
    patch = sent(job, acting.approve("clip", ["7", "2-3", "clip/dunes"], everything=False), Action.APPROVE)
    assert patch == {"spec": {"approved": {"clip": ["dunes", "7", "scene 2", "scene 3"]}}}
    again = sent(job, acting.approve("clip", ["dunes"], everything=False), Action.APPROVE)
    assert again == Already("approved already")
    everything = sent(job, acting.approve("clip", [], everything=True), Action.APPROVE)
    assert everything == {"spec": {"approved": {"clip": ["*"]}}}
    with pytest.raises(JobError, match='stage "image" asks for no approval'):
        sent(job, acting.approve("image", ["7"], everything=False), Action.APPROVE)


def test_a_pause_until_a_time_takes_the_place_of_one_without() -> None:
    paused = film(suspend=True)
    later = acting.until("8h")
    assert sent(paused, acting.pause(later), Action.PAUSE) == {"spec": {"suspend": False, "suspendUntil": later}}
    assert isinstance(sent(paused, acting.pause(None), Action.PAUSE), Already)


def test_a_time_is_said_in_any_usual_way_and_sent_in_utc() -> None:
    assert acting.until("2126-12-01T06:00:00+02:00") == "2126-12-01T04:00:00Z"
    ahead = datetime.fromisoformat(acting.until("8h")) - datetime.now(UTC)
    assert timedelta(hours=7.9) < ahead < timedelta(hours=8.1)
    local = datetime(2126, 12, 1, 6).astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    assert acting.until("2126-12-01 06:00") == local
    for wrong, sentence in (("soon", "is no time"), ("2020-01-01T00:00:00Z", "lies in the past"), ("0s", "past")):
        with pytest.raises(JobError, match=sentence):
            acting.until(wrong)


def test_artifacts_of_a_finished_job_are_checked_on_demand_only() -> None:
    claims = [
        {"type": kind, "status": "True", "reason": kind, "lastTransitionTime": AT} for kind in ("Succeeded", "Finished")
    ]
    done = film(status={"conditions": claims, "units": {**COUNTS, "succeeded": 46, "failed": 0}})
    with pytest.raises(JobError, match="every unit is done: nothing is left to resume"):
        sent(done, acting.resume(check_artifacts=False), Action.RESUME)
    assert (
        names.ANNOTATION_RESUME
        in sent(done, acting.resume(check_artifacts=True), Action.RESUME)["metadata"]["annotations"]
    )


def test_a_try_is_the_first_items_and_waits_for_nobody() -> None:
    job = {
        "metadata": {"name": "film", "namespace": "studio"},
        "spec": {
            **film().spec.model_dump(by_alias=True, mode="json", exclude_unset=True),
            "suspend": True,
            "suspendUntil": "2126-01-01T00:00:00Z",
            "ttlSecondsAfterFinished": 5,
            "overrides": [{"stage": "clip", "item": item, "params": {"seed": 1}} for item in ("dunes", "scene 9")]
            + [{"stage": "reel", "item": "job", "params": {"seed": 2}}],
            "output": {"uri": "s3://bucket/x", "onDelete": "Delete"},
        },
    }
    made = trying.trial(job, 2)
    assert made["metadata"] == {"name": "film-try", "namespace": "studio"}
    spec = made["spec"]
    assert [item["id"] for item in spec["items"]["list"]] == ["dunes", "7"]
    assert [each["item"] for each in spec["overrides"]] == ["dunes", "job"]
    assert spec["approved"] == {"clip": ["*"]}
    assert not spec["suspend"]
    assert not {"suspendUntil", "ttlSecondsAfterFinished"} & set(spec)
    assert spec["output"]["onDelete"] == "Retain"
    assert job["spec"]["suspend"]


def test_a_try_of_a_long_name_or_of_rows_is_a_job_too(tmp_path: Path) -> None:
    rows = {"from": {"uri": "s3://bucket/items.csv", "format": "csv"}}
    made = trying.trial({"metadata": {"name": "a" * 40}, "spec": {"items": rows, "stages": [stage("clip")]}}, 3)
    assert made["metadata"]["name"] == "a" * 36 + "-try"
    assert made["spec"]["items"]["from"]["first"] == 3
    counted = trying.trial({"metadata": {"name": "x"}, "spec": {"items": {"count": 1}, "stages": []}}, 3)
    assert counted["spec"]["items"]["count"] == 1
