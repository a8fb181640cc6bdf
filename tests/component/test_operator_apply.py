"""What plans come to outside of the pods they make: logs, pruning, the end of a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carryon_core import layout
from carryon_core.attempts import AttemptRecord
from carryon_core.messages import ExitCode
from carryon_kube.errors import Conflict
from fake_apiserver import Fault, eventually
from reconciling import KEY, World, world


def kept_logs(folder: Path) -> dict[str, str]:
    """Item -> what is kept of the log of an attempt at it."""
    found = (folder / "default" / "reel" / "clip").glob("*/*/attempts/*.log")
    return {path.parts[-4]: path.read_text() for path in found}


async def test_the_tail_of_a_failed_attempts_log_is_in_the_bucket_before_its_pod_is_counted(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(retry={"perUnit": 2})
        await w.reconcile()
        await w.seen(*w.end("1", log="".join(f"line {number}\n" for number in range(300))))
        w.server.faults.append(Fault(409, "PATCH", path="generationjobs"))
        with pytest.raises(Conflict):
            await w.reconcile()
        (tail,) = kept_logs(tmp_path / "out").values()
        assert tail.splitlines() == [f"line {number}" for number in range(100, 300)]
        assert w.status["recorded"] == []
        await w.reconcile()
        assert w.status["counters"]["failures"] == 1


async def test_a_log_is_kept_with_the_first_unit_of_its_pod_that_is_not_done(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(unitsPerPod=3, retry={"perUnit": 2})
        await w.reconcile()
        await w.seen(*w.end(log="no memory left\n"))
        await w.reconcile()
        assert kept_logs(tmp_path / "out") == {"0": "no memory left\n"}


async def test_why_an_attempt_failed_is_kept_beside_its_log(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(retry={"perUnit": 2})
        await w.reconcile()
        await w.seen(*w.end("1", code=14, log="waiting\n"))
        await w.reconcile()
        (path,) = (tmp_path / "out").glob("default/reel/clip/1/*/attempts/*.json")
        account = AttemptRecord.model_validate_json(path.read_text())
        assert (account.item, account.attempt, account.exit_code) == ("1", 1, 14)
        assert (account.reason, account.pod_uid) == ("Stalled", path.stem)
        assert path.with_suffix(".log").read_text() == "waiting\n"


@pytest.mark.parametrize("answer", [404, 400, 500])
async def test_a_log_that_nobody_has_holds_nothing_up(
    tmp_path: Path, answer: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(tmp_path / "out") as w:
        w.write()
        await w.reconcile()
        await w.seen(*w.end(log="lost"))
        w.server.faults += [Fault(answer, path="/log", message="no such log")] * 12
        await w.reconcile()
        assert w.status["counters"]["failures"] == 3
        assert kept_logs(tmp_path / "out") == {}
        assert "log not kept: no such log" in caplog.text


async def test_a_disrupted_pod_leaves_no_log(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write()
        await w.reconcile()
        drained = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        await w.seen(*w.end(code=137, log="stopping", conditions=[drained]))
        await w.reconcile()
        assert w.status["counters"]["disruptions"] == 3
        assert kept_logs(tmp_path / "out") == {}


async def test_pods_that_come_and_go_between_two_looks_are_counted_all_the_same(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(retry={"perUnit": 2})
        await w.reconcile()
        await w.seen(*w.end("1", code=ExitCode.SOME_FAILED))
        for pod in w.ours():
            w.server.remove("pods", pod["metadata"]["name"])
        await eventually(lambda: not len(w.pods))
        await w.reconcile()
        counters = w.status["counters"]
        assert (counters["disruptions"], counters["failures"]) == (2, 1)
        await w.reconcile()
        assert w.status["counters"] == counters, "once"


async def cancelled(w: World, **fields: Any) -> None:
    w.write(cancel=True, **fields)
    for _ in range(3):
        await w.reconcile()
    assert w.claim("Finished")[0] == "True"


async def test_pods_of_a_cancelled_job_are_not_waited_for(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write()
        await w.reconcile()
        await cancelled(w)
        deletes = [each.body for each in w.server.requests("DELETE")]
        assert [each["gracePeriodSeconds"] for each in deletes] == [1, 1, 1]


async def test_a_job_is_deleted_when_its_time_after_the_end_is_over(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        await cancelled(w, ttlSecondsAfterFinished=60)
        await w.reconcile()
        assert f"generationjobs/{KEY}" in w.server.objects
        w.now += 60
        await w.reconcile()
        assert f"generationjobs/{KEY}" not in w.server.objects
        (asked,) = [each for each in w.server.requests("DELETE") if "generationjobs" in each.path]
        assert asked.body["propagationPolicy"] == "Background"


async def test_a_job_that_was_edited_is_not_deleted_because_it_had_ended(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        await cancelled(w, ttlSecondsAfterFinished=60)
        w.now += 60
        job = w.server.objects[f"generationjobs/{KEY}"]
        edited = {**job, "spec": {**job["spec"], "cancel": False}, "metadata": {"generation": 3}}
        w.server.put("generationjobs", "reel", **edited)
        with pytest.raises(Conflict):
            await w.reconcile()
        assert f"generationjobs/{KEY}" in w.server.objects


async def test_outdated_artifacts_go_when_the_job_has_ended(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(items={"count": 1}, output={"uri": (tmp_path / "out").as_uri(), "keepOutdated": 0})
        await w.reconcile()
        unit = tmp_path / "out" / layout.stage_prefix("default", "reel", "clip") / "0"
        outdated = unit / ("0" * 16) / layout.DONE
        other = unit.parent / "another" / ("0" * 16) / layout.DONE
        for each in (outdated, other):
            each.parent.mkdir(parents=True)
            each.write_text("{}")
        await cancelled(w)
        assert not outdated.exists()
        assert other.exists(), "items that the job no longer has keep what they made"
