"""The API server over HTTP: dictionaries in, dictionaries out.

Small on purpose: typed models of 10,000 pods take seconds of the event loop and a gigabyte. What a fleet needs is here
instead: bounded connections, a bounded rate of writes, retries only where a request may be repeated.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp
import orjson
from multidict import CIMultiDict

from carryon_kube.connection import Authorization, Connection
from carryon_kube.errors import TooManyRequests, Unavailable, from_answer, from_status
from carryon_kube.fence import Fence, impatient_socket, request_class
from carryon_kube.observing import Observe, Observing
from carryon_kube.ratelimit import Backoff, FairTurns, TokenBucket
from carryon_kube.resources import PODS, Resource

Body = dict[str, Any]

PAGE: Final = 500
"""Objects in one page of a list."""
WATCH_SECONDS: Final = 300
"""How long the server keeps a watch open; an integer, or the server refuses it."""
SILENCE_SECONDS: Final = 70.0
"""A watch that brings nothing for so long is dead: servers send a bookmark every minute."""
_CONNECT_SECONDS: Final = 5.0
_REQUEST_SECONDS: Final = 30.0
_CONNECTIONS: Final = 64
_READ_AHEAD: Final = 2**21
_ATTEMPTS: Final = 4
_LONGEST_WAIT: Final = 30.0
_JSON: Final = "application/json"
_MERGE_PATCH: Final = "application/merge-patch+json"
_APPLY_PATCH: Final = "application/apply-patch+yaml"

flow: Final[ContextVar[str]] = ContextVar("flow", default="")
"""What requests are made for, such as the key of a job: those that wait to write have a turn each."""

log = logging.getLogger(__name__)


def _limits(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=min(seconds, _REQUEST_SECONDS), sock_connect=_CONNECT_SECONDS)


_REQUEST: Final = _limits(_REQUEST_SECONDS)


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list; `version` is the same on all its pages, and where a watch begins."""

    items: tuple[Body, ...]
    version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """A change: ADDED, MODIFIED, DELETED, or BOOKMARK (which has nothing but a resourceVersion)."""

    type: str
    object: Body


