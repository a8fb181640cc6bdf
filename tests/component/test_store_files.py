"""A folder as a bucket: killed writers, links, permissions, full disks."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_core.messages import StoreConfig
from carryon_store import Conflict, Denied, NotFound, Store, StoreError, open_store
from carryon_store.files import TEMPORARY


def put(store: Store, key: str, body: bytes = b"content", *, only_if_absent: bool = False) -> None:
    store.put(key, body, content_type="application/octet-stream", only_if_absent=only_if_absent)


KILLED = """
import hashlib, itertools, sys
from carryon_core.messages import StoreConfig
from carryon_store import open_store
store = open_store(StoreConfig(uri=sys.argv[1]))
print("writing", flush=True)
for n in itertools.count():
    body = hashlib.sha256(f"{sys.argv[2]} {n}".encode()).digest() * 65536
    store.put(f"{n % 7}/{hashlib.sha256(body).hexdigest()}", body, content_type="", only_if_absent=bool(n % 2))
    store.put("same", body, content_type="")
"""


def test_a_writer_killed_at_any_moment_leaves_no_half_object(file_config: StoreConfig) -> None:
    store = open_store(file_config)
    moments = random.Random(7)
    found = 0
    for round_ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, file_config.uri, str(round_)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        time.sleep(moments.uniform(0.02, 0.25))  # The moment of the kill, not a wait for anything.
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        for info in store.list():
            content = store.get(info.key)
            assert len(content) == 65536 * 32
            assert content == content[:32] * 65536
            if info.key != "same":
                assert hashlib.sha256(content).hexdigest() == info.key[2:]
                found += 1
    assert found > 0


def test_leftovers_of_killed_writers_are_swept_after_a_day(file_config: StoreConfig) -> None:
    put(open_store(file_config), "a")
    temporary = Path(file_config.uri.removeprefix("file://"), TEMPORARY)
    for name, age in (("old", 25 * 3600), ("new", 23 * 3600)):
        (temporary / name).write_bytes(b"half")
        os.utime(temporary / name, (time.time() - age,) * 2)
    store = open_store(file_config)
    assert [info.key for info in store.list()] == ["a"]
    put(store, "b")
    assert [path.name for path in temporary.iterdir()] == ["new"]
    with pytest.raises(StoreError, match="unfinished writes"):
        put(store, f"{TEMPORARY}/x")


def test_the_folder_is_made_by_the_first_write_only(file_config: StoreConfig) -> None:
    store, root = open_store(file_config), Path(file_config.uri.removeprefix("file://"))
    assert list(store.list()) == []
    with pytest.raises(NotFound):
        store.head("a")
    store.delete("a")
    assert not root.exists()
    put(store, "a/b/c")
    assert (root / "a/b/c").read_bytes() == b"content"
    store.delete("a/b/c")
    assert not (root / "a").exists()
    assert root.exists()


def test_files_are_as_readable_for_others_as_the_umask_says(file_config: StoreConfig) -> None:
    before = os.umask(0o027)
    try:
        put(open_store(file_config), "a")
    finally:
        os.umask(before)
    assert Path(file_config.uri.removeprefix("file://"), "a").stat().st_mode & 0o777 == 0o640


def test_links_are_not_followed(file_config: StoreConfig, tmp_path: Path) -> None:
    store, root = open_store(file_config), Path(file_config.uri.removeprefix("file://"))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    put(store, "a/b")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "a/file").symlink_to(tmp_path / "outside/secret")
    (root / "a/loop").symlink_to(root)
    assert [info.key for info in store.list()] == ["a/b"]
    with pytest.raises(NotFound, match="no regular file"):
        store.get("a/file")
    for ask in (
        lambda: store.get("folder/secret"),
        lambda: put(store, "folder/new"),
        lambda: store.delete("folder/secret"),
    ):
        with pytest.raises(Denied, match="symbolic link"):
            ask()
    put(store, "a/file", b"replaced")
    assert (tmp_path / "outside/secret").read_text() == "secret"
    assert store.get("a/file") == b"replaced"


def test_a_root_that_is_a_link_is_the_folder_behind_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    put(open_store(StoreConfig(uri=(tmp_path / "link").as_uri())), "a")
    assert (tmp_path / "real/a").exists()


def test_a_file_system_without_hard_links_still_creates_only_once(
    file_config: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    store = open_store(file_config)
    put(store, "a", b"first", only_if_absent=True)
    with pytest.raises(Conflict):
        put(store, "a", b"second", only_if_absent=True)
    assert store.get("a") == b"first"


def test_a_write_for_which_there_is_no_room_leaves_nothing_and_says_so(file_config: StoreConfig) -> None:
    store = open_store(file_config)
    put(store, "a", b"kept")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(StoreError, match="bucket/a: File too large"):
            put(store, "a", b"x" * 20_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.get("a") == b"kept"
    assert list(Path(file_config.uri.removeprefix("file://"), TEMPORARY).iterdir()) == []


def test_a_folder_without_permission_is_denied_and_never_empty(file_config: StoreConfig) -> None:
    store, root = open_store(file_config), Path(file_config.uri.removeprefix("file://"))
    put(store, "a/b")
    (root / "a").chmod(0)
    privileged = os.geteuid() == 0
    if privileged:
        root.parent.parent.chmod(0o755)
        os.seteuid(65534)
    try:
        for ask in (lambda: list(store.list()), lambda: store.get("a/b"), lambda: put(store, "a/c")):
            with pytest.raises(Denied, match="give user"):
                ask()
    finally:
        if privileged:
            os.seteuid(0)
        (root / "a").chmod(0o755)


def test_a_key_that_needs_a_file_and_a_folder_of_one_name_is_explained(file_config: StoreConfig) -> None:
    store = open_store(file_config)
    put(store, "a")
    with pytest.raises(StoreError, match="a file stands where a folder is needed"):
        put(store, "a/b")
    put(store, "c/d")
    with pytest.raises(StoreError, match="or a folder for a file"):
        put(store, "c")
    with pytest.raises(StoreError, match="255 bytes"):
        put(store, "x" * 256)


@given(
    made=st.sets(st.text("ab.-/é~\U0001f3ac", min_size=1, max_size=6), max_size=12),
    prefix=st.text("ab.-/é", max_size=3),
)
def test_a_folder_lists_in_the_order_of_s3(
    tmp_path_factory: pytest.TempPathFactory, made: set[str], prefix: str
) -> None:
    store = open_store(StoreConfig(uri=tmp_path_factory.mktemp("bucket").as_uri()))
    kept = []
    for key in sorted(made):
        with suppress(StoreError):
            put(store, key)
            kept.append(key)
    folder, slash, _ = prefix.rpartition("/")
    if slash and any(segment in ("", ".", "..") for segment in folder.split("/")):
        with pytest.raises(StoreError, match="is not a key"):
            list(store.list(prefix))
    else:
        assert [info.key for info in store.list(prefix)] == sorted(
            (key for key in kept if key.startswith(prefix)), key=str.encode
        )
