"""What is known of one job's bucket between reconciles, and how it is looked at again."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from carryon_core import layout
from carryon_core.done import Outcome
from carryon_core.ranges import IndexSet
from carryon_core.resolve import ResolvedJob, ResolvedStage, Unit
from carryon_core.standing import DoneUnit, stand
from carryon_core.status import JobStatus
from carryon_operator.plan.made import made_of
from carryon_operator.plan.model import InvalidDone, Kept, PodRecord
from carryon_store import Store
from carryon_store.deleting import delete_each
from carryon_store.leftovers import Leftover
from carryon_store.records import Origin, get_origin
from carryon_store.units import discard
from carryon_store.verification import DoneCache, DoneFacts, Invalid, Verdict, Verification, look_at_unit, verify

_FEW = 16
"""Units looked at one by one; for more, listing their whole stage is cheaper."""
_READERS: Final = 8
"""Threads that read what journals say of themselves."""


class _Given(NamedTuple):
    """A unit as a pod was given it."""

    stage: str
    item: str
    fingerprint: str


@dataclass
class BucketMemory:
    """Verified knowledge about a job's units. What is not known to be true is looked at again, never assumed.

    Attributes:
        done: Fingerprint -> unit that verified.
        kept: Fingerprint -> what attempts have left of a unit that is not done.
        journals: Bytes of all journals, when the whole bucket was last looked at.
        garbage: Keys that were found then of what nobody goes on from any more.
        invalid: Fingerprint -> a done.json that did not.
        swept_at: When the whole bucket was last looked at, on a monotonic clock; None before the first time, and since
            the units changed.
        fresh: No pod ended since then.
        cache: Lets a sweep skip every done.json whose etag it has read before.
    """

    done: dict[str, DoneUnit] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    journals: int = 0
    garbage: tuple[str, ...] = ()
    invalid: dict[str, InvalidDone] = field(default_factory=dict)
    swept_at: float | None = None
    fresh: bool = False
    cache: DoneCache = field(default_factory=DoneCache)
    _origins: dict[str, Origin] = field(default_factory=dict)
    _former: dict[str, Origin] = field(default_factory=dict)
    _working: dict[str, tuple[_Given, ...]] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    _unsettled: set[_Given] = field(default_factory=set)

    def note_pods(self, pods: Iterable[PodRecord]) -> None:
        """Remember which pods are at work; the units of those that ended or vanished must be looked at again."""
        present = {pod.uid: pod for pod in pods}
        changed = [_given(pod) for uid, pod in present.items() if pod.terminal and uid not in self._ended]
        changed += [given for uid, given in self._working.items() if uid not in present]
        for given in changed:
            self._unsettled.update(given)
            self.fresh = False
        self._working = {uid: _given(pod) for uid, pod in present.items() if not pod.terminal}
        self._ended = {uid for uid, pod in present.items() if pod.terminal}

    @property
    def unsettled(self) -> bool:
        """Whether units of pods that ended are still to be looked at."""
        return bool(self._unsettled)

    def note_edit(self) -> None:
        """The job has other units now: what was known of those that are the same stays known."""
        self.swept_at, self.fresh = None, False

    def sweep(self, store: Store, resolved: ResolvedJob, now: float, before: datetime | None = None) -> None:
        """Look at everything: one listing per stage. Blocking.

        Args:
            store: The bucket.
            resolved: The job.
            now: On a monotonic clock.
            before: What nobody goes on from is garbage if it was not written to since then; None: nothing is.

        Raises:
            StoreError: The bucket gives no verdict; what was known of the stages not yet seen stays as it was.
        """
        journals, garbage = 0, list[str]()
        self._former, self._origins = self._origins, {}
        for stage in self._known(resolved):
            seen = self._sweep_stage(store, resolved, stage, before)
            journals += seen.journals
            garbage += seen.garbage
        self.journals, self.garbage = journals, tuple(garbage)
        wanted = {unit.fingerprint for unit in stand(resolved, self.done).job.units()}
        self.done = {fingerprint: unit for fingerprint, unit in self.done.items() if fingerprint in wanted}
        self.invalid = {fingerprint: bad for fingerprint, bad in self.invalid.items() if fingerprint in wanted}
        self.kept = {fingerprint: kept for fingerprint, kept in self.kept.items() if fingerprint in wanted}
        self.swept_at, self.fresh = now, True
        self._unsettled.clear()

    def settle(self, store: Store, resolved: ResolvedJob) -> None:
        """Look at the units of pods that ended, where they are still to be made as those pods were told. Blocking.

        Raises:
            StoreError: The bucket gives no verdict; the units stay unsettled.
        """
        stages = {given.stage for given in self._unsettled}
        for stage in self._known(resolved, stages):
            wanted = [
                stage.units[index]
                for given in self._unsettled
                if given.stage == stage.name
                and (index := resolved.item_index(stage.index, given.item)) is not None
                and stage.units[index].fingerprint == given.fingerprint
            ]
            if len(wanted) > _FEW:
                self._sweep_stage(store, resolved, stage)
                continue
            for unit in wanted:
                prefix = _prefix(resolved, stage, unit)
                verdict, left = look_at_unit(store, prefix, unit.fingerprint, self.cache)
                self._enter(unit, prefix, verdict)
                self._keep(store, [(unit, prefix, left if verdict is None else None)])
        self._unsettled.clear()

    def discard(self, store: Store, bad: InvalidDone) -> None:
        """Remove a done.json that did not verify. Blocking.

        Raises:
            StoreError: It could not be removed.
        """
        discard(store, bad.prefix, bad.etag)
        self.invalid.pop(bad.fingerprint, None)

    def collect(self, store: Store) -> int:
        """Delete the garbage that the last look found; how many objects. Blocking.

        Raises:
            StoreError: Something could not be deleted; the next look finds it again.
        """
        keys, self.garbage = self.garbage, ()

        def delete(key: str) -> int:
            store.delete(key)
            return 1

        return delete_each(delete, keys)

    def _known(self, resolved: ResolvedJob, names: Container[str] | None = None) -> Iterator[ResolvedStage]:
        """The stages, or those of these names, each once all upstream of it were looked at.

        Only then the units have their fingerprints that gather what is done, or come after such.
        """
        for stage in resolved.order:
            if names is None or stage.name in names:
                yield stand(resolved, self.done).job.stages[stage.index] if stage.open else stage

    def _sweep_stage(
        self, store: Store, resolved: ResolvedJob, stage: ResolvedStage, before: datetime | None = None
    ) -> Verification:
        by_prefix = {_prefix(resolved, stage, unit): unit for unit in stage.units if unit.fingerprint}
        prefix = layout.stage_prefix(resolved.namespace, resolved.name, stage.name)
        seen = verify(
            store,
            prefix,
            {at: unit.fingerprint for at, unit in by_prefix.items()},
            self.cache,
            before=before,
            spared={layout.encode_id(resolved.item_id(stage.index, u.item)) for u in stage.units if not u.fingerprint},
        )
        for at, unit in by_prefix.items():
            self._enter(unit, at, seen.done.get(at) or seen.invalid.get(at))
        self._keep(store, [(unit, at, seen.left.get(at)) for at, unit in by_prefix.items()])
        return seen

    def _keep(self, store: Store, looked: Iterable[tuple[Unit, str, Leftover | None]]) -> None:
        """Take down what attempts have left of units; of journals that are new to us, what they say of themselves."""
        found = []
        for unit, prefix, left in looked:
            if left is None:
                self.kept.pop(unit.fingerprint, None)
            else:
                found.append((unit.fingerprint, prefix, left))
        if found:
            with ThreadPoolExecutor(_READERS, thread_name_prefix="journals") as readers:
                kept = readers.map(lambda each: self._kept(store, each[1], each[2]), found)
                self.kept.update(zip((each[0] for each in found), kept, strict=True))

    def _kept(self, store: Store, prefix: str, left: Leftover) -> Kept:
        newest = left.newest.timestamp()
        if not left.worker:
            return Kept(newest)
        at = layout.journal_fields_key(prefix, left.worker)
        if at not in self._origins:
            self._origins[at] = self._former.get(at) or get_origin(store, at)
        origin = self._origins[at]
        return Kept(newest, journal=True, image=origin.image, device=origin.device)

    def _enter(self, unit: Unit, prefix: str, verdict: Verdict) -> None:
        self.done.pop(unit.fingerprint, None)
        self.invalid.pop(unit.fingerprint, None)
        match verdict:
            case DoneFacts(unit=made):
                self.done[unit.fingerprint] = made
            case Invalid(etag=etag, reason=reason):
                self.invalid[unit.fingerprint] = InvalidDone(unit.fingerprint, prefix, etag, reason)


def _given(pod: PodRecord) -> tuple[_Given, ...]:
    # An annotation that somebody shortened names fewer: those are found by the next sweep.
    return tuple(_Given(pod.stage, *each) for each in zip(pod.units, pod.fingerprints, strict=False))


def _prefix(resolved: ResolvedJob, stage: ResolvedStage, unit: Unit) -> str:
    item = resolved.item_id(stage.index, unit.item)
    return layout.unit_prefix(resolved.namespace, resolved.name, stage.name, item, unit.fingerprint)


def made_units(status: JobStatus) -> int:
    """Units that status says something was made of."""
    return sum(len(made_of(stage)) for stage in status.stages)


def lost(store: Store, resolved: ResolvedJob, status: JobStatus) -> int:
    """How many units that status calls succeeded are not done any more. Blocking.

    Fingerprints of units that gather are those of the members that status names, so that a clip which is gone does not
    take the reel with it, which is not. Units that made nothing are left out: most have no done.json.

    Raises:
        StoreError: The bucket gives no verdict.
    """
    told = {stage.name: stage for stage in status.stages}
    claimed: dict[str, DoneUnit] = {}
    missing = 0
    for stage in resolved.order:
        if stage.name not in told:
            continue
        if stage.open:
            stage = stand(resolved, claimed).job.stages[stage.index]
        skipped, made = IndexSet.parse(told[stage.name].skipped), made_of(told[stage.name])
        wanted = {
            _prefix(resolved, stage, unit): unit.fingerprint
            for unit in stage.units
            if unit.item in made and unit.fingerprint
        }
        claimed.update((fingerprint, DoneUnit(Outcome.GENERATED)) for fingerprint in wanted.values())
        claimed.update(
            (unit.fingerprint, DoneUnit(Outcome.SKIPPED))
            for unit in stage.units
            if unit.item in skipped and unit.fingerprint
        )
        prefix = layout.stage_prefix(resolved.namespace, resolved.name, stage.name)
        missing += len(wanted) - len(verify(store, prefix, wanted, DoneCache()).done)
    return missing
