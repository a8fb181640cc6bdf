"""`carryon units`: each unit of a job, how it stands, and its artifacts in the bucket."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from carryon_core.done import Done
from carryon_core.errors import SpecError
from carryon_core.messages import StoreConfig
from carryon_core.resolve import resolve
from carryon_core.spec import JobSpec
from carryon_standalone.cli.errors import CommandError
from carryon_standalone.cli.jobview import JobView, UnitView
from carryon_store import Credentials, Store, StoreError, open_store
from carryon_store.units import read_done

_READERS: Final = 16


def of_job(job: Mapping[str, Any], secret: Callable[[str], Mapping[str, str]]) -> list[UnitView]:
    """All units of a job, stage by stage.

    Args:
        job: As the API server gives it.
        secret: Reads a Secret of the job's namespace.

    Raises:
        CommandError: The spec can't be resolved, or the bucket not read.
    """
    view = JobView.of(job)
    spec = JobSpec.model_validate(job["spec"])
    try:
        resolved = resolve(view.namespace, view.name, spec)
    except SpecError as error:
        raise CommandError(f"{view.name} can't be carried out as written: {error.message}") from None
    states = [[stage.state(index) for index in range(len(resolved.ids))] for stage in view.stages]
    units = list(resolved.units())
    prefixes = [resolved.prefix(unit) if states[unit.stage][unit.item] == "done" else None for unit in units]
    try:
        artifacts = _artifacts(_store(view, spec, secret), prefixes)
    except StoreError as error:
        raise CommandError(f"the artifacts of {view.name} can't be looked up: {error}") from None
    return [
        UnitView(view.stages[unit.stage].name, resolved.ids[unit.item], states[unit.stage][unit.item], found)
        for unit, found in zip(units, artifacts, strict=True)
    ]


def _store(view: JobView, spec: JobSpec, secret: Callable[[str], Mapping[str, str]]) -> Store | None:
    if view.output is None:
        return None
    output = spec.output
    if output is None:
        return open_store(StoreConfig(uri=view.output))
    config = StoreConfig(uri=output.uri, endpoint=output.endpoint, region=output.region)
    if output.credentials_secret is None:
        return open_store(config)
    data = {name: base64.b64decode(value).decode() for name, value in secret(output.credentials_secret.name).items()}
    try:
        keys = Credentials(data["AWS_ACCESS_KEY_ID"], data["AWS_SECRET_ACCESS_KEY"], data.get("AWS_SESSION_TOKEN"))
    except KeyError as error:
        raise CommandError(f'Secret "{output.credentials_secret.name}" has no {error.args[0]}: add it') from None
    return open_store(config, keys)


def _artifacts(store: Store | None, prefixes: Sequence[str | None]) -> list[tuple[str, ...]]:
    def read(prefix: str | None) -> tuple[str, ...]:
        if store is None or prefix is None:
            return ()
        done = read_done(store, prefix)
        if not isinstance(done, Done):
            return ()
        return tuple(_location(store, prefix + artifact.key) for artifact in done.artifacts)

    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(read, prefixes))


def _location(store: Store, key: str) -> str:
    if store.uri.startswith("file://"):
        return str(Path(unquote(urlsplit(store.uri).path)) / key)
    return f"{store.uri}/{key}"
