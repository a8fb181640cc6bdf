"""Rules of the decision beyond one stage and one attempt: what gathers, rounds, requests, limits, and who waits."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from carryon_core import names
from carryon_core.done import Outcome
from carryon_core.phases import Phase
from carryon_core.status import ConditionType
from carryon_operator.plan import conditions
from carryon_operator.plan.decide import decide
from carryon_operator.plan.model import Plan
from worlds import FILM, TWO_STAGES, World, at, by_prompt, condition, holds, items, job_spec, waiting, work

# --- stages that gather ---------------------------------------------------------------------------------------------


def test_a_stage_that_gathers_starts_when_everything_before_it_is_done() -> None:
    world = World(spec=job_spec(stages=FILM, items={"count": 3}))
    work(world)
    assert world.status.phase == Phase.SUCCEEDED
    assert world.status.progress == "7/7"
    assert [stage.succeeded for stage in world.status.stages] == ["0-2", "0-2", "0"]


def test_the_bucket_is_looked_at_before_anything_is_gathered() -> None:
    world = World(spec=job_spec(stages=FILM, items={"count": 2}))
    for _ in range(2):
        world.settle()
        for pod in world.working():
            world.finish(pod)
    plan = decide(replace(world.observe(), swept=False))
    assert plan.sweep
    assert not plan.create
    assert [create.stage for create in decide(world.observe()).create] == [2]


def test_an_edit_of_one_item_of_a_finished_film_makes_its_units_and_the_reel_again() -> None:
    ids = "abcdefghijklmno"
    world = World(spec=job_spec(stages=by_prompt(FILM), items=items(ids)))
    work(world)
    assert sum(world.made.values()) == 31
    world.edit(items=items(ids, g="another"))
    work(world)
    assert world.status.phase == Phase.SUCCEEDED
    assert sum(world.made.values()) == 34
    assert set(world.made.values()) == {1}


def test_what_gathers_fails_when_the_policy_before_it_is_broken_and_no_attempt_is_made() -> None:
    world = World(spec=job_spec(stages=FILM, items={"count": 3}, retry={"perUnit": 1}))
    work(world, {"1": 9})
    assert world.status.phase == Phase.FAILED
    assert [stage.failed for stage in world.status.stages] == ["1", "1", "0"]
    assert world.status.counters.failures == 1


def test_with_a_success_policy_what_gathers_leaves_out_what_failed() -> None:
    lenient = [{**stage, "success": {"minPercent": 60}} for stage in FILM]
    world = World(spec=job_spec(stages=lenient, items={"count": 3}, retry={"perUnit": 1}))
    work(world, {"1": 9})
    assert world.status.phase == Phase.SUCCEEDED
    succeeded = condition(world, ConditionType.SUCCEEDED)
    assert (succeeded.reason, succeeded.message) == ("SuccessPolicyHolds", "5 of 7 units done, 2 failed")
    assert world.status.stages[2].succeeded == "0"


def test_a_straggler_that_comes_later_makes_the_reel_anew() -> None:
    lenient = [{**stage, "success": {"minPercent": 60}} for stage in FILM]
    world = World(spec=job_spec(stages=lenient, items={"count": 3}, retry={"perUnit": 1}))
    work(world, {"1": 1})
    first = world.fingerprint(2, 0)
    world.annotations[names.ANNOTATION_RESUME] = "now"
    work(world)
    assert world.status.progress == "7/7"
    assert world.fingerprint(2, 0) != first
    assert world.made[world.fingerprint(2, 0)] == 1


def test_an_appended_item_keeps_the_reel_waiting_until_its_clip_is_there() -> None:
    world = World(spec=job_spec(stages=FILM, items={"count": 2}))
    work(world)
    world.edit(items={"count": 3})
    world.settle()
    assert {pod.stage for pod in world.working()} == {"image"}
    work(world)
    assert world.status.progress == "7/7"
    assert sum(world.made.values()) == 8, "the third image and clip, and another reel"


def test_a_reel_that_failed_is_tried_again_when_what_it_gathers_was_edited() -> None:
    world = World(spec=job_spec(stages=by_prompt(FILM), items=items("abc"), retry={"perUnit": 1}))
    work(world, {"job": 1})
    assert world.status.phase == Phase.FAILED
    world.edit(items=items("abc", b="another"))
    work(world)
    assert world.status.phase == Phase.SUCCEEDED


# --- outcomes and inputs --------------------------------------------------------------------------------------------


def test_units_below_one_that_made_nothing_are_skipped_without_a_pod() -> None:
    world = World(spec=job_spec(stages=FILM, items={"count": 3}))
    world.outcomes[world.fingerprint(0, 1)] = Outcome.FILTERED
    work(world)
    assert world.status.phase == Phase.SUCCEEDED
    assert world.status.units.outcomes == {"filtered": 1, "generated": 5, "skipped": 1}
    assert world.status.stages[1].skipped == "1"
    assert sum(world.made.values()) == 6


def test_scenes_that_continue_each_other_come_one_after_the_other() -> None:
    stage = {
        "name": "scene",
        "generate": {"command": {"args": ["film", "{{ item.id }}", "{{ inputs.previous | default(none) }}"]}},
    }
    world = World(spec=job_spec(stages=[stage], items={"count": 4}, retry={"perUnit": 1}))
    world.settle()
    assert [pod.units for pod in world.working()] == [("0",)]
    work(world, {"2": 9})
    assert world.status.stages[0].succeeded == "0-1"
    assert world.status.stages[0].failed == "2-3"
    assert world.status.counters.failures == 1


def test_a_missing_file_fails_its_unit_only_and_is_told_once() -> None:
    stage = {"name": "clip", "generate": {"command": {"args": ["film", "{{ item.photo }}"]}}}
    photos = [{"id": each, "params": {"photo": {"file": f"s3://input/{each}.png"}}} for each in "ab"]
    world = World(spec=job_spec(stages=[stage], items={"list": photos}))
    world.files = {"s3://input/a.png": "a" * 64, "s3://input/b.png": None}
    work(world)
    assert (world.status.stages[0].succeeded, world.status.stages[0].failed) == ("0", "1")
    assert [failure.reason for failure in world.status.recent_failures] == ["InputMissing"]
    world.files = {"s3://input/a.png": "a" * 64, "s3://input/b.png": "b" * 64}
    world.edit(parallelism=2)
    work(world)
    assert world.status.phase == Phase.SUCCEEDED
    assert sum(world.made.values()) == 2


# --- retries and rounds ---------------------------------------------------------------------------------------------


def test_three_that_fail_twice_one_that_never_works_and_one_evicted_four_times() -> None:
    world = World(spec=job_spec(retry={"perUnit": 3, "rounds": 0}))
    fails = {"2": 2, "5": 2, "9": 2, "7": 99}
    evictions = 4
    for _ in range(300):
        world.settle()
        for pod in world.working():
            (unit,) = pod.units
            if unit == "11" and evictions:
                evictions -= 1
                world.end(pod, 143, disrupted=True)
            elif fails.get(unit, 0):
                fails[unit] -= 1
                world.end(pod, 1)
            else:
                world.finish(pod)
        world.now += 60
    assert world.status.phase == Phase.FAILED
    assert (world.status.units.succeeded, world.status.stages[0].failed) == (14, "7")
    counters = world.status.counters
    assert (counters.failures, counters.disruptions, counters.stuck, counters.round) == (9, 4, 0, 0)
    assert set(world.made.values()) == {1}


def test_rounds_begin_when_everything_else_is_done_and_give_one_attempt_each() -> None:
    world = World(spec=job_spec(items={"count": 4}, retry={"perUnit": 1, "rounds": 2}))
    work(world, {"1": 2, "3": 9})
    assert world.status.phase == Phase.FAILED
    assert world.status.stages[0].succeeded == "0-2"
    assert world.status.stages[0].failures == {"3": "3"}
    assert world.status.counters.round == 2
    assert world.events.count("RoundStarted") == 2


def test_a_unit_that_waits_for_a_round_has_not_failed_yet() -> None:
    world = World(spec=job_spec(items={"count": 2}, parallelism=2, retry={"perUnit": 1, "rounds": 1}))
    world.settle()
    first, second = world.working()
    world.end(first, 1)
    world.settle()
    assert world.status.units.failed == 0
    assert world.working() == [second]
    world.finish(second)
    world.settle()
    assert world.status.phase == Phase.RETRYING


def test_the_bucket_is_looked_at_before_a_round() -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 1, "rounds": 1}))
    world.settle()
    world.end(world.working()[0], 1)
    plan = decide(replace(world.observe(), swept=False))
    assert plan.sweep
    assert not plan.create


@pytest.mark.parametrize(("one_at_a_time", "pods"), [(True, 1), (False, 3)])
def test_in_rounds_units_come_one_at_a_time_if_asked(one_at_a_time: bool, pods: int) -> None:
    retry = {"perUnit": 1, "rounds": 1, "oneAtATime": one_at_a_time, "backoff": {"initial": "1s"}}
    world = World(spec=job_spec(items={"count": 3}, unitsPerPod=1, retry=retry))
    world.settle()
    for pod in world.working():
        world.end(pod, 1)
    world.settle()
    world.now += 60
    plan = world.step()
    assert [create.round for create in plan.create] == [1] * pods


def test_new_units_are_not_held_up_by_a_round() -> None:
    retry = {"perUnit": 1, "rounds": 1, "backoff": {"initial": "1s"}}
    world = World(spec=job_spec(items={"count": 1}, retry=retry))
    world.settle()
    world.end(world.working()[0], 1)
    world.settle()
    world.now += 60
    world.settle()
    world.edit(items={"count": 6})
    world.settle()
    assert sorted(pod.units[0] for pod in world.working()) == ["0", "1", "2"]


def test_a_unit_that_can_never_work_gets_no_round() -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 3, "rounds": 2}))
    world.settle()
    report = {"index": 0, "outcome": "failed", "reason": "BadRequest", "message": "no", "permanent": True}
    world.end(world.working()[0], 12, message=json.dumps({"reason": "BadRequest", "units": [report]}))
    world.settle()
    assert world.status.phase == Phase.FAILED
    assert (world.status.counters.failures, world.status.counters.round) == (1, 0)


def test_five_attempts_in_a_row_that_leave_nothing_fail_a_unit_whatever_ended_them() -> None:
    world = World(spec=job_spec(items={"count": 2}, retry={"perUnit": 2}))
    for _ in range(5):
        world.settle()
        for pod in world.working():
            if pod.units == ("0",):
                world.end(pod, 143, disrupted=True)
        world.now += 1000
    work(world)
    assert world.status.phase == Phase.FAILED
    assert world.status.recent_failures[0].reason == "NoProgress"
    assert world.status.counters.disruptions == 5
    assert world.status.counters.failures == 0
    world.annotations[names.ANNOTATION_RESUME] = "now"
    work(world)
    assert world.status.phase == Phase.SUCCEEDED


def test_an_attempt_that_left_something_durable_is_progress() -> None:
    saved = json.dumps({"reason": "Interrupted", "units": [{"index": 0, "outcome": "interrupted", "durable": True}]})
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 1}))
    for _ in range(12):
        world.settle()
        world.end(world.working()[0], 11, disrupted=True, message=saved)
        world.now += 1000
    work(world)
    assert world.status.phase == Phase.SUCCEEDED
    assert world.status.counters.disruptions == 12


def test_what_is_disrupted_again_and_again_backs_off() -> None:
    world = World(spec=job_spec(items={"count": 1}))
    world.settle()
    world.end(world.working()[0], 143, disrupted=True)
    world.settle()
    assert len(world.working()) == 1, "once is bad luck"
    world.end(world.working()[0], 143, disrupted=True)
    plan = world.settle()
    assert not world.working()
    assert plan.wake_at is not None
    assert 9 <= plan.wake_at - world.now <= 10


def test_a_pod_that_no_node_takes_in_comes_back_after_a_delay_and_costs_nothing() -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 1}))
    for rejected in range(1, 9):
        world.settle()
        (pod,) = world.working()
        world.pods[pod.name] = replace(pod, phase="Failed", started=None, reason="OutOfcpu", message="no room")
        plan = world.settle()
        assert not world.working()
        assert plan.wake_at is not None
        assert 9 <= plan.wake_at - world.now <= 10
        assert (world.status.counters.disruptions, world.status.counters.failures) == (rejected, 0)
        world.now = plan.wake_at
    work(world)
    assert world.status.phase == Phase.SUCCEEDED


def test_stuck_attempts_use_the_budget_and_have_their_own_counter() -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 1}))
    world.settle()
    world.end(world.working()[0], 14)
    world.settle()
    assert (world.status.counters.stuck, world.status.counters.failures) == (1, 0)
    assert world.status.phase == Phase.FAILED


# --- approval -------------------------------------------------------------------------------------------------------

GATED = [TWO_STAGES[0], {**TWO_STAGES[1], "approval": "Required"}]


def test_units_wait_for_approval_and_say_so() -> None:
    world = World(spec=job_spec(stages=GATED, items={"count": 3}))
    work(world)
    assert world.status.phase == Phase.AWAITING_APPROVAL
    awaiting = condition(world, ConditionType.AWAITING_APPROVAL)
    assert awaiting.message == "3 units of stage clip wait until spec.approved.clip names their items"
    world.edit(approved={"clip": ["1"]})
    work(world)
    assert world.status.stages[1].succeeded == "1"
    world.edit(approved={"clip": ["*"]})
    work(world)
    assert world.status.phase == Phase.SUCCEEDED
    assert not holds(world, ConditionType.AWAITING_APPROVAL)


def test_waiting_for_approval_does_not_keep_rounds_from_the_others() -> None:
    world = World(spec=job_spec(stages=GATED, items={"count": 2}, retry={"perUnit": 1, "rounds": 1}))
    work(world, {"1": 1})
    assert world.status.stages[0].succeeded == "0-1"
    assert world.status.phase == Phase.AWAITING_APPROVAL


# --- requests -------------------------------------------------------------------------------------------------------


def failed_job() -> World:
    world = World(spec=job_spec(items={"count": 4}, retry={"perUnit": 1}))
    work(world, {"1": 1, "3": 1})
    assert world.status.stages[0].failed == "1,3"
    return world


def test_a_retry_request_gives_only_the_units_it_names_a_new_budget() -> None:
    world = failed_job()
    world.annotations[names.ANNOTATION_RETRY] = "clip/3@now"
    work(world)
    assert world.status.phase == Phase.FAILED
    assert world.status.stages[0].failed == "1"
    assert world.status.handled.retry == "clip/3@now"
    assert world.status.counters.resumes == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("clip", '"clip" is no unit: write STAGE/INDEX, such as clip/0; stages: clip'),
        ("film/1", '"film/1" is no unit'),
        ("clip/9", "stage clip has the indexes 0 to 3"),
        ("clip/x", "is not an index set"),
        ("@now", '"" is no unit'),
    ],
)
def test_a_retry_request_that_names_nothing_is_refused_once_with_a_sentence(text: str, why: str) -> None:
    world = failed_job()
    world.annotations[names.ANNOTATION_RETRY] = text
    plan = world.step()
    assert [event.reason for event in plan.events] == ["RetryRefused"]
    assert why in plan.events[0].message
    assert world.status.phase == Phase.FAILED
    assert world.status.handled.retry == text
    assert world.settle().events == ()


def test_a_restart_request_replaces_the_active_pods_and_costs_nothing() -> None:
    world = World(spec=job_spec(items={"count": 3}))
    world.settle()
    before = {pod.uid for pod in world.working()}
    world.annotations[names.ANNOTATION_RESTART] = "now"
    world.settle()
    assert all(pod.gone_by is not None for pod in world.working())
    for pod in world.working():
        world.end(pod, 11)
    world.settle()
    assert not before & {pod.uid for pod in world.working()}
    work(world)
    counters = world.status.counters
    assert (counters.restarts, counters.disruptions, counters.failures, counters.stuck) == (1, 0, 0, 0)
    assert world.status.handled.restart == "now"


def test_restarting_what_is_done_changes_nothing_and_is_answered() -> None:
    world = World()
    world.run()
    world.annotations[names.ANNOTATION_RESTART] = "now"
    plan = world.step()
    assert [event.reason for event in plan.events] == ["NothingToRestart"]
    assert world.status.handled.restart == "now"
    assert world.status.phase == Phase.SUCCEEDED
    assert world.settle().events == ()


def test_resuming_what_runs_changes_nothing_and_is_answered() -> None:
    world = World()
    world.settle()
    world.annotations[names.ANNOTATION_RESUME] = "now"
    pods = dict(world.pods)
    plan = world.step()
    assert [event.reason for event in plan.events] == ["NothingToResume"]
    assert (world.pods, world.status.counters.resumes) == (pods, 0)


def test_two_requests_at_once_are_both_acted_on_once() -> None:
    world = failed_job()
    world.annotations |= {names.ANNOTATION_RESUME: "a", names.ANNOTATION_RESTART: "b", names.ANNOTATION_RETRY: "clip/1"}
    work(world)
    assert world.status.phase == Phase.SUCCEEDED
    assert (world.status.counters.resumes, world.status.counters.restarts) == (1, 0)
    assert set(world.made.values()) == {1}


def test_a_resume_request_beyond_the_limit_is_refused_with_the_reason() -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 1}, limits={"resumes": 1}))
    work(world, {"0": 1})
    world.annotations[names.ANNOTATION_RESUME] = "first"
    work(world, {"0": 1})
    assert world.status.counters.resumes == 1
    world.annotations[names.ANNOTATION_RESUME] = "second"
    plan = world.step()
    assert plan.events[0].message == "not resumed: spec.limits.resumes is reached (1 of 1): raise it"
    assert world.status.phase == Phase.FAILED
    assert world.status.handled.resume == "second"
    assert world.status.resume is not None
    assert not world.status.resume.possible


# --- suspension, cancelling, limits ---------------------------------------------------------------------------------


def test_suspended_until_a_time_a_job_carries_on_by_itself() -> None:
    world = World(spec=job_spec(items={"count": 2}, parallelism=0))
    world.settle()
    world.edit(parallelism=3, suspendUntil=at(world.now + 3600))
    plan = world.settle()
    assert world.status.phase == Phase.SUSPENDED
    assert plan.wake_at == world.now + 3600
    assert not world.pods
    world.now += 3600
    work(world)
    assert world.status.phase == Phase.SUCCEEDED
    assert world.status.counters.resumes == 1


def test_a_cancelled_job_ends_at_once_and_holds_until_the_spec_says_otherwise() -> None:
    world = World(spec=job_spec(items={"count": 5}))
    world.settle()
    world.finish(world.working()[0])
    world.settle()
    world.edit(cancel=True)
    plan = world.step()
    assert {delete.grace for delete in plan.delete} == {1}
    assert not holds(world, ConditionType.FINISHED), "pods are stopping"
    for pod in world.working():
        world.end(pod, 137)
    world.settle()
    assert world.status.phase == Phase.CANCELLED
    assert holds(world, ConditionType.FINISHED)
    world.annotations[names.ANNOTATION_RESUME] = "now"
    plan = world.step()
    assert plan.events[0].reason == "ResumeRefused"
    assert world.status.phase == Phase.CANCELLED
    world.edit(cancel=False)
    work(world)
    assert world.status.phase == Phase.SUCCEEDED
    assert set(world.made.values()) == {1}
    assert world.status.counters.disruptions == 0


def test_cancelling_what_is_done_leaves_it_succeeded() -> None:
    world = World()
    world.run()
    world.edit(cancel=True)
    world.settle()
    assert world.status.phase == Phase.SUCCEEDED


def test_a_job_that_takes_too_long_fails_and_its_clock_stands_while_it_is_suspended() -> None:
    world = World(spec=job_spec(items={"count": 2}, parallelism=1, timeouts={"job": "10m"}))
    plan = world.settle()
    assert plan.wake_at == world.now + 600
    world.now += 300
    world.edit(suspend=True)
    world.settle()
    for pod in world.working():
        world.end(pod, 11)
    world.settle()
    world.now += 10_000
    world.edit(suspend=False)
    plan = world.settle()
    assert len(world.working()) == 1
    assert plan.wake_at == world.now + 300
    world.now += 300
    world.settle()
    for pod in world.working():
        world.end(pod, 11)
    world.settle()
    assert world.status.phase == Phase.FAILED
    assert condition(world, ConditionType.FAILED).reason == "JobTimeout"
    assert "spec.timeouts.job (10m) is over" in world.status.message
    world.annotations[names.ANNOTATION_RESUME] = "now"
    work(world)
    assert world.status.phase == Phase.SUCCEEDED


def test_used_up_gpu_seconds_stop_the_job_until_the_limit_is_raised() -> None:
    world = World(spec=job_spec(items={"count": 3}, parallelism=1, limits={"gpuSeconds": 100}))
    plan = world.settle()
    world.pods = {name: replace(pod, gpus=2) for name, pod in world.pods.items()}
    plan = world.settle()
    assert plan.wake_at == world.now + 50
    world.now += 50
    world.settle()
    for pod in world.working():
        assert pod.gone_by is not None
        world.end(pod, 11)
    world.settle()
    assert world.status.phase == Phase.STALLED
    assert condition(world, ConditionType.STALLED).reason == "GpuSecondsUsed"
    spent = world.status.gpu_seconds
    assert (spent.total, spent.useful, spent.lost) == (100, 0, 100)
    world.edit(limits={"gpuSeconds": 1000})
    work(world)
    assert world.status.phase == Phase.SUCCEEDED


def test_seconds_that_made_a_unit_are_useful_and_the_rest_is_lost() -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 2}), seconds=7)
    world.settle()
    world.now += 5
    world.end(world.working()[0], 1)
    world.now += 60
    world.settle()
    world.now += 9
    world.finish(world.working()[0])
    world.settle()
    spent = world.status.gpu_seconds
    assert (spent.total, spent.useful, spent.lost) == (14, 7, 5)


# --- what waits for a person ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImageNeverPull", "CreateContainerConfigError"])
def test_what_only_a_person_can_mend_is_stalled_and_clears_by_itself(reason: str) -> None:
    world = World(spec=job_spec(items={"count": 3}))
    world.settle()
    waiting(world, reason, 'secret "hf" not found')
    world.settle()
    assert world.status.phase == Phase.STALLED
    stalled = condition(world, ConditionType.STALLED)
    assert stalled.reason == reason
    assert 'secret "hf" not found' in stalled.message
    assert 'secret "hf" not found' in world.status.message
    assert world.status.counters.failures == 0
    world.pods = {
        name: replace(pod, phase="Running", waiting=None, started=world.now) for name, pod in world.pods.items()
    }
    world.settle()
    assert not holds(world, ConditionType.STALLED)
    assert world.status.phase == Phase.RUNNING


def test_pods_without_room_stall_the_job_only_after_a_while() -> None:
    world = World(spec=job_spec(items={"count": 2}, parallelism=2))
    world.settle()
    waiting(world, "Unschedulable", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    plan = world.settle()
    assert not holds(world, ConditionType.STALLED)
    assert plan.wake_at == world.now + 60
    world.now += 60
    world.settle()
    assert condition(world, ConditionType.STALLED).reason == "Unschedulable"
    assert "Insufficient nvidia.com/gpu" in world.status.message
    first = next(iter(world.pods))
    world.pods[first] = replace(world.pods[first], phase="Running", waiting=None, started=world.now)
    world.settle()
    assert not holds(world, ConditionType.STALLED), "one that runs makes room for the others"


def test_pods_that_wait_for_their_queue_are_not_stalled() -> None:
    world = World(spec=job_spec(items={"count": 2}, queueName="gpus"))
    world.settle()
    waiting(world, "SchedulingGated")
    world.now += 10_000
    world.settle()
    assert not holds(world, ConditionType.STALLED)


def test_a_pod_that_waits_in_vain_is_replaced_when_what_it_waits_for_was_edited() -> None:
    world = World(spec=job_spec(items={"count": 1}))
    world.templates = {"clip": ("bad",)}
    world.settle()
    waiting(world, "ImagePullBackOff")
    world.settle()
    assert not any(pod.gone_by for pod in world.pods.values())
    world.templates = {"clip": ("good",)}
    world.settle()
    assert all(pod.gone_by for pod in world.pods.values())
    work(world)
    counters = world.status.counters
    assert (counters.disruptions, counters.failures) == (0, 0)
    assert world.status.phase == Phase.SUCCEEDED


def test_a_full_quota_is_no_stall_while_pods_of_the_job_run() -> None:
    world = World(spec=job_spec(items={"count": 4}, parallelism=4))
    world.settle()
    seen = replace(world.observe(), refused="exceeded quota: gpus", refusal="QuotaExceeded")
    assert not conditions.holds(decide(seen).status, ConditionType.STALLED)
    nobody = replace(seen, pods=())
    assert conditions.holds(decide(nobody).status, ConditionType.STALLED)


# --- a bucket that is suddenly half empty ---------------------------------------------------------------------------


def half_empty() -> tuple[World, Plan]:
    world = World(spec=job_spec(items={"count": 10}, parallelism=1))
    while len(world.done) < 8:
        world.settle()
        for pod in world.working():
            world.finish(pod)
    world.settle()
    for fingerprint in sorted(world.done)[:5]:
        world.done.discard(fingerprint)
    return world, world.step()


def test_a_listing_that_is_suddenly_half_empty_launches_and_counts_nothing() -> None:
    world, plan = half_empty()
    assert (plan.create, plan.delete, plan.discard) == ((), (), ())
    assert world.status.phase == Phase.STALLED
    assert condition(world, ConditionType.STALLED).reason == "ArtifactsVanished"
    assert world.status.stages[0].succeeded == "0-7", "what was known stays known"
    for pod in world.working():
        world.finish(pod)
    assert world.step().create == ()


def test_a_half_empty_listing_that_fills_again_costs_nothing() -> None:
    world, _ = half_empty()
    world.done |= set(world.made)
    work(world)
    assert world.status.phase == Phase.SUCCEEDED
    assert set(world.made.values()) == {1}


def test_after_a_request_to_resume_what_vanished_is_made_again() -> None:
    world, _ = half_empty()
    world.annotations[names.ANNOTATION_RESUME] = "now"
    work(world)
    assert world.status.phase == Phase.SUCCEEDED
    assert sum(world.made.values()) == 15
    assert world.status.counters.resumes == 1


def test_suspending_and_cancelling_free_the_gpu_also_then() -> None:
    world, _ = half_empty()
    world.edit(suspend=True)
    world.settle()
    assert all(pod.gone_by is not None for pod in world.working())


def test_an_edit_of_most_items_is_no_half_empty_bucket() -> None:
    world = World(spec=job_spec(stages=by_prompt(TWO_STAGES), items=items("abcdef")))
    work(world)
    world.edit(items=items("abcdef", a="1", b="2", c="3", d="4"))
    work(world)
    assert world.status.phase == Phase.SUCCEEDED


def test_new_seeds_for_most_units_are_no_half_empty_bucket() -> None:
    world = World(spec=job_spec(items={"count": 4}))
    work(world)
    world.edit(overrides=[{"stage": "clip", "item": str(item), "params": {"seed": 5}} for item in range(3)])
    work(world)
    assert world.status.phase == Phase.SUCCEEDED
    assert sum(world.made.values()) == 7


# --- tools that wait ------------------------------------------------------------------------------------------------


def kstatus(world: World) -> str:
    """The rules of sigs.k8s.io/cli-utils/pkg/kstatus for a kind that it knows nothing else about."""
    if world.status.observed_generation != world.generation:
        return "InProgress"
    if holds(world, ConditionType.STALLED):
        return "Failed"
    return "Current"


def test_tools_that_know_kstatus_see_what_failed_and_what_gets_on() -> None:
    world = World(spec=job_spec(items={"count": 2}, retry={"perUnit": 1}))
    assert kstatus(world) == "InProgress"
    world.settle()
    assert kstatus(world) == "Current"
    work(world, {"1": 1})
    assert world.status.phase == Phase.FAILED
    assert kstatus(world) == "Failed"
    assert "Stalled" not in world.events
    assert world.status.message.count("failed") == 1
    world.annotations[names.ANNOTATION_RESUME] = "now"
    work(world)
    assert kstatus(world) == "Current"


# --- after the end --------------------------------------------------------------------------------------------------


def test_a_finished_job_whose_artifacts_were_removed_stays_finished_and_says_what_to_do() -> None:
    world = World(spec=job_spec(items={"count": 4}))
    world.run()
    world.lost = 3
    plan = world.step()
    assert [event.reason for event in plan.events] == ["ArtifactsMissing"]
    missing = condition(world, ConditionType.ARTIFACTS_MISSING)
    assert missing.status == "True"
    assert "3 units" in missing.message
    assert "carryon resume reel" in missing.message
    assert world.status.phase == Phase.SUCCEEDED
    assert holds(world, ConditionType.FINISHED)
    world.done.clear()
    world.lost = None
    world.annotations[names.ANNOTATION_RESUME] = "now"
    work(world)
    assert not holds(world, ConditionType.ARTIFACTS_MISSING)
    assert sum(world.made.values()) == 8


def test_a_finished_job_is_removed_when_its_time_is_over() -> None:
    world = World(spec=job_spec(items={"count": 1}, ttlSecondsAfterFinished=100))
    world.run()
    plan = world.step()
    assert not plan.remove
    assert plan.wake_at == pytest.approx(world.now + 100, abs=2)
    world.now += 102
    assert world.step().remove


def test_the_last_three_failed_pods_stay_to_be_looked_at() -> None:
    world = World(spec=job_spec(items={"count": 6}, parallelism=6, retry={"perUnit": 1}))
    world.settle()
    for pod in world.working():
        world.now += 1
        world.end(pod, 1)
    last = sorted(world.pods.values(), key=lambda pod: pod.finished or 0)[-3:]
    plan = world.step()
    assert len(plan.tails) == 6
    world.settle()
    assert set(world.pods) == {pod.name for pod in last}
    assert world.status.phase == Phase.FAILED
    assert sorted(world.status.recorded) == sorted(pod.uid for pod in last)


def test_pods_are_pruned_from_the_bucket_once_at_the_end() -> None:
    world = World(spec=job_spec(items={"count": 1}))
    world.settle()
    world.finish(world.working()[0])
    assert world.step().prune
    assert not world.step().prune


def test_stale_items_are_told_and_change_nothing() -> None:
    world = World(spec=job_spec(items={"count": 2}))
    world.stale = ("SourceMissing", "there is no s3://input/items.csv: the job goes on with the items it has")
    world.settle()
    assert condition(world, ConditionType.ITEMS_STALE).reason == "SourceMissing"
    assert "ItemsStale" in world.events
    work(world)
    assert world.status.phase == Phase.SUCCEEDED


def test_parts_of_a_pod_template_that_are_not_done_are_told_once() -> None:
    world = World(spec=job_spec(items={"count": 1}))
    world.warnings = ("spec.podTemplate.spec.restartPolicy is ignored",)
    world.settle()
    world.settle()
    assert world.events.count("PodTemplateOverridden") == 1
