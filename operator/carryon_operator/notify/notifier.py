"""Delivers what status holds as pending: a few at a time, fewer at one host, and never in a reconcile's way."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from carryon_core.notifications import pending, webhooks
from carryon_operator.jobs import JobCache, key_of
from carryon_operator.plan.model import DeliveryAttempt, DeliveryEnd
from carryon_operator.plan.notifying import PATIENCE, Delivery, due

AT_ONCE: Final = 16
"""Attempts at a time."""
AT_ONE_HOST: Final = 2
OF_ONE_NAMESPACE: Final = 8
"""Half of them: receivers that hang are somebody's own trouble."""
WAITING_MOST: Final = 4096
"""Deliveries that wait for their turn; further ones are looked for again later."""
_LATER: Final = 30.0

_Ident: TypeAlias = tuple[str, str, str]
"""Uid of the job, digest of the url, id of the event."""

_Line: TypeAlias = tuple[str, str]
"""Namespace of the job, host of the url: what goes there waits in one line."""

log = logging.getLogger(__name__)


class Postman(Protocol):
    """Who makes an attempt."""

    async def post(self, job: Mapping[str, Any], delivery: Delivery) -> DeliveryAttempt:
        """Try once; whatever goes wrong is in what is returned."""


class Notifier:
    """Takes up what is due, and keeps what came of it until status has it."""

    def __init__(
        self,
        postman: Postman,
        jobs: JobCache,
        ring: Callable[[str], None],
        clock: Callable[[], float],
        *,
        at_once: int = AT_ONCE,
        at_one_host: int = AT_ONE_HOST,
        of_one_namespace: int = OF_ONE_NAMESPACE,
        waiting_most: int = WAITING_MOST,
    ) -> None:
        """Start empty, with nothing under way.

        Args:
            postman: Makes the attempts.
            jobs: To look jobs up in.
            ring: Called with the key of a job of which there is something to write down.
            clock: Seconds since the epoch.
            at_once: Attempts at a time.
            at_one_host: Of these, to one host.
            of_one_namespace: Of these, for jobs of one namespace.
            waiting_most: Deliveries that may wait.
        """
        self._postman = postman
        self._jobs = jobs
        self._ring = ring
        self._clock = clock
        self._at_once = at_once
        self._at_one_host = at_one_host
        self._of_one_namespace = of_one_namespace
        self._waiting_most = waiting_most
        self._closed = False
        self._waiting: OrderedDict[_Line, deque[tuple[str, _Ident]]] = OrderedDict()
        self._busy: set[_Ident] = set()
        self._hosts: Counter[str] = Counter()
        self._namespaces: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._posted: dict[str, dict[_Ident, DeliveryAttempt]] = {}
        self._quiet_until: dict[str, float] = {}

    @property
    def depth(self) -> int:
        """Deliveries that wait or are under way."""
        return len(self._busy)

    def look(self, key: str) -> float | None:
        """Take up what is due of a job as it is known now; returns at once.

        Returns:
            Seconds until the next is due, None if none is.
        """
        job = self._jobs.get(key)
        if self._closed or job is None or job["metadata"].get("deletionTimestamp"):
            return None
        waiting, uid, now = pending(job), job["metadata"]["uid"], self._clock()
        self._settle(uid, {(uid, each.url, each.id): each.attempts for each in waiting})
        if not waiting:
            return None
        ready, later = due(webhooks(job), waiting, now)
        moments = [delivery.at for delivery in later]
        for delivery in ready:
            ident = (uid, delivery.notification.url, delivery.notification.id)
            quiet = self._quiet_until.get(delivery.hook.url, 0.0)
            if ident in self._busy or ident in self._posted.get(uid, ()):
                continue
            if quiet > now:
                moments.append(quiet)
            elif len(self._busy) >= self._waiting_most:
                moments.append(now + _LATER)
            else:
                self._busy.add(ident)
                line = (job["metadata"]["namespace"], _host(delivery))
                self._waiting.setdefault(line, deque()).append((key, ident))
        self._begin()
        return max(min(moments) - now, 0.0) if moments else None

    def posted(self, uid: str) -> tuple[DeliveryAttempt, ...]:
        """Attempts for a job that status may not have heard of."""
        return tuple(self._posted.get(uid, {}).values())

    def forget(self, uid: str) -> None:
        """A job is gone: what came of its notifications is nobody's any more."""
        self._posted.pop(uid, None)

    async def close(self) -> None:
        """End what is under way: the next start delivers it again."""
        self._closed = True
        self._waiting.clear()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _settle(self, uid: str, attempts: Mapping[_Ident, int]) -> None:
        """Let go of what status holds now, or has no use for any more."""
        kept = self._posted.get(uid)
        if kept is None:
            return
        for ident, attempt in tuple(kept.items()):
            if attempts.get(ident, attempt.number) >= attempt.number:
                del kept[ident]
        if not kept:
            del self._posted[uid]

    def _begin(self) -> None:
        """Begin as many as may be under way, the lines in turn."""
        for line in tuple(self._waiting):
            waiting = self._waiting[line]
            while waiting and self._may_begin(line):
                self._count(line, 1)
                task = asyncio.create_task(self._deliver(line, *waiting.popleft()))
                self._tasks.add(task)
                task.add_done_callback(self._ended)
                # Whoever had a turn is last.
                self._waiting.move_to_end(line)
            if not waiting:
                del self._waiting[line]

    def _may_begin(self, line: _Line) -> bool:
        namespace, host = line
        return (
            len(self._tasks) < self._at_once
            and self._hosts[host] < self._at_one_host
            and self._namespaces[namespace] < self._of_one_namespace
        )

    def _count(self, line: _Line, change: int) -> None:
        for counts, each in zip((self._namespaces, self._hosts), line, strict=True):
            counts[each] += change
            if not counts[each]:
                del counts[each]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()
            self._begin()

    async def _deliver(self, line: _Line, key: str, ident: _Ident) -> None:
        try:
            attempt = await self._attempt(key, ident)
        finally:
            self._count(line, -1)
            self._busy.discard(ident)
        job = self._jobs.get(key)
        if attempt is not None and job is not None and job["metadata"]["uid"] == ident[0]:
            self._posted.setdefault(ident[0], {})[ident] = attempt
            self._ring(key)

    async def _attempt(self, key: str, ident: _Ident) -> DeliveryAttempt | None:
        """Deliver, if that is still wanted: it may have waited."""
        job = self._jobs.get(key)
        delivery = _wanted(job, ident) if job is not None else None
        if job is None or delivery is None:
            return None
        told = delivery.notification
        try:
            attempt = await self._postman.post(job, delivery)
        except Exception:
            log.exception("%s: notification %s could not be sent", key_of(job), told.id)
            attempt = DeliveryAttempt(
                told.url,
                told.id,
                told.attempts + 1,
                self._clock(),
                DeliveryEnd.FAILED,
                "the operator failed: see its log",
            )
        if attempt.wait is not None:
            self._quieten(delivery.hook.url, attempt.at + min(attempt.wait, PATIENCE))
        return attempt

    def _quieten(self, url: str, until: float) -> None:
        """Leave a receiver alone, in all jobs: it asked for that."""
        now = self._clock()
        self._quiet_until = {each: at for each, at in self._quiet_until.items() if at > now}
        self._quiet_until[url] = max(until, self._quiet_until.get(url, 0.0))


def _wanted(job: Mapping[str, Any], ident: _Ident) -> Delivery | None:
    """What a delivery that was taken up is now, None where nobody wants it any more."""
    if job["metadata"]["uid"] != ident[0] or job["metadata"].get("deletionTimestamp"):
        return None
    ready, later = due(webhooks(job), pending(job), 0.0)
    return next((each for each in (*ready, *later) if (each.notification.url, each.notification.id) == ident[1:]), None)


def _host(delivery: Delivery) -> str:
    return urlsplit(delivery.hook.url).netloc.lower()
