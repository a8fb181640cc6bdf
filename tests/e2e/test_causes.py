"""Why attempts end: each cause has its counter, uses an attempt or none, and disturbs no other unit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from carryon_core import names
from plane import Plane, claim, failed, succeeded, until
from reels import begun_units, reel, stage, versions

CLIP = 'head -c 64 /dev/urandom > "$CARRYON_OUTPUT/clip.bin"'
SOON = {"perUnit": 3, "rounds": 0, "backoff": {"initial": "1s", "factor": 1}}


def clips(name: str, begun: Path, script: str, **spec: Any) -> dict[str, Any]:
    """A job of one stage that is tried again soon."""
    made = reel(name, **{"clips": 3, "retry": SOON, **spec})
    made["spec"]["stages"] = [stage("clip", begun, script)]
    return made


def counts(status: dict[str, Any]) -> dict[str, int]:
    """The counters that are not zero."""
    return {cause: count for cause, count in status["counters"].items() if count}


def pod_of(plane: Plane, job: str, item: str) -> dict[str, Any] | None:
    """The pod that runs for one item now."""
    for pod in plane.pods(job):
        described = pod["metadata"]
        made = described["annotations"][names.ANNOTATION_UNITS] == f'["{item}"]'
        if made and "deletionTimestamp" not in described and pod["status"].get("phase") == "Running":
            return pod
    return None


def test_a_stuck_clip_is_replaced_by_itself_and_goes_on_from_its_checkpoint(plane: Plane, begun: Path) -> None:
    script = """
        state=$CARRYON_CHECKPOINT/state
        step=$(cat "$state" 2> /dev/null || echo 0)
        [ "$step" = 0 ] || CARRYON_RESUMED=yes
        while [ $step -lt 6 ]; do
          step=$((step + 1))
          echo $step > "$state.new" && mv "$state.new" "$state"
          echo "$step/6" > "$CARRYON_PROGRESS"
          echo "step-$step/$CARRYON_ITEM" >> {begun}
          if [ "$CARRYON_ITEM $step $CARRYON_RESUMED" = "1 3 " ]; then sleep 600; fi
        done
    """.replace("{begun}", str(begun))
    plane.apply(clips("stalling", begun, script + CLIP, timeouts={"stall": "2s"}))
    status = plane.wait_for("stalling", succeeded)["status"]
    assert counts(status) == {"stuck": 1}
    assert Counter(begun_units(begun)) == Counter(
        [f"step-{step}/{item}" for step in range(1, 7) for item in range(3)] + ["clip/0", "clip/1", "clip/1", "clip/2"]
    ), "no step is made twice"
    (told,) = status["recentFailures"]
    assert (told["unit"], told["reason"]) == ("1", "Stalled")


def test_a_clip_that_takes_too_long_is_ended_and_tried_again(plane: Plane, begun: Path) -> None:
    script = f'if [ "$CARRYON_ITEM" = 1 ] && [ "$(grep -c clip/1 {begun})" = 1 ]; then sleep 600; fi; ' + CLIP
    plane.apply(clips("lengthy", begun, script, timeouts={"unit": "2s"}))
    status = plane.wait_for("lengthy", succeeded)["status"]
    assert counts(status) == {"failures": 1}
    assert Counter(begun_units(begun)) == {"clip/0": 1, "clip/1": 2, "clip/2": 1}
    (told,) = status["recentFailures"]
    assert (told["unit"], told["reason"]) == ("1", "UnitTimeout")


def test_what_can_never_work_is_tried_once(plane: Plane, begun: Path) -> None:
    script = 'if [ "$CARRYON_ITEM" = 1 ]; then echo "no such style: cubist" >&2; exit 12; fi; ' + CLIP
    plane.apply(clips("impossible", begun, script, unitsPerPod=3, retry={**SOON, "rounds": 2}))
    status = plane.wait_for("impossible", failed)["status"]
    assert begun_units(begun) == ["clip/0", "clip/1", "clip/2"]
    assert counts(status) == {"failures": 1}
    (told,) = status["recentFailures"]
    assert (told["unit"], told["reason"]) == ("1", "BadRequest")
    assert "no such style: cubist" in told["message"]


def test_a_worker_that_crashes_costs_its_unit_an_attempt_and_the_others_none(
    plane: Plane, begun: Path, tmp_path: Path
) -> None:
    waits = f'while [ "$CARRYON_ITEM" = 1 ] && [ ! -e {tmp_path}/go ]; do sleep 0.1; done; ' + CLIP
    plane.apply(clips("crashing", begun, waits, unitsPerPod=3, parallelism=1))
    until(lambda: begun_units(begun) == ["clip/0", "clip/1"])
    (worker,) = plane.workers()
    worker.kill()
    (tmp_path / "go").touch()
    status = plane.wait_for("crashing", succeeded)["status"]
    assert counts(status) == {"failures": 1}
    assert begun_units(begun) == ["clip/0", "clip/1", "clip/1", "clip/2"]
    (told,) = status["recentFailures"]
    assert (told["unit"], told["reason"], told["attempt"]) == ("1", "Crash", 1)


def evict(plane: Plane, job: str, item: str, begun: Path, times: int) -> None:
    """Evict an item's pod so many times, each time once its program has begun."""
    for number in range(1, times + 1):
        until(lambda: begun_units(begun).count(f"clip/{item}") == number and pod_of(plane, job, item), 60)  # noqa: B023
        pod = pod_of(plane, job, item)
        assert pod is not None
        plane.evict(pod["metadata"]["name"])


