"""Writers and watchers of an API server, light enough that one core drives what the other serves."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from carryon_core.messages import StoreConfig
from carryon_core.resolve import resolve
from carryon_core.spec import JobSpec
from carryon_core.standing import stand
from carryon_operator import pods
from carryon_operator.config import Config
from carryon_operator.plan.model import PodCreate

PODS: Final = "/api/v1/namespaces/default/pods"
_EVENT_ENDS: Final = b"}\n"
_READ: Final = bytearray(1 << 18)
"""What was read last, by whichever watcher: nobody keeps any of it."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_MERGE: Final = "application/merge-patch+json"


@dataclass(frozen=True)
class Address:
    """Where a server is, and how it lets us in."""

    port: int
    token: str
    trusted: ssl.SSLContext

    async def connect(self) -> Line:
        """A connection that is kept."""
        return Line(self, *await asyncio.open_connection("127.0.0.1", self.port, ssl=self.trusted))


@dataclass(frozen=True)
class Line:
    """One connection: a request, its answer, the next request; `latencies` are seconds of each."""

    address: Address
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    latencies: list[float] = field(default_factory=list)

    async def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> bytes:
        """The body of the answer.

        Raises:
            AssertionError: It is a refusal.
        """
        began = time.perf_counter()
        content = b"" if body is None else orjson.dumps(body)
        self.writer.write(head(self.address, method, path, len(content), kind) + content)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(answer)
        assert length is not None, answer
        found = await self.reader.readexactly(int(length[1]))
        self.latencies.append(time.perf_counter() - began)
        assert answer.split(b" ", 2)[1][:1] == b"2", f"{method} {path}: {found.decode()}"
        return found

    def close(self) -> None:
        """Hang up."""
        self.writer.close()


def head(address: Address, method: str, path: str, length: int, kind: str) -> bytes:
    """All of a request that comes before its body."""
    lines = (
        f"{method} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{address.port}",
        f"Authorization: Bearer {address.token}",
        "User-Agent: carryon-bench",
        f"Content-Type: {kind}",
        f"Content-Length: {length}",
    )
    return "\r\n".join((*lines, "", "")).encode()


class Watcher(asyncio.BufferedProtocol):
    """Counts the events of a watch without looking into them."""

    def __init__(self, address: Address, path: str) -> None:
        self.events = self.received = 0
        self.lost = False
        self.open = asyncio.Event()
        self._request = head(address, "GET", f"{path}?watch=true", 0, "application/json")
        self._brace = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return memoryview(_READ)  # of which asyncio takes slices, to read into: those of a bytearray are copies

    def buffer_updated(self, nbytes: int) -> None:
        self.open.set()  # with the head of the answer
        self.received += nbytes
        self.events += _READ.count(_EVENT_ENDS, 0, nbytes) + (self._brace and _READ[0] == _EVENT_ENDS[1])
        self._brace = _READ[nbytes - 1] == _EVENT_ENDS[0]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


@asynccontextmanager
async def watching(address: Address, path: str, count: int) -> AsyncIterator[Sequence[Watcher]]:
    """Watchers of everything in a collection."""
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: Watcher(address, path), "127.0.0.1", address.port, ssl=address.trusted)
        for _ in range(count)
    ]
    try:
        for _, watcher in opened:
            await watcher.open.wait()
        yield [watcher for _, watcher in opened]
    finally:
        for transport, _ in opened:
            transport.close()


def pod_template() -> dict[str, Any]:
    """A pod as the operator makes them, for a unit of a job that has a model and a prompt."""
    stage = {"name": "clip", "generate": {"diffusers": {"model": "sdxl", "params": {"prompt": "{{ item.prompt }}"}}}}
    text = "dunes at dawn, a slow pan to the left, soft light on the ridges"
    values = [{"id": "dunes", "params": {"prompt": text}}]
    spec = JobSpec.model_validate({"items": {"list": values}, "stages": [stage]})
    standing = stand(resolve("default", "reel", spec), {}, set())
    store, config = StoreConfig(uri="s3://renders/team-a"), Config(worker_image="carryon-worker-diffusers:0.1.0")
    wanted = PodCreate("reel-clip-0-1", 0, (0,), 1, 0)
    assigned = pods.assignment(standing, spec, store, wanted).model_dump_json(by_alias=True, exclude_none=True)
    made = pods.build(standing=standing, spec=spec, job_uid="6f9c7d3e", pod=wanted, assigned=assigned, config=config)
    # Its owner is not there, and a pod without its owner would be collected.
    del made["metadata"]["ownerReferences"]
    return {**made, "apiVersion": "v1", "kind": "Pod"}


def named(template: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A pod of a template."""
    return {**template, "metadata": {**template["metadata"], "name": name}}


def running(template: Mapping[str, Any]) -> dict[str, Any]:
    """Its status while it runs, as a kubelet writes it."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "phase": "Running",
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds],
        "hostIP": "127.0.0.1",
        "podIP": "127.64.0.9",
        "podIPs": [{"ip": "127.64.0.9"}],
        "qosClass": "Burstable",
        "startTime": now,
        "containerStatuses": [
            {
                "name": each["name"],
                "image": each["image"],
                "imageID": "",
                "containerID": "process://4711-1",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "lastState": {},
                "state": {"running": {"startedAt": now}},
            }
            for each in template["spec"]["containers"]
        ],
    }


async def start(line: Line, template: Mapping[str, Any], name: str) -> None:
    """A pod from its creation until it runs: three writes."""
    await line.ask("POST", PODS, named(template, name))
    target = {"apiVersion": "v1", "kind": "Node", "name": "this-machine"}
    await line.ask("POST", f"{PODS}/{name}/binding", {"metadata": {"name": name}, "target": target})
    await line.ask("PATCH", f"{PODS}/{name}/status", {"status": running(template)}, _MERGE)


async def end(line: Line, name: str) -> None:
    """That it has ended well, and then its removal: two writes."""
    await line.ask("PATCH", f"{PODS}/{name}/status", {"status": {"phase": "Succeeded"}}, _MERGE)
    await line.ask("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 0})
