"""What an import needs of a cluster: whether a name is free, a job created, and the bucket that it will have."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from carryon_core.errors import SpecError
from carryon_core.messages import StoreConfig
from carryon_jobs.archive.errors import NameTaken, Unanswered
from carryon_jobs.archive.moving import Place
from carryon_jobs.destinations import credentials as keys_of
from carryon_standalone.cli.cluster import Cluster, NotFound, Taken, Unreachable
from carryon_standalone.cli.errors import USAGE, CommandError
from carryon_standalone.cli.target import Target
from carryon_standalone.home import Settings
from carryon_store import Store, StoreError, Stores


class Importing:
    """A cluster as an import asks it: see `carryon_jobs.archive.importing.Cluster`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def find(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """See `Cluster.find`."""
        try:
            return self._cluster.job(name, namespace)
        except NotFound:
            return None
        except Unreachable as error:
            raise Unanswered(str(error)) from None

    def create(self, job: dict[str, Any], *, dry_run: bool) -> Mapping[str, Any]:
        """See `Cluster.create`."""
        metadata = job["metadata"]
        try:
            self._cluster.create(job, dry_run=dry_run)
            return job if dry_run else self._cluster.job(metadata["name"], metadata["namespace"])
        except Taken as error:
            raise NameTaken(str(error), "") from None
        except Unreachable as error:
            raise Unanswered(str(error)) from None


def place_for(
    target: Target,
    cluster: Cluster,
    *,
    name: str,
    output: str | None,
    endpoint: str | None = None,
    region: str | None = None,
    credentials: str | None = None,
) -> tuple[Place, Store]:
    """Where a job goes on, and its bucket there.

    Args:
        target: The cluster by its file.
        cluster: A connection to it.
        name: Of the job.
        output: Uri of the store; None: the default store of this machine's control plane.
        endpoint: Of that store.
        region: Of that store.
        credentials: Name of the Secret with its keys.

    Raises:
        CommandError: There is no such store, or none was named where that is needed.
    """
    if output is None:
        if target.home is None:
            raise CommandError(
                "only the operator knows its default store: name one with --output s3://bucket/prefix, and the Secret"
                " with its keys with --credentials",
                USAGE,
            )
        folder = Path(Settings.load(target.home).output or target.home.output)
        place = Place(cluster.namespace, name, StoreConfig(uri=folder.as_uri()), default=True)
        return place, Stores().open(place.config)
    if output.startswith("file:") and target.home is None:
        raise CommandError("folders of a cluster can't be filled from here: name an s3:// store", USAGE)
    config = StoreConfig(uri=output.rstrip("/"), endpoint=endpoint, region=region)
    keys = None
    try:
        if credentials is not None:
            data = {key: base64.b64decode(value) for key, value in cluster.secret(credentials).items()}
            keys = keys_of(data, credentials)
        return Place(cluster.namespace, name, config, credentials), Stores().open(config, keys)
    except StoreError as error:
        raise CommandError(f"--output: {error}", USAGE) from None
    except SpecError as error:
        raise CommandError(error.message) from None
