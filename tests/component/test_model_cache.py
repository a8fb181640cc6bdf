"""Models in a bucket: downloaded once, checked, gone on with after kills, and deleted when there is no room."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from carryon_core.messages import StoreConfig
from carryon_store import ObjectInfo, Store, StoreError, Stores, Unreachable
from carryon_worker.failures import BadRequest, UnitFailure
from carryon_worker.modelcache import buckets, digests, transfer
from carryon_worker.modelcache.buckets import Found, Record
from carryon_worker.modelcache.entries import Cache
from carryon_worker.modelcache.progress import Progress

OCTETS = "application/octet-stream"
MIB = 1 << 20
URI = "s3://models/tiny"


@dataclass
class Bucket:
    """A store that counts what is read of it, and may be told what to do to who reads.

    Attributes:
        reads: (key, offset, bytes that came) of each request.
        reading: Called before a request's answer, with key and offset.
        spoil: Changes the pieces of an answer.
    """

    store: Store
    reads: list[list[Any]] = field(default_factory=list)
    reading: Callable[[str, int], None] = lambda key, offset: None
    spoil: Callable[[str, int, bytes], bytes] = lambda key, offset, piece: piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def read(self, info: ObjectInfo, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        entry = [info.key, offset, 0]
        self.reads.append(entry)
        self.reading(info.key, offset)
        for piece in self.store.read(info, offset, length):
            entry[2] += len(piece)
            yield self.spoil(info.key, offset, piece)

    @property
    def came(self) -> int:
        """Bytes that came."""
        return sum(entry[2] for entry in self.reads)


@dataclass
class Place:
    """A cache and a bucket with a model in it."""

    cache: Cache
    bucket: Bucket
    moves: list[float] = field(default_factory=list)

    def put(self, key: str, body: bytes) -> None:
        self.bucket.put(key, body, content_type=OCTETS)

    def fetch(self, **more: Any) -> Found:
        options = {"uri": URI, "choose": None, **more}
        return buckets.fetch(options["uri"], self.bucket, self.cache, self.moved, options["choose"])  # type: ignore[arg-type]

    def moved(self) -> None:
        self.moves.append(time.monotonic())

    def content(self, found: Found) -> dict[str, bytes]:
        paths = (path for path in found.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(found.folder)): path.read_bytes() for path in paths}

    def others(self, found: Found) -> list[str]:
        """What lies in the cache besides this model."""
        return sorted(path.name for path in self.cache.folder.iterdir() if not path.name.startswith(found.entry.name))


@pytest.fixture
def place(store: Store, tmp_path: Path) -> Place:
    return Place(Cache(tmp_path / "cache"), Bucket(store))


@pytest.fixture
def local(stores: Stores, file_config: StoreConfig, tmp_path: Path) -> Place:
    return Place(Cache(tmp_path / "cache"), Bucket(stores.open(file_config)))


@pytest.fixture
def s3(stores: Stores, moto_config: StoreConfig, tmp_path: Path) -> Place:
    return Place(Cache(tmp_path / "cache"), Bucket(stores.open(moto_config)))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(transfer, "PART", 2 * MIB)
    return 2 * MIB


MODEL = {
    "model_index.json": b"{}",
    "empty.txt": b"",
    "unet/weights.safetensors": os.urandom(7 * MIB + 5),
    "vae/weights.safetensors": os.urandom(2 * MIB),
}


def fill(place: Place) -> None:
    for key, body in MODEL.items():
        place.put(key, body)


def test_a_model_comes_in_parts_and_its_digests_are_known(place: Place, small_parts: int) -> None:
    fill(place)
    found = place.fetch()
    assert place.content(found) == MODEL
    assert {key: each.sha256 for key, each in found.record.files.items()} == {
        key: hashlib.sha256(body).hexdigest() for key, body in MODEL.items()
    }
    assert len([key for key, _, _ in place.bucket.reads if key == "unet/weights.safetensors"]) == 4
    assert place.moves
    assert place.others(found) == []
    # In the cache it stays, and what is written down of it holds.
    place.bucket.reads.clear()
    again = place.fetch()
    assert (again.folder, again.record) == (found.folder, found.record)
    assert place.bucket.reads == []
    assert found.damaged(place.moved) == []


def test_the_digest_of_a_model_is_that_of_names_and_contents(local: Place, tmp_path: Path) -> None:
    fill(local)
    first = local.fetch().record.digest()
    # Written again: another state, the same model.
    fill(local)
    assert local.fetch().record.digest() == first
    local.put("model_index.json", b"[]")
    assert local.fetch().record.digest() != first


def test_folders_that_a_console_made_are_no_files(s3: Place) -> None:
    fill(s3)
    client, bucket = s3.bucket.store._client, s3.bucket.store._bucket  # type: ignore[attr-defined]
    base = s3.bucket.uri.removeprefix(f"s3://{bucket}/")
    for key in (f"{base}/", f"{base}/unet/"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert s3.content(s3.fetch()) == MODEL


def test_a_key_that_leads_out_of_the_folder_is_refused_before_anything_is_touched(local: Place) -> None:
    fill(local)
    outside = local.cache.folder / "precious"
    outside.write_bytes(b"precious")

    class Odd(Bucket):
        def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
            for info in self.store.list(prefix):
                yield ObjectInfo("../../precious", info.size, info.etag, info.modified)

    local.bucket = Odd(local.bucket.store)
    with pytest.raises(StoreError, match="is not a key"):
        local.fetch()
    assert outside.read_bytes() == b"precious"


def test_an_empty_prefix_is_a_bad_request(place: Place) -> None:
    with pytest.raises(BadRequest, match=f"model {URI}: there is nothing in the bucket under this uri"):
        place.fetch()


def test_many_workers_download_a_model_once(local: Place) -> None:
    fill(local)
    with ThreadPoolExecutor(8) as threads:
        found = [future.result() for future in [threads.submit(local.fetch) for _ in range(8)]]
    assert len({each.folder for each in found}) == 1
    assert local.bucket.came == sum(map(len, MODEL.values()))


def test_requests_that_break_off_are_repeated_from_there(place: Place, small_parts: int) -> None:
    fill(place)
    broken: set[tuple[str, int]] = set()

    def spoil(key: str, offset: int, piece: bytes) -> bytes:
        if key == "unet/weights.safetensors" and offset % small_parts == 0 and (key, offset) not in broken:
            broken.add((key, offset))
            return piece[:1000]
        return piece

    def reading(key: str, offset: int) -> None:
        if (key, offset) in broken and offset % small_parts == 0:
            raise AssertionError("from the start of the part again")

    class BreaksOff(Bucket):
        def read(self, info: ObjectInfo, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
            for piece in Bucket.read(self, info, offset, length):
                yield piece
                if len(piece) == 1000:
                    raise Unreachable("the network is down")

    place.bucket = BreaksOff(place.bucket.store, reading=reading, spoil=spoil)
    assert place.content(place.fetch()) == MODEL
    assert len(broken) == 4


def test_a_bucket_that_stays_away_is_unreachable_and_what_came_is_kept(
    local: Place, small_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_PAUSE", 0.001)
    fill(local)

    def away(key: str, offset: int) -> None:
        if key == "unet/weights.safetensors" and offset >= small_parts:
            raise Unreachable("the network is down")

    local.bucket.reading = away
    with pytest.raises(Unreachable):
        local.fetch()
    local.bucket.reading = lambda key, offset: None
    there = {(key, offset) for key, offset, came in local.bucket.reads if came}
    local.bucket.reads.clear()
    assert local.content(local.fetch()) == MODEL
    assert ("vae/weights.safetensors", 0) in there
    assert not there & {(key, offset) for key, offset, _ in local.bucket.reads}


def test_a_model_that_changes_while_it_comes_is_taken_as_it_is_then(place: Place, small_parts: int) -> None:
    fill(place)
    changed = threading.Event()
    other = os.urandom(7 * MIB + 5)

    def change(key: str, offset: int) -> None:
        if offset == 2 * small_parts and not changed.is_set():
            changed.set()
            place.put("unet/weights.safetensors", other)

    place.bucket.reading = change
    found = place.fetch()
    assert place.content(found) == {**MODEL, "unet/weights.safetensors": other}
    assert place.others(found) == []
    # What had come before and did not change was not fetched again.
    assert [key for key, _, _ in place.bucket.reads].count("model_index.json") == 1


def test_a_model_that_never_holds_still_is_a_failure_with_a_sentence(local: Place) -> None:
    fill(local)
    local.bucket.reading = lambda key, offset: local.put("model_index.json", os.urandom(8))
    with pytest.raises(UnitFailure, match="changed again and again while it was downloaded") as caught:
        local.fetch()
    assert (caught.value.reason, caught.value.permanent) == ("ModelChanged", False)


def test_of_a_new_state_only_what_is_new_is_fetched_and_the_old_one_goes(place: Place) -> None:
    fill(place)
    before = place.fetch()
    place.bucket.reads.clear()
    place.put("model_index.json", b"[]")
    used = before.folder
    after = place.fetch()
    assert [key for key, _, _ in place.bucket.reads] == ["model_index.json"]
    assert place.content(after) == {**MODEL, "model_index.json": b"[]"}
    # Somebody still used the old one; the next state finds nobody there.
    assert place.content(before) == MODEL
    before.hold.release()
    after.hold.release()
    place.put("model_index.json", b"{ }")
    last = place.fetch()
    assert not used.exists()
    assert place.others(last) == []


def test_one_file_of_a_prefix_is_fetched_alone_and_beside_others(place: Place) -> None:
    fill(place)
    files = ["vae/weights.safetensors", "unet/weights.safetensors"]
    found = [place.fetch(choose=lambda names, key=key: names[names.index(key)]) for key in files]
    for key, each in zip(files, found, strict=True):
        each.hold.release()
        assert place.content(each) == {key: MODEL[key]}


def sums(*keys: str, **other: bytes) -> bytes:
    content = {**MODEL, **other}
    return b"".join(f"{hashlib.sha256(content[key]).hexdigest()}  ./{key}\n".encode() for key in keys)


def test_a_list_beside_the_model_is_what_its_files_must_be(place: Place) -> None:
    fill(place)
    place.put("model.sha256", sums(*MODEL) + b"0" * 64 + b"  ./model.sha256\n")
    place.put("vae/weights.safetensors.sha256", hashlib.sha256(MODEL["vae/weights.safetensors"]).hexdigest().encode())
    place.fetch()
    place.put("model.sha256", sums(*MODEL, **{"vae/weights.safetensors": b"what it was"}))
    with pytest.raises(BadRequest, match=r"says of vae/weights.safetensors what another list beside it does not"):
        place.fetch()
    place.bucket.delete("vae/weights.safetensors.sha256")
    with pytest.raises(UnitFailure, match=r"vae/weights.safetensors has SHA-256 \w{64} and not \w{64}") as caught:
        place.fetch()
    assert caught.value.reason == "ModelDamaged"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"what is this", "line 1 of model.sha256 is not `SHA-256  name`"),
        (b"0" * 64 + b"  /etc/passwd", "line 1 of model.sha256"),
        (b"\n" + b"0" * 64 + b"  ../x", "line 2 of model.sha256"),
        (b"0" * 64 + b"  nothing.bin", "names nothing.bin, which is not in the bucket"),
        (b"0" * (5 * MIB), "model.sha256 is too large"),
    ],
)
def test_a_list_that_is_none_is_a_bad_request(local: Place, text: bytes, message: str) -> None:
    fill(local)
    local.put("model.sha256", text)
    with pytest.raises(BadRequest, match=message):
        local.fetch()


def test_what_was_damaged_on_its_way_is_fetched_again(s3: Place) -> None:
    fill(s3)
    spoilt: list[str] = []

    def spoil(key: str, offset: int, piece: bytes) -> bytes:
        if key in spoilt or key != "unet/weights.safetensors":
            return piece
        spoilt.append(key)
        return b"\0" + piece[1:]

    s3.bucket.spoil = spoil
    found = s3.fetch()
    assert spoilt
    assert s3.content(found) == MODEL


def test_a_bucket_whose_etags_are_no_md5_is_believed_when_it_says_the_same_twice(local: Place) -> None:
    fill(local)

    class Random(Bucket):
        def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
            for info in self.store.list(prefix):
                yield ObjectInfo(info.key, info.size, hashlib.md5(info.etag.encode()).hexdigest(), info.modified)

        def read(self, info: ObjectInfo, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
            yield from Bucket.read(self, self.store.head(info.key), offset, length)

    local.bucket = Random(local.bucket.store)
    assert local.content(local.fetch()) == MODEL
    # Small ones come first: what was fetched twice is little.
    assert local.bucket.came < sum(map(len, MODEL.values())) + 4 * MIB


def test_a_file_that_is_damaged_in_the_cache_is_fetched_again_alone(place: Place) -> None:
    fill(place)
    for damage in (lambda path: path.write_bytes(b"x"), lambda path: path.unlink()):
        found = place.fetch()
        damage(found.folder / "vae/weights.safetensors")
        place.bucket.reads.clear()
        again = place.fetch()
        assert place.content(again) == MODEL
        assert {key for key, _, _ in place.bucket.reads} == {"vae/weights.safetensors"}
    # Of the same size: seen when somebody looks at the digests, as a worker does that can't load it.
    found = place.fetch()
    path = found.folder / "vae/weights.safetensors"
    path.write_bytes(bytes(len(MODEL["vae/weights.safetensors"])))
    assert found.damaged(place.moved) == ["vae/weights.safetensors"]
    assert place.content(place.fetch()) == MODEL


def test_a_full_volume_makes_room_by_what_was_used_longest_ago_and_nobody_uses(
    local: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(local)
    old = {name: local.fetch(uri=f"s3://models/{name}") for name in ("first", "second", "third")}
    for seconds, name in enumerate(("second", "first", "third")):
        os.utime(local.cache.folder / f"{old[name].entry.name}.use", (seconds, seconds))
    old["first"].hold.release()
    old["third"].hold.release()
    space = [3 * MIB]
    written = os.pwrite

    def write(handle: int, content: Any, offset: int) -> int:
        if len(content) > space[0]:
            space[0] += 20 * MIB * (not old["first"].folder.exists())
            if len(content) > space[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        space[0] -= len(content)
        return written(handle, content, offset)

    monkeypatch.setattr(os, "pwrite", write)
    local.put("model_index.json", b"new")
    local.put("unet/weights.safetensors", MODEL["unet/weights.safetensors"])
    found = local.fetch(uri="s3://models/fourth")
    assert (found.folder / "model_index.json").read_bytes() == b"new"
    assert [name for name, each in old.items() if each.folder.exists()] == ["second", "third"]


def test_a_volume_that_stays_full_is_a_failure_that_says_how_much_is_needed(
    local: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(local)

    def write(handle: int, content: Any, offset: int) -> int:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "pwrite", write)
    with pytest.raises(UnitFailure, match=r"needs 9\.4 MB more in the model cache .*make the volume larger") as caught:
        local.fetch()
    assert (caught.value.reason, caught.value.permanent) == ("ModelCacheFull", False)


def test_models_together_keep_to_the_limit(local: Place) -> None:
    local.cache = Cache(local.cache.folder, 25 * MIB)
    fill(local)
    found = []
    for name in ("first", "second", "third"):
        found.append(local.fetch(uri=f"s3://models/{name}"))
        found[-1].hold.release()
        os.utime(local.cache.folder / f"{found[-1].entry.name}.use", (len(found), len(found)))
    assert [each.folder.exists() for each in found] == [False, True, True]
    # What is in use stays, and what does not fit then is said.
    holds = [each.entry.use() for each in found[1:]]
    with pytest.raises(UnitFailure, match=r"models may have 26.2 MB together"):
        local.fetch(uri="s3://models/fourth")
    for hold in holds:
        hold.release()
    local.fetch(uri="s3://models/fourth")


def test_a_model_of_a_hub_goes_whole_and_one_that_lies_elsewhere_stays(local: Place, tmp_path: Path) -> None:
    ours = local.cache.entry("models--org--old")
    theirs = local.cache.entry("models--org--own", tmp_path / "of-the-user")
    for entry in (ours, theirs):
        (entry.folder / "blobs").mkdir(parents=True)
        (entry.folder / "blobs" / "weights").write_bytes(bytes(20 * MIB))
        entry.record.write_text("{}")
        entry.use().release()
    local.cache = Cache(local.cache.folder, 25 * MIB)
    fill(local)
    assert local.content(local.fetch()) == MODEL
    assert ours.folder == local.cache.folder / "huggingface/hub/models--org--old"
    assert not ours.folder.exists()
    assert (theirs.folder / "blobs" / "weights").exists()


def test_a_cache_that_is_no_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnitFailure, match=r"the model cache .*file can't be used: .*must be writable"):
        Cache(tmp_path / "file")


def test_a_cache_whose_locks_keep_nobody_out_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on Lustre without the mount option flock.
    monkeypatch.setattr("fcntl.flock", lambda file, kind: None)
    with pytest.raises(UnitFailure, match="gives a lock to everyone who asks: mount it with locks"):
        Cache(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_line_that_a_kill_cut_off_is_none(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "progress")
    progress.part("a", 0, 5)
    with progress.path.open("ab") as file:
        file.write(b'\n{"part": ["a", 5')
    Progress.read(progress.path).part("b", 0, 1)
    assert Progress.read(progress.path).parts == {"a": {(0, 5)}, "b": {(0, 1)}}


KILLED = """
import os, signal, sys, threading
from pathlib import Path
from carryon_core.messages import StoreConfig
from carryon_store import open_store
from carryon_worker.modelcache import buckets, transfer
from carryon_worker.modelcache.entries import Cache

