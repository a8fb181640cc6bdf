"""What goes from a bucket and what stays: earlier versions of units, deleted jobs, logs and digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carryon_core import layout
from carryon_core.done import Artifact, Done, Outcome
from carryon_core.messages import StoreConfig
from carryon_core.resolve import resolve
from carryon_core.resolved import ResolvedJob
from carryon_core.spec import JobSpec
from carryon_core.standing import DoneUnit, stand
from carryon_store import NotFound, Store, StoreError, open_store, place_of
from carryon_store.deleting import delete_prefix
from carryon_store.pruning import prune
from carryon_store.records import put_log
from carryon_store.units import File, publish
from carryon_store.verification import DoneCache, DoneFacts, verify_unit

HOURS = timedelta(hours=1)


def job(*ids: str) -> ResolvedJob:
    """Clips of some items, and a reel of them."""
    return resolve(
        "ns",
        "film",
        JobSpec.model_validate(
            {
                "items": {"list": [{"id": each} for each in ids]},
                "stages": [
                    {"name": "clip", "generate": {"command": {"args": ["clip", "{{ item.id }}"]}}},
                    {
                        "name": "reel",
                        "each": "job",
                        "after": ["clip"],
                        "generate": {"command": {"args": ["join", "{{ inputs.clip }}"]}},
                    },
                ],
            },
        ),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "bucket"


@pytest.fixture
def disk(folder: Path) -> Store:
    """A store whose objects can be given any age."""
    return open_store(StoreConfig(uri=folder.as_uri()))


def version(store: Store, folder: Path, at: str, name: str, age: timedelta, *, done: bool = True) -> str:
    """Make an earlier version of a unit, `age` ago."""
    prefix = f"ns/film/{at}/{hashlib.sha256(name.encode()).hexdigest()[:16]}/"
    keys = ["clip.3fa9c0d1b2e4.mp4", "attempts/uid.log", *(["done.json"] if done else [])]
    for key in keys:
        store.put(prefix + key, b"x", content_type="")
        then = (datetime.now(UTC) - age).timestamp()
        os.utime(folder / prefix / key, (then, then))
    return prefix


def present(store: Store) -> set[str]:
    """Versions of which something is there."""
    return {info.key.rsplit("/", 1)[0].removesuffix("/attempts") + "/" for info in store.list()}


def test_the_newest_earlier_versions_stay_by_when_they_were_done(disk: Store, folder: Path) -> None:
    resolved = job("dunes")
    today = resolved.prefix(resolved.unit(0, 0))
    disk.put(today + layout.DONE, b"{}", content_type="")
    made = [version(disk, folder, "clip/dunes", f"v{number}", number * HOURS) for number in (5, 1, 4, 2, 3)]
    assert prune(disk, resolved, 3, datetime.now(UTC)) == 2 * 3
    assert present(disk) == {today, made[1], made[3], made[4]}
    assert prune(disk, resolved, 3, datetime.now(UTC)) == 0
    assert prune(disk, resolved, 0, datetime.now(UTC)) == 3 * 3
    assert present(disk) == {today}


def test_a_version_that_a_worker_may_still_be_at_stays(disk: Store, folder: Path) -> None:
    resolved = job("dunes")
    young = version(disk, folder, "clip/dunes", "young", HOURS / 2, done=False)
    version(disk, folder, "clip/dunes", "old", 2 * HOURS, done=False)
    version(disk, folder, "clip/dunes", "young and done", HOURS / 2)
    prune(disk, resolved, 0, datetime.now(UTC))
    assert present(disk) == {young}


@pytest.mark.parametrize(
    "kept",
    [
        f"{layout.CHECKPOINT}state.bin",
        f"{layout.JOURNAL}abc/uid/000000.safetensors",
        f"{layout.PREVIEWS}000.3fa9c0d1b2e4.mp4",
    ],
)
def test_checkpoints_go_with_the_work_they_were_for_and_no_sooner(disk: Store, folder: Path, kept: str) -> None:
    resolved = job("dunes", "sea")
    dunes, sea = (resolved.prefix(unit) for unit in resolved.units() if unit.stage == 0)
    disk.put(dunes + layout.DONE, b"{}", content_type="")
    for prefix in (dunes, sea):
        disk.put(prefix + kept, b"x", content_type="")
    assert prune(disk, resolved, 0, datetime.now(UTC)) == 1
    assert {info.key for info in disk.list()} == {dunes + layout.DONE, sea + kept}


def test_nothing_else_is_pruned(disk: Store, folder: Path) -> None:
    """Not removed items or stages, other jobs, our own folders, what people put there, or a unit not known today."""
    resolved = job("dunes", "a/b", "..")
    kept = {
        version(disk, folder, "clip/removed", "v", 5 * HOURS),
        version(disk, folder, "old-stage/dunes", "v", 5 * HOURS),
        version(disk, folder, "reel/job", "not known today", 5 * HOURS),
    }
    for key in ("_items/x.jsonl", "_inputs/photo.png", "clip/dunes/notes.txt", "clip/dunes/mine/notes.txt"):
        disk.put(f"ns/film/{key}", b"x", content_type="")
    disk.put("ns/film-2/clip/dunes/0123456789abcdef/done.json", b"x", content_type="")
    before = {info.key for info in disk.list()}
    gone = [version(disk, folder, f"clip/{layout.encode_id(item)}", "v", 5 * HOURS) for item in ("dunes", "a/b", "..")]
    assert prune(disk, resolved, 0, datetime.now(UTC)) == 3 * len(gone)
    assert {info.key for info in disk.list()} == before
    assert kept <= present(disk)


def test_a_gathered_unit_is_pruned_once_it_is_known(disk: Store, folder: Path) -> None:
    resolved = job("dunes")
    done = {resolved.unit(0, 0).fingerprint: DoneUnit(Outcome.GENERATED)}
    standing = stand(resolved, done, set())
    today = standing.job.prefix(standing.job.unit(1, 0))
    disk.put(today + layout.DONE, b"{}", content_type="")
    version(disk, folder, "reel/job", "earlier", 5 * HOURS)
    prune(disk, standing.job, 0, datetime.now(UTC))
    assert present(disk) == {today}


def test_a_version_that_is_pruned_is_not_done_from_the_first_deletion_on(disk: Store, folder: Path) -> None:
    resolved = job("dunes")
    prefix = version(disk, folder, "clip/dunes", "v", 5 * HOURS)
    deleted: list[str] = []

    class Breaks:
        list = staticmethod(disk.list)

        @staticmethod
        def delete(key: str) -> None:
            if deleted:
                raise StoreError("no more")
            deleted.append(key)
            disk.delete(key)

    with pytest.raises(StoreError, match="no more"):
        prune(Breaks(), resolved, 0, datetime.now(UTC))  # type: ignore[arg-type]
    assert deleted == [prefix + layout.DONE]
    prune(disk, resolved, 0, datetime.now(UTC))
    assert present(disk) == set()


def test_a_job_is_deleted_in_pieces_and_nothing_beside_it(store: Store) -> None:
    for number in range(25):
        store.put(f"ns/film/clip/{number:03}/0123456789abcdef/done.json", b"x", content_type="")
    store.put("ns/film/_items/x.jsonl", b"x", content_type="")
    store.put("ns/film-2/x", b"x", content_type="")
    store.put("ns/fil", b"x", content_type="")
    prefix = layout.job_prefix("ns", "film")
    assert [delete_prefix(store, prefix, 10) for _ in range(4)] == [10, 10, 6, 0]
    assert [info.key for info in store.list()] == ["ns/fil", "ns/film-2/x"]


@pytest.mark.parametrize("prefix", ["", "ns/film"])
def test_what_is_no_prefix_is_not_deleted(store: Store, prefix: str) -> None:
    store.put("ns/film/x", b"x", content_type="")
    with pytest.raises(StoreError, match="must end in a slash"):
        delete_prefix(store, prefix)
    assert len(list(store.list())) == 1


def test_a_log_lies_beside_what_its_attempt_was_to_make(store: Store) -> None:
    key = put_log(store, "ns/film/clip/dunes/0123456789abcdef/", "uid-1", "Traceback\n\ud800 dünes")
    assert key == "ns/film/clip/dunes/0123456789abcdef/attempts/uid-1.log"
    assert store.get(key).decode() == "Traceback\n? dünes"
    put_log(store, "ns/film/clip/dunes/0123456789abcdef/", "uid-1", "again")
    assert store.get(key) == b"again"


@pytest.mark.parametrize("outcome", [Outcome.SKIPPED, Outcome.FILTERED, Outcome.GENERATED])
def test_a_unit_says_how_it_ended_whose_work_it_was_and_how_long_it_took(
    store: Store, tmp_path: Path, outcome: Outcome
) -> None:
    made = tmp_path / "clip.mp4"
    made.write_bytes(b"x")
    files = [File("clip.mp4", made)] if outcome is Outcome.GENERATED else []
    timings = {"load": 1.5, "generate": 2.0, "publish": 0.25}

    def describe(artifacts: list[Artifact]) -> Done:
        return Done.model_validate(
            {
                "fingerprint": "f" * 64,
                "stage": "clip",
                "item": "dunes",
                "outcome": outcome,
                "artifacts": artifacts,
                "seed": 1,
                "timings": timings,
                "podUid": "uid-1",
                "finished": "2026-11-21T08:00:00Z",
            }
        )

    assert publish(store, "ns/film/clip/dunes/ffffffffffffffff/", files, describe).first
    facts = verify_unit(store, "ns/film/clip/dunes/ffffffffffffffff/", "f" * 64, DoneCache())
    assert isinstance(facts, DoneFacts)
    assert facts.unit == DoneUnit(outcome, "uid-1", 2.0, 1795248000.0)


def test_a_digest_is_of_the_content_whatever_its_size(store: Store) -> None:
    content = bytes(range(256)) * 4096 * 3
    store.put("in/photo.png", content, content_type="")
    store.put("in/empty", b"", content_type="")
    assert store.sha256("in/photo.png") == hashlib.sha256(content).hexdigest()
    assert store.sha256("in/empty") == hashlib.sha256(b"").hexdigest()
    with pytest.raises(NotFound):
        store.sha256("in/none.png")


HOUSE = StoreConfig(uri="s3://house/p", endpoint="https://minio.example", region="eu-west-1")
PLACES: Mapping[str, tuple[StoreConfig, str]] = {
    "s3://bucket/in/dünes 1.png": (HOUSE.model_copy(update={"uri": "s3://bucket"}), "in/dünes 1.png"),
    "s3://house/p/x": (HOUSE.model_copy(update={"uri": "s3://house"}), "p/x"),
    "file:///data/my%20photos/a%23.png": (StoreConfig(uri="file:///data/my%20photos"), "a#.png"),
    "file:///photo.png": (StoreConfig(uri="file:///"), "photo.png"),
}


@pytest.mark.parametrize("uri", PLACES)
def test_an_object_is_found_by_its_uri(uri: str) -> None:
    assert place_of(uri, HOUSE) == PLACES[uri]


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3:///x", "file:///", "file:///a/../b", "http://x/y"])
def test_what_names_no_object_is_refused(uri: str) -> None:
    with pytest.raises(StoreError):
        place_of(uri, HOUSE)
