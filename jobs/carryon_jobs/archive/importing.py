"""From an archive that was checked to a job in another place.

Everything is decided before anything is written, and a dry run asks the API server about the job. Then come files,
artifacts and journals, of each unit its done.json last, and at the end the job itself: whoever is killed before that
has left objects that no job counts, and the same import done again finds them and goes on.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pydantic import ValidationError

from carryon_core import layout
from carryon_core.done import Outcome
from carryon_core.errors import SpecError
from carryon_core.resolve import ResolvedJob, file_uris, resolve
from carryon_core.spec import JOB_NAME_LONGEST, JobSpec
from carryon_core.standing import DoneUnit, Standing, stand
from carryon_jobs.archive import members, moving
from carryon_jobs.archive.checking import Archive
from carryon_jobs.archive.claiming import Claim
from carryon_jobs.archive.documents import Object
from carryon_jobs.archive.errors import BadArchive, NameTaken, Unanswered
from carryon_jobs.archive.holdings import Holdings, look
from carryon_jobs.archive.members import StageSummary
from carryon_jobs.archive.moving import ANNOTATION_IMPORT, Place
from carryon_jobs.archive.placing import Contents, Placing
from carryon_jobs.archive.previewing import Preview, preview
from carryon_jobs.errors import BadRequest, NotPossible, OutOfReach
from carryon_store import Store, StoreError

_NAME: Final = re.compile("[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_NAMES_TRIED: Final = 100


class Cluster(Protocol):
    """What an import asks of an API server. Blocking."""

    def find(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The job of that name, None if there is none.

        Raises:
            Unanswered: The API server does not answer.
        """
        ...

    def create(self, job: Object, *, dry_run: bool) -> Mapping[str, Any]:
        """Create a job, or only ask whether it would be taken.

        Raises:
            NameTaken: There is one of that name.
            Unanswered: Nobody knows what came of it.
        """
        ...


