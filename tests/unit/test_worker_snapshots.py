"""A folder as one file and back."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryon_worker import snapshots
from carryon_worker.snapshots import Restless, SnapshotError

PART = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..") and len(name.encode()) <= 200
)
CONTENT = st.tuples(st.binary(max_size=3000), st.booleans(), st.integers(0, 2**31))


def fill(folder: Path, files: dict[tuple[str, ...], tuple[bytes, bool, int]]) -> None:
    for path, (content, executable, mtime) in files.items():
        target = folder.joinpath(*path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
        target.chmod(0o755 if executable else 0o640)
        os.utime(target, (mtime, mtime))


def read(folder: Path) -> dict[str, tuple[bytes, bool, float]]:
    return {
        str(path.relative_to(folder)): (
            path.read_bytes(),
            bool(path.stat().st_mode & 0o100),
            path.stat().st_mtime,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def pack(folder: Path, archive: Path) -> None:
    frozen = archive.with_suffix(".frozen")
    snapshots.freeze(folder, frozen)
    snapshots.pack(frozen, archive)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.lists(PART, min_size=1, max_size=3).map(tuple), CONTENT, max_size=6))
def test_what_is_packed_is_what_is_unpacked(files: dict[tuple[str, ...], tuple[bytes, bool, int]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder, archive, back = (Path(root, name) for name in ("folder", "archive", "back"))
        folder.mkdir()
        fill(folder, files)
        pack(folder, archive)
        snapshots.unpack(archive, back)
        assert read(back) == read(folder)
        assert snapshots.digest(back) == snapshots.digest(folder)


def test_a_digest_is_of_paths_and_contents_and_of_nothing_else(tmp_path: Path) -> None:
    def digest(**files: bytes) -> str:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return snapshots.digest(folder)

    assert digest(a=b"1", b=b"2") == digest(b=b"2", a=b"1")
    assert len({digest(), digest(a=b""), digest(b=b""), digest(a=b"1"), digest(a=b"1", b=b"2"), digest(ab=b"12")}) == 6


def test_only_regular_files_travel(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "empty").mkdir(parents=True)
    (folder / "state").write_text("7")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "linked").symlink_to("/etc", target_is_directory=True)
    os.mkfifo(folder / "pipe")
    pack(folder, tmp_path / "archive")
    snapshots.unpack(tmp_path / "archive", tmp_path / "back")
    assert [path.name for path in (tmp_path / "back").rglob("*")] == ["state"]


def test_a_file_that_is_replaced_while_it_is_packed_stays_as_it_was(tmp_path: Path) -> None:
    folder, frozen = tmp_path / "folder", tmp_path / "frozen"
    folder.mkdir()
    for name, size in (("small", 10), ("large", 2_000_000)):
        (folder / name).write_bytes(b"o" * size)
    snapshots.freeze(folder, frozen)
    before, digest = snapshots.state(frozen), snapshots.digest(frozen)
    for name in ("small", "large"):
        (folder / "new").write_text("new")
        (folder / "new").rename(folder / name)
    assert (snapshots.state(frozen), snapshots.digest(frozen)) == (before, digest)
    shutil.rmtree(frozen)
    assert [(folder / name).read_text() for name in ("small", "large")] == ["new", "new"]


def test_a_log_that_grows_all_the_time_disturbs_nothing_and_a_large_file_written_in_place_shows(tmp_path: Path) -> None:
    folder, frozen = tmp_path / "folder", tmp_path / "frozen"
    folder.mkdir()
    (folder / "log").write_text("a line")
    (folder / "large").write_bytes(bytes(2_000_000))
    snapshots.freeze(folder, frozen)
    before = snapshots.state(frozen)
    with (folder / "log").open("a") as log:
        log.write("another line")
    assert snapshots.state(frozen) == before
    with (folder / "large").open("r+b") as large:
        large.write(b"x")
    assert snapshots.state(frozen) != before


def test_a_file_that_becomes_shorter_while_it_is_packed_is_no_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "state").write_bytes(bytes(100_000))
    fstat = os.fstat

    def then_cut(descriptor: int) -> os.stat_result:
        seen = fstat(descriptor)
        os.truncate(folder / "state", 10)
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(snapshots.os, "fstat", then_cut)
        with pytest.raises(Restless, match="state"):
            snapshots.pack(folder, tmp_path / "archive")


def test_more_than_a_snapshot_may_hold_is_refused_without_being_read(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(snapshots.LARGEST + 1)
    with pytest.raises(SnapshotError, match="more than 1024 MiB"):
        snapshots.state(tmp_path)


def member(name: str, content: bytes = b"evil", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


@pytest.mark.parametrize(
    "members",
    [
        [member("../outside")],
        [member("a/../../outside")],
        [member("/outside")],
        [member(".")],
        [member("link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
        [member("link", b"", type=tarfile.SYMTYPE, linkname=".."), member("link/outside")],
        [member("link", b"", type=tarfile.LNKTYPE, linkname="../outside")],
        [member("device", b"", type=tarfile.CHRTYPE)],
        [member("pipe", b"", type=tarfile.FIFOTYPE)],
        [member("folder", b"", type=tarfile.DIRTYPE)],
        [member("twice"), member("twice")],
        [member("a"), member("a/b")],
        [member("x" * 300)],
    ],
    ids=lambda members: "+".join(info.name[:20] + info.type.decode() for info, _ in members),
)
def test_an_archive_that_leads_anywhere_else_is_refused_whole(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    archive = tmp_path / "archive"
    with tarfile.open(archive, "w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(SnapshotError):
        snapshots.unpack(archive, tmp_path / "back")
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path.parent / "outside").exists()


def test_an_archive_that_claims_to_be_huge_is_refused_before_it_is_written(tmp_path: Path) -> None:
    info, _ = member("huge")
    info.size = snapshots.LARGEST + 1
    (tmp_path / "archive").write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    with pytest.raises(SnapshotError, match="more than 1024 MiB"):
        snapshots.unpack(tmp_path / "archive", tmp_path / "back")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_archive_is_refused_or_shows_in_the_digest(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder, archive, back = (Path(root, name) for name in ("folder", "archive", "back"))
        folder.mkdir()
        (folder / "a.bin").write_bytes(bytes(range(256)) * 4)
        (folder / "b.txt").write_text("state")
        pack(folder, archive)
        content = bytearray(archive.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            del content[place:]
        else:
            content[place] ^= data.draw(st.integers(1, 255))
        archive.write_bytes(content)
        try:
            snapshots.unpack(archive, back)
        except SnapshotError:
            return
        if snapshots.digest(back) != snapshots.digest(folder):
            return
        # What is left are bits that mean nothing, such as padding.
        assert {path: kept[0] for path, kept in read(back).items()} == {
            path: kept[0] for path, kept in read(folder).items()
        }
