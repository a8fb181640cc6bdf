"""From an archive that was checked to a job in another place.

Everything is decided before anything is written, and a dry run asks the API server about the job. Then come files,
artifacts and journals, of each unit its done.json last, and at the end the job itself: whoever is killed before that
has left objects that no job counts, and the same import done again finds them and goes on.
"""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice
from typing import Any, Final, Protocol

from carryon_core import layout
from carryon_core.done import Done, Outcome
from carryon_core.errors import SpecError
from carryon_core.resolve import ResolvedJob, file_uris, resolve
from carryon_core.spec import JOB_NAME_LONGEST, JobSpec
from carryon_core.standing import DoneUnit, Standing, stand
from carryon_jobs.archive import members, moving
from carryon_jobs.archive.checking import Archive
from carryon_jobs.archive.documents import Object
from carryon_jobs.archive.errors import BadArchive, NameTaken
from carryon_jobs.archive.holdings import look
from carryon_jobs.archive.members import Kind, StageSummary
from carryon_jobs.archive.moving import ANNOTATION_IMPORT, Place
from carryon_jobs.archive.previewing import Preview, preview
from carryon_jobs.archive.reading import Member
from carryon_jobs.errors import NotPossible, OutOfReach
from carryon_store import JSON_TYPE, Slice, Store, StoreError

_WRITERS: Final = 8
_BATCH: Final = 64
"""Units that are written before others are looked at."""
_NAMES_TRIED: Final = 100
_OCTETS: Final = "application/octet-stream"
_TYPES: Final[Mapping[Kind, str]] = {
    Kind.FIELDS: JSON_TYPE,
    Kind.SEGMENT: _OCTETS,
    Kind.SNAPSHOT: "application/x-tar",
}