class Client:
    """A connection to one API server. Use as an async context manager.

    Every method raises the `ApiError` that fits; `Unavailable` also stands for a broken connection and for no answer
    within 30 s. GET, DELETE and creating by name are repeated then: doing them twice does them once. Everything is
    repeated after 429, which says that nothing was done.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        reload: Callable[[], Connection] | None = None,
        qps: float = 50.0,
        burst: int = 100,
        silence: float = SILENCE_SECONDS,
        agent: str = "carryon-operator",
        connector: aiohttp.TCPConnector | None = None,
        headers: Iterable[tuple[str, str]] = (),
        fence: Fence | None = None,
        observe: Observe | None = None,
    ) -> None:
        """Prepare a client, inside a running event loop; nothing is sent yet.

        Args:
            connection: Where to.
            reload: Reads the connection again, for credentials that expire. Blocking.
            qps: Writes a second, after the first `burst` ones.
            burst: Writes that may follow each other at once.
            silence: Seconds without a byte after which a watch is given up.
            agent: Who we are, for the server's audit log.
            connector: Connections that clients with the same `connection.tls` share; whoever made it closes it.
            headers: Sent with every request, such as whom we act for.
            fence: Asked before each write, and once more when its bytes are about to leave.
            observe: Told of every request of this client and of its sessions.
        """
        self.server: Final = connection.server
        self._proxy = connection.proxy
        self._agent = agent
        self._headers = tuple(headers)
        self._fence = fence
        self._own_connector = connector is None
        self._connector = connector or connector_of(connection, patient=fence is None)
        self._authorization = Authorization(connection, reload or (lambda: connection))
        self._observing = () if observe is None else (Observing(connection.server, observe),)
        self._session = self.session()
        self._writes = FairTurns(TokenBucket(qps, burst, asyncio.get_running_loop().time))
        self._silence = silence

    def session(self) -> aiohttp.ClientSession:
        """A session with these connections and credentials; whoever closes it closes neither."""
        return aiohttp.ClientSession(
            connector=self._connector,
            connector_owner=False,
            middlewares=(self._authorization, *self._observing),
            headers=CIMultiDict([("User-Agent", self._agent), ("Accept", _JSON), *self._headers]),
            proxy=self._proxy,
            read_bufsize=_READ_AHEAD,
            request_class=request_class(self._fence),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def acting_as(self, headers: Iterable[tuple[str, str]]) -> Client:
        """A client with the same rights and connections that sends further headers, such as whom it acts for."""
        made = copy.copy(self)
        made._headers = (*self._headers, *headers)
        made._own_connector = False
        made._session = made.session()
        return made

    async def close(self) -> None:
        """Close the connections, but for those that are shared."""
        await self._session.close()
        if self._own_connector:
            await self._connector.close()

    @property
    def throttled(self) -> float:
        """Seconds that writes have waited, all together, for their turn by `qps`."""
        return self._writes.waited

    async def get(self, resource: Resource, name: str, *, namespace: str | None = None) -> Body:
        """An object."""
        return await self._json("GET", resource.path(namespace, name))

    async def list_pages(
        self, resource: Resource, *, namespace: str | None = None, label_selector: str = ""
    ) -> AsyncIterator[Page]:
        """All objects, page by page: one consistent state of the collection.

        Raises:
            Gone: It took so long that the server forgot that state: begin again.
        """
        params = {"limit": str(PAGE), **({"labelSelector": label_selector} if label_selector else {})}
        while True:
            answer = await self._json("GET", resource.path(namespace), params=params)
            shared = {"apiVersion": answer.get("apiVersion"), "kind": answer.get("kind", "").removesuffix("List")}
            metadata = answer["metadata"]
            # Items of built-in kinds come without them.
            yield Page(tuple({**shared, **item} for item in answer.get("items") or ()), metadata["resourceVersion"])
            if not metadata.get("continue"):
                return
            params["continue"] = metadata["continue"]

    @asynccontextmanager
    async def watch(
        self, resource: Resource, *, version: str, namespace: str | None = None, label_selector: str = ""
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """What changed after `version`. Entered once the server has answered; ends when the server ends it.

        Raises:
            Gone: The server no longer remembers that version: list again.
            ApiError: Anything else; go on from the last version that was seen.
        """
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
            **({"labelSelector": label_selector} if label_selector else {}),
        }
        limits = aiohttp.ClientTimeout(sock_connect=_CONNECT_SECONDS, sock_read=self._silence)
        async with await self._open("GET", resource.path(namespace), params=params, limits=limits) as response:
            yield _events(response)

    async def create(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        namespace: str | None = None,
        strict: bool = False,
        dry_run: bool = False,
        manager: str = "",
    ) -> Body:
        """Create an object; as it was stored.

        Args:
            resource: Its kind.
            body: The object.
            namespace: Where to.
            strict: Refuse fields that its kind does not have, instead of dropping them.
            dry_run: Only have it checked, with all that a server does before it stores anything.
            manager: Who the fields belong to, instead of the first part of our agent's name.

        Raises:
            AlreadyExists: There is one of that name: perhaps this one, if the answer to the first attempt was lost.
        """
        named = "name" in body.get("metadata", {})
        params = _write_params(strict=strict, dry_run=dry_run, manager=manager)
        return await self._json("POST", resource.path(namespace), params=params, body=body, repeatable=named)

    async def update(
        self,
        resource: Resource,
        name: str,
        body: Mapping[str, Any],
        *,
        namespace: str | None = None,
        strict: bool = False,
    ) -> Body:
        """Put a whole object in the place of the one that is there; as it was stored.

        Raises:
            Conflict: The object has another resourceVersion than `body`.
        """
        return await self._json("PUT", resource.path(namespace, name), params=_write_params(strict=strict), body=body)

    async def apply(
        self,
        resource: Resource,
        name: str,
        body: Mapping[str, Any],
        *,
        namespace: str | None = None,
        manager: str,
        strict: bool = False,
        dry_run: bool = False,
    ) -> Body:
        """Server-side apply, also of fields that others own; as it was stored, or would be (see `create`)."""
        return await self._json(
            "PATCH",
            resource.path(namespace, name),
            params={**_write_params(strict=strict, dry_run=dry_run, manager=manager), "force": "true"},
            body=body,
            content_type=_APPLY_PATCH,
            repeatable=True,
        )

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Mapping[str, Any],
        *,
        namespace: str | None = None,
        subresource: str | None = None,
    ) -> Body:
        """Change an object by a JSON merge patch (RFC 7386); as it was stored.

        Raises:
            Conflict: The patch holds a `metadata.resourceVersion`, and the object has another.
        """
        path = resource.path(namespace, name, subresource)
        return await self._json("PATCH", path, body=patch, content_type=_MERGE_PATCH)

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        uid: str | None = None,
        version: str | None = None,
        grace_seconds: int | None = None,
        propagation: str | None = None,
    ) -> None:
        """Delete an object.

        Args:
            resource: Its kind.
            name: Of the object.
            namespace: Of the object.
            uid: Delete only the object that has it.
            version: Delete it only as long as it has this resourceVersion.
            grace_seconds: Instead of the object's own grace period.
            propagation: Background, Foreground or Orphan.

        Raises:
            NotFound: It is gone already.
            Conflict: The object of that name has another uid, or was changed.
        """
        options: Body = {"apiVersion": "v1", "kind": "DeleteOptions"}
        conditions = {"uid": uid, "resourceVersion": version}
        if any(conditions.values()):
            options["preconditions"] = {key: value for key, value in conditions.items() if value is not None}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if propagation is not None:
            options["propagationPolicy"] = propagation
        await self._json("DELETE", resource.path(namespace, name), body=options)

    async def pod_log(
        self, name: str, *, namespace: str, container: str, tail_lines: int, limit_bytes: int | None = None
    ) -> str:
        """The last lines of a container's log; of those, the first bytes up to the limit."""
        params = {"container": container, "tailLines": str(tail_lines)}
        if limit_bytes is not None:
            params["limitBytes"] = str(limit_bytes)
        content = await self._bytes("GET", PODS.path(namespace, name, "log"), params=params)
        return content.decode(errors="replace")

    async def openapi(self, api_version: str) -> Body:
        """What the server says of the resources of a group's version: OpenAPI 3, which whoever is signed in may read.

        Args:
            api_version: Such as `carryon.dev/v1alpha1`.
        """
        return await self._json("GET", f"/openapi/v3/apis/{api_version}")

    async def _json(self, method: str, path: str, **request: Any) -> Body:
        content = await self._bytes(method, path, **request)
        try:
            answer: Body = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise Unavailable(0, "NotJSON", f"{method} {path}: the answer is no JSON: {error}") from error
        return answer

    async def _bytes(self, method: str, path: str, *, repeatable: bool = False, **request: Any) -> bytes:
        """Send until it works, as often as that is safe; `repeatable` says that it is, whatever became of it before."""
        repeatable = repeatable or method in ("GET", "DELETE")
        backoff = Backoff(0.2, 5.0)
        while True:
            limits = _REQUEST
            if method != "GET":
                await self._writes.take(flow.get())
                if self._fence is not None:
                    limits = _limits(self._fence())
            try:
                async with await self._open(method, path, limits=limits, **request) as response:
                    with _transport(method, path):
                        return await response.read()
            except (TooManyRequests, Unavailable) as error:
                wait = max(backoff.next(), error.retry_after or 0.0)
                safe = repeatable or isinstance(error, TooManyRequests)
                if not safe or backoff.failures() == _ATTEMPTS or wait > _LONGEST_WAIT:
                    raise
                log.debug("%s %s: %s; again in %.1f s", method, path, error, wait)
                await asyncio.sleep(wait)

    async def _open(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        limits: aiohttp.ClientTimeout = _REQUEST,
    ) -> aiohttp.ClientResponse:
        """Send once; the answer, if it is a success, with its body still to be read."""
        with _transport(method, path):
            response = await self._session.request(
                method,
                self.server + quote(path),
                params=params,
                data=None if body is None else _encoded(body),
                headers={} if body is None else {"Content-Type": content_type},
                timeout=limits,
            )
            if response.status >= 400:
                async with response:
                    raise from_answer(response.status, await response.read(), response.headers)
        return response


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        # Whole numbers beyond 64 bits: YAML has them, and the server says what it makes of them.
        return json.dumps(body).encode()