@dataclass(frozen=True)
class Plan:
    """An import that was decided upon.

    Attributes:
        job: The job as it will be created.
        contents: What goes into the bucket.
    """

    archive: Archive = field(repr=False)
    place: Place
    store: Store = field(repr=False)
    job: Object = field(repr=False)
    contents: Contents = field(repr=False)
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
        BadRequest: No job can be called so, or its bucket's uri is too long for what has to lie there.
        OutOfReach: The bucket can't be looked at.
    """
    if len(place.name) > JOB_NAME_LONGEST or not _NAME.fullmatch(place.name):
        raise BadRequest(
            f"{place.name[:80]!a} is no name for a job: give it one of at most {JOB_NAME_LONGEST} lower-case letters,"
            " digits and dashes"
        )
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
        try:
            spec = JobSpec.model_validate(job["spec"])
        except ValidationError as error:
            raise BadRequest(f"{members.JOB} does not hold here: {error.errors()[0]['msg']}") from None
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
        there = look(store, resolved)
        _check_pins(archive, place, store)
    except StoreError as error:
        raise OutOfReach(f"the bucket can't be looked at: {error}") from None
    standing = _standing(resolved, archive, there)
    units = _units(standing, archive)
    return Plan(
        archive=archive,
        place=place,
        store=store,
        job=job,
        contents=Contents(
            units=units,
            done=frozenset(there.done),
            inputs=_inputs(archive, place),
            table=table,
            kept={uri: archive.inputs[uri].sha256 for uri in left},
        ),
        preview=_preview(archive, place, standing, units, left, products),
    )


def carry_out(plan: Plan, cluster: Cluster) -> Mapping[str, Any]:
    """Do what was decided, unless another import is at the same place.

    Returns:
        The job as it was created.

    Raises:
        NameTaken: Somebody else has created a job of that name meanwhile.
        NotPossible: Another import into this place is at work.
        OutOfReach: The bucket does not take it; what was written is removed again, unless a job has the name by now.
    """
    cluster.create(plan.job, dry_run=True)
    try:
        with Claim(plan.store, plan.place) as claim:
            return _carry_out(plan, cluster, claim)
    except StoreError as error:
        raise OutOfReach(f"the bucket does not take it: {error}") from error


def _carry_out(plan: Plan, cluster: Cluster, claim: Claim) -> Mapping[str, Any]:
    place = plan.place
    if cluster.find(place.namespace, place.name) is not None:
        # The import that was at it before has made it.
        raise taken(place, cluster)
    placing = Placing(plan.archive.reader, plan.contents, place, plan.store)
    try:
        placing.write()
        return _create(plan, cluster)
    except Unanswered:
        raise
    except BaseException as error:
        left = placing.undo(lambda: claim.holds() and cluster.find(place.namespace, place.name) is None)
        if isinstance(error, StoreError):
            raise OutOfReach(f"the bucket does not take it: {error}{left}") from error
        if left:
            error.add_note(left.removeprefix("; "))
        raise


def _create(plan: Plan, cluster: Cluster) -> Mapping[str, Any]:
    name = plan.place.name
    try:
        return cluster.create(plan.job, dry_run=False)
    except (Unanswered, NameTaken) as error:
        # The answer may have been lost, and not the request: to a second one a server says that the name is taken.
        try:
            found = cluster.find(plan.place.namespace, name)
        except Unanswered:
            raise Unanswered(
                f"nobody knows whether {name} was created: {error}; look for it, and import it again if it is not"
                " there: what is in the bucket already is not sent again"
            ) from error
        mark = plan.job["metadata"]["annotations"][ANNOTATION_IMPORT]
        if found is not None and (found["metadata"].get("annotations") or {}).get(ANNOTATION_IMPORT) == mark:
            return found
        if isinstance(error, NameTaken):
            raise
        raise OutOfReach(f"{name} could not be created: {error}") from error


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


def _table(archive: Archive, place: Place, uris: Mapping[str, str], *, texts: bool) -> tuple[str, bytes] | None:
    """Key and content of the items, where they come from data."""
    if archive.spec.items.from_ is None:
        return None
    rows = [(item, moving.with_uris(params, uris, texts=texts)) for item, params in archive.rows]
    content = moving.table(rows)
    return moving.items_key(place, hashlib.sha256(content).hexdigest()), content


def _inputs(archive: Archive, place: Place) -> dict[str, tuple[str, ...]]:
    """SHA-256 of each file -> the keys that it gets: one content may have had several names."""
    made: dict[str, set[str]] = {}
    for uri, line in archive.inputs.items():
        made.setdefault(line.sha256, set()).add(moving.input_key(place, uri, line.sha256))
    return {digest: tuple(sorted(keys)) for digest, keys in made.items()}


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


def _standing(resolved: ResolvedJob, archive: Archive, there: Holdings) -> Standing:
    """The job, with what the archive brings and what lies there already, from an earlier job of its name."""
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
                f"{store.uri}/{place.prefix} is of an earlier job of that name, for which model {ours['model']} is"
                " another commit: give this one another name"
            )


def _preview(
    archive: Archive,
    place: Place,
    standing: Standing,
    units: Mapping[str, str],
    left: Collection[str],
    products: Collection[str] | None,
) -> Preview:
    notes = [
        *moving.left_behind(archive.job, archive.manifest.left_out, place),
        *moving.begun_by(archive.images),
    ]
    lost = len(archive.done) - sum(folder in units for folder in archive.done)
    if lost:
        notes.append(
            f"{lost} finished units are made again, because templates name the job or its namespace: import it as"
            f" {archive.resolved.name} into {archive.resolved.namespace} to keep them"
        )
    if left:
        notes.append(
            f"{len(left)} files are named by templates and stay where they are, such as {min(left)}: units that are"
            " still to be made of them must be able to read them there"
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
        half=[
            each
            for each in archive.manifest.half_done
            if each.unit in units
            and each.unit in archive.kept
            and each.unit.startswith(f"{each.stage}/{layout.encode_id(each.item)}/")
        ],
        half_total=len(kept),
        notes=notes,
        products=products,
    )
