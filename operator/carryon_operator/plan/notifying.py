"""Who is to be told what: conditions that became True come to notifications, attempts at them to their ends.

A notification is written down by the same status write that shows what it tells of. What was written is delivered until
that is written too: an operator that is killed in between delivers once more, with the same id.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from carryon_core.durations import moment
from carryon_core.notifications import OCCASIONS, PENDING_MOST, Counts, Notification, Notify, Occasion
from carryon_core.status import ConditionType, JobStatus
from carryon_core.subject import counted
from carryon_operator.plan import clock, conditions
from carryon_operator.plan.conditions import rfc3339
from carryon_operator.plan.model import DeliveryAttempt, DeliveryEnd, Event, Observation, Plan

PATIENCE: Final = 86_400.0
"""Seconds from an event after which an attempt that failed was the last."""
FIRST_DELAY: Final = 5.0
LONGEST_DELAY: Final = 3600.0
_SPREAD: Final = 0.2
"""Share by which delays are longer, each by its own part of it: what failed together does not come back together."""
REMOVAL_WAITS: Final = 3600.0
"""Seconds that a job whose ttlSecondsAfterFinished is over waits for its notifications."""
_RESULT_LONGEST: Final = 253


def notify(seen: Observation, plan: Plan) -> Plan:
    """The same plan, with what its status means to the job's webhooks."""
    if plan.sweep:
        return plan
    book = _Book(seen, plan.status)
    for attempt in seen.posted:
        book.note(attempt)
    if seen.spec is not None:
        book.tell(seen.status, seen.spec.notify)
    status = plan.status.model_copy(update={"notifications": book.entries()})
    plan = replace(plan, status=status, events=(*plan.events, *book.events), notified=book.ends)
    return _kept_until_told(seen, plan) if plan.remove else plan


