"""Which jobs a list shows, in which order, page by page."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_api.listing import Filter, page, parse_selector, selects
from carryon_api.problems import Problem
from carryon_api.records import JobRecord


def record(name: str, created: str = "2026-11-21T18:00:00Z", *, ended: bool = False, **more: Any) -> JobRecord:
    finished = [{"type": "Finished", "status": "True" if ended else "False"}]
    return JobRecord.of(
        {
            "metadata": {
                "name": name,
                "namespace": more.get("namespace", "default"),
                "uid": name,
                "resourceVersion": "1",
                "creationTimestamp": created,
                "labels": more.get("labels", {}),
                "managedFields": [{}],
            },
            "status": {
                "phase": more.get("phase", "Running"),
                "message": more.get("message", ""),
                "conditions": finished,
            },
        }
    )


def wanted(**given: Any) -> Filter:
    return Filter.of(**{"phase": None, "label_selector": "", "search": "", "active": None, **given})


def names(jobs: list[JobRecord], **given: Any) -> list[str]:
    return [job.name for job in page(jobs, wanted(**given), 100, None).items]


JOBS = [
    record("old", "2026-11-01T00:00:00Z", labels={"team": "art"}),
    record("done-late", "2026-11-20T00:00:00Z", ended=True, phase="Succeeded"),
    record("young", "2026-11-21T00:00:00Z", message="9 of 15 clips done", labels={"team": "art", "low": ""}),
    record("done-early", "2026-11-02T00:00:00Z", ended=True, phase="Failed", labels={"team": "film"}),
]


def test_jobs_at_work_come_first_and_then_the_most_recent() -> None:
    assert names(JOBS) == ["young", "old", "done-late", "done-early"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"active": True}, ["young", "old"]),
        ({"active": False}, ["done-late", "done-early"]),
        ({"phase": ["Succeeded"]}, ["done-late"]),
        ({"phase": ["Succeeded,Failed"]}, ["done-late", "done-early"]),
        ({"search": "DONE-L"}, ["done-late"]),
        ({"search": "15 clips"}, ["young"]),
        ({"label_selector": "team=art"}, ["young", "old"]),
        ({"label_selector": "team=art,!low"}, ["old"]),
        ({"label_selector": "team in (art, film),low"}, ["young"]),
        ({"label_selector": "team!=art"}, ["done-late", "done-early"]),
        ({"label_selector": "team notin (art)"}, ["done-late", "done-early"]),
        ({"label_selector": "low="}, ["young"]),
    ],
)
def test_a_filter_takes_what_fits(given: dict[str, Any], found: list[str]) -> None:
    assert names(JOBS, **given) == found


@pytest.mark.parametrize("text", ["a=b=c", "in (x)", "team in x", "=x", "a b", "team>3", ",", "te am=x", "team in ()x"])
def test_a_selector_that_can_not_be_read_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="labelSelector"):
        parse_selector(text)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.sampled_from(["a", "b"])), max_size=30),
    st.integers(1, 7),
)
def test_pages_together_are_the_whole_list_once(jobs: list[tuple[int, bool, str]], limit: int) -> None:
    made = [
        record(f"job-{index}", f"2026-11-2{day}T00:00:00Z", ended=ended, namespace=namespace)
        for index, (day, ended, namespace) in enumerate(jobs)
    ]
    seen: list[str] = []
    at: str | None = None
    while True:
        found = page(made, wanted(), limit, at)
        assert found.total == len(made)
        seen += [job.name for job in found.items]
        at = found.continue_
        if at is None:
            break
        assert len(found.items) == limit
    assert seen == names(made)


def test_a_job_that_comes_or_goes_between_pages_shifts_nothing() -> None:
    first = page(JOBS, wanted(), 2, None)
    changed = [record("brand-new", "2026-11-30T00:00:00Z"), *[job for job in JOBS if job.name != "young"]]
    rest = page(changed, wanted(), 10, first.continue_)
    assert [job.name for job in rest.items] == ["done-late", "done-early"]


@pytest.mark.parametrize("text", ["x", "AAAA", "é", "MQ==", "eA=="])
def test_a_continuation_that_no_list_gave_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="begin without it"):
        page(JOBS, wanted(), 2, text)


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"])))
def test_a_requirement_and_its_opposite_part_all_labels(labels: dict[str, str]) -> None:
    for one, other in (("a=x", "a!=x"), ("a", "!a"), ("a in (x,y)", "a notin (x,y)")):
        assert selects(parse_selector(one), labels) != selects(parse_selector(other), labels)


@pytest.mark.parametrize("between", [" ,", ", ", " , ", ",", " "])
def test_a_selector_that_can_not_be_read_is_refused_at_once_however_long_it_is(between: str) -> None:
    """Everything else waits for it: no part of it may be tried in two ways."""
    began = time.process_time()
    with pytest.raises(Problem, match="can't be read"):
        parse_selector(f"env in ({(between * 1000)[:2000]} !)")
    assert time.process_time() - began < 2.0
