"""What a worker answers over HTTP: /progress for whoever watches, /healthz for the liveness probe, /metrics."""

from __future__ import annotations

import logging
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from carryon_worker import metrics
from carryon_worker.ledger import Ledger

_log = logging.getLogger(__name__)


class _Handler(BaseHTTPRequestHandler):
    ledger: ClassVar[Ledger]
    timeout = 10

    def do_GET(self) -> None:
        if self.path == "/progress":
            self._answer(HTTPStatus.OK, "application/json", self.ledger.progress().model_dump_json(by_alias=True))
        elif self.path == "/healthz":
            healthy = self.ledger.healthy()
            status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
            text = "ok" if healthy else f"no movement for {self.ledger.idle():.0f} s"
            self._answer(status, "text/plain; charset=utf-8", text)
        elif self.path == "/metrics":
            self._answer(HTTPStatus.OK, metrics.CONTENT_TYPE, metrics.text(self.ledger))
        else:
            told = "here are /progress, /healthz and /metrics"
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", told)

    def _answer(self, status: HTTPStatus, content_type: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Probes every few seconds are no news."""


def serve(ledger: Ledger, address: str, port: int) -> None:
    """Answer in the background for as long as the process lives; a port that can't be had is logged, not fatal."""
    handler = type("Handler", (_Handler,), {"ledger": ledger})
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server_class = type("Server", (ThreadingHTTPServer,), {"address_family": family})
    try:
        server = server_class((address, port), handler)
    except OSError as error:
        _log.warning("no /progress and /healthz: %s port %s can't be bound: %s", address, port, error.strerror)
        return
    _log.info("/progress and /healthz on %s port %s", *server.server_address[:2])
    threading.Thread(target=server.serve_forever, name="endpoint", daemon=True).start()
