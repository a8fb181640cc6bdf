"""What is away or busy is no verdict: the job says so, nothing is lost, and all goes on when it is back."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from carryon_core import names
from carryon_core.messages import StoreConfig
from carryon_kube.errors import ApiError
from fake_apiserver import Fault
from faulty_s3 import Answer, serving, xml_error
from reconciling import KEY, World, world

FULL = "etcdserver: mvcc: database space exceeded"
"""A real server answers it with 500 and no reason (apimachinery, ErrorToAPIStatus)."""


async def test_an_etcd_that_is_full_takes_no_write_and_costs_nothing_but_time(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write()
        full = [Fault(500, method, message=FULL) for method in ("PATCH", "POST", "DELETE") for _ in range(50)]
        w.server.faults += full
        for _ in range(3):
            with pytest.raises(ApiError, match="database space exceeded"):
                await w.reconcile()
        assert w.ours() == []
        w.server.faults.clear()
        await w.reconcile()
        await w.seen(*w.end("1"))
        w.server.faults += full
        with pytest.raises(ApiError, match="database space exceeded"):
            await w.reconcile()
        assert w.status["counters"]["failures"] == 0
        w.server.faults.clear()
        w.ring()
        await w.reconcile()
        assert w.status["counters"]["failures"] == 1, "once, although it was tried twice"
        w.now += 60
        w.ring()
        await w.reconcile()
        assert w.units() == ["0", "1", "2"]


async def test_writes_that_are_forbidden_for_a_while_are_made_when_they_are_not(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write()
        w.server.faults += [Fault(403, "PATCH"), Fault(403, "PATCH")]
        for _ in range(2):
            with pytest.raises(ApiError, match="403"):
                await w.reconcile()
        await w.reconcile()
        assert w.units() == ["0", "1", "2"]
        assert w.claim("Progressing")[0] == "True"


def secret(w: World, key: str) -> None:
    keys = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "secret"}
    w.server.put(
        "secrets", "keys", data={name: base64.b64encode(value.encode()).decode() for name, value in keys.items()}
    )


async def work_on(w: World, endpoint: str) -> None:
    """A job at work, whose bucket is asked each time."""
    secret(w, "old")
    output = {"uri": "s3://carryon-test/outages", "endpoint": endpoint, "credentialsSecret": {"name": "keys"}}
    w.write(output=output, retry={"perUnit": 5, "rounds": 0, "backoff": {"initial": "1s"}})
    await w.reconcile()
    assert w.units() == ["0", "1", "2"]


async def is_no_verdict(w: World, *words: str) -> None:
    """The job says that its bucket gives no verdict, and nothing is launched, deleted or counted."""
    pods = {pod["metadata"]["name"] for pod in w.ours()}
    before = w.status["units"]["failed"], w.status["counters"]
    await w.seen(*w.end("1", code=0))
    await w.reconcile()
    status, reason, message = w.claim("Progressing")
    assert (status, reason) == ("False", "BucketUnreachable")
    assert all(word in message for word in words), message
    assert {pod["metadata"]["name"] for pod in w.ours()} == pods
    assert (w.status["units"]["failed"], w.status["counters"]) == before
    assert w.claim("Accepted")[0] == "True"


async def recovers(w: World) -> None:
    """It goes on: the pod that ended without its unit is counted now, and replaced."""
    w.ring()
    await w.reconcile()
    assert w.claim("Progressing")[0] == "True"
    w.now += 60
    w.ring()
    await w.reconcile()
    assert w.units() == ["0", "1", "2"]


async def test_a_bucket_that_is_throttled_is_no_verdict(tmp_path: Path, moto_config: StoreConfig) -> None:
    assert moto_config.endpoint is not None
    busy: list[bool] = []

    def throttle(request: BaseHTTPRequestHandler) -> Answer | None:
        return (503, xml_error("SlowDown")) if busy else None

    with serving(moto_config.endpoint, rule=throttle) as endpoint:
        async with world(tmp_path / "out", ambient_credentials=True) as w:
            await work_on(w, endpoint)
            busy.append(True)
            await is_no_verdict(w, "fails for now (SlowDown", "ask again later")
            busy.clear()
            await recovers(w)


async def test_keys_that_expired_are_no_verdict_and_new_ones_are_read_from_the_secret(
    tmp_path: Path, moto_config: StoreConfig
) -> None:
    assert moto_config.endpoint is not None
    expired: list[str] = []

    def refuse(request: BaseHTTPRequestHandler) -> Answer | None:
        known = request.headers.get("Authorization", "")
        return (400, xml_error("ExpiredToken")) if any(f"Credential={key}/" in known for key in expired) else None

    with serving(moto_config.endpoint, rule=refuse) as endpoint:
        async with world(tmp_path / "out") as w:
            await work_on(w, endpoint)
            expired.append("old")
            await is_no_verdict(w, "refuses these credentials (ExpiredToken", "check output.credentialsSecret")
            secret(w, "new")
            await recovers(w)


async def test_a_secret_that_may_not_be_read_is_named_and_read_when_it_may(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        secret(w, "old")
        w.server.faults.append(Fault(403, path="/secrets", message='secrets "keys" is forbidden'))
        w.write(output={"uri": "s3://b/x", "endpoint": "http://127.0.0.1:1", "credentialsSecret": {"name": "keys"}})
        await w.reconcile()
        status, reason, message = w.claim("Accepted")
        assert (status, reason) == ("False", "SecretForbidden")
        assert 'the operator may not read Secret "keys" in namespace "default"' in message
        assert w.ours() == []
        w.ring()
        await w.reconcile()
        assert w.claim("Accepted")[0] == "True"


async def test_a_clock_that_was_set_back_delays_a_retry_by_no_more_than_there_are_delays(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(retry={"perUnit": 3, "rounds": 0, "backoff": {"initial": "5s", "max": "1m"}})
        await w.reconcile()
        moment = datetime.fromtimestamp(w.now, UTC).isoformat()
        state = {"terminated": {"exitCode": 1, "startedAt": moment, "finishedAt": moment}}
        await w.seen(*w.end("1", containerStatuses=[{"name": names.CONTAINER, "state": state}]))
        await w.reconcile()
        assert w.units() == ["0", "2"]
        w.now -= 3600
        wait = await w.reconcile()
        assert wait is not None
        assert wait <= 60
        w.now += 60
        w.ring()
        await w.reconcile()
        assert w.units() == ["0", "1", "2"]


@pytest.mark.parametrize(
    "broken",
    [
        {"spec": {"stages": "none"}},
        {"spec": None, "status": "lost"},
        {"spec": {"items": {"count": 1}, "stages": [], "output": {"uri": "s3://b", "endpoint": "http://127.0.0.1:1"}}},
    ],
    ids=["nonsense", "nothing", "no bucket"],
)
async def test_one_broken_job_changes_nothing_for_another(tmp_path: Path, broken: dict[str, Any]) -> None:
    async with world(tmp_path / "out") as w:
        w.server.put("generationjobs", "broken", **broken)
        w.jobs.observe(w.server.objects["generationjobs/default/broken"])
        w.write()
        for _ in range(2):
            await asyncio.gather(w.reconciler.reconcile("default/broken"), w.reconcile(), return_exceptions=True)
        assert w.units() == ["0", "1", "2"]
        assert w.server.objects[f"generationjobs/{KEY}"]["status"]["phase"] == "Running"
