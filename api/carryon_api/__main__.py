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

import uvicorn

from carryon_api import app, config
from carryon_kube.connection import ConfigError, load

_GRACE_SECONDS = 2
"""For requests that are under way when the process is told to stop; open event streams are cut off after it."""


class _Server(uvicorn.Server):
    """Says where it serves, once it does; and being told to stop is no failure: it ends with 0."""

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
    server = _Server(
        uvicorn.Config(
            app.create(settings),
            log_config=None,
            access_log=False,
            lifespan="on",
            ws="none",
            # Only we decide whose word on a client's address counts.
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    with listener:
        asyncio.run(server.serve(sockets=[listener]))
    if not server.started:
        sys.exit(1)


if __name__ == "__main__":
    main()
