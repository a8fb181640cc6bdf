"""How far back a watch may begin."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from carryon_standalone.apiserver.storage import Event, EventLog, Key, Store, Stored

MAPS = "/api/v1/namespaces/{}/configmaps"


async def write_often(folder: Path, changes: int) -> tuple[int, int]:
    """Change one ConfigMap many times, straight in the store: its first and last version."""
    store = Store.open(folder, lambda kind, value: {})
    key = Key("/configmaps", "default", "a")
    value = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default", "uid": "u"}}
    first = (await store.put(key, value)).revision
    for begin in range(0, changes, 500):
        numbers = range(begin, min(begin + 500, changes))
        await asyncio.gather(*(store.put(key, {**value, "data": {"n": str(number)}}) for number in numbers))
    last = store.revision
    await store.close()
    return first, last


def test_a_cursor_that_fell_off_the_log_is_told_so(own_server: Any) -> None:
    maps = MAPS.format("default")
    first, last = asyncio.run(write_often(own_server.folder / "data", 8_000))
    own_server.start()
    with own_server.watch(f"{maps}?watch=1&resourceVersion={first}") as events:
        (error,) = events
    assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert error["object"]["message"].startswith(f"too old resource version: {first} (")
    # At least 5,000 events are there to be resumed from.
    with own_server.watch(f"{maps}?watch=1&resourceVersion={last - 5000}&timeoutSeconds=1") as events:
        assert sum(1 for _ in events) == 5000
    # Another kind's quiet watcher is not thrown out by the noise.
    with own_server.watch(f"/api/v1/secrets?watch=1&resourceVersion={first}&timeoutSeconds=1") as events:
        assert list(events) == []


async def test_watchers_are_woken_together_and_miss_nothing_of_a_burst() -> None:
    log, told = EventLog(0), 20
    seen: list[list[int]] = [[] for _ in range(told)]
    wakes = 0

    async def follow(mine: list[int]) -> None:
        nonlocal wakes
        while len(mine) < 300:
            events = log.after(mine[-1] if mine else 0, 500)
            assert events is not None
            if not events:
                await asyncio.wait((log.changed(),))
                wakes += 1
            mine += [event.revision for event in events]

    async with asyncio.TaskGroup() as group:
        for each in seen:
            group.create_task(follow(each))
        await asyncio.sleep(0)
        for revision in range(1, 301):
            log.append(Event("ADDED", version(revision), None))
            await asyncio.sleep(0)
    assert seen == [list(range(1, 301))] * told
    assert wakes < told * 100, "not for every event"


async def test_a_watcher_alone_in_quiet_times_hears_of_an_event_in_the_same_turn() -> None:
    log = EventLog(0)
    changed = log.changed()
    log.append(Event("ADDED", version(1), None))
    assert changed.done()


def version(revision: int) -> Stored:
    return Stored(Key("/pods", "default", "a"), revision, "u", "v1", b"{}", {}, {}, (), False)
