"""Disruption budgets as decisions: whom they select, what they allow, how long an eviction is remembered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from carryon_standalone.apiserver import budgets
from carryon_standalone.apiserver.errors import ApiError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def pod(name: str, *, ready: bool = True, owner: str = "", **metadata: Any) -> dict[str, Any]:
    owners = [{"apiVersion": "carryon.dev/v1alpha1", "kind": owner, "controller": True}] if owner else []
    return {
        "metadata": {"name": name, "ownerReferences": owners, **metadata},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def budget(spec: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "b", "generation": 1}, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "x"}}, True),
        ({"matchLabels": {"app": "y"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "y"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["x"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
    ],
)
def test_whom_a_budget_selects(selector: Any, selected: bool) -> None:
    assert budgets.selects(selector, {"app": "x"}) is selected


@pytest.mark.parametrize(
    ("spec", "pods", "expected", "healthy", "desired", "left"),
    [
        ({"minAvailable": 1}, [pod("a"), pod("b"), pod("c", ready=False)], 3, 2, 1, 1),
        ({"minAvailable": 2}, [pod("a")], 1, 1, 2, 0),
        ({"minAvailable": 0}, [], 0, 0, 0, 0),
        ({"minAvailable": 1}, [pod("a"), pod("b", deletionTimestamp="2026-01-02T03:04:00Z")], 2, 1, 1, 0),
        # A share of what no controller tells: as on a cluster nothing is allowed.
        ({"maxUnavailable": 1}, [pod("a"), pod("b")], 0, 2, 0, 0),
        ({"minAvailable": "50%"}, [pod("a"), pod("b")], 0, 2, 0, 0),
        ({}, [pod("a")], 0, 1, 0, 0),
    ],
)
def test_what_a_budget_allows(
    spec: dict[str, Any], pods: list[dict[str, Any]], expected: int, healthy: int, desired: int, left: int
) -> None:
    status = budgets.status_of(budget(spec), pods, NOW)
    found = [status[key] for key in ("expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed")]
    assert found == [expected, healthy, desired, left]
    assert status["conditions"][0]["reason"] == ("SufficientPods" if left else "InsufficientPods")


def test_a_share_of_pods_whose_controller_has_no_scale_is_told() -> None:
    guarded = budget({"maxUnavailable": 1}, disruptionsAllowed=3, observedGeneration=1)
    guarded["status"] = budgets.status_of(guarded, [pod("a", owner="GenerationJob")], NOW)
    assert guarded["status"]["disruptionsAllowed"] == 0
    with pytest.raises(ApiError) as refused:
        budgets.take(pod("a"), [guarded], NOW)
    assert refused.value.details is not None
    assert "failed sync: generationjobs.carryon.dev does not implement the scale subresource" in str(
        refused.value.details
    )


def test_an_evicted_pod_counts_as_gone_until_its_deletion_is_seen_or_two_minutes_have_passed() -> None:
    guarded = budget({"minAvailable": 1})
    guarded["status"] = budgets.status_of(guarded, [pod("a"), pod("b")], NOW)
    taken = budgets.take(pod("a"), [guarded], NOW)
    assert taken is not None
    soon = budgets.status_of(taken, [pod("a"), pod("b")], NOW + timedelta(seconds=119))
    assert (soon["currentHealthy"], soon["disruptionsAllowed"], list(soon["disruptedPods"])) == (1, 0, ["a"])
    later = budgets.status_of(taken, [pod("a"), pod("b")], NOW + timedelta(seconds=121))
    assert (later["currentHealthy"], later["disruptionsAllowed"], "disruptedPods" in later) == (2, 1, False)


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    guarded = budget({"minAvailable": 1})
    guarded["status"] = budgets.status_of(guarded, [pod("a"), pod("b")], NOW)
    again = budgets.status_of(guarded, [pod("a"), pod("b")], NOW + timedelta(hours=1))
    assert again == guarded["status"]


def test_a_budget_that_nobody_has_looked_at_yet_allows_nothing() -> None:
    with pytest.raises(ApiError) as refused:
        budgets.take(pod("a"), [budget({"minAvailable": 0})], NOW)
    assert (refused.value.code, refused.value.headers) == (429, {"Retry-After": "10"})
