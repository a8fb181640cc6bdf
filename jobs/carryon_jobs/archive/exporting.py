"""From a job and its bucket to an archive, as a stream: nothing of it is held but what `writing` has to remember.

The bucket is looked at first, so that whatever is wrong is said before the first byte. What the operator or a worker
removes while the archive is written (a journal, once its unit is done) is left out; anything else that goes missing
ends the stream in the middle, and an archive without its end is refused by whoever reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain, groupby, islice
from typing import Final

from carryon_core import layout
from carryon_core.done import Done
from carryon_core.resolved import ResolvedJob
from carryon_jobs.acting import now
from carryon_jobs.archive import holdings, members
from carryon_jobs.archive.documents import LEFT_OUT, job_document
from carryon_jobs.archive.errors import BadArchive
from carryon_jobs.archive.holdings import Holdings
from carryon_jobs.archive.members import HalfDone, InputLine, Kind, Manifest, Origin, StageSummary
from carryon_jobs.archive.writing import ZipWriter
from carryon_jobs.errors import NotPossible, OutOfReach
from carryon_jobs.job import READERS, Job
from carryon_store import NotFound, ObjectInfo, Store, StoreError

_KEPT: Final = (Kind.FIELDS, Kind.SEGMENT, Kind.SNAPSHOT)


class Broken(OutOfReach):
    """An archive that was begun can't be ended."""


