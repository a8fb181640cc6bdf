"""A folder as one file and back: what a program keeps between its attempts, packed so that half of it never counts.

Only regular files travel, by relative path, with content, time and the right to be executed. The digest is of paths
and contents: it is in the file's name in the bucket, and whoever unpacks computes it again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias

LARGEST: Final = 1 << 30
"""Bytes of all files of a snapshot."""
MOST_FILES: Final = 10_000
DIGEST_LENGTH: Final = 16
_COPIED: Final = 1 << 20
"""Bytes of a file that is copied at once, such as a log that grows all the time."""
_OVERHEAD: Final = 4096
"""Bytes a file takes in an archive besides its content, at most: headers of a long name and padding."""
ARCHIVE_LARGEST: Final = LARGEST + MOST_FILES * _OVERHEAD

State: TypeAlias = tuple[tuple[str, int, int, int], ...]
"""Path, inode, time of the last change and size of each file: equal as long as nothing was written."""


class SnapshotError(Exception):
    """A folder that can't be kept, or an archive that is none; the sentence says why."""


class Restless(SnapshotError):
    """A folder that changed while it was looked at: to be looked at again."""


def state(folder: Path) -> State:
    """What can be seen of a folder without reading its files.

    Raises:
        SnapshotError: There is more in it than a snapshot may hold.
    """
    found = []
    size = 0
    for path, seen in _files(folder):
        found.append((path, seen.st_ino, seen.st_mtime_ns, seen.st_size))
        size += seen.st_size
        if size > LARGEST or len(found) > MOST_FILES:
            raise SnapshotError(
                f"it holds more than {LARGEST >> 20} MiB or {MOST_FILES} files: keep there only what is needed to go on"
            )
    return tuple(sorted(found))


def freeze(folder: Path, frozen: Path) -> None:
    """Make a folder with the same files at one moment: what is replaced or appended to afterwards stays as it was.

    Large files are linked instead of copied: one that is written to in place shows in the frozen folder's state.

    Raises:
        Restless: Files came, went or changed meanwhile.
    """
    frozen.mkdir()
    before = state(folder)
    try:
        for path, _, _, size in before:
            target = frozen / path
            target.parent.mkdir(parents=True, exist_ok=True)
            _freeze(folder / path, target, size)
    except FileNotFoundError:
        raise Restless("files in it came and went all the time") from None
    if state(folder) != before:
        raise Restless("files in it changed all the time")


def digest(folder: Path) -> str:
    """Of the paths and contents of a folder's files."""
    whole = hashlib.sha256()
    for path, seen in sorted(_files(folder)):
        with (folder / path).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        executable = "x" if seen.st_mode & stat.S_IXUSR else "-"
        whole.update(f"{content} {executable} {len(os.fsencode(path))} ".encode() + os.fsencode(path))
    return whole.hexdigest()[:DIGEST_LENGTH]


def pack(folder: Path, archive: Path) -> None:
    """Write a folder's files into one archive.

    Raises:
        Restless: A file became shorter meanwhile.
    """
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for path, seen in sorted(_files(folder)):
            member = tarfile.TarInfo(path)
            member.mtime = seen.st_mtime_ns / 1e9
            member.mode = 0o755 if seen.st_mode & stat.S_IXUSR else 0o644
            with (folder / path).open("rb") as file:
                # Of the opened file: tarfile takes exactly so many bytes, or complains.
                member.size = os.fstat(file.fileno()).st_size
                try:
                    tar.addfile(member, file)
                except OSError as error:
                    if error.errno is not None:
                        raise
                    raise Restless(f"{path} became shorter meanwhile") from error


def unpack(archive: Path, folder: Path) -> None:
    """Write an archive's files into a new folder; nothing ever lands outside it.

    Raises:
        SnapshotError: It is no archive of `pack`: cut off, with links or paths that lead out, or too large.
    """
    folder.mkdir()
    size = 0
    try:
        with tarfile.open(archive, "r:") as tar:
            for number, member in enumerate(tar):
                size += max(0, member.size)
                if size > LARGEST or number >= MOST_FILES:
                    raise SnapshotError(f"it holds more than {LARGEST >> 20} MiB or {MOST_FILES} files")
                _extract(tar, member, folder)
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise SnapshotError(f"it can't be unpacked: {error}") from error


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise SnapshotError(f"{member.name!r} leads out of its folder")
    source = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    if source is None:
        raise SnapshotError(f"{member.name!r} is no regular file")
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    # "x": a name that stands twice is refused, whatever stands there.
    with source, target.open("xb") as file:
        shutil.copyfileobj(source, file)
    target.chmod(0o755 if member.mode & stat.S_IXUSR else 0o644)
    nanoseconds = round(member.mtime * 1e9)
    os.utime(target, ns=(nanoseconds, nanoseconds))


def _files(folder: Path, base: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Regular files below a folder by relative path; links are neither followed nor kept."""
    try:
        with os.scandir(folder / base) as entries:
            found = list(entries)
    except FileNotFoundError:
        return
    for entry in found:
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(folder, f"{base}{entry.name}/")
            elif entry.is_file(follow_symlinks=False):
                yield base + entry.name, entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            # Gone between the listing and the look.
            continue


def _freeze(source: Path, target: Path, size: int) -> None:
    if size > _COPIED:
        try:
            os.link(source, target, follow_symlinks=False)
        except PermissionError:
            # A file system without hard links, or somebody else's file: copied after all.
            pass
        else:
            return
    shutil.copy2(source, target, follow_symlinks=False)
