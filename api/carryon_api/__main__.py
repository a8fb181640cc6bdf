"""`carryon-api`: serve until told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from carryon_api import app, config
from carryon_kube.connection import ConfigError, load

_GRACE_SECONDS = 2
"""For requests that are under way when the process is told to stop."""


class _Server(uvicorn.Server):
    """Says where it serves, once it does; told to stop it ends all streams, and with 0: that is no failure."""

    def __init__(self, settings: uvicorn.Config, application: FastAPI) -> None:
        super().__init__(settings)
        self._application = application

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        live = getattr(self._application.state, "live", None)
        if live is not None:
            live.hub.close()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            print(f"serving on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = config.parse(sys.argv[1:], os.environ)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        # Only to say in one sentence what is wrong with it: the application reads it again.
        load(settings.kubeconfig)
    except ConfigError as error:
        sys.exit(f"carryon-api: {error}")
    try:
        family = socket.AF_INET6 if ":" in settings.listen else socket.AF_INET
        listener = socket.create_server((settings.listen, settings.port), family=family, backlog=1024)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        sys.exit(
            f"carryon-api: {settings.listen}:{settings.port} can't be listened on: {why}; choose another --listen or"
            " --port"
        )
    application = app.create(settings)
    server = _Server(
        uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="on",
            ws="none",
            # Only we decide whose word on a client's address counts.
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        ),
        application,
    )
    with listener:
        asyncio.run(server.serve(sockets=[listener]))
    if not server.started:
        sys.exit(1)


if __name__ == "__main__":
    main()
