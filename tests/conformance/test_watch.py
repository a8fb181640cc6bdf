"""What a watcher may rely on."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import pytest

MAPS = "/api/v1/namespaces/{}/configmaps"


@pytest.fixture
def maps(server: Any, request: pytest.FixtureRequest) -> str:
    """ConfigMaps in a namespace of the test's own."""
    name = f"w{abs(hash(request.node.name)) % 10**8}"
    server.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return MAPS.format(name)


def config_map(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


def version(value: Any) -> str:
    return str(value["metadata"]["resourceVersion"])


def test_headers_come_before_the_first_event(server: Any, maps: str) -> None:
    connection = server.connect(timeout=3)
    with contextlib.closing(connection):
        connection.request("GET", f"{maps}?watch=1&resourceVersion={version(server.get(maps))}", headers=server.headers)
        assert connection.getresponse().status == 200


def test_a_deletion_carries_the_last_state_under_a_version_of_its_own(server: Any, maps: str) -> None:
    start = version(server.get(maps))
    made = server.create(maps, config_map("a", stage="clip"))
    server.delete(f"{maps}/a")
    with server.watch(f"{maps}?watch=1&resourceVersion={start}&timeoutSeconds=1") as events:
        added, deleted = events
    assert (added["type"], deleted["type"]) == ("ADDED", "DELETED")
    assert deleted["object"]["metadata"]["labels"] == {"stage": "clip"}
    assert int(version(deleted["object"])) > int(version(made))


def test_a_change_that_changes_nothing_makes_no_event_and_no_version(server: Any, maps: str) -> None:
    made = server.create(maps, config_map("a", stage="clip"))
    for _ in range(3):
        assert version(server.patch(f"{maps}/a", {"metadata": {"labels": {"stage": "clip"}}})) == version(made)
    assert version(server.put(f"{maps}/a", {"metadata": {"name": "a", "labels": {"stage": "clip"}}})) == version(made)
    with server.watch(f"{maps}?watch=1&resourceVersion={version(made)}&timeoutSeconds=1") as events:
        assert list(events) == []


def test_watchers_that_asked_for_different_things_at_once_each_see_their_own(server: Any, maps: str) -> None:
    start = version(server.get(maps))
    asked = {
        "": ["a", "b", "c"],
        "labelSelector=stage%3Dimage": ["a"],
        "labelSelector=stage%3Dclip": ["b", "c"],
        "labelSelector=stage%3Dclip&fieldSelector=metadata.name%3Db": ["b"],
        "fieldSelector=metadata.name!%3Db": ["a", "c"],
    }
    found: dict[str, list[list[str]]] = {each: [] for each in asked}

    def follow(query: str) -> None:
        with server.watch(f"{maps}?watch=1&resourceVersion={start}&timeoutSeconds=3&{query}") as events:
            names = [name for event in events if (name := event["object"]["metadata"]["name"]) in ("a", "b", "c")]
        with server.watch(f"/api/v1/configmaps?watch=1&resourceVersion={start}&timeoutSeconds=1&{query}") as events:
            assert set(names) <= {event["object"]["metadata"]["name"] for event in events}
        found[query].append(names)

    watchers = [threading.Thread(target=follow, args=(query,)) for query in asked for _ in range(2)]
    for each in watchers:
        each.start()
    for name, stage in (("a", "image"), ("b", "clip"), ("c", "clip")):
        server.create(maps, config_map(name, stage=stage))
    for each in watchers:
        each.join()
    assert found == {query: [names, names] for query, names in asked.items()}


def test_a_selector_turns_changes_into_arrivals_and_departures(server: Any, maps: str) -> None:
    start = version(server.get(maps))
    server.create(maps, config_map("a", stage="image"))
    for stage in ("clip", "clip", "image", "clip"):
        server.patch(f"{maps}/a", {"metadata": {"labels": {"stage": stage}}})
    server.patch(f"{maps}/a", {"data": {"x": "y"}})
    server.delete(f"{maps}/a")
    path = f"{maps}?watch=1&resourceVersion={start}&timeoutSeconds=1&labelSelector=stage%3Dclip"
    with server.watch(path) as events:
        seen = [(event["type"], event["object"]["metadata"]["labels"]["stage"]) for event in events]
    assert seen == [
        ("ADDED", "clip"),
        ("DELETED", "clip"),
        ("ADDED", "clip"),
        ("MODIFIED", "clip"),
        ("DELETED", "clip"),
    ]


def test_a_watch_of_one_namespace_sees_nothing_of_others(server: Any, maps: str) -> None:
    start = version(server.get(maps))
    server.create(MAPS.format("default"), config_map("elsewhere"))
    server.create(maps, config_map("here"))
    with server.watch(f"{maps}?watch=1&resourceVersion={start}&timeoutSeconds=1") as events:
        assert [event["object"]["metadata"]["name"] for event in events] == ["here"]
    with server.watch(f"/api/v1/configmaps?watch=1&resourceVersion={start}&timeoutSeconds=1") as events:
        assert [event["object"]["metadata"]["name"] for event in events] == ["elsewhere", "here"]


def test_initial_events_end_with_a_marked_bookmark(server: Any, maps: str) -> None:
    for name in ("b", "a"):
        server.create(maps, config_map(name))
    wanted = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    with server.watch(f"{maps}?watch=1&{wanted}&timeoutSeconds=1") as events:
        first, second, mark = list(events)[:3]
    assert [each["object"]["metadata"]["name"] for each in (first, second)] == ["a", "b"]
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_a_bookmark_saves_a_quiet_watcher_from_falling_behind(server: Any, maps: str) -> None:
    start = version(server.get(maps))
    server.create("/api/v1/namespaces/default/secrets", {"metadata": {"generateName": "other-"}})
    with server.watch(f"{maps}?watch=1&resourceVersion={start}&timeoutSeconds=1&allowWatchBookmarks=true") as events:
        (bookmark,) = events
    assert bookmark["type"] == "BOOKMARK"
    assert int(version(bookmark["object"])) > int(start)
    assert set(bookmark["object"]) == {"kind", "apiVersion", "metadata"}


def test_many_watchers_see_every_event_in_order_under_concurrent_writes(server: Any, maps: str) -> None:
    start = version(server.get(maps))
    seen: list[list[int]] = [[] for _ in range(8)]
    total = 4 * 50

    def watch(mine: list[int]) -> None:
        with server.watch(f"{maps}?watch=1&resourceVersion={start}&timeoutSeconds=20") as events:
            for event in events:
                mine.append(int(version(event["object"])))
                if len(mine) == total:
                    return

    def write(writer: int) -> None:
        for number in range(50):
            server.create(maps, config_map(f"w{writer}-{number}"))

    threads = [threading.Thread(target=watch, args=(each,)) for each in seen]
    threads += [threading.Thread(target=write, args=(each,)) for each in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(timeout=30)
    assert [len(each) for each in seen] == [total] * 8
    assert all(each == sorted(set(each)) for each in seen)


def test_an_event_reaches_a_waiting_watcher_at_once(server: Any, maps: str) -> None:
    with server.watch(f"{maps}?watch=1&resourceVersion={version(server.get(maps))}") as events:
        for number in range(20):
            begun = time.monotonic()
            server.create(maps, config_map(f"a{number}"))
            assert next(events)["object"]["metadata"]["name"] == f"a{number}"
            assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("watch=1&resourceVersion=abc", 400, "invalid resource version"),
        ("watch=1&sendInitialEvents=true", 422, "resourceVersionMatch: Forbidden"),
        ("watch=1&fieldSelector=spec.x%3D1", 400, "field label not supported: spec.x"),
    ],
)
def test_a_watch_that_makes_no_sense_is_refused(server: Any, query: str, status: int, message: str) -> None:
    answer = server.request("GET", f"/api/v1/configmaps?{query}")
    assert (answer.status, message in answer.message) == (status, True), answer.message


def test_metadata_alone_is_watched_where_asked_for(server: Any, maps: str) -> None:
    server.create(maps, {**config_map("a"), "data": {"secret": "x"}})
    accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    with server.watch(f"{maps}?watch=1&timeoutSeconds=1", Accept=accept) as events:
        (event,) = events
    assert event["object"]["kind"] == "PartialObjectMetadata"
    assert "data" not in event["object"]