def due(hooks: Iterable[Notify], waiting: Iterable[Notification], now: float) -> tuple[list[Delivery], list[Delivery]]:
    """What is to be delivered now, and what later, of the notifications that wait; each in the order of their times.

    Args:
        hooks: Of the job.
        waiting: What status holds as pending.
        now: Seconds since the epoch.
    """
    by_digest = {hook.digest: hook for hook in hooks}
    found = [Delivery(by_digest[each.url], each, moment(each.next) or 0.0) for each in waiting if each.url in by_digest]
    found.sort(key=lambda delivery: delivery.notification.time)
    return [each for each in found if each.at <= now], [each for each in found if each.at > now]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notification that is to be delivered.

    Attributes:
        at: Seconds since the epoch; not before then.
    """

    hook: Notify
    notification: Notification
    at: float


def delay(id_: str, attempts: int) -> float:
    """Seconds until the next attempt after so many, without what the receiver asks for: 5 s, 10 s, ... 1 h."""
    spread = int.from_bytes(hashlib.sha256(f"{id_} {attempts}".encode()).digest()[:2]) / 0xFFFF
    return min(FIRST_DELAY * 2.0 ** min(attempts - 1, 20), LONGEST_DELAY) * (1 + _SPREAD * spread)


class _Book:
    """The notifications of a job, brought up to date."""

    def __init__(self, seen: Observation, status: JobStatus) -> None:
        self.events: list[Event] = []
        self.ends: Counter[DeliveryEnd] = Counter()
        self._seen = seen
        self._status = status
        hooks = seen.spec.notify if seen.spec is not None else None
        self._kept = list(status.notifications) if hooks is None else _of_hooks(status.notifications, hooks)

    def note(self, attempt: DeliveryAttempt) -> None:
        """Take down what came of an attempt, once: what has ended or counts as many attempts stays as it is."""
        for at, entry in enumerate(self._kept):
            if entry.pending and (entry.url, entry.id) == (attempt.url, attempt.id) and entry.attempts < attempt.number:
                self._kept[at] = self._after(entry, attempt)

    def tell(self, before: JobStatus, hooks: Sequence[Notify]) -> None:
        """Write down what became True, for each webhook that hears of it."""
        became = [
            kind
            for kind in OCCASIONS
            if conditions.holds(self._status, ConditionType(kind)) and not conditions.holds(before, ConditionType(kind))
        ]
        ids = {kind: self._id(kind) for kind in became}
        for at, hook in enumerate(hooks):
            heard = [kind for kind in became if kind in hook.events]
            # A job that failed is stalled too: that is one thing to tell, not two.
            if "Failed" in heard and "Stalled" in heard:
                heard.remove("Stalled")
            self._kept += [self._new(at, hook, kind, ids[kind]) for kind in heard]

    def entries(self) -> list[Notification]:
        """What status keeps: all that is pending, and of each webhook what ended last."""
        waiting: Counter[str] = Counter(entry.url for entry in self._kept if entry.pending)
        for at, entry in enumerate(self._kept):
            # Make sure that status stays small: the oldest goes, for it says the least.
            if entry.pending and waiting[entry.url] > PENDING_MOST:
                waiting[entry.url] -= 1
                told = f"{counted(PENDING_MOST, 'newer one')} wait for the same webhook"
                self._kept[at] = self._given_up(entry, f"{entry.result}; {told}" if entry.result else told)
        last = {entry.url: at for at, entry in _by_end(self._kept)}
        return [entry for at, entry in enumerate(self._kept) if entry.pending or last[entry.url] == at]

    def _after(self, entry: Notification, attempt: DeliveryAttempt) -> Notification:
        after = entry.model_copy(
            update={
                "attempts": attempt.number,
                "attempted": rfc3339(attempt.at),
                "result": attempt.result[:_RESULT_LONGEST],
                "next": None,
            }
        )
        deadline = (moment(entry.time) or 0.0) + PATIENCE
        if attempt.end is DeliveryEnd.DELIVERED:
            self.ends[DeliveryEnd.DELIVERED] += 1
            return after.model_copy(update={"state": "Delivered", "units": None})
        if attempt.end is DeliveryEnd.GIVEN_UP or attempt.at >= deadline:
            return self._given_up(after, after.result)
        self.ends[DeliveryEnd.FAILED] += 1
        # What the receiver asks for, but one attempt more within our own patience.
        wait = max(delay(entry.id, attempt.number), min(attempt.wait or 0.0, deadline - attempt.at))
        return after.model_copy(update={"next": rfc3339(math.ceil(attempt.at + wait))})

    def _given_up(self, entry: Notification, why: str) -> Notification:
        self.ends[DeliveryEnd.GIVEN_UP] += 1
        told = f"spec.notify[{entry.hook}] was not told that the job became {entry.condition} at {entry.time}"
        self.events.append(
            Event("Warning", "NotificationFailed", f"{told}: {why} ({counted(entry.attempts, 'attempt')})")
        )
        ended = {"state": "GivenUp", "units": None, "next": None, "result": why[:_RESULT_LONGEST]}
        return entry.model_copy(update={"attempted": entry.attempted or rfc3339(self._seen.now), **ended})

    def _new(self, at: int, hook: Notify, kind: Occasion, id_: str) -> Notification:
        condition = conditions.find(self._status, ConditionType(kind))
        assert condition is not None
        units = self._status.units
        return Notification(
            hook=at,
            url=hook.digest,
            id=id_,
            condition=kind,
            reason=condition.reason,
            phase=self._status.phase or "",
            time=condition.last_transition_time,
            units=Counts(total=units.total, succeeded=units.succeeded, failed=units.failed, remaining=units.remaining),
        )

    def _id(self, kind: Occasion) -> str:
        """Of an event: from the job, the condition and its time, and a number where there was one like it."""
        condition = conditions.find(self._status, ConditionType(kind))
        assert condition is not None
        since = condition.last_transition_time
        base = f"{self._seen.uid}-{kind.lower()}-{int(moment(since) or 0.0)}"
        alike = {entry.id for entry in self._kept if (entry.condition, entry.time) == (kind, since)}
        numbers = [int(each.removeprefix(f"{base}-")) if each != base else 1 for each in alike if _is_of(base, each)]
        return f"{base}-{max(numbers) + 1}" if numbers else base


def _is_of(base: str, id_: str) -> bool:
    return id_ == base or (id_.startswith(f"{base}-") and id_.removeprefix(f"{base}-").isdecimal())


def _of_hooks(kept: Iterable[Notification], hooks: Sequence[Notify]) -> list[Notification]:
    """The notifications of those webhooks that there are today, and that still want to hear of them."""
    places = {hook.digest: (at, hook) for at, hook in enumerate(hooks)}
    found = []
    for entry in kept:
        at, hook = places.get(entry.url, (0, None))
        if hook is not None and (not entry.pending or entry.condition in hook.events):
            found.append(entry if entry.hook == at else entry.model_copy(update={"hook": at}))
    return found


def _by_end(kept: Sequence[Notification]) -> list[tuple[int, Notification]]:
    """Those that have ended, in the order in which they did, as far as that is known."""
    ended = [(at, entry) for at, entry in enumerate(kept) if not entry.pending]
    return sorted(ended, key=lambda each: (each[1].attempted or "", each[0]))


def _kept_until_told(seen: Observation, plan: Plan) -> Plan:
    """A job whose time after its end is over stays a while longer as long as somebody is to be told of it."""
    assert seen.spec is not None
    finished, ttl = moment(plan.status.time.finished), seen.spec.ttl_seconds_after_finished
    longest = (finished or 0.0) + (ttl or 0) + REMOVAL_WAITS
    if seen.now >= longest or not any(entry.pending for entry in plan.status.notifications):
        return plan
    return replace(plan, remove=False, wake_at=clock.next_of([longest, plan.wake_at], seen.now))