def connector_of(connection: Connection, *, patient: bool = True) -> aiohttp.TCPConnector:
    """Connections to a server, inside a running event loop.

    Args:
        connection: Where to.
        patient: Leave it to the kernel how long what was sent may stay unacknowledged: minutes, and even after the
            process has ended. Otherwise a request that a broken network holds back soon arrives no more.
    """
    factory = None if patient else impatient_socket
    return aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=connection.tls, socket_factory=factory)


def _write_params(*, strict: bool = False, dry_run: bool = False, manager: str = "") -> dict[str, str]:
    return {
        **({"fieldValidation": "Strict"} if strict else {}),
        **({"dryRun": "All"} if dry_run else {}),
        **({"fieldManager": manager} if manager else {}),
    }


@contextmanager
def _transport(method: str, path: str) -> Iterator[None]:
    """What goes wrong on the way to the server and back, as an `Unavailable`."""
    try:
        yield
    except TimeoutError as error:
        raise Unavailable(0, "Timeout", f"{method} {path}: no answer in time") from error
    except aiohttp.ClientError as error:
        raise Unavailable(0, "Unreachable", f"{method} {path}: {error or type(error).__name__}") from error


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[WatchEvent]:
    """The events of a watch, one JSON document a line; read in chunks, for a line at a time costs half the speed."""
    rest = b""
    with _transport(response.method, response.url.path):
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield _event(line)


def _event(line: bytes) -> WatchEvent:
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Unavailable(0, "NotJSON", f"a line of the watch is no JSON: {error}") from error
    if event["type"] == "ERROR":
        raise from_status(event["object"])
    return WatchEvent(event["type"], event["object"])
