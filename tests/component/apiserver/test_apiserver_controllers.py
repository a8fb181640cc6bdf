"""What the controllers beside the API do: collect garbage, forget old events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from apiservers import JOBS
from carryon_standalone.apiserver.catalog import BUILTINS
from carryon_standalone.apiserver.controllers import EventExpiry, NamespaceController
from carryon_standalone.apiserver.deletion import Deletion
from carryon_standalone.apiserver.resources import Registry
from carryon_standalone.apiserver.storage import Store
from carryon_standalone.apiserver.writes import WriteOptions, Writes

MAPS = "/api/v1/namespaces/default/configmaps"


def test_what_was_to_be_collected_before_a_restart_is_collected_after_it(own_server: Any, wait_until: Any) -> None:
    own_server.start()
    own_server.define()
    owner = own_server.create(JOBS, {"metadata": {"name": "owner"}, "spec": {"prompt": "p"}})
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": "owner",
        "uid": owner["metadata"]["uid"],
    }
    for number in range(100):
        own_server.create(MAPS, {"metadata": {"name": f"d{number}", "ownerReferences": [reference]}})
    own_server.delete(f"{JOBS}/owner")
    own_server.kill()
    own_server.start()
    wait_until(lambda: own_server.get(MAPS)["items"] == [], "all dependents to go")


async def test_events_are_forgotten_an_hour_after_they_were_last_seen(tmp_path: Path) -> None:
    store = Store.open(tmp_path, lambda kind, value: {})
    registry, writes = Registry(BUILTINS), Writes(store)
    deletion = Deletion(store)
    await NamespaceController(store, registry, writes, deletion).bootstrap()
    events = registry.find("", "v1", "events")
    assert events is not None
    now = datetime.now(UTC)
    for name, minutes in (("old", 0), ("seen-again", 50)):
        seen = (now + timedelta(minutes=minutes)).isoformat()
        value = {"metadata": {"name": name}, "involvedObject": {"namespace": "default"}, "lastTimestamp": seen}
        await writes.create(events, "default", value, WriteOptions())
    await EventExpiry(store, registry, writes, deletion).expire(now + timedelta(minutes=70))
    assert [each.key.name for each in store.objects(events.storage_kind)] == ["seen-again"]
    await store.close()
