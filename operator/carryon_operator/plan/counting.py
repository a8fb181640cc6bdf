"""Counting what ended: each pod's end once, by the status write that also records its UID."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from carryon_core import durations
from carryon_core.actions import counted
from carryon_core.ranges import IndexSet
from carryon_core.standing import UnitKey
from carryon_core.status import MESSAGE_LONGEST, ActivePod, Counters, RecentFailure, StageStatus
from carryon_operator.plan import launch
from carryon_operator.plan.case import Case
from carryon_operator.plan.conditions import rfc3339
from carryon_operator.plan.ledger import Ledger
from carryon_operator.plan.model import Event, Observation, PodRecord
from carryon_operator.plan.spending import Account, open_account
from carryon_operator.plan.verdicts import UnitFailure, judge

FAILURES_TOLD: Final = 5
"""Events about single failures that one decision may write."""
ACCOUNTS_TOLD: Final = 10
"""Events about journals of single attempts that one decision may write; status and metrics count them all."""
DEAD_AFTER: Final = 60.0
"""Seconds past the end of its deletion grace after which a pod blocks no slot: its node is taken for dead."""


@dataclass
class Tally:
    """What the ends of pods add to status, while one decision is made.

    Attributes:
        recorded: UIDs of pods that are counted and not yet gone, in the order they were.
        failures: Attempts that failed, in the order they ended.
        failed_events: What is told of each; `untold` are more.
        tails: Pods that failed: what they logged last is kept.
        account: What they cost, and what journals were good for.
    """

    recorded: dict[str, None]
    retry_at: dict[str, float]
    counters: Counter[str] = field(default_factory=Counter)
    failures: list[RecentFailure] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    failed_events: list[Event] = field(default_factory=list)
    untold: int = 0
    tails: list[PodRecord] = field(default_factory=list)
    account: Account = field(default_factory=lambda: Account({}))

    def record(self, pod: PodRecord) -> bool:
        """Count a pod no more, whatever becomes of it; whether it was not recorded before."""
        if pod.uid in self.recorded:
            return False
        self.recorded[pod.uid] = None
        return True

    def stop(self, seen: Observation, pod: PodRecord) -> None:
        """End a pod whose end is not to be counted; what it cost is."""
        if self.record(pod):
            self.account.stop(seen, pod)

    def end(self, seen: Observation, pod: PodRecord) -> None:
        """Book a pod that has ended."""
        self.account.spend(seen, pod)
        self.account.settle(seen, pod)

    def added_to(self, before: Counters) -> Counters:
        """With what was counted now."""
        counts = before.model_dump()
        more = {**self.counters, "not_resumable": self.account.refused.total()}
        return before.model_copy(update={name: counts[name] + each for name, each in more.items()})

    def disrupted(self, pod: str, how: str) -> None:
        """Work was lost through no fault of the job's."""
        self.counters["disruptions"] += 1
        self.events.append(Event("Normal", "Disrupted", f"pod {pod} {how}; its units carry on"))

    def failed(self, failure: RecentFailure, what: str) -> None:
        """Tell of an attempt, or a unit, that failed."""
        self.failures.append(failure)
        # Messages of generators may quote prompts, and Events are read by more people than the job is.
        told = f'stage "{failure.stage}", item "{failure.unit}": {what} ({failure.reason})'
        self.failed_events.append(Event("Warning", "UnitFailed", told))

    def told(self) -> list[Event]:
        """All that is told; of many failures the first few, and how many more there are."""
        events = self.failed_events[:FAILURES_TOLD]
        more = len(self.failed_events) + self.untold - len(events)
        if more:
            events.append(Event("Warning", "UnitFailed", f"and {counted(more, 'more failure')}: see status"))
        return [*self.events, *self.account.events[:ACCOUNTS_TOLD], *events]


def open_tally(seen: Observation) -> Tally:
    """What status has recorded; the UIDs of pods that are gone are struck out."""
    present = {pod.uid for pod in seen.pods}
    # Make sure that a clock that was set back makes nobody wait for longer than there are delays.
    longest = seen.now + (durations.seconds(seen.spec.retry.backoff.max_) if seen.spec is not None else 0.0)
    return Tally(
        {uid: None for uid in seen.status.recorded if uid in present},
        {fingerprint: min(at, longest) for fingerprint, at in seen.retry_at.items()},
        account=open_account(seen),
    )


def is_dead(pod: PodRecord, now: float) -> bool:
    """Whether a pod that should be gone is still there: nobody is left on its node to end it."""
    return not pod.terminal and pod.gone_by is not None and now > pod.gone_by + DEAD_AFTER


def count(case: Case, ledger: Ledger, tally: Tally) -> None:
    """Count every pod that ended, died with its node or vanished, and was not counted yet."""
    seen = case.seen
    tally.account.settle_stopped(seen)
    uncounted = [pod for pod in seen.pods if pod.uid not in tally.recorded]
    ended = [pod for pod in uncounted if pod.terminal]
    for pod in sorted(ended, key=lambda pod: (pod.finished or seen.now, pod.attempt)):
        tally.record(pod)
        tally.end(seen, pod)
        _count_ended(case, ledger, tally, pod)
    for pod in uncounted:
        if is_dead(pod, seen.now):
            tally.record(pod)
            tally.end(seen, pod)
            tally.disrupted(pod.name, "was lost with its node")
            _disrupt(case, ledger, tally, pod)
    known = {*(pod.uid for pod in seen.pods), *seen.status.recorded}
    for stage in seen.status.stages:
        for active in stage.active:
            if active.uid not in known:
                _vanish(case, ledger, tally, stage, active)


