"""`pods/log`: the files a kubelet writes, one for each container's attempt, every line `RFC3339Nano text`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from carryon_standalone.apiserver.errors import bad_request
from carryon_standalone.apiserver.storage import Object

_CHUNK: Final = 256 * 1024
_POLL_SECONDS: Final = 0.1
_DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Query parameters of `pods/log`. `since` is a point in time, whichever way it was given."""

    container: str = ""
    previous: bool = False
    follow: bool = False
    timestamps: bool = False
    since: datetime | None = None
    tail_lines: int | None = None
    limit_bytes: int | None = None


def container_of(pod: Object, asked: str) -> str:
    """The container whose log is meant.

    Raises:
        ApiError: 400 where it can't be told, or is not of this pod.
    """
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = [each["name"] for kind in ("containers", "initContainers") for each in spec.get(kind) or ()]
    if asked:
        if asked not in names:
            raise bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    chosen = (pod["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER)
    if chosen in names:
        return str(chosen)
    if len(spec["containers"]) == 1:
        return str(spec["containers"][0]["name"])
    listed = " ".join(each["name"] for each in spec["containers"])
    raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{listed}]")


def file_of(folder: Path, pod: Object, container: str, previous: bool) -> Path:
    """Where a container's log lies."""
    metadata = pod["metadata"]
    suffix = "previous.log" if previous else "log"
    return folder / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}" / f"{container}.{suffix}"


def check_started(pod: Object, container: str, path: Path, options: LogOptions) -> None:
    """Refuse a log that does not exist, with the reason.

    Raises:
        ApiError: 400.
    """
    name = pod["metadata"]["name"]
    if path.exists():
        return
    if options.previous:
        raise bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
    waiting = (_status_of(pod, container).get("state") or {}).get("waiting") or {}
    if waiting and not options.follow:
        reason = waiting.get("reason") or "ContainerCreating"
        raise bad_request(f'container "{container}" in pod "{name}" is waiting to start: {reason}')


def _status_of(pod: Object, container: str) -> dict[str, Any]:
    status = pod.get("status") or {}
    statuses = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    found: dict[str, Any] = next((each for each in statuses if each.get("name") == container), {})
    return found


def has_ended(pod: Object | None, container: str) -> bool:
    """Whether nothing more will be written: the container or its pod has ended, or the pod is gone."""
    if pod is None or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return True
    return bool((_status_of(pod, container).get("state") or {}).get("terminated"))


async def read(path: Path, options: LogOptions, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log's bytes; with `follow` until `ended` says so and the file is drained."""
    output = _Output(options)
    file = await _open(path, options.follow, ended)
    if file is None:
        return
    with file:
        if options.tail_lines is not None:
            await asyncio.to_thread(_seek_tail, file, options.tail_lines)
        while not output.full:
            # Asked before reading: what was written before the end is in the file by now.
            over = not options.follow or ended()
            chunk = await asyncio.to_thread(file.read, _CHUNK)
            if lines := output.feed(chunk):
                yield lines
            if not chunk:
                if over:
                    break
                await asyncio.sleep(_POLL_SECONDS)
        if rest := output.finish():
            yield rest


async def _open(path: Path, follow: bool, ended: Callable[[], bool]) -> BinaryIO | None:
    while True:
        over = not follow or ended()
        try:
            return await asyncio.to_thread(open, path, "rb")
        except FileNotFoundError:
            if over:
                return None
        await asyncio.sleep(_POLL_SECONDS)


def _seek_tail(file: BinaryIO, lines: int) -> None:
    """Go back from the end to where the last `lines` lines begin."""
    position = file.seek(0, os.SEEK_END)
    found = 0
    if position:
        file.seek(position - 1)
        if file.read(1) != b"\n":
            found = 1  # a line that is still being written counts
    if lines <= 0:
        file.seek(0, os.SEEK_END)
        return
    while position:
        size = min(_CHUNK, position)
        position -= size
        file.seek(position)
        chunk = file.read(size)
        at = len(chunk)
        while (at := chunk.rfind(b"\n", 0, at)) >= 0:
            found += 1
            if found > lines:
                file.seek(position + at + 1)
                return
    file.seek(0)


class _Output:
    """Turns what a file holds into what a client gets: lines since a time, without their times, up to a size."""

    def __init__(self, options: LogOptions) -> None:
        self._timestamps = options.timestamps
        self._since = options.since
        self._left = options.limit_bytes
        self._partial = b""

    @property
    def full(self) -> bool:
        return self._left is not None and self._left <= 0

    def feed(self, chunk: bytes) -> bytes:
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        return self._limited(b"".join(self._shown(line) + b"\n" for line in lines if self._is_wanted(line)))

    def finish(self) -> bytes:
        rest, self._partial = self._partial, b""
        return self._limited(self._shown(rest)) if rest and self._is_wanted(rest) else b""

    def _shown(self, line: bytes) -> bytes:
        return line if self._timestamps else line.partition(b" ")[2]

    def _is_wanted(self, line: bytes) -> bool:
        if self._since is None:
            return True
        try:
            written = datetime.fromisoformat(line.partition(b" ")[0].decode())
        except ValueError:
            return False
        if written.replace(tzinfo=written.tzinfo or UTC) < self._since:
            return False
        self._since = None  # lines are in order: all later ones are wanted
        return True

    def _limited(self, lines: bytes) -> bytes:
        if self._left is None:
            return lines
        cut = lines[: max(0, self._left)]
        self._left -= len(cut)
        return cut
