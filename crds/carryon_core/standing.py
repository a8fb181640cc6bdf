"""Where the units of a job stand by what is done: which count as done, and what those that gather are made from.

Most units have a fingerprint as soon as the job is resolved. One that gathers has it once what it gathers is known, and
so have the units below it; `stand` finds them out anew whenever something became done. Pure.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from carryon_core.done import Misfit, Outcome
from carryon_core.messages import InputRef
from carryon_core.names import PREVIOUS
from carryon_core.resolved import ResolvedJob, ResolvedStage, Unit

UnitKey: TypeAlias = tuple[int, int]
"""Index of the stage, index of the item (0 where the stage gathers)."""

_REMEMBERED: Final = 2
"""Answers for one stage: one look asks what may be there already, the next what is to be made now."""


@dataclass(frozen=True, slots=True)
class JournalUse:
    """What a journal was good for in one attempt at one unit.

    Attributes:
        saved: Seconds of earlier attempts that were not repeated.
        waited: Seconds that steps waited for it.
        refused: Why what there was could not be used, and `misfit` in one word; "" if it could, or nothing was there.
        ended: Why it was not kept any more from some point on, "" if it was.
    """

    saved: float = 0.0
    waited: float = 0.0
    refused: str = ""
    misfit: Misfit | None = None
    ended: str = ""


NO_JOURNAL: Final = JournalUse()


@dataclass(frozen=True, slots=True)
class DoneUnit:
    """What is kept of a done.json that verified.

    Attributes:
        pod_uid: Whose work it was.
        seconds: Of generating that are in it, those of earlier attempts included that it went on from.
        finished: When it was done, seconds since the epoch; 0 if that is not known.
        journal: What its journal was good for.
    """

    outcome: Outcome
    pod_uid: str = ""
    seconds: float = 0.0
    finished: float = 0.0
    journal: JournalUse = NO_JOURNAL


@dataclass(frozen=True)
class Standing:
    """A job against its bucket.

    Attributes:
        job: The job, in which every unit has its fingerprint whose inputs are known; the others have "".
        outcomes: Units that count as done: verified ones, and those skipped because one upstream made nothing.
        members: Stage that gathers -> the units its own is made from, stage by stage in order of the items; stages
            that still wait for units upstream are not in it, one that got nothing to gather has none.
    """

    job: ResolvedJob
    outcomes: Mapping[UnitKey, Outcome]
    members: Mapping[int, tuple[UnitKey, ...]]

    def inputs(self, unit: Unit) -> dict[str, InputRef | list[InputRef]]:
        """Name in `inputs` -> the finished units that this one takes its inputs from.

        Raises:
            ValueError: What it takes its inputs from is not known yet.
        """
        stage = self.job.stages[unit.stage]
        if stage.gathers:
            if stage.index not in self.members:
                raise ValueError(f'stage "{stage.name}" still waits for what it gathers')
            gathered: dict[str, InputRef | list[InputRef]] = {}
            for before in stage.after:
                members = [self._ref(key) for key in self.members[stage.index] if key[0] == before]
                gathered[self.job.stages[before].name] = members
            return gathered
        taken: dict[str, InputRef | list[InputRef]] = {
            self.job.stages[before].name: self._ref(self.job.upstream(before, unit.item)) for before in stage.after
        }
        if unit.previous:
            taken[PREVIOUS] = self._ref((unit.stage, unit.item - 1))
        return taken

    def _ref(self, key: UnitKey) -> InputRef:
        stage, item = key
        fingerprint = self.job.unit(stage, item).fingerprint
        if not fingerprint:
            raise ValueError(f'stage "{self.job.stages[stage].name}" has a unit without fingerprint yet')
        return InputRef(stage=self.job.stages[stage].name, item=self.job.item_id(stage, item), fingerprint=fingerprint)


def stand(resolved: ResolvedJob, done: Mapping[str, DoneUnit], failed: Container[UnitKey] | None = None) -> Standing:
    """Where the units stand.

    Args:
        resolved: The job.
        done: Fingerprint -> what the bucket shows as done.
        failed: Units that failed for good. A unit that gathers has no fingerprint before every unit upstream is done
            or among these; None: as if all that is not done had failed, for a look at what may be there already.
    """
    look = _Look(resolved, done, failed)
    for stage in resolved.order:
        look.at(stage)
    return Standing(look.job(), look.outcomes, look.members)


class _Look:
    """One walk through the stages, each after those upstream of it."""

    def __init__(self, resolved: ResolvedJob, done: Mapping[str, DoneUnit], failed: Container[UnitKey] | None) -> None:
        self.outcomes: dict[UnitKey, Outcome] = {}
        self.members: dict[int, tuple[UnitKey, ...]] = {}
        self._resolved = resolved
        self._done = done
        self._failed = failed
        self._stages = list(resolved.stages)
        self._empty: list[set[int]] = [set() for _ in resolved.stages]
        """By stage, units that count as done and made nothing."""

    def at(self, stage: ResolvedStage) -> None:
        """Look at a stage, when all upstream of it were looked at."""
        if stage.gathers:
            stage = self._gather(stage)
        elif stage.open:
            prints = tuple(self._stages[before].fingerprints for before in stage.after)
            # What gathers is upstream of all units here or of none: either all have fingerprints or none has.
            if all(map(any, prints)):
                stage = self._close(stage, prints, _close_items)
        self._stages[stage.index] = stage
        self._judge(stage)

    def job(self) -> ResolvedJob:
        """The job with what is known now; the same object as long as that is the same."""
        memory: list[ResolvedJob] = self._resolved.remembered.setdefault("jobs", [])
        for known in (self._resolved, *memory):
            if all(map(operator.is_, known.stages, self._stages)):
                return known
        made = replace(self._resolved, stages=tuple(self._stages))
        memory[:] = [made, *memory[: _REMEMBERED - 1]]
        return made

    def _judge(self, stage: ResolvedStage) -> None:
        """Take down which units of a stage count as done."""
        get, outcomes, empty = self._done.get, self.outcomes, self._empty[stage.index]
        skipped = self._skipped(stage)
        generated = Outcome.GENERATED
        for key, fingerprint in zip(stage.keys, stage.fingerprints, strict=True):
            found = get(fingerprint)
            if found is not None:
                outcomes[key] = outcome = found.outcome
                if outcome is not generated:
                    empty.add(key[1])
            elif skipped and key[1] in skipped:
                outcomes[key] = Outcome.SKIPPED
                empty.add(key[1])
        if empty and stage.chained:
            for unit, key in zip(stage.units, stage.keys, strict=True):
                if unit.previous and unit.item - 1 in empty and key not in outcomes:
                    outcomes[key] = Outcome.SKIPPED
                    empty.add(unit.item)

    def _skipped(self, stage: ResolvedStage) -> Container[int]:
        """Units of a stage for which one upstream made nothing; of one that gathers, for which none made anything."""
        if stage.gathers:
            if self._failed is not None:
                nothing = self.members.get(stage.index) == () and (stage.index, 0) not in self._failed
                return range(1) if nothing else ()
            nothing = all(len(self._empty[before]) == len(self._stages[before].units) for before in stage.after)
            return range(1) if nothing else ()
        made: set[int] = set()
        for before in stage.after:
            if self._empty[before] and self._stages[before].gathers:
                return range(len(stage.units))
            made |= self._empty[before]
        return made

    def _gather(self, stage: ResolvedStage) -> ResolvedStage:
        """A stage that gathers, its unit with a fingerprint if what it gathers is known."""
        members: list[UnitKey] = []
        for before in stage.after:
            for key in self._stages[before].keys:
                outcome = self.outcomes.get(key)
                if outcome is Outcome.GENERATED:
                    members.append(key)
                elif outcome is None and self._failed is not None and key not in self._failed:
                    return stage
        self.members[stage.index] = tuple(members)
        if not members:
            return stage
        prints = tuple(self._stages[before].fingerprints for before in stage.after)
        return self._close(stage, (self.members[stage.index], prints), _close_gathering)

    def _close(
        self,
        stage: ResolvedStage,
        known: tuple[Any, ...],
        close: Callable[[ResolvedStage, Sequence[ResolvedStage], tuple[Any, ...]], ResolvedStage],
    ) -> ResolvedStage:
        """A stage with the fingerprints that follow from what is known upstream; remembered for the last few such."""
        memory: list[tuple[tuple[Any, ...], ResolvedStage]] = self._resolved.remembered.setdefault(stage.index, [])
        for seen, made in tuple(memory):
            if seen == known:
                return made
        made = close(stage, self._stages, known)
        memory[:] = [(known, made), *memory[: _REMEMBERED - 1]]
        return made


def _close_gathering(stage: ResolvedStage, stages: Sequence[ResolvedStage], known: tuple[Any, ...]) -> ResolvedStage:
    members, prints = known
    upstream = {
        stages[before].name: [of_stage[item] for which, item in members if which == before]
        for before, of_stage in zip(stage.after, prints, strict=True)
    }
    (unit,), (fingerprint,) = stage.units, stage.open
    return replace(stage, units=(replace(unit, fingerprint=fingerprint.close(upstream)),))


def _close_items(stage: ResolvedStage, stages: Sequence[ResolvedStage], known: tuple[Any, ...]) -> ResolvedStage:
    upstream = [
        (stages[before].name, stages[before].gathers, of) for before, of in zip(stage.after, known, strict=True)
    ]
    units: list[Unit] = []
    for unit, fingerprint in zip(stage.units, stage.open, strict=True):
        inputs = {name: prints[0 if gathers else unit.item] for name, gathers, prints in upstream}
        if unit.previous:
            inputs[PREVIOUS] = units[-1].fingerprint
        units.append(replace(unit, fingerprint=fingerprint.close(inputs)))
    return replace(stage, units=tuple(units))
