"""Recorded requests to a Kubernetes 1.36 server, sent again in their order, answered alike.

What a recording can't fix in advance (uids, times, versions, generated names) has to correspond: wherever the recording
had the same value, ours has the same value.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent / "golden"
JOBS = "/apis/media.example.com/v1alpha1/namespaces/default/mediajobs"

# In the order of recording. A tuple is a write between two recordings: method, path, body.
MERGE = "application/merge-patch+json"
JOURNAL: list[str | tuple[str, str, Any, str]] = [
    "disc-apis-agg", "disc-group", "disc-gv", "res-404", "group-404",
    "create-ok", "get-table", "list", "list-table", "get-404", "accept-406",
    "create-exists", "create-strict", "create-warn", "create-invalid", "create-missing-req", "create-badname",
    "create-genname", "create-wrongkind", "create-nsmismatch", "create-nons", "create-badjson", "create-pb415",
    "status-merge", "main-merge-ignores-status", "noop-patch", "merge-invalid", "merge-stale-rv", "merge-404",
    "put-norv", "put-stale", "jsonpatch-multi", "jsonpatch-testfail", "jsonpatch-badpath",
    "ssa-nofm", "ssa-create", "ssa-conflict", "ssa-force", "ssa-drop-field", "ssa-status",
    ("PATCH", f"{JOBS}/g1", {"metadata": {"labels": {"a": "c"}}}, MERGE),
    ("PATCH", f"{JOBS}/g1", {"metadata": {"labels": {"a": "b"}}}, MERGE),
    ("DELETE", f"{JOBS}/s1", None, ""),
    "watch-from-rv", "watch-norv", "watch-rv0", "watch-table", "watch-selector-replay", "watch-future",
    ("POST", JOBS, {"metadata": {"name": "d1"}, "spec": {"prompt": "p"}}, "application/json"),
    "delete-plain",
    "watch-sendinitial", "list-limit1", "list-badrv", "list-future", "list-fieldsel-bad", "list-labelsel-bad",
    "delete-precond",
    ("PATCH", f"{JOBS}/g1", {"metadata": {"finalizers": ["a.example.com/x"]}}, MERGE),
    "delete-finalizer", "patch-add-finalizer-while-deleting", "patch-remove-finalizer", "get-after", "delete-gone",
    "deletecollection", "events-create", "ssar",
]  # fmt: skip
RECORDINGS = [step for step in JOURNAL if isinstance(step, str)]
FAR_AWAY = ("99999999", "1")


@dataclass(frozen=True)
class Recording:
    method: str
    path: str
    headers: dict[str, str]
    body: str | None
    status: int
    answered: dict[str, str]
    content: str


def read(name: str) -> Recording:
    text = (GOLDEN / f"{name}.txt").read_text()
    asked = [line[2:] for line in text.splitlines() if line.startswith("> ")]
    answer = "\n".join(line for line in text.splitlines() if not line.startswith("> "))
    method, path = asked[0].split(" ", 1)
    head, _, content = answer.partition("\n\n")
    status, *headers = head.splitlines()
    body = None
    given = {}
    for line in asked[1:]:
        key, _, value = line.partition(": ")
        if key == "body":
            body = value
        else:
            given[key] = value
    return Recording(
        method, path, given, body, int(status.split()[1]), dict(line.split(": ", 1) for line in headers), content
    )


class Correspondence:
    """Which of our values stands for which recorded one: one for one, for the whole journal."""

    def __init__(self) -> None:
        self.ours: dict[tuple[str, str], str] = {}
        self.recorded: dict[tuple[str, str], str] = {}

    def same(self, kind: str, recorded: str, ours: str) -> bool:
        if recorded in FAR_AWAY:
            return recorded == ours
        first = self.ours.setdefault((kind, recorded), ours)
        return first == ours and self.recorded.setdefault((kind, ours), recorded) == recorded

    def differences(self, recorded: Any, ours: Any, where: str = "") -> list[str]:
        key = where.rpartition(".")[2]
        if isinstance(recorded, dict) and isinstance(ours, dict):
            if set(recorded) != set(ours):
                return [f"{where}: keys {sorted(recorded)} != {sorted(ours)}"]
            return [
                each for name in recorded for each in self.differences(recorded[name], ours[name], f"{where}.{name}")
            ]
        if isinstance(recorded, list) and isinstance(ours, list) and key == "managedFields":
            # They are ordered by time, to the second: the recording took longer than we do.
            recorded, ours = (
                sorted(each, key=lambda entry: entry["manager"] + entry.get("subresource", ""))
                for each in (recorded, ours)
            )
        if isinstance(recorded, list) and isinstance(ours, list) and len(recorded) == len(ours):
            return [
                each
                for at, pair in enumerate(zip(recorded, ours, strict=True))
                for each in self.differences(*pair, f"{where}[{at}]")
            ]
        if key == "resourceVersion" or key == "uid":
            return [] if self.same(key, recorded, ours) else [f"{where}: {recorded} does not correspond to {ours}"]
        if isinstance(recorded, str) and isinstance(ours, str):
            recorded, ours = self.plain(recorded), self.plain(ours)
        return [] if recorded == ours else [f"{where}: {recorded!r} != {ours!r}"]

    def plain(self, text: str) -> str:
        """Without what differs from run to run."""
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
        text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", text)
        text = re.sub(r"current: \d+", "current: VERSION", text)
        text = re.sub(r"^(gen-|e\.)[a-z0-9]{5}$", r"\1NAME", text)
        return re.sub(r"^\d+s$", "AGE", text)

    def path(self, recorded: str) -> str:
        """A recorded path with our versions in it; watches end after a second."""
        known = lambda match: f"resourceVersion={self.ours.get(('resourceVersion', match[1]), match[1])}"  # noqa: E731
        return re.sub(r"timeoutSeconds=\d+", "timeoutSeconds=1", re.sub(r"resourceVersion=(\d+)", known, recorded))


def parse(content: str, path: str) -> Any:
    if "watch=1" in path:
        return [json.loads(line) for line in content.splitlines() if line]
    return json.loads(content) if content.startswith("{") else content


def comparable(name: str, content: Any) -> Any:
    if name == "disc-apis-agg":
        # A real server has many more groups.
        return [item for item in content["items"] if item["metadata"]["name"] == "media.example.com"]
    if name == "disc-gv":
        content["resources"] = [
            {key: value for key, value in each.items() if key != "storageVersionHash"} for each in content["resources"]
        ]
    if name in ("events-create", "ssar"):
        # Field ownership of built-in kinds follows Go types there: which structs are pointers.
        content["metadata"].pop("managedFields")
    return content


@pytest.fixture(scope="module")
def outcomes(server: Any) -> dict[str, list[str]]:
    """All differences, by recording."""
    correspondence = Correspondence()
    found: dict[str, list[str]] = {}
    for step in JOURNAL:
        if isinstance(step, tuple):
            method, path, body, kind = step
            assert server.request(method, path, body, **({"Content_Type": kind} if kind else {})).status < 300
            continue
        recording = read(step)
        headers = {key.replace("-", "_"): value for key, value in recording.headers.items()}
        answer = server.request(recording.method, correspondence.path(recording.path), recording.body, **headers)
        differences = [] if answer.status == recording.status else [f"status {recording.status} != {answer.status}"]
        for header in ("Content-Type", "Cache-Control", "Warning", "Retry-After"):
            if recording.answered.get(header) != answer.headers.get(header):
                differences.append(f"{header}: {recording.answered.get(header)} != {answer.headers.get(header)}")
        recorded = comparable(step, parse(recording.content, recording.path))
        ours = comparable(
            step,
            parse(
                answer.body.decode().strip("\n") if "watch=1" not in recording.path else answer.body.decode(),
                recording.path,
            ),
        )
        found[step] = differences + correspondence.differences(recorded, ours)
    return found


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_answer_is_a_real_servers(outcomes: dict[str, list[str]], name: str) -> None:
    assert outcomes[name] == []


def test_every_recording_is_replayed_or_has_its_own_test() -> None:
    elsewhere = {"watch-old", "disc-apis-plain"}
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {*RECORDINGS, *elsewhere}
