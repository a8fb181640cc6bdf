"""What a real Kubernetes 1.36.2 server answered, and how an answer of today compares.

What a recording can't fix in advance (uids, times, versions, generated names) has to correspond: wherever the recording
had the same value, ours has the same value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "conformance" / "golden"
HEADERS = ("Content-Type", "Cache-Control", "Warning", "Retry-After")
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

    @property
    def watches(self) -> bool:
        return "watch=1" in self.path


def read(name: str) -> Recording:
    text = (GOLDEN / f"{name}.txt").read_text()
    asked = [line[2:] for line in text.splitlines() if line.startswith("> ")]
    answer = "\n".join(line for line in text.splitlines() if not line.startswith("> "))
    method, path = asked[0].split(" ", 1)
    head, _, content = answer.partition("\n\n")
    status, *headers = head.splitlines()
    given = dict(line.split(": ", 1) for line in asked[1:])
    body = given.pop("body", None)
    answered = dict(line.split(": ", 1) for line in headers)
    return Recording(method, path, given, body, int(status.split()[1]), answered, content)


def parse(content: str, watches: bool) -> Any:
    if watches:
        return [json.loads(line) for line in content.splitlines() if line]
    content = content.strip("\n")
    return json.loads(content) if content.startswith("{") else content


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
            recorded, ours = plain(recorded), plain(ours)
        return [] if recorded == ours else [f"{where}: {recorded!r} != {ours!r}"]

    def path(self, recorded: str) -> str:
        """A recorded path with our versions in it; watches end after a second."""
        known = lambda match: f"resourceVersion={self.ours.get(('resourceVersion', match[1]), match[1])}"  # noqa: E731
        return re.sub(r"timeoutSeconds=\d+", "timeoutSeconds=1", re.sub(r"resourceVersion=(\d+)", known, recorded))


def plain(text: str) -> str:
    """Without what differs from run to run."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", text)
    text = re.sub(r"current: \d+", "current: VERSION", text)
    text = re.sub(r"too old resource version: 1 \(\d+\)", "too old resource version: 1 (VERSION)", text)
    text = re.sub(r"^(gen-|e\.)[a-z0-9]{5}$", r"\1NAME", text)
    return re.sub(r"^\d+s$", "AGE", text)


@dataclass(frozen=True)
class Difference:
    """How two answers that deliberately differ are made comparable.

    Attributes:
        common: Takes what was recorded and what was answered, and gives what has to be equal.
        headers: Those that differ.
    """

    common: Callable[[Any, Any], tuple[Any, Any]]
    headers: frozenset[str] = frozenset()


def documented(page: str, heading: str) -> dict[str, str]:
    """The table below a heading: what its first column names (each in backquotes), with the reason in the last one."""
    section = page.partition(f"\n{heading}\n")[2].partition("\n#")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return {name: cells[-1].strip() for cells in rows for name in re.findall(r"`([^`]+)`", cells[0])}


def picked(value: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value}
