"""The relay of the recipes, as a process that our messages are sent to: chat, e-mail, and what it does not believe."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from carryon_core.notifications import Counts, Notification
from carryon_operator.notify import message
from processes import free_port
from receiver import Receiver
from relays import RELAY, relay

ROOT = RELAY.parents[1]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
JOB = {"metadata": {"namespace": "studio", "name": "reel", "uid": "uid"}, "status": {}}
TOLD = Notification(
    hook=0,
    url="",
    id="uid-failed-1",
    condition="Failed",
    time="2026-01-01T00:00:00Z",
    units=Counts(total=15, succeeded=13, failed=2),
)


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[int]:
    """The port of a relay that listens."""
    port = free_port()
    command = [sys.executable, str(RELAY), "--listen", f"127.0.0.1:{port}", *arguments]
    process = subprocess.Popen(command, env={**os.environ, "WEBHOOK_SECRET": SECRET, **environment})
    try:
        deadline = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def post(port: int, secret: str = SECRET, told: Notification = TOLD, now: float | None = None, **changed: str) -> int:
    """The status of the relay's answer to a request of ours, with these headers changed."""
    body = message.payload(JOB, told, "https://page.example")
    keys = message.signing_keys("hook", "key", {"key": secret.encode()})
    headers = message.headers(told.id, body, keys, now or time.time())
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", body, {**headers, **changed}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_chat_is_told_once_and_what_it_did_not_take_comes_again() -> None:
    with Receiver(answers=[500]) as chat, running("--chat", "slack", CHAT_URL=chat.url()) as port:
        assert post(port) == 502
        assert post(port) == 204
        assert post(port) == 204
        (_, got) = chat.received
        text = "studio/reel: Failed, 13 of 15 done, 2 failed https://page.example/#/jobs/studio/reel"
        assert json.loads(got.body) == {"text": text}


def test_nobody_else_is_believed() -> None:
    with Receiver() as chat, running("--chat", "slack", CHAT_URL=chat.url()) as port:
        assert post(port, secret="whsec_" + "A" * 32) == 401
        assert post(port, now=time.time() - 600) == 401
        assert post(port, **{"webhook-id": "another"}) == 401
        assert post(port, **{"webhook-timestamp": "soon"}) == 401
        assert post(port, **{"webhook-signature": ""}) == 401
        assert chat.received == []
        # While a secret is being changed both sign.
        assert post(port, secret=f"whsec_{'A' * 32} {SECRET}") == 204


@pytest.mark.parametrize(
    ("kind", "where"),
    [("slack", ["text"]), ("discord", ["content"]), ("teams", ["attachments", 0, "content", "body", 0, "text"])],
)
def test_each_kind_of_chat_gets_its_own_form(kind: str, where: list[Any]) -> None:
    made = json.loads(json.dumps(relay().chat_message(kind, "a sentence")))
    for step in where:
        made = made[step]
    assert made == "a sentence"


def mail_server(received: list[str]) -> socket.socket:
    """Speaks as much SMTP as one mail takes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw", newline="\r\n", encoding="ascii") as lines:
            lines.write("220 here\n")
            lines.flush()
            for line in lines:
                received.append(line.strip())
                if line.upper().startswith("DATA"):
                    lines.write("354 go on\n")
                    lines.flush()
                    while (part := lines.readline().strip()) != ".":
                        received.append(part)
                over = line.upper().startswith("QUIT")
                lines.write("221 bye\n" if over else "250 fine\n")
                lines.flush()
                if over:
                    return

    threading.Thread(target=serve, daemon=True).start()
    return listener


def test_a_mail_says_what_became_of_which_job() -> None:
    received: list[str] = []
    with mail_server(received) as server:
        port = server.getsockname()[1]
        with running("--mail", "ops@studio.example", "--smtp", f"127.0.0.1:{port}") as listening:
            assert post(listening) == 204
    assert any("ops@studio.example" in line for line in received if line.upper().startswith("RCPT TO:"))
    mail = "\n".join(received)
    assert "Subject: studio/reel: Failed, 13 of 15 done, 2 failed" in mail
    assert "Message-ID: <uid-failed-1@carryon>" in mail


def test_the_page_shows_the_function_that_is_tried_here() -> None:
    page = (ROOT / "docs" / "how-to" / "notifications.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert shown in RELAY.read_text(encoding="utf-8")
