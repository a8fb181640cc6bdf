"""A job in one line: made once for a version of the job, and anew where time alone changes what it says."""

from __future__ import annotations

from typing import Any

import orjson

from carryon_api.records import JobRecord
from carryon_api.summaries import Summaries, summary
from carryon_core.durations import moment

UNTIL = "2026-12-01T06:00:00Z"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(version: str = "1", status: dict[str, Any] | None = None, **spec: Any) -> JobRecord:
    stages = [{"name": "clip", "generate": {"command": {"args": ["true"]}}}]
    return JobRecord.of(
        {
            "metadata": {
                "name": "reel",
                "namespace": "default",
                "uid": "u",
                "generation": 1,
                "resourceVersion": version,
                "managedFields": [{"manager": "x"}],
            },
            "spec": {"items": {"count": 3}, "stages": stages, **spec},
            "status": {"observedGeneration": 1, **(status or {})},
        }
    )


def test_a_summary_is_made_once_for_each_version_of_its_job() -> None:
    kept = Summaries(Clock())
    first = kept.of(record())
    assert kept.of(record()) is first
    assert kept.of(record("2")) is not first
    kept.forget("u")
    assert kept.of(record("2")).resource_version == "2"


def test_the_same_goes_over_the_wire() -> None:
    kept = Summaries(Clock())
    assert orjson.loads(kept.json_of(record())) == kept.of(record()).model_dump(by_alias=True)


def test_when_a_time_to_carry_on_has_come_the_summary_says_so_though_nothing_was_written() -> None:
    clock = Clock()
    until = moment(UNTIL)
    assert until is not None
    clock.now = until - 1
    asleep = record(suspendUntil=UNTIL, status={"units": {"total": 3, "succeeded": 1}})
    kept = Summaries(clock)
    assert kept.of(asleep).actions["resume"].possible
    clock.now = until + 1
    assert not kept.of(asleep).actions["resume"].possible


def test_a_job_of_a_newer_carryon_is_shown_and_can_only_be_deleted() -> None:
    newer = record(status={"phase": "Running", "stages": [{"name": "clip", "total": "three"}]})
    actions = summary(record(items={"count": "many"}), 0.0).actions
    assert [name for name, state in actions.items() if state.possible] == ["delete"]
    assert "what this version of Carryon does not know (items.count)" in actions["resume"].reason
    assert newer.raw["metadata"].get("managedFields") is None


def test_a_job_that_nobody_has_looked_at_yet_is_pending() -> None:
    found = summary(record(), 0.0)
    assert (found.phase, found.progress, found.units.total) == ("Pending", "", 0)
    assert found.stages[0].name == "clip"