transfer.PART, transfer.AT_ONCE = 2 << 20, int(sys.argv[5])
uri, cache, calls = sys.argv[1], Cache(Path(sys.argv[2])), int(sys.argv[3])
store = open_store(StoreConfig(uri=uri))
lock, made = threading.Lock(), 0

class Counting:
    def __getattr__(self, name):
        return getattr(store, name)

    def read(self, info, offset=0, length=None):
        global made
        with lock:
            made += 1
            print(info.key, offset, flush=True)
            if made == calls:
                print("waiting", flush=True)
                if sys.argv[4] == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                threading.Event().wait()
        yield from store.read(info, offset, length)

found = buckets.fetch("s3://models/tiny", Counting(), cache, lambda: None, None)
print("found", found.record.digest())
"""


def start(place: Place, calls: int, end: str, at_once: int) -> subprocess.Popen[str]:
    """A process that downloads, and ends or hangs at one of its requests."""
    options = [place.bucket.uri, str(place.cache.folder), str(calls), end, str(at_once)]
    command = [sys.executable, "-c", KILLED, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_download_that_was_killed_again_and_again_fetches_nothing_twice_that_it_had(
    local: Place, small_parts: int
) -> None:
    fill(local)
    asked: list[str] = []
    for code in (-signal.SIGKILL, -signal.SIGKILL, 0):
        process = start(local, 3, "kill", 1)
        out, _ = process.communicate(timeout=30)
        assert process.returncode == code
        asked += [line for line in out.splitlines() if line != "waiting"]
    *asked, last = asked
    # Six parts, and the two at work when the kills came.
    assert (len(asked), len(set(asked))) == (8, 6)
    found = local.fetch()
    assert local.content(found) == MODEL
    assert local.bucket.reads == []
    assert last == f"found {found.record.digest()}"
    assert not list(local.cache.folder.glob("*.part"))


def test_who_waits_for_a_download_goes_on_with_it_when_the_worker_that_had_it_is_killed(
    local: Place, small_parts: int
) -> None:
    fill(local)
    holder = start(local, 4, "hang", 2)
    try:
        assert holder.stdout is not None
        while holder.stdout.readline() != "waiting\n":
            pass
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(local.fetch)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=1)
            assert local.bucket.reads == []
            holder.send_signal(signal.SIGKILL)
            found = waiting.result(timeout=20)
    finally:
        holder.kill()
        holder.wait()
    assert local.content(found) == MODEL
    assert local.bucket.came < sum(map(len, MODEL.values()))


def test_who_waits_moves_as_long_as_the_other_downloads(local: Place) -> None:
    entry = local.cache.entry("some-model")
    entry.partial.mkdir()
    waiter = Place(local.cache, local.bucket)
    ended = threading.Event()

    def wait() -> None:
        with entry.downloading(waiter.moved):
            ended.set()

    with entry.downloading(lambda: None):
        thread = threading.Thread(target=wait)
        thread.start()
        for size in range(1, 4):
            before = len(waiter.moves)
            (entry.partial / "file").write_bytes(b"x" * size * 10_000)
            deadline = time.monotonic() + 10
            while len(waiter.moves) == before:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        moves = len(waiter.moves)
        assert not ended.wait(1)
        # Nothing grows any more: the stall watch must be able to see that.
        assert len(waiter.moves) <= moves + 1
    thread.join(10)
    assert ended.is_set()


def test_what_is_written_of_a_model_can_be_read_by_people(local: Place) -> None:
    fill(local)
    found = local.fetch()
    record = Record.model_validate_json(found.entry.record.read_bytes())
    assert record.model == URI
    assert record.digest() == digests.of_model({key: each.sha256 for key, each in record.files.items()})