def _count_ended(case: Case, ledger: Ledger, tally: Tally, pod: PodRecord) -> None:
    wanted = case.wanted(pod)
    if not wanted:
        return
    # What is no longer wanted counts as done: its end says nothing about today's job.
    missing = {item for unit, item in wanted.items() if unit not in case.standing.outcomes}
    verdict = judge(pod, set(pod.units) - missing)
    units = {item: unit for unit, item in wanted.items()}
    if verdict.disruption:
        tally.disrupted(pod.name, f"was disrupted ({verdict.disruption})")
        _disrupt(case, ledger, tally, pod, {each.item for each in verdict.failures}, durable=verdict.durable)
    if verdict.failures:
        tally.tails.append(pod)
    for failure in verdict.failures:
        _charge(case, ledger, tally, pod, units[failure.item], failure, durable=failure.item in verdict.durable)


def _charge(
    case: Case, ledger: Ledger, tally: Tally, pod: PodRecord, unit: UnitKey, failure: UnitFailure, *, durable: bool
) -> None:
    ended = _ended(case, pod)
    used = ledger.charge(unit, case.job.unit(*unit).fingerprint, permanent=failure.permanent)
    ledger.note(unit, case.job.unit(*unit).fingerprint, durable=durable)
    _delay(case, tally, unit, used, ended)
    tally.counters["stuck" if failure.stuck else "failures"] += 1
    per_unit = ledger.retry.per_unit
    if unit in ledger.given_up:
        what = "failed for good"
    elif used > per_unit:
        what = f"failed in round {used - per_unit} of {ledger.retry.rounds}"
    else:
        what = f"failed, attempt {used} of {per_unit}"
    tally.failed(
        RecentFailure(
            stage=pod.stage,
            unit=failure.item,
            reason=failure.reason,
            message=failure.message[:MESSAGE_LONGEST],
            attempt=pod.attempt,
            time=rfc3339(ended),
        ),
        what,
    )
    _give_up_fruitless(case, ledger, tally, unit)


def _disrupt(
    case: Case,
    ledger: Ledger,
    tally: Tally,
    pod: PodRecord,
    failed: Collection[str] = (),
    *,
    durable: frozenset[str] = frozenset(),
) -> None:
    """A pod that was disrupted: its first unit neither done nor failed was at work, if any; no budget is used."""
    wanted = case.wanted(pod).items()
    left = [(unit, item) for unit, item in wanted if unit not in case.standing.outcomes and item not in failed]
    if pod.started is None:
        # Make sure that what no kubelet takes in comes back after a delay, not again and again at once.
        for unit, _ in left if pod.terminal else ():
            _delay(case, tally, unit, 1, case.seen.now)
    elif left:
        unit, item = left[0]
        _fruitless(case, ledger, tally, unit, _ended(case, pod), durable=item in durable)


def _ended(case: Case, pod: PodRecord) -> float:
    """When a pod ended; a node whose clock is ahead delays nothing."""
    now = case.seen.now
    return min(pod.finished or now, now)


def _vanish(case: Case, ledger: Ledger, tally: Tally, stage: StageStatus, active: ActivePod) -> None:
    """A pod that is gone, of which only status knows: as if it was disrupted, unless all that it was for is done."""
    index = next((each.index for each in case.job.stages if each.name == stage.name), None)
    if index is None:
        return
    units = [unit for old in IndexSet.parse(active.units) if (unit := case.moved((index, old))) is not None]
    left = [unit for unit in units if unit not in case.standing.outcomes]
    if left:
        tally.disrupted(active.pod, "vanished")
        _fruitless(case, ledger, tally, left[0], case.seen.now, durable=False)


def _fruitless(case: Case, ledger: Ledger, tally: Tally, unit: UnitKey, ended: float, *, durable: bool) -> None:
    in_a_row = ledger.note(unit, case.job.unit(*unit).fingerprint, durable=durable)
    # The first time is bad luck and costs no delay; what keeps being lost backs off.
    if in_a_row > 1:
        _delay(case, tally, unit, in_a_row - 1, ended)
    _give_up_fruitless(case, ledger, tally, unit)


def _give_up_fruitless(case: Case, ledger: Ledger, tally: Tally, unit: UnitKey) -> None:
    in_a_row = ledger.fruitless.get(unit, 0)
    if in_a_row < ledger.patience or unit in ledger.given_up:
        return
    ledger.given_up.add(unit)
    tally.failed(
        RecentFailure(
            stage=case.job.stages[unit[0]].name,
            unit=case.job.item_id(*unit),
            reason="NoProgress",
            message=f"{in_a_row} attempts in a row ended without anything that a later one could go on from",
            attempt=in_a_row,
            time=rfc3339(case.seen.now),
        ),
        "failed for good",
    )


def _delay(case: Case, tally: Tally, unit: UnitKey, used: int, ended: float) -> None:
    fingerprint = case.job.unit(*unit).fingerprint
    tally.retry_at[fingerprint] = ended + launch.delay(case.spec.retry.backoff, used, fingerprint)
