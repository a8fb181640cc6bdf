"""Webhooks of jobs, by the real reconciler and a real receiver: at least once, under one id, in nobody's way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from carryon_core import names
from carryon_core.notifications import Notify
from carryon_kube.client import Client
from carryon_kube.connection import Connection
from carryon_kube.errors import ApiError, Conflict
from carryon_operator.jobs import JobCache
from carryon_operator.notify.addresses import parse
from carryon_operator.notify.notifier import Notifier
from carryon_operator.notify.sending import Sender
from fake_apiserver import FakeApiServer, Fault, eventually
from receiver import Receiver
from reconciling import KEY, World, world

LOOPBACK = parse(["127.0.0.0/8"])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


@asynccontextmanager
async def suspended(folder: Path, *hooks: dict[str, Any], **fields: Any) -> AsyncIterator[World]:
    """A job that is suspended as soon as it is looked at."""
    async with world(folder / "out", notify_allow=LOOPBACK) as made:
        made.write(notify=list(hooks), suspend=True, **fields)
        yield made


def notes(w: World) -> list[dict[str, Any]]:
    return list(w.status.get("notifications", []))


def states(w: World) -> list[tuple[str, str, int]]:
    return [(each["condition"], each["state"], each["attempts"]) for each in notes(w)]


async def answered(w: World) -> None:
    """Every delivery that was taken up has ended."""
    await eventually(lambda: w.notifier.depth == 0)


async def test_what_became_of_a_job_is_told_and_status_says_so(tmp_path: Path, receiver: Receiver) -> None:
    async with suspended(tmp_path, {"url": receiver.url()}) as w:
        await w.reconcile()
        await answered(w)
        (got,) = receiver.received
        assert states(w) == [("Suspended", "Pending", 0)]
        await w.reconcile()
        assert states(w) == [("Suspended", "Delivered", 1)]
        (note,) = notes(w)
        assert (note["hook"], note["result"], note["id"]) == (0, "HTTP 204", got.headers["webhook-id"])
        assert got.event["data"]["units"] == {"total": 3, "succeeded": 0, "failed": 0, "remaining": 3}
        assert got.event["time"] == note["time"]
        await w.reconcile()
        assert len(receiver.received) == 1
        assert w.notifier.posted(w.server.objects[f"generationjobs/{KEY}"]["metadata"]["uid"]) == ()
        metrics = w.reconciler.metrics.text().decode()
        assert 'carryon_notification_attempts_total{outcome="delivered"} 1.0' in metrics
        assert 'carryon_notification_attempts_total{outcome="given_up"} 0.0' in metrics


async def test_nothing_is_told_that_status_does_not_show(tmp_path: Path, receiver: Receiver) -> None:
    async with suspended(tmp_path, {"url": receiver.url()}) as w:
        w.server.faults.append(Fault(409, "PATCH", path="/status"))
        with pytest.raises(Conflict):
            await w.reconcile()
        assert w.notifier.depth == 0
        assert receiver.received == []
        await w.reconcile()
        await answered(w)
        assert len(receiver.received) == 1


@pytest.mark.parametrize("status", [409, 500])
async def test_a_delivery_whose_status_write_fails_is_not_repeated(
    tmp_path: Path, receiver: Receiver, status: int
) -> None:
    async with suspended(tmp_path, {"url": receiver.url()}) as w:
        await w.reconcile()
        await answered(w)
        w.server.faults += [Fault(status, "PATCH", path="/status")] * 3
        for _ in range(3):
            with pytest.raises(ApiError):
                await w.reconcile()
        w.server.faults.clear()
        await w.reconcile()
        assert states(w) == [("Suspended", "Delivered", 1)]
        assert len(receiver.received) == 1


async def test_an_operator_that_is_killed_before_it_wrote_that_down_tells_once_more_with_the_same_id(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with suspended(tmp_path, {"url": receiver.url()}) as w:
        await w.reconcile()
        await answered(w)
        w.start()
        await w.reconcile()
        await answered(w)
        first, second = receiver.received
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body
        await w.reconcile()
        assert states(w) == [("Suspended", "Delivered", 1)]


async def test_a_receiver_that_is_away_is_tried_again_when_it_is_time_by_whichever_operator(
    tmp_path: Path, receiver: Receiver
) -> None:
    receiver.stop()
    async with suspended(tmp_path, {"url": receiver.url()}) as w:
        await w.reconcile()
        await answered(w)
        wait = await w.reconcile()
        assert states(w) == [("Suspended", "Pending", 1)]
        assert notes(w)[0]["result"] == "no connection: Connection refused"
        assert wait is not None
        assert 0 < wait <= 7
        receiver.start()
        w.start()
        await w.reconcile()
        assert w.notifier.depth == 0, "a new operator keeps to the time that the last one wrote down"
        w.now += 7
        await w.reconcile()
        await answered(w)
        await w.reconcile()
        assert states(w) == [("Suspended", "Delivered", 2)]
        assert len(receiver.received) == 1


async def test_what_is_refused_for_good_is_an_event_and_tried_no_more(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answers.append(410)
    async with suspended(tmp_path, {"url": receiver.url("/token-in-a-path")}) as w:
        await w.reconcile()
        await answered(w)
        await w.reconcile()
        assert states(w) == [("Suspended", "GivenUp", 1)]
        await eventually(lambda: "NotificationFailed" in w.events())
        (event,) = [
            each
            for key, each in w.server.objects.items()
            if key.startswith("events/") and each["reason"] == "NotificationFailed"
        ]
        assert event["message"].endswith(": HTTP 410 (1 attempt)")
        assert "token-in-a-path" not in str(event)
        w.now += 90_000
        await w.reconcile()
        assert len(receiver.received) == 1


async def test_a_private_address_is_refused_without_a_request(tmp_path: Path, receiver: Receiver) -> None:
    async with world(tmp_path / "out") as w:
        w.write(notify=[{"url": receiver.url()}], suspend=True)
        await w.reconcile()
        await answered(w)
        await w.reconcile()
        assert states(w) == [("Suspended", "GivenUp", 1)]
        assert "--notify-allow" in notes(w)[0]["result"]
        assert receiver.received == []


async def test_a_secret_that_is_missing_is_told_in_status_and_waited_for(tmp_path: Path, receiver: Receiver) -> None:
    hook = {"url": receiver.url(), "signingSecret": {"name": "hook", "key": "key"}}
    async with suspended(tmp_path, hook) as w:
        await w.reconcile()
        await answered(w)
        await w.reconcile()
        assert states(w) == [("Suspended", "Pending", 1)]
        assert notes(w)[0]["result"].startswith('there is no Secret "hook" in namespace "default"')
        # whsec_ and 24 times "a".
        w.server.put("secrets", "hook", data={"key": "d2hzZWNfWVdGaFlXRmhZV0ZoWVdGaFlXRmhZV0ZoWVdGaFlXRmg="})
        w.now += 10
        await w.reconcile()
        await answered(w)
        await w.reconcile()
        assert states(w) == [("Suspended", "Delivered", 2)]
        assert receiver.received[0].headers["webhook-signature"].startswith("v1,")


async def test_a_job_that_is_being_deleted_tells_nothing_more(tmp_path: Path, receiver: Receiver) -> None:
    receiver.stop()
    async with suspended(tmp_path, {"url": receiver.url()}, output={"uri": "s3://b/p", "onDelete": "Delete"}) as w:
        w.write(output=None)
        await w.reconcile()
        await answered(w)
        await w.reconcile()
        w.server.put("generationjobs", "reel", **_of(w, {"finalizers": [names.FINALIZER]}))
        w.server.delete("generationjobs", "reel")
        w.ring()
        receiver.start()
        w.now += 60
        assert w.notifier.look(KEY) is None
        await answered(w)
        assert receiver.received == []


def _of(w: World, metadata: dict[str, Any]) -> dict[str, Any]:
    known = w.server.objects[f"generationjobs/{KEY}"]
    return {**known, "metadata": metadata}


async def test_a_job_that_goes_while_it_is_told_leaves_nothing_behind(tmp_path: Path, receiver: Receiver) -> None:
    receiver.hold = True
    async with suspended(tmp_path, {"url": receiver.url()}) as w:
        await w.reconcile()
        await eventually(lambda: len(receiver.received) == 1)
        job = w.server.objects[f"generationjobs/{KEY}"]
        w.server.remove("generationjobs", "reel")
        w.jobs.remove(job)
        assert await w.reconciler.reconcile(KEY) is None
        receiver.hold = False
        await answered(w)
        assert w.notifier.posted(job["metadata"]["uid"]) == ()


async def test_a_job_whose_time_is_over_goes_when_its_end_was_told(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answers.append(503)
    async with world(tmp_path / "out", notify_allow=LOOPBACK) as w:
        w.write(items={"count": 1}, retry={"perUnit": 1, "rounds": 0}, ttlSecondsAfterFinished=0)
        w.write(notify=[{"url": receiver.url()}])
        await w.reconcile()
        await w.seen(*w.end(code=12))
        for _ in range(3):
            await w.reconcile()
            await answered(w)
        assert states(w) == [("Failed", "Pending", 1)]
        w.now += 10
        for _ in range(3):
            # Written and deleted in one go is a conflict, after which it is looked at again.
            with suppress(Conflict):
                await w.reconcile()
            await answered(w)
        assert [each.event["type"] for each in receiver.received] == ["dev.carryon.generationjob.failed"] * 2
        assert f"generationjobs/{KEY}" not in w.server.objects


async def test_a_receiver_that_hangs_holds_up_no_reconcile(tmp_path: Path, receiver: Receiver) -> None:
    receiver.hold = True
    async with suspended(tmp_path, {"url": receiver.url()}) as w:
        started = time.monotonic()
        await w.reconcile()
        await eventually(lambda: len(receiver.received) == 1)
        w.write(suspend=False)
        await w.reconcile()
        assert w.units() == ["0", "1", "2"]
        assert time.monotonic() - started < 3
        assert w.notifier.depth == 1
        receiver.hold = False
        await answered(w)


@pytest.mark.parametrize("trouble", ["waits for a pod", "cannot be written"])
async def test_a_job_that_is_held_up_by_something_else_is_told_of_all_the_same(
    tmp_path: Path, receiver: Receiver, trouble: str
) -> None:
    async with suspended(tmp_path, {"url": receiver.url()}) as w:
        receiver.stop()
        await w.reconcile()
        await answered(w)
        await w.reconcile()
        receiver.start()
        w.now += 10
        if trouble == "waits for a pod":
            w.expectations.expect_create(w.server.objects[f"generationjobs/{KEY}"]["metadata"]["uid"], "unseen")
            assert await w.reconciler.reconcile(KEY) is not None
        else:
            w.write(output={"uri": (tmp_path / "out").as_uri(), "onDelete": "Delete"})
            w.server.faults.append(Fault(500, "PATCH"))
            with pytest.raises(ApiError):
                await w.reconciler.reconcile(KEY)
        await answered(w)
        assert len(receiver.received) == 1


@asynccontextmanager
async def notifying(**limits: int) -> AsyncIterator[tuple[Notifier, JobCache, list[str]]]:
    """A notifier whose jobs are put into its cache by hand; what it rings for is noted."""
    rung: list[str] = []
    jobs = JobCache()
    async with FakeApiServer().serving() as server, Client(Connection(server.url)) as client:
        options: dict[str, Any] = {"proxy": None, "page_url": None, "clock": time.time, "threads": 4}
        sender = Sender(client, allowed=LOOPBACK, **options)
        notifier = Notifier(sender, jobs, rung.append, time.time, **limits)
        try:
            yield notifier, jobs, rung
        finally:
            await notifier.close()
            sender.close()


def job(name: str, *urls: str, namespace: str = "default") -> dict[str, Any]:
    """A job with one notification for each of these webhooks."""
    kept = [
        {"hook": at, "url": Notify(url=url).digest, "id": f"{name}-{at}", "condition": "Failed", "state": "Pending"}
        for at, url in enumerate(urls)
    ]
    metadata = {"namespace": namespace, "name": name, "uid": name, "resourceVersion": "1"}
    told = [{**each, "time": "2026-01-01T00:00:00Z", "attempts": 0} for each in kept]
    return {"metadata": metadata, "spec": {"notify": [{"url": url} for url in urls]}, "status": {"notifications": told}}


async def test_one_host_gets_two_at_a_time_and_holds_up_no_other(receiver: Receiver) -> None:
    receiver.hold = True
    with Receiver() as other:
        async with notifying() as (notifier, jobs, rung):
            for number in range(12):
                jobs.observe(job(f"slow-{number}", receiver.url()))
                notifier.look(f"default/slow-{number}")
            jobs.observe(job("quick", other.url()))
            notifier.look("default/quick")
            await eventually(lambda: rung == ["default/quick"])
            assert (receiver.most, len(receiver.received), notifier.depth) == (2, 2, 12)
            receiver.hold = False
            await eventually(lambda: len(rung) == 13)
            assert receiver.most == 2


async def test_one_namespace_whose_receivers_hang_holds_up_no_other(receiver: Receiver) -> None:
    receiver.hold = True
    with Receiver() as other:
        async with notifying(at_once=4, at_one_host=4, of_one_namespace=2) as (notifier, jobs, rung):
            for number in range(6):
                jobs.observe(job(f"slow-{number}", receiver.url(), namespace="theirs"))
                notifier.look(f"theirs/slow-{number}")
            jobs.observe(job("quick", other.url(), namespace="ours"))
            notifier.look("ours/quick")
            await eventually(lambda: rung == ["ours/quick"])
            assert receiver.most == 2
            receiver.hold = False
            await eventually(lambda: len(rung) == 7)


async def test_no_more_than_so_many_are_under_way_or_wait(receiver: Receiver) -> None:
    receiver.hold = True
    async with notifying(at_once=3, at_one_host=3, waiting_most=5) as (notifier, jobs, rung):
        waits = []
        for number in range(8):
            jobs.observe(job(f"job-{number}", receiver.url(f"/{number}")))
            waits.append(notifier.look(f"default/job-{number}"))
        assert notifier.depth == 5
        assert waits[:5] == [None] * 5
        assert all(wait is not None and wait > 1 for wait in waits[5:]), "the others are looked for again"
        await eventually(lambda: len(receiver.received) == 3)
        receiver.hold = False
        await eventually(lambda: len(rung) == 5)
        for number in range(5, 8):
            notifier.look(f"default/job-{number}")
        await eventually(lambda: len(rung) == 8)
        assert receiver.most == 3


@pytest.mark.parametrize(("asked", "longest"), [("60", 60), ("999999999", 86_400)])
async def test_a_receiver_that_asks_for_quiet_has_it_from_all_jobs_but_not_for_ever(
    receiver: Receiver, asked: str, longest: int
) -> None:
    receiver.answers.append((429, {"Retry-After": asked}))
    async with notifying() as (notifier, jobs, rung):
        jobs.observe(job("first", receiver.url()))
        notifier.look("default/first")
        await eventually(lambda: rung == ["default/first"])
        jobs.observe(job("second", receiver.url(), receiver.url("/another")))
        wait = notifier.look("default/second")
        assert wait is not None
        assert longest - 10 < wait <= longest
        await eventually(lambda: len(rung) == 2)
        assert [each.path for each in receiver.received] == ["/hook", "/another"]


async def test_what_waits_for_its_turn_is_dropped_when_nobody_wants_it_any_more(receiver: Receiver) -> None:
    receiver.hold = True
    async with notifying(at_once=1) as (notifier, jobs, rung):
        for name in ("first", "edited", "gone", "new"):
            jobs.observe(job(name, receiver.url(f"/{name}")))
            notifier.look(f"default/{name}")
        edited = job("edited", receiver.url("/elsewhere"))
        edited["metadata"]["resourceVersion"] = "2"
        jobs.observe(edited)
        jobs.remove(job("gone"))
        jobs.remove(job("new"))
        again = job("new", receiver.url("/new"))
        again["metadata"]["uid"] = "another"
        jobs.observe(again)
        receiver.hold = False
        await eventually(lambda: notifier.depth == 0)
        assert [each.path for each in receiver.received] == ["/first"]
        assert rung == ["default/first"]


async def test_an_end_in_the_middle_of_it_waits_for_no_receiver(receiver: Receiver) -> None:
    receiver.hold = True
    async with notifying() as (notifier, jobs, _):
        jobs.observe(job("first", receiver.url()))
        notifier.look("default/first")
        await eventually(lambda: len(receiver.received) == 1)
        started = asyncio.get_running_loop().time()
        await notifier.close()
        assert asyncio.get_running_loop().time() - started < 1
        assert notifier.look("default/first") is None, "whatever still reconciles begins nothing more"
        assert notifier.depth == 0
    receiver.hold = False


@pytest.mark.parametrize(
    "broken",
    [
        {"spec": {"notify": [{"uri": "https://x"}]}},
        {"status": {"notifications": [{"id": 7}]}},
        {"status": {"notifications": "none"}},
        {"spec": None, "status": None},
    ],
)
async def test_what_cannot_be_read_is_not_sent(receiver: Receiver, broken: dict[str, Any]) -> None:
    async with notifying() as (notifier, jobs, _):
        jobs.observe({**job("first", receiver.url()), **broken})
        assert notifier.look("default/first") is None
        assert notifier.depth == 0