@dataclass(frozen=True)
class Export:
    """An archive that is about to be written.

    Attributes:
        manifest: What its first member says.
        warnings: What whoever asked should know: sentences.
    """

    job: Job
    store: Store = field(repr=False)
    holdings: Holdings = field(repr=False)
    manifest: Manifest
    inputs: Mapping[str, InputLine] = field(repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """What to call it."""
        return self.job.view.name + members.SUFFIX

    def stream(self) -> Iterator[bytes]:
        """The archive, piece by piece.

        Raises:
            Broken: The bucket does not give what it has shown, or something in it is damaged.
        """
        try:
            yield from self._stream(ZipWriter())
        except (StoreError, ValueError) as error:
            raise Broken(f"the archive of {self.job.view.name} breaks off: {error}") from error

    def _stream(self, zipped: ZipWriter) -> Iterator[bytes]:
        manifest = self.manifest.model_dump_json(by_alias=True, indent=2).encode() + b"\n"
        yield from zipped.document(members.MANIFEST, manifest)
        yield from zipped.document(members.JOB, job_document(self.job.raw))
        by_digest = {line.sha256: line for line in self.inputs.values()}
        for digest in sorted(by_digest):
            line = by_digest[digest]
            store, key = self.job.place(line.uri)
            info = store.head(key)
            yield from zipped.stream(members.FILES + digest, info.size, store.read(info), digest)
        lines = [self.inputs[uri].model_dump_json(by_alias=True) + "\n" for uri in sorted(self.inputs)]
        yield from zipped.document(members.INPUTS, "".join(lines).encode())
        resolved = self.holdings.standing.job
        yield from zipped.document(members.ITEMS, resolved.items.encode())
        yield from self._pins(zipped, resolved)
        for name in sorted(f"{stage.name}/" for stage in resolved.stages):
            yield from self._stage(zipped, layout.job_prefix(resolved.namespace, resolved.name), name)
        yield from zipped.contents(members.CONTENTS)
        yield from zipped.end()

    def _pins(self, zipped: ZipWriter, resolved: ResolvedJob) -> Iterator[bytes]:
        prefix = layout.models_prefix(resolved.namespace, resolved.name)
        for info in self.store.list(prefix):
            name = members.PINS + info.key.removeprefix(prefix)
            if members.pin_name(name) is not None:
                yield from zipped.document(name, self.store.get(info.key, max_bytes=members.PIN_LARGEST))

    def _stage(self, zipped: ZipWriter, prefix: str, stage: str) -> Iterator[bytes]:
        """Units of a stage, in the order of a listing, which is that of an archive."""

        def unit(info: ObjectInfo) -> str:
            return "/".join(info.key.removeprefix(prefix).split("/", 3)[:3])

        for folder, group in groupby(self.store.list(prefix + stage), key=unit):
            at = f"{prefix}{folder}/"
            if at in self.holdings.done and self.manifest.artifacts:
                yield from self._done(zipped, at, members.UNITS + folder, list(group))
            elif at in self.holdings.left and self.manifest.checkpoints:
                yield from self._kept(zipped, at, members.UNITS + folder, group)

    def _done(self, zipped: ZipWriter, at: str, folder: str, objects: list[ObjectInfo]) -> Iterator[bytes]:
        try:
            content = self.store.get(at + layout.DONE, max_bytes=members.DONE_LARGEST)
        except NotFound:
            return  # Discarded meanwhile: it is not done any more.
        digests = {each.key: each.sha256 for each in Done.model_validate_json(content).artifacts}
        if gone := digests.keys() - {info.key.removeprefix(at) for info in objects}:
            raise StoreError(
                f"{self.store.uri}/{at}{min(gone)} is gone, although its unit is done: resume the job first"
            )
        for info in objects:
            name = info.key.removeprefix(at)
            if name == layout.DONE:
                yield from zipped.document(f"{folder}/{name}", content)
            elif name in digests:
                yield from zipped.stream(f"{folder}/{name}", info.size, self.store.read(info), digests[name])

    def _kept(self, zipped: ZipWriter, at: str, folder: str, objects: Iterator[ObjectInfo]) -> Iterator[bytes]:
        for info in objects:
            name = f"{folder}/{info.key.removeprefix(at)}"
            if not _is_kept(name):
                continue
            pieces = self.store.read(info)
            try:
                first = next(pieces, b"")
            except NotFound:
                continue  # The unit was finished meanwhile.
            yield from zipped.stream(name, info.size, chain([first], pieces))


def prepare(job: Job, *, artifacts: bool = True, checkpoints: bool = True) -> Export:
    """Look at all that an archive of a job would hold.

    Args:
        job: The job.
        artifacts: Take finished units along.
        checkpoints: Take along what is kept of half-done ones.

    Raises:
        JobError: The job has no bucket yet, can't be resolved, or its bucket can't be read.
    """
    store = job.store
    if store is None:
        raise NotPossible(f"{job.view.name} has no bucket yet: see `carryon describe {job.view.name}`")
    resolved = job.resolved()
    try:
        found = holdings.look(store, resolved)
        return Export(
            job=job,
            store=store,
            holdings=found,
            manifest=_manifest(job, store, found, artifacts=artifacts, checkpoints=checkpoints),
            inputs=_inputs(job, resolved),
            warnings=tuple(_warnings(job, found)),
        )
    except StoreError as error:
        raise OutOfReach(f"the bucket of {job.view.name} can't be read: {error}") from None


def _manifest(job: Job, store: Store, found: Holdings, *, artifacts: bool, checkpoints: bool) -> Manifest:
    resolved = found.standing.job
    counts = [
        sum(resolved.prefix(unit) in found.done for unit in stage.units if unit.fingerprint)
        for stage in resolved.stages
    ]
    half: list[HalfDone] = []
    if checkpoints:
        prefix = layout.job_prefix(resolved.namespace, resolved.name)
        open_ = [
            (at, resolved.stages[unit.stage].name, resolved.item_id(unit.stage, unit.item))
            for at, unit in found.units()
            if at in found.left
        ]
        with ThreadPoolExecutor(READERS, thread_name_prefix="journals") as readers:
            half = list(
                readers.map(
                    lambda each: holdings.half_done(store, each[0], prefix, each[1], each[2]),
                    islice(open_, members.HALF_DONE_SHOWN),
                )
            )
    return Manifest(
        format="carryon-archive",
        version=members.VERSION,
        created=now(),
        origin=Origin(
            namespace=resolved.namespace,
            name=resolved.name,
            uid=str(job.raw["metadata"].get("uid", "")),
            carryon=version("carryon"),
        ),
        phase=job.view.phase,
        artifacts=artifacts,
        checkpoints=checkpoints,
        items=len(resolved.ids),
        stages=[
            StageSummary(name=stage.name, total=len(stage.units), done=count if artifacts else 0)
            for stage, count in zip(resolved.stages, counts, strict=True)
        ],
        half_done=half,
        half_done_total=len(found.left) if checkpoints else 0,
        left_out=[name for name in LEFT_OUT if job.raw["spec"].get(name)],
    )


def _inputs(job: Job, resolved: ResolvedJob) -> dict[str, InputLine]:
    """Uri -> file, of those that are there."""

    def line(uri: str, digest: str) -> InputLine:
        store, key = job.place(uri)
        return InputLine(uri=uri, sha256=digest, size=store.head(key).size)

    there = [(uri, digest) for uri, digest in resolved.digests.items() if digest is not None]
    with ThreadPoolExecutor(READERS, thread_name_prefix="inputs") as readers:
        return {made.uri: made for made in readers.map(lambda each: line(*each), there)}


def _warnings(job: Job, found: Holdings) -> Iterator[str]:
    known = job.status.units.succeeded if job.view.observed else 0
    gone = known - len(found.standing.outcomes)
    if gone > 0 and not found.done and found.standing.job.total:
        raise OutOfReach(
            f"status says that {known} units of {job.view.name} are done, but {job.store.uri if job.store else 'its'}"
            " bucket, as it is seen from here, holds none of them: export it where the bucket can be reached"
        )
    if gone > 0:
        yield f"{gone} units that status calls done are not in the bucket any more, so they are not in the archive"
    if job.view.active:
        yield (
            f"{job.view.active} units are at work: what they make from now on is not in the archive; for all of it,"
            f" pause {job.view.name} first"
        )


def _is_kept(name: str) -> bool:
    try:
        member = members.unit_member(name)
    except BadArchive:
        return False
    return member is not None and member.kind in _KEPT
