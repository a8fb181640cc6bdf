"""A folder as a bucket: keys are paths below the root as they are, because people look into the folder.

Whatever happens to the process, an object is whole or not there: content goes to a temporary file in the same file
system, is fsynced, and then takes its name by rename(2) or, to create only, by link(2).
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final

from carryon_store.errors import Changed, Conflict, Denied, Full, NotFound, StoreError, TooLarge, Unreachable
from carryon_store.local import Body, arriving, open_body
from carryon_store.protocol import DOCUMENT_LIMIT, Guard, ObjectInfo, check_key, check_prefix

TEMPORARY: Final = ".carryon-tmp"
"""Folder below the root for files that are still being written; no object may lie in it."""
_CHUNK: Final = 1 << 20
_PLACE_TRIES: Final = 50
"""A concurrent delete removes folders while they are empty: so often is one made again before giving up."""
_LEFTOVER_SECONDS: Final = 24 * 3600.0
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_AWAY: Final = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN, errno.ESHUTDOWN)
"""What a network file system says when its server does not answer."""


def _unguarded() -> None:
    """Writes may always begin."""


class FileStore:
    """Objects as files below a folder, which is made by the first write.

    Symbolic links below the root are not objects and are never followed. A key can't be both an object and the
    beginning of another's path ("a" and "a/b"), as it can on S3.
    """

    def __init__(self, root: Path, guard: Guard | None = None) -> None:
        """Open the folder.

        Args:
            root: Absolute path; may itself be a symbolic link, and need not exist.
            guard: Asked right before an object appears or goes.
        """
        self._guard = guard or _unguarded
        self._root = os.path.realpath(root)
        self._temporary = os.path.join(self._root, TEMPORARY)
        self._swept = False

    @property
    def uri(self) -> str:
        """Where the root is."""
        return Path(self._root).as_uri()

    def put(self, key: str, body: Body, *, content_type: str, only_if_absent: bool = False) -> ObjectInfo:
        """See `Store.put`; the object is on the disk, and not only in memory, when this returns."""
        path = self._path(key)
        with open_body(body) as source, self._errors(key):
            self._sweep_leftovers()
            written = os.path.join(self._temporary, uuid.uuid4().hex)
            try:
                seen = _write(written, source)
                self._guard()
                _place(written, path, _create if only_if_absent else os.replace)
            except FileExistsError as error:
                raise Conflict(f"{self._name(key)} exists already") from error
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(written)
        return self._info(key, seen)

    def get(self, key: str, *, max_bytes: int = DOCUMENT_LIMIT) -> bytes:
        """See `Store.get`."""
        with self._errors(key), self._open(key) as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise TooLarge(f"{self._name(key)} is larger than the {max_bytes} bytes it may have")
        return content

    def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        with self._errors(key):
            source = self._open(key)
        with source, arriving(path) as target:
            shutil.copyfileobj(source, target, _CHUNK)

    def read(self, info: ObjectInfo, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `Store.read`."""
        left = info.size - offset if length is None else length
        with self._errors(info.key), self._open(info.key) as file:
            if self._info(info.key, os.fstat(file.fileno())).etag != info.etag:
                raise self._changed(info)
            file.seek(offset)
            while left:
                piece = file.read(min(left, _CHUNK))
                if not piece:
                    raise self._changed(info)
                left -= len(piece)
                yield piece

    def presign(self, key: str, *, seconds: int, content_type: str, disposition: str) -> str | None:
        """See `Store.presign`: folders have no addresses."""
        return None

    def sha256(self, key: str) -> str:
        """See `Store.sha256`."""
        with self._errors(key), self._open(key) as content:
            return hashlib.file_digest(content, "sha256").hexdigest()

    def head(self, key: str) -> ObjectInfo:
        """See `Store.head`."""
        with self._errors(key):
            return self._info(key, self._stat(key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Store.list`; a folder that is not there holds nothing."""
        folder = check_prefix(prefix).rpartition("/")[0]
        with self._errors(prefix):
            yield from self._walk(self._path(folder) if folder else self._root, f"{folder}/" if folder else "", prefix)

    def delete(self, key: str) -> None:
        """See `Store.delete`; folders that become empty go too."""
        path = self._path(key)
        with self._errors(key), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self._guard()
            os.unlink(path)
        folder = os.path.dirname(path)
        while folder != self._root:
            try:
                os.rmdir(folder)
            except OSError:
                return  # In use, gone already, or not ours to remove: an empty folder does no harm.
            folder = os.path.dirname(folder)

    def supports_conditional_puts(self) -> bool:
        """See `Store.supports_conditional_puts`: link(2) creates a name or fails."""
        return True

    def _changed(self, info: ObjectInfo) -> Changed:
        return Changed(f"{self._name(info.key)} has changed since it was listed: look at it again")

    def _name(self, key: str) -> str:
        return os.path.join(self._root, key)

    def _path(self, key: str) -> str:
        if check_key(key).split("/", 1)[0] == TEMPORARY:
            raise StoreError(f"{self._name(key)} is no place for an object: {TEMPORARY} holds unfinished writes")
        path = os.path.join(self._root, key)
        if os.path.realpath(os.path.dirname(path)) != os.path.dirname(path):
            raise Denied(
                f"{self._name(key)} lies behind a symbolic link, which is not followed: replace it by a folder"
            )
        return path

    def _stat(self, key: str) -> os.stat_result:
        try:
            seen = os.stat(self._path(key), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"{self._name(key)} does not exist") from error
        if not stat.S_ISREG(seen.st_mode):
            raise NotFound(f"{self._name(key)} does not exist: what has that name is no regular file")
        return seen

    def _open(self, key: str) -> BufferedReader:
        self._stat(key)
        return open(self._path(key), "rb")

    def _walk(self, folder: str, base: str, prefix: str) -> Iterator[ObjectInfo]:
        """Objects below a folder whose keys begin with `base`, in the order S3 has: "a.txt" < "a/b", for "." < "/"."""
        try:
            with os.scandir(folder) as entries:
                # Each folder's names are held, not the whole tree's.
                found = sorted(
                    (os.fsencode(key), key, entry)
                    for entry in entries
                    if entry.name != TEMPORARY or folder != self._root
                    for key in [f"{base}{entry.name}/" if entry.is_dir(follow_symlinks=False) else base + entry.name]
                    if key.startswith(prefix) or prefix.startswith(key)
                )
        except (FileNotFoundError, NotADirectoryError):
            return  # Vanished meanwhile, or never was.
        for _, key, entry in found:
            if key.endswith("/"):
                yield from self._walk(entry.path, key, prefix)
            elif key.startswith(prefix) and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    yield self._info(key, os.stat(entry.path, follow_symlinks=False))

    def _info(self, key: str, seen: os.stat_result) -> ObjectInfo:
        etag = f"{seen.st_mtime_ns:x}-{seen.st_size:x}-{seen.st_ino:x}"
        return ObjectInfo(key, seen.st_size, etag, datetime.fromtimestamp(seen.st_mtime, UTC))

    def _sweep_leftovers(self) -> None:
        """Make the folder for temporary files; once in a store's life remove what killed writers left there."""
        _make_folders(self._temporary)
        if self._swept:
            return
        self._swept = True
        oldest = time.time() - _LEFTOVER_SECONDS
        with os.scandir(self._temporary) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        os.unlink(entry.path)

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turn the system's errors into the store's."""
        name = self._name(key)
        try:
            yield
        except OSError as error:
            why = error.strerror or str(error)
            if isinstance(error, FileNotFoundError):
                raise NotFound(f"{name} does not exist") from error
            if isinstance(error, (NotADirectoryError, IsADirectoryError)):
                raise StoreError(f"{name}: a file stands where a folder is needed, or a folder for a file") from error
            if isinstance(error, PermissionError) or error.errno == errno.EROFS:
                raise Denied(f"{name}: {why}; give user {os.geteuid()} the right to read and write below") from error
            if error.errno in _FULL:
                raise Full(f"{name}: {why}; free space or choose another output.uri") from error
            if error.errno == errno.ENAMETOOLONG:
                raise StoreError(f"{name}: {why}; file names end at 255 bytes") from error
            if error.errno in _AWAY:
                raise Unreachable(f"{name}: {why}; the file system does not answer") from error
            raise StoreError(f"{name}: {why}") from error


def _write(path: str, source: BinaryIO) -> os.stat_result:
    """Write a new file and wait until the disk has it; it is as readable for others as the umask says."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
        shutil.copyfileobj(source, file, _CHUNK)
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno())


def _place(written: str, path: str, move: Callable[[str, str], None]) -> None:
    """Give a finished file its name, durably."""
    folder = os.path.dirname(path)
    for left in reversed(range(_PLACE_TRIES)):
        try:
            _make_folders(folder)
            move(written, path)
            _sync_folder(folder)
            return
        except FileNotFoundError:
            if not left:
                raise


def _create(written: str, path: str) -> None:
    """Rename a file unless the name is taken: then raise FileExistsError. The old name may stay."""
    try:
        os.link(written, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No hard links here (exFAT, some network mounts): claim the name with an empty file, then replace that. Killed
        # between the two, an empty object stays, and verification removes an empty done.json.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        os.replace(written, path)


def _make_folders(path: str) -> None:
    """Make a folder and those above it, each entered in its parent on the disk."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    _make_folders(parent)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
    else:
        _sync_folder(parent)


def _sync_folder(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
