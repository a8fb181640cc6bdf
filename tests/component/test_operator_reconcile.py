"""The real reconciler against an API server that misbehaves, with its artifacts in a folder."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from carryon_core import names
from carryon_core.messages import StoreConfig
from carryon_kube.errors import ApiError, Forbidden, Unavailable
from carryon_operator.looks import Busy, Looks
from fake_apiserver import Fault, eventually
from reconciling import ENDED, KEY, world


async def test_a_refused_pod_is_told_and_tried_again_until_the_quota_allows_it(tmp_path: Path) -> None:
    quota = Fault(403, "POST", message='pods "reel-x-1" is forbidden: exceeded quota: gpus', path="/pods")
    async with world(tmp_path / "out") as w:
        w.write()
        w.server.faults.append(quota)
        first = await w.reconcile()
        assert first is not None
        assert first <= 1
        assert w.status["units"]["remaining"] == 3, "a refusal must not hide the job"
        assert w.ours() == []

        w.server.faults.append(quota)
        second = await w.reconcile()
        assert second is not None
        assert second <= 2
        status, reason, message = w.claim("Stalled")
        assert (status, reason) == ("True", "QuotaExceeded")
        assert 'stage "clip": exceeded quota: gpus; wait until other pods of the namespace end' in message
        await eventually(lambda: w.events() == ["QuotaExceeded"])

        await w.reconcile()
        assert w.units() == ["0", "1", "2"]
        await w.reconcile()
        assert w.claim("Progressing")[0] == "True"


async def test_a_template_that_no_pod_can_be_made_with_is_a_sentence(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(podTemplate={"spec": []})
        await w.reconcile()
        await w.reconcile()
        assert "podTemplate" in json.dumps(w.status["conditions"])
        assert w.ours() == []


async def test_a_freed_slot_is_filled_although_status_was_just_written(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write()
        await w.reconcile()
        w.write(parallelism=4, items={"count": 4})
        wait = await w.reconciler.reconcile(KEY)
        assert wait is not None
        assert 0 < wait <= 1
        assert w.units() == ["0", "1", "2", "3"]
        assert w.status["observedGeneration"] == 1


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_no_unit_is_doubled_when_answers_to_creates_are_lost(tmp_path: Path, lost: int) -> None:
    async with world(tmp_path / "out") as w:
        w.write(unitsPerPod=2, parallelism=2)
        w.server.faults += [Fault(0, "POST", done=True)] * lost
        await w.reconcile()
        await w.reconcile()
        assert w.units() == ["0", "1", "2"]
        assert w.expectations.satisfied(w.server.objects[f"generationjobs/{KEY}"]["metadata"]["uid"])


async def test_a_create_that_nobody_answers_is_looked_for_before_anything_else_is_made(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(unitsPerPod=3)
        w.server.faults.append(Fault(500, "POST", done=True))
        w.server.faults += [Fault(500, "POST")] * 3
        with pytest.raises(Unavailable):
            await w.reconcile()
        w.write(unitsPerPod=1)
        await eventually(lambda: len(w.pods) == 1)
        await w.reconcile()
        assert w.units() == ["0", "1", "2"]
        assert len(w.ours()) == 1


async def test_a_pod_in_the_way_is_named(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(items={"count": 1})
        w.server.faults.append(Fault(403, "POST"))
        await w.reconcile()
        name = next(each.body["metadata"]["name"] for each in w.server.requests("POST") if "/pods" in each.path)
        w.server.put("pods", name)
        for _ in range(2):
            await w.reconcile()
        assert f'pod "{name}" exists already' in w.claim("Progressing")[2]


async def test_a_pod_in_the_way_that_could_not_be_looked_at_is_named_by_the_next_reconcile(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(items={"count": 1})
        w.server.faults.append(Fault(403, "POST"))
        await w.reconcile()
        name = next(each.body["metadata"]["name"] for each in w.server.requests("POST") if "/pods" in each.path)
        w.server.put("pods", name)
        w.server.faults.append(Fault(403, "GET", path=f"/pods/{name}"))
        with pytest.raises(Forbidden):
            await w.reconcile()
        for _ in range(2):
            await w.reconcile()
        assert f'pod "{name}" exists already' in w.claim("Progressing")[2]


async def test_a_job_that_is_gone_gets_no_pods(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write()
        w.server.remove("generationjobs", "reel")
        await w.reconcile()
        assert w.ours() == []
        assert len(w.jobs) == 0


async def test_a_clock_that_is_set_back_delays_nothing(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write()
        await w.reconcile()
        w.now -= 3600
        w.write(suspend=True)
        await w.reconcile()
        assert w.claim("Suspended")[1] == "Suspending"
        assert w.ours() == []


@pytest.mark.parametrize(
    "damage",
    [{"failures": {"x": "1"}}, {"failures": {"1": "0-20000000"}}, {"succeeded": "3"}],
    ids=["no number", "too many", "beyond"],
)
async def test_a_damaged_status_counts_as_lost(tmp_path: Path, damage: dict[str, Any]) -> None:
    async with world(tmp_path / "out") as w:
        w.write()
        await w.reconcile()
        w.server.objects[f"generationjobs/{KEY}"]["status"]["stages"][0].update(damage)
        w.write()
        await w.reconcile()
        (stage,) = w.status["stages"]
        assert (stage["succeeded"], stage.get("failures")) == ("", {})
        assert w.units() == ["0", "1", "2"]


async def test_a_folder_that_no_system_call_takes_is_a_sentence(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(output={"uri": f"file://{tmp_path}/%00"})
        await w.reconcile()
        assert w.claim("Accepted")[:2] == ("False", "InvalidOutput")


async def test_a_job_that_is_over_holds_no_units_and_reads_them_again_when_asked_for_more(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(retry={"perUnit": 1, "rounds": 0})
        await w.reconcile()
        for pod in w.ours():
            metadata = {key: pod["metadata"][key] for key in ("labels", "annotations")}
            w.server.put("pods", pod["metadata"]["name"], metadata=metadata, status=ENDED)
        await eventually(lambda: all(pod.terminal for pod in w.pods))
        while not any(each["type"] == "Finished" and each["status"] == "True" for each in w.status["conditions"]):
            await w.reconcile()
        w.ring()
        await w.reconcile()
        memory = w.reconciler._memories[KEY]
        assert memory.resolved is not None
        assert (memory.resolved.stages, memory.bucket.done, memory.bucket.swept_at) == ((), {}, None)

        job = w.server.objects[f"generationjobs/{KEY}"]
        job["metadata"]["annotations"] = {names.ANNOTATION_RESUME: "again"}
        w.write()
        await w.reconcile()
        assert w.units() == ["0", "1", "2"]


async def test_a_bucket_that_never_answers_is_an_outage_and_looked_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tarpit:
        async with world(tmp_path / "out", longest=0.2) as w:
            w.write(output={"uri": "s3://bucket/reels", "endpoint": f"http://127.0.0.1:{tarpit.getsockname()[1]}"})
            for _ in range(3):
                await w.reconcile()
            assert w.claim("Progressing")[1] == "BucketUnreachable"
            assert "took longer than" in w.claim("Progressing")[2]
            memory = w.reconciler._memories[KEY]
            assert memory.look is not None
            tarpit.close()
            await asyncio.wait([memory.look], timeout=20)
            assert memory.look.done()


@pytest.mark.parametrize("seed", range(4))
async def test_each_end_is_counted_once_whatever_goes_wrong_on_the_way(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with world(tmp_path / "out") as w:
        w.write(items={"count": 15}, retry={"perUnit": 2, "rounds": 0, "backoff": {"initial": "1s"}})
        ended = 0
        while ended < 30:
            method = chance.choice(["GET", "POST", "PATCH", "DELETE"])
            if chance.random() < 0.5:
                w.server.faults.append(Fault(chance.choice([0, 409, 429, 500]), method, done=chance.random() < 0.5))
            w.ring()
            with suppress(ApiError):
                await w.reconcile()
            going = w.units()
            assert len(going) == len(set(going)) <= 3, "no unit twice at a time, nor more than parallelism"
            if going and chance.random() < 0.5:
                stopped = w.end(chance.choice(going))
                await w.seen(*stopped)
                ended += len(stopped)
        w.server.faults.clear()
        for _ in range(4):
            w.ring()
            await w.reconcile()
        counters = w.status["counters"]
        assert (counters["failures"], counters["disruptions"], w.status["phase"]) == (30, 0, "Failed")


async def test_a_place_that_hangs_leaves_threads_to_others() -> None:
    looks, gate = Looks(threads=3, at_one_place=2), threading.Event()
    slow, well = StoreConfig(uri="s3://a/x", endpoint="http://slow"), StoreConfig(uri="s3://b/x")
    hanging = [looks.start(slow, gate.wait) for _ in range(2)]
    try:
        with pytest.raises(Busy):
            looks.start(slow, gate.wait)
        assert await looks.start(well, lambda: 7) == 7
    finally:
        gate.set()
    await asyncio.wait(hanging)
    assert looks.running == 0
    assert await looks.start(slow, lambda: 8) == 8
