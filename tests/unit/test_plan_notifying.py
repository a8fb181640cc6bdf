"""Who is to be told what, and when: every rule of it, without a cluster and without a webhook."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_core.durations import moment
from carryon_core.notifications import NOTIFICATIONS_MOST, OCCASIONS, PENDING_MOST, Notification, Notify
from carryon_core.status import ConditionType, JobStatus
from carryon_operator.plan import conditions
from carryon_operator.plan.decide import decide
from carryon_operator.plan.model import DeliveryAttempt, DeliveryEnd, Observation, Plan
from carryon_operator.plan.notifying import (
    FIRST_DELAY,
    LONGEST_DELAY,
    PATIENCE,
    REMOVAL_WAITS,
    delay,
    due,
    notify,
)
from worlds import World, job_spec, work

A, B = "https://a.example/hook", "https://b.example/hook"


def told(*hooks: dict[str, Any], **fields: Any) -> World:
    return World(spec=job_spec(notify=list(hooks), **fields))


def of(world: World, url: str = A) -> list[Notification]:
    digest = Notify(url=url).digest
    return [each for each in world.status.notifications if each.url == digest]


def what(world: World, url: str = A) -> list[tuple[str, str]]:
    return [(each.condition, each.state) for each in of(world, url)]


def attempt(told: Notification, end: DeliveryEnd, at: float, **fields: Any) -> DeliveryAttempt:
    return DeliveryAttempt(told.url, told.id, told.attempts + 1, at, end, fields.pop("result", "HTTP 503"), **fields)


def post(world: World, *attempts: DeliveryAttempt) -> Plan:
    """The next decision, which hears of these attempts."""
    plan = decide(replace(world.observe(), posted=attempts))
    world.status = plan.status
    return plan


def suspend(world: World) -> None:
    world.edit(suspend=True)
    for _ in range(3):
        for pod in world.working():
            world.end(pod, 11)
        world.settle()


def resume(world: World) -> None:
    world.edit(suspend=False)
    world.settle()


def test_a_job_that_succeeds_tells_who_wants_to_hear_it_in_the_write_that_shows_it() -> None:
    world = told({"url": A}, {"url": B, "events": ["Failed", "Stalled"]}, items={"count": 2})
    world.settle()
    assert world.status.notifications == []
    work(world)
    succeeded = conditions.find(world.status, ConditionType.SUCCEEDED)
    assert succeeded is not None
    (one,) = world.status.notifications
    assert (one.hook, one.condition, one.state, one.attempts) == (0, "Succeeded", "Pending", 0)
    assert (one.reason, one.phase, one.time) == ("AllUnitsDone", "Succeeded", succeeded.last_transition_time)
    assert one.units is not None
    assert one.units.model_dump() == {"total": 2, "succeeded": 2, "failed": 0, "remaining": 0}
    assert one.id == f"job-uid-succeeded-{int(moment(one.time) or 0)}"


def test_a_job_that_fails_says_so_once_and_not_that_it_stalled_too() -> None:
    hooks = [{"url": A}, {"url": B, "events": ["Stalled"]}]
    world = told(*hooks, items={"count": 1}, retry={"perUnit": 1})
    work(world, {"0": 5})
    assert what(world, A) == [("Failed", "Pending")]
    assert what(world, B) == [("Stalled", "Pending")], "who hears of nothing else learns that a person is needed"


def test_a_job_that_is_not_accepted_is_stalled_and_says_so() -> None:
    world = told({"url": A})
    seen = replace(world.observe(), problem=("SecretNotFound", "there is no Secret"))
    plan = notify(seen, Plan(status=_with(JobStatus(), Stalled=True)))
    assert [(each.condition, each.state) for each in plan.status.notifications] == [("Stalled", "Pending")]


def test_suspended_twice_is_told_twice_with_two_ids() -> None:
    world = told({"url": A, "events": ["Suspended"]})
    world.settle()
    suspend(world)
    resume(world)
    world.now += 5
    suspend(world)
    first, second = of(world)
    assert (first.condition, second.condition) == ("Suspended", "Suspended")
    assert first.id != second.id
    assert first.time != second.time


def test_two_transitions_in_one_second_have_two_ids() -> None:
    world = told({"url": A}, {"url": B})
    world.settle()
    for _ in range(3):
        suspend(world)
        resume(world)
    ids = [each.id for each in of(world)]
    assert len({each.time for each in of(world)}) == 1
    assert ids == [ids[0], f"{ids[0]}-2", f"{ids[0]}-3"]
    assert [each.id for each in of(world, B)] == ids, "an event is the same for all that hear of it"


def test_an_event_keeps_its_id_whatever_happens_to_its_attempts() -> None:
    world = told({"url": A}, items={"count": 1})
    work(world)
    (one,) = of(world)
    for number in range(1, 4):
        post(world, attempt(of(world)[0], DeliveryEnd.FAILED, world.now))
        (after,) = of(world)
        assert (after.id, after.time, after.units, after.attempts) == (one.id, one.time, one.units, number)
    post(world, attempt(of(world)[0], DeliveryEnd.DELIVERED, world.now, result="HTTP 204"))
    (after,) = of(world)
    assert (after.id, after.state, after.attempts, after.result) == (one.id, "Delivered", 4, "HTTP 204")
    assert after.next is None


def test_what_came_of_an_attempt_counts_once_however_often_it_is_heard() -> None:
    world = told({"url": A}, items={"count": 1})
    work(world)
    failed = attempt(of(world)[0], DeliveryEnd.FAILED, world.now)
    assert dict(post(world, failed).notified) == {DeliveryEnd.FAILED: 1}
    before = world.status
    assert dict(post(world, failed).notified) == {}
    assert world.status == before
    delivered = attempt(of(world)[0], DeliveryEnd.DELIVERED, world.now)
    post(world, delivered)
    late = DeliveryAttempt(delivered.url, delivered.id, 3, world.now, DeliveryEnd.GIVEN_UP, "HTTP 410")
    assert post(world, late).events == ()
    assert what(world) == [("Succeeded", "Delivered")]


def test_delays_grow_to_an_hour_and_never_start_below_five_seconds() -> None:
    delays = [delay("an-id", number) for number in range(1, 40)]
    assert FIRST_DELAY <= delays[0] <= FIRST_DELAY * 1.2
    assert delays[:10] == sorted(delays[:10])
    assert all(LONGEST_DELAY <= each <= LONGEST_DELAY * 1.2 for each in delays[10:])
    assert delay("an-id", 3) == delay("an-id", 3)
    assert len({delay(f"id-{n}", 3) for n in range(20)}) > 15, "what failed together comes back spread"


def test_an_attempt_that_failed_is_repeated_after_its_delay() -> None:
    world = told({"url": A}, items={"count": 1})
    work(world)
    post(world, attempt(of(world)[0], DeliveryEnd.FAILED, world.now))
    (one,) = of(world)
    assert (one.state, one.result) == ("Pending", "HTTP 503")
    assert 5 <= (moment(one.next) or 0) - world.now <= 7
    ready, later = due(world.spec.notify, [one], world.now)
    assert (ready, [each.notification for each in later]) == ([], [one])
    ready, later = due(world.spec.notify, [one], world.now + 7)
    assert ([each.notification for each in ready], later) == ([one], [])


@pytest.mark.parametrize(
    ("asked", "waits"), [(2.0, (5, 7)), (600.0, (600, 601)), (10 * PATIENCE, (PATIENCE - 60, PATIENCE))]
)
def test_a_receiver_that_asks_to_be_left_alone_is_as_far_as_our_patience_reaches(
    asked: float, waits: tuple[float, float]
) -> None:
    world = told({"url": A}, items={"count": 1})
    work(world)
    post(world, attempt(of(world)[0], DeliveryEnd.FAILED, world.now, wait=asked))
    assert waits[0] <= (moment(of(world)[0].next) or 0) - world.now <= waits[1]


@pytest.mark.parametrize("why", ["refused", "too late"])
def test_what_is_given_up_says_why_in_status_and_an_event(why: str) -> None:
    world = told({"url": "https://other.example"}, {"url": A}, items={"count": 1})
    work(world)
    (one,) = of(world)
    for _ in range(2):
        post(world, attempt(of(world)[0], DeliveryEnd.FAILED, world.now))
    end, at = (DeliveryEnd.GIVEN_UP, world.now) if why == "refused" else (DeliveryEnd.FAILED, world.now + PATIENCE)
    plan = post(world, attempt(of(world)[0], end, at, result="HTTP 404"))
    (event,) = plan.events
    assert (event.type, event.reason) == ("Warning", "NotificationFailed")
    assert event.message == (
        f"spec.notify[1] was not told that the job became Succeeded at {one.time}: HTTP 404 (3 attempts)"
    )
    assert dict(plan.notified) == {DeliveryEnd.GIVEN_UP: 1}
    assert what(world) == [("Succeeded", "GivenUp")]
    assert of(world)[0].result == "HTTP 404"
    assert post(world).events == ()


def test_a_webhook_that_is_added_hears_only_what_comes_later() -> None:
    world = told({"url": A})
    world.settle()
    suspend(world)
    world.edit(notify=[{"url": B}, {"url": A}])
    world.settle()
    assert what(world, B) == []
    assert [(each.hook, each.condition) for each in of(world)] == [(1, "Suspended")], "the entry follows its webhook"
    resume(world)
    world.now += 5
    suspend(world)
    assert len(of(world, A)) == 2
    assert what(world, B) == [("Suspended", "Pending")]


def test_a_webhook_that_is_taken_out_gets_nothing_more() -> None:
    world = told({"url": A}, {"url": B})
    world.settle()
    suspend(world)
    world.edit(notify=[{"url": A, "events": ["Failed"]}])
    world.settle()
    assert world.status.notifications == [], "nor one that does not want to hear of it any more"
    world.edit(notify=[{"url": A}, {"url": B}])
    world.settle()
    assert world.status.notifications == []


def test_an_edit_of_the_webhooks_makes_nothing_again() -> None:
    world = told({"url": A}, items={"count": 2})
    work(world)
    world.edit(notify=[{"url": B}])
    work(world)
    assert set(world.made.values()) == {1}
    assert world.status.notifications == [], "it had succeeded before"


def test_of_very_many_events_that_nobody_takes_the_oldest_is_given_up() -> None:
    world = told({"url": A, "events": ["Suspended"]})
    world.settle()
    for _ in range(PENDING_MOST + 1):
        suspend(world)
        resume(world)
        world.now += 5
    assert what(world) == [("Suspended", "GivenUp")] + [("Suspended", "Pending")] * PENDING_MOST
    assert of(world)[0].result == f"{PENDING_MOST} newer ones wait for the same webhook"
    assert world.events.count("NotificationFailed") == 1


def test_of_what_has_ended_only_the_last_of_each_webhook_stays() -> None:
    world = told({"url": A}, {"url": B})
    world.settle()
    for _ in range(2):
        suspend(world)
        resume(world)
        world.now += 5
    first, second = of(world)
    post(world, attempt(second, DeliveryEnd.DELIVERED, world.now))
    world.now += 5
    post(world, attempt(first, DeliveryEnd.DELIVERED, world.now))
    assert [each.id for each in of(world)] == [first.id], "that ended last"
    assert what(world, B) == [("Suspended", "Pending")] * 2


@pytest.mark.parametrize("took", [True, False])
def test_a_job_whose_time_is_over_stays_until_its_end_is_told_but_an_hour_at_most(took: bool) -> None:
    world = told({"url": A}, items={"count": 1}, ttlSecondsAfterFinished=0)
    work(world)
    plan = world.step()
    assert not plan.remove
    if took:
        assert post(world, attempt(of(world)[0], DeliveryEnd.DELIVERED, world.now)).remove
    else:
        assert plan.wake_at == (moment(world.status.time.finished) or 0) + REMOVAL_WAITS
        post(world, attempt(of(world)[0], DeliveryEnd.FAILED, world.now))
        world.now += REMOVAL_WAITS
        assert world.step().remove


def test_a_spec_that_cannot_be_read_loses_nothing_that_waits() -> None:
    world = told({"url": A})
    world.settle()
    suspend(world)
    waiting = of(world)
    seen = replace(world.observe(), spec=None, problem=("InvalidSpec", "?"), posted=())
    plan = notify(seen, Plan(status=_with(seen.status, Stalled=True)))
    assert plan.status.notifications == waiting


def _with(status: JobStatus, **holds: bool) -> JobStatus:
    claims = {ConditionType(kind): (true, "Reason", "message") for kind, true in holds.items()}
    return conditions.with_claims(status, claims, 1, 0.0)


HOOKS = st.lists(
    st.builds(
        lambda url, events: {"url": url, "events": sorted(events)},
        st.sampled_from([A, B, "http://c"]),
        st.sets(st.sampled_from(OCCASIONS), min_size=1),
    ),
    unique_by=lambda hook: hook["url"],
    max_size=3,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("become"), st.fixed_dictionaries({kind: st.booleans() for kind in OCCASIONS})),
        st.tuples(st.just("edit"), HOOKS),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 1.0, 100.0, PATIENCE])),
        st.tuples(
            st.just("post"), st.lists(st.tuples(st.integers(0, 20), st.sampled_from(list(DeliveryEnd))), max_size=5)
        ),
        st.tuples(st.just("conflict"), st.just(None)),
        st.tuples(st.just("restart"), st.just(None)),
    ),
    max_size=40,
)


@dataclass
class Life:
    """A job, its webhooks and an operator that forgets, whose writes are refused, and that hears things twice."""

    now: float = 1_700_000_000.0
    hooks: list[dict[str, Any]] = field(default_factory=list)
    status: JobStatus = field(default_factory=JobStatus)
    posted: list[DeliveryAttempt] = field(default_factory=list)
    ended: dict[tuple[str, str], str] = field(default_factory=dict)
    ids: dict[str, tuple[str, int]] = field(default_factory=dict)
    became: int = 0
    refuse: bool = False

    def write(self, **become: bool) -> None:
        spec = job_spec(notify=self.hooks)
        seen = Observation(
            **{"namespace": "default", "name": "reel", "uid": "uid", "generation": 1, "annotations": {}},
            **{"spec": spec, "status": self.status, "resolved": None, "now": self.now, "posted": tuple(self.posted)},
        )
        claims = {ConditionType(kind): (true, "Reason", "") for kind, true in become.items()}
        after = notify(seen, Plan(status=conditions.with_claims(self.status, claims, 1, self.now))).status
        if self.refuse:
            self.refuse = False
            return
        self.check(spec.notify, self.status, after)
        self.status = after

    def check(self, hooks: list[Notify], before: JobStatus, after: JobStatus) -> None:
        entries = after.notifications
        places = {hook.digest: at for at, hook in enumerate(hooks)}
        assert len(entries) <= NOTIFICATIONS_MOST
        assert len({(each.url, each.id) for each in entries}) == len(entries)
        assert all(places[each.url] == each.hook for each in entries)
        known = {(each.url, each.id): each for each in before.notifications}
        new = [each for each in entries if (each.url, each.id) not in known]
        became = {
            kind
            for kind in OCCASIONS
            if conditions.holds(after, ConditionType(kind)) and not conditions.holds(before, ConditionType(kind))
        }
        self.became += 1
        for each in new:
            assert each.pending
            assert each.condition in became
            # One id, one event: never that of an earlier one.
            assert self.ids.setdefault(each.id, (each.condition, self.became)) == (each.condition, self.became)
        for hook in hooks:
            heard = became & set(hook.events) - ({"Stalled"} if {"Failed"} <= became & set(hook.events) else set())
            assert {each.condition for each in new if each.url == hook.digest} == heard
        for each in entries:
            old = known.get((each.url, each.id))
            assert old is None or (each.attempts >= old.attempts and each.time == old.time)
            if not each.pending:
                assert self.ended.setdefault((each.url, each.id), each.state) == each.state, "what ended stays so"
            else:
                assert (each.url, each.id) not in self.ended, "what ended does not wait again"


@given(STEPS)
def test_whatever_happens_each_event_is_told_under_one_id_until_it_ends(steps: list[tuple[str, Any]]) -> None:
    life = Life()
    for kind, value in steps:
        match kind:
            case "become":
                life.write(**value)
            case "edit":
                # Ids tell apart what status still shows: an edit and an answer take longer than a second has.
                life.now += 1
                life.hooks = value
            case "wait":
                life.now += value
            case "conflict":
                life.refuse = True
            case "restart":
                life.posted.clear()
            case "post":
                waiting = [each for each in life.status.notifications if each.pending]
                for at, end in value:
                    if waiting:
                        life.posted.append(attempt(waiting[at % len(waiting)], end, life.now))
                life.now += 1
                life.write()
    life.refuse = False
    life.write()
    settled = life.status
    life.write()
    assert life.status == settled, "nothing to tell is nothing to write"
