"""A cache of a collection that follows the API server: list, watch, and after a gap list again.

What kopf's index lacks is why this exists: an object that vanished while nobody was watching is noticed by the next
list and reported as deleted (client-go, tools/cache/reflector.go and delta_fifo.go).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NoReturn, TypeVar

from carryon_kube.client import Body, Client, WatchEvent
from carryon_kube.errors import ApiError, Gone
from carryon_kube.ratelimit import Backoff
from carryon_kube.resources import Resource

R = TypeVar("R")
T = TypeVar("T")
OnChange = Callable[[R | None, R | None], None]
"""Called with the record before and after: (None, new), (old, new) or (old, None)."""

_LONGEST_WAIT: Final = 60.0
"""Seconds that the server may ask us to stay away."""

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Scope(Generic[R]):
    """A namespace that is followed, or all of them.

    Attributes:
        heard: When the server last said something, on the loop's clock; `tried`: when it was last asked.
        version: To watch from; None: there is a gap.
        asked: Who waits for a new list.
        pause: What ends as soon as somebody does.
    """

    namespace: str | None
    heard: float
    tried: float
    version: str | None = None
    listed: bool = False
    records: dict[str, R] = field(default_factory=dict)
    asked: list[asyncio.Future[None]] = field(default_factory=list)
    pause: asyncio.Timeout | None = None


class Informer(Generic[R]):
    """Small records of all objects of a kind, up to date but for the delay of a watch.

    Attributes:
        synced: Set once everything was listed.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        project: Callable[[Body], R],
        owner: Callable[[R], str],
        namespaces: Iterable[str] = (),
        label_selector: str = "",
    ) -> None:
        """Prepare, inside a running event loop; `run` does the work.

        Args:
            client: Of the API server.
            resource: What to follow.
            project: Makes the record that is kept of an object; equal records are no change.
            owner: Key under which `get_by_owner` finds a record.
            namespaces: To follow; none means all of them, with one watch.
            label_selector: Only objects that match.
        """
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._resource = resource
        self._project = project
        self._owner = owner
        self._selector = label_selector
        now = self._loop.time()
        self._scopes = [_Scope[R](namespace, now, now) for namespace in tuple(namespaces) or (None,)]
        self._by_owner: dict[str, dict[str, R]] = {}
        self._listeners: list[OnChange[R]] = []
        self.synced = asyncio.Event()

    def __len__(self) -> int:
        return sum(len(scope.records) for scope in self._scopes)

    def __iter__(self) -> Iterator[R]:
        return (record for scope in self._scopes for record in scope.records.values())

    @property
    def silence(self) -> float:
        """Seconds since the server was last heard, on the watch that is quiet the longest."""
        return self._loop.time() - min(scope.heard for scope in self._scopes)

    @property
    def stuck(self) -> float:
        """Seconds since the server was last heard or asked, on the watch where that is longest.

        Followers that work ask again soon, whatever the server answers: this grows where one of them does not.
        """
        return self._loop.time() - min(max(scope.heard, scope.tried) for scope in self._scopes)

    def get_by_owner(self, key: str) -> tuple[R, ...]:
        """All records of an owner."""
        return tuple(self._by_owner.get(key, {}).values())

    def subscribe(self, on_change: OnChange[R]) -> None:
        """Have every change reported, as it enters the cache."""
        self._listeners.append(on_change)

    async def refresh(self) -> None:
        """List everything anew, through whatever the server answers; only while `run` is at work.

        On return the cache shows what the server had when this was called, or later: a watch may lag behind, or be
        dead and not known to be.
        """
        asked = []
        for scope in self._scopes:
            done = self._loop.create_future()
            asked.append(done)
            scope.asked.append(done)
            # One that has expired is on its way out already, and may not be set anew.
            if scope.pause is not None and not scope.pause.expired():
                scope.pause.reschedule(self._loop.time())
        await asyncio.gather(*asked)

    async def run(self) -> NoReturn:
        """Follow the server for ever, through whatever it answers."""
        async with asyncio.TaskGroup() as group:
            for scope in self._scopes:
                group.create_task(self._follow(scope))
        raise AssertionError("followers never return")

    async def _follow(self, scope: _Scope[R]) -> NoReturn:
        backoff = Backoff(0.5, 30.0)
        where = f"{self._resource.plural} in {scope.namespace or 'all namespaces'}"
        while True:
            scope.tried = self._loop.time()
            told_to_wait = 0.0
            try:
                while scope.version is None or scope.asked:
                    asked = tuple(scope.asked)
                    scope.version = await self._list(scope)
                    _answer(scope, asked)
                heard = await _unless_asked(scope, self._watch(scope, scope.version))
            except Gone as error:
                log.info("%s: listing again: %s", where, error)
                scope.version = None
            except ApiError as error:
                log.warning("%s: %s; trying again", where, error)
                told_to_wait = min(error.retry_after or 0.0, _LONGEST_WAIT)
            else:
                if heard:
                    backoff.forget()
                if heard or scope.asked:
                    continue
            await _unless_asked(scope, asyncio.sleep(max(backoff.next(), told_to_wait)))

    async def _list(self, scope: _Scope[R]) -> str:
        """Bring the cache to what the server has now; the version to watch from."""
        seen: set[str] = set()
        version = ""
        async for page in self._client.list_pages(
            self._resource, namespace=scope.namespace, label_selector=self._selector
        ):
            scope.heard = self._loop.time()
            version = page.version
            for raw in page.items:
                seen.add(raw["metadata"]["uid"])
                self._put(scope, raw)
        for uid in [uid for uid in scope.records if uid not in seen]:
            self._drop(scope, uid)
        scope.listed = True
        if all(each.listed for each in self._scopes):
            self.synced.set()
        return version

    async def _watch(self, scope: _Scope[R], version: str) -> bool:
        """Follow until the server ends the watch; whether it brought anything."""
        heard = False
        async with self._client.watch(
            self._resource, version=version, namespace=scope.namespace, label_selector=self._selector
        ) as events:
            scope.heard = self._loop.time()
            async for event in events:
                scope.heard = self._loop.time()
                heard = True
                self._apply(scope, event)
        return heard

    def _apply(self, scope: _Scope[R], event: WatchEvent) -> None:
        metadata: dict[str, Any] = event.object["metadata"]
        if event.type == "DELETED":
            self._drop(scope, metadata["uid"])
        elif event.type in ("ADDED", "MODIFIED"):
            self._put(scope, event.object)
        # Last: what a failure interrupted is delivered again.
        scope.version = metadata["resourceVersion"]

    def _put(self, scope: _Scope[R], raw: Body) -> None:
        uid = raw["metadata"]["uid"]
        try:
            new = self._project(raw)
        except Exception:
            # One object that nobody foresaw must not blind us to all the others.
            log.exception("%s %s cannot be read: going on without it", self._resource.plural, raw["metadata"]["name"])
            self._drop(scope, uid)
            return
        old = scope.records.get(uid)
        if old == new:
            return
        if old is not None:
            self._disown(old, uid)
        scope.records[uid] = new
        self._by_owner.setdefault(self._owner(new), {})[uid] = new
        self._report(old, new)

    def _drop(self, scope: _Scope[R], uid: str) -> None:
        old = scope.records.pop(uid, None)
        if old is None:
            return
        self._disown(old, uid)
        self._report(old, None)

    def _disown(self, record: R, uid: str) -> None:
        owner = self._owner(record)
        del self._by_owner[owner][uid]
        if not self._by_owner[owner]:
            del self._by_owner[owner]

    def _report(self, old: R | None, new: R | None) -> None:
        for listener in self._listeners:
            listener(old, new)


async def _unless_asked(scope: _Scope[R], work: Awaitable[T]) -> T | None:
    """Do something that ends, with None, when somebody asks for a new list."""
    try:
        async with asyncio.timeout(None) as scope.pause:
            return await work
    except TimeoutError:
        return None
    finally:
        scope.pause = None


def _answer(scope: _Scope[R], asked: Iterable[asyncio.Future[None]]) -> None:
    """Tell those that asked before a list that it is there."""
    for each in asked:
        scope.asked.remove(each)
        if not each.done():
            each.set_result(None)
