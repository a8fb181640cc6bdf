"""What the end of a pod means for its units."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_operator.plan.model import PodRecord
from carryon_operator.plan.verdicts import UnitFailure, Verdict, judge


def pod(
    code: int | None, *, message: str = "", disrupted: bool = False, deleting: bool = False, reason: str = ""
) -> PodRecord:
    return PodRecord(
        namespace="default",
        name="reel-0123456789-1",
        uid="u1",
        job_uid="j1",
        stage="clip",
        units=("a", "b", "c"),
        fingerprints=("1" * 64, "2" * 64, "3" * 64),
        attempt=1,
        phase="Succeeded" if code == 0 else "Failed",
        created=0.0,
        gone_by=5.0 if deleting else None,
        disruption="EvictionByEvictionAPI" if disrupted else "",
        started=0.0,
        exit_code=code,
        reason=reason,
        message=message,
    )


def said(reason: str, *units: tuple[int, str, str], permanent: bool = False) -> str:
    return json.dumps(
        {
            "reason": reason,
            "message": "of the pod",
            "units": [
                {"index": index, "outcome": outcome, "reason": why, "message": f"unit {index}", "permanent": permanent}
                for index, outcome, why in units
            ],
        }
    )


def reasons(verdict: Verdict) -> list[tuple[str, str, bool]]:
    return [(failure.item, failure.reason, failure.permanent) for failure in verdict.failures]


def test_a_pod_whose_units_are_all_done_has_no_verdict_whatever_it_says() -> None:
    assert judge(pod(137), {"a", "b", "c"}) == Verdict()


def test_a_worker_that_says_done_is_not_believed_against_the_bucket() -> None:
    assert reasons(judge(pod(0), {"a", "c"})) == [("b", "ArtifactsMissing", False)]


@pytest.mark.parametrize("code", [11, 137, 143, 1, None])
@pytest.mark.parametrize("how", ["disrupted", "deleting"])
def test_what_the_cluster_did_costs_no_attempt(code: int | None, how: str) -> None:
    ended = pod(code, disrupted=how == "disrupted", deleting=how == "deleting")
    assert judge(ended, {"a"}) == Verdict(disruption="Deleted" if how == "deleting" else "EvictionByEvictionAPI")


@pytest.mark.parametrize("code", [10, 12, 13, 14, 15])
def test_what_the_worker_says_went_wrong_stands_also_in_an_eviction(code: int) -> None:
    verdict = judge(pod(code, disrupted=True), set())
    assert verdict.failures
    assert not verdict.disruption


def test_some_failed_charges_each_unit_with_its_own_reason() -> None:
    message = said("SomeFailed", (1, "failed", "ExitCode"))
    verdict = judge(pod(10, message=message), {"a", "c"})
    assert verdict.failures == (UnitFailure("b", "ExitCode", "unit 1"),)


def test_a_unit_without_a_report_is_charged_too_for_else_it_would_be_tried_for_ever() -> None:
    assert reasons(judge(pod(10, message=said("SomeFailed", (0, "failed", "ExitCode"))), {"c"})) == [
        ("a", "ExitCode", False),
        ("b", "SomeFailed", False),
    ]


def test_a_wrong_request_is_permanent_also_without_reports() -> None:
    assert reasons(judge(pod(12), set())) == [(item, "BadRequest", True) for item in "abc"]
    message = said("BadRequest", (0, "failed", "UnknownParameter"))
    assert [failure.permanent for failure in judge(pod(12, message=message), set()).failures] == [True] * 3


@pytest.mark.parametrize(
    ("code", "reason"),
    [(11, "Interrupted"), (13, "OutOfMemory"), (14, "Stalled"), (15, "UnitTimeout"), (1, "Crash"), (139, "Crash")],
)
def test_a_worker_that_ends_in_the_middle_charges_the_first_missing_unit_only(code: int, reason: str) -> None:
    assert reasons(judge(pod(code), {"a"})) == [("b", reason, False)]


def test_the_unit_that_the_worker_names_is_charged_before_the_first() -> None:
    message = said("Stalled", (0, "notStarted", ""), (2, "failed", "Stalled"))
    assert reasons(judge(pod(14, message=message), set())) == [("c", "Stalled", False)]


def test_oom_killed_reads_as_out_of_memory() -> None:
    assert reasons(judge(pod(137, reason="OOMKilled"), set())) == [("a", "OutOfMemory", False)]


def test_a_crash_says_by_which_signal() -> None:
    (failure,) = judge(pod(139, message="Segmentation fault"), set()).failures
    assert failure.message == "the worker was killed by signal 11: Segmentation fault"


@pytest.mark.parametrize(
    "message",
    ["", "no JSON", "[]", "{}", '{"reason": 3}', "\x00", '{"reason":"X","units":[{"index":99,"outcome":"failed"}]}'],
)
def test_a_termination_message_that_is_not_ours_is_no_report(message: str) -> None:
    assert [failure.item for failure in judge(pod(1, message=message), set()).failures] == ["a"]


def test_a_unit_that_failed_earlier_in_the_same_pod_is_charged_besides_the_one_that_ended_it() -> None:
    message = said("Stalled", (0, "failed", "ExitCode"), (2, "failed", "Stalled"))
    verdict = judge(pod(14, message=message), {"b"})
    assert reasons(verdict) == [("a", "ExitCode", False), ("c", "Stalled", False)]
    assert [failure.stuck for failure in verdict.failures] == [False, True]


ends = st.builds(
    lambda code, reason, disruption, deleting, began, message: replace(
        pod(code, message=message, reason=reason, deleting=deleting),
        disruption=disruption,
        started=0.0 if began else None,
    ),
    st.none() | st.sampled_from([0, 1, 10, 11, 12, 13, 14, 15, 128, 137, 139, 143, 255]),
    st.sampled_from(
        ["", "Error", "Completed", "OOMKilled", "Evicted", "DeadlineExceeded", "Unresponsive", "OutOfcpu", "Unknown"]
    ),
    st.sampled_from(["", "EvictionByEvictionAPI", "WorkloadEvicted"]),
    st.booleans(),
    st.booleans(),
    st.just("")
    | st.text(max_size=20)
    | st.lists(
        st.tuples(
            st.integers(-1, 4),
            st.sampled_from(["done", "failed", "interrupted", "notStarted"]),
            st.sampled_from(["", "ExitCode", "Stalled", "Interrupted"]),
        ),
        max_size=4,
    ).map(lambda units: said("Stalled", *units)),
)
"""Whatever pods and workers may show."""


@given(ended=ends, done=st.sets(st.sampled_from("abc")))
def test_each_end_charges_or_excuses_but_never_both_for_one_unit_and_never_what_is_done(
    ended: PodRecord, done: set[str]
) -> None:
    verdict = judge(ended, done)
    charged = [failure.item for failure in verdict.failures]
    assert len(charged) == len(set(charged))
    assert not done & set(charged)
    assert set(charged) <= set(ended.units)
    assert all(failure.reason for failure in verdict.failures)
    if done == {"a", "b", "c"}:
        assert verdict == Verdict()
    else:
        assert bool(charged) or verdict.disruption, "an end that costs nothing and says nothing would go on for ever"
    if ended.disruption and ended.exit_code not in (10, 12, 13, 14, 15) and ended.reason != "OOMKilled":
        assert verdict.disruption == ended.disruption or not set("abc") - done
