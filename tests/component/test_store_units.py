"""The bucket's contract: what makes a unit done, and what never does."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from carryon_core import layout
from carryon_core.done import Artifact, Done, Outcome
from carryon_core.messages import AssignedUnit, Assignment, StoreConfig
from carryon_store import Conflict, NotFound, ObjectInfo, Store, StoreError, Unreachable, open_store
from carryon_store.records import get_assignment, get_items, put_assignment, put_items
from carryon_store.units import File, Published, Unreadable, discard, publish, read_done
from carryon_store.verification import DoneCache, DoneFacts, Invalid, Verification, verify, verify_unit

STAGE = layout.stage_prefix("ns", "reel", "clip")


def fingerprint(item: str) -> str:
    return hashlib.sha256(item.encode()).hexdigest()


def prefix_of(item: str) -> str:
    return layout.unit_prefix("ns", "reel", "clip", item, fingerprint(item))


def wanted(*items: str) -> dict[str, str]:
    return {prefix_of(item): fingerprint(item) for item in items}


def make(store: Store, item: str, content: bytes = b"content", *, pod: str = "pod", files: int = 2) -> Published:
    """Publish a unit of some files as a worker would."""

    def describe(artifacts: list[Artifact]) -> Done:
        return Done(
            fingerprint=fingerprint(item),
            stage="clip",
            item=item,
            artifacts=artifacts,
            seed=1,
            pod_uid=pod,
            finished=datetime.now(UTC).isoformat(),
        )

    with tempfile.TemporaryDirectory() as folder:
        made = []
        for name in ("clip.mp4", "zoom.png", "notes")[:files]:
            path = Path(folder, name)
            path.write_bytes(content + name.encode())
            made.append(File(name, path, "video/mp4"))
        return publish(store, prefix_of(item), made, describe)


def snapshot(store: Store) -> dict[str, tuple[str, datetime]]:
    return {info.key: (info.etag, info.modified) for info in store.list()}


class Watched:
    """A store that records what is asked of the one behind it, and can hide objects from its first listings."""

    def __init__(self, store: Store, hidden: Callable[[ObjectInfo], bool] = lambda _: False, listings: int = 0) -> None:
        self._store, self._hidden, self._left = store, hidden, listings
        self.asked: list[str] = []
        self.uri = store.uri
        self.download, self.supports_conditional_puts = store.download, store.supports_conditional_puts

    def put(self, key: str, body: bytes | Path, *, content_type: str, only_if_absent: bool = False) -> ObjectInfo:
        self.asked.append(f"put {key}")
        return self._store.put(key, body, content_type=content_type, only_if_absent=only_if_absent)

    def get(self, key: str, *, max_bytes: int = 1 << 20) -> bytes:
        self.asked.append(f"get {key}")
        return self._store.get(key, max_bytes=max_bytes)

    def head(self, key: str) -> ObjectInfo:
        self.asked.append(f"head {key}")
        return self._store.head(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.asked.append(f"list {prefix}")
        self._left -= 1
        hiding = self._left >= 0
        return (info for info in self._store.list(prefix) if not (hiding and self._hidden(info)))

    def delete(self, key: str) -> None:
        self.asked.append(f"delete {key}")
        self._store.delete(key)


def test_a_published_unit_is_done(store: Store) -> None:
    published = make(store, "dunes", b"content")
    assert published.first
    assert read_done(store, prefix_of("dunes")) == published.done
    clip, zoom = published.done.artifacts
    assert (clip.name, clip.size, clip.content_type) == ("clip.mp4", 15, "video/mp4")
    assert clip.key == f"clip.{clip.sha256[:12]}.mp4"
    assert store.get(prefix_of("dunes") + zoom.key) == b"contentzoom.png"
    facts = verify_unit(store, prefix_of("dunes"), fingerprint("dunes"))
    assert isinstance(facts, DoneFacts)
    assert facts.artifacts == ((clip.key, 15), (zoom.key, 15))
    assert verify(store, STAGE, wanted("dunes"), DoneCache()).done == {prefix_of("dunes"): facts}


def test_done_json_is_written_last(store: Store) -> None:
    watched = Watched(store)
    make(watched, "dunes")
    puts = [asked for asked in watched.asked if asked.startswith("put")]
    assert len(puts) == 3
    assert puts[-1] == f"put {prefix_of('dunes')}done.json"


def test_a_late_worker_changes_nothing_that_a_done_json_describes(store: Store) -> None:
    first = make(store, "dunes", b"first", pod="early")
    before = snapshot(store)
    late = make(store, "dunes", b"other content of a generator that is not deterministic", pod="late")
    assert not late.first
    assert late.done == first.done
    after = snapshot(store)
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 2, "what the late one made stays unreferenced"
    assert verify(store, STAGE, wanted("dunes"), DoneCache()).done.keys() == {prefix_of("dunes")}


def test_a_worker_killed_while_publishing_sends_nothing_twice(store: Store) -> None:
    make(store, "dunes")
    store.delete(prefix_of("dunes") + layout.DONE)
    before = snapshot(store)
    watched = Watched(store)
    assert make(watched, "dunes").first
    assert [asked for asked in watched.asked if asked.startswith("put")] == [f"put {prefix_of('dunes')}done.json"]
    after = snapshot(store)
    assert {key: after[key] for key in before} == before


def test_an_artifact_that_was_cut_short_is_sent_again(store: Store) -> None:
    key = prefix_of("dunes") + make(store, "dunes").done.artifacts[0].key
    store.delete(prefix_of("dunes") + layout.DONE)
    store.put(key, b"cut", content_type="")
    make(store, "dunes")
    assert store.get(key) == b"contentclip.mp4"


def test_a_unit_without_files_can_be_done(store: Store) -> None:
    make(store, "dunes", files=0)
    assert isinstance(verify_unit(store, prefix_of("dunes"), fingerprint("dunes")), DoneFacts)


def test_a_unit_without_done_json_is_absent(store: Store) -> None:
    make(store, "dunes")
    store.delete(prefix_of("dunes") + layout.DONE)
    assert read_done(store, prefix_of("dunes")) is None
    assert verify_unit(store, prefix_of("dunes"), fingerprint("dunes")) is None
    assert verify(store, STAGE, wanted("dunes", "sea"), DoneCache()) == Verification(
        {}, {}, set(wanted("dunes", "sea"))
    )


def replace_done(store: Store, prefix: str, **fields: object) -> None:
    content = json.loads(store.get(prefix + layout.DONE))
    store.put(prefix + layout.DONE, json.dumps({**content, **fields}).encode(), content_type="")


def first_artifact(store: Store, prefix: str) -> str:
    return prefix + json.loads(store.get(prefix + layout.DONE))["artifacts"][0]["key"]


def point_elsewhere(store: Store, prefix: str) -> None:
    artifacts = json.loads(store.get(prefix + layout.DONE))["artifacts"]
    store.put("outside", b"x" * artifacts[0]["size"], content_type="")
    artifacts[0]["key"] = "../" * prefix.count("/") + "outside"
    replace_done(store, prefix, artifacts=artifacts)


CORRUPTIONS: dict[str, tuple[Callable[[Store, str], object], str]] = {
    "artifact deleted": (lambda s, p: s.delete(first_artifact(s, p)), ".mp4 is missing"),
    "artifact cut": (lambda s, p: s.put(first_artifact(s, p), b"cut", content_type=""), "has 3 bytes instead of 15"),
    "artifact elsewhere": (point_elsewhere, "outside is missing"),
    "foreign fingerprint": (
        lambda s, p: replace_done(s, p, fingerprint=fingerprint("dunes")[:16] + "0" * 48),
        "is of fingerprint",
    ),
    "no JSON": (lambda s, p: s.put(p + layout.DONE, b"\x00\xff{", content_type=""), "done.json is unreadable"),
    "empty": (lambda s, p: s.put(p + layout.DONE, b"", content_type=""), "done.json is unreadable"),
    "no artifacts field": (
        lambda s, p: s.put(p + layout.DONE, b'{"fingerprint": "%s"}' % (b"0" * 64), content_type=""),
        "done.json is unreadable: ",
    ),
    "negative size": (
        lambda s, p: replace_done(
            s, p, artifacts=[{"name": "clip.mp4", "key": "clip.mp4", "size": -1, "sha256": "0" * 64}]
        ),
        "artifacts.0.size",
    ),
    "huge": (
        lambda s, p: s.put(p + layout.DONE, b" " * (4 << 20) + b"{}", content_type=""),
        "done.json has more than 4194304 bytes",
    ),
}


@pytest.mark.parametrize("how", CORRUPTIONS)
def test_a_unit_that_does_not_verify_is_discarded_and_made_again_and_only_that_one(store: Store, how: str) -> None:
    corrupt, sentence = CORRUPTIONS[how]
    cache = DoneCache()
    for item in ("dunes", "sea", "sky"):
        make(store, item)
    assert len(verify(store, STAGE, wanted("dunes", "sea", "sky"), cache).done) == 3
    corrupt(store, prefix_of("dunes"))
    before = snapshot(store)

    for known in (cache, DoneCache()):
        verification = verify(store, STAGE, wanted("dunes", "sea", "sky"), known)
        assert verification.done.keys() == wanted("sea", "sky").keys()
        assert not verification.absent
        invalid = verification.invalid[prefix_of("dunes")]
        assert sentence in invalid.reason
        assert verify_unit(store, prefix_of("dunes"), fingerprint("dunes"), known) == invalid

    assert discard(store, prefix_of("dunes"), invalid.etag)
    assert verify(store, STAGE, wanted("dunes", "sea", "sky"), cache).absent == wanted("dunes").keys()
    assert make(store, "dunes", b"remade").first
    assert len(verify(store, STAGE, wanted("dunes", "sea", "sky"), cache).done) == 3
    after = snapshot(store)
    untouched = [key for key in before if not key.startswith(prefix_of("dunes"))]
    assert {key: after[key] for key in untouched} == {key: before[key] for key in untouched}


def test_a_worker_that_meets_a_done_json_that_says_nothing_is_told_who_removes_it(store: Store) -> None:
    for how in ("no JSON", "foreign fingerprint"):
        make(store, "dunes")
        CORRUPTIONS[how][0](store, prefix_of("dunes"))
        with pytest.raises(Conflict, match=r"done\.json exists already, but .* the operator removes it"):
            make(store, "dunes")
        store.delete(prefix_of("dunes") + layout.DONE)


def test_an_unreadable_done_json_is_no_exception(store: Store) -> None:
    store.put(prefix_of("dunes") + layout.DONE, b"{", content_type="")
    assert isinstance(read_done(store, prefix_of("dunes")), Unreadable)


def test_a_done_json_that_changed_since_it_was_judged_is_not_discarded(store: Store) -> None:
    prefix = prefix_of("dunes")
    store.put(prefix + layout.DONE, b"{", content_type="")
    judged = verify_unit(store, prefix, fingerprint("dunes"))
    assert isinstance(judged, Invalid)
    store.delete(prefix + layout.DONE)
    make(store, "dunes")
    assert not discard(store, prefix, judged.etag)
    assert isinstance(verify_unit(store, prefix, fingerprint("dunes")), DoneFacts)
    store.delete(prefix + layout.DONE)
    assert not discard(store, prefix, judged.etag)


def test_a_done_json_is_read_once(store: Store) -> None:
    cache = DoneCache()
    items = [f"item {number}" for number in range(12)]
    for item in items:
        make(store, item, files=1)
    watched = Watched(store)
    assert len(verify(watched, STAGE, wanted(*items), cache).done) == 12
    assert sum(asked.startswith("get") for asked in watched.asked) == 12
    watched = Watched(store)
    assert len(verify(watched, STAGE, wanted(*items), cache).done) == 12
    assert watched.asked == [f"list {STAGE}"]
    discard(store, prefix_of("item 3"), store.head(prefix_of("item 3") + layout.DONE).etag)
    make(store, "item 3", files=1, pod="another")
    watched = Watched(store)
    assert len(verify(watched, STAGE, wanted(*items), cache).done) == 12
    assert watched.asked == [f"list {STAGE}", f"get {prefix_of('item 3')}done.json"]


def test_the_cache_forgets_units_that_are_gone(store: Store) -> None:
    cache = DoneCache()
    for item in ("dunes", "sea"):
        make(store, item)
    verify(store, STAGE, wanted("dunes", "sea"), cache)
    verify(store, layout.stage_prefix("ns", "reel", "other"), {}, cache)
    assert len(cache) == 2
    verify(store, STAGE, wanted("dunes"), cache)
    assert len(cache) == 1


def test_a_unit_published_while_the_sweep_passes_is_not_taken_for_incomplete(store: Store) -> None:
    """The listing is past the artifacts when they are published, and comes to done.json after."""
    make(store, "dunes")
    late = Watched(store, hidden=lambda info: "/clip." in info.key, listings=1)
    assert verify(late, STAGE, wanted("dunes"), DoneCache()).done.keys() == {prefix_of("dunes")}


def test_a_unit_is_judged_alone_and_not_by_its_neighbours(store: Store) -> None:
    """Outdated fingerprints, ids that begin alike and other stages lie beside it."""
    make(store, "a")
    make(store, "a.b")
    make(store, "a/b")
    outdated = layout.unit_prefix("ns", "reel", "clip", "a", "0" * 64)
    store.put(outdated + layout.DONE, b"{", content_type="")
    store.put("ns/reel/clip-2/x", b"{}", content_type="")
    store.put(f"{STAGE}stray", b"{}", content_type="")
    verification = verify(store, STAGE, wanted("a", "a.b", "a/b", "c"), DoneCache())
    assert verification.done.keys() == wanted("a", "a.b", "a/b").keys()
    assert verification.absent == wanted("c").keys()
    assert not verification.invalid


def test_an_unreachable_bucket_is_no_verdict(store: Store) -> None:
    make(store, "dunes")
    cache = DoneCache()

    class Broken(Watched):
        def get(self, key: str, *, max_bytes: int = 1 << 20) -> bytes:
            raise Unreachable(f"{key}: no answer")

    with pytest.raises(Unreachable):
        verify(Broken(store), STAGE, wanted("dunes"), cache)
    assert len(cache) == 0
    nowhere = open_store(StoreConfig(uri="s3://bucket", endpoint="http://127.0.0.1:1"))
    for ask in (
        lambda: verify(nowhere, STAGE, wanted("dunes"), cache),
        lambda: verify_unit(nowhere, prefix_of("dunes"), fingerprint("dunes")),
        lambda: read_done(nowhere, prefix_of("dunes")),
        lambda: discard(nowhere, prefix_of("dunes"), "etag"),
    ):
        with pytest.raises(Unreachable):
            ask()


def test_items_are_kept_and_read_back(store: Store) -> None:
    items = '{"id":"dünes \ud800"}\n{"id":"sea"}\n'
    digest = put_items(store, "ns", "reel", items)
    assert put_items(store, "ns", "reel", items) == digest
    assert get_items(store, "ns", "reel", digest) == items
    with pytest.raises(NotFound):
        get_items(store, "ns", "reel", "0" * 64)
    store.put(layout.items_key("ns", "reel", digest), b"changed", content_type="")
    with pytest.raises(StoreError, match="was changed"):
        get_items(store, "ns", "reel", digest)


@pytest.mark.parametrize("outcome", ["generated", "borrowed"])
def test_what_a_worker_of_a_later_release_has_done_is_done(store: Store, outcome: str) -> None:
    """After a rollback too: a word that an operator does not know is no reason to remove what is finished."""
    prefix = prefix_of("dunes")
    store.put(prefix + "clip.mp4", b"clip", content_type="video/mp4")
    artifact = {"name": "clip.mp4", "key": "clip.mp4", "size": 4, "sha256": "0" * 64, "codec": "av2"}
    resume = {"calls": 8, "replayed": 0, "refused": "another moon", "misfit": "moon"}
    told = {
        "stage": "clip",
        "item": "dunes",
        "fingerprint": fingerprint("dunes"),
        "seed": 1,
        "finished": "2027-01-01T00:00:00Z",
    }
    content = {**told, "contract": 2, "artifacts": [artifact], "outcome": outcome, "resume": resume, "new": {}}
    store.put(prefix + layout.DONE, json.dumps(content).encode(), content_type="application/json")
    found = verify(store, STAGE, wanted("dunes"), DoneCache())
    assert list(found.done) == [prefix]
    assert found.invalid == {}
    done = read_done(store, prefix)
    assert isinstance(done, Done)
    assert done.outcome is Outcome.GENERATED
    assert done.resume is not None
    assert (done.resume.refused, done.resume.misfit) == ("another moon", None)


def test_a_large_assignment_travels_by_the_bucket(store: Store) -> None:
    unit = AssignedUnit(
        index=0, item="dunes", fingerprint="f" * 64, seed=1, generate={"command": {"args": ["x" * 99_999]}}
    )
    assignment = Assignment(
        namespace="ns", job="reel", stage="clip", attempt=1, store=StoreConfig(uri=store.uri), units=[unit]
    )
    pointer = put_assignment(store, assignment)
    assert put_assignment(store, assignment) == pointer
    assert get_assignment(store, pointer) == assignment
    store.put(pointer.key, b"{}", content_type="")
    with pytest.raises(StoreError, match="was changed"):
        get_assignment(store, pointer)


ITEMS = ("a", "a.b", "b", "é")


class VerificationModel(RuleBasedStateMachine):
    """Whatever happens to a stage's objects, verification with a cache that lives through it says what is so."""

    items = st.sampled_from(ITEMS)

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.store = open_store(StoreConfig(uri=Path(self.folder).as_uri()))
        self.cache = DoneCache()
        self.described: dict[str, list[str] | None] = {}  # Prefix -> keys that its done.json names; None: unreadable.
        self.lost: set[str] = set()

    @rule(item=items, content=st.sampled_from([b"", b"1", b"22"]))
    def publish_unit(self, item: str, content: bytes) -> None:
        prefix = prefix_of(item)
        if self.described.get(prefix, []) is None:
            with pytest.raises(Conflict):
                make(self.store, item, content)
        else:
            assert make(self.store, item, content).first is (prefix not in self.described)
        names = ("clip.mp4", "zoom.png")
        keys = [
            prefix + layout.artifact_name(name, hashlib.sha256(content + name.encode()).hexdigest()) for name in names
        ]
        self.described.setdefault(prefix, keys)
        self.lost.difference_update(keys)

    @rule(item=items, which=st.integers(0, 1), deleted=st.booleans())
    def lose_an_artifact(self, item: str, which: int, deleted: bool) -> None:
        keys = self.described.get(prefix_of(item))
        if keys is not None:
            if deleted:
                self.store.delete(keys[which])
            else:
                self.store.put(keys[which], b"another size" * 3, content_type="")
            self.lost.add(keys[which])

    @rule(item=items)
    def break_done_json(self, item: str) -> None:
        self.store.put(prefix_of(item) + layout.DONE, b"{", content_type="")
        self.described[prefix_of(item)] = None

    @rule()
    def discard_what_is_invalid(self) -> None:
        for prefix, invalid in verify(self.store, STAGE, wanted(*ITEMS), self.cache).invalid.items():
            assert discard(self.store, prefix, invalid.etag)
            del self.described[prefix]

    @invariant()
    def says_what_is_so(self) -> None:
        verification = verify(self.store, STAGE, wanted(*ITEMS), self.cache)
        holds = {prefix for prefix, keys in self.described.items() if keys is not None and not self.lost & set(keys)}
        assert verification.done.keys() == holds
        assert verification.invalid.keys() == self.described.keys() - holds
        assert verification.absent == wanted(*ITEMS).keys() - self.described.keys()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


TestVerificationModel = VerificationModel.TestCase
TestVerificationModel.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