class Cluster(Protocol):
    """What an import asks of an API server. Blocking."""

    def find(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The job of that name, None if there is none."""
        ...

    def create(self, job: Object, *, dry_run: bool) -> Mapping[str, Any]:
        """Create a job, or only ask whether it would be taken.

        Raises:
            NameTaken: There is one of that name.
        """
        ...


@dataclass(frozen=True)
class Plan:
    """An import that was decided upon.

    Attributes:
        job: The job as it will be created.
        units: Folders of units in the archive -> prefix of the unit in the bucket, of those that count there.
        inputs: SHA-256 of a file in the archive -> the key that it gets.
        table: Key and content of the job's own items, where they come from data.
        kept: Digests of files that stay where they are, because a template makes their names.
    """

    archive: Archive = field(repr=False)
    place: Place
    store: Store = field(repr=False)
    job: Object = field(repr=False)
    units: Mapping[str, str] = field(repr=False)
    inputs: Mapping[str, str] = field(repr=False)
    table: tuple[str, bytes] | None = field(repr=False)
    kept: Mapping[str, str] = field(repr=False)
    preview: Preview


def plan(
    archive: Archive,
    place: Place,
    store: Store,
    cluster: Cluster,
    *,
    start: bool = False,
    secrets: Mapping[str, str] | None = None,
    products: Collection[str] | None = None,
) -> Plan:
    """Decide what becomes of an archive; nothing is written.

    Args:
        archive: As it was checked.
        place: Where the job goes on.
        store: Its bucket there.
        cluster: The API server there.
        start: Begin at once, instead of suspended.
        secrets: Name of a Secret that the job uses -> the one that takes its place.
        products: GPUs that there are, as nodes are labelled; None where nobody knows.

    Raises:
        NameTaken: There is a job of that name.
        NeedsSecrets: Nobody said what takes the place of one of its Secrets.
        BadArchive: The job can't be carried out.
        OutOfReach: The bucket can't be looked at.
    """
    if cluster.find(place.namespace, place.name) is not None:
        raise taken(place, cluster)
    uris = {uri: place.uri(moving.input_key(place, uri, line.sha256)) for uri, line in archive.inputs.items()}
    mark = uuid.uuid4().hex

    def build(*, texts: bool) -> tuple[Object, JobSpec, ResolvedJob, tuple[str, bytes] | None]:
        table = _table(archive, place, uris, texts=texts)
        items = None if table is None else place.uri(table[0])
        job = moving.moved(
            archive.job, place, uris=uris, items=items, secrets=secrets or {}, start=start, mark=mark, texts=texts
        )
        spec = JobSpec.model_validate(job["spec"])
        rows = None
        if table is not None:
            rows = [(item, moving.with_uris(params, uris, texts=texts)) for item, params in archive.rows]
        digests = {uri: line.sha256 for uri, line in archive.inputs.items()}
        digests |= {new: digests[old] for old, new in uris.items()}
        try:
            return job, spec, resolve(place.namespace, place.name, spec, rows, digests), table
        except SpecError as error:
            raise BadArchive(f"{members.JOB} can't be carried out: {error.message}") from None

    job, spec, resolved, table = build(texts=False)
    left = _left(place, spec, resolved, archive)
    if left:
        # Uris that templates are made of: another text may be part of what a unit is made from, so it is tried.
        other = build(texts=True)
        if _same(other[2], resolved):
            job, spec, resolved, table = other
            left = _left(place, spec, resolved, archive)
    try:
        standing = _standing(store, resolved, archive)
        _check_pins(archive, place, store)
    except StoreError as error:
        raise OutOfReach(f"the bucket can't be looked at: {error}") from None
    units = _units(standing, archive)
    return Plan(
        archive=archive,
        place=place,
        store=store,
        job=job,
        units=units,
        inputs={line.sha256: moving.input_key(place, uri, line.sha256) for uri, line in archive.inputs.items()},
        table=table,
        kept={uri: archive.inputs[uri].sha256 for uri in left},
        preview=_preview(archive, place, standing, units, left, products),
    )


def carry_out(plan: Plan, cluster: Cluster) -> Mapping[str, Any]:
    """Do what was decided.

    Returns:
        The job as it was created.

    Raises:
        NameTaken: Somebody else has created a job of that name meanwhile.
        OutOfReach: The bucket does not take it; what was written is removed again.
    """
    cluster.create(plan.job, dry_run=True)
    writing = _Writing(plan)
    try:
        writing.write()
        return _create(plan, cluster)
    except Lost:
        raise
    except BaseException as error:
        left = writing.undo()
        if isinstance(error, StoreError):
            raise OutOfReach(f"the bucket does not take it: {error}{left}") from error
        if left:
            error.add_note(left.removeprefix("; "))
        raise


class Lost(OutOfReach):
    """Nobody knows whether the job was created."""


def _create(plan: Plan, cluster: Cluster) -> Mapping[str, Any]:
    try:
        return cluster.create(plan.job, dry_run=False)
    except Exception as error:
        # The answer may have been lost, and not the request.
        mark = plan.job["metadata"]["annotations"][ANNOTATION_IMPORT]
        try:
            found = cluster.find(plan.place.namespace, plan.place.name)
        except Exception:
            raise Lost(
                f"nobody knows whether {plan.place.name} was created: {error}; look for it, and import it again if it is"
                " not there: what is in the bucket already is not sent again"
            ) from error
        if found is not None and (found["metadata"].get("annotations") or {}).get(ANNOTATION_IMPORT) == mark:
            return found
        raise


def taken(place: Place, cluster: Cluster) -> NameTaken:
    """What is said of a name that a job has, with one that is free."""
    free = next(
        (
            name
            for number in range(2, _NAMES_TRIED)
            if cluster.find(place.namespace, name := f"{place.name[: JOB_NAME_LONGEST - 3].rstrip('-.')}-{number}")
            is None
        ),
        "",
    )
    hint = f", such as {free}" if free else ""
    return NameTaken(
        f"there is a job {place.name} in namespace {place.namespace} already: give this one another name{hint}", free
    )


class _Writing:
    """What is put into the bucket, and what of it is new."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._store = plan.store
        self._reader = plan.archive.reader
        self._lock = threading.Lock()
        self._new: list[str] = []
        self._present: dict[str, int] = {}

    def write(self) -> None:
        """Put everything there that is not.

        Raises:
            StoreError: The bucket does not take it.
        """
        self._present = {info.key: info.size for info in self._store.list(self._plan.place.prefix)}
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="import") as writers:
            tasks = self._tasks()
            while batch := list(islice(tasks, _BATCH)):
                for done in writers.map(lambda task: task(), batch):
                    del done
        if self._plan.table is not None:
            key, content = self._plan.table
            self._put(key, content, "application/jsonl")
        if self._plan.kept:
            self._keep_digests()

    def undo(self) -> str:
        """Remove what is new; what is to be said where that fails."""
        try:
            for key in self._new:
                self._store.delete(key)
        except StoreError as error:
            where = f"{self._store.uri}/{self._plan.place.prefix}"
            return f"; what was written below {where} could not be removed: {error}"
        return ""

    def _tasks(self) -> Iterator[Callable[[], None]]:
        """What is to be written: single files, and units as a whole."""

        def unit(member: Member) -> str:
            found = members.unit_member(member.name)
            return found.unit if found is not None else ""

        for folder, group in groupby(self._reader.members(), key=unit):
            if folder in self._plan.units:
                yield partial(self._unit, self._plan.units[folder], list(group))
            elif not folder:
                for member in group:
                    digest, pin = members.file_digest(member.name), members.pin_name(member.name)
                    if digest is not None:
                        yield partial(self._put_member, self._plan.inputs[digest], member, _OCTETS)
                    elif pin is not None:
                        prefix = layout.models_prefix(self._plan.place.namespace, self._plan.place.name)
                        yield partial(self._put_member, prefix + pin, member, JSON_TYPE)

    def _unit(self, prefix: str, group: list[Member]) -> None:
        """A unit: all it has, and at last done.json; none of it where there is one already."""
        if prefix + layout.DONE in self._present:
            return
        parts = {found.name: (found, member) for member in group if (found := members.unit_member(member.name))}
        types: dict[str, str] = {}
        if layout.DONE in parts:
            content = self._reader.document(parts[layout.DONE][1], members.DONE_LARGEST)
            types = {each.key: each.content_type for each in Done.model_validate_json(content).artifacts}
        for name, (found, member) in parts.items():
            if found.kind is not Kind.DONE:
                self._put_member(prefix + name, member, types.get(name) or _TYPES.get(found.kind, _OCTETS))
        if layout.DONE in parts:
            self._put(prefix + layout.DONE, content, JSON_TYPE)

    def _put_member(self, key: str, member: Member, content_type: str) -> None:
        part = self._reader.part(member)
        body = part if part is not None else self._reader.document(member, members.DONE_LARGEST)
        self._put(key, body, content_type)

    def _put(self, key: str, body: bytes | Slice, content_type: str) -> None:
        size = body.size if isinstance(body, Slice) else len(body)
        if self._present.get(key) == size:
            return
        if key not in self._present:
            with self._lock:
                self._new.append(key)
        self._store.put(key, body, content_type=content_type)

    def _keep_digests(self) -> None:
        """Write down what files hold that stay where they are, in case they can't be had where the job goes."""
        key = layout.files_key(self._plan.place.namespace, self._plan.place.name)
        known = {uri: ["", sha256] for uri, sha256 in self._plan.kept.items()}
        if key not in self._present:
            self._new.append(key)
        self._store.put(key, json.dumps(known).encode(), content_type=JSON_TYPE)


