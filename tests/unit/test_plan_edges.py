"""Where two rules of the decision meet: edits of what failed, a bucket that is away, limits and clocks."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from carryon_core import names
from carryon_core.actions import Action, Verdict, verdict
from carryon_core.done import Outcome
from carryon_core.phases import Phase
from carryon_core.status import FAILURES_SHOWN, MARK, MARKED_MOST, ConditionType
from carryon_operator.plan import stalls
from carryon_operator.plan.counting import FAILURES_TOLD
from carryon_operator.plan.decide import decide
from worlds import FILM, TWO_STAGES, World, at, by_prompt, condition, holds, items, job_spec, waiting, work

CLIP = {"name": "clip", "generate": {"command": {"args": ["make", "{{ item.p }}"]}}}
PHOTO = "s3://bucket/in/style.png"
ENDS = (ConditionType.SUCCEEDED, ConditionType.FAILED, ConditionType.CANCELLED, ConditionType.FINISHED)


def resumable(world: World) -> Verdict:
    spec, status, asked = world.spec, world.status, world.annotations
    return verdict(Action.RESUME, spec, status, asked, name="reel", generation=world.generation, now=world.now)


def halfway(done: int = 8, **fields: Any) -> World:
    """A job of ten units with so many done, one at a time."""
    world = World(spec=job_spec(items={"count": 10}, parallelism=1, **fields))
    while len(world.done) < done:
        world.settle()
        world.finish(world.working()[0])
    world.settle()
    return world


def stop(world: World) -> None:
    """Every pod that is being deleted ends."""
    for pod in world.working():
        if pod.gone_by is not None:
            world.end(pod, 11)
    world.settle()


# --- what an edit changed, and what vanished ------------------------------------------------------------------------


def scene(uses: str) -> dict[str, Any]:
    return {"name": "scene", "generate": {"command": {"args": ["film", "{{ item.p }}", "{{ " + uses + " }}"]}}}


@pytest.mark.parametrize(
    ("stage", "ids", "changed"),
    [
        (scene("inputs.previous | default(none)"), "abcdef", {"a": "edited"}),
        (scene("item.index"), "xabcdef", {}),
        (CLIP, "abcdef", {letter: "edited" for letter in "abcd"}),
    ],
    ids=["each made from the one before", "made from their numbers", "most prompts"],
)
def test_an_edit_that_makes_most_units_anew_is_no_half_empty_bucket(
    stage: dict[str, Any], ids: str, changed: dict[str, str]
) -> None:
    world = World(spec=job_spec(stages=[stage], items=items("abcdef")))
    work(world)
    world.edit(items=items(ids, **changed))
    work(world)
    assert "ArtifactsVanished" not in world.events
    assert world.status.phase == Phase.SUCCEEDED


def test_taking_overrides_away_is_no_half_empty_bucket() -> None:
    overrides = [{"stage": "clip", "item": str(item), "params": {"seed": 5}} for item in range(4)]
    world = World(spec=job_spec(items={"count": 4}, overrides=overrides))
    work(world)
    world.edit(overrides=[])
    work(world)
    assert "ArtifactsVanished" not in world.events
    assert world.status.phase == Phase.SUCCEEDED
    assert len(world.made) == 8


def test_a_file_that_changed_under_two_stages_is_no_half_empty_bucket() -> None:
    image = {"name": "image", "generate": {"command": {"args": ["draw", "{{ item.id }}", "{{ item.photo }}"]}}}
    listed = {"list": [{"id": item, "params": {"photo": {"file": PHOTO}}} for item in "abcd"]}
    world = World(spec=job_spec(stages=[image, TWO_STAGES[1]], items=listed), files={PHOTO: "a" * 64})
    work(world)
    world.files = {PHOTO: "b" * 64}
    world.edit(parallelism=4)
    work(world)
    assert "ArtifactsVanished" not in world.events
    assert len(world.made) == 16


def test_what_is_below_a_reel_is_not_lost_because_one_clip_was() -> None:
    post = {
        "name": "post",
        "after": ["reel"],
        "generate": {"command": {"args": ["{{ item.id }}", "{{ inputs.reel }}"]}},
    }
    slow = {"name": "slow", "generate": {"command": {"args": ["{{ item.id }}"]}}}
    world = World(spec=job_spec(stages=[*FILM, post, slow], items={"count": 6}, parallelism=20))
    for _ in range(20):
        world.settle()
        for pod in world.working():
            if pod.stage != "slow":
                world.finish(pod)
    world.done.remove(world.fingerprint(1, 0))
    world.settle()
    assert not holds(world, ConditionType.STALLED)
    assert {pod.stage for pod in world.working()} == {"clip", "slow"}


def test_what_vanished_is_missed_also_after_items_were_added_or_moved() -> None:
    world = World(spec=job_spec(items=items("abcdef"), stages=[CLIP]))
    work(world)
    world.done.clear()
    world.edit(items=items("fedcbaxy"))
    world.settle()
    assert condition(world, ConditionType.STALLED).reason == "ArtifactsVanished"
    assert not world.working()


def test_whoever_resumes_without_knowing_that_artifacts_vanished_is_told_first() -> None:
    world = halfway()
    world.edit(suspend=True)
    world.settle()
    stop(world)
    world.done.clear()
    world.edit(suspend=False)
    world.annotations[names.ANNOTATION_RESUME] = "first"
    world.settle()
    assert condition(world, ConditionType.STALLED).reason == "ArtifactsVanished"
    assert world.status.handled.resume == "first"
    assert not world.working()
    assert resumable(world).possible
    world.annotations[names.ANNOTATION_RESUME] = "second"
    work(world)
    assert world.status.phase == Phase.SUCCEEDED


def test_a_finished_job_that_lost_its_artifacts_can_be_edited_and_resumed() -> None:
    world = World(spec=job_spec(items={"count": 6}))
    work(world)
    world.done.clear()
    world.edit(items={"count": 7})
    world.settle()
    assert world.status.observed_generation == world.generation
    assert not any(holds(world, kind) for kind in ENDS)
    assert world.status.phase == Phase.STALLED
    assert resumable(world).possible
    world.annotations[names.ANNOTATION_RESUME] = "yes"
    work(world)
    assert world.status.progress == "7/7"


def test_a_late_look_that_missed_them_is_knowledge_enough() -> None:
    world = World(spec=job_spec(items={"count": 6}))
    work(world)
    world.done.clear()
    world.lost = 6
    world.settle()
    world.annotations[names.ANNOTATION_RESUME] = "yes"
    work(world)
    assert "ArtifactsVanished" not in world.events
    assert world.status.phase == Phase.SUCCEEDED


# --- the books ------------------------------------------------------------------------------------------------------


def test_only_an_edit_that_changes_what_a_unit_is_made_from_gives_it_a_new_budget() -> None:
    world = World(spec=job_spec(stages=[CLIP], items=items("abc"), retry={"perUnit": 2}))
    work(world, {"b": 99})
    assert world.status.counters.failures == 2
    listed = [{"id": item, "params": {"p": item, "nobody uses": "this"}} for item in "abc"]
    world.edit(items={"list": listed})
    work(world, {"b": 99})
    world.edit(overrides=[{"stage": "clip", "item": "a", "params": {"seed": 1}}])
    work(world, {"b": 99})
    assert world.status.counters.failures == 2
    world.edit(overrides=[{"stage": "clip", "item": "b", "params": {"seed": 1}}])
    work(world)
    assert world.status.phase == Phase.SUCCEEDED


@pytest.mark.parametrize("cause", ["override removed", "item before it", "upstream", "file"])
def test_whatever_changes_what_a_unit_is_made_from_gives_it_a_new_budget(cause: str) -> None:
    stages, listed, fields = [scene("inputs.previous | default(none)")], items("abc"), {}
    if cause == "override removed":
        fields = {"overrides": [{"stage": "scene", "item": "b", "params": {"seed": 1}}]}
    elif cause == "upstream":
        stages = by_prompt(TWO_STAGES)
    elif cause == "file":
        listed = {"list": [{"id": item, "params": {"p": {"file": f"s3://bucket/in/{item}"}}} for item in "abc"]}
    world = World(spec=job_spec(stages=stages, items=listed, retry={"perUnit": 1}, **fields))
    world.files = {f"s3://bucket/in/{item}": "a" * 64 for item in "abc"} if cause == "file" else {}
    failing = "clip" if cause == "upstream" else "scene"
    for _ in range(12):
        world.settle()
        for pod in world.working():
            if (pod.stage, pod.units) == (failing, ("b",)):
                world.end(pod, 1)
            else:
                world.finish(pod)
    assert world.status.phase == Phase.FAILED
    match cause:
        case "override removed":
            world.edit(overrides=[])
        case "item before it":
            world.edit(items=items("abc", a="edited"))
        case "upstream":
            world.edit(items=items("abc", b="edited"))
        case _:
            world.files["s3://bucket/in/b"] = "b" * 64
            world.edit(parallelism=4)
    work(world)
    assert world.status.phase == Phase.SUCCEEDED, world.status.message


def test_books_are_kept_of_more_units_than_have_marks_and_struck_by_stage_then() -> None:
    count = MARKED_MOST + 5
    world = World(spec=job_spec(items={"count": count}, parallelism=2000, retry={"perUnit": 1}))
    world.settle()
    for pod in world.working():
        world.end(pod, 1)
    world.settle()
    stage = world.status.stages[0]
    assert (len(stage.marks), stage.failed) == (MARK * MARKED_MOST, f"0-{count - 1}")
    world.edit(parallelism=1500)
    world.settle()
    assert world.status.units.failed == count
    world.edit(stages=[{"name": "clip", "generate": {"command": {"args": ["better", "{{ item.id }}"]}}}])
    world.settle()
    assert world.status.units.failed == 0


def test_an_edit_of_one_unit_hides_nothing_that_vanished() -> None:
    for edit in (
        {"items": items("abcdefghijklmnopqrstuvwxyz", m="edited")},
        {"items": items("abcdefghijklmnopqrstuvwxy")},
    ):
        world = World(spec=job_spec(stages=[CLIP], items=items("abcdefghijklmnopqrstuvwxyz")))
        work(world)
        world.done.clear()
        world.edit(**edit)
        world.settle()
        assert condition(world, ConditionType.STALLED).reason == "ArtifactsVanished"
        assert "of 25 units" in world.status.message


def test_whoever_resumes_a_suspended_job_hears_what_vanished_from_it() -> None:
    world = halfway()
    world.edit(suspend=True)
    world.settle()
    stop(world)
    world.done.clear()
    world.settle()
    assert world.status.phase == Phase.SUSPENDED
    assert world.events.count("ArtifactsVanished") == 1
    assert world.status.resume is not None
    assert "no longer shows 8 of 8" in world.status.resume.reason
    assert world.status.resume.action == "carryon resume reel makes them again"


def test_that_artifacts_vanished_is_told_also_of_a_job_that_had_failed() -> None:
    world = World(spec=job_spec(items={"count": 6}, retry={"perUnit": 1}))
    work(world, {"5": 9})
    world.done.clear()
    world.edit(parallelism=2)
    world.settle()
    assert world.events.count("ArtifactsVanished") == 1


# --- what gathers and its books -------------------------------------------------------------------------------------

SOME = [{**stage, "success": {"minPercent": 50}} for stage in FILM[:2]]


def lives(world: World, fails: dict[tuple[str, str], int], rounds: int = 40) -> Counter[str]:
    """Let every worker succeed but those of some units; how many pods each stage got."""
    pods: Counter[str] = Counter()
    left = dict(fails)
    for _ in range(rounds):
        world.settle()
        for pod in world.working():
            pods[pod.stage] += 1
            unit = (pod.stage, pod.units[0])
            if left.get(unit, 0) > 0:
                left[unit] -= 1
                world.end(pod, 1)
            else:
                world.finish(pod)
        world.now += 600
    return pods


def test_a_reel_of_other_clips_has_books_of_its_own() -> None:
    world = World(spec=job_spec(stages=[*by_prompt(SOME), FILM[2]], items=items("abc"), retry={"perUnit": 1}))
    lives(world, {("reel", "job"): 9})
    assert world.status.phase == Phase.FAILED
    # The reel can't be made with c, so c is edited, and then fails for good: the reel is that of a and b now.
    world.edit(items=items("abc", c="edited"))
    pods = lives(world, {("image", "c"): 9})
    assert (pods["reel"], world.status.phase) == (1, Phase.SUCCEEDED)
    assert world.status.units.failed == 2


def test_a_reel_that_failed_is_skipped_when_nothing_is_left_to_gather() -> None:
    clip = {"name": "clip", "success": {"minPercent": 0}, "generate": {"command": {"args": ["{{ item.p }}"]}}}
    world = World(spec=job_spec(stages=[clip, FILM[2]], items=items("ab"), retry={"perUnit": 1}))
    lives(world, {("reel", "job"): 9})
    assert world.status.stages[1].failed == "0"
    world.edit(items=items("ab", a="x", b="y"))
    lives(world, {("clip", "a"): 9, ("clip", "b"): 9})
    assert world.status.stages[1].skipped == "0"
    assert world.status.phase == Phase.SUCCEEDED


def test_a_reel_that_fails_while_a_clip_is_let_in_again_can_be_made_with_it() -> None:
    clip = {"name": "clip", "success": {"minPercent": 50}, "generate": {"command": {"args": ["{{ item.id }}"]}}}
    world = World(spec=job_spec(stages=[clip, FILM[2]], items={"count": 4}, retry={"perUnit": 1}))
    for _ in range(10):
        world.settle()
        for pod in world.working():
            if pod.stage == "clip":
                world.end(pod, 1) if pod.units == ("3",) else world.finish(pod)
    (reel,) = world.working()
    world.end(reel, 1)
    world.annotations[names.ANNOTATION_RETRY] = "clip/3"
    pods = lives(world, {})
    assert (pods["reel"], world.status.phase) == (1, Phase.SUCCEEDED)


def test_a_unit_is_not_failed_and_done_at_once() -> None:
    clip = {"name": "clip", "success": {"minPercent": 0}, "generate": {"command": {"args": ["{{ item.id }}"]}}}
    args = ["{{ item.photo | default('') }}", "{{ inputs.reel }}"]
    post = {"name": "post", "after": ["reel"], "generate": {"command": {"args": args}}, "success": {"minPercent": 0}}
    listed = {"list": [{"id": "a", "params": {"photo": {"file": PHOTO}}}, {"id": "b"}]}
    world = World(spec=job_spec(stages=[clip, FILM[2], post], items=listed, retry={"perUnit": 1}), files={PHOTO: None})
    work(world, {"a": 9, "b": 9})
    units = world.status.units
    assert (units.succeeded, units.failed, units.remaining) == (3, 2, 0)
    assert world.status.phase == Phase.SUCCEEDED


def test_a_stage_may_begin_to_gather_and_its_items_change_with_that() -> None:
    world = World(spec=job_spec(stages=TWO_STAGES, items={"count": 4}, retry={"perUnit": 1}))
    lives(world, {("clip", "3"): 9})
    gather = {
        "name": "clip",
        "each": "job",
        "after": ["image"],
        "generate": {"command": {"args": ["{{ inputs.image }}"]}},
    }
    world.edit(stages=[TWO_STAGES[0], gather], items={"count": 5})
    work(world)
    assert world.status.phase == Phase.SUCCEEDED
    assert world.status.progress == "6/6"


def test_a_reel_that_can_never_work_is_not_tried_again_because_a_clip_was_let_go() -> None:
    stages = [{**stage, "success": {"minPercent": 60}} for stage in FILM[:2]] + [FILM[2]]
    world = World(spec=job_spec(stages=stages, items={"count": 3}, retry={"perUnit": 3}))
    for _ in range(40):
        world.settle()
        for pod in world.working():
            if pod.stage == "reel":
                world.end(pod, 12)
            elif (pod.stage, pod.units) == ("image", ("1",)):
                world.end(pod, 1)
            else:
                world.finish(pod)
        world.now += 60
    assert world.status.phase == Phase.FAILED
    assert world.status.counters.failures == 4
    assert world.status.stages[2].permanent == "0"
    world.edit(parallelism=2)
    world.settle()
    assert world.status.phase == Phase.FAILED
    assert not world.working()


def test_a_unit_that_failed_through_its_input_is_not_given_up_by_itself() -> None:
    world = World(spec=job_spec(stages=TWO_STAGES, items={"count": 2}, retry={"perUnit": 3}))
    world.settle()
    for pod in world.working():
        world.finish(pod)
    world.settle()
    (clip,) = (pod for pod in world.working() if pod.units == ("1",))
    world.end(clip, 1)
    world.settle()
    world.done.remove(world.fingerprint(0, 1))
    work(world, {"1": 99})
    assert world.status.stages[1].failed == "1"
    world.annotations[names.ANNOTATION_RETRY] = "image/1"
    work(world)
    assert world.status.phase == Phase.SUCCEEDED


def test_a_larger_budget_is_used() -> None:
    world = World(spec=job_spec(items={"count": 2}, retry={"perUnit": 1}))
    work(world, {"1": 1})
    assert world.status.phase == Phase.FAILED
    world.edit(retry={"perUnit": 2, "rounds": 0})
    work(world)
    assert world.status.phase == Phase.SUCCEEDED


def test_a_budget_that_was_lowered_takes_the_round_that_fits() -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 3}))
    for _ in range(2):
        world.settle()
        world.end(world.working()[0], 1)
        world.settle()
        world.now += 600
    world.edit(retry={"perUnit": 1, "rounds": 3})
    world.settle()
    assert world.status.counters.round == 2
    assert world.events.count("RoundStarted") == 1
    work(world)
    assert world.status.phase == Phase.SUCCEEDED


def test_one_attempt_counts_once_for_each_unit_of_a_pod() -> None:
    world = World(spec=job_spec(items={"count": 2}, unitsPerPod=2, parallelism=1, retry={"perUnit": 3}))
    world.settle()
    failed = {"index": 0, "outcome": "failed", "reason": "X", "message": "m"}
    said = {"reason": "Interrupted", "units": [failed, {"index": 1, "outcome": "interrupted"}]}
    world.end(world.working()[0], 143, message=json.dumps(said), disrupted=True)
    world.settle()
    (stage,) = world.status.stages
    assert (stage.failures, stage.fruitless) == ({"1": "0"}, {"1": "1"})
    assert (world.status.counters.failures, world.status.counters.disruptions) == (1, 1)


def test_a_pod_that_vanished_with_its_work_done_was_not_disrupted() -> None:
    world = World(spec=job_spec(items={"count": 2}))
    world.settle()
    pod = world.working()[0]
    world.publish(pod.fingerprints[0], pod)
    world.vanish(pod)
    world.settle()
    assert world.status.counters.disruptions == 0
    assert "Disrupted" not in world.events


def test_a_node_whose_clock_is_ahead_delays_nothing() -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 3}))
    world.settle()
    pod = world.working()[0]
    world.pods[pod.name] = replace(pod, phase="Failed", exit_code=1, finished=world.now + 3600)
    plan = world.settle()
    assert plan.wake_at is not None
    assert plan.wake_at <= world.now + 60


# --- what gathers nothing, pods of rounds ---------------------------------------------------------------------------


@pytest.mark.parametrize(("percent", "filtered"), [(0, False), (50, True)])
def test_a_reel_that_got_nothing_to_gather_is_skipped(percent: int, filtered: bool) -> None:
    clip = {"name": "clip", "success": {"minPercent": percent}, "generate": {"command": {"args": ["{{ item.id }}"]}}}
    world = World(spec=job_spec(stages=[clip, FILM[2]], items={"count": 2}, retry={"perUnit": 1}))
    if filtered:
        world.outcomes[world.fingerprint(0, 0)] = Outcome.FILTERED
    work(world, {"1": 9} if filtered else {"0": 9, "1": 9})
    assert world.status.phase == Phase.SUCCEEDED
    assert world.status.stages[1].skipped == "0"


def test_pods_of_a_round_and_pods_of_new_units_are_both_as_they_should_be() -> None:
    retry = {"perUnit": 1, "rounds": 1, "roundOverrides": [{"resources": {"limits": {"memory": "9Gi"}}}]}
    world = World(spec=job_spec(items={"count": 2}, retry=retry), templates={"clip": ("plain", "large")})
    work(world, {"1": 1})
    assert world.status.counters.round == 1
    world.edit(items={"count": 3})
    world.settle()
    (new,) = world.working()
    assert new.template == "plain"
    waiting(world, "Unschedulable")
    world.settle()
    assert [pod.name for pod in world.working() if pod.gone_by is None] == [new.name]


# --- limits and clocks ----------------------------------------------------------------------------------------------


def test_gpu_seconds_that_are_used_up_stay_so_when_they_are_booked() -> None:
    world = World(spec=job_spec(items={"count": 3}, parallelism=3, limits={"gpuSeconds": 100}))
    plan = world.settle()
    for _ in range(5):
        if plan.wake_at is not None:
            world.now = plan.wake_at + 1e-4
        plan = world.settle()
        stop(world)
    assert "pod-4" not in {pod.uid for pod in world.pods.values()}
    assert not world.pods
    assert world.status.gpu_seconds.total >= 100
    assert condition(world, ConditionType.STALLED).reason == "GpuSecondsUsed"


def test_the_clock_of_a_job_that_ended_in_time_starts_anew_with_what_is_added() -> None:
    world = World(spec=job_spec(items={"count": 1}, timeouts={"job": "1h"}))
    world.settle()
    world.now += 3590
    world.finish(world.working()[0])
    world.settle()
    assert world.status.phase == Phase.SUCCEEDED
    world.now += 7 * 86_400
    world.edit(items={"count": 2})
    world.settle()
    world.now += 30
    world.settle()
    assert not any(pod.gone_by for pod in world.pods.values())
    world.now += 3600
    world.settle()
    assert all(pod.gone_by for pod in world.pods.values())


@pytest.mark.parametrize("request_", [names.ANNOTATION_RESUME, names.ANNOTATION_RETRY])
@pytest.mark.parametrize("stopped", [True, False], ids=["timed out", "still stopping"])
def test_whoever_asks_for_more_after_the_time_is_over_gets_it(request_: str, stopped: bool) -> None:
    world = World(spec=job_spec(items={"count": 2}, parallelism=1, retry={"perUnit": 1}, timeouts={"job": "1m"}))
    world.settle()
    world.end(world.working()[0], 1)
    world.settle()
    world.now += 61
    world.settle()
    if stopped:
        stop(world)
        assert condition(world, ConditionType.FAILED).reason == "JobTimeout"
    world.annotations[request_] = "clip/0-1@now"
    world.settle()
    stop(world)
    work(world)
    assert world.status.phase == Phase.SUCCEEDED


@pytest.mark.parametrize("detour", ["suspended", "refused", "unreachable"])
def test_the_clock_starts_anew_also_by_a_detour(detour: str) -> None:
    world = World(spec=job_spec(items={"count": 1}, timeouts={"job": "1h"}))
    world.settle()
    world.now += 3590
    world.finish(world.working()[0])
    world.settle()
    world.edit(items={"count": 2}, suspend=detour == "suspended")
    if detour == "refused":
        world.status = decide(replace(world.observe(), problem=("InvalidTemplate", "bad"))).status
        assert world.status.time.finished is None
    world.outage = "no answer" if detour == "unreachable" else None
    world.settle()
    world.outage = None
    world.edit(suspend=False)
    world.settle()
    world.now += 30
    world.settle()
    assert [pod.gone_by for pod in world.pods.values()] == [None]


@pytest.mark.parametrize("limit", [{"limits": {"gpuSeconds": 100}}, {"timeouts": {"job": "1m"}}], ids=["gpu", "time"])
def test_limits_hold_also_while_the_bucket_is_away(limit: dict[str, Any]) -> None:
    world = World(spec=job_spec(items={"count": 3}, **limit))
    world.settle()
    world.outage = "no answer"
    plan = world.settle()
    assert plan.wake_at is not None
    assert plan.wake_at <= world.now + 60
    world.now += 60
    world.settle()
    assert all(pod.gone_by for pod in world.pods.values())


def test_a_resume_that_changes_nothing_is_answered() -> None:
    world = World(spec=job_spec(items={"count": 3}, limits={"gpuSeconds": 100}))
    world.settle()
    world.now += 50
    world.settle()
    stop(world)
    world.annotations[names.ANNOTATION_RESUME] = "over the limit"
    world.settle()
    assert world.events.count("NothingToResume") == 1
    world.edit(suspend=True)
    world.annotations[names.ANNOTATION_RESUME] = "and suspended"
    world.settle()
    assert world.events.count("NothingToResume") == 2
    world.edit(suspend=False)
    world.settle()
    assert (world.status.counters.suspensions, world.status.counters.resumes) == (1, 1)


def test_retrying_what_is_done_is_answered() -> None:
    world = World(spec=job_spec(items={"count": 3}))
    work(world)
    world.annotations[names.ANNOTATION_RETRY] = "clip/0-2"
    world.settle()
    assert "NothingToRetry" in world.events
    assert not world.working()


def test_a_job_that_was_created_suspended_begins_and_does_not_resume() -> None:
    world = World(spec=job_spec(items={"count": 1}, suspend=True, limits={"resumes": 1}))
    world.settle()
    assert world.status.phase == Phase.SUSPENDED
    world.edit(suspend=False)
    world.settle()
    assert (world.status.counters.suspensions, world.status.counters.resumes) == (0, 0)
    world.edit(suspend=True)
    world.settle()
    stop(world)
    world.edit(suspend=False)
    world.settle()
    assert (world.status.counters.suspensions, world.status.counters.resumes) == (1, 1)


def test_letting_a_suspended_job_go_at_its_limit_is_answered_once() -> None:
    world = World(spec=job_spec(items={"count": 2}, limits={"resumes": 0}))
    world.settle()
    world.edit(suspend=True)
    world.settle()
    stop(world)
    before = len(world.events)
    world.edit(suspend=False)
    world.annotations[names.ANNOTATION_RESUME] = "r"
    world.settle()
    assert world.events[before:] == ["Resumed"]


def test_cancelling_what_is_being_suspended_ends_its_pods_sooner() -> None:
    world = World()
    world.settle()
    world.edit(suspend=True)
    world.settle()
    world.edit(suspend=False, cancel=True)
    plan = world.step()
    assert {(pod.grace) for pod in plan.delete} == {1}
    assert len(plan.delete) == 3


# --- what is told ---------------------------------------------------------------------------------------------------


def test_many_failures_at_once_are_few_events() -> None:
    world = World(spec=job_spec(items={"count": 300}, parallelism=300, retry={"perUnit": 1}))
    world.settle()
    for pod in world.working():
        world.end(pod, 1)
    plan = world.step()
    assert Counter(event.reason for event in plan.events) == {"Failed": 1, "UnitFailed": FAILURES_TOLD + 1}
    assert plan.events[0].reason == "Failed"
    assert plan.events[-1].message == f"and {300 - FAILURES_TOLD} more failures: see status"


def test_missing_files_are_told_of_once_although_their_items_move() -> None:
    photo = {"name": "clip", "generate": {"command": {"args": ["film", "{{ item.photo }}"]}}}

    def listed(first: int) -> dict[str, Any]:
        each = [{"id": str(n), "params": {"photo": {"file": f"s3://bucket/in/{n}"}}} for n in range(first, 100)]
        return {"list": each}

    world = World(spec=job_spec(stages=[photo], items=listed(1)))
    world.files = {f"s3://bucket/in/{n}": None for n in range(100)}
    plan = world.step()
    assert sum(event.reason == "UnitFailed" for event in plan.events) == FAILURES_TOLD + 1
    assert plan.events[-1].message == f"and {99 - FAILURES_TOLD} more failures: see status"
    assert len(world.status.recent_failures) == FAILURES_SHOWN
    world.settle()
    world.edit(items=listed(0))
    plan = world.step()
    assert [event.message for event in plan.events if event.reason == "UnitFailed"] == [
        'stage "clip", item "0": failed (InputMissing)'
    ]


def test_a_failed_job_names_a_unit_that_failed_for_good_and_no_other() -> None:
    world = World(spec=job_spec(items={"count": 3}, retry={"perUnit": 2}, parallelism=1))
    for _ in range(20):
        world.settle()
        for pod in world.working():
            if pod.units == ("0",):
                world.end(pod, 12)
            elif pod.units == ("2",) and pod.attempt == 1:
                world.end(pod, 1)
            else:
                world.finish(pod)
        world.now += 60
    assert world.status.phase == Phase.FAILED
    assert 'clip "0": BadRequest' in world.status.message


def test_an_end_of_another_kind_is_told() -> None:
    world = World(spec=job_spec(items={"count": 2}, retry={"perUnit": 1}))
    work(world, {"1": 9})
    before = len(world.events)
    world.edit(
        stages=[{**world.spec.stages[0].model_dump(by_alias=True, exclude_none=True), "success": {"minPercent": 50}}]
    )
    world.settle()
    assert world.status.phase == Phase.SUCCEEDED
    assert world.events[before:] == ["Succeeded"]
    assert world.status.time.finished == condition(world, ConditionType.SUCCEEDED).last_transition_time


def test_a_request_too_long_to_be_echoed_is_read_to_its_end_and_another_is_another() -> None:
    world = World(spec=job_spec(items={"count": 300}, parallelism=300, retry={"perUnit": 1}))
    work(world, {str(item): 1 for item in range(300)})
    named = ",".join(f"clip/{item}" for item in range(0, 100, 2))
    world.annotations[names.ANNOTATION_RETRY] = f"{named}@1"
    world.settle()
    assert len(world.working()) == 50
    assert world.status.handled.retry is not None
    assert len(world.status.handled.retry) < 253
    world.annotations[names.ANNOTATION_RETRY] = f"{named}@2"
    assert world.observe().retry_request is not None


# --- a bucket that is away ------------------------------------------------------------------------------------------


def test_the_clock_runs_while_the_bucket_is_away_unless_the_job_is_suspended() -> None:
    world = World(spec=job_spec(items={"count": 3}, parallelism=1, timeouts={"job": "1h"}))
    world.settle()
    world.now += 60
    world.outage = "no answer"
    world.settle()
    world.now += 60
    world.edit(suspend=True)
    world.settle()
    stop(world)
    assert world.status.time.active_seconds == 120
    assert world.status.time.active_since is None
    assert (world.status.counters.suspensions, world.status.gpu_seconds.total) == (1, 120)
    assert world.status.units.active == 0
    world.now += 7200
    world.outage = None
    world.edit(suspend=False)
    world.settle()
    assert world.status.phase == Phase.RUNNING
    assert (world.status.gpu_seconds.total, world.status.counters.disruptions) == (120, 0)


def test_a_job_that_is_let_go_while_the_bucket_is_away_is_no_longer_suspended_and_resumes_once() -> None:
    world = World()
    world.settle()
    world.edit(suspend=True)
    world.settle()
    stop(world)
    assert world.status.phase == Phase.SUSPENDED
    world.outage = "no answer"
    world.edit(suspend=False)
    world.settle()
    assert not holds(world, ConditionType.SUSPENDED)
    assert condition(world, ConditionType.SUSPENDED).reason == "Resuming"
    assert world.status.counters.resumes == 0
    world.outage = None
    world.annotations[names.ANNOTATION_RESUME] = "r"
    world.settle()
    assert world.status.counters.resumes == 1
    assert world.events.count("Resumed") == 1
    assert "NothingToResume" not in world.events


def test_a_cancelled_job_ends_although_the_bucket_is_away() -> None:
    world = World(spec=job_spec(items={"count": 2}))
    world.settle()
    world.outage = "no answer"
    world.edit(cancel=True)
    world.settle()
    assert not holds(world, ConditionType.FINISHED)
    stop(world)
    assert world.status.phase == Phase.CANCELLED
    assert holds(world, ConditionType.FINISHED)
    assert world.status.time.finished is not None
    assert world.events.count("Cancelled") == 1
    assert world.status.observed_generation == world.generation


def test_a_job_that_had_ended_and_was_edited_has_not_while_nobody_knows() -> None:
    world = World(spec=job_spec(items={"count": 1}))
    work(world)
    world.outage = "no answer"
    world.edit(items={"count": 2})
    world.settle()
    assert not any(holds(world, kind) for kind in ENDS)
    assert world.status.time.finished is None
    assert world.status.phase == Phase.RUNNING


@pytest.mark.parametrize("fails", [{}, {"0": 9}])
def test_a_job_that_had_ended_and_is_refused_now_has_not_ended(fails: dict[str, int]) -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 1}))
    work(world, fails)
    world.edit(items={"count": 2})
    world.status = decide(replace(world.observe(), problem=("InvalidTemplate", "bad"))).status
    assert world.status.phase == Phase.STALLED
    assert not any(holds(world, kind) for kind in ENDS)
    work(world)
    assert world.status.phase == (Phase.FAILED if fails else Phase.SUCCEEDED)


def test_a_status_that_no_api_server_would_take_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(spec=job_spec(items={"count": 30}, parallelism=30))
    world.settle()
    for pod in world.working()[::2]:
        world.finish(pod)
    monkeypatch.setattr(stalls, "INDEX_SETS_MOST", 10)
    world.settle()
    assert condition(world, ConditionType.STALLED).reason == "StatusTooLarge"
    assert world.status.phase == Phase.STALLED
    assert world.status.stages[0].succeeded == ""
    monkeypatch.undo()
    work(world)
    assert world.status.phase == Phase.SUCCEEDED


def test_suspended_until_a_time_while_the_bucket_is_away() -> None:
    world = World(spec=job_spec(items={"count": 2}))
    world.settle()
    world.outage = "no answer"
    world.edit(suspendUntil=at(world.now + 100))
    plan = world.settle()
    assert plan.wake_at is not None
    stop(world)
    assert world.status.phase == Phase.SUSPENDED
    world.now += 101
    world.settle()
    assert not holds(world, ConditionType.SUSPENDED)
