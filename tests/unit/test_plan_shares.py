"""Who may launch how many pods, where the operator has caps."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_operator.plan.shares import Caps, Claim, shares, why_full


def claim(job: str, wants: int, *, holds: int = 0, priority: int = 0, since: float = 0.0) -> Claim:
    return Claim(job, priority, holds, wants, since)


@pytest.mark.parametrize(
    ("what", "claims", "caps", "expected"),
    [
        ("no caps: everybody gets what he wants", [claim("a", 9_000), claim("b", 3)], Caps(), {"a": 9_000, "b": 3}),
        ("room for all", [claim("a", 5), claim("b", 3)], Caps(8), {"a": 5, "b": 3}),
        ("equal shares of what there is", [claim("a", 9), claim("b", 9)], Caps(8), {"a": 4, "b": 4}),
        (
            "a huge job leaves a small one its three",
            [claim("huge", 10_000), claim("small", 3)],
            Caps(8),
            {"huge": 5, "small": 3},
        ),
        (
            "who holds little comes first",
            [claim("huge", 900, holds=8), claim("small", 3)],
            Caps(10),
            {"huge": 0, "small": 2},
        ),
        (
            "who holds little is raised first",
            [claim("a", 9, holds=4), claim("b", 9, holds=1)],
            Caps(8),
            {"a": 0, "b": 3},
        ),
        (
            "an odd one goes to who waited longest",
            [claim("a", 2, since=5), claim("b", 2, since=3)],
            Caps(3),
            {"a": 1, "b": 2},
        ),
        (
            "a single slot goes to who waited longest",
            [claim("a", 1, since=5), claim("b", 1, since=3)],
            Caps(1),
            {"a": 0, "b": 1},
        ),
        (
            "higher priority takes all it wants",
            [claim("a", 9), claim("b", 9, priority=1)],
            Caps(10),
            {"a": 1, "b": 9},
        ),
        (
            "priority goes before what is held",
            [claim("a", 1), claim("b", 9, holds=5, priority=1)],
            Caps(8),
            {"a": 0, "b": 3},
        ),
        ("negative priority comes last", [claim("a", 9, priority=-1), claim("b", 3)], Caps(4), {"a": 1, "b": 3}),
        ("a cap for each job", [claim("a", 9, holds=2), claim("b", 2)], Caps(None, 3), {"a": 1, "b": 2}),
        ("both caps", [claim("a", 9), claim("b", 9)], Caps(5, 3), {"a": 3, "b": 2}),
        ("a cap that was lowered below what runs", [claim("a", 9, holds=20)], Caps(10), {"a": 0}),
        (
            "a cap for each job below what runs",
            [claim("a", 9, holds=20), claim("b", 1)],
            Caps(None, 10),
            {"a": 0, "b": 1},
        ),
    ],
)
def test_each_rule(what: str, claims: list[Claim], caps: Caps, expected: dict[str, int]) -> None:
    assert shares(claims, caps, sum(each.holds for each in claims)) == expected, what


def test_pods_of_jobs_that_want_nothing_more_count_too() -> None:
    assert shares([claim("a", 9)], Caps(10), taken=8) == {"a": 2}


def test_it_says_which_cap_it_is() -> None:
    assert why_full(Caps(200), 7) == "the operator runs at most 200 pods, and other jobs have taken the rest"
    assert why_full(Caps(200, 7), 7) == "the operator runs at most 7 pods of one job"
    assert why_full(Caps(None, 1), 1) == "the operator runs at most 1 pod of one job"


CLAIMS = st.lists(
    st.tuples(st.integers(-1, 2), st.integers(0, 12), st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=8
).map(lambda rows: [Claim(f"job-{n}", *row) for n, row in enumerate(rows)])
CAPS = st.builds(Caps, st.none() | st.integers(1, 60), st.none() | st.integers(1, 20))


def one_at_a_time(claims: list[Claim], caps: Caps, taken: int) -> dict[str, int]:
    """The rule as it is said: each free slot to the highest priority, there to who holds fewest, then to who waited."""
    made = {each.job: 0 for each in claims}
    limit = {each.job: min(each.wants, caps.of_a_job() - each.holds) for each in claims}
    waiting = [(-each.priority, each.holds, each.since, each.job) for each in claims if limit[each.job] > 0]
    heapify(waiting)
    left = (10**6 if caps.pods is None else caps.pods) - taken
    while left > 0 and waiting:
        priority, holds, since, job = heappop(waiting)
        made[job] += 1
        left -= 1
        if made[job] < limit[job]:
            heappush(waiting, (priority, holds + 1, since, job))
    return made


@given(CLAIMS, CAPS, st.integers(0, 10))
def test_it_is_the_same_as_giving_slots_one_at_a_time(claims: list[Claim], caps: Caps, others: int) -> None:
    taken = others + sum(each.holds for each in claims)
    assert shares(claims, caps, taken) == one_at_a_time(claims, caps, taken)


@given(CLAIMS, CAPS, st.integers(0, 10))
def test_never_beyond_a_cap_and_no_slot_idle_while_somebody_wants_it(
    claims: list[Claim], caps: Caps, others: int
) -> None:
    taken = others + sum(each.holds for each in claims)
    made = shares(claims, caps, taken)
    room = 10**9 if caps.pods is None else max(caps.pods - taken, 0)
    may = {each.job: max(min(each.wants, caps.of_a_job() - each.holds), 0) for each in claims}
    assert sum(made.values()) == min(room, sum(may.values()))
    assert all(0 <= made[job] <= may[job] for job in made)


@given(CLAIMS, CAPS)
def test_a_lower_priority_gets_something_only_when_all_above_have_what_they_may(
    claims: list[Claim], caps: Caps
) -> None:
    made = shares(claims, caps, sum(each.holds for each in claims))
    served = [each.priority for each in claims if made[each.job]]
    for each in claims:
        if served and each.priority > min(served):
            assert made[each.job] == max(min(each.wants, caps.of_a_job() - each.holds), 0)


@given(CLAIMS, CAPS, st.data())
def test_what_a_job_gets_does_not_depend_on_how_much_more_it_wants(
    claims: list[Claim], caps: Caps, data: st.DataObject
) -> None:
    """So a slot can be promised to a job before it has decided how many it wants."""
    taken = sum(each.holds for each in claims)
    one = data.draw(st.sampled_from(claims))
    greedy = [Claim(e.job, e.priority, e.holds, 10**6 if e is one else e.wants, e.since) for e in claims]
    assert shares(claims, caps, taken)[one.job] == min(one.wants, shares(greedy, caps, taken)[one.job])


@given(st.integers(2, 6), st.integers(1, 4), st.integers(0, 5))
def test_every_job_of_one_priority_has_its_turn(jobs: int, cap: int, ends: int) -> None:
    """Jobs that want pods for ever, one that wants one: each free slot is given away at once."""
    holds = {f"job-{n}": 0 for n in range(jobs)}
    since = dict.fromkeys(holds, 0.0)
    turns: list[str] = []
    for now in range(1, 4 * jobs * cap + 1):
        made = shares([Claim(j, 0, holds[j], 100, since[j]) for j in holds], Caps(cap), sum(holds.values()))
        for job, pods in made.items():
            if pods:
                holds[job] += pods
                since[job] = now
                turns.append(job)
        running = [job for job in holds if holds[job]]
        holds[running[ends % len(running)]] -= 1
    assert set(turns[: jobs * (cap + 1)]) == set(holds), "each has had one before anybody could have had too many"