def _table(archive: Archive, place: Place, uris: Mapping[str, str], *, texts: bool) -> tuple[str, bytes] | None:
    """Key and content of the items, where they come from data."""
    if archive.spec.items.from_ is None:
        return None
    rows = [(item, moving.with_uris(params, uris, texts=texts)) for item, params in archive.rows]
    content = moving.table(rows)
    return moving.items_key(place, hashlib.sha256(content).hexdigest()), content


def _left(place: Place, spec: JobSpec, resolved: ResolvedJob, archive: Archive) -> list[str]:
    """Files that the job still looks for where they were."""
    rows = list(zip(resolved.ids, resolved.params, strict=True)) if spec.items.from_ is not None else None
    here = place.uri(layout.inputs_prefix(place.namespace, place.name))
    named = file_uris(place.namespace, place.name, spec, rows)
    return sorted(uri for uri in named if uri in archive.inputs and not uri.startswith(here))


def _same(one: ResolvedJob, other: ResolvedJob) -> bool:
    """Whether two jobs make the same units."""
    return all(
        a.fingerprints == b.fingerprints and [each.close({}) for each in a.open] == [each.close({}) for each in b.open]
        for a, b in zip(one.stages, other.stages, strict=True)
    )


def _standing(store: Store, resolved: ResolvedJob, archive: Archive) -> Standing:
    """The job, with what the archive brings and what lies there already, from an earlier job of its name."""
    there = look(store, resolved)
    known = {facts.fingerprint: facts.unit for facts in there.done.values()}
    known |= {fingerprint: DoneUnit(outcome) for fingerprint, outcome in archive.done.values()}
    return stand(resolved, known)


