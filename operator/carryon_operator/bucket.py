"""What is known of one job's bucket between reconciles, and how it is looked at again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from carryon_core import layout
from carryon_core.resolve import ResolvedJob, ResolvedStage, Unit
from carryon_operator.plan.model import InvalidDone, PodRecord
from carryon_store import Store
from carryon_store.units import discard
from carryon_store.verification import DoneCache, DoneFacts, Invalid, Verdict, verify, verify_unit

_FEW = 16
"""Units looked at one by one; for more, listing their whole stage is cheaper."""


@dataclass
class BucketMemory:
    """Verified knowledge about a job's units. What is not known to be true is looked at again, never assumed.

    Attributes:
        done: Fingerprints of units that verified.
        invalid: Fingerprint -> a done.json that did not.
        swept_at: When the whole bucket was last looked at, on a monotonic clock; None before the first time.
        swept_for: Generation of the job at that time.
        fresh: No pod ended since then.
        cache: Lets a sweep skip every done.json whose etag it has read before.
    """

    done: set[str] = field(default_factory=set)
    invalid: dict[str, InvalidDone] = field(default_factory=dict)
    swept_at: float | None = None
    swept_for: int | None = None
    fresh: bool = False
    cache: DoneCache = field(default_factory=DoneCache)
    _working: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    _unsettled: set[str] = field(default_factory=set)

    def note_pods(self, pods: Iterable[PodRecord]) -> None:
        """Remember which pods are at work; the units of those that ended or vanished must be looked at again."""
        present = {pod.uid: pod for pod in pods}
        changed = [pod.fingerprints for uid, pod in present.items() if pod.terminal and uid not in self._ended]
        changed += [fingerprints for uid, fingerprints in self._working.items() if uid not in present]
        for fingerprints in changed:
            self._unsettled.update(fingerprints)
            self.fresh = False
        self._working = {uid: pod.fingerprints for uid, pod in present.items() if not pod.terminal}
        self._ended = {uid for uid, pod in present.items() if pod.terminal}

    def sweep(self, store: Store, resolved: ResolvedJob, generation: int, now: float) -> None:
        """Look at everything: one listing per stage. Blocking.

        Raises:
            StoreError: The bucket gives no verdict; what was known of the stages not yet seen stays as it was.
        """
        wanted = {unit.fingerprint for unit in resolved.units()}
        self.done &= wanted
        self.invalid = {fingerprint: bad for fingerprint, bad in self.invalid.items() if fingerprint in wanted}
        for stage in resolved.stages:
            self._sweep_stage(store, resolved, stage)
        self.swept_at, self.swept_for, self.fresh = now, generation, True
        self._unsettled.clear()

    def settle(self, store: Store, resolved: ResolvedJob, by_fingerprint: Mapping[str, Unit]) -> None:
        """Look at the units of pods that ended. Blocking.

        Raises:
            StoreError: The bucket gives no verdict; the units stay unsettled.
        """
        wanted = [by_fingerprint[each] for each in self._unsettled if each in by_fingerprint]
        for stage in resolved.stages:
            of_stage = [unit for unit in wanted if unit.stage == stage.index]
            if len(of_stage) > _FEW:
                self._sweep_stage(store, resolved, stage)
                continue
            for unit in of_stage:
                prefix = resolved.prefix(unit)
                self._enter(unit, prefix, verify_unit(store, prefix, unit.fingerprint, self.cache))
        self._unsettled.clear()

    def discard(self, store: Store, bad: InvalidDone) -> None:
        """Remove a done.json that did not verify. Blocking.

        Raises:
            StoreError: It could not be removed.
        """
        discard(store, bad.prefix, bad.etag)
        self.invalid.pop(bad.fingerprint, None)

    def _sweep_stage(self, store: Store, resolved: ResolvedJob, stage: ResolvedStage) -> None:
        by_prefix = {resolved.prefix(unit): unit for unit in stage.units}
        prefix = layout.stage_prefix(resolved.namespace, resolved.name, stage.name)
        seen = verify(store, prefix, {at: unit.fingerprint for at, unit in by_prefix.items()}, self.cache)
        for at, unit in by_prefix.items():
            self._enter(unit, at, seen.done.get(at) or seen.invalid.get(at))

    def _enter(self, unit: Unit, prefix: str, verdict: Verdict) -> None:
        self.done.discard(unit.fingerprint)
        self.invalid.pop(unit.fingerprint, None)
        match verdict:
            case DoneFacts():
                self.done.add(unit.fingerprint)
            case Invalid(etag=etag, reason=reason):
                self.invalid[unit.fingerprint] = InvalidDone(unit.fingerprint, prefix, etag, reason)
