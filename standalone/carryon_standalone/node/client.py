"""The node's own small Kubernetes client.

Two kinds of failure and no more: `Unreachable` is worth another try (connection lost, server restarting, overloaded),
`Refused` is an answer. An API server that is away is normal here: whoever must get a message through uses
`request_until_answered`, and `follow` lists and watches for ever.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import aiohttp
import orjson

from carryon_standalone.node.pods import Object

log = logging.getLogger(__name__)

WATCH_SECONDS: Final = 300
MERGE_PATCH: Final = "application/merge-patch+json"

Method = Literal["GET", "POST", "PATCH", "DELETE"]


class Unreachable(Exception):
    """The API server gave no usable answer; another try may."""


class Refused(Exception):
    """The API server answered no.

    Attributes:
        status: HTTP status.
        reason: Kubernetes' reason, such as NotFound or Conflict.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class _Expired(Exception):
    """The watch fell behind the server's history (410): list anew."""


@dataclass(frozen=True)
class Listed:
    """Everything there is; what is not among it is gone."""

    items: tuple[Object, ...]


@dataclass(frozen=True)
class Changed:
    """One object was added or modified."""

    object: Object


@dataclass(frozen=True)
class Deleted:
    """One object is gone; this is its last state."""

    object: Object


def backoff(first: float = 0.1, longest: float = 5.0) -> Iterator[float]:
    """Delays that double."""
    delay = first
    while True:
        yield delay
        delay = min(delay * 2, longest)


class ApiClient:
    """Requests to one API server; use as an async context manager."""

    def __init__(self, server: str, token_file: Path, authority: Path | None = None) -> None:
        self._server = server.rstrip("/")
        self._trusted = ssl.create_default_context(cafile=authority) if authority is not None else True
        self._token_file = token_file
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> ApiClient:
        # trust_env stays off: the API server is on this machine, never behind the user's proxy.
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=self._trusted))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def _headers(self) -> dict[str, str]:
        try:
            token = self._token_file.read_text().strip()
        except OSError as error:
            raise Unreachable(f"can't read the token: {error}") from error
        return {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": "carryon-node"}

    async def request(
        self,
        method: Method,
        path: str,
        body: Object | None = None,
        params: Mapping[str, str] | None = None,
        timeout_seconds: float = 15.0,
    ) -> Object:
        """One request; a PATCH is a JSON merge patch.

        Raises:
            Unreachable: No answer, or one that says to try again (429, 5xx, 401 while a token is being renewed).
            Refused: Any other answer but success.
        """
        headers = self._headers()
        if body is not None:
            headers["Content-Type"] = MERGE_PATCH if method == "PATCH" else "application/json"
        try:
            async with self._session.request(
                method,
                self._server + path,
                data=None if body is None else orjson.dumps(body),
                params=params,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            ) as answer:
                return _checked(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{method} {path}: {error or type(error).__name__}") from error

    async def request_until_answered(
        self, method: Method, path: str, body: Object | None = None, params: Mapping[str, str] | None = None
    ) -> Object:
        """Like `request`, but tries until the server is there.

        Raises:
            Refused: The server's answer is no.
        """
        for delay in backoff():
            try:
                return await self.request(method, path, body, params)
            except Unreachable as error:
                log.debug("waiting for the API server: %s", error)
                await asyncio.sleep(delay)
        raise AssertionError("backoff never ends")

    async def follow(self, path: str) -> AsyncIterator[Listed | Changed | Deleted]:
        """All objects under a path, then every change, for ever: a lost connection or an expired version lists anew."""
        delays = backoff()
        while True:
            try:
                listing = await self.request("GET", path)
                delays = backoff()
                yield Listed(tuple(listing["items"]))
                version = listing["metadata"]["resourceVersion"]
                while True:
                    async for kind, item in self._watch(path, version):
                        version = item["metadata"]["resourceVersion"]
                        if kind == "DELETED":
                            yield Deleted(item)
                        elif kind != "BOOKMARK":
                            yield Changed(item)
                    await asyncio.sleep(next(delays))  # a server that ends watches at once must not be hammered
            except _Expired:
                log.debug("watch of %s expired, listing anew", path)
            except (Unreachable, Refused) as error:
                log.debug("can't follow %s: %s", path, error)
                await asyncio.sleep(next(delays))

    async def _watch(self, path: str, version: str) -> AsyncIterator[tuple[str, Object]]:
        params = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=WATCH_SECONDS + 30)
        try:
            async with self._session.get(
                self._server + path, params=params, headers=self._headers(), timeout=timeout
            ) as answer:
                if answer.status == 410:
                    raise _Expired
                if answer.status != 200:
                    _checked(answer.status, await answer.read())
                # readline() has a length limit that a pod with a large environment exceeds.
                pending = bytearray()
                async for chunk in answer.content.iter_any():
                    pending += chunk
                    *lines, rest = bytes(pending).split(b"\n")
                    pending = bytearray(rest)
                    for line in lines:
                        event = orjson.loads(line)
                        if event["type"] == "ERROR":
                            raise _Expired
                        yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"watch {path}: {error or type(error).__name__}") from error


def _checked(status: int, body: bytes) -> Object:
    """The answer's object.

    Raises:
        Unreachable: The status says to try again.
        Refused: Any other status that is not success.
    """
    if status == 429 or status >= 500 or status == 401:
        raise Unreachable(f"HTTP {status}: {body[:200].decode(errors='replace')}")
    try:
        answer = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        answer = {"message": body[:200].decode(errors="replace")}
    if status >= 400:
        raise Refused(status, answer.get("reason", ""), answer.get("message", f"HTTP {status}"))
    result: Object = answer
    return result
