"""Events that `kubectl describe` shows: the same one again raises a count, and telling never holds up the work."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from carryon_kube.client import Body, Client
from carryon_kube.errors import AlreadyExists, ApiError, NotFound
from carryon_kube.resources import EVENTS

COMPONENT: Final = "carryon-operator"
_LONGEST_MESSAGE: Final = 1024
"""Characters of a message that the API server takes."""

log = logging.getLogger(__name__)

_Told = tuple[str, str, str, str]
"""What makes two Events the same one: uid of the object, type, reason, message."""


@dataclass
class _Series:
    """One Event and how often it happened; `name` is empty until it is on the server."""

    about: Mapping[str, str]
    count: int
    first: str
    last: str
    name: str = ""


class EventRecorder:
    """Sends core/v1 Events in the background.

    An Event that is still waiting, or was sent before, is counted up instead of made again. Beyond `waiting` distinct
    ones the newest is dropped, with a line in the log.
    """

    def __init__(
        self,
        client: Client,
        *,
        clock: Callable[[], float],
        waiting: int = 256,
        remembered: int = 2048,
    ) -> None:
        """Prepare; `run` sends.

        Args:
            client: Of the API server.
            clock: Seconds since the epoch.
            waiting: Distinct Events that may wait to be sent.
            remembered: Distinct Events that are counted up when they happen again.
        """
        self._client = client
        self._clock = clock
        self._longest_queue = waiting
        self._remembered = remembered
        self._series: OrderedDict[_Told, _Series] = OrderedDict()
        self._waiting: dict[_Told, _Series] = {}
        self._bell = asyncio.Event()
        self.dropped = 0

    def event(self, about: Mapping[str, Any], kind: str, reason: str, message: str) -> None:
        """Tell of something that happened to an object; returns at once and never raises.

        Args:
            about: The object, as the API server shows it.
            kind: Normal or Warning.
            reason: CamelCase.
            message: A sentence.
        """
        told = (about["metadata"]["uid"], kind, reason, message[:_LONGEST_MESSAGE])
        if told not in self._waiting and len(self._waiting) >= self._longest_queue:
            self.dropped += 1
            log.warning("Event dropped, %d are waiting already (%d so far): %s", len(self._waiting), self.dropped, told)
            return
        now = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        series = self._series.get(told)
        if series is None:
            series = self._series[told] = _Series(_reference(about), 0, first=now, last=now)
            if len(self._series) > self._remembered:
                self._series.popitem(last=False)
        self._series.move_to_end(told)
        series.count += 1
        series.last = now
        self._waiting[told] = series
        self._bell.set()

    async def run(self) -> NoReturn:
        """Send what waits, for ever."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._waiting:
                told = next(iter(self._waiting))
                series = self._waiting.pop(told)
                try:
                    await self._send(told, series)
                except ApiError as error:
                    log.warning("Event not sent: %s: %s", told, error)

    async def _send(self, told: _Told, series: _Series) -> None:
        namespace = series.about["namespace"]
        if series.name:
            try:
                patch = {"count": series.count, "lastTimestamp": series.last}
                await self._client.patch(EVENTS, series.name, patch, namespace=namespace)
                return
            except NotFound:
                log.debug("Event %s has expired: beginning another", series.name)
        name = f"{series.about['name']}.{uuid.uuid4().hex[:16]}"
        with suppress(AlreadyExists):  # Nobody else makes that name: only the answer was lost.
            await self._client.create(EVENTS, _body(name, told, series), namespace=namespace)
        series.name = name


def _reference(about: Mapping[str, Any]) -> dict[str, str]:
    metadata = about["metadata"]
    return {
        "apiVersion": about["apiVersion"],
        "kind": about["kind"],
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def _body(name: str, told: _Told, series: _Series) -> Body:
    _, kind, reason, message = told
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": series.about["namespace"]},
        "involvedObject": series.about,
        "type": kind,
        "reason": reason,
        "message": message,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": "",
        "firstTimestamp": series.first,
        "lastTimestamp": series.last,
        "count": series.count,
    }
