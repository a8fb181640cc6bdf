"""Which changes of pods have their job looked at now, and which may wait until status is written anyway."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from carryon_operator.apply import WRITE_INTERVAL
from carryon_operator.jobs import JobCache
from carryon_operator.kube.expectations import Expectations
from carryon_operator.plan.model import PodRecord
from carryon_operator.plan.shares import Caps
from carryon_operator.replica import pod_changed
from carryon_operator.slots import Slots

PENDING = PodRecord("default", "p", "uid-p", "uid-job", "clip", ("0",), ("f",), 1, "Pending", 0.0)
RUNNING = replace(PENDING, phase="Running", started=1.0)
ENDED = replace(RUNNING, phase="Succeeded", exit_code=0)


@pytest.mark.parametrize(
    ("what", "old", "new", "delay"),
    [
        ("it is there", None, PENDING, WRITE_INTERVAL),
        ("it runs", PENDING, RUNNING, WRITE_INTERVAL),
        ("it is being deleted", RUNNING, replace(RUNNING, gone_by=9.0), WRITE_INTERVAL),
        ("it ended: its slot is free", RUNNING, ENDED, 0.0),
        ("it vanished: likewise", RUNNING, None, 0.0),
        ("it had ended and is gone", ENDED, None, WRITE_INTERVAL),
    ],
)
async def test_a_job_is_looked_at_at_once_when_a_slot_is_free(
    what: str, old: PodRecord | None, new: PodRecord | None, delay: float
) -> None:
    jobs = JobCache()
    metadata: dict[str, Any] = {"namespace": "default", "name": "reel", "uid": "uid-job", "resourceVersion": "1"}
    jobs.observe({"metadata": metadata})
    expectations = Expectations(lambda: 0.0)
    rung: list[tuple[str, float]] = []
    slots = Slots(Caps(), (), expectations, ring=lambda key: None, clock=lambda: 0.0)
    gone: list[tuple[str, PodRecord]] = []
    pod_changed(
        *(jobs, expectations, lambda key, after: rung.append((key, after)), slots),
        *(lambda key, pod: gone.append((key, pod)), old, new),
    )
    assert rung == [("default/reel", delay)], what
    assert gone == ([("default/reel", old)] if new is None else []), what
