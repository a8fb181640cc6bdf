"""A page's end of /api/v1/events: reads in a thread, and waits for what is to come."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Event:
    """One event, or a comment (of kind "")."""

    kind: str
    data: Any
    id: str = ""
    at: float = 0.0


class EventSource:
    """One open page."""

    def __init__(self, client: httpx.Client, last_id: str = "", **query: str) -> None:
        self.events: list[Event] = []
        self.ended = False
        self.last_id = last_id
        self._changed = threading.Condition()
        self._client = client
        headers = {"Last-Event-ID": last_id} if last_id else {}
        request = client.build_request("GET", "/api/v1/events", params=query, headers=headers)
        request.extensions["timeout"] = {"connect": 5, "read": 60, "write": 5, "pool": 5}
        self._response = client.send(request, stream=True)
        if self._response.status_code != 200:
            self._response.read()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> EventSource:
        assert self._response.status_code == 200, self._response.text
        assert self._response.headers["Content-Type"].startswith("text/event-stream")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A reader in another thread does not notice that its connection is closed, but that it is shut down.
        stream = self._response.extensions["network_stream"]
        with suppress(OSError):
            stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the reader did not stop"
        self._client.close()

    def wait(self, wanted: Callable[[Event], Any], what: str = "event", seconds: float = 10) -> Event:
        """The first event that fits, whether it came already or not."""
        deadline = time.monotonic() + seconds
        seen = 0
        with self._changed:
            while True:
                for event in self.events[seen:]:
                    if wanted(event):
                        return event
                seen = len(self.events)
                left = deadline - time.monotonic()
                told = f"there were {self.events[-5:]}"
                assert left > 0, f"no {what} within {seconds} s; {told}"
                assert not self.ended, f"no {what} before the stream ended; {told}"
                self._changed.wait(left)

    def kind(self, kind: str, seconds: float = 10) -> Event:
        """The first event of a kind."""
        return self.wait(lambda event: event.kind == kind, kind, seconds)

    def job(self, name: str, seconds: float = 10, **fields: Any) -> Event:
        """The first `job` event of a job with these fields."""

        def fits(event: Event) -> bool:
            return (
                event.kind == "job"
                and event.data["name"] == name
                and all(event.data[key] == value for key, value in fields.items())
            )

        return self.wait(fits, f"job {name} {fields}", seconds)

    def until_ended(self, seconds: float = 10) -> None:
        """Wait until the server has ended it."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.ended, seconds), "the stream goes on"

    def names(self) -> set[str]:
        """Of all jobs that were ever named."""
        snapshots = {job["name"] for event in self.events if event.kind == "snapshot" for job in event.data["jobs"]}
        return snapshots | {event.data["name"] for event in self.events if event.kind in ("job", "deleted")}

    def _read(self) -> None:
        try:
            lines: list[str] = []
            for line in self._response.iter_lines():
                if line:
                    lines.append(line)
                elif lines:
                    self._dispatch(lines)
                    lines = []
        except (httpx.HTTPError, httpx.StreamError, OSError):
            pass  # Closed by us, or cut off: what came until then is what counts.
        finally:
            with self._changed:
                self.ended = True
                self._changed.notify_all()

    def _dispatch(self, lines: list[str]) -> None:
        fields: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            fields[name] = fields.get(name, "") + value.removeprefix(" ")
        with self._changed:
            self.last_id = fields.get("id", self.last_id)
            data = json.loads(fields["data"]) if "data" in fields else fields.get("")
            self.events.append(Event(fields.get("event", ""), data, fields.get("id", ""), time.monotonic()))
            self._changed.notify_all()
