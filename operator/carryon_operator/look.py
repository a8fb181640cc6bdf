"""One look at all that a job is made from and has made: its items' source, its files, its bucket.

Blocking: it runs in a thread of `Looks`, one at a time for each job.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from carryon_core import layout, names
from carryon_core.errors import SpecError
from carryon_core.messages import StoreConfig
from carryon_core.resolve import ResolvedJob, file_uris, items_digest, items_text, parse_items, resolve
from carryon_core.rows import parse_rows
from carryon_core.spec import JobSpec
from carryon_jobs.destinations import data_place
from carryon_operator.bucket import BucketMemory, lost, made_units
from carryon_operator.config import Config
from carryon_operator.files import FileMemory
from carryon_operator.items import INVALID, REFUSALS, Following, ObjectSource, Source, SourceError, unconfirmed
from carryon_operator.plan.model import Observation
from carryon_store import Credentials, NotFound, Store, Stores
from carryon_store.records import get_items, put_items

Former: TypeAlias = tuple[tuple[str, Mapping[str, Any]], ...] | None
"""Items that status refers to, where they are others than today's."""
_Rows: TypeAlias = Sequence[tuple[str, Mapping[str, Any]]]

_SOURCE: Final = "spec.items.from.uri"


@dataclass(frozen=True, slots=True)
class Access:
    """How a job's buckets are opened.

    Attributes:
        config: Where its own store is.
        keys: From its Secret, None for what the environment offers.
        store: Its own, opened.
    """

    config: StoreConfig
    keys: Credentials | None
    store: Store


@dataclass
class Known:
    """What looks found out about a job; written by the look that runs and nobody else.

    Attributes:
        generation: That `resolved` is of.
        refused: Generation that `problem` is of.
        problem: Why the job can't be resolved, reason and message.
        items_stored: Digest of the items that lie in the bucket for certain.
        resting: The job is over, and `resolved` holds nothing but the digest of its items.
        lost: What the last late look at an ended job's bucket missed, None before the first.
        late_at: When that look was, or when the job was first seen to be over; on a monotonic clock.
    """

    generation: int = -1
    resolved: ResolvedJob | None = None
    refused: int = -1
    problem: tuple[str, str] | None = None
    following: Following = field(default_factory=Following)
    files: FileMemory = field(default_factory=FileMemory)
    bucket: BucketMemory = field(default_factory=BucketMemory)
    items_stored: str = ""
    resting: bool = False
    lost: int | None = None
    late_at: float = 0.0

    def current(self, generation: int) -> ResolvedJob | None:
        """The job as this generation has it, None if that is still to be found out."""
        return self.resolved if self.generation == generation else None

    def hopeless(self, generation: int) -> tuple[str, str] | None:
        """Why this generation can't be resolved, as far as that is known."""
        return self.problem if self.refused == generation else None

    def take(self, resolved: ResolvedJob, generation: int) -> None:
        """The job is now this one."""
        self.resolved, self.generation, self.problem, self.resting = resolved, generation, None, False
        self.bucket.note_edit()

    def refuse(self, error: SpecError, generation: int) -> SpecError:
        """Remember why a generation can't be resolved."""
        self.problem, self.refused = (error.reason, error.message), generation
        return error


