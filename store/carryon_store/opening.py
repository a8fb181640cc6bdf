"""From an output uri to a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from carryon_core.messages import StoreConfig
from carryon_store.errors import StoreError
from carryon_store.files import FileStore
from carryon_store.protocol import Credentials, Store

if TYPE_CHECKING:
    from carryon_store.s3 import Connections


class Stores:
    """Opens stores; those of one endpoint, region and credentials share connections. Keep one per process."""

    def __init__(self) -> None:
        self._connections: Connections | None = None

    def open(self, config: StoreConfig, credentials: Credentials | None = None) -> Store:
        """Open a store; nothing is asked of it yet.

        Args:
            config: Where it is.
            credentials: None takes what the environment offers: variables, profile, workload or instance identity.

        Raises:
            StoreError: The uri names no store that there is.
        """
        scheme, _, rest = config.uri.partition("://")
        if scheme == "file" and rest.startswith("/"):
            return FileStore(Path(unquote(rest)))
        bucket, _, prefix = rest.partition("/")
        if scheme == "s3" and bucket:
            return self._s3().open(bucket, prefix.strip("/"), config, credentials)
        raise StoreError(f"{config.uri} names no store: write s3://bucket/prefix or file:///absolute/path")

    def _s3(self) -> Connections:
        if self._connections is None:
            # Only here, so that a store of files neither needs boto3 nor waits for its import.
            from carryon_store.s3 import Connections

            self._connections = Connections()
        return self._connections


def open_store(config: StoreConfig, credentials: Credentials | None = None) -> Store:
    """Open a single store, for whoever needs no other: see `Stores.open`."""
    return Stores().open(config, credentials)
