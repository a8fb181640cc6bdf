"""The operator's own caps at work: what is promised to which job, who waits, and who is woken when there is room.

The decision itself is `plan.shares`. This is its memory: a job that decides is promised its share until what it made of
it can be seen, so that two jobs that decide at once never take the same slot. A job that wanted more than it got is
woken as soon as it could have more; one that then does nothing with it loses its turn, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from carryon_core.status import ConditionType
from carryon_operator.jobs import Job, key_of
from carryon_operator.kube.expectations import Expectations
from carryon_operator.plan.counting import is_dead
from carryon_operator.plan.model import PodRecord
from carryon_operator.plan.shares import UNLIMITED, Caps, Claim, Room, shares, why_full

OFFERED_SECONDS: Final = 5.0
"""How long a slot waits for the job it was offered to; its bucket may hang."""
ANTICIPATED_SECONDS: Final = 15.0
"""Likewise for jobs that nobody has looked at since the operator started."""
_GATHER_SECONDS: Final = 0.05
"""Changes that come so close together are answered as one."""
_COUNT_SECONDS: Final = 1.0
"""How long pods are taken for counted although nothing changed: nodes are given up by the clock."""


@dataclass
class _Waiting:
    """A claim, and until when what it was offered is kept for it; None: it was offered nothing."""

    uid: str
    claim: Claim
    offered_until: float | None = None


class Slots:
    """Pods that the operator may run, shared between jobs. Without caps it knows nothing and costs nothing."""

    def __init__(
        self,
        caps: Caps,
        pods: Iterable[PodRecord],
        expectations: Expectations,
        *,
        ring: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        """Start with nobody waiting, inside a running event loop.

        Args:
            caps: Of the operator.
            pods: That there are.
            expectations: Of pods that were created and not yet seen.
            ring: Wakes a job by its key.
            clock: Seconds since the epoch, for what is compared with times of the cluster.
        """
        self.caps: Final = caps
        self._pods = pods
        self._expectations = expectations
        self._ring = ring
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, _Waiting] = {}
        self._promised: dict[str, int] = {}
        self._counted: Counter[str] = Counter()
        self._counted_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def anticipate(self, jobs: Iterable[Job]) -> None:
        """Keep slots for jobs that will want them, as far as their status tells: the first to decide takes no more."""
        if self.caps.pods is None:
            return
        until = self._loop.time() + ANTICIPATED_SECONDS
        for job in jobs:
            spec, metadata = job.get("spec") or {}, job["metadata"]
            if _is_idle(job):
                continue
            claim = Claim(key_of(job), spec.get("priority") or 0, 0, spec.get("parallelism", 1), self._loop.time())
            self._waiting[claim.job] = _Waiting(metadata["uid"], claim, until)
        self._look_again_in(ANTICIPATED_SECONDS)

    def enter(self, key: str, uid: str, priority: int) -> Room:
        """A job is about to decide: what it may launch, which is promised to it until `leave`."""
        if not self.caps:
            return Room()
        waiting = self._waiting.get(key)
        # Others wait with what they want; of this one nobody knows yet, and what it gets does not depend on it.
        claim = Claim(key, priority, self._holds(uid), UNLIMITED, waiting.claim.since if waiting else self._now)
        self._waiting[key] = _Waiting(uid, claim)
        room = self._shares()[key]
        self._promised[uid] = claim.holds + room
        return Room(room, why_full(self.caps, claim.holds + room))

    def take(self, key: str, uid: str, takes: int, wants: int) -> None:
        """The job has decided.

        Args:
            key: Of the job.
            uid: Of the job.
            takes: Pods that it launches.
            wants: Pods that it would launch besides, if there was room.
        """
        if not self.caps:
            return
        waiting = self._waiting[key]
        holds = self._promised[uid] = waiting.claim.holds + takes
        if wants:
            # Whoever has just had something is the last to have more, of those who hold as many.
            since = self._now if takes else waiting.claim.since
            self._waiting[key] = _Waiting(uid, replace(waiting.claim, holds=holds, wants=wants, since=since))
        else:
            del self._waiting[key]
        self.changed()

    def leave(self, key: str, uid: str, *, failed: bool) -> None:
        """What the job has launched can be seen now. One that failed waits for no slot, but for its next try."""
        if self._promised.pop(uid, None) is not None:
            if failed:
                self._waiting.pop(key, None)
            self.changed()

    def forget(self, key: str) -> None:
        """The job is gone, or wants nothing."""
        if self._waiting.pop(key, None) is not None:
            self.changed()

    def changed(self) -> None:
        """Pods have come, ended or gone: whoever may have more is woken soon."""
        self._counted_at = float("-inf")
        if self._waiting:
            self._look_again_in(_GATHER_SECONDS)

    @property
    def waiting(self) -> int:
        """Jobs that wait for their turn."""
        return len(self._waiting)

    @property
    def _now(self) -> float:
        return self._loop.time()

    def _look_again_in(self, seconds: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= self._now + seconds:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._offer)

    def _offer(self) -> None:
        """Wake who may have more."""
        self._timer = None
        ends = []
        for key, pods in self._shares().items():
            waiting = self._waiting[key]
            if not pods or waiting.uid in self._promised:
                continue
            if waiting.offered_until is None:
                waiting.offered_until = self._now + OFFERED_SECONDS
                self._ring(key)
            ends.append(waiting.offered_until)
        if ends:
            self._look_again_in(max(min(ends) - self._now, 0.0))

    def _shares(self) -> dict[str, int]:
        """What each job that waits may launch now; those that let their turn go by get nothing until they decide."""
        claims = [
            replace(waiting.claim, holds=self._holds(waiting.uid))
            for waiting in self._waiting.values()
            if waiting.offered_until is None or waiting.offered_until > self._now
        ]
        return shares(claims, self.caps, self._taken())

    def _holds(self, uid: str) -> int:
        """Pods that a job has or that are promised to it."""
        return max(self._promised.get(uid, 0), self._at_work()[uid] + self._expectations.creates(uid))

    def _taken(self) -> int:
        """Pods that all jobs have or that are promised to them."""
        return sum(map(self._holds, {*self._at_work(), *self._promised, *self._expectations.owners()}))

    def _at_work(self) -> Counter[str]:
        """UID of a job -> its pods that have not ended and whose nodes were not given up."""
        if self._now - self._counted_at >= _COUNT_SECONDS:
            now = self._clock()
            self._counted = Counter(pod.job_uid for pod in self._pods if not pod.terminal and not is_dead(pod, now))
            self._counted_at = self._now
        return self._counted


def _is_idle(job: Job) -> bool:
    """Whether a job wants no pods, as far as its spec and status tell."""
    spec, status = job.get("spec") or {}, job.get("status") or {}
    ended = any(
        each.get("type") == ConditionType.FINISHED and each.get("status") == "True"
        for each in status.get("conditions") or ()
    )
    return ended or bool(spec.get("suspend") or spec.get("cancel") or job["metadata"].get("deletionTimestamp"))
