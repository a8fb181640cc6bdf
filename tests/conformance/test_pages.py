"""Lists that are asked for in pages, as a real server gives them."""

from __future__ import annotations

import base64
from typing import Any

import pytest


@pytest.fixture
def maps(server: Any, request: pytest.FixtureRequest) -> str:
    """Five ConfigMaps in a namespace of the test's own."""
    name = f"p{abs(hash(request.node.name)) % 10**8}"
    server.create("/api/v1/namespaces", {"metadata": {"name": name}})
    path = f"/api/v1/namespaces/{name}/configmaps"
    for letter in "abcde":
        server.create(path, {"metadata": {"name": letter, "labels": {"vowel": str(letter in "ae")}}})
    return path


def names(answer: Any) -> str:
    return "".join(each["metadata"]["name"] for each in answer["items"])


def test_the_pages_of_a_list_show_one_moment_whatever_happens_meanwhile(server: Any, maps: str) -> None:
    first = server.get(f"{maps}?limit=2")
    assert (names(first), first["metadata"]["remainingItemCount"]) == ("ab", 3)
    server.delete(f"{maps}/d")
    server.create(maps, {"metadata": {"name": "f"}})
    second = server.get(f"{maps}?limit=2&continue={first['metadata']['continue']}")
    assert (names(second), second["metadata"]["remainingItemCount"]) == ("cd", 1)
    last = server.get(f"{maps}?limit=2&continue={second['metadata']['continue']}")
    assert names(last) == "e"
    assert last["metadata"] == {"continue": "", "resourceVersion": first["metadata"]["resourceVersion"]}
    # A watch from there brings what the pages did not show.
    version = last["metadata"]["resourceVersion"]
    with server.watch(f"{maps}?watch=1&resourceVersion={version}&timeoutSeconds=1") as events:
        assert [(each["type"], each["object"]["metadata"]["name"]) for each in events] == [
            ("DELETED", "d"),
            ("ADDED", "f"),
        ]


def test_pages_of_what_is_selected_leave_open_how_much_is_to_come(server: Any, maps: str) -> None:
    first = server.get(f"{maps}?limit=1&labelSelector=vowel%3DTrue")
    assert names(first) == "a"
    assert "remainingItemCount" not in first["metadata"]
    token = first["metadata"]["continue"]
    assert names(server.get(f"{maps}?limit=1&labelSelector=vowel%3DTrue&continue={token}")) == "e"


def test_a_list_that_fits_or_may_come_from_a_cache_is_whole(server: Any, maps: str) -> None:
    for query in ("?limit=5", "?limit=1&resourceVersion=0", "?limit=0"):
        answer = server.get(maps + query)
        assert names(answer) == "abcde", query
        assert answer["metadata"]["continue"] == ""


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?limit=1&continue=no-token", "continue key is not valid"),
        ("?limit=1&continue=" + base64.urlsafe_b64encode(b'{"v":"x"}').decode(), "continue key is not valid"),
        ("?limit=many", "limit"),
        ("?limit=1&continue=abc&resourceVersion=7", "specifying resource version is not allowed when using continue"),
    ],
)
def test_nonsense_is_refused(server: Any, maps: str, query: str, said: str) -> None:
    answer = server.request("GET", maps + query)
    assert (answer.status, answer.json()["reason"]) == (400, "BadRequest")
    assert said in answer.message


def test_a_token_is_good_for_its_own_question_only(server: Any, maps: str) -> None:
    token = server.get(f"{maps}?limit=1")["metadata"]["continue"]
    assert server.request("GET", f"{maps}?limit=1&labelSelector=vowel%3DTrue&continue={token}").status == 400
