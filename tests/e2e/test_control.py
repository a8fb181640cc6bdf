"""What a person can do to a job: approve, suspend until, cancel, redo, retry, let it go; and what rounds do."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from carryon_core import names
from kubectls import needs_kubectl
from plane import JOBS, ApiError, Plane, claim, condition, failed, succeeded, units_done, until
from reels import begun_units, film, reel, scenes, stage, versions

CLIP = 'head -c 64 /dev/urandom > "$CARRYON_OUTPUT/clip.bin"'
AT_ONCE = {"perUnit": 1, "rounds": 0, "backoff": {"initial": "1s"}}


def test_units_wait_for_approval_and_go_on_one_by_one(plane: Plane, begun: Path) -> None:
    job = film("gated", begun, items={"list": scenes(3)})
    job["spec"]["stages"][1]["approval"] = "Required"
    plane.apply(job)
    seen = plane.wait_for("gated", lambda found: condition(found, "AwaitingApproval") and units_done(found) == 3)
    assert seen["status"]["phase"] == "AwaitingApproval"
    assert "3 units of stage clip wait" in seen["status"]["message"]
    assert not condition(seen, "Stalled")
    assert begun_units(begun) == ["image/scene-0", "image/scene-1", "image/scene-2"]

    plane.patch("gated", {"spec": {"approved": {"clip": ["scene-1"]}}})
    plane.wait_for("gated", lambda found: units_done(found) == 4 and condition(found, "AwaitingApproval"))
    assert begun_units(begun)[0] == "clip/scene-1"
    plane.patch("gated", {"spec": {"approved": {"clip": ["*"]}}})
    status = plane.wait_for("gated", succeeded)["status"]
    assert status["progress"] == "7/7"
    assert set(Counter(begun_units(begun)).values()) == {1}, "approving makes nothing again"


@needs_kubectl
def test_a_job_suspended_until_a_time_goes_on_by_itself(plane: Plane, begun: Path) -> None:
    job = reel("later", clips=2)
    job["spec"]["stages"] = [stage("clip", begun, CLIP)]
    job["spec"]["suspendUntil"] = _moment(datetime.now(UTC) + timedelta(hours=1))
    plane.apply(job)
    plane.kubectl("wait", "gj/later", "--for=condition=Suspended", "--timeout=30s")
    assert begun_units(begun) == []
    until_then = datetime.now(UTC) + timedelta(seconds=3)
    job["spec"]["suspendUntil"] = _moment(until_then)
    plane.apply(job)
    plane.kubectl("wait", "gj/later", "--for=condition=Succeeded", "--timeout=60s")
    assert datetime.now(UTC) > until_then - timedelta(seconds=1)
    assert plane.get("later")["spec"]["suspendUntil"] == job["spec"]["suspendUntil"], "the operator never writes there"


def _moment(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_cancel_ends_pods_at_once_and_can_be_taken_back(plane: Plane, begun: Path, tmp_path: Path) -> None:
    # It would take its time to end, if it was asked.
    hangs = (
        f"trap 'sleep 25' TERM; if [ \"$CARRYON_ITEM\" != 0 ] && [ ! -e {tmp_path}/go ]; then sleep 600; fi; " + CLIP
    )
    job = reel("cancelled", clips=3)
    job["spec"]["stages"] = [stage("clip", begun, hangs)]
    plane.apply(job)
    plane.wait_for("cancelled", lambda found: units_done(found) == 1)
    until(lambda: len(begun_units(begun)) == 3)
    asked = datetime.now(UTC)
    plane.patch("cancelled", {"spec": {"cancel": True}})
    seen = plane.wait_for("cancelled", lambda found: condition(found, "Cancelled"), 20)
    until(lambda: plane.pods("cancelled") == [], 20)
    assert datetime.now(UTC) - asked < timedelta(seconds=20)
    assert condition(seen, "Finished")
    assert not condition(seen, "Succeeded")
    assert seen["status"]["phase"] == "Cancelled"
    assert seen["status"]["units"]["remaining"] == 2
    assert seen["status"]["counters"]["failures"] == 0
    kept = versions(plane.job_folder("cancelled"))
    assert list(kept) == ["clip/0"]

    (tmp_path / "go").touch()
    plane.patch("cancelled", {"spec": {"cancel": False}})
    plane.wait_for("cancelled", succeeded)
    assert versions(plane.job_folder("cancelled"))["clip/0"] == kept["clip/0"]
    assert Counter(begun_units(begun)) == {"clip/0": 1, "clip/1": 2, "clip/2": 2}


def test_one_clip_is_made_again_with_a_new_seed_and_the_old_one_stays(plane: Plane, begun: Path) -> None:
    job = film("redone", begun, items={"list": scenes(4)})
    job["spec"]["stages"][1] = stage(
        "clip", begun, 'echo "$CARRYON_ITEM $CARRYON_SEED" > "$CARRYON_OUTPUT/clip.txt"', after="image"
    )
    plane.apply(job)
    plane.wait_for("redone", succeeded)
    before, done = versions(plane.job_folder("redone")), begun_units(begun)
    plane.patch("redone", {"spec": {"overrides": [{"stage": "clip", "item": "scene-2", "params": {"seed": 42}}]}})
    plane.wait_for("redone", lambda found: succeeded(found) and len(begun_units(begun)) > len(done))
    assert Counter(begun_units(begun)) - Counter(done) == Counter(["clip/scene-2", "reel/job"])
    after = versions(plane.job_folder("redone"))
    old, new = after["clip/scene-2"]
    assert [old] == before["clip/scene-2"]
    assert new.text == "scene-2 42\n"
    assert new.done["seed"] == 42
    assert new.text in after["reel/job"][-1].text

    # Taking it back finds the first one done, and the first reel too.
    plane.patch("redone", {"spec": {"overrides": []}})
    generation = plane.get("redone")["metadata"]["generation"]
    plane.wait_for("redone", lambda found: found["status"]["observedGeneration"] == generation and succeeded(found))
    assert Counter(begun_units(begun)) - Counter(done) == Counter(["clip/scene-2", "reel/job"])


def test_only_the_chosen_unit_is_retried(plane: Plane, begun: Path, tmp_path: Path) -> None:
    script = f'case "$CARRYON_ITEM" in 1|3) [ -e {tmp_path}/repaired ];; esac; ' + CLIP
    job = reel("chosen", clips=5, retry=AT_ONCE)
    job["spec"]["stages"] = [stage("clip", begun, script)]
    plane.apply(job)
    status = plane.wait_for("chosen", failed)["status"]
    assert status["stages"][0]["failed"] == "1,3"
    (tmp_path / "repaired").touch()
    plane.annotate("chosen", names.ANNOTATION_RETRY, "clip/3@first")
    plane.wait_for("chosen", lambda found: found["status"]["units"]["succeeded"] == 4 and failed(found))
    status = plane.get("chosen")["status"]
    assert status["handled"]["retry"] == "clip/3@first"
    assert status["stages"][0]["failed"] == "1"
    assert Counter(begun_units(begun)) == {"clip/0": 1, "clip/1": 1, "clip/2": 1, "clip/3": 2, "clip/4": 1}


def test_a_job_that_takes_too_long_is_ended_and_goes_on_when_it_is_resumed(
    plane: Plane, begun: Path, tmp_path: Path
) -> None:
    waits = f'while [ "$CARRYON_ITEM" = 1 ] && [ ! -e {tmp_path}/go ]; do sleep 0.1; done; ' + CLIP
    job = reel("slow", clips=2)
    job["spec"]["stages"] = [stage("clip", begun, waits)]
    plane.apply(job)
    plane.wait_for("slow", lambda found: units_done(found) == 1)
    until(lambda: len(begun_units(begun)) == 2)
    plane.patch("slow", {"spec": {"timeouts": {"job": "10s"}}})
    seen = plane.wait_for("slow", failed)
    assert claim(seen, "Failed")["reason"] == "JobTimeout"
    assert "spec.timeouts.job (10s) is over" in seen["status"]["message"]
    assert seen["status"]["progress"] == "1/2"
    assert seen["status"]["counters"]["failures"] == seen["status"]["counters"]["disruptions"] == 0
    (tmp_path / "go").touch()
    plane.annotate("slow", names.ANNOTATION_RESUME, "again")
    plane.wait_for("slow", succeeded)
    assert Counter(begun_units(begun)) == {"clip/0": 1, "clip/1": 2}


def test_one_request_is_acted_on_once_and_beyond_its_limit_never(plane: Plane, begun: Path) -> None:
    job = reel("asked", clips=1, retry=AT_ONCE, limits={"resumes": 1})
    job["spec"]["stages"] = [stage("clip", begun, "exit 3")]
    plane.apply(job)
    plane.wait_for("asked", failed)
    for _ in range(2):
        plane.annotate("asked", names.ANNOTATION_RESUME, "first")
    plane.wait_for("asked", lambda found: found["status"]["handled"].get("resume") == "first" and failed(found))
    assert len(begun_units(begun)) == 2
    plane.annotate("asked", names.ANNOTATION_RESUME, "second")
    seen = plane.wait_for("asked", lambda found: found["status"]["handled"].get("resume") == "second")
    assert failed(seen)
    assert seen["status"]["counters"]["resumes"] == 1
    assert not seen["status"]["resume"]["possible"]
    assert "limits.resumes is reached (1 of 1)" in seen["status"]["resume"]["reason"]
    assert len(begun_units(begun)) == 2


def test_a_file_that_changed_makes_its_own_units_again_and_one_that_is_missing_fails_only_them(
    plane: Plane, begun: Path, tmp_path: Path
) -> None:
    photos = {item: tmp_path / f"{item}.txt" for item in ("ada", "alan", "grace")}
    for item in ("ada", "alan"):
        photos[item].write_text(f"photo of {item}")
    items = [{"id": item, "params": {"photo": {"file": file.as_uri()}}} for item, file in photos.items()]
    job = reel("portraits", retry=AT_ONCE)
    script = 'cat "$1" > "$CARRYON_OUTPUT/portrait.txt"'
    job["spec"].update(items={"list": items}, stages=[stage("portrait", begun, script, "{{ item.photo }}")])
    plane.apply(job)
    seen = plane.wait_for("portraits", failed)
    assert seen["status"]["progress"] == "2/3"
    assert seen["status"]["recentFailures"][0]["reason"] == "InputMissing"
    assert "grace.txt" in seen["status"]["recentFailures"][0]["message"]
    assert begun_units(begun) == ["portrait/ada", "portrait/alan"]

    photos["grace"].write_text("photo of grace")
    photos["alan"].write_text("another photo of alan")
    plane.annotate("portraits", names.ANNOTATION_RESUME, "photos are there")
    plane.wait_for("portraits", succeeded)
    assert Counter(begun_units(begun)) == {"portrait/ada": 1, "portrait/alan": 2, "portrait/grace": 1}
    made = versions(plane.job_folder("portraits"))
    assert [version.text for version in made["portrait/alan"]] == ["photo of alan", "another photo of alan"]


def test_a_job_goes_by_itself_when_its_time_after_the_end_is_over(plane: Plane, begun: Path) -> None:
    job = reel("passing", clips=1, ttlSecondsAfterFinished=3)
    job["spec"]["stages"] = [stage("clip", begun, CLIP)]
    plane.apply(job)
    until(lambda: gone(plane, "passing"), 60)
    assert list(versions(plane.job_folder("passing"))) == ["clip/0"], "artifacts stay"


def test_a_job_that_says_so_takes_its_artifacts_along(plane: Plane, begun: Path) -> None:
    job = reel("tidy", clips=2, output={"uri": plane.output.as_uri(), "onDelete": "Delete"})
    job["spec"]["stages"] = [stage("clip", begun, CLIP)]
    plane.apply(job)
    plane.wait_for("tidy", succeeded)
    assert len(versions(plane.job_folder("tidy"))) == 2
    plane.delete("tidy")
    until(lambda: gone(plane, "tidy"))
    assert [path for path in plane.job_folder("tidy").rglob("*") if path.is_file()] == []


def gone(plane: Plane, name: str) -> bool:
    try:
        plane.get(name)
    except ApiError as error:
        return error.code == 404
    return False


def test_a_unit_that_needs_more_gets_it_in_its_round(plane: Plane, begun: Path) -> None:
    """Two clips run out of memory on what they are given; a round gives more, one pod at a time."""
    # Each attempt waits until it was looked at.
    script = f"""
        tries=$(grep -c "^clip/$CARRYON_ITEM\\$" {begun})
        while [ ! -e {begun}.$CARRYON_ITEM.$tries ]; do sleep 0.05; done
        [ "$CARRYON_ITEM" = 0 ] || [ -e {begun}.large ] || exit 13
    """
    node = plane.request("GET", "/api/v1/nodes")["items"][0]["metadata"]["name"]
    label(plane, node, {"room": "large"})
    retry = {
        "perUnit": 1,
        "rounds": 2,
        "backoff": {"initial": "1s", "factor": 1},
        "roundOverrides": [
            {"resources": {"requests": {"memory": "20Mi"}}},
            {"resources": {"requests": {"memory": "30Mi"}}, "nodeSelector": {"room": "large"}},
        ],
    }
    job = reel("hungry", clips=3, retry=retry)
    resources = {"requests": {"memory": "10Mi", "cpu": "10m"}}
    job["spec"]["stages"] = [stage("clip", begun, script + CLIP, resources=resources)]
    seen: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    together = 0

    def look() -> bool:
        nonlocal together
        of_rounds = 0
        found = [pod for pod in plane.pods("hungry") if pod["status"].get("phase") in ("Pending", "Running")]
        for pod in found:
            resources = pod["spec"]["containers"][0]["resources"]["requests"]
            seen[pod["metadata"]["name"]] = (resources, pod["spec"].get("nodeSelector") or {})
            if pod["spec"].get("nodeSelector") == {"room": "large"}:
                Path(f"{begun}.large").touch()
            # A first attempt may still be on its way out when its unit is known to be done.
            of_rounds += resources["memory"] != "10Mi"
        together = max(together, of_rounds)
        for pod in found:
            described = pod["metadata"]["annotations"]
            (item,) = json.loads(described[names.ANNOTATION_UNITS])
            Path(f"{begun}.{item}.{described[names.ANNOTATION_ATTEMPT]}").touch()
        return succeeded(plane.get("hungry"))

    plane.apply(job)
    until(look, 90)
    assert Counter(begun_units(begun)) == {"clip/0": 1, "clip/1": 3, "clip/2": 3}
    wanted = [({"memory": f"{megabytes}Mi", "cpu": "10m"}, {}) for megabytes in (10, 10, 10, 20, 20)]
    wanted += [({"memory": "30Mi", "cpu": "10m"}, {"room": "large"})] * 2
    assert sorted(seen.values(), key=str) == sorted(wanted, key=str)
    assert together == 1, "rounds take one at a time"
    status = plane.get("hungry")["status"]
    assert (status["counters"]["failures"], status["counters"]["round"]) == (4, 2)
    assert status["stages"][0]["failures"] == {}, "what is done has used nothing"
    assert {each["reason"] for each in status["recentFailures"]} == {"OutOfMemory"}


def label(plane: Plane, node: str, labels: dict[str, str | None]) -> None:
    patch = {"metadata": {"labels": labels}}
    plane.request("PATCH", f"/api/v1/nodes/{node}", patch, "application/merge-patch+json")


def test_a_finished_job_whose_artifacts_were_removed_stays_finished(plane: Plane, begun: Path) -> None:
    job = reel("expired", clips=4)
    job["spec"]["stages"] = [stage("clip", begun, CLIP)]
    plane.apply(job)
    plane.wait_for("expired", succeeded)
    for (version,) in versions(plane.job_folder("expired")).values():
        for path in version.folder.iterdir():
            path.unlink()
    seen = plane.wait_for("expired", lambda found: "4 units" in claim(found, "ArtifactsMissing").get("message", ""))
    assert succeeded(seen)
    assert seen["status"]["progress"] == "4/4"
    assert condition(seen, "ArtifactsMissing")
    assert "carryon resume expired" in claim(seen, "ArtifactsMissing")["message"]
    assert plane.pods("expired") == []

    plane.annotate("expired", names.ANNOTATION_RESUME, "again")
    seen = plane.wait_for("expired", lambda found: succeeded(found) and not condition(found, "ArtifactsMissing"))
    assert seen["status"]["handled"]["resume"] == "again"
    assert Counter(begun_units(begun)) == {f"clip/{item}": 2 for item in range(4)}


def test_a_bucket_that_is_suddenly_half_empty_launches_nothing_until_resumed(
    plane: Plane, begun: Path, tmp_path: Path
) -> None:
    waits = f'while [ "$CARRYON_ITEM" -gt 7 ] && [ ! -e {tmp_path}/go ]; do sleep 0.1; done; ' + CLIP
    job = reel("halved", clips=10, parallelism=3)
    job["spec"]["stages"] = [stage("clip", begun, waits)]
    plane.apply(job)
    plane.wait_for("halved", lambda found: units_done(found) == 8)
    until(lambda: len(begun_units(begun)) == 10)
    away = plane.job_folder("halved") / "clip"
    for item in range(5):
        (away / str(item)).rename(tmp_path / f"away-{item}")
    seen = plane.wait_for("halved", lambda found: condition(found, "Stalled"))
    told = claim(seen, "Stalled")
    assert told["reason"] == "ArtifactsVanished"
    assert "5 of 8" in told["message"]
    assert len(begun_units(begun)) == 10
    assert seen["status"]["resume"]["possible"]
    assert "resume halved" in seen["status"]["resume"]["action"]

    # It was the wrong folder: what comes back is found again.
    for item in range(3):
        (tmp_path / f"away-{item}").rename(away / str(item))
    plane.wait_for("halved", lambda found: not condition(found, "Stalled"))
    (tmp_path / "go").touch()
    plane.wait_for("halved", succeeded)
    assert Counter(begun_units(begun)) == Counter({f"clip/{item}": 1 + (item in (3, 4)) for item in range(10)})


def told(plane: Plane, job: str) -> set[str]:
    """Reasons of the Events about a job."""
    events = plane.request("GET", "/api/v1/namespaces/default/events")["items"]
    return {each["reason"] for each in events if each["involvedObject"].get("name") == job}


def test_what_is_asked_in_vain_is_answered_and_changes_nothing(plane: Plane, begun: Path, tmp_path: Path) -> None:
    waits = f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; " + CLIP
    job = reel("content", clips=2)
    job["spec"]["stages"] = [stage("clip", begun, waits)]
    plane.apply(job)
    until(lambda: len(begun_units(begun)) == 2)
    at_work = {pod["metadata"]["uid"] for pod in plane.pods("content")}
    # Resuming what runs.
    plane.annotate("content", names.ANNOTATION_RESUME, "while it runs")
    plane.wait_for("content", lambda found: found["status"]["handled"].get("resume") == "while it runs")
    until(lambda: "NothingToResume" in told(plane, "content"))
    assert {pod["metadata"]["uid"] for pod in plane.pods("content")} == at_work
    (tmp_path / "go").touch()
    plane.wait_for("content", succeeded)
    # Restarting what is done, resuming it, and retrying what did not fail.
    for annotation, field in (
        (names.ANNOTATION_RESTART, "restart"),
        (names.ANNOTATION_RESUME, "resume"),
        (names.ANNOTATION_RETRY, "retry"),
    ):
        plane.annotate("content", annotation, "clip/0@done")
        seen = plane.wait_for(
            "content",
            lambda found, field=field: found["status"]["handled"].get(field) == "clip/0@done" and succeeded(found),
        )
        assert seen["status"]["progress"] == "2/2"
    until(lambda: "NothingToRestart" in told(plane, "content"))
    assert not any(plane.get("content")["status"]["counters"].values())
    assert begun_units(begun) == ["clip/0", "clip/1"]


def test_two_requests_at_once_are_each_acted_on_once(plane: Plane, begun: Path, tmp_path: Path) -> None:
    """One clip has failed, the other hangs: a resume and a restart in one patch."""
    script = f"""
        if [ ! -e {tmp_path}/go ]; then
          [ "$CARRYON_ITEM" = 0 ] && exit 3
          sleep 600
        fi
    """
    job = reel("both", clips=2, retry=AT_ONCE)
    job["spec"]["stages"] = [stage("clip", begun, script + CLIP)]
    plane.apply(job)
    until(lambda: len(begun_units(begun)) == 2)
    plane.wait_for("both", lambda found: found["status"]["units"]["failed"] == 1)
    (tmp_path / "go").touch()
    requests = {names.ANNOTATION_RESUME: "now", names.ANNOTATION_RESTART: "now"}
    plane.patch("both", {"metadata": {"annotations": requests}})
    status = plane.wait_for("both", succeeded)["status"]
    assert {name: value for name, value in status["handled"].items() if value} == {"resume": "now", "restart": "now"}
    assert Counter(begun_units(begun)) == {"clip/0": 2, "clip/1": 2}
    counters = {cause: count for cause, count in status["counters"].items() if count}
    assert counters == {"failures": 1, "resumes": 1, "restarts": 1}


def test_a_job_that_has_used_its_gpu_seconds_waits_for_a_person(plane: Plane, begun: Path, tmp_path: Path) -> None:
    waits = f'if [ "$CARRYON_ITEM" = 1 ] && [ ! -e {tmp_path}/go ]; then sleep 600; fi; ' + CLIP
    job = reel("costly", clips=2)
    job["spec"]["stages"] = [stage("clip", begun, waits)]
    plane.apply(job)
    plane.wait_for("costly", lambda found: units_done(found) == 1)
    until(lambda: len(begun_units(begun)) == 2)
    plane.patch("costly", {"spec": {"limits": {"gpuSeconds": 4}}})
    seen = plane.wait_for("costly", lambda found: condition(found, "Stalled"))
    assert claim(seen, "Stalled")["reason"] == "GpuSecondsUsed"
    assert "raise it" in claim(seen, "Stalled")["message"]
    until(lambda: plane.pods("costly") == [])
    assert begun_units(begun) == ["clip/0", "clip/1"]
    (tmp_path / "go").touch()
    plane.patch("costly", {"spec": {"limits": {"gpuSeconds": 1000}}})
    status = plane.wait_for("costly", succeeded)["status"]
    assert begun_units(begun) == ["clip/0", "clip/1", "clip/1"]
    assert not any(status["counters"].values()), "nobody's failure"
    assert status["gpuSeconds"]["lost"] >= 1


@needs_kubectl
def test_a_pause_frees_the_gpu_for_another_job(begun: Path, tmp_path: Path) -> None:
    plane = Plane(tmp_path / "plane", gpus=1).start()
    gpu = {"limits": {"nvidia.com/gpu": 1}}
    try:
        long = reel("long", clips=1)
        long["spec"]["stages"] = [
            stage("clip", begun, f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; " + CLIP, resources=gpu)
        ]
        plane.apply(long)
        until(lambda: begun_units(begun) == ["clip/0"])
        short = reel("short", clips=1)
        short["spec"]["stages"] = [stage("still", begun, CLIP, resources=gpu)]
        plane.apply(short)
        until(lambda: [_waits_for_room(pod) for pod in plane.pods("short")] == [True])

        plane.kubectl("patch", "gj", "long", "--type", "merge", "-p", '{"spec":{"suspend":true}}')
        plane.kubectl("wait", "gj/short", "--for=condition=Succeeded", "--timeout=60s")
        assert begun_units(begun) == ["clip/0", "still/0"]
        (tmp_path / "go").touch()
        plane.kubectl("patch", "gj", "long", "--type", "merge", "-p", '{"spec":{"suspend":false}}')
        plane.kubectl("wait", "gj/long", "--for=condition=Succeeded", "--timeout=60s")
        assert begun_units(begun) == ["clip/0", "clip/0", "still/0"]
    finally:
        plane.kill()


def _waits_for_room(pod: dict[str, Any]) -> bool:
    conditions = {each["type"]: each for each in pod["status"].get("conditions") or ()}
    return conditions.get("PodScheduled", {}).get("reason") == "Unschedulable"


def test_a_job_that_was_deleted_and_applied_again_is_done_already(plane: Plane, begun: Path) -> None:
    job = film("again", begun, items={"list": scenes(3)})
    plane.apply(job)
    plane.wait_for("again", succeeded)
    made, uid = begun_units(begun), plane.get("again")["metadata"]["uid"]
    plane.delete("again")
    until(lambda: gone(plane, "again"))
    plane.apply(job)
    seen = plane.wait_for("again", succeeded)
    assert seen["metadata"]["uid"] != uid
    assert seen["status"]["progress"] == "7/7"
    assert begun_units(begun) == made


def test_a_status_that_is_lost_is_found_again_in_the_bucket(plane: Plane, begun: Path, tmp_path: Path) -> None:
    waits = f'while [ "$CARRYON_ITEM" -gt 1 ] && [ ! -e {tmp_path}/go ]; do sleep 0.1; done; ' + CLIP
    job = reel("forgetful", clips=4, parallelism=2)
    job["spec"]["stages"] = [stage("clip", begun, waits)]
    plane.apply(job)
    plane.wait_for("forgetful", lambda found: units_done(found) == 2)
    until(lambda: len(begun_units(begun)) == 4)
    lost = {"status": None}
    plane.request("PATCH", f"{JOBS}/forgetful/status", lost, "application/merge-patch+json")
    seen = plane.wait_for("forgetful", lambda found: units_done(found) == 2)
    assert seen["status"]["units"]["active"] == 2
    (tmp_path / "go").touch()
    plane.wait_for("forgetful", succeeded)
    assert begun_units(begun) == [f"clip/{item}" for item in range(4)]
