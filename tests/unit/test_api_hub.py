"""The hub by itself: a change is made into bytes once, pages that sleep cost nothing, and one bad job stops nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from carryon_api.live import framing, sse
from carryon_api.live import hub as hub_module
from carryon_api.live.hub import Hub
from carryon_api.live.readers import ReviewedReader
from carryon_api.live.view import Expired, Unanswered, View
from carryon_api.problems import Problem
from carryon_api.records import JobRecord
from carryon_api.reviews import Caller


class Reader:
    """May list what it is told to."""

    def __init__(self, *namespaces: str, everything: bool = True) -> None:
        self.namespaces = set(namespaces)
        self.everything = everything
        self.fault: Exception | None = None
        self.silent = False
        self.asked = 0

    async def signed_in(self) -> None:
        if self.fault is not None:
            raise self.fault

    async def may_list(self, namespace: str | None) -> bool:
        self.asked += 1
        if self.silent:
            raise Unanswered("the API server does not answer")
        return self.everything or namespace in self.namespaces

    async def may_get(self, namespace: str, name: str) -> bool:
        return self.everything or namespace in self.namespaces


class Studio:
    """A hub, the jobs it is told of, and a clock."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], JobRecord] = {}
        self.described: list[str] = []
        self.version = 0
        self.ticks = 0.0
        self.hub = Hub(self.describe, self.describe_status, lambda *key: self.records.get(key), clock=self.clock)

    def clock(self) -> float:
        return self.ticks

    def describe(self, record: JobRecord) -> bytes:
        self.described.append(f"{record.name}@{record.version}")
        if record.name == "odd":
            raise ValueError("nobody foresaw this")
        return json.dumps({"name": record.name, "version": record.version}).encode()

    async def describe_status(self, record: JobRecord) -> bytes:
        return json.dumps({"name": record.name, "status": record.version}).encode()

    def change(self, name: str, namespace: str = "ns") -> None:
        self.version += 1
        record = JobRecord(namespace, name, f"uid-{name}", str(self.version), {})
        self.records[namespace, name] = record
        self.hub.changed(record)

    def remove(self, name: str, namespace: str = "ns") -> None:
        self.hub.removed(self.records.pop((namespace, name)))

    async def open(self, reader: Reader | None = None, last_id: str = "", **wanted: Any) -> AsyncGenerator[bytes, None]:
        view = View(reader or Reader(), **wanted)
        await view.review(self.hub.feed.namespaces)
        return self.hub.stream(view, last_id)


async def read(page: AsyncGenerator[bytes, None], until: str) -> str:
    """What a page is told until something is in it."""
    told = ""
    async with asyncio.timeout(5):
        while until not in told:
            told += (await anext(page)).decode()
    return told


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "PACE", 0.0)


