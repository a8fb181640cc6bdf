"""Events: told once, counted up, never in the way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from carryon_kube.client import Client
from carryon_kube.connection import Connection
from carryon_operator.kube.events import EventRecorder
from fake_apiserver import FakeApiServer, Fault, eventually

JOB = {
    "apiVersion": "carryon.dev/v1alpha1",
    "kind": "GenerationJob",
    "metadata": {"name": "reel", "namespace": "studio", "uid": "u1", "resourceVersion": "5"},
}


@asynccontextmanager
async def recording(server: FakeApiServer, **options: Any) -> AsyncIterator[EventRecorder]:
    async with Client(Connection(server.url)) as client:
        recorder = EventRecorder(client, clock=lambda: 1_000_000_000.0, **options)
        task = asyncio.create_task(recorder.run())
        try:
            yield recorder
        finally:
            assert not task.done(), "a recorder never ends by itself"
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer().serving() as served:
        yield served


def told(server: FakeApiServer) -> list[tuple[str, int]]:
    return [(event["message"], event["count"]) for event in server.objects.values()]


async def test_an_event_says_what_happened_to_which_object_and_when(server: FakeApiServer) -> None:
    async with recording(server) as recorder:
        recorder.event(JOB, "Warning", "UnitFailed", "clip 7 failed")
        await eventually(lambda: len(server.objects) == 1)
    (event,) = server.objects.values()
    assert event["metadata"]["namespace"] == "studio"
    assert event["metadata"]["name"].startswith("reel.")
    assert event["involvedObject"]["uid"] == "u1"
    assert event["involvedObject"]["kind"] == "GenerationJob"
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "UnitFailed", "clip 7 failed")
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2001-09-09T01:46:40Z"


async def test_the_same_again_is_counted_and_not_told_twice(server: FakeApiServer) -> None:
    async with recording(server) as recorder:
        recorder.event(JOB, "Normal", "Resumed", "goes on")
        await eventually(lambda: told(server) == [("goes on", 1)])
        for _ in range(3):
            recorder.event(JOB, "Normal", "Resumed", "goes on")
        await eventually(lambda: told(server) == [("goes on", 4)])
        recorder.event(JOB, "Normal", "Resumed", "goes on elsewhere")
        await eventually(lambda: len(told(server)) == 2)


async def test_an_event_that_has_expired_is_told_anew(server: FakeApiServer) -> None:
    async with recording(server) as recorder:
        recorder.event(JOB, "Normal", "Resumed", "goes on")
        await eventually(lambda: len(server.objects) == 1)
        server.objects.clear()
        recorder.event(JOB, "Normal", "Resumed", "goes on")
        await eventually(lambda: told(server) == [("goes on", 2)])


async def test_a_server_that_refuses_stops_nothing(server: FakeApiServer, caplog: pytest.LogCaptureFixture) -> None:
    server.faults.append(Fault(403, "POST"))
    async with recording(server) as recorder:
        recorder.event(JOB, "Normal", "Resumed", "refused")
        recorder.event(JOB, "Normal", "Resumed", "taken")
        await eventually(lambda: told(server) == [("taken", 1)])
    assert "Event not sent" in caplog.text


async def test_too_many_events_are_dropped_and_counted_and_old_ones_still_counted_up(
    server: FakeApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with recording(server, waiting=2) as recorder:
        with caplog.at_level(logging.WARNING):
            for message in ("a", "b", "c", "a"):
                recorder.event(JOB, "Normal", "Resumed", message)
        await eventually(lambda: sorted(told(server)) == [("a", 2), ("b", 1)])
        assert recorder.dropped == 1
        assert "dropped" in caplog.text


async def test_a_long_message_is_cut_to_what_the_server_takes(server: FakeApiServer) -> None:
    async with recording(server) as recorder:
        recorder.event(JOB, "Normal", "Resumed", "x" * 5000)
        await eventually(lambda: len(server.objects) == 1)
    assert len(told(server)[0][0]) == 1024


async def test_only_so_many_are_remembered(server: FakeApiServer) -> None:
    async with recording(server, remembered=2) as recorder:
        for message in ("a", "b", "c"):
            recorder.event(JOB, "Normal", "Resumed", message)
        await eventually(lambda: len(server.objects) == 3)
        recorder.event(JOB, "Normal", "Resumed", "a")
        await eventually(lambda: sorted(told(server)) == [("a", 1), ("a", 1), ("b", 1), ("c", 1)])