def _units(standing: Standing, archive: Archive) -> dict[str, str]:
    """Units of the archive that are units of the job too, with their prefixes in its bucket."""
    made: dict[str, str] = {}
    for unit in standing.job.units():
        if not unit.fingerprint:
            continue
        prefix = standing.job.prefix(unit)
        folder = "/".join(prefix.rstrip("/").rsplit("/", 3)[1:])
        finished = archive.done.get(folder, ("", Outcome.GENERATED))[0] == unit.fingerprint
        if finished or (folder in archive.kept and (unit.stage, unit.item) not in standing.outcomes):
            made[folder] = prefix
    return made


def _check_pins(archive: Archive, place: Place, store: Store) -> None:
    """Make sure that branches of models stand for the same commits, where an earlier job of that name has left any."""
    prefix = layout.models_prefix(place.namespace, place.name)
    there = {info.key.removeprefix(prefix) for info in store.list(prefix)}
    for member in archive.reader.members() if there else ():
        pin = members.pin_name(member.name)
        if pin not in there:
            continue
        ours = json.loads(archive.reader.document(member, members.PIN_LARGEST))
        try:
            theirs = json.loads(store.get(prefix + pin, max_bytes=members.PIN_LARGEST))
        except ValueError:
            theirs = {}
        if not isinstance(theirs, dict) or theirs.get("commit") != ours["commit"]:
            raise NotPossible(
                f"{store.uri}/{place.prefix} is of an earlier job of that name, for which model {ours['model']} is another"
                " commit: give this one another name"
            )


def _preview(
    archive: Archive,
    place: Place,
    standing: Standing,
    units: Mapping[str, str],
    left: Collection[str],
    products: Collection[str] | None,
) -> Preview:
    notes = list(moving.left_behind(archive.job, place))
    lost = len(archive.done) - sum(folder in units for folder in archive.done)
    if lost:
        notes.append(
            f"{lost} finished units are made again, because templates name the job or its namespace: import it as"
            f" {archive.resolved.name} into {archive.resolved.namespace} to keep them"
        )
    if left:
        notes.append(
            f"{len(left)} files are named by templates and stay where they are, such as {min(left)}: units that are still"
            " to be made of them must be able to read them there"
        )
    kept = [folder for folder in archive.kept if folder in units]
    stages = []
    for stage in standing.job.stages:
        done = sum(key in standing.outcomes for key in stage.keys)
        stages.append(StageSummary(name=stage.name, total=len(stage.units), done=done))
    return preview(
        archive.manifest,
        archive.job,
        name=place.name,
        namespace=place.namespace,
        stages=stages,
        half=[each for each in archive.manifest.half_done if each.unit in units and each.unit in archive.kept],
        half_total=len(kept),
        notes=notes,
        products=products,
    )
