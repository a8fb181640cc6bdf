"""What is asked of an API server and how it is answered, for whoever measures; nothing in here knows how."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

import aiohttp

Verb: TypeAlias = Literal["get", "list", "watch", "create", "update", "patch", "delete", "other"]

_OF_METHODS: Final[dict[str, Verb]] = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and the head of its answer; a request that is repeated is another one each time.

    Attributes:
        verb: As Kubernetes calls it; "other" for what is about no object, such as discovery.
        resource: Plural, with its subresource: "pods", "pods/log", "generationjobs/status"; "" for discovery.
        further: A page of a list that is not the first.
        code: HTTP status, 0 where no answer came.
        seconds: Until the head of the answer was here.
    """

    verb: Verb
    resource: str
    further: bool
    code: int
    seconds: float


Observe: TypeAlias = Callable[[Exchange], None]


class Observing:
    """Tells of every request (middleware of aiohttp); also of those that kopf sends with our session."""

    def __init__(self, server: str, observe: Observe) -> None:
        """Prepare.

        Args:
            server: Url of the API server, which may lie below a path.
            observe: Called once an answer has begun, or will not come.
        """
        self._root = urlsplit(server).path.rstrip("/")
        self._observe = observe

    async def __call__(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Send a request, and tell of it."""
        clock = asyncio.get_running_loop().time
        began, code = clock(), 0
        try:
            response = await send(request)
            code = response.status
            return response
        finally:
            url = request.url
            verb, resource = asked(request.method, url.path.removeprefix(self._root), "watch" in url.query)
            further = verb == "list" and "continue" in url.query
            self._observe(Exchange(verb, resource, further, code, clock() - began))


def asked(method: str, path: str, watch: bool) -> tuple[Verb, str]:
    """Verb and resource of a request, by its path (k8s.io/apiserver, pkg/endpoints/request/requestinfo.go).

    Args:
        method: Of HTTP.
        path: Below the server's root.
        watch: Whether it asks to watch.
    """
    root, _, rest = path.strip("/").partition("/")
    parts = rest.split("/")[{"api": 1, "apis": 2}.get(root, len(path)) :]
    # Namespaces are a scope for what comes behind them, but for two parts: those are one of them.
    if len(parts) > 2 and parts[0] == "namespaces" and parts[2] not in ("status", "finalize"):
        parts = parts[2:]
    resource = "/".join(filter(None, (*parts[:1], *parts[2:3])))
    if not resource:
        return "other", ""
    if method == "GET":
        return ("watch" if watch else "get" if len(parts) > 1 else "list"), resource
    return _OF_METHODS.get(method, "other"), resource
