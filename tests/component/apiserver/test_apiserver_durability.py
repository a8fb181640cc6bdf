"""What the API server promises about its data: acknowledged is stored, versions only grow, watches resume."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import resource
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from apiservers import until
from carryon_standalone.apiserver.catalog import BUILTINS
from carryon_standalone.apiserver.controllers import NamespaceController
from carryon_standalone.apiserver.deletion import Deletion
from carryon_standalone.apiserver.resources import Registry
from carryon_standalone.apiserver.storage import Store
from carryon_standalone.apiserver.writes import WriteOptions, Writes
from forked_apiservers import ForkedServer

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"


class Acknowledged(NamedTuple):
    version: int
    text: str


class Watcher(threading.Thread):
    """Follows ConfigMaps across every death of the server, from where it was; lists anew only after a 410."""

    def __init__(self, server: ForkedServer) -> None:
        super().__init__(daemon=True)
        self.failure: BaseException | None = None
        self.seen: dict[str, int] = {}
        self.newest = 0
        self.resumed = 0
        self._server = server
        self._list()

    def run(self) -> None:
        try:
            while True:
                self._follow()
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
            self.failure = error

    def has_seen(self, stored: dict[str, int]) -> bool:
        if self.failure:
            raise self.failure
        return self.seen == stored

    def _list(self) -> None:
        listed = self._server.get(MAPS)
        self.newest = int(listed["metadata"]["resourceVersion"])
        self.seen = {each["metadata"]["name"]: int(each["metadata"]["resourceVersion"]) for each in listed["items"]}

    def _follow(self) -> None:
        try:
            with self._server.watch(f"{MAPS}?watch=1&resourceVersion={self.newest}") as events:
                self.resumed += 1
                for event in events:
                    if event["type"] == "ERROR":
                        assert event["object"]["code"] == 410, event
                        self._list()
                        return
                    self._take(event["object"])
        except (OSError, http.client.HTTPException):  # it was killed, or is not there yet
            time.sleep(0.01)

    def _take(self, value: dict[str, Any]) -> None:
        version = int(value["metadata"]["resourceVersion"])
        assert version > self.newest, "a watcher was shown a version twice, or an older one"
        assert value["data"]["copy"] == value["data"]["n"] * 50, "an object is torn"
        self.newest = version
        self.seen[value["metadata"]["name"]] = version


def write_until_it_dies(server: ForkedServer, writer: int, acknowledged: dict[str, Acknowledged]) -> None:
    """Create and change ConfigMaps; note every acknowledged write."""
    begun = time.monotonic_ns()  # every write is a change: one that changes nothing has the old version
    connection = server.connect()
    for number in range(1_000_000):
        name, text = f"w{writer}-{number % 20}", f"{begun}-{number}"
        value = json.dumps({"metadata": {"name": name}, "data": {"n": text, "copy": text * 50}})
        try:
            connection.request("PUT", f"{MAPS}/{name}", value, server.headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 404:
                connection.request("POST", MAPS, value, server.headers)
                answer = connection.getresponse()
                body = answer.read()
        except (OSError, http.client.HTTPException):
            return
        assert answer.status in (200, 201), body
        acknowledged[name] = Acknowledged(int(json.loads(body)["metadata"]["resourceVersion"]), text)


def survive(server: ForkedServer, rounds: int, seed: int) -> None:
    """Kill under load, start again, compare; `server` runs before and after."""
    chance = random.Random(seed)
    watcher = Watcher(server)
    watcher.start()
    until(lambda: watcher.resumed, "the watcher to follow")
    for _ in range(rounds):
        newest = int(server.get(MAPS)["metadata"]["resourceVersion"])
        acknowledged: dict[str, Acknowledged] = {}
        writers = [threading.Thread(target=write_until_it_dies, args=(server, each, acknowledged)) for each in range(4)]
        for each in writers:
            each.start()
        until(acknowledged.__len__, "a first write")
        time.sleep(chance.random() * 0.1)
        server.kill()
        for each in writers:
            each.join(timeout=30)
        if chance.random() < 0.2:  # and while it reads what is there
            server.begin()
            time.sleep(chance.random() * 0.1)
            server.kill()
        server.start()
        listed = server.get(MAPS)
        found = {each["metadata"]["name"]: each for each in listed["items"]}
        for name, (version, text) in acknowledged.items():
            stored = int(found[name]["metadata"]["resourceVersion"])
            # A write that was committed and could not be acknowledged any more may be newer.
            assert stored >= version
            assert stored > version or found[name]["data"]["n"] == text
        assert all(each["data"]["copy"] == each["data"]["n"] * 50 for each in found.values())
        assert int(listed["metadata"]["resourceVersion"]) >= max(each.version for each in acknowledged.values())
        assert max(each.version for each in acknowledged.values()) > newest
        stored = {name: int(each["metadata"]["resourceVersion"]) for name, each in found.items()}
        until(partial(watcher.has_seen, stored), "the watcher to see what is stored")
    assert watcher.resumed > rounds


@pytest.fixture
def forked_server(tmp_path: Path) -> Iterator[ForkedServer]:
    made = ForkedServer(tmp_path)
    try:
        yield made.start()
    finally:
        made.close()


def test_every_acknowledged_write_survives_sigkill_and_watchers_resume(forked_server: ForkedServer) -> None:
    survive(forked_server, rounds=10, seed=7)


async def test_an_answer_that_rests_on_an_unfinished_write_waits_for_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path, lambda kind, value: {})
    registry, writes = Registry(BUILTINS), Writes(store)
    await NamespaceController(store, registry, writes, Deletion(store)).bootstrap()
    maps = registry.find("", "v1", "configmaps")
    assert maps is not None
    await writes.create(
        maps, "default", {"metadata": {"name": "a"}, "apiVersion": "v1", "kind": "ConfigMap"}, WriteOptions()
    )

    def change(value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "data": {"a": "b"}}

    done: list[str] = []
    first = asyncio.create_task(writes.update(maps, "default", "a", change, WriteOptions()))
    first.add_done_callback(lambda _: done.append("first"))
    again = asyncio.create_task(writes.update(maps, "default", "a", change, WriteOptions()))
    again.add_done_callback(lambda _: done.append("again"))
    assert (await first).raw == (await again).raw
    assert done[0] == "first"
    await store.close()


def test_a_watch_resumes_across_a_restart_without_loss(own_server: Any) -> None:
    own_server.start()
    start = own_server.get(MAPS)["metadata"]["resourceVersion"]
    names = [f"m{number}" for number in range(30)]
    for name in names[:20]:
        own_server.create(MAPS, {"metadata": {"name": name}})
    own_server.delete(f"{MAPS}/m3")
    own_server.kill()
    own_server.start()
    for name in names[20:]:
        own_server.create(MAPS, {"metadata": {"name": name}})
    with own_server.watch(f"{MAPS}?watch=1&resourceVersion={start}&timeoutSeconds=1") as events:
        seen = [(event["type"], event["object"]["metadata"]["name"]) for event in events]
    assert seen == [
        *(("ADDED", name) for name in names[:20]),
        ("DELETED", "m3"),
        *(("ADDED", name) for name in names[20:]),
    ]


def test_a_full_disk_refuses_writes_with_a_reason_loses_nothing_and_is_over_when_there_is_space(
    own_server: Any,
) -> None:
    own_server.start()
    own_server.create(MAPS, {"metadata": {"name": "before"}, "data": {"a": "b"}})
    # Bytes that a file may have: what SQLite sees is what it sees of a full disk, a write that fails half way.
    resource.prlimit(own_server.process.pid, resource.RLIMIT_FSIZE, (400 * 1024, resource.RLIM_INFINITY))
    refused = None
    for number in range(100):
        answer = own_server.request("POST", MAPS, {"metadata": {"name": f"big{number}"}, "data": {"a": "x" * 50_000}})
        if answer.status != 201:
            refused = answer
            break
    assert refused is not None
    assert (refused.status, refused.json()["reason"]) == (500, "InternalError")
    assert "the state was not saved" in refused.message
    assert own_server.request("GET", f"{MAPS}/big{number}").status == 404
    assert own_server.get(f"{MAPS}/before")["data"] == {"a": "b"}
    stored = {each["metadata"]["name"] for each in own_server.get(MAPS)["items"]}
    resource.prlimit(own_server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    own_server.create(MAPS, {"metadata": {"name": "after"}, "data": {"a": "x" * 50_000}})
    own_server.kill()
    own_server.start()
    assert {each["metadata"]["name"] for each in own_server.get(MAPS)["items"]} == {*stored, "after"}


def test_a_second_server_on_the_same_folder_is_refused(own_server: Any) -> None:
    own_server.start()
    second = subprocess.run(own_server.command(), capture_output=True, text=True, timeout=20)
    assert second.returncode == 1
    assert "another API server already serves" in second.stderr
    assert "Traceback" not in second.stderr


def test_sigterm_ends_open_watches_within_two_seconds(own_server: Any) -> None:
    own_server.start()
    with own_server.watch(f"{PODS}?watch=1") as events:
        begun = time.monotonic()
        assert own_server.stop() == ""
        assert time.monotonic() - begun < 2
        assert list(events) == []


def test_commits_are_durable_by_configuration(own_server: Any) -> None:
    own_server.start()
    database = sqlite3.connect(own_server.folder / "data" / "state.db")
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert (own_server.folder / "data" / "state.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_every_acknowledged_write_survives_two_hundred_kills(forked_server: ForkedServer) -> None:
    survive(forked_server, rounds=200, seed=8)
