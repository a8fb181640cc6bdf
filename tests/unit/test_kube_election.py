"""Who leads: the rules, each by itself, and a world of replicas in which everything happens to them that can."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carryon_kube.client import Body
from carryon_kube.errors import AlreadyExists, Conflict, Fenced, NotFound, Unavailable
from carryon_operator.kube.election import Seen, Terms, claimed, holder_of, look, released, transitions_of, wait_for
from carryon_operator.kube.elector import Elector, LeaseLost
from skipping_clock import SkippingLoop

WHERE = ("carryon", "carryon-operator")
TERMS = Terms()


def lease(holder: str, version: str = "7", **spec: Any) -> Body:
    told = {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3, **spec}
    return {"metadata": {"name": "carryon-operator", "resourceVersion": version}, "spec": told}


@pytest.mark.parametrize(
    ("found", "duration", "wait"),
    [
        (lease("other"), 15, 15),
        (lease("other", leaseDurationSeconds=60), 60, 60),
        (lease("other", leaseDurationSeconds=0), 15, 15),
        (lease("other", leaseDurationSeconds=10**9), 15, 15),
        (lease("other", leaseDurationSeconds="long"), 15, 15),
        ({"metadata": {"resourceVersion": "1"}}, 15, 0),
        (lease(""), 15, 0),
        (lease("me"), 15, 0),
        (None, 15, 15),
    ],
    ids=["held", "held for longer", "zero", "absurd", "no number", "no spec", "given back", "ours", "none"],
)
def test_how_long_a_lease_is_waited_for_that_is_seen_for_the_first_time(
    found: Body | None, duration: float, wait: float
) -> None:
    seen = look(found, None, 100.0, TERMS)
    assert seen.duration == duration
    assert wait_for(seen, "me", 100.0) == wait
    assert wait_for(seen, "me", 100.0 + wait) == 0


def test_a_lease_that_changed_is_waited_for_anew_and_one_that_did_not_is_not() -> None:
    first = look(lease("other"), None, 100.0, TERMS)
    assert look(lease("other"), first, 110.0, TERMS).since == 100.0
    assert look(lease("other", "8"), first, 110.0, TERMS).since == 110.0


def test_the_times_in_a_lease_decide_nothing() -> None:
    for told in ("1970-01-01T00:00:00.000000Z", "9999-01-01T00:00:00.000000Z", "soon"):
        seen = look(lease("other", renewTime=told), None, 100.0, TERMS)
        assert wait_for(seen, "me", 101.0) == 14.0


def test_a_lease_that_was_deleted_is_waited_for_like_one_that_is_held() -> None:
    held = look(lease("other"), None, 100.0, TERMS)
    gone = look(None, held, 103.0, TERMS)
    assert wait_for(gone, "me", 104.0) == 14.0
    assert look(None, gone, 105.0, TERMS).since == 103.0
    assert look(None, gone, 110.0, TERMS).since == 110.0, "nobody knows what there was in between"


def test_who_takes_a_lease_counts_that_it_changed_hands_and_keeps_what_others_wrote() -> None:
    before = {**lease("other", strategy="x"), "kind": "Lease"}
    made = claimed(before, WHERE, "me", TERMS, 0.0)
    assert made["metadata"] is before["metadata"], "with the resourceVersion, or two could take it"
    assert made["spec"] == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "leaseTransitions": 4,
        "strategy": "x",
        "acquireTime": "1970-01-01T00:00:00.000000Z",
        "renewTime": "1970-01-01T00:00:00.000000Z",
    }
    renewed = claimed(made, WHERE, "me", TERMS, 60.0)["spec"]
    assert (renewed["leaseTransitions"], renewed["acquireTime"][:19]) == (4, "1970-01-01T00:00:00")
    assert transitions_of(claimed(None, WHERE, "me", TERMS, 0.0)) == 0
    assert transitions_of(lease("x", leaseTransitions="many")) == 0


@given(st.floats(0, 4e9), st.floats(-4e9, 4e9))
def test_each_renewal_is_a_change_whatever_the_wall_clock_does(wall: float, jump: float) -> None:
    first = claimed(None, WHERE, "me", TERMS, wall)
    for later in (wall, max(wall + jump, 0.0)):
        assert claimed(first, WHERE, "me", TERMS, later)["spec"]["renewTime"] != first["spec"]["renewTime"]


def test_a_lease_that_is_given_back_keeps_its_count_and_may_be_taken_at_once() -> None:
    back = released(lease("me"), WHERE, 0.0)
    assert (holder_of(back), transitions_of(back)) == ("", 3)
    assert wait_for(look(back, Seen("6", "me", 15, 99.0, 99.0), 100.0, TERMS), "other", 100.0) == 0


# -- A world of replicas, in which time is skipped.


@dataclass
class Etcd:
    """One Lease, as a server keeps it."""

    version: int = 0
    stored: Body | None = None
    created: float = 0.0
    holders: list[tuple[float, str]] = field(default_factory=list)

    def write(self, body: Body, now: float) -> Body:
        self.version += 1
        self.stored = copy.deepcopy(body)
        self.stored["metadata"]["resourceVersion"] = str(self.version)
        self.holders.append((now, holder_of(body)))
        return copy.deepcopy(self.stored)

    def get(self) -> Body:
        if self.stored is None:
            raise NotFound(404, "NotFound", "there is none")
        return copy.deepcopy(self.stored)

    def create(self, body: Body, now: float) -> Body:
        if self.stored is not None:
            raise AlreadyExists(409, "AlreadyExists", "there is one")
        self.created = now
        return self.write(body, now)

    def update(self, body: Body, now: float) -> Body:
        if self.get()["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "it is another by now")
        return self.write(body, now)


@dataclass
class Replica:
    """A process that takes part, on a machine with a clock of its own; starts anew when it loses the Lease."""

    name: str
    etcd: Etcd
    drawn: Random
    pace: float
    slow: float
    cut_off: bool = False
    frozen: asyncio.Event = field(default_factory=asyncio.Event)
    writes: list[tuple[float, float]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    elector: Elector | None = None

    def __post_init__(self) -> None:
        self.frozen.set()
        self.offset = self.drawn.uniform(0, 1e6)

    def monotonic(self) -> float:
        return self.offset + asyncio.get_running_loop().time() * self.pace

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.pace)
        await self.frozen.wait()

    async def ask(self, act: Callable[[], Body]) -> Body:
        """A request over a network that may be slow, and lose requests or answers."""
        await asyncio.sleep(self.drawn.uniform(0, self.slow))
        if self.cut_off:
            raise Unavailable(0, "Unreachable", "cut off")
        answer = act()
        await asyncio.sleep(self.drawn.uniform(0, self.slow))
        await self.frozen.wait()
        if self.cut_off:
            raise Unavailable(0, "Unreachable", "cut off")
        return answer

    async def get(self) -> Body:
        return await self.ask(self.etcd.get)

    async def create(self, lease: Body) -> Body:
        return await self.ask(lambda: self.etcd.create(lease, asyncio.get_running_loop().time()))

    async def update(self, lease: Body) -> Body:
        return await self.ask(lambda: self.etcd.update(lease, asyncio.get_running_loop().time()))

    async def live(self) -> None:
        for life in range(10_000):
            self.elector = Elector(
                self,
                WHERE,
                f"{self.name}-{life}",
                TERMS,
                # A wall clock that jumps as it likes.
                clock=lambda: self.drawn.uniform(0, 4e9),
                monotonic=self.monotonic,
                sleep=self.sleep,
                draw=self.drawn.random,
            )
            working = asyncio.create_task(self.work(self.elector))
            try:
                await self.elector.run()
            except LeaseLost as error:
                self.lost.append(str(error))
            finally:
                working.cancel()
            await self.sleep(1.0)

    async def work(self, elector: Elector) -> None:
        """Write as fast as it may; what is noted is when a request begins and when it has ended at the latest."""
        while True:
            now = asyncio.get_running_loop().time()
            try:
                self.writes.append((now, now + elector.time_left() / self.pace))
            except Fenced:
                assert not elector.leading
            await self.sleep(0.25)


Happening = tuple[float, str, int]
T = TypeVar("T")


async def story(replicas: int, happenings: list[Happening], seed: int, slow: float) -> tuple[Etcd, list[Replica]]:
    """Replicas to which things happen; in the end all is well again, for a minute."""
    etcd, drawn = Etcd(), Random(seed)
    there = [Replica(f"r{i}", etcd, drawn, drawn.uniform(0.95, 1.05), slow) for i in range(replicas)]
    lives = [asyncio.create_task(each.live()) for each in there]
    for after, what, whom in happenings:
        await asyncio.sleep(after)
        one = there[whom % replicas]
        match what:
            case "cut":
                one.cut_off = not one.cut_off
            case "freeze":
                one.frozen.clear() if one.frozen.is_set() else one.frozen.set()
            case "kill":
                lives[whom % replicas].cancel()
                one.frozen.set()
                lives[whom % replicas] = asyncio.create_task(one.live())
            case "label" if etcd.stored is not None:
                etcd.write({**etcd.stored}, asyncio.get_running_loop().time())
            case "delete" if asyncio.get_running_loop().time() > etcd.created + 6:
                etcd.stored = None
    for one in there:
        one.cut_off, one.slow = False, 0.01
        one.frozen.set()
    await asyncio.sleep(60)
    leaders = [one for one in there if one.elector is not None and one.elector.leading]
    for each in lives:
        each.cancel()
    await asyncio.gather(*lives, return_exceptions=True)
    assert len(leaders) == 1, "once all is well one of them leads, and no other thinks so"
    return etcd, there


def in_skipped_time(run: Callable[[], Coroutine[Any, Any, T]]) -> T:
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(run())


happenings = st.lists(
    st.tuples(
        st.floats(0, 40),
        st.sampled_from(["cut", "cut", "freeze", "freeze", "kill", "label", "delete"]),
        st.integers(0, 2),
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(st.integers(2, 3), happenings, st.integers(0, 2**32), st.sampled_from([0.01, 1.0, 4.0]))
@example(2, [(20.0, "freeze", 0), (22.0, "freeze", 0)], 1, 0.01)
@example(2, [(20.0, "cut", 0), (40.0, "cut", 0)], 1, 0.01)
@example(3, [(20.0, "delete", 0), (0.1, "kill", 1), (0.1, "kill", 2)], 1, 0.01)
def test_nobody_begins_what_could_still_be_under_way_when_another_leads(
    replicas: int, happens: list[Happening], seed: int, slow: float
) -> None:
    _, there = in_skipped_time(lambda: story(replicas, happens, seed, slow))
    spans = sorted((begun, ends, one.name) for one in there for begun, ends in one.writes)
    for (_, ends, who), (begun, _, other) in pairwise(spans):
        assert who == other or ends <= begun, f"{who} may have written until {ends}, and {other} wrote at {begun}"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("accident", ["kill", "freeze", "cut"])
def test_another_leads_within_twenty_seconds(accident: str, seed: int) -> None:
    etcd, _ = in_skipped_time(lambda: _one_accident(accident, seed))
    at = next(i for i in range(1, len(etcd.holders)) if etcd.holders[i][1][:2] != etcd.holders[i - 1][1][:2])
    silence = etcd.holders[at][0] - etcd.holders[at - 1][0]
    assert 14 < silence < 20


async def _one_accident(accident: str, seed: int) -> tuple[Etcd, list[Replica]]:
    etcd, drawn = Etcd(), Random(seed)
    there = [Replica(f"r{i}", etcd, drawn, drawn.uniform(0.99, 1.01), 0.2) for i in range(2)]
    lives = [asyncio.create_task(each.live()) for each in there]
    await asyncio.sleep(30 + drawn.uniform(0, 5))
    (first,) = [i for i, one in enumerate(there) if one.elector is not None and one.elector.leading]
    match accident:
        case "kill":
            lives[first].cancel()
        case "freeze":
            there[first].frozen.clear()
        case "cut":
            there[first].cut_off = True
    await asyncio.sleep(25)
    for each in lives:
        each.cancel()
    await asyncio.gather(*lives, return_exceptions=True)
    return etcd, there


def test_a_lease_that_is_given_back_is_taken_at_the_next_look() -> None:
    async def scenario() -> None:
        etcd, drawn = Etcd(), Random(1)
        one, two = (Replica(f"r{i}", etcd, drawn, 1.0, 0.01) for i in range(2))
        first = asyncio.create_task(one.live())
        await asyncio.sleep(20)
        second = asyncio.create_task(two.live())
        await asyncio.sleep(5)
        assert one.elector is not None
        assert one.elector.leading
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await one.elector.release()
        with pytest.raises(Fenced, match="does not hold the Lease carryon/carryon-operator"):
            one.elector.time_left()
        await asyncio.sleep(2 * TERMS.retry)
        assert two.elector is not None
        assert (two.elector.leading, two.elector.transitions) == (True, 1)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)

    in_skipped_time(scenario)


def test_who_finds_the_lease_in_other_hands_begins_nothing_more_although_there_was_time_left() -> None:
    async def scenario() -> None:
        etcd = Etcd()
        one = Replica("r0", etcd, Random(1), 1.0, 0.01)
        life = asyncio.create_task(one.live())
        await asyncio.sleep(20)
        elector = one.elector
        assert elector is not None
        assert elector.leading
        etcd.write(claimed(etcd.stored, WHERE, "other", TERMS, 0.0), asyncio.get_running_loop().time())
        await asyncio.sleep(2 * TERMS.retry)
        assert one.lost == ["the Lease carryon/carryon-operator is held by other"]
        with pytest.raises(Fenced):
            elector.time_left()
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)

    in_skipped_time(scenario)


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        ([(30.0, "cut", 0), (20.0, "cut", 0)], "was not renewed within 10 s: cut off; another replica may lead"),
        ([(30.0, "delete", 0)], "is gone: somebody deleted it"),
        ([(30.0, "freeze", 0), (40.0, "freeze", 0)], "was not renewed within 10 s; another replica may lead by now"),
    ],
)
def test_who_loses_the_lease_says_why(happens: list[Happening], said: str) -> None:
    _, (one,) = in_skipped_time(lambda: story(1, happens, 3, 0.01))
    assert said in one.lost[0]
    assert one.lost[0].startswith("the Lease carryon/carryon-operator ")
