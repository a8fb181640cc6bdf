"""An import as the API carries it out: with the caller's own token, into a bucket that is allowed here."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import anyio.from_thread
from pydantic import ValidationError

from carryon_api.cluster import Cluster
from carryon_api.problems import Problem
from carryon_api.reviews import Caller
from carryon_core.errors import SpecError
from carryon_core.spec import Output
from carryon_jobs.archive.errors import NameTaken, Unanswered
from carryon_jobs.archive.moving import Place
from carryon_jobs.destinations import credentials as keys_of
from carryon_jobs.destinations import output_store
from carryon_kube import errors as kube
from carryon_kube.resources import GENERATION_JOBS
from carryon_store import Credentials, Store, Stores


class Importing:
    """A cluster as an import asks it, from a thread: see `carryon_jobs.archive.importing.Cluster`."""

    def __init__(self, cluster: Cluster, caller: Caller) -> None:
        self._cluster = cluster
        self._caller = caller

    def find(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """See `Cluster.find`; asked with the API's own rights, for a name is taken whoever asks."""

        async def ask() -> Mapping[str, Any] | None:
            found = await self._cluster.fresh(namespace, name)
            return None if found is None else found.raw

        try:
            return anyio.from_thread.run(ask)
        except kube.Unavailable as error:
            raise Unanswered(error.message) from None

    def create(self, job: dict[str, Any], *, dry_run: bool) -> Mapping[str, Any]:
        """See `Cluster.create`; with the caller's rights."""

        async def ask() -> Mapping[str, Any]:
            client = self._cluster.as_caller(self._caller)
            return await client.create(
                GENERATION_JOBS, job, namespace=job["metadata"]["namespace"], strict=True, dry_run=dry_run
            )

        try:
            return anyio.from_thread.run(ask)
        except kube.AlreadyExists as error:
            raise NameTaken(error.message, "") from None
        except kube.Unavailable as error:
            raise Unanswered(error.message) from None


async def place_for(
    cluster: Cluster, namespace: str, name: str, output: Mapping[str, str | None] | None, secret: str | None
) -> tuple[Place, Store]:
    """Where a job goes on, and its bucket there.

    Args:
        cluster: Its cluster.
        namespace: Where it goes.
        name: What it is called there.
        output: uri, endpoint and region of the store; None: the default store.
        secret: Name of the Secret with its keys.

    Raises:
        Problem: There is no such store, or it is not allowed here.
    """
    rules = cluster.config
    try:
        if output is not None:
            place = Place(namespace, name, output_store(namespace, _output(output, secret), rules), secret)
        elif rules.default_store is not None:
            place = Place(namespace, name, rules.default_store, default=True)
        else:
            raise Problem("invalid", "there is no default store here: name an output")
        keys = await _keys(cluster, namespace, rules.default_store_secret if place.default else secret)
    except SpecError as error:
        raise Problem("invalid", error.message) from None
    return place, Stores().open(place.config, keys)


def _output(given: Mapping[str, str | None], secret: str | None) -> Output:
    keys = {} if secret is None else {"credentialsSecret": {"name": secret}}
    try:
        return Output.model_validate({**{key: value for key, value in given.items() if value is not None}, **keys})
    except ValidationError as error:
        raise Problem("invalid", f"output: {error.errors()[0]['msg']}") from None


async def _keys(cluster: Cluster, namespace: str, secret: str | None) -> Credentials | None:
    """Keys in a Secret, None without one.

    Raises:
        SpecError: They are incomplete.
        OutOfReach: It can't be read.
    """
    if secret is None:
        return None
    data = await cluster.secret(namespace, secret)
    return keys_of({key: base64.b64decode(value) for key, value in data.items()}, secret)
