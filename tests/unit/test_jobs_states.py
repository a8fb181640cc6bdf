"""How units stand, from status alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_core.ranges import IndexSet
from carryon_core.spec import JobSpec
from carryon_core.status import JobStatus
from carryon_jobs.states import Known, StageSets, UnitState, failure_reasons, page, stage_sets

COMMAND = {"command": {"args": ["true"]}}
IMAGE = {"name": "image", "generate": COMMAND}
CLIP = {"name": "clip", "after": ["image"], "generate": COMMAND}
REEL = {"name": "reel", "each": "job", "after": ["clip"], "generate": COMMAND}
TITLE = {"name": "title", "after": ["reel"], "generate": COMMAND}
ASKS = {"approval": "Required"}


def sets(
    *stages: dict[str, Any],
    items: int = 5,
    approved: dict[str, list[str]] | None = None,
    active: dict[str, list[str]] | None = None,
    chained: frozenset[int] = frozenset(),
    **told: dict[str, Any],
) -> dict[str, StageSets]:
    spec = JobSpec.model_validate({"items": {"count": items}, "stages": list(stages), "approved": approved or {}})
    status = JobStatus.model_validate({"stages": [{"name": name, **fields} for name, fields in told.items()]})
    ids = [str(number) for number in range(items)]
    known = Known(ids, {item: index for index, item in enumerate(ids)}, active or {}, chained)
    return {each.name: each for each in stage_sets(spec, status, known)}


def test_a_unit_waits_for_the_one_upstream_of_its_own_item_only() -> None:
    found = sets(IMAGE, CLIP, image={"succeeded": "0-2"}, clip={"succeeded": "0"})["clip"]
    assert (str(found.done), str(found.waiting), str(found.upstream)) == ("0", "1-4", "3-4")


def test_a_stage_that_gathers_waits_until_all_before_it_are_done_or_failed() -> None:
    assert sets(IMAGE, CLIP, REEL, clip={"succeeded": "0-3"})["reel"].upstream
    ended = sets(IMAGE, CLIP, REEL, clip={"succeeded": "0-3", "failed": "4"})["reel"]
    assert (ended.total, str(ended.waiting), ended.upstream) == (1, "0", IndexSet())


def test_what_comes_after_a_stage_that_gathers_waits_for_its_one_unit() -> None:
    stages = (IMAGE, CLIP, REEL, TITLE)
    assert str(sets(*stages)["title"].upstream) == "0-4"
    assert str(sets(*stages, reel={"succeeded": "0"})["title"].upstream) == ""


@pytest.mark.parametrize(
    ("approved", "unapproved"),
    [({}, "0-1"), ({"clip": ["1"]}, "0"), ({"clip": ["*"]}, ""), ({"clip": ["gone"]}, "0-1")],
)
def test_a_unit_waits_for_approval_once_it_has_all_else(approved: dict[str, list[str]], unapproved: str) -> None:
    found = sets(IMAGE, {**CLIP, **ASKS}, approved=approved, image={"succeeded": "0-1"})["clip"]
    assert str(found.unapproved) == unapproved
    assert not found.unapproved & found.waiting


def test_a_chained_unit_also_waits_for_the_one_before_it() -> None:
    found = sets({**IMAGE, **ASKS}, image={"succeeded": "0-1"}, chained=frozenset({0}))["image"]
    assert (str(found.unapproved), str(found.upstream)) == ("2", "3-4")


def test_units_of_pods_are_active_as_soon_as_the_pods_are_seen_and_no_longer_than_they_are_undone() -> None:
    pod = {"pod": "p", "uid": "u", "units": "0-1", "attempt": 1, "since": "2026-11-21T18:00:00Z"}
    found = sets(IMAGE, image={"succeeded": "0", "active": [pod]}, active={"image": ["3", "gone"]})["image"]
    assert (str(found.active), found.state(0), found.state(3)) == ("1,3", UnitState.DONE, UnitState.ACTIVE)


def test_a_status_older_than_the_spec_names_no_units_that_are_gone() -> None:
    found = sets(IMAGE, items=3, image={"succeeded": "0-9", "failed": "8"})["image"]
    assert (str(found.done), str(found.failed), found.total) == ("0-2", "", 3)


@given(st.data())
def test_every_unit_is_in_exactly_one_set_and_in_the_state_of_its_set(data: st.DataObject) -> None:
    def some() -> str:
        return str(IndexSet(data.draw(st.sets(st.integers(0, 7), max_size=8))))

    told = {name: {"succeeded": some(), "skipped": some(), "failed": some()} for name in ("image", "clip")}
    active = {"clip": [str(each) for each in data.draw(st.sets(st.integers(0, 5)))]}
    for found in sets(IMAGE, {**CLIP, **ASKS}, items=6, active=active, **told).values():
        parts = (found.done, found.failed, found.active, found.waiting, found.unapproved)
        assert sum(map(len, parts)) == found.total
        for state in UnitState:
            if state is not UnitState.FILTERED:
                assert all(found.state(index) is state for index in found.of(state))


@given(st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=3), st.integers(0, 40), st.integers(1, 10))
def test_pages_together_are_all_units_in_order(done: list[set[int]], offset: int, limit: int) -> None:
    stages = [StageSets(f"s{n}", n, 31, done=IndexSet(each)) for n, each in enumerate(done)]
    everything = [(stage.name, index) for stage in stages for index in stage.of(UnitState.DONE)]
    shown = [(stage.name, index) for stage, index in page(stages, UnitState.DONE, offset, limit)]
    assert shown == everything[offset : offset + limit]


def test_the_newest_reason_of_a_unit_is_told() -> None:
    failures = [
        {"stage": "clip", "unit": "a", "reason": reason, "message": "m", "attempt": 1, "time": "2026-11-21T18:00:00Z"}
        for reason in ("Newest", "Oldest")
    ]
    status = JobStatus.model_validate({"recentFailures": failures})
    assert failure_reasons(status) == {("clip", "a"): "Newest: m"}
