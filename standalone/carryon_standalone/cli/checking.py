"""`carryon validate`: what an API server, the operator and the workers would say about a job, before a GPU starts.

Errors are what would be refused or would fail its units; warnings are what is done and may not be meant; notes say what
could not be looked at from here.
"""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from carryon_core import crd
from carryon_core.errors import SpecError
from carryon_core.resolve import file_uris
from carryon_core.resolved import ResolvedJob
from carryon_core.rows import parse_rows
from carryon_core.spec import JobSpec
from carryon_jobs import checking
from carryon_jobs.checking import Finding, Rows, note, warning
from carryon_jobs.checking import error as refusal
from carryon_standalone.cli.cluster import Cluster, NotFound, Refused
from carryon_standalone.cli.errors import CommandError
from carryon_store import StoreError
from carryon_store.opening import folder_of

UNITS_CHECKED: Final = 500
"""Units of a stage that are handed to the worker's own check: the first ones."""
_CHECK_SECONDS: Final = 300.0
_WARNED: Final = ("truncated",)
"""What the worker finds that is done all the same."""
Job: TypeAlias = dict[str, Any]


Connect: TypeAlias = Callable[[], Cluster]
"""Finds an API server; raises CommandError where there is none."""


def findings(job: Job, namespace: str | None, connect: Connect) -> Iterator[Finding]:
    """All there is to say about a job.

    Args:
        job: As its file has it.
        namespace: Where it goes if it does not say so itself; None: where the API server's context says.
        connect: Finds the API server that it would go to.
    """
    given = copy.deepcopy(job)
    found = _by_schema(job)
    if found:
        yield from (refusal(each) for each in found)
        return
    cluster, absent = _reach(connect)
    where = job["metadata"].get("namespace") or namespace or (cluster.namespace if cluster else "default")
    if cluster is not None:
        yield from _dry_run(given, where, cluster)
    else:
        yield note(f"by an API server, only by the rules of this version: {absent}")
    spec = checking.parsed(job["spec"])
    if not isinstance(spec, JobSpec):
        yield from (refusal(f"{each.field}: {each.message}") for each in spec)
        return
    try:
        rows, unread = _rows(spec, where, cluster)
        if unread:
            yield note(unread)
            return
        name = job["metadata"]["name"]
        digests = {uri: _digest(uri) for uri in file_uris(where, name, spec, rows)}
    except SpecError as error:
        yield refusal(error.message)
        return
    resolved = checking.resolved(where, name, spec, rows, digests)
    if isinstance(resolved, Finding):
        yield resolved
        return
    yield from checking.of_units(resolved)
    yield from _files(digests)
    yield from _by_worker(resolved)


def _by_schema(job: Job) -> Sequence[str]:
    """What the CRD of this version refuses; fills in defaults."""
    # Here, because the rules' interpreter is slow to load, and only this needs it.
    from carryon_standalone.apiserver import definitions

    (resource,) = definitions.served(crd.build())
    assert resource.structural is not None
    unknown = resource.structural.prune(job)
    if unknown:
        return [f'unknown field "{field}"' for field in unknown]
    resource.structural.default(job)
    return [str(error) for error in resource.structural.validate(job)]


def _reach(connect: Connect) -> tuple[Cluster | None, str]:
    try:
        cluster = connect()
        cluster.jobs()
    except CommandError as error:
        return None, str(error)
    return cluster, ""


def _dry_run(job: Job, namespace: str, cluster: Cluster) -> Iterator[Finding]:
    """What the API server says that the job would go to: its CRD may be another, and it may have policies."""
    placed = {**job, "metadata": {"namespace": namespace, **job["metadata"]}}
    try:
        cluster.apply(placed, dry_run=True)
    except Refused as error:
        yield from (refusal(f"the API server would refuse it: {cause}") for cause in error.causes)
    except NotFound as error:
        yield refusal(f"the API server would refuse it: {error}")
    except CommandError as error:
        yield note(f"by the API server: {error}")


def _rows(spec: JobSpec, namespace: str, cluster: Cluster | None) -> tuple[Rows | None, str]:
    """The items of `items.from`, or why they could not be read from here.

    Raises:
        SpecError: They are not what they should be.
    """
    source = spec.items.from_
    if source is None:
        return None, ""
    if source.config_map_key_ref is not None:
        wanted = source.config_map_key_ref
        if cluster is None:
            return None, f'units, because ConfigMap "{wanted.name}" is in a cluster that does not answer'
        try:
            content = cluster.config_map(wanted.name, namespace)
        except NotFound as error:
            raise SpecError("ItemsNotFound", f"items.from: {error}") from None
        return checking.rows_of(source, wanted.name, content), ""
    uri = source.uri or ""
    if not uri.startswith("file://"):
        return None, f"units, because the operator reads {uri} with the job's own keys: try `carryon try`"
    try:
        return parse_rows(_local(uri).read_bytes(), source), ""
    except OSError as error:
        raise SpecError("ItemsNotFound", f"items.from: {uri} can't be read: {error.strerror}") from None


def _digest(uri: str) -> str | None:
    """SHA-256 of a file of this machine; None where it is not there, or not on this machine."""
    if not uri.startswith("file://"):
        return None
    try:
        with _local(uri).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _local(uri: str) -> Path:
    try:
        return Path(folder_of(uri))
    except StoreError as error:
        raise SpecError("InvalidParameter", str(error)) from None


def _files(digests: Mapping[str, str | None]) -> Iterator[Finding]:
    for uri, digest in sorted(digests.items()):
        if digest is None and uri.startswith("file://"):
            yield warning(f"{uri} is not there: the units that name it would fail (InputMissing)")
    elsewhere = sum(not uri.startswith("file://") for uri in digests)
    if elsewhere:
        yield note(f"whether {elsewhere} files in buckets are there, which the operator reads with the job's own keys")


def _by_worker(resolved: ResolvedJob) -> Iterator[Finding]:
    """What the worker that is installed here says about parameters and texts; it loads no weights."""
    units = [
        {"stage": stage.name, "item": resolved.item_id(stage.index, unit.item), "generate": resolved.generate(unit)}
        for stage in resolved.stages
        for unit in stage.units[:UNITS_CHECKED]
    ]
    command = [sys.executable, "-m", "carryon_worker", "check"]
    try:
        ran = subprocess.run(
            command, input=json.dumps({"units": units}), capture_output=True, text=True, timeout=_CHECK_SECONDS
        )
        answer = json.loads(ran.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        yield note("parameters and lengths of texts, because no worker is installed beside this command")
        return
    for each in answer["findings"]:
        made = warning if each["problem"] in _WARNED else refusal
        yield made(f'stage "{each["stage"]}": {each["parameter"]}: {each["message"]} ({_listed(each)})')
    yield from (note(f'stage "{each["stage"]}": {each["message"]}') for each in answer.get("unchecked", ()))
    for stage in resolved.stages:
        if len(stage.units) > UNITS_CHECKED:
            yield note(f'stage "{stage.name}": parameters of {len(stage.units) - UNITS_CHECKED} more units')


def _listed(found: Mapping[str, Any]) -> str:
    items, count = found["items"], found["count"]
    more = f" and {count - len(items)} more" if count > len(items) else ""
    return f"{count} {'item' if count == 1 else 'items'}: {', '.join(items)}{more}"
