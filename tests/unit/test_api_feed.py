"""The feed: what a page is told, wherever it is and however slow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from carryon_api.live.feed import Entry, Feed


def everything(entry: Entry) -> bool:
    return True


def put(feed: Feed, name: str, version: int, namespace: str = "ns") -> None:
    data = f"{name}@{version}".encode()
    feed.put(f"uid-{name}", namespace, name, version, data, data)


def told(feed: Feed, position: int) -> list[bytes] | None:
    entries = feed.since(position, everything)
    return None if entries is None else [entry.frame for entry in entries]


def test_a_page_is_told_each_job_once_in_its_newest_state() -> None:
    feed = Feed()
    for version in range(1, 100):
        put(feed, "abc"[version % 3], version)
    assert told(feed, 0) == [b"b@97", b"c@98", b"a@99"]
    assert told(feed, feed.head - 1) == [b"a@99"]
    assert told(feed, feed.head) == []


def test_a_deletion_is_told_and_the_job_no_longer_listed() -> None:
    feed = Feed()
    put(feed, "a", 1)
    put(feed, "b", 2)
    feed.remove("uid-a", 2, b"a gone")
    assert told(feed, 0) == [b"b@2", b"a gone"]
    assert [entry.name for entry in feed.jobs(everything)] == ["b"]
    assert (len(feed), dict(feed.namespaces), feed.job("ns", "a")) == (1, {"ns": 1}, None)


def test_a_job_that_was_created_again_under_its_name_is_found_by_it() -> None:
    feed = Feed()
    feed.put("one", "ns", "a", 1, b"1", b"1")
    feed.put("two", "ns", "a", 2, b"2", b"2")
    feed.remove("one", 2, b"gone")
    found = feed.job("ns", "a")
    assert found is not None
    assert found.uid == "two"


def test_a_page_that_missed_a_deletion_nobody_remembers_begins_again() -> None:
    feed = Feed(tombstones=2)
    for number in range(5):
        put(feed, str(number), number + 1)
    before = feed.head
    for number in range(3):
        feed.remove(f"uid-{number}", 5, b"gone")
    assert told(feed, before) is None
    assert told(feed, before + 1) == [b"gone", b"gone"]


def test_a_job_that_came_back_is_not_forgotten_with_its_deletion() -> None:
    feed = Feed(tombstones=1)
    put(feed, "a", 1)
    put(feed, "b", 2)
    feed.remove("uid-a", 2, b"gone")
    put(feed, "a", 3)
    feed.remove("uid-b", 3, b"gone")
    assert [entry.name for entry in feed.jobs(everything)] == ["a"]


def test_a_version_is_placed_once_it_is_known_that_nothing_was_missed_since() -> None:
    feed = Feed()
    put(feed, "listed", 50)
    assert feed.place(50) is None
    feed.complete(60)
    put(feed, "watched", 60)
    put(feed, "later", 70)
    assert feed.place(50) is None, "a deletion between list and watch may be unknown"
    assert feed.place(71) is None, "this replica has not got there yet"
    position = feed.place(60)
    assert position is not None
    assert told(feed, position) == [b"watched@60", b"later@70"]


def test_a_deletion_right_after_what_a_page_has_seen_is_told_to_it() -> None:
    feed = Feed()
    feed.complete(1)
    put(feed, "a", 1)
    put(feed, "b", 2)
    feed.remove("uid-a", 2, b"a gone")  # Its own version is not known.
    position = feed.place(2)
    assert position is not None
    assert b"a gone" in (told(feed, position) or [])


def test_a_page_sees_only_what_it_may() -> None:
    feed = Feed()
    put(feed, "a", 1, "mine")
    put(feed, "b", 2, "yours")

    def mine(entry: Entry) -> bool:
        return entry.namespace == "mine"

    assert [entry.name for entry in feed.since(0, mine) or ()] == ["a"]
    assert [entry.name for entry in feed.jobs(mine)] == ["a"]


class Pages(RuleBasedStateMachine):
    """Pages that read when they like hold, after reading, just the jobs that there are."""

    def __init__(self) -> None:
        super().__init__()
        self.feed = Feed(tombstones=3)
        self.feed.complete(0)
        self.there: dict[str, bytes] = {}
        self.version = 0
        self.pages: list[tuple[int, dict[str, bytes]]] = [(0, {}), (0, {}), (0, {})]

    @rule(name=st.sampled_from("abcdef"))
    def change(self, name: str) -> None:
        self.version += 1
        data = b"%d" % self.version
        self.feed.put(name, "ns", name, self.version, data, data)
        self.there[name] = data

    @rule(name=st.sampled_from("abcdef"))
    def delete(self, name: str) -> None:
        self.feed.remove(name, self.version, b"gone")
        self.there.pop(name, None)

    @rule(number=st.integers(0, 2), moved=st.booleans())
    def read(self, number: int, moved: bool) -> None:
        position, seen = self.pages[number]
        start: int | None = position
        if moved:
            # To another place, by the version that the page had last: as with a new connection.
            placed = self.feed.place(max([0, *(int(data) for data in seen.values())]))
            start = placed
        entries = None if start is None else self.feed.since(start, everything)
        if entries is None:
            seen = {entry.uid: entry.data for entry in self.feed.jobs(everything)}
        else:
            for entry in entries:
                if entry.gone:
                    seen.pop(entry.uid, None)
                else:
                    seen[entry.uid] = entry.data
        self.pages[number] = (self.feed.head, seen)
        assert seen == self.there

    @invariant()
    def no_more_is_kept_than_jobs_and_tombstones(self) -> None:
        assert len(self.feed) == len(self.there)
        assert len(self.feed._entries) <= len(self.there) + 3


TestPages = Pages.TestCase


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_numbers_and_versions_only_rise(changes: list[tuple[str, bool]]) -> None:
    feed = Feed(tombstones=1)
    for version, (name, gone) in enumerate(changes):
        if gone:
            feed.remove(name, 0, b"gone")
        else:
            feed.put(name, "ns", name, version % 3, b"x", b"x")
        entries = feed.since(feed._oldest, everything) or ()
        numbers = [(entry.number, entry.version) for entry in entries]
        assert numbers == sorted(numbers)
