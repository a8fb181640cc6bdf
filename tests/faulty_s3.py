"""An S3 server that answers some requests in its own way, or breaks off, and forwards the others to a real one."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import urlsplit

Answer = tuple[int, bytes]


class _Server(BaseHTTPRequestHandler):
    """Answers by `rule`, or forwards to `upstream` without the headers in `strip`."""

    protocol_version = "HTTP/1.1"
    upstream: ClassVar[str] = ""
    strip: ClassVar[tuple[str, ...]] = ()
    rule: ClassVar[Callable[[BaseHTTPRequestHandler], Answer | None]]
    lost: ClassVar[Callable[[BaseHTTPRequestHandler], bool]]

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = type(self).rule(self)
        if answer is not None:
            self._answer(answer[0], {"Content-Type": "application/xml"}, answer[1])
            return
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=10)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in (*self.strip, "expect")}
        connection.request(self.command, self.path, body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if type(self).lost(self):
            self.close_connection = True
            return
        self._answer(response.status, dict(response.getheaders()), content)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header(
            "Content-Length", headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        )
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve

    def log_message(self, *args: object) -> None:
        """Silence."""


@contextmanager
def serving(
    upstream: str = "",
    *,
    rule: Callable[[BaseHTTPRequestHandler], Answer | None] = lambda _: None,
    lost: Callable[[BaseHTTPRequestHandler], bool] = lambda _: False,
    strip: tuple[str, ...] = (),
) -> Iterator[str]:
    handler = type(
        "Handler",
        (_Server,),
        {"upstream": upstream, "strip": strip, "rule": staticmethod(rule), "lost": staticmethod(lost)},
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def xml_error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said so</Message></Error>".encode()
