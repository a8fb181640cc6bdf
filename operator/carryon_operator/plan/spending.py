"""What pods cost and what came of it: GPU seconds, and what journals were good for.

Each pod is booked once: its total by the status write that records its UID; the rest once it has ended, because only
then its worker has said, and the bucket shows, what it left. For a pod that ended by itself that is the same write.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from carryon_core.done import Misfit
from carryon_core.messages import Termination, UnitOutcome
from carryon_core.standing import DoneUnit, JournalUse
from carryon_core.status import GpuSeconds
from carryon_operator.plan.model import Event, Observation, PodRecord, Spending, Stopped
from carryon_operator.plan.verdicts import termination_of

NOT_RESUMABLE: Final = "CheckpointNotResumable"
"""Reason of the Event, and the word that a worker's sentence begins with."""
_SENTENCE_LONGEST: Final = 300
_SKEW: Final = 300.0
"""Seconds that the bucket's clock may be ahead of the node's."""


@dataclass
class Account:
    """What the ends of pods add, while one decision is made; seconds are times GPUs.

    Attributes:
        stopped: UID -> pod that was stopped, and whose end is still to be booked; see `open_account`.
        refused: What did not fit -> attempts that started over for it.
    """

    stopped: dict[str, Stopped]
    total: int = 0
    useful: float = 0.0
    checkpointing: float = 0.0
    lost: float = 0.0
    saved: float = 0.0
    resumed: int = 0
    refused: Counter[Misfit] = field(default_factory=Counter)
    ended: int = 0
    events: list[Event] = field(default_factory=list)

    def spend(self, seen: Observation, pod: PodRecord) -> None:
        """Book what a pod cost up to its end, or now."""
        # Rounded up, so that what has reached a limit does not fall below it by being booked.
        self.total += math.ceil(cost(seen, pod))

    def stop(self, seen: Observation, pod: PodRecord) -> None:
        """A pod is stopped: it is told what became of it when it has ended."""
        self.spend(seen, pod)
        self.stopped[pod.uid] = Stopped(pod, math.ceil(cost(seen, pod)))

    def settle(self, seen: Observation, pod: PodRecord) -> None:
        """A pod has ended: book what its units came to."""
        if pod.started is None:
            return
        gpus, told = max(pod.gpus, 1), termination_of(pod)
        done = [unit for unit in _done(seen, pod) if unit is not None]
        self.useful += sum(unit.seconds for unit in done) * gpus
        self.lost += min(_lost(seen, pod, told), cost(seen, pod) / gpus) * gpus
        uses = list(_uses(seen, pod, told))
        self.saved += sum(use.saved for _, use in uses) * gpus
        self.checkpointing += sum(use.waited for _, use in uses) * gpus
        self.resumed += any(use.saved for _, use in uses)
        self._tell(pod, uses)

    def settle_stopped(self, seen: Observation) -> None:
        """Book the pods that were stopped before and have ended by now."""
        for uid, stopped in tuple(self.stopped.items()):
            if stopped.pod.finished is not None:
                del self.stopped[uid]
                self.total += max(math.ceil(cost(seen, stopped.pod)) - stopped.booked, 0)
                self.settle(seen, stopped.pod)

    def added_to(self, before: GpuSeconds) -> GpuSeconds:
        """With what was booked now."""
        now = self.made()
        return GpuSeconds(
            total=before.spent + now.total,
            useful=before.useful + now.useful,
            checkpointing=before.checkpointing + now.checkpointing,
            lost=before.lost + now.lost,
            saved=before.saved + now.saved,
        )

    def made(self) -> Spending:
        """What was booked now, in whole seconds."""
        return Spending(
            total=self.total,
            useful=round(self.useful),
            checkpointing=round(self.checkpointing),
            lost=round(self.lost),
            saved=round(self.saved),
            resumed=self.resumed,
            refused=dict(self.refused),
            ended=self.ended,
        )

    def _tell(self, pod: PodRecord, uses: list[tuple[str, JournalUse]]) -> None:
        """Count what did not fit, and tell of the first in each attempt; sentences of workers hold no prompts."""
        refused = [(item, use) for item, use in uses if use.refused]
        self.refused.update(use.misfit or Misfit.DAMAGED for _, use in refused)
        for item, use in refused[:1]:
            told = use.refused.removeprefix(f"{NOT_RESUMABLE}: ")
            self._event(NOT_RESUMABLE, pod, item, f"{told}; it started over", len(refused) - 1)
        ended = [(item, use) for item, use in uses if use.ended]
        self.ended += len(ended)
        for item, use in ended[:1]:
            self._event("CheckpointingEnded", pod, item, f"nothing more was kept of it: {use.ended}", len(ended) - 1)

    def _event(self, reason: str, pod: PodRecord, item: str, what: str, more: int) -> None:
        others = f" (and {more} more of its pod)" if more else ""
        told = f'stage "{pod.stage}", item "{item}": {what[:_SENTENCE_LONGEST]}{others}'
        self.events.append(Event("Warning", reason, told))


def open_account(seen: Observation) -> Account:
    """The pods that were stopped, as they are now; of one that is gone, since when it is."""
    present = {pod.uid: pod for pod in seen.pods}
    account = Account({})
    for stopped in seen.stopped:
        pod = present.get(stopped.pod.uid, stopped.pod)
        if pod.finished is None and (pod.terminal or pod.uid not in present):
            pod = replace(pod, finished=seen.now)
        account.stopped[pod.uid] = Stopped(pod, stopped.booked)
    return account


def cost(seen: Observation, pod: PodRecord) -> float:
    """Seconds a pod has run, times its GPUs (at least one)."""
    if pod.started is None:
        return 0.0
    return max((pod.finished or seen.now) - pod.started, 0.0) * max(pod.gpus, 1)


def _done(seen: Observation, pod: PodRecord) -> Iterator[DoneUnit | None]:
    """Of each of a pod's units: that it is done by this pod, or None."""
    for fingerprint in pod.fingerprints:
        unit = seen.done.get(fingerprint)
        yield unit if unit is not None and unit.pod_uid == pod.uid else None


def _lost(seen: Observation, pod: PodRecord, told: Termination) -> float:
    """Seconds of an attempt that nothing comes of: since what was last left for a later one, else since its start.

    A worker that had last words says so of each unit. Of one that was killed without, the bucket knows when it last
    wrote, and when it finished the units before.
    """
    done = [unit is not None for unit in _done(seen, pod)]
    if done and all(done):
        return 0.0
    undone = [each for each in told.units if each.index < len(done) and not done[each.index]]
    if any(each.outcome in (UnitOutcome.FAILED, UnitOutcome.INTERRUPTED) for each in undone):
        return sum(each.lost for each in undone)
    assert pod.started is not None
    left = [kept.newest for each in pod.fingerprints if (kept := seen.kept.get(each)) is not None]
    finished = [unit.finished for unit in _done(seen, pod) if unit is not None]
    ended = pod.finished or seen.now
    durable = [min(at, ended) for at in (*left, *finished) if at <= ended + _SKEW]
    return max(ended - max([pod.started, *durable]), 0.0)


def _uses(seen: Observation, pod: PodRecord, told: Termination) -> Iterator[tuple[str, JournalUse]]:
    """What a journal was good for, of each unit that tells: by its done.json, or else by the worker's last words."""
    reports = {each.index: each for each in told.units}
    for index, (item, unit) in enumerate(zip(pod.units, _done(seen, pod), strict=False)):
        if unit is not None:
            yield item, unit.journal
        elif (report := reports.get(index)) is not None:
            yield item, JournalUse(report.saved, report.waited, report.refused, report.misfit, report.ended)
