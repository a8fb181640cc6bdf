"""What the API server promises about its data: acknowledged is stored, versions only grow, watches resume."""

from __future__ import annotations

import asyncio
import http.client
import random
import sqlite3
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from carryon_standalone.apiserver.catalog import BUILTINS
from carryon_standalone.apiserver.controllers import NamespaceController
from carryon_standalone.apiserver.deletion import Deletion
from carryon_standalone.apiserver.resources import Registry
from carryon_standalone.apiserver.storage import Store
from carryon_standalone.apiserver.writes import WriteOptions, Writes
from plane import until

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"


def write_until_it_dies(server: Any, writer: int, acknowledged: dict[str, int]) -> None:
    """Create and change ConfigMaps; note the version of every acknowledged write."""
    begun = time.monotonic_ns()  # every write is a change: one that changes nothing has the old version
    for number in range(1_000_000):
        name = f"w{writer}-{number % 20}"
        value = {"metadata": {"name": name}, "data": {"n": f"{begun}-{number}"}}
        try:
            answer = server.request(
                "PUT" if number >= 20 else "POST", f"{MAPS}/{name}" if number >= 20 else MAPS, value
            )
            if answer.status == 409:  # it was there from an earlier round
                answer = server.request("PUT", f"{MAPS}/{name}", value)
        except (OSError, http.client.HTTPException):
            return
        assert answer.status in (200, 201), answer.body
        stored = answer.json()
        acknowledged[name] = int(stored["metadata"]["resourceVersion"])


def survive(server: Any, rounds: int, seed: int) -> None:
    """Kill under load, start again, compare; `server` runs before and after."""
    chance = random.Random(seed)
    for _ in range(rounds):
        newest = int(server.get(MAPS)["metadata"]["resourceVersion"])
        acknowledged: dict[str, int] = {}
        writers = [threading.Thread(target=write_until_it_dies, args=(server, each, acknowledged)) for each in range(4)]
        for each in writers:
            each.start()
        until(acknowledged.__len__)
        time.sleep(0.05 + chance.random() * 0.2)
        server.kill()
        for each in writers:
            each.join(timeout=10)
        assert acknowledged
        server.start()
        listed = server.get(MAPS)
        found = {each["metadata"]["name"]: int(each["metadata"]["resourceVersion"]) for each in listed["items"]}
        # A write that was committed and could not be acknowledged any more may be newer.
        assert {name for name, version in acknowledged.items() if found.get(name, 0) < version} == set()
        assert int(listed["metadata"]["resourceVersion"]) >= max(acknowledged.values()) > newest


def test_every_acknowledged_write_survives_sigkill(own_server: Any) -> None:
    survive(own_server.start(), rounds=10, seed=7)


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


def test_a_full_disk_refuses_writes_with_a_reason_and_loses_nothing(own_server: Any) -> None:
    own_server.start()
    own_server.create(MAPS, {"metadata": {"name": "before"}, "data": {"a": "b"}})
    own_server.stop()
    command = own_server.command()
    limited = ["bash", "-c", f"ulimit -f 400; exec {' '.join(command)}"]  # KiB a file may have
    own_server.command = lambda: limited
    own_server.start()
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
    own_server.kill()
    own_server.command = lambda: command
    own_server.start()
    assert {each["metadata"]["name"] for each in own_server.get(MAPS)["items"]} == stored
    own_server.create(MAPS, {"metadata": {"name": "after"}})


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
def test_every_acknowledged_write_survives_a_hundred_kills(own_server: Any) -> None:
    survive(own_server.start(), rounds=100, seed=8)