def test_a_clip_that_gets_nowhere_five_times_fails_and_no_other(plane: Plane, begun: Path) -> None:
    script = 'if [ "$CARRYON_ITEM" = 1 ]; then sleep 600; fi; ' + CLIP
    plane.apply(clips("nowhere", begun, script))
    evict(plane, "nowhere", "1", begun, 5)
    status = plane.wait_for("nowhere", failed)["status"]
    assert counts(status) == {"disruptions": 5}
    assert status["stages"][0]["failed"] == "1"
    assert status["stages"][0]["failures"] == {}, "evictions use no attempt"
    assert status["recentFailures"][0]["reason"] == "NoProgress"
    assert Counter(begun_units(begun)) == {"clip/0": 1, "clip/1": 5, "clip/2": 1}


def test_a_clip_that_is_evicted_again_and_again_but_gets_on_is_made(plane: Plane, begun: Path) -> None:
    """Six times, each leaving a step more than the one before: more than what gets nowhere may take."""
    script = """
        if [ "$CARRYON_ITEM" = 1 ]; then
          state=$CARRYON_CHECKPOINT/state
          steps=$(cat "$state" 2> /dev/null || echo 0)
          echo $((steps + 1)) > "$state"
          echo "clip/1" >> {begun}
          [ $steps -ge 6 ] || sleep 600
        fi
    """.replace("{begun}", str(begun))
    job = clips("nomad", begun, script + CLIP)
    job["spec"]["stages"] = [{"name": "clip", "generate": {"command": {"args": ["sh", "-ec", script + CLIP]}}}]
    plane.apply(job)
    evict(plane, "nomad", "1", begun, 6)
    status = plane.wait_for("nomad", succeeded)["status"]
    assert counts(status) == {"disruptions": 6}
    assert begun_units(begun) == ["clip/1"] * 7


def test_events_and_status_tell_a_disruption_from_a_failure(plane: Plane, begun: Path) -> None:
    script = f'if [ "$(grep -c clip/0 {begun})" = 1 ]; then sleep 600; fi; ' + CLIP
    plane.apply(clips("told", begun, script, clips=1))
    evict(plane, "told", "0", begun, 1)
    job = plane.wait_for("told", succeeded)
    assert counts(job["status"]) == {"disruptions": 1}
    assert job["status"].get("recentFailures", []) == []
    assert claim(job, "Succeeded")["reason"] == "AllUnitsDone"
    events = plane.request("GET", "/api/v1/namespaces/default/events")["items"]
    told = {each["reason"]: each["type"] for each in events if each["involvedObject"].get("name") == "told"}
    assert told["Disrupted"] == "Normal"
    assert "UnitFailed" not in told
    assert list(plane.job_folder("told").glob("clip/0/*/attempts/*.log")) == [], "nothing went wrong in it"
    assert len(versions(plane.job_folder("told"))) == 1
