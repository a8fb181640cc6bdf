"""Live events: what changed in the cluster, made into bytes once, and sent to every page that may see it.

Changes are taken down as they come and worked off in batches. The more there is to do the larger these get, and a job
that changed twice meanwhile is sent once: whoever can't follow sees fewer states, never older ones. What waits for a
page is its position in the feed (see `feed`), so that a page that sleeps costs nothing and holds up nobody.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from carryon_api.live import framing, sse
from carryon_api.live.feed import Feed
from carryon_api.live.pages import Change, Page, Topic
from carryon_api.live.view import Expired, Unanswered, View
from carryon_api.records import JobRecord

PACE: Final = 0.1
"""Seconds between two batches, at least."""
SLOWEST: Final = 1.0
"""Seconds that are left at most to those who are late, before the next batch."""
SLICE: Final = 0.01
"""Seconds of work after which others get their turn."""
HEARTBEAT_SECONDS: Final = 15.0
REVIEW_SECONDS: Final = 15.0
"""How long a page that is open may show what its reader may not see any more."""
LEARN_SECONDS: Final = 5.0
UNREVIEWED_LONGEST: Final = 90.0
"""Seconds for which a page goes on while nobody says what its reader may see."""
UNFOLLOWED_LONGEST: Final = 20.0
"""Seconds after which a page that is not followed ends, though the status that it asked for is still being made."""
WAITING_MOST: Final = 4_000
"""Changes that wait for a page to be opened."""

JobKey = tuple[str, str]
log = logging.getLogger(__name__)


Describe = Callable[[JobRecord], bytes]
"""A job as JSON."""
DescribeAtLength = Callable[[JobRecord], Awaitable[bytes]]
"""The same, where something may have to be looked up."""


class Hub:
    """Takes changes down, and tells the pages."""

    def __init__(
        self,
        describe: Describe,
        describe_status: DescribeAtLength,
        record_of: Callable[[str, str], JobRecord | None],
        *,
        clock: Callable[[], float],
        ordered: bool = True,
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            describe: The summary that `job` events hold.
            describe_status: What `status` events hold.
            record_of: The job of a namespace and name, if it is there.
            clock: Monotonic, seconds.
            ordered: Changes come in the order of their versions: from one watch, of numbers. Else a page that comes
                back begins again.
        """
        self.feed: Final = Feed()
        self._describe = describe
        self._describe_status = describe_status
        self._record_of = record_of
        self._clock = clock
        self._ordered = ordered
        self._seen = 0
        self._following = False
        self._changes: dict[str, Change] = {}
        self._stirred = asyncio.Event()
        self._pages: set[Page] = set()
        self._topics: dict[JobKey, Topic] = {}
        self._batches: dict[tuple[object, ...], Sequence[bytes]] = {}
        self._numbers = itertools.count(1)
        self._digesting = asyncio.Lock()
        self._closing = False

    @property
    def pages(self) -> int:
        """Pages that are open."""
        return len(self._pages)

    def pages_of(self, owner: Hashable) -> int:
        """Pages that one reader has open."""
        return sum(page.owner == owner for page in self._pages)

    @property
    def watched(self) -> Mapping[JobKey, int]:
        """Jobs that somebody looks at closely, each with a number of its own since somebody began to."""
        return {job: topic.number for job, topic in self._topics.items()}

    def changed(self, record: JobRecord) -> None:
        """A job is new or has another state."""
        self._note(record, gone=False)

    def removed(self, record: JobRecord) -> None:
        """A job is gone."""
        self._note(record, gone=True)

    def following(self) -> None:
        """Everything there is was reported: what comes from now on are changes, in order."""
        self._following = True

    def progressed(self, job: JobKey, told: dict[str, Any]) -> None:
        """The workers of a job have told something new."""
        topic = self._topics.get(job)
        if topic is None:
            return
        topic.progress = sse.event("progress", orjson.dumps(told))
        topic.progress_number += 1
        self._stirred.set()

    def close(self) -> None:
        """End all streams, now and later."""
        self._closing = True
        self._wake()

    async def run(self) -> None:
        """Work changes off for ever."""
        pause = 0.0
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            began = self._clock()
            if self._pages or len(self._changes) > WAITING_MOST:
                await self._digest()
                self._wake()
            # While there is much to do, half of the time is left to those who take it from us; and what comes late
            # shows that they need more.
            asked = max(PACE, self._clock() - began, pause)
            began = self._clock()
            await asyncio.sleep(asked)
            pause = min(SLOWEST, 2 * (self._clock() - began - asked))

    async def stream(
        self, view: View, last_id: str = "", owner: Hashable = None, *, follow: bool = True
    ) -> AsyncGenerator[bytes, None]:
        """Everything that one page is told, from the beginning or from its last event's id.

        Args:
            view: Reviewed once already.
            last_id: Of the last event that the page got, from this replica or another.
            owner: Whose page it is.
            follow: False ends it once all was told that there is.
        """
        now = self._clock()
        page = Page(view, owner, reviewed=now, next_review=now + REVIEW_SECONDS)
        topic = self._enter(page)
        try:
            await self._digest()
            await self._learn(page)
            page.position = self._placed(view, last_id)
            yield sse.RETRY if page.position is None else sse.RETRY + b": goes on\n\n"
            told = self._clock()
            last = told + UNFOLLOWED_LONGEST
            while not self._closing:
                page.awake.clear()
                await self._review(page)
                await self._learn(page)
                for piece in self._news(page, topic):
                    yield piece
                    told = self._clock()
                if not follow and (self._told_all(page, topic) or self._clock() >= last):
                    return
                if self._clock() - told >= HEARTBEAT_SECONDS:
                    yield sse.HEARTBEAT
                    told = self._clock()
                due = told + HEARTBEAT_SECONDS if follow else min(told + HEARTBEAT_SECONDS, last)
                await _woken(page.awake, due - self._clock())
        except Expired as error:
            yield sse.event("expired", orjson.dumps({"detail": str(error)}))
        finally:
            self._leave(page)

    def _note(self, record: JobRecord, *, gone: bool) -> None:
        if self._ordered and not record.version.isdecimal():
            log.warning("resourceVersions are no numbers here: pages that come back begin again")
            self._ordered = False
        if self._ordered:
            version = int(record.version)
            # Only what was watched, and not listed, is later than every deletion before the list. A deletion comes
            # with the version that the job had before.
            if self._following and not gone and version > self._seen:
                self.feed.complete(version)
            self._seen = max(self._seen, version)
        # At the end, so that the versions of what waits ascend.
        self._changes.pop(record.uid, None)
        kept = None if gone else record
        self._changes[record.uid] = Change(record.uid, record.namespace, record.name, self._seen, kept)
        self._stirred.set()

    async def _digest(self) -> None:
        """Make bytes of what changed until now, once for all pages."""
        async with self._digesting:
            pause = self._clock() + SLICE
            for _ in range(len(self._changes)):
                self._work_off(self._changes.pop(next(iter(self._changes))))
                if self._clock() > pause:
                    await asyncio.sleep(0)
                    pause = self._clock() + SLICE
            self._batches.clear()

    def _work_off(self, change: Change) -> None:
        if change.record is None:
            left = {"namespace": change.namespace, "name": change.name, "uid": change.uid}
            self.feed.remove(change.uid, change.version, sse.event("deleted", orjson.dumps(left)))
            return
        try:
            data = self._describe(change.record)
            frame = sse.event("job", data)
            self.feed.put(change.uid, change.namespace, change.name, change.version, frame, data)
            topic = self._topics.get((change.namespace, change.name))
            if topic is not None:
                self._tell_status(topic, change.record)
        except Exception:
            # One job that nobody foresaw must not keep all others from the pages.
            log.exception("%s/%s can't be shown: going on without it", change.namespace, change.name)

    def _tell_status(self, topic: Topic, record: JobRecord) -> None:
        topic.record = record
        if topic.describing is None:
            topic.describing = asyncio.create_task(self._describe_topic(topic))

    async def _describe_topic(self, topic: Topic) -> None:
        """Make the status of one job, again as long as it changes meanwhile: nobody else waits for what it looks up."""
        try:
            while topic.record is not None:
                record, topic.record = topic.record, None
                try:
                    status = await self._describe_status(record)
                except Exception:
                    # The next one, which may have come meanwhile, is tried all the same.
                    log.exception("the status of %s can't be shown: going on without it", record.key)
                    continue
                topic.status = sse.event("status", status)
                topic.status_number += 1
                self._stirred.set()
        finally:
            topic.describing = None
            self._stirred.set()

    def _enter(self, page: Page) -> Topic | None:
        self._pages.add(page)
        job = page.view.job
        if job is None:
            return None
        topic = self._topics.get(job) or self._topics.setdefault(job, Topic(next(self._numbers)))
        topic.pages += 1
        record = self._record_of(*job)
        if topic.pages == 1 and record is not None:
            self._tell_status(topic, record)
        return topic

    def _leave(self, page: Page) -> None:
        self._pages.discard(page)
        job = page.view.job
        if job is None:
            return
        topic = self._topics[job]
        topic.pages -= 1
        if not topic.pages:
            del self._topics[job]
            if topic.describing is not None:
                topic.describing.cancel()

    def _wake(self) -> None:
        for page in self._pages:
            page.awake.set()

    def _placed(self, view: View, last_id: str) -> int | None:
        """Where a page goes on that had an event of this id; None where it has to begin again."""
        version, _, mark = last_id.partition("-")
        if not self._ordered or mark != view.mark or not (version.isascii() and version.isdigit()):
            return None
        return self.feed.place(int(version[:20]))

    def _identity(self, view: View) -> str:
        return f"{self.feed.version}-{view.mark}" if self._ordered else ""

    def _news(self, page: Page, topic: Topic | None) -> Iterator[bytes]:
        """What a page has not been told yet; its position is moved on at once."""
        view, feed = page.view, self.feed
        position = None if view.renewed else page.position
        view.renewed, page.position = False, feed.head
        pieces: Iterator[bytes] = iter(())
        if position is None:
            pieces = framing.snapshot(feed.jobs(view.visible), self._identity(view))
        elif position < feed.head:
            batch = self._batch(view, position)
            pieces = framing.snapshot(feed.jobs(view.visible), self._identity(view)) if batch is None else iter(batch)
        yield from pieces
        # A job that may not be seen, or is not there, has nothing close to look at either.
        shown = None if view.job is None else feed.job(*view.job)
        if topic is None or shown is None or not view.visible(shown):
            return
        if page.status != topic.status_number:
            page.status = topic.status_number
            yield topic.status
        if page.progress != topic.progress_number:
            page.progress = topic.progress_number
            yield topic.progress

    def _told_all(self, page: Page, topic: Topic | None) -> bool:
        job = page.view.job
        if topic is None or job is None or page.status:
            return True
        shown = self.feed.job(*job)
        # Of a job that may not be seen, is gone, or whose status can't be made, there is no more to tell.
        nothing_comes = topic.describing is None and page.status == topic.status_number
        return nothing_comes or shown is None or not page.view.visible(shown)

    def _batch(self, view: View, position: int) -> Sequence[bytes] | None:
        """What changed since, in pieces; the same objects for all pages that show the same and are as far."""
        key = (view.key, position, self.feed.head)
        known = self._batches.get(key)
        if known is None:
            entries = self.feed.since(position, view.visible)
            if entries is None:
                return None
            known = self._batches[key] = framing.pieces(entries, self._identity(view))
        return known

    async def _learn(self, page: Page) -> None:
        """Find out about namespaces that are new: all of them, before a page's position moves on beyond their jobs."""
        while page.view.undecided(self.feed.namespaces) and self._clock() >= page.next_learn:
            try:
                await page.view.learn(self.feed.namespaces)
                page.view.renewed = page.view.renewed or page.missed
                page.missed = False
            except Unanswered as error:
                page.missed, page.next_learn = True, self._clock() + LEARN_SECONDS
                log.warning("what a page's reader may see can't be checked now: %s", error)

    async def _review(self, page: Page) -> None:
        """See to it that a page shows what its reader may see.

        Raises:
            Expired: They are not signed in any more, or nobody can say so.
        """
        now = self._clock()
        if now < page.next_review:
            return
        page.next_review = now + REVIEW_SECONDS
        try:
            await page.view.review(self.feed.namespaces)
            page.reviewed = now
        except Unanswered as error:
            if now - page.reviewed > UNREVIEWED_LONGEST:
                raise Expired(f"it can't be checked any more what you may see: {error}") from error
            log.warning("what a page's reader may see can't be checked now: %s", error)


async def _woken(awake: asyncio.Event, seconds: float) -> None:
    """Wait, at most so long."""
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await awake.wait()
    except TimeoutError:
        return
