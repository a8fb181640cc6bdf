"""Starting and stopping the API server."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from carryon_standalone.apiserver.access import Authority, OneToken
from carryon_standalone.apiserver.app import Api
from carryon_standalone.apiserver.catalog import BUILTINS
from carryon_standalone.apiserver.controllers import (
    BudgetController,
    DefinitionController,
    EventExpiry,
    GarbageCollector,
    NamespaceController,
)
from carryon_standalone.apiserver.deletion import Deletion
from carryon_standalone.apiserver.nodes import GRACE, NodeLifecycle, TaintEviction
from carryon_standalone.apiserver.openapi import Documents
from carryon_standalone.apiserver.pods import PodActions
from carryon_standalone.apiserver.resources import Fields, Registry
from carryon_standalone.apiserver.storage import Object, Store
from carryon_standalone.apiserver.writes import Writes

_LARGEST_BODY: Final = 3 * 1024 * 1024
_SHUTDOWN_SECONDS: Final = 1.0
_FIELDS: Final = {each.storage_kind: each.strategy.fields for each in BUILTINS}


@dataclass(frozen=True, slots=True)
class Config:
    """How to serve.

    Args:
        data: Folder of the database; one server at a time.
        token: The bearer token of the machine's owner, who may do everything.
        logs: Folder with the logs of pods.
        host: Loopback address to listen on.
        port: Port; 0 picks a free one.
        tls: PEM of certificate and key; None serves plain http, over which kubectl sends no token.
        authority: Knows users and what they may, instead of that one token.
        node_grace: Seconds without a sign of life after which a node counts as lost.
    """

    data: Path
    token: str
    logs: Path
    host: str = "127.0.0.1"
    port: int = 0
    tls: Path | None = None
    authority: Authority | None = None
    node_grace: float = GRACE


def _fields_of(kind: str, value: Object) -> Fields:
    fields = _FIELDS.get(kind)
    return fields(value) if fields is not None else {}


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[str]:
    """A server for the time of the block; the URL it answers on.

    Raises:
        AlreadyServed: Another server holds the data folder.
        OSError: The address can't be bound.
    """
    context = _tls_context(config.tls) if config.tls is not None else None
    listener = socket.create_server((config.host, config.port), family=_family(config.host), backlog=512)
    try:
        store = Store.open(config.data, _fields_of)
    except BaseException:
        listener.close()
        raise
    registry = Registry(BUILTINS)
    writes, deletion = Writes(store), Deletion(store)
    controllers = (
        DefinitionController(store, registry, writes, deletion),
        BudgetController(store, registry, writes, deletion),
        GarbageCollector(store, registry, writes, deletion),
        namespaces := NamespaceController(store, registry, writes, deletion),
        lifecycle := NodeLifecycle(store, registry, writes, deletion, config.node_grace),
        TaintEviction(store, registry, writes, deletion, pods := PodActions(store, deletion)),
    )
    streams: set[asyncio.Task[object]] = set()
    authority = config.authority or OneToken(config.token)
    api = Api(store, registry, writes, deletion, pods, authority, config.logs, streams, Documents(registry))
    runner = web.ServerRunner(
        web.Server(api.handle, request_factory=_request, handler_cancellation=True, access_log=None),
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    loops: list[asyncio.Task[None]] = []
    try:
        await namespaces.bootstrap()
        expiry = EventExpiry(store, registry, writes, deletion)
        loops = [
            asyncio.create_task(run()) for run in (expiry.run, lifecycle.run, *(each.queue.run for each in controllers))
        ]
        await runner.setup()
        await web.SockSite(runner, listener, ssl_context=context).start()
        host, port = listener.getsockname()[:2]
        yield f"{'https' if context else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        for task in (*streams, *loops):
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await runner.cleanup()
        listener.close()
        await store.close()


async def serve(config: Config) -> None:
    """Serve until the task is cancelled."""
    async with running(config):
        await asyncio.Event().wait()


def _tls_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_LARGEST_BODY)
