"""An API server on loopback that can be told to misbehave: what a real one does rarely, when a test wants it."""

from __future__ import annotations

import asyncio
import json
import time
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

Object = dict[str, Any]

BOOKMARK_SECONDS = 60.0
"""Of silence, after which a watch says that it is there."""


@dataclass(frozen=True)
class Fault:
    """What the server does to the next request that matches, instead of answering it.

    Attributes:
        status: Answered; 0 closes the connection without an answer.
        watch: Hits a watch (True), a list or anything else (False).
        done: What was asked for is done all the same: only the answer is lost.
        message: What the server says.
        path: Part of the request's path.
    """

    status: int
    method: str = "GET"
    watch: bool = False
    done: bool = False
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = ""


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    content_type: str
    authorization: str | None


class FakeApiServer:
    """Objects of any kind, by path of their collection; lists in pages, watches with bookmarks.

    Attributes:
        logs: Name of a pod -> what its container logged.
        clock: Of deletion timestamps.
        ending: Namespaces that are being deleted; all others that are asked for are there.
    """

    def __init__(self) -> None:
        self.logs: dict[str, str] = {}
        self.clock: Callable[[], float] = time.time
        self.ending: set[str] = set()
        self.url = ""
        self.version = 0
        self.objects: dict[str, Object] = {}
        self.seen: list[Seen] = []
        self.faults: deque[Fault] = deque()
        self.tokens: set[str] | None = None
        self.silent = False
        self.during_list: Callable[[int], None] = lambda page: None
        self._history: list[tuple[int, str, str, Object]] = []
        self._oldest = 0
        self._changed = asyncio.Event()
        self._watching: set[web.StreamResponse] = set()
        self._ended: set[web.StreamResponse] = set()

    # What tests do to it.

    def put(self, collection: str, name: str, namespace: str = "default", **fields: Any) -> Object:
        """Create an object, or change it."""
        key = f"{collection}/{namespace}/{name}"
        self.version += 1
        known = self.objects.get(key)
        metadata = {
            **(known["metadata"] if known else {}),
            "name": name,
            "namespace": namespace,
            "uid": known["metadata"]["uid"] if known else f"uid-{self.version}",
            "resourceVersion": str(self.version),
            **fields.pop("metadata", {}),
        }
        made = self.objects[key] = {"metadata": metadata, **fields}
        self._record("MODIFIED" if known else "ADDED", collection, made)
        return made

    def remove(self, collection: str, name: str, namespace: str = "default") -> None:
        """Delete an object."""
        gone = self.objects.pop(f"{collection}/{namespace}/{name}")
        self.version += 1
        gone = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.version)}}
        self._record("DELETED", collection, gone)

    def delete(self, collection: str, name: str, namespace: str = "default") -> None:
        """Delete an object, or mark it as being deleted where finalizers hold it."""
        known = self.objects[f"{collection}/{namespace}/{name}"]
        if known["metadata"].get("finalizers"):
            moment = datetime.fromtimestamp(self.clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self.put(collection, name, namespace, **{**known, "metadata": {"deletionTimestamp": moment}})
        else:
            self.remove(collection, name, namespace)

    def forget_history(self) -> None:
        """Compact: a watch or a continue token from before now is answered with 410."""
        self._oldest = self.version
        self._history.clear()

    def drop_watches(self) -> None:
        """Cut all open watches in the middle of the stream."""
        for response in self._watching:
            assert response._req is not None
            if response._req.transport is not None:
                response._req.transport.abort()

    def end_watches(self) -> None:
        """End all open watches as a server does when their time is up."""
        self._ended |= self._watching
        self._wake()

    @property
    def watchers(self) -> int:
        """Open watches."""
        return len(self._watching)

    def requests(self, method: str, *, watch: bool = False) -> list[Seen]:
        """Requests so far."""
        return [each for each in self.seen if each.method == method and ("watch" in each.query) == watch]

    # What it does.

    def _record(self, kind: str, collection: str, changed: Object) -> None:
        self._history.append((self.version, kind, collection, changed))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    @web.middleware
    async def _gate(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        content = await request.read()
        self.seen.append(
            Seen(
                request.method,
                request.path,
                dict(request.query),
                json.loads(content) if content else None,
                request.content_type,
                request.headers.get("Authorization"),
            )
        )
        if self.tokens is not None and request.headers.get("Authorization") not in {f"Bearer {t}" for t in self.tokens}:
            return _status(401, "Unauthorized", "Unauthorized")
        for fault in self.faults:
            watch = "watch" in request.query
            if (fault.method, fault.watch) == (request.method, watch) and fault.path in request.path:
                self.faults.remove(fault)
                if fault.done:
                    await handler(request)
                if fault.status == 0:
                    assert request.transport is not None
                    request.transport.abort()
                message = fault.message or f"told to answer {fault.status}"
                return _status(fault.status or 500, "Fault", message, fault.headers)
        return await handler(request)

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        collection, namespace = request.match_info["collection"], request.match_info.get("namespace")
        if request.method == "POST":
            body = await request.json()
            name = body["metadata"].pop("name")
            if f"{collection}/{namespace}/{name}" in self.objects:
                return _status(409, "AlreadyExists", f'{collection} "{name}" already exists')
            return web.json_response(self.put(collection, name, namespace, **body), status=201)
        if "watch" in request.query:
            return await self._watch(request, collection, namespace)
        return self._list(request, collection, namespace)

    def _list(self, request: web.Request, collection: str, namespace: str | None) -> web.Response:
        version, start = self.version, 0
        token = request.query.get("continue")
        if token is not None:
            version, start = map(int, token.split(":"))
            if version < self._oldest:
                return _status(410, "Expired", "The provided continue parameter is too old")
        page = start // int(request.query.get("limit", "500"))
        items = [
            each
            for key, each in sorted(self.objects.items())
            if key.startswith(f"{collection}/{namespace or ''}") and _matches(each, request.query.get("labelSelector"))
        ]
        end = start + int(request.query.get("limit", "500"))
        more = f"{version}:{end}" if end < len(items) else ""
        answer = web.json_response(
            {
                "kind": "PodList",
                "apiVersion": "v1",
                "metadata": {"resourceVersion": str(version), "continue": more},
                "items": items[start:end],
            }
        )
        self.during_list(page)
        return answer

    async def _watch(self, request: web.Request, collection: str, namespace: str | None) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = "application/json"
        await response.prepare(request)
        cursor = int(request.query["resourceVersion"])
        if cursor < self._oldest:
            await response.write(
                _line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
            )
            return response
        self._watching.add(response)
        clock = asyncio.get_running_loop().time
        ends, quiet_since = clock() + float(request.query.get("timeoutSeconds", "1800")), clock()
        try:
            while response not in self._ended:
                changed = self._changed
                for version, kind, where, what in self._history[bisect_right(self._history, cursor, key=_version) :]:
                    here = where == collection and namespace in (None, what["metadata"]["namespace"])
                    if here and not self.silent and _matches(what, request.query.get("labelSelector")):
                        await response.write(_line(kind, what))
                        quiet_since = clock()
                    cursor = version
                try:
                    async with asyncio.timeout_at(min(quiet_since + BOOKMARK_SECONDS, ends)):
                        await changed.wait()
                except TimeoutError:
                    if clock() >= ends:
                        break
                    quiet_since = clock()
                    if not self.silent:
                        await response.write(_bookmark(cursor))
            await response.write(_bookmark(self.version))
        except ConnectionResetError:
            pass
        finally:
            self._watching.discard(response)
            self._ended.discard(response)
        return response

    async def _object(self, request: web.Request) -> web.Response:
        collection, namespace = request.match_info["collection"], request.match_info["namespace"]
        name = request.match_info["name"]
        known = self.objects.get(f"{collection}/{namespace}/{name}")
        if known is None:
            return _status(404, "NotFound", f'{collection} "{name}" not found')
        if request.method == "GET":
            return web.json_response(known)
        body = await request.json()
        if request.method == "DELETE":
            if body.get("preconditions", {}).get("uid", known["metadata"]["uid"]) != known["metadata"]["uid"]:
                return _status(409, "Conflict", "the UID in the precondition does not match")
            version = body.get("preconditions", {}).get("resourceVersion", known["metadata"]["resourceVersion"])
            if version != known["metadata"]["resourceVersion"]:
                return _status(409, "Conflict", "the resourceVersion in the precondition does not match")
            self.delete(collection, name, namespace)
            return web.json_response({"kind": "Status", "status": "Success"})
        changed = body.pop("metadata", {})
        if changed.get("resourceVersion") not in (None, known["metadata"]["resourceVersion"]):
            return _status(409, "Conflict", "the object has been modified")
        fields = {key: value for key, value in known.items() if key != "metadata"}
        kept = {"metadata": {"finalizers": changed["finalizers"]}} if "finalizers" in changed else {}
        made = self.put(collection, name, namespace, **_merged(fields, body), **kept)
        if "deletionTimestamp" in made["metadata"] and not made["metadata"].get("finalizers"):
            self.remove(collection, name, namespace)
        return web.json_response(made)

    async def _namespace(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        ends = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if name in self.ending else {}
        return web.json_response({"kind": "Namespace", "metadata": {"name": name, **ends}})

    async def _log(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.logs:
            return _status(404, "NotFound", f'pods "{name}" not found')
        lines = self.logs[name].splitlines(keepends=True)[-int(request.query["tailLines"]) :]
        return web.Response(text="".join(lines)[: int(request.query["limitBytes"])])

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeApiServer]:
        """Answer requests while the context lasts."""
        app = web.Application(middlewares=[self._gate], client_max_size=2**24)
        for root in ("/api/v1", "/apis/{group}/{version}"):
            app.router.add_route("*", root + "/{collection}", self._collection)
            app.router.add_route("*", root + "/namespaces/{namespace}/{collection}", self._collection)
            app.router.add_route("*", root + "/namespaces/{namespace}/{collection}/{name}", self._object)
            app.router.add_route("*", root + "/namespaces/{namespace}/{collection}/{name}/status", self._object)
            app.router.add_route("GET", root + "/namespaces/{namespace}/{collection}/{name}/log", self._log)
        app.router.add_route("GET", "/api/v1/namespaces/{name}", self._namespace)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.drop_watches()
            await runner.cleanup()


def _matches(what: Object, selector: str | None) -> bool:
    if not selector:
        return True
    key, value = selector.split("=")
    return bool(what["metadata"].get("labels", {}).get(key) == value)


def _merged(old: Object, patch: Object) -> Object:
    made = {key: value for key, value in old.items() if patch.get(key, ...) is not None}
    for key, value in patch.items():
        if isinstance(value, dict):
            made[key] = _merged(old.get(key) or {}, value)
        elif value is not None:
            made[key] = value
    return made


def _line(kind: str, what: Object) -> bytes:
    return json.dumps({"type": kind, "object": what}).encode() + b"\n"


def _bookmark(version: int) -> bytes:
    return _line("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})


def _version(change: tuple[int, str, str, Object]) -> int:
    return change[0]


def _status(code: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return web.json_response(body, status=code, headers=headers)


async def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: It does not within the time.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, "waited in vain"
        await asyncio.sleep(0.01)