@pytest.fixture
async def studio() -> AsyncGenerator[Studio, None]:
    made = Studio()
    running = asyncio.create_task(made.hub.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_change_is_made_into_bytes_once_for_all_pages(studio: Studio) -> None:
    studio.change("a")
    pages = [await studio.open() for _ in range(100)]
    for page in pages:
        await read(page, "snapshot")
    studio.change("a")
    for page in pages:
        assert '"version": "2"' in await read(page, "event: job")
    assert studio.described == ["a@1", "a@2"]


async def test_nothing_is_made_into_bytes_that_nobody_reads(studio: Studio) -> None:
    for _ in range(50):
        studio.change("a")
    await asyncio.sleep(0)
    assert studio.described == []
    await read(await studio.open(), "snapshot")
    assert studio.described == ["a@50"]


async def test_a_page_that_sleeps_holds_up_nobody_and_then_gets_the_newest_of_each(studio: Studio) -> None:
    names = [f"job-{number}" for number in range(20)]
    for name in names:
        studio.change(name)
    asleep, awake = await studio.open(), await studio.open()
    await read(asleep, "snapshot")
    await read(awake, "snapshot")
    for _ in range(50):
        for name in names:
            studio.change(name)
        await read(awake, f'"version": "{studio.version}"')
    caught_up = await read(asleep, f'"version": "{studio.version}"')
    assert caught_up.count("event: job") == len(names)


async def test_a_page_that_missed_too_many_deletions_begins_again(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio.hub.feed, "_most", 5)
    asleep, awake = await studio.open(), await studio.open()
    await read(asleep, "snapshot")
    await read(awake, "snapshot")
    for number in range(20):
        studio.change(f"job-{number}")
        await read(awake, f"job-{number}")
        studio.remove(f"job-{number}")
        await read(awake, "event: deleted")
    studio.change("last")
    told = await read(asleep, "last")
    assert told.startswith("event: snapshot")
    assert "event: deleted" not in told
    assert '{"jobs":[{"name": "last"' in await read(await studio.open(), "last")


async def test_jobs_that_come_and_go_unseen_leave_nothing_behind(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "WAITING_MOST", 10)
    for number in range(200):
        studio.change(f"job-{number}")
        studio.remove(f"job-{number}")
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert len(studio.hub._changes) <= 11


async def test_one_job_that_nobody_foresaw_keeps_no_other_from_the_pages(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    page = await studio.open()
    await read(page, "snapshot")
    studio.change("odd")
    studio.change("fine")
    assert '"name": "odd"' not in await read(page, "fine")
    assert "ns/odd can't be shown" in caplog.text


async def test_many_changes_come_in_pieces_and_only_the_last_has_an_id(studio: Studio) -> None:
    page = await studio.open()
    await read(page, "snapshot")
    for number in range(3000):
        studio.change(f"job-{number}-{'x' * 100}")
    pieces = []
    async with asyncio.timeout(5):
        while b"job-2999-" not in b"".join(pieces):
            pieces.append(await anext(page))
    told = b"".join(pieces)
    assert max(map(len, pieces)) <= framing.PIECE
    assert told.count(b"\nid: ") + told.startswith(b"id: ") == 1
    assert told.rindex(b"id: 3000-") > told.rindex(b"job-2998-")


async def test_a_namespace_that_turns_up_later_is_shown_to_those_who_may(studio: Studio) -> None:
    mine, other = Reader("new", everything=False), Reader("other", everything=False)
    page, closed = await studio.open(mine), await studio.open(other)
    await read(page, "snapshot")
    await read(closed, "snapshot")
    studio.change("a", "new")
    studio.change("b", "other")
    assert '"name": "b"' not in await read(page, '"name": "a"')
    assert '"name": "a"' not in await read(closed, '"name": "b"')


async def test_a_namespace_nobody_could_say_anything_about_is_shown_once_somebody_can(studio: Studio) -> None:
    reader = Reader("new", everything=False)
    page = await studio.open(reader)
    await read(page, "snapshot")
    reader.silent = True
    studio.change("a", "new")
    nothing = asyncio.ensure_future(read(page, '"name": "a"'))
    await asyncio.sleep(0.05)
    assert not nothing.done()
    reader.silent = False
    studio.ticks += hub_module.LEARN_SECONDS
    studio.change("b", "elsewhere")
    assert "event: snapshot" in await nothing


async def test_what_a_reader_may_see_is_asked_anew_and_not_each_time(studio: Studio) -> None:
    reader = Reader("ns", everything=False)
    page = await studio.open(reader)
    studio.change("a")
    await read(page, "snapshot")
    asked = reader.asked
    for _ in range(20):
        studio.change("a")
        await read(page, "event: job")
    assert reader.asked == asked
    studio.ticks += hub_module.REVIEW_SECONDS
    studio.change("a")
    await read(page, "event: job")
    assert reader.asked > asked


async def test_a_page_outlives_a_short_silence_about_its_rights_but_not_a_long_one(studio: Studio) -> None:
    reader = Reader()
    page = await studio.open(reader)
    await read(page, "snapshot")
    reader.fault = Unanswered("the API server does not answer")
    for _ in range(3):
        studio.ticks += hub_module.REVIEW_SECONDS
        studio.change("a")
        await read(page, "event: job")
    studio.ticks += hub_module.UNREVIEWED_LONGEST
    studio.change("a")
    assert "event: job" not in await read(page, "event: expired")
    with pytest.raises(StopAsyncIteration):
        await anext(page)


async def test_rights_that_the_api_lacks_itself_are_no_answer_about_the_readers() -> None:
    class Refused:
        async def may(self, *_: Any) -> bool:
            raise Problem("unavailable", "its service account needs the right to create subjectaccessreviews")

    reader = ReviewedReader(Refused(), Caller("a", (), "t"), "10.0.0.1")  # type: ignore[arg-type]
    with pytest.raises(Unanswered, match="service account"):
        await reader.may_list("ns")


async def test_an_expired_reader_is_told_nothing_more(studio: Studio) -> None:
    reader = Reader()
    page = await studio.open(reader)
    await read(page, "snapshot")
    reader.fault = Expired("the token has expired: sign in again")
    studio.ticks += hub_module.REVIEW_SECONDS
    studio.change("a")
    told = await read(page, "event: expired")
    assert ("event: job" in told, "sign in again" in told) == (False, True)


async def test_status_and_progress_go_to_those_who_look_at_the_job(studio: Studio) -> None:
    studio.change("a")
    close, far = await studio.open(job=("ns", "a")), await studio.open()
    first = await read(close, "event: status")
    assert '"status": "1"' in first
    await read(far, "snapshot")
    assert list(studio.hub.watched) == [("ns", "a")]
    studio.hub.progressed(("ns", "a"), {"units": [{"step": 12}]})
    assert '"step":12' in await read(close, "event: progress")
    late = await studio.open(job=("ns", "a"))
    assert '"step":12' in await read(late, "event: progress"), "what is known is told at once"
    studio.change("a")
    assert "event: progress" not in await read(far, "event: job")
    await close.aclose()
    await late.aclose()
    assert not studio.hub.watched


async def test_a_status_that_comes_while_another_can_not_be_made_is_told(
    monkeypatch: pytest.MonkeyPatch, studio: Studio
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def describe_status(record: JobRecord) -> bytes:
        if record.version == "1":
            begun.set()
            await go_on.wait()
            raise ValueError("nobody foresaw this")
        return await studio.describe_status(record)

    monkeypatch.setattr(studio.hub, "_describe_status", describe_status)
    studio.change("reel")
    page = await studio.open(job=("ns", "reel"))
    await read(page, "snapshot")
    await begun.wait()
    studio.change("reel")
    await read(page, '"version": "2"')
    go_on.set()
    assert '"status": "2"' in await read(page, "event: status")
    await page.aclose()


async def test_closing_ends_all_streams(studio: Studio) -> None:
    page = await studio.open()
    await read(page, "snapshot")
    studio.hub.close()
    with pytest.raises(StopAsyncIteration):
        await anext(page)


async def test_an_answer_that_nobody_takes_is_given_up(monkeypatch: pytest.MonkeyPatch, studio: Studio) -> None:
    monkeypatch.setattr(sse, "SEND_SECONDS", 0.05)
    answer = sse.EventStream(await studio.open())
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async with asyncio.timeout(5):
        await answer({"type": "http"}, receive, send)
    assert studio.hub.pages == 0
    assert "content-length" not in dict(sent[0]["headers"])


async def test_a_page_that_leaves_stops_the_stream(studio: Studio) -> None:
    answer = sse.EventStream(await studio.open())
    left = asyncio.Event()

    async def send(message: Any) -> None:
        if b"snapshot" in message.get("body", b""):
            left.set()

    async def receive() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    async with asyncio.timeout(5):
        await answer({"type": "http"}, receive, send)
    assert studio.hub.pages == 0


@pytest.mark.parametrize("fault", ["the status can't be made", "the job may not be seen", "it takes for ever"])
async def test_a_stream_that_is_not_followed_ends_whatever_becomes_of_the_status(
    studio: Studio, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def describe_status(record: JobRecord) -> bytes:
        if fault == "it takes for ever":
            await asyncio.Event().wait()
        raise ValueError("nobody foresaw this")

    monkeypatch.setattr(hub_module, "UNFOLLOWED_LONGEST", 0.05)
    monkeypatch.setattr(studio.hub, "_clock", asyncio.get_running_loop().time)
    monkeypatch.setattr(studio.hub, "_describe_status", describe_status)
    studio.change("a")
    reader = Reader(everything=fault != "the job may not be seen")
    view = View(reader, job=("ns", "a"))
    await view.review(studio.hub.feed.namespaces)
    async with asyncio.timeout(5):
        told = [piece async for piece in studio.hub.stream(view, follow=False)]
    assert b"event: snapshot" in b"".join(told)
    assert b"event: status" not in b"".join(told)
