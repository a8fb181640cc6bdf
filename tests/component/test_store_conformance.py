"""What every store promises, whatever is behind it."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from carryon_core import layout
from carryon_core.messages import StoreConfig
from carryon_store import Changed, Conflict, Credentials, Denied, NotFound, Slice, Store, StoreError, Stores, TooLarge
from carryon_store.s3 import Connections, S3Store

OCTETS = "application/octet-stream"
ODD_KEYS = [
    "plain.txt",
    "with space/and  two.txt",
    "percent%20encoded/100%.txt",
    "plus+and=equals&amp;.txt",
    "tilde~/~.txt",
    "ünïcode/日本語/🎬.mp4",
    "quotes'\"<>|*?.txt",
    "dots/.../..a/a../.hidden",
    "#fragment?query=1",
    "back\\slash",
    f"long/{layout.encode_id('é' * 128)}/x",
    f"dots/{layout.encode_id('..')}/x",
]


def put(store: Store, key: str, body: bytes = b"content", *, only_if_absent: bool = False) -> str:
    return store.put(key, body, content_type=OCTETS, only_if_absent=only_if_absent).etag


def keys(store: Store, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


@pytest.mark.parametrize("body", [b"", b"\0\xff" * 1000], ids=["empty", "binary"])
def test_what_was_put_is_got(store: Store, body: bytes) -> None:
    put(store, "a/b", body)
    assert store.get("a/b") == body


def test_a_put_object_can_be_looked_at_and_listed_alike(store: Store) -> None:
    made = store.put("a/b", b"12345", content_type="text/plain")
    seen = store.head("a/b")
    assert (seen.key, seen.size, seen.etag) == ("a/b", 5, made.etag)
    assert [(info.key, info.size, info.etag) for info in store.list("a/")] == [("a/b", 5, seen.etag)]
    assert '"' not in seen.etag
    assert abs(seen.modified - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_file_is_put_and_downloaded(store: Store, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(100_000))
    assert store.put("file", source, content_type=OCTETS).size == 100_000
    store.download("file", target)
    assert target.read_bytes() == source.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} <= {"source", "target", "bucket"}


def test_a_part_of_an_open_file_is_put_and_its_position_stays(store: Store, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    whole = tmp_path / "whole"
    whole.write_bytes(content)
    with whole.open("rb") as file:
        file.seek(7)
        for offset, size in ((0, 300_000), (100, 0), (100, 250_000), (299_999, 1)):
            part = Slice(file.fileno(), offset, size)
            assert store.put("part", part, content_type=OCTETS).size == size
            assert store.get("part") == content[offset : offset + size]
        assert file.tell() == 7
        with pytest.raises(StoreError):
            store.put("beyond", Slice(file.fileno(), 299_999, 2), content_type=OCTETS)
    assert keys(store, "beyond") == []


def test_a_part_of_an_object_is_read_in_pieces(store: Store) -> None:
    body = os.urandom((2 << 20) + 7)
    store.put("a", body, content_type=OCTETS)
    (info,) = store.list("a")
    for offset, length in ((0, None), (0, 0), (0, 5), (5, 1 << 20), (1 << 20, None), (len(body) - 1, 1), (7, None)):
        pieces = list(store.read(info, offset, length))
        end = len(body) if length is None else offset + length
        assert b"".join(pieces) == body[offset:end], (offset, length)
        assert max(map(len, pieces), default=0) <= 1 << 20
    assert list(store.read(info, len(body))) == []


def test_a_part_of_another_object_than_was_listed_is_refused(store: Store) -> None:
    put(store, "a", b"12345")
    (info,) = store.list("a")
    for body in (b"54321", b"1", b"123456"):
        put(store, "a", body)
        for part in ((0, None), (3, None), (3, 1)):
            with pytest.raises(Changed, match="a has changed since it was listed"):
                list(store.read(info, *part))
    store.delete("a")
    with pytest.raises(NotFound, match="a does not exist"):
        list(store.read(info, 3))


def test_a_signed_address_gives_a_part_of_the_object_to_whoever_has_no_keys(store: Store) -> None:
    body = os.urandom(1000)
    for key in ("clip 1/50%.mp4", "ünïcode/~.mp4"):
        store.put(key, body, content_type=OCTETS)
        address = store.presign(
            key, seconds=60, content_type="video/mp4", disposition="attachment; filename*=UTF-8''f%C3%BCr%20dich.mp4"
        )
        if store.uri.startswith("file://"):
            assert address is None
            continue
        assert address is not None
        part = httpx.get(address, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, body[10:20])
        assert part.headers["Content-Type"] == "video/mp4"
        assert part.headers["Content-Disposition"].endswith("f%C3%BCr%20dich.mp4")
        assert part.headers["ETag"].strip('"') == store.head(key).etag


@pytest.mark.radosgw
def test_a_signed_address_ends(stores: Stores, radosgw_config: StoreConfig) -> None:
    store = stores.open(radosgw_config)
    put(store, "a")
    address = store.presign("a", seconds=1, content_type=OCTETS, disposition="inline")
    assert address is not None
    deadline = time.monotonic() + 10
    while httpx.get(address).status_code != 403:
        assert time.monotonic() < deadline, "the address is still good"
        time.sleep(0.2)


def test_nothing_is_signed_without_keys(
    moto_config: StoreConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Denied, match="no usable credentials"):
        Stores().open(moto_config).presign("a", seconds=60, content_type=OCTETS, disposition="inline")


def test_a_put_replaces_and_changes_the_etag(store: Store) -> None:
    first = put(store, "a", b"one")
    second = put(store, "a", b"two")
    assert store.get("a") == b"two"
    assert first != second == store.head("a").etag


def test_an_object_that_is_not_there_is_not_found(store: Store, tmp_path: Path) -> None:
    put(store, "a/b")
    for key in ("missing", "a", "a/b/c", "a/missing"):
        with pytest.raises(NotFound, match=key):
            store.get(key)
        with pytest.raises(NotFound, match=key):
            store.head(key)
        with pytest.raises(NotFound, match=key):
            store.download(key, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_an_object_larger_than_the_reader_wants_is_refused(store: Store) -> None:
    put(store, "a", b"12345")
    assert store.get("a", max_bytes=5) == b"12345"
    with pytest.raises(TooLarge, match="4 bytes"):
        store.get("a", max_bytes=4)


def test_a_source_file_that_is_missing_is_not_blamed_on_the_bucket(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere can't be read") as caught:
        store.put("a", tmp_path / "nowhere", content_type=OCTETS)
    assert not isinstance(caught.value, NotFound)
    put(store, "a")
    with pytest.raises(StoreError, match="can't be written") as caught:
        store.download("a", tmp_path / "no folder" / "target")
    assert not isinstance(caught.value, NotFound)


def test_odd_keys_are_kept_as_they_are(store: Store) -> None:
    for key in ODD_KEYS:
        put(store, key, key.encode())
    assert keys(store) == sorted(ODD_KEYS, key=str.encode)
    for key in ODD_KEYS:
        assert store.get(key).decode() == key
        assert store.head(key).size == len(key.encode())
        assert keys(store, key) == [key]
        store.delete(key)
    assert keys(store) == []


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", ".", "a/../b", "./a", "a\0b", "\ud800"])
def test_a_key_that_could_leave_its_place_is_refused(store: Store, key: str) -> None:
    with pytest.raises(StoreError, match="is not a key"):
        put(store, key)
    with pytest.raises(StoreError, match="is not a key"):
        store.get(key)
    with pytest.raises(StoreError, match="is not a key"):
        store.delete(key)


def test_a_listing_has_the_keys_with_the_prefix_in_byte_order(store: Store) -> None:
    made = ["b/c/d", "b.txt", "b/c.txt", "b-1", "b/c", "a", "ba", "c", "b/é", "b/z"]
    made.remove("b/c")  # A folder can't be a file too.
    for key in made:
        put(store, key)
    for prefix in ("", "b", "b/", "b/c", "b/c/", "b/c/d", "b.", "nothing", "nothing/"):
        assert keys(store, prefix) == sorted((k for k in made if k.startswith(prefix)), key=str.encode)


@pytest.mark.parametrize("prefix", ["/", "a//b", "../", "a/./"])
def test_a_prefix_that_no_key_can_have_is_refused(store: Store, prefix: str) -> None:
    with pytest.raises(StoreError, match="is not a key"):
        keys(store, prefix)


def test_an_empty_store_lists_nothing(store: Store) -> None:
    assert keys(store) == []
    assert keys(store, "a/b/") == []


def test_deleting_twice_is_no_error(store: Store) -> None:
    put(store, "a/b/c")
    put(store, "a/d")
    store.delete("a/b/c")
    store.delete("a/b/c")
    store.delete("a/b")
    assert keys(store) == ["a/d"]


def test_a_create_only_put_leaves_what_is_there(store: Store, tmp_path: Path) -> None:
    assert put(store, "a", b"first", only_if_absent=True) == store.head("a").etag
    with pytest.raises(Conflict, match="a exists already"):
        put(store, "a", b"second", only_if_absent=True)
    (tmp_path / "third").write_bytes(b"third")
    with pytest.raises(Conflict):
        store.put("a", tmp_path / "third", content_type=OCTETS, only_if_absent=True)
    assert store.get("a") == b"first"
    store.delete("a")
    put(store, "a", b"again", only_if_absent=True)
    assert store.get("a") == b"again"


def test_of_eighty_writers_exactly_one_creates_the_object(store: Store) -> None:
    barrier = threading.Barrier(80)

    def create(writer: int) -> bool:
        barrier.wait()
        try:
            put(store, "race/done.json", b"writer %d" % writer, only_if_absent=True)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(80) as writers:
        won = list(writers.map(create, range(80)))
    assert sum(won) == 1
    assert store.get("race/done.json") == b"writer %d" % won.index(True)
    assert keys(store) == ["race/done.json"]


def test_writers_and_deleters_of_neighbours_do_not_disturb_each_other(store: Store) -> None:
    def work(writer: int) -> None:
        for round_ in range(5):
            put(store, f"folder/{writer % 2}/{writer}", b"%d" % round_)
            assert store.get(f"folder/{writer % 2}/{writer}") == b"%d" % round_
            store.delete(f"folder/{writer % 2}/{writer}")

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(work, range(8)))
    assert keys(store) == []


def test_a_reader_never_sees_half_an_object(store: Store) -> None:
    bodies = [bytes([n]) * 300_000 for n in range(4)]
    put(store, "a", bodies[0])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for body in bodies:
                put(store, "a", body)

    with ThreadPoolExecutor(1) as writer:
        writing = writer.submit(write)
        try:
            for _ in range(30):
                assert store.get("a") in bodies
        finally:
            stop.set()
        writing.result()


def test_create_only_is_atomic_here(store: Store) -> None:
    assert store.supports_conditional_puts()
    assert keys(store) == []


def test_two_stores_with_one_root_see_the_same(stores: Stores, store_config: StoreConfig, store: Store) -> None:
    deeper = stores.open(store_config.model_copy(update={"uri": f"{store_config.uri}/deeper/"}))
    put(deeper, "a")
    assert keys(store) == ["deeper/a"]
    assert keys(deeper) == ["a"]
    assert deeper.uri == f"{store.uri}/deeper"


@pytest.fixture
def small_s3(s3_config: StoreConfig) -> S3Store:
    """S3 with pages of three and parts of 5 MiB."""
    bucket, _, prefix = s3_config.uri.removeprefix("s3://").partition("/")
    connection = Connections().connect(s3_config, None)
    return S3Store(connection, bucket, prefix, page_size=3, multipart_bytes=5 << 20)


def test_a_listing_goes_on_over_pages(small_s3: S3Store) -> None:
    made = [f"n/{number:02}" for number in range(10)] + ["n/+ %é~"]
    for key in made:
        put(small_s3, key)
    assert keys(small_s3, "n/") == sorted(made, key=str.encode)


@pytest.mark.parametrize("only_if_absent", [False, True])
def test_a_large_file_goes_in_parts_and_comes_back_whole(
    small_s3: S3Store, tmp_path: Path, only_if_absent: bool
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom((11 << 20) + 7))
    made = small_s3.put("large", source, content_type="video/mp4", only_if_absent=only_if_absent)
    assert made.etag.endswith("-3") is not only_if_absent
    assert made.size == source.stat().st_size == small_s3.head("large").size
    (info,) = small_s3.list("large")
    assert b"".join(small_s3.read(info, 3 << 20, 5 << 20)) == source.read_bytes()[3 << 20 : 8 << 20]
    small_s3.download("large", target)
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(source.read_bytes()).digest()


def test_a_missing_bucket_is_never_a_missing_object(stores: Stores, s3_config: StoreConfig, tmp_path: Path) -> None:
    store = stores.open(s3_config.model_copy(update={"uri": f"s3://nobody-made-{uuid.uuid4().hex}/x"}))
    for ask in (
        lambda: store.head("a"),
        lambda: store.get("a"),
        lambda: list(store.list()),
        lambda: put(store, "a"),
        lambda: put(store, "a", only_if_absent=True),
        lambda: store.download("a", tmp_path / "target"),
    ):
        with pytest.raises(StoreError, match=r"no such bucket; create it, or correct output\.uri") as caught:
            ask()
        assert type(caught.value) is StoreError


@pytest.mark.radosgw
@pytest.mark.skipif("CARRYON_TEST_S3_ENDPOINT" not in os.environ, reason="moto lets anybody in")
def test_bad_credentials_are_denied(stores: Stores, radosgw_config: StoreConfig) -> None:
    good = os.environ["AWS_ACCESS_KEY_ID"]
    for credentials in (Credentials(good, "wrong"), Credentials("nobody", "wrong")):
        store = stores.open(radosgw_config, credentials)
        for ask in (lambda s: s.head("a"), lambda s: s.get("a"), lambda s: list(s.list()), put_a):
            with pytest.raises(Denied, match=r"refuses these credentials.*credentialsSecret"):
                ask(store)


def put_a(store: Store) -> None:
    put(store, "a")


@pytest.mark.parametrize("uri", ["s3://", "file://relative", "gs://bucket/x", "/folder", "file:", ""])
def test_a_uri_that_names_no_store_is_refused(stores: Stores, uri: str) -> None:
    with pytest.raises(StoreError, match="write s3://bucket/prefix or file:///absolute/path"):
        stores.open(StoreConfig(uri=uri))
