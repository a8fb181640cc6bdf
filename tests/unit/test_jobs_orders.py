"""What is said after an order was carried out: the same sentence for command and page."""

from __future__ import annotations

from typing import Any

import pytest

from carryon_core.actions import Action
from carryon_jobs import orders
from carryon_jobs.acting import Already, verdict_on
from carryon_jobs.errors import BadRequest
from carryon_jobs.job import Job
from carryon_jobs.orders import Order

STAGE = {"name": "clip", "generate": {"command": {"args": ["true"]}}}


def job(*, units: dict[str, int], failed: str = "", conditions: tuple[str, ...] = (), **spec: Any) -> Job:
    now = "2026-11-21T18:00:00Z"
    true = {"status": "True", "reason": "Test", "message": "", "lastTransitionTime": now}
    holding = [{"type": kind, **true} for kind in conditions]
    raw = {
        "metadata": {"name": "reel", "namespace": "default", "uid": "u", "generation": 1, "resourceVersion": "1"},
        "spec": {"items": {"count": 15}, "stages": [STAGE], **spec},
        "status": {
            "observedGeneration": 1,
            "units": {"total": 15, **units},
            "stages": [{"name": "clip", "total": 15, "succeeded": "0-8", "failed": failed}],
            "conditions": holding,
        },
    }
    return Job(raw, {}.__getitem__)


def told(job: Job, order: Order) -> str:
    made = order.make(job, verdict_on(job, order.action))
    assert not isinstance(made, Already)
    return order.told(job, made)


@pytest.mark.parametrize(
    ("order", "units", "more", "sentence"),
    [
        (orders.resume(), {"succeeded": 9}, {"suspend": True}, "Resumed: 9 kept, 6 to make"),
        (orders.pause(), {"succeeded": 9, "active": 3}, {}, "Pausing: 3 units at work are saved first"),
        (orders.pause(), {"succeeded": 9, "active": 1}, {}, "Pausing: 1 unit at work is saved first"),
        (orders.pause(), {"succeeded": 9}, {}, "Paused: 9 kept"),
        (orders.restart(), {"succeeded": 9, "active": 2}, {}, "Restarted: 2 units go on from where they were saved"),
        (orders.cancel(), {"succeeded": 9}, {}, "Cancelled: 9 kept, 6 not made"),
        (orders.retry(), {"succeeded": 9, "failed": 2}, {"failed": "9-10"}, "Retrying 2 failed units, 9 kept"),
        (
            orders.retry(["clip/10"]),
            {"succeeded": 9, "failed": 2},
            {"failed": "9-10"},
            "Retrying 1 failed unit, 9 kept",
        ),
        (
            orders.redo("clip/7", {"prompt": "rain"}, 5),
            {"succeeded": 9},
            {"items": {"list": [{"id": str(n), "params": {"prompt": "x"}} for n in range(15)]}},
            'Redoing clip/7 with prompt "rain", seed 5: the one before is kept',
        ),
        (
            orders.approve("clip", everything=True),
            {"succeeded": 9},
            {"stages": [{**STAGE, "approval": "Required"}]},
            "Approved: every item may enter clip",
        ),
        (
            orders.approve("clip", ["3", "4"]),
            {"succeeded": 9},
            {"stages": [{**STAGE, "approval": "Required"}]},
            "Approved: 2 items may enter clip",
        ),
    ],
)
def test_an_order_says_what_it_did(order: Order, units: dict[str, int], more: dict[str, Any], sentence: str) -> None:
    if order.action is Action.REDO:
        more["stages"] = [{"name": "clip", "generate": {"command": {"args": ["{{ item.prompt }}"]}}}]
    assert told(job(units=units, **more), order) == sentence


def test_a_pause_until_a_time_says_until_when() -> None:
    assert told(job(units={"succeeded": 1}), orders.pause("2999-01-01T00:00:00Z")).startswith(
        "Paused until 2999-01-01T00:00:00Z"
    )


def test_a_time_that_has_passed_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(BadRequest, match="lies in the past"):
        orders.pause("2001-01-01T00:00:00Z")


def test_a_unit_made_anew_without_wishes_gets_a_new_seed() -> None:
    seeds = {told_of(orders.redo("clip/1")) for _ in range(5)}
    assert len(seeds) == 5


def told_of(order: Order) -> str:
    return order.told(job(units={"succeeded": 1}), {})


@pytest.mark.parametrize(
    ("deletes", "sentence"),
    [("Delete", "Deleting reel and its artifacts"), ("Retain", "Deleting reel: its artifacts are kept")],
)
def test_who_deletes_a_job_hears_what_becomes_of_its_artifacts(deletes: str, sentence: str) -> None:
    made = job(units={}, output={"uri": "s3://b/p", "onDelete": deletes})
    assert orders.deleted(made.view) == sentence


def test_the_echo_is_what_status_will_say_once_it_is_handled() -> None:
    resumed = orders.resume().make(job(units={}, suspend=True), verdict_on(job(units={}, suspend=True), Action.RESUME))
    assert isinstance(resumed, dict)
    assert orders.echo(resumed) == resumed["metadata"]["annotations"]["carryon.dev/resume-requested-at"]
    assert orders.echo({"spec": {"cancel": True}}) is None