class Looker:
    """Looks at everything that one job is about."""

    def __init__(
        self,
        config: Config,
        stores: Stores,
        monotonic: Callable[[], float],
        looked: Callable[[str, float], None],
    ) -> None:
        """Prepare.

        Args:
            config: Of this operator.
            stores: To open further buckets with.
            monotonic: Seconds.
            looked: Told what each look took, and which it was: sweep, settle or late.
        """
        self._looked = looked
        self._config = config
        self._stores = stores
        self._monotonic = monotonic

    def is_settled(self, seen: Observation, known: Known, source: Source | None) -> bool:
        """Whether a look would find nothing to read: what is known is all there is to know. Does not block."""
        resolved = known.current(seen.generation)
        if seen.spec is None or resolved is None or known.items_stored != resolved.items_digest:
            return False
        follows = seen.spec.items.from_ is not None and (
            source is not None or known.following.due(self._monotonic(), self._config.items_interval, asked(seen))
        )
        same = seen.status.items.digest in ("", resolved.items_digest)
        return same and not follows and not known.bucket.unsettled and not self._sweep_due(seen, known.bucket)

    def look(self, seen: Observation, known: Known, access: Access, source: Source | None, *, sweep: bool) -> Former:
        """Find out what the job wants and what of it is done.

        Args:
            seen: The job without what is found out here.
            known: What earlier looks found out; brought up to date.
            access: To its buckets.
            source: Of its items, where that is no object in a bucket; None there: it is not to be looked at.
            sweep: Look at the whole bucket, whatever is known.

        Raises:
            SpecError: Something is wrong that the schema could not see.
            StoreError: A bucket gives no verdict.
        """
        assert seen.spec is not None
        if seen.spec.items.from_ is not None:
            self._follow(seen, seen.spec, known, access, source)
        elif known.current(seen.generation) is None:
            self._resolve_spec(seen, seen.spec, known, access)
        bucket, store = known.bucket, access.store
        if sweep or self._sweep_due(seen, bucket):
            resolved = self._with_files(seen, seen.spec, known, access)
            before = datetime.fromtimestamp(seen.now - self._config.journal_grace, UTC)
            with self._timed("sweep"):
                bucket.sweep(store, resolved, self._monotonic(), before)
        else:
            assert known.resolved is not None
            resolved = known.resolved
            if bucket.unsettled:
                with self._timed("settle"):
                    bucket.settle(store, resolved)
        if known.items_stored != resolved.items_digest:
            put_items(store, resolved.namespace, resolved.name, resolved.items)
            known.items_stored = resolved.items_digest
        if seen.status.items.digest in ("", resolved.items_digest):
            return None
        return self._own_copy(seen, access) or ()

    def look_late(
        self, seen: Observation, known: Known, access: Access, source: Source | None, *, late: bool
    ) -> Former:
        """Look at a job that is over: whether its source has other items, and whether what it made is still there.

        Args:
            seen: The job without what is found out here.
            known: Resting; the items of the source where they are others.
            access: To its buckets.
            source: See `look`.
            late: Look into the bucket.

        Raises:
            SpecError, StoreError: As `look`.
        """
        assert seen.spec is not None
        if seen.spec.items.from_ is not None:
            self._follow(seen, seen.spec, known, access, source)
        assert known.resolved is not None
        if known.resolved.items_digest != seen.status.items.digest:
            return self.look(seen, known, access, source, sweep=True)
        if late:
            with self._timed("late"):
                known.lost = self._lost(seen, seen.spec, access)
            known.late_at = self._monotonic()
        return None

    @contextmanager
    def _timed(self, look: str) -> Iterator[None]:
        began = self._monotonic()
        try:
            yield
        finally:
            self._looked(look, self._monotonic() - began)

    def _resolve_spec(self, seen: Observation, spec: JobSpec, known: Known, access: Access) -> None:
        """Resolve a job whose items stand in its spec."""
        if (problem := known.hopeless(seen.generation)) is not None:
            raise SpecError(*problem)
        try:
            known.take(self._resolved(seen, spec, known.files, access, None), seen.generation)
        except SpecError as error:
            raise known.refuse(error, seen.generation) from None

    def _follow(self, seen: Observation, spec: JobSpec, known: Known, access: Access, source: Source | None) -> None:
        """Bring the items up to date with their source, or find out why that is not to be."""
        following, now = known.following, self._monotonic()
        current = known.current(seen.generation)
        problem = known.hopeless(seen.generation)
        read = spec.items.from_ is not None and (source is not None or spec.items.from_.uri is not None)
        if not read or not following.due(now, self._config.items_interval, asked(seen)):
            if current is not None:
                return
            if problem is not None:
                raise SpecError(*problem)
        following.note(now, asked(seen))
        try:
            self._read(seen, spec, known, access, source)
        except SpecError as error:
            raise known.refuse(error, seen.generation) from None
        except BaseException:
            following.checked_at = None
            raise

    def _read(self, seen: Observation, spec: JobSpec, known: Known, access: Access, source: Source | None) -> None:
        assert spec.items.from_ is not None
        following, current = known.following, known.current(seen.generation)
        version: str | None = None
        error: SpecError | None = None
        try:
            source = source or self._source(seen, spec, access)
            version = source.version()
            if version == following.version and current is not None:
                following.stale = following.refused = None
                return
            if version == following.refused:
                if current is not None:
                    return
                if (problem := known.hopeless(seen.generation)) is not None:
                    raise SpecError(*problem)
            rows = parse_rows(source.read(), spec.items.from_)
            digest = items_digest(items_text(rows))
            stale = self._unconfirmed(seen, current, rows, digest, access)
            if stale is None:
                # What says the same in other words, as a table that is exported every minute, is not resolved again.
                if current is None or digest != current.items_digest:
                    known.take(self._resolved(seen, spec, known.files, access, rows), seen.generation)
                following.version, following.refused, following.stale = version, None, None
                return
        except SourceError as failure:
            stale = (failure.reason, failure.message)
            error = SpecError(REFUSALS[failure.reason], failure.message)
        except SpecError as failure:
            stale = (INVALID, failure.message)
            error = failure
        if current is None:
            self._take_own_copy(seen, spec, known, access, error)
        following.refused, following.stale = version, stale

    def _unconfirmed(
        self, seen: Observation, current: ResolvedJob | None, rows: _Rows, digest: str, access: Access
    ) -> tuple[str, str] | None:
        """Why new items are not taken, None if they are."""
        if digest == (current.items_digest if current else seen.status.items.digest):
            return None
        present: Collection[str] = current.ids if current is not None else ()
        if not present:
            present = [item for item, _ in self._own_copy(seen, access) or ()]
        return unconfirmed(seen, present, [item for item, _ in rows], digest)

    def _take_own_copy(
        self, seen: Observation, spec: JobSpec, known: Known, access: Access, error: SpecError | None
    ) -> None:
        """Go on with the items that the job had, as the bucket has kept them.

        Raises:
            SpecError: There are none, or it is not the items that are wrong.
        """
        rows = self._own_copy(seen, access)
        if rows is None:
            raise error or SpecError(REFUSALS[INVALID], "the job has no copy of its items")
        try:
            resolved = self._resolved(seen, spec, known.files, access, rows)
        except SpecError as other:
            raise error or other from None
        known.take(resolved, seen.generation)
        edited = seen.status.observed_generation != seen.generation
        known.following.version = "" if edited else seen.status.items.source

    def _with_files(self, seen: Observation, spec: JobSpec, known: Known, access: Access) -> ResolvedJob:
        """The job with what its files hold now."""
        resolved = known.resolved
        assert resolved is not None
        # What was resolved just now was made from files that were looked at just now.
        if resolved.digests and known.bucket.swept_at is not None:
            uris = frozenset(resolved.digests)
            digests = known.files.digests(uris, self._place(seen, spec, access), access.store, _files_key(seen))
            if digests != resolved.digests:
                rows = parse_items(resolved.items) if spec.items.from_ is not None else None
                resolved = resolve(seen.namespace, seen.name, spec, rows, digests)
                known.take(resolved, seen.generation)
        return resolved

    def _resolved(
        self,
        seen: Observation,
        spec: JobSpec,
        files: FileMemory,
        access: Access,
        rows: _Rows | None,
        *,
        again: bool = True,
    ) -> ResolvedJob:
        uris = file_uris(seen.namespace, seen.name, spec, rows)
        place = self._place(seen, spec, access)
        digests = files.digests(uris, place, access.store, _files_key(seen), again=again)
        return resolve(seen.namespace, seen.name, spec, rows, digests)

    def _lost(self, seen: Observation, spec: JobSpec, access: Access) -> int | None:
        """How many of the units that status calls succeeded are gone; None if that can't be told."""
        rows = None
        if spec.items.from_ is not None:
            rows = self._own_copy(seen, access)
            if rows is None:
                # Without the items no unit can be looked for, but where nothing at all is left none has to be.
                left = any(access.store.list(layout.job_prefix(seen.namespace, seen.name)))
                return None if left else made_units(seen.status)
        # Files as they were when they were last looked at: those that changed since make nothing again by themselves.
        resolved = self._resolved(seen, spec, FileMemory(), access, rows, again=False)
        # Make sure that units which would be made from something else today are not taken for lost.
        if resolved.variant != seen.status.items.variant or resolved.items_digest != seen.status.items.digest:
            return None
        return lost(access.store, resolved, seen.status)

    def _own_copy(self, seen: Observation, access: Access) -> Former:
        """The items that status refers to, None if the bucket has not kept them."""
        digest = seen.status.items.digest
        if not digest:
            return None
        try:
            return parse_items(get_items(access.store, seen.namespace, seen.name, digest))
        except NotFound:
            return None

    def _place(self, seen: Observation, spec: JobSpec, access: Access) -> Callable[[str], tuple[Store, str]]:
        opened: dict[str, Store] = {}

        def place(uri: str) -> tuple[Store, str]:
            config, key = data_place("a file parameter", uri, seen.namespace, spec, access.config, self._config)
            if config.uri not in opened:
                opened[config.uri] = self._stores.open(config, access.keys)
            return opened[config.uri], key

        return place

    def _source(self, seen: Observation, spec: JobSpec, access: Access) -> Source:
        assert spec.items.from_ is not None
        uri = spec.items.from_.uri or ""
        config, key = data_place(_SOURCE, uri, seen.namespace, spec, access.config, self._config)
        return ObjectSource(self._stores.open(config, access.keys), key, spec.items.from_)

    def _sweep_due(self, seen: Observation, bucket: BucketMemory) -> bool:
        return (
            bucket.swept_at is None
            or seen.resume_request is not None
            or seen.retry_request is not None
            or self._monotonic() - bucket.swept_at >= self._config.verify_interval
        )


def asked(seen: Observation) -> tuple[str | None, ...]:
    """What a person may change to have the items' source looked at now."""
    return (str(seen.generation), seen.resume_request, seen.annotations.get(names.ANNOTATION_CONFIRM_ITEMS))


def _files_key(seen: Observation) -> str:
    return layout.files_key(seen.namespace, seen.name)
