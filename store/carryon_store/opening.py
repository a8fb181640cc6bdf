"""From an output uri to a store."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from carryon_core.messages import StoreConfig
from carryon_store.errors import StoreError
from carryon_store.files import FileStore
from carryon_store.observing import Observe, ObservedStore
from carryon_store.protocol import Credentials, Guard, Store

if TYPE_CHECKING:
    from carryon_store.s3 import Connections

_FORMS: Final = "s3://bucket/prefix or file:///absolute/path"
_NO_ESCAPE: Final = re.compile("%(?![0-9a-f]{2})|%2f|%00|[?#\0]", re.IGNORECASE)
"""What could be read in two ways: by the one who checks a folder and by the one who opens it."""


def folder_of(uri: str) -> PurePosixPath:
    """The folder that a file:// uri names: who checks folders and who opens them ask here.

    Raises:
        StoreError: It names none, or could be read in two ways.
    """
    scheme, _, rest = uri.partition("://")
    if scheme != "file" or not rest.startswith("/"):
        raise StoreError(f"{uri} names no store: write {_FORMS}")
    folder = PurePosixPath(unquote(rest, errors="surrogateescape"))
    if _NO_ESCAPE.search(rest) or ".." in folder.parts:
        raise StoreError(
            f"{uri!a} is no plain path: write the folder out, without .. and NUL, and ?, # and % as %3F, %23 and %25"
        )
    return folder


def place_of(uri: str, output: StoreConfig) -> tuple[StoreConfig, str]:
    """Where an object lies that a spec names by its uri, such as a table of items or a photo: its store, and its key.

    Args:
        uri: s3://bucket/key or file:///absolute/path.
        output: The job's own store, at whose endpoint buckets are looked for.

    Raises:
        StoreError: It names no object.
    """
    scheme, _, rest = uri.partition("://")
    if scheme == "file":
        path = folder_of(uri)
        if path.name:
            return StoreConfig(uri=Path(path.parent).as_uri()), path.name
    bucket, _, key = rest.partition("/")
    if scheme == "s3" and bucket and key:
        return StoreConfig(uri=f"s3://{bucket}", endpoint=output.endpoint, region=output.region), key
    raise StoreError(f"{uri} names no object: write s3://bucket/key or file:///absolute/path")


class Stores:
    """Opens stores; those of one endpoint, region and credentials share connections. Keep one per process."""

    def __init__(self, guard: Guard | None = None, observe: Observe | None = None) -> None:
        """Prepare; no connection is made yet.

        Args:
            guard: Asked right before each request that writes or deletes, repeated ones included; from any thread.
            observe: Told of every operation on the stores that are opened.
        """
        self._guard = guard
        self._connections: Connections | None = None
        self._observe = observe

    def open(self, config: StoreConfig, credentials: Credentials | None = None) -> Store:
        """Open a store; nothing is asked of it yet.

        Args:
            config: Where it is.
            credentials: None takes what the environment offers: variables, profile, workload or instance identity.

        Raises:
            StoreError: The uri names no store that there is.
        """
        store = self._open(config, credentials)
        return store if self._observe is None else ObservedStore(store, self._observe)

    def _open(self, config: StoreConfig, credentials: Credentials | None) -> Store:
        scheme, _, rest = config.uri.partition("://")
        if scheme == "file":
            return FileStore(Path(folder_of(config.uri)), self._guard)
        bucket, _, prefix = rest.partition("/")
        if scheme == "s3" and bucket:
            return self._s3().open(bucket, prefix.strip("/"), config, credentials)
        raise StoreError(f"{config.uri} names no store: write {_FORMS}")

    def _s3(self) -> Connections:
        if self._connections is None:
            # Only here, so that a store of files neither needs boto3 nor waits for its import.
            from carryon_store.s3 import Connections

            self._connections = Connections(self._guard)
        return self._connections


def open_store(config: StoreConfig, credentials: Credentials | None = None) -> Store:
    """Open a single store, for whoever needs no other: see `Stores.open`."""
    return Stores().open(config, credentials)
