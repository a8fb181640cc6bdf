"""`pods/log`, from the files that the node writes."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest

PODS = "/api/v1/namespaces/default/pods"


def pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "worker", "image": "i:1"}]}}


def scheduled(server: Any, name: str) -> str:
    """A pod with a node; its path."""
    server.create(PODS, pod(name))
    server.create(f"{PODS}/{name}/binding", {"target": {"kind": "Node", "name": "here"}})
    return f"{PODS}/{name}"


@pytest.fixture
def logged(server: Any, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A running pod: the path of its log, and the folder the kubelet writes into."""
    name = f"log-{abs(hash(request.node.name)) % 10**8}"
    path = scheduled(server, name)
    state = [{"name": "worker", "state": {"running": {}}}]
    uid = server.patch(f"{path}/status", {"status": {"phase": "Running", "containerStatuses": state}})["metadata"][
        "uid"
    ]
    folder = server.logs / f"default_{name}_{uid}"
    folder.mkdir(parents=True)
    return f"{path}/log", folder


LINES = [
    "2026-01-01T00:00:00.123456789Z one",
    "2026-01-01T00:00:10Z two words",
    "2026-01-01T00:00:20.5Z ",
    "2026-01-01T00:00:30Z four",
]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "one\ntwo words\n\nfour\n"),
        ("timestamps=true", "\n".join(LINES) + "\n"),
        ("tailLines=2", "\nfour\n"),
        ("tailLines=0", ""),
        ("tailLines=99", "one\ntwo words\n\nfour\n"),
        ("limitBytes=6", "one\ntw"),
        ("sinceTime=2026-01-01T00:00:10Z", "two words\n\nfour\n"),
        ("sinceTime=2026-01-01T00:00:10Z&tailLines=1", "four\n"),
        ("sinceSeconds=1", ""),
        ("container=worker", "one\ntwo words\n\nfour\n"),
        ("previous=true", "earlier\n"),
    ],
)
def test_a_log_is_shown_as_asked_for(server: Any, logged: tuple[str, Path], query: str, text: str) -> None:
    path, folder = logged
    (folder / "worker.log").write_text("\n".join(LINES) + "\n")
    (folder / "worker.previous.log").write_text("2025-12-31T00:00:00Z earlier\n")
    answer = server.request("GET", f"{path}?{query}")
    assert (answer.status, answer.headers["Content-Type"], answer.body.decode()) == (200, "text/plain", text)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("container=other", "container other is not valid"),
        ("previous=true", 'previous terminated container "worker"'),
        ("tailLines=-1", "must be a number"),
        ("sinceTime=yesterday", "is not a time"),
    ],
)
def test_a_log_that_can_not_be_shown_is_refused(server: Any, logged: tuple[str, Path], query: str, words: str) -> None:
    answer = server.request("GET", f"{logged[0]}?{query}")
    assert (answer.status, words in answer.message) == (400, True), answer.message


def test_following_a_log_ends_with_the_pod_and_misses_nothing(server: Any, logged: tuple[str, Path]) -> None:
    path, folder = logged
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(server.request("GET", f"{path}?follow=true").body))
    reader.start()
    with (folder / "worker.log").open("w", buffering=1) as log:
        for number in range(50):
            log.write(f"2026-01-01T00:00:00Z line {number}\n")
        log.write("2026-01-01T00:00:00Z without its end")
    server.patch(f"{path.removesuffix('/log')}/status", {"status": {"phase": "Failed"}})
    reader.join(timeout=10)
    lines = received[0].decode().split("\n")
    assert lines == [*(f"line {number}" for number in range(50)), "without its end"]


def test_following_a_log_ends_when_the_pod_is_gone(server: Any, logged: tuple[str, Path]) -> None:
    path, folder = logged
    (folder / "worker.log").write_text(LINES[0] + "\n")
    connection = server.connect()
    with contextlib.closing(connection):
        connection.request("GET", f"{path}?follow=true", headers=server.headers)
        response = connection.getresponse()
        assert response.readline() == b"one\n"
        server.delete(path.removesuffix("/log"), {"gracePeriodSeconds": 0})
        assert response.read() == b""


def test_a_container_that_waits_has_no_log_yet(server: Any) -> None:
    path = scheduled(server, "creating")
    state = [{"name": "worker", "state": {"waiting": {"reason": "ContainerCreating"}}}]
    server.patch(f"{path}/status", {"status": {"containerStatuses": state}})
    answer = server.request("GET", f"{path}/log")
    assert (answer.status, "waiting to start: ContainerCreating" in answer.message) == (400, True)
    server.create(PODS, pod("unscheduled"))
    assert server.request("GET", f"{PODS}/unscheduled/log").status == 204
