"""Every request that kubectl makes, command by command: answered with the status and the form a cluster answers with.

`golden/kubectl-requests.log` was recorded between kubectl 1.32 and a Kubernetes 1.36.2 server. Answers that the
recorder made up itself, to see how kubectl takes them ("masked"), say nothing about a server and are left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apiservers import KUBECONFIG, Answer, Client
from kubectl_log import CRD, PROTOBUF, Command, Request, commands, whole
from recordings import documented

JOB = "/apis/media.example.com/v1alpha1/namespaces/default/mediajobs/j1"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "standalone.md"
HEADING = "### Requests of kubectl that are answered otherwise"
SERVED = "configmaps|events|namespaces|nodes|pods|secrets|serviceaccounts|services|leases|mediajobs|.*reviews|custom.*"
GROUPS = "apiextensions.k8s.io|authentication.k8s.io|authorization.k8s.io|coordination.k8s.io|media.example.com"
MERGE = "application/merge-patch+json"
# What the recorder did between two commands, by the title of the one before.
BETWEEN = {
    "events -w": {"metadata": {"finalizers": ["media.example.com/hold"]}},
    "wait delete": {"metadata": {"finalizers": None}},
}

COMMANDS = list(commands())


def not_served(request: Request) -> bool:
    """A kind or group that a cluster has and that is not Carryon's concern."""
    found = re.match(r"/(?:api/v1|apis/([^/]+)/v\w+)(?:/namespaces/[^/?]+)?(?:/([a-z]+))?", request.path)
    if found is None:
        return False
    group, kind = found[1], found[2]
    return not (group is None or re.fullmatch(GROUPS, group)) or not (kind is None or re.fullmatch(SERVED, kind))


# By the name the documentation has for it: which requests, and what the answer is then.
DELIBERATE: dict[str, tuple[Callable[[Request], bool], Callable[[Request, Answer], bool]]] = {
    "protobuf answers": (
        lambda request: request.media_type.startswith(PROTOBUF),
        lambda request, answer: (
            answer.status == request.status and answer.headers["Content-Type"] == "application/json"
        ),
    ),
    "/openapi/v2": (
        lambda request: request.path.startswith("/openapi/v2"),
        lambda request, answer: answer.status == 404,
    ),
    "kinds that are not served": (not_served, lambda request, answer: answer.status == 404),
    "pods/exec": (lambda request: "/exec?" in request.path, lambda request, answer: answer.status == 404),
}


class Replay:
    """Sends a log's requests, with the versions and hashes of the server at hand."""

    def __init__(self, server: Client) -> None:
        self.server = server
        self.tags: dict[tuple[str, str], str] = {}
        self.used: set[str] = set()

    def differences(self, command: Command) -> Iterator[str]:
        for request in command.requests:
            if not request.masked and (said := self._difference(command, request)):
                yield said
        if command.title in BETWEEN and any("patched" in note for note in command.notes):
            self.server.patch(JOB, BETWEEN[command.title])

    def _difference(self, command: Command, request: Request) -> str:
        path = self._path(request)
        accept = self._accept(command, request)
        live = self.server.request("GET", path.partition("?")[0]) if request.body else None
        body = whole(command, request, live.json() if live and live.status == 200 else {})
        headers = {"Accept": accept} | ({"Content_Type": request.content_type} if request.content_type else {})
        known = (path.partition("?")[0], accept)
        if request.status == 304 and known in self.tags:
            headers["If_None_Match"] = self.tags[known]
        answer = self.server.request(request.method, path, body, **headers)
        if tag := answer.headers.get("ETag") or answer.headers.get("Etag"):
            self.tags[known] = tag
        kind = answer.headers.get("Content-Type", "") if answer.status not in (204, 304) else ""
        if (answer.status, kind) == (request.status, request.media_type):
            return ""
        for name, (concerned, as_expected) in DELIBERATE.items():
            if concerned(request) and as_expected(request, answer):
                self.used.add(name)
                return ""
        return (
            f"{request.method} {path}: {request.status} {request.media_type} was {answer.status} {kind}"
            f" {answer.body[:300]!r}"
        )

    @staticmethod
    def _accept(command: Command, request: Request) -> str:
        """What reached the server: the recorder took aggregated discovery, and then tables, out of the header."""
        discovers = request.path.startswith(("/api?", "/apis?"))
        taken_out = ("NO aggregated" if discovers else "NO Table") in command.title
        return "application/json" if taken_out else request.accept

    def _path(self, request: Request) -> str:
        path = re.sub(r"&?timeoutSeconds=\d+", "", request.path)
        if request.streams:
            path += "&timeoutSeconds=1"
            collection = path.partition("?")[0]
            if re.search(r"resourceVersion=[1-9]", path):
                version = self.server.get(collection)["metadata"]["resourceVersion"]
                path = re.sub(r"resourceVersion=\d+", f"resourceVersion={version}", path)
        if "?hash=" in path:
            documents: Any = self.server.get("/openapi/v3")["paths"]
            url = documents[path.partition("?")[0].removeprefix("/openapi/v3/")]["serverRelativeURL"]
            path = re.sub(r"^[^&]+", url, path)
        return path


@pytest.fixture(scope="module")
def outcomes(server: Client) -> tuple[list[list[str]], set[str]]:
    """All differences, by command, and the deliberate ones that were met."""
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    definition = f"{definitions}/{CRD['metadata']['name']}"
    server.delete(definition)
    server.gone(definition)
    replay = Replay(server)
    found = []
    for command in COMMANDS:
        found.append(list(replay.differences(command)))
        if command.title == "apply CRD":
            server.define()
    return found, replay.used


@pytest.mark.parametrize("index", range(len(COMMANDS)), ids=[f"{at}-{each.title}" for at, each in enumerate(COMMANDS)])
def test_a_command_is_answered_as_a_cluster_answers_it(outcomes: tuple[list[list[str]], set[str]], index: int) -> None:
    assert outcomes[0][index] == []


def test_the_log_is_read_to_its_end() -> None:
    assert sum(len(each.requests) for each in COMMANDS) == 265


def test_every_deliberate_difference_is_documented_and_met(outcomes: tuple[list[list[str]], set[str]]) -> None:
    reasons = documented(PAGE.read_text(), HEADING)
    assert set(reasons) == set(DELIBERATE)
    assert all(len(reason.split()) > 5 for reason in reasons.values())
    if KUBECONFIG not in os.environ:
        assert outcomes[1] == set(DELIBERATE)
