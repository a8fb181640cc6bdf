"""Every rule of the decision about a job, without a cluster."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from carryon_core import names
from carryon_core.phases import Phase
from carryon_core.status import ConditionType, JobStatus
from carryon_operator.plan import conditions
from carryon_operator.plan.counting import DEAD_AFTER
from carryon_operator.plan.decide import decide
from worlds import TWO_STAGES, World, job_spec

NO_SCENE = json.dumps(
    {
        "reason": "SomeFailed",
        "units": [{"index": 0, "outcome": "failed", "reason": "ExitCode", "message": "no such scene"}],
    }
)


def holds(world: World, kind: ConditionType) -> bool:
    return conditions.holds(world.status, kind)


def nine_of_fifteen() -> World:
    world = World()
    world.settle()
    while len(world.done) < 9:
        for pod in world.working():
            world.finish(pod)
        world.settle()
    assert world.status.progress == "9/15"
    return world


def test_a_new_job_starts_as_many_pods_as_parallelism_allows() -> None:
    world = World()
    plan = world.step()
    assert [create.items for create in plan.create] == [(0,), (1,), (2,)]
    world.settle()
    assert world.status.units.active == 3
    assert world.status.phase == Phase.RUNNING


def test_names_of_pods_are_those_another_operator_would_choose() -> None:
    assert [c.name for c in World().step().create] == [c.name for c in World().step().create]


def test_a_job_ends_when_every_unit_is_done_and_each_was_made_once() -> None:
    world = World()
    world.run()
    assert world.status.phase == Phase.SUCCEEDED
    assert world.status.stages[0].succeeded == "0-14"
    assert world.status.message == "15 of 15 units done"
    assert holds(world, ConditionType.FINISHED)
    assert set(world.made.values()) == {1}
    assert not world.pods
    assert not world.status.recorded


def test_a_job_does_not_end_before_the_whole_bucket_was_looked_at() -> None:
    world = World()
    world.done = {unit.fingerprint for unit in world.resolved.units()}
    plan = decide(replace(world.observe(), swept=False))
    assert plan.sweep
    assert plan.status == world.status


def test_units_per_pod_share_a_pod() -> None:
    world = World(spec=job_spec(unitsPerPod=4))
    assert [create.items for create in world.step().create] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)]


def test_a_unit_starts_when_its_own_input_is_done_whatever_became_of_the_others() -> None:
    world = World(spec=job_spec(stages=TWO_STAGES, items={"count": 3}, retry={"perUnit": 1}))
    world.settle()
    first, second, third = world.working()
    world.finish(first)
    world.end(second, 1)
    world.settle()
    assert {(pod.stage, pod.units) for pod in world.working()} == {("image", third.units), ("clip", first.units)}


def test_a_unit_whose_upstream_failed_fails_without_an_attempt() -> None:
    world = World(spec=job_spec(stages=TWO_STAGES, items={"count": 2}, retry={"perUnit": 1}))
    world.settle()
    world.end(world.working()[0], 1)
    world.run()
    assert world.status.phase == Phase.FAILED
    assert [stage.failed for stage in world.status.stages] == ["0", "0"]
    assert world.status.stages[1].failures == {}
    assert world.status.units.succeeded == 2


def test_a_unit_that_always_fails_never_stops_the_others() -> None:
    world = World()
    world.settle()
    for _ in range(100):
        for pod in world.working():
            if pod.units == ("7",):
                world.end(
                    pod,
                    10,
                    message=NO_SCENE,
                )
            else:
                world.finish(pod)
        world.settle()
        world.now += 60
    assert world.status.phase == Phase.FAILED
    assert world.status.units.succeeded == 14
    assert world.status.stages[0].failed == "7"
    assert world.status.stages[0].failures == {"3": "7"}
    assert world.status.counters.failures == 3
    assert world.status.recent_failures[0].message == "no such scene"
    assert "no such scene" in world.status.message
    assert world.status.resume is not None
    assert world.status.resume.possible
    assert world.status.resume.action == "correct what made them fail, then: carryon resume reel (1 remaining)"


def test_a_failed_unit_waits_longer_each_time() -> None:
    world = World(
        spec=job_spec(items={"count": 1}, retry={"perUnit": 9, "backoff": {"initial": "10s", "factor": 3, "max": "2m"}})
    )
    waits = []
    for _ in range(4):
        world.settle()
        world.end(world.working()[0], 1)
        plan = world.settle()
        assert not world.working()
        assert plan.wake_at is not None
        waits.append(plan.wake_at - world.now)
        world.now = plan.wake_at
    for wait, longest in zip(waits, [10, 30, 90, 120], strict=True):
        assert 0.9 * longest <= wait <= longest
    assert world.status.phase == Phase.RETRYING


def test_disruptions_cost_no_attempts() -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 1}))
    for _ in range(4):
        world.settle()
        world.end(world.working()[0], 143, disrupted=True)
        world.now += 1000
    world.run()
    assert world.status.phase == Phase.SUCCEEDED
    assert world.status.counters.disruptions == 4
    assert world.status.counters.failures == 0


def test_a_pod_that_vanished_uncounted_was_disrupted_and_is_counted_once() -> None:
    world = World(spec=job_spec(items={"count": 1}))
    world.settle()
    world.vanish(world.working()[0])
    world.settle()
    world.settle()
    assert world.status.counters.disruptions == 1
    world.run()
    assert world.status.counters.disruptions == 1


def test_a_pod_is_counted_once_although_it_lingers() -> None:
    world = World(spec=job_spec(items={"count": 1}))
    world.settle()
    pod = world.working()[0]
    world.end(pod, 1)
    plan = decide(world.observe())
    world.status = plan.status
    assert decide(world.observe()).status.counters.failures == 1
    world.settle()
    assert world.status.counters.failures == 1
    assert world.status.recorded == [pod.uid], "it stays to be looked at"


def test_attempts_that_are_counted_together_are_told_latest_first() -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 3}))
    world.settle()
    (first,) = world.working()
    world.end(first, 1)
    second = replace(first, name="reel-second", uid="pod-second", attempt=2)
    world.now += 5
    world.pods = {second.name: second, **world.pods}
    world.end(second, 1)
    status = decide(world.observe()).status
    assert [failure.attempt for failure in status.recent_failures] == [2, 1]
    assert status.stages[0].failures == {"2": "0"}


def test_suspending_stops_the_pods_and_resuming_makes_what_is_missing() -> None:
    world = nine_of_fifteen()
    world.edit(suspend=True)
    world.settle()
    assert world.status.phase == Phase.SUSPENDING
    assert all(pod.gone_by is not None for pod in world.working())
    for pod in world.working():
        world.end(pod, 11)
    world.settle()
    assert world.status.phase == Phase.SUSPENDED
    assert world.status.progress == "9/15"
    assert not world.pods
    assert world.status.resume is not None
    assert world.status.resume.action == "carryon resume reel (6 remaining)"
    world.edit(suspend=False)
    world.run()
    assert world.status.phase == Phase.SUCCEEDED
    assert set(world.made.values()) == {1}
    counters = world.status.counters
    assert (counters.suspensions, counters.resumes, counters.disruptions, counters.failures) == (1, 1, 0, 0)


def test_a_worker_that_finishes_while_it_is_stopped_has_its_unit_counted() -> None:
    world = nine_of_fifteen()
    world.edit(suspend=True)
    world.settle()
    for pod in world.working():
        world.publish(pod.fingerprints[0])
        world.end(pod, 0)
    world.settle()
    assert world.status.phase == Phase.SUSPENDED
    assert world.status.progress == "12/15"


def test_lost_status_is_found_again_from_the_bucket() -> None:
    world = nine_of_fifteen()
    world.status = JobStatus()
    world.run()
    assert world.status.progress == "15/15"
    assert set(world.made.values()) == {1}


def test_a_unit_whose_artifact_vanished_is_made_again_and_only_that_one() -> None:
    world = nine_of_fifteen()
    lost = world.fingerprint(0, 4)
    world.broken.add(lost)
    plan = world.step()
    assert [bad.fingerprint for bad in plan.discard] == [lost]
    world.run()
    assert {f for f, times in world.made.items() if times != 1} == {lost}
    assert world.made[lost] == 2


def test_an_outage_of_the_bucket_changes_nothing() -> None:
    world = nine_of_fifteen()
    world.end(world.working()[0], 1)
    world.outage = "no answer from http://127.0.0.1:1"
    pods = dict(world.pods)
    before = world.status
    plan = world.step()
    assert (plan.create, plan.delete, plan.discard) == ((), (), ())
    assert world.pods == pods
    assert world.status.stages == before.stages
    assert world.status.counters == before.counters
    assert "no answer" in world.status.message
    world.outage = None
    world.run()
    assert world.status.phase == Phase.SUCCEEDED
    assert world.status.message == "15 of 15 units done"


def test_an_edited_unit_is_made_again_and_no_other() -> None:
    world = World(
        spec=job_spec(
            items={"list": [{"id": c, "params": {"p": c}} for c in "abc"]},
            stages=[{"name": "clip", "generate": {"command": {"args": ["make", "{{ item.p }}"]}}}],
        )
    )
    world.run()
    world.edit(items={"list": [{"id": c, "params": {"p": "new" if c == "b" else c}} for c in "abc"]})
    world.run()
    assert world.status.phase == Phase.SUCCEEDED
    assert sum(world.made.values()) == 4
    assert world.made[world.fingerprint(0, 1)] == 1


def test_an_edit_of_memory_holds_for_pods_to_come_and_makes_nothing_again() -> None:
    def clips(**memory: Any) -> list[dict[str, Any]]:
        return [{"name": "clip", "generate": {"diffusers": {"model": "m", "memory": memory}}}]

    world = World(spec=job_spec(items={"count": 6}, stages=clips()))
    world.settle()
    world.finish(world.working()[0])
    world.settle()
    at_work = {pod.uid for pod in world.working()}
    world.edit(stages=clips(offload="model", tiling=True))
    world.settle()
    assert {pod.uid for pod in world.working()} == at_work
    assert all(pod.gone_by is None for pod in world.working())
    world.run()
    assert world.status.phase == Phase.SUCCEEDED
    assert set(world.made.values()) == {1}
    assert len(world.made) == 6


def test_appending_items_extends_a_finished_job() -> None:
    world = World()
    world.run()
    world.edit(items={"count": 18})
    world.step()
    assert not holds(world, ConditionType.FINISHED)
    world.run()
    assert world.status.progress == "18/18"
    assert set(world.made.values()) == {1}


def test_removing_an_item_stops_its_pod() -> None:
    world = World(spec=job_spec(items={"count": 3}))
    world.settle()
    world.edit(items={"count": 2})
    world.settle()
    assert [pod.units for pod in world.working() if pod.gone_by is not None] == [("2",)]
    world.run()
    assert world.status.progress == "2/2"
    assert world.status.counters.disruptions == 0


def test_attempts_follow_their_items_when_items_move() -> None:
    def items(ids: str) -> dict[str, object]:
        return {"list": [{"id": c, "params": {"p": c}} for c in ids]}

    world = World(spec=job_spec(items=items("abc"), retry={"perUnit": 2, "backoff": {"initial": "1h"}}))
    world.settle()
    world.end(next(pod for pod in world.working() if pod.units == ("b",)), 1)
    world.settle()
    assert world.status.stages[0].failures == {"1": "1"}
    world.edit(items=items("xabc"))
    world.settle()
    assert world.status.stages[0].failures == {"1": "2"}


def test_an_edit_of_a_stage_gives_its_units_a_new_budget() -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 1}))
    world.settle()
    world.end(world.working()[0], 1)
    world.settle()
    assert world.status.phase == Phase.FAILED
    world.edit(stages=[{"name": "clip", "generate": {"command": {"args": ["better", "{{ item.id }}"]}}}])
    world.run()
    assert world.status.phase == Phase.SUCCEEDED


def test_a_resume_request_gives_failed_units_a_new_budget_once() -> None:
    world = World(spec=job_spec(items={"count": 2}, retry={"perUnit": 1}))
    world.settle()
    for pod in world.working():
        world.end(pod, 12)
    world.settle()
    assert world.status.phase == Phase.FAILED
    world.annotations[names.ANNOTATION_RESUME] = "2026-01-01T00:00:00Z"
    world.settle()
    assert len(world.working()) == 2
    assert world.status.handled.resume == "2026-01-01T00:00:00Z"
    assert world.status.counters.resumes == 1
    for pod in world.working():
        world.end(pod, 12)
    world.settle()
    assert world.status.phase == Phase.FAILED, "a request that was handled is not acted on again"
    assert world.status.counters.resumes == 1


def test_a_job_that_is_not_accepted_launches_and_deletes_nothing() -> None:
    world = nine_of_fifteen()
    seen = replace(
        world.observe(), spec=None, resolved=None, problem=("InvalidTemplate", "it names item.promt"), generation=2
    )
    plan = decide(seen)
    assert (plan.create, plan.delete, plan.discard) == ((), (), ())
    accepted = conditions.find(plan.status, ConditionType.ACCEPTED)
    assert accepted is not None
    assert (accepted.status, accepted.reason, accepted.message) == ("False", "InvalidTemplate", "it names item.promt")
    assert plan.status.observed_generation == 2
    assert plan.status.stages == world.status.stages


def test_a_dead_node_blocks_no_slot() -> None:
    world = World(spec=job_spec(items={"count": 1}, parallelism=1))
    world.settle()
    pod = world.working()[0]
    world.pods[pod.name] = replace(pod, gone_by=world.now + 30)
    world.settle()
    assert len(world.pods) == 1
    world.now += 30 + DEAD_AFTER + 1
    plan = world.settle()
    assert len(world.pods) == 2
    assert plan.wake_at is None
    replacement = next(each for each in world.working() if each.name != pod.name)
    world.finish(replacement)
    world.settle()
    assert world.status.progress == "1/1"


def test_a_late_pod_changes_nothing_about_an_ended_job() -> None:
    world = World(spec=job_spec(items={"count": 1}))
    world.run()
    before = world.status
    world.annotations["unrelated"] = "x"
    assert world.step().status == before


@pytest.mark.parametrize("parallelism", [0, 1, 5])
def test_never_more_pods_than_parallelism(parallelism: int) -> None:
    world = World(spec=job_spec(parallelism=parallelism))
    world.settle()
    assert len(world.working()) == parallelism
    if parallelism == 0:
        assert world.status.resume is not None
        assert world.status.resume.action == "raise spec.parallelism"


def test_a_finished_job_that_was_edited_while_it_was_refused_is_made_when_it_no_longer_is() -> None:
    world = World()
    world.run()
    world.edit(stages=[{"name": "clip", "generate": {"command": {"args": ["better", "{{ item.id }}"]}}}])
    world.status = decide(replace(world.observe(), problem=("SecretNotFound", "there is no Secret"))).status
    assert not holds(world, ConditionType.ACCEPTED)
    world.run()
    assert world.status.phase == Phase.SUCCEEDED
    assert sum(world.made.values()) == 30


def test_an_empty_request_is_no_request() -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 1}))
    world.annotations[names.ANNOTATION_RESUME] = ""
    world.settle()
    world.end(world.working()[0], 1)
    world.settle()
    assert world.status.phase == Phase.FAILED
    assert world.status.counters.resumes == 0


def test_an_attempt_that_ended_before_a_request_was_seen_is_forgiven_with_the_others() -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 1}))
    world.settle()
    world.end(world.working()[0], 1)
    world.annotations[names.ANNOTATION_RESUME] = "now"
    world.run()
    assert world.status.phase == Phase.SUCCEEDED


@pytest.mark.parametrize("where", ["request", "reason", "problem"])
def test_texts_without_measure_are_cut_and_stop_nothing(where: str) -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 1}))
    world.settle()
    if where == "request":
        world.annotations[names.ANNOTATION_RESUME] = "x" * 5000
        world.settle()
        echo = world.status.handled.resume
        assert echo is not None
        assert echo.startswith("sha256:")
        assert len(echo) < 100
        assert world.events == ["NothingToResume"]
    elif where == "reason":
        world.end(world.working()[0], 14, message=json.dumps({"reason": "R" * 3000}))
        world.settle()
        assert world.status.recent_failures[0].reason == "R" * 100
    else:
        status = decide(replace(world.observe(), problem=("InvalidTemplate", "m" * 50_000))).status
        assert status.conditions[0].message == "m" * 1024


def test_a_pod_that_was_lost_with_its_node_is_a_disruption_and_counted_once() -> None:
    world = World(spec=job_spec(items={"count": 1}))
    world.settle()
    pod = world.working()[0]
    world.pods[pod.name] = replace(pod, gone_by=world.now + 30)
    world.now += 30 + DEAD_AFTER + 1
    world.settle()
    assert world.status.counters.disruptions == 1
    world.vanish(world.pods[pod.name])
    world.run()
    assert world.status.counters.disruptions == 1
    assert world.status.phase == Phase.SUCCEEDED


def test_a_unit_that_failed_through_its_input_is_made_when_the_input_turns_up() -> None:
    world = World(
        spec=job_spec(stages=TWO_STAGES, items={"count": 1}, retry={"perUnit": 3, "backoff": {"initial": "1s"}})
    )
    world.settle()
    world.finish(world.working()[0])
    world.settle()
    world.end(world.working()[0], 1)
    image = world.fingerprint(0, 0)
    world.broken.add(image)
    for _ in range(3):
        world.now += 60
        world.settle()
        world.end(world.working()[0], 1)
    world.settle()
    assert [stage.failed for stage in world.status.stages] == ["0", "0"]
    world.publish(image)
    world.annotations["unrelated"] = "x"
    world.edit(parallelism=4)
    world.run()
    assert world.status.phase == Phase.SUCCEEDED


def test_suspending_frees_the_gpu_also_while_the_bucket_is_away() -> None:
    world = nine_of_fifteen()
    world.outage = "no answer"
    world.edit(suspend=True)
    world.settle()
    assert all(pod.gone_by is not None for pod in world.working())
    for pod in world.working():
        world.end(pod, 11)
    world.settle()
    assert world.status.phase == Phase.SUSPENDED
    assert world.status.counters.suspensions == 1
    world.outage = None
    world.settle()
    assert world.status.counters.suspensions == 1
    world.edit(suspend=False)
    world.run()
    assert world.status.counters.disruptions == 0
    assert world.status.phase == Phase.SUCCEEDED


def test_a_finished_job_is_not_called_suspended() -> None:
    world = World()
    world.run()
    world.edit(suspend=True)
    world.settle()
    assert world.status.phase == Phase.SUCCEEDED
    suspended = conditions.find(world.status, ConditionType.SUSPENDED)
    assert suspended is not None
    assert (suspended.status, suspended.message) == ("False", "the job has ended")


def test_pods_that_the_api_server_refuses_are_told_with_its_own_sentence() -> None:
    world = World()
    plan = decide(replace(world.observe(), refused="exceeded quota: gpus, requested: nvidia.com/gpu=1"))
    progressing = conditions.find(plan.status, ConditionType.PROGRESSING)
    assert progressing is not None
    assert (progressing.status, progressing.reason) == ("False", "Stalled")
    assert "exceeded quota: gpus" in progressing.message
    assert plan.status.phase == Phase.STALLED
    assert plan.create, "it is tried again"


def test_what_was_filled_in_for_a_missing_output_stays_fixed() -> None:
    world = World(spec=job_spec(items={"count": 1}))
    world.settle()
    assert world.status.resolved.output == "file:///out"
    world.edit(output={"uri": "file:///elsewhere"})
    world.settle()
    assert world.status.resolved.output is None, "what the spec says needs no echo"


def test_a_unit_that_was_given_up_and_is_there_after_all_is_done() -> None:
    world = World(spec=job_spec(items={"count": 2}, retry={"perUnit": 1}))
    world.settle()
    late = world.working()[0]
    world.end(late, 1)
    world.settle()
    assert world.status.stages[0].failed == "0"
    world.publish(late.fingerprints[0])
    world.run()
    assert world.status.phase == Phase.SUCCEEDED
    assert (world.status.stages[0].succeeded, world.status.stages[0].failures) == ("0-1", {})


def test_attempts_are_forgotten_with_an_edit_of_the_item_that_used_them() -> None:
    def items(prompt: str) -> dict[str, object]:
        return {"list": [{"id": "x", "params": {"p": "x"}}, {"id": "a", "params": {"p": prompt, "unused": prompt}}]}

    stage = {"name": "clip", "generate": {"command": {"args": ["make", "{{ item.p }}"]}}}
    retry = {"perUnit": 2, "backoff": {"initial": "1h"}}
    world = World(spec=job_spec(items=items("old"), stages=[stage], retry=retry))
    world.settle()
    for pod in world.working():
        world.end(pod, 1)
    world.settle()
    assert world.status.stages[0].failures == {"1": "0-1"}
    world.edit(items=items("new"))
    world.settle()
    assert world.status.stages[0].failures == {"1": "0"}
