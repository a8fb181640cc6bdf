"""What a job does that the operator's own caps leave less than it wants."""

from __future__ import annotations

from carryon_core.status import ConditionType, Phase
from carryon_operator.plan.shares import Room
from worlds import World, condition, holds, job_spec

FULL = "the operator runs at most 5 pods, and other jobs have taken the rest"


def test_a_job_launches_what_it_is_left_and_says_how_much_more_it_wants() -> None:
    world = World(job_spec(parallelism=4), room=Room(1, FULL))
    plan = world.step()
    assert [len(plan.create), plan.waiting] == [1, 3]
    world.room = Room(0, FULL)
    plan = world.step()
    assert [len(plan.create), plan.waiting] == [0, 3]
    told = condition(world, ConditionType.PROGRESSING)
    assert (told.status, told.reason) == ("True", "Working")
    assert told.message == f"at work: 1 unit; more could start: {FULL}"
    assert FULL not in world.status.message, "it is at work, and that is what a person sees first"


def test_a_job_without_a_pod_says_that_it_waits_for_its_turn_and_why() -> None:
    world = World(room=Room(0, FULL))
    world.settle()
    told = condition(world, ConditionType.PROGRESSING)
    assert (told.status, told.reason, told.message) == ("True", "WaitingForTurn", f"waits for its turn: {FULL}")
    assert world.status.message == f"0 of 15 units done, 15 remaining; waits for its turn: {FULL}"
    assert world.status.phase == Phase.PENDING
    assert not holds(world, ConditionType.STALLED), "nobody has to do anything"


def test_waiting_ends_no_job_and_begins_no_round_and_it_goes_on_where_it_was() -> None:
    world = World(job_spec(parallelism=2, retry={"perUnit": 1, "rounds": 1}))
    world.step()
    for pod in world.working():
        world.end(pod, 1)
    world.room = Room(0, FULL)
    world.settle()
    assert world.status.counters.round == 0
    assert not holds(world, ConditionType.FINISHED)
    world.room = Room(1, FULL)
    world.run()
    assert world.status.phase == Phase.SUCCEEDED
    assert world.status.counters.round == 1


def test_what_is_wanted_does_not_count_what_parallelism_forbids() -> None:
    world = World(job_spec(parallelism=2), room=Room(0, FULL))
    assert world.step().waiting == 2
    world.edit(suspend=True)
    assert world.step().waiting == 0


def test_a_job_that_has_all_it_wants_says_nothing_of_caps() -> None:
    world = World(room=Room(3, FULL))
    assert world.step().waiting == 0
    world.step()
    assert condition(world, ConditionType.PROGRESSING).message == "at work: 3 units"
