"""Events about pods: what `kubectl describe` shows at the end. Best effort: an API server that is away loses them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Literal

from carryon_standalone.node.client import ApiClient, Refused, Unreachable
from carryon_standalone.node.pods import PodRef, timestamp

log = logging.getLogger(__name__)

_REMEMBERED: Final = 1024
_WAITING: Final = 256

Kind = Literal["Normal", "Warning"]


@dataclass(frozen=True)
class _Happening:
    ref: PodRef
    component: str
    kind: Kind
    reason: str
    message: str


class Recorder:
    """Sends events in the background; one that happens again becomes a higher count."""

    def __init__(self, client: ApiClient, node: str) -> None:
        self._client = client
        self._node = node
        self._queue: asyncio.Queue[_Happening] = asyncio.Queue(_WAITING)
        self._sent: OrderedDict[_Happening, tuple[str, int]] = OrderedDict()

    def record(self, ref: PodRef, kind: Kind, reason: str, message: str, component: str = "kubelet") -> None:
        """Note that something happened to a pod."""
        try:
            self._queue.put_nowait(_Happening(ref, component, kind, reason, message))
        except asyncio.QueueFull:
            log.debug("event dropped: %s %s: %s", ref, reason, message)

    async def run(self) -> None:
        """Send what is noted, for ever."""
        while True:
            happening = await self._queue.get()
            try:
                await self._send(happening)
            except (Unreachable, Refused) as error:
                log.debug("event not sent: %s", error)

    async def _send(self, happening: _Happening) -> None:
        path = f"/api/v1/namespaces/{happening.ref.namespace}/events"
        now = timestamp()
        if happening in self._sent:
            name, count = self._sent[happening]
            try:
                await self._client.request("PATCH", f"{path}/{name}", {"count": count + 1, "lastTimestamp": now})
            except Refused:  # it expired or was deleted: begin anew
                del self._sent[happening]
            else:
                self._sent[happening] = (name, count + 1)
                self._sent.move_to_end(happening)
                return
        name = f"{happening.ref.name}.{secrets.token_hex(8)}"
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": happening.ref.namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": happening.ref.namespace,
                "name": happening.ref.name,
                "uid": happening.ref.uid,
            },
            "reason": happening.reason,
            "message": happening.message,
            "type": happening.kind,
            "source": {"component": happening.component, "host": self._node},
            "reportingComponent": happening.component,
            "reportingInstance": self._node,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self._client.request("POST", path, event)
        self._sent[happening] = (name, 1)
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
