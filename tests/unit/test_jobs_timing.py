"""When a job will be through, from what its units have measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_core.ranges import IndexSet
from carryon_jobs.timing import Eta, StageLoad, estimate, spread


def stage(
    name: str, missing: int, mean: float | None, *after: str, gathers: bool = False, working: tuple[float, ...] = ()
) -> StageLoad:
    return StageLoad(name, after, gathers, missing, mean, working)


@pytest.mark.parametrize(
    ("stages", "slots", "seconds"),
    [
        # Nothing is left.
        ([stage("clip", 0, 10.0)], 3, 0.0),
        # One after the other, and side by side.
        ([stage("clip", 6, 10.0)], 1, 60.0),
        ([stage("clip", 6, 10.0)], 3, 20.0),
        # More slots than units help no more.
        ([stage("clip", 2, 10.0)], 8, 10.0),
        # What units at work have behind them is not done again; but nobody is done before the start.
        ([stage("clip", 3, 10.0, working=(4.0, 2.0))], 1, 24.0),
        ([stage("clip", 1, 10.0, working=(25.0,))], 1, 0.0),
        # Stages share the slots.
        ([stage("image", 4, 5.0), stage("clip", 4, 10.0, "image")], 1, 60.0),
        # The last clip starts after its image, however many slots there are.
        ([stage("image", 4, 5.0), stage("clip", 4, 10.0, "image")], 100, 15.0),
        # What gathers comes after everything.
        ([stage("clip", 4, 10.0), stage("reel", 1, 7.0, "clip", gathers=True)], 2, 27.0),
        # A stage that is through costs nothing more.
        ([stage("image", 0, 5.0), stage("clip", 4, 10.0, "image")], 4, 10.0),
        # Of two ways through, the longer one counts.
        (
            [stage("a", 1, 5.0), stage("b", 1, 50.0), stage("c", 1, 2.0, "a", "b", gathers=True)],
            10,
            52.0,
        ),
    ],
)
def test_the_estimate_follows_from_times_slots_and_order(stages: list[StageLoad], slots: int, seconds: float) -> None:
    assert estimate(stages, slots) == Eta(pytest.approx(seconds))


def test_nobody_guesses_about_a_stage_that_was_never_timed() -> None:
    found = estimate([stage("image", 2, 5.0), stage("clip", 4, None, "image")], 2)
    assert found == Eta(None, 'no unit of stage "clip" is done yet, so nobody knows how long one takes')


def test_one_unit_that_gathers_does_not_hide_what_is_known() -> None:
    found = estimate([stage("clip", 4, 10.0), stage("reel", 1, None, "clip", gathers=True)], 2)
    assert found == Eta(20.0, 'without stage "reel", which nobody has timed yet')
    assert estimate([stage("clip", 0, 10.0), stage("reel", 1, None, "clip", gathers=True)], 2).seconds is None


def test_where_nothing_can_start_there_is_no_estimate() -> None:
    assert estimate([stage("clip", 4, 10.0)], 0) == Eta(None, "no unit can start now")


LOADS = st.lists(
    st.tuples(st.integers(0, 50), st.floats(0.1, 1000), st.lists(st.floats(0, 2000), max_size=5)),
    min_size=1,
    max_size=6,
)


@given(LOADS, st.integers(1, 20))
def test_more_slots_never_take_longer_and_no_bound_is_broken(
    loads: list[tuple[int, float, list[float]]], slots: int
) -> None:
    names = [f"s{index}" for index in range(len(loads))]
    stages = [
        stage(name, missing, mean, *names[:index][-1:], working=tuple(working))
        for index, (name, (missing, mean, working)) in enumerate(zip(names, loads, strict=True))
    ]
    few, many = estimate(stages, slots).seconds, estimate(stages, slots + 1).seconds
    assert few is not None
    assert many is not None
    assert 0.0 <= many <= few + 1e-6
    assert few + 1e-6 >= sum(each.left for each in stages) / slots


@given(st.sets(st.integers(0, 500)), st.integers(2, 20))
def test_samples_are_spread_from_the_first_to_the_last(indexes: set[int], most: int) -> None:
    found = spread(IndexSet(indexes), most)
    assert set(found) <= indexes
    assert len(found) == len(set(found)) == min(most, len(indexes))
    if indexes:
        assert (found[0], found[-1]) == (min(indexes), max(indexes))
