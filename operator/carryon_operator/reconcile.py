"""One job at a time: look, decide, act. Asks the same question each time, so a lost doorbell costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from carryon_kube.client import Client
from carryon_kube.informer import Informer
from carryon_operator.apply import Applier
from carryon_operator.config import Config
from carryon_operator.deletion import Deletion, has_finalizer
from carryon_operator.jobs import Job, JobCache, key_of
from carryon_operator.kube.events import EventRecorder
from carryon_operator.kube.expectations import Expectations
from carryon_operator.looks import Busy, Looks
from carryon_operator.memory import JobMemory
from carryon_operator.metrics import Metrics
from carryon_operator.notify.notifier import Notifier
from carryon_operator.observe import Observer
from carryon_operator.plan.decide import decide
from carryon_operator.plan.model import Observation, Plan, PodRecord
from carryon_operator.podcontrol import PodControl
from carryon_operator.slots import Slots
from carryon_operator.vanished import with_vanished
from carryon_store.protocol import Guard

_OUTAGE_RETRY: Final = 10.0
"""Seconds between two looks at a bucket that gives no verdict."""
_BUSY_RETRY: Final = 1.0
"""Seconds until a job tries again whose bucket others are working on: it holds up no worker meanwhile."""
_CALLED_RETRY: Final = 30.0
"""Likewise where it is rung for when it is its turn."""
_UNSEEN_RETRY: Final = 0.25
"""Seconds between two looks at whether the last decision is seen by now."""
_REFUSED_RETRY: Final = 30.0
"""Seconds between two looks at a job that is not accepted: a Secret may have been created meanwhile."""
_LARGE: Final = 5_000
"""Units from which on a decision takes long enough to be made off the event loop."""


class Reconciler:
    """Brings jobs from what is to what is wanted."""

    def __init__(
        self,
        *,
        config: Config,
        client: Client,
        jobs: JobCache,
        pods: Informer[PodRecord],
        expectations: Expectations,
        recorder: EventRecorder,
        looks: Looks,
        notifier: Notifier,
        slots: Slots,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        metrics: Metrics | None = None,
        guard: Guard | None = None,
    ) -> None:
        """Prepare.

        Args:
            config: Of this operator.
            client: Of the API server.
            jobs: To look jobs up in.
            pods: To look their pods up in.
            expectations: Of pods that are still to be seen.
            recorder: Of Events.
            looks: Threads for buckets.
            notifier: Of webhooks.
            slots: That jobs share.
            clock: Seconds since the epoch, for what is compared with times of the cluster.
            monotonic: Seconds, for intervals: nobody sets that clock.
            metrics: To count in; None: in some of its own.
            guard: Asked before each write to a bucket.
        """
        self._jobs = jobs
        self._pods = pods
        self._expectations = expectations
        self._notifier = notifier
        self._slots = slots
        self.metrics = metrics or Metrics()
        self._observer = Observer(config, client, looks, monotonic, self.metrics, guard)
        pod_control = PodControl(client, pods, expectations, self.metrics)
        self._applier = Applier(config, client, jobs, pod_control, recorder, looks, monotonic, self.metrics)
        self._deletion = Deletion(client, jobs, pod_control, recorder, looks, self._observer)
        self._clock = clock
        self._memories: dict[str, JobMemory] = {}

    async def reconcile(self, key: str) -> float | None:
        """Look at a job, decide, act.

        Args:
            key: "namespace/name".

        Returns:
            Seconds until it wants to be looked at again, None if only a change can give it something to do.
        """
        raw = self._jobs.get(key)
        memory = self._memories.get(key)
        if raw is not None and raw["metadata"].get("deletionTimestamp") and not has_finalizer(raw):
            # Its pods go with it, by their ownerReferences.
            raw = None
        if memory is not None and (raw is None or raw["metadata"]["uid"] != memory.uid):
            self._forget(key, memory.uid)
            memory = None
        if raw is None:
            self._slots.forget(key)
            return None
        uid = raw["metadata"]["uid"]
        if memory is None:
            memory = self._memories[key] = JobMemory(uid)
        # What is already written is sent whatever becomes of the rest: its bucket may hang.
        self._notifier.look(key)
        wait = await self._settled(raw, memory)
        return _soonest(wait, self._notifier.look(key))

    async def _settled(self, raw: Job, memory: JobMemory) -> float | None:
        """Look, decide and act, if the last decision is seen."""
        await self._applier.settle(raw, memory)
        # Make sure that no decision is made before the last one is seen: a stale cache must not create twice.
        if not self._expectations.satisfied(memory.uid):
            return min(self._expectations.expires_in(memory.uid), _UNSEEN_RETRY)
        try:
            return await self._carry_on(raw, memory)
        except Busy as busy:
            self.metrics.put_off()
            return _CALLED_RETRY if busy.queued else _BUSY_RETRY

    def pod_gone(self, key: str, pod: PodRecord) -> None:
        """Keep what was seen last of a pod: it may have come and gone between two looks at its job."""
        memory = self._memories.get(key)
        if memory is not None and memory.uid == pod.job_uid:
            memory.gone[pod.uid] = pod

    def _forget(self, key: str, uid: str) -> None:
        """A job is gone: so is all that was kept of it."""
        del self._memories[key]
        self._notifier.forget(uid)
        self._applier.forget(uid)
        self._expectations.forget(uid)

    @property
    def remembered(self) -> int:
        """Jobs of which something is kept."""
        return len(self._memories)

    def journal_bytes(self) -> int:
        """Bytes of journals in the buckets of all jobs that are not over, as each was last looked at."""
        return sum(memory.bucket.journals for memory in self._memories.values())

    async def _carry_on(self, raw: Job, memory: JobMemory) -> float | None:
        """Look, decide and act, or bring the end of a job one step further."""
        now, pods = self._clock(), self._pods.get_by_owner(memory.uid)
        if raw["metadata"].get("deletionTimestamp"):
            return await self._deletion.carry_out(raw, pods, memory, now)
        recorded = frozenset((raw.get("status") or {}).get("recorded") or ())
        memory.pods = pods = with_vanished((*memory.pods, *memory.gone.values()), pods, recorded, now)
        memory.gone.clear()
        held = await self._deletion.prepare(raw)
        if held is None:
            return None
        refused = True
        try:
            seen, plan = await self._decide(held, pods, memory, now)
            if plan.sweep:
                seen, plan = await self._decide(held, pods, memory, now, sweep=True)
            wait = await self._applier.apply(held, seen, plan, memory)
            refused = memory.refused is not None
        finally:
            self._slots.leave(key_of(raw), memory.uid, failed=refused)

        waits = [wait, None if plan.wake_at is None else plan.wake_at - now]
        if seen.problem is not None:
            waits.append(_REFUSED_RETRY)
        elif seen.outage is not None:
            waits.append(_OUTAGE_RETRY)
        else:
            waits.append(self._observer.wakes_in(seen, memory))
        soonest = _soonest(*waits)
        return None if soonest is None else max(soonest, 0.05)

    async def _decide(
        self, raw: Job, pods: tuple[PodRecord, ...], memory: JobMemory, now: float, *, sweep: bool = False
    ) -> tuple[Observation, Plan]:
        """Look, and decide within what other jobs leave this one: promised to it until it has been carried out."""
        seen = await self._observer.observe(raw, pods, memory, now, sweep=sweep)
        key, priority = key_of(raw), seen.spec.priority if seen.spec is not None else 0
        room = self._slots.enter(key, memory.uid, priority)
        plan = await _decided(replace(seen, posted=self._notifier.posted(memory.uid), room=room))
        self._slots.take(key, memory.uid, takes=len(plan.create), wants=plan.waiting)
        if plan.sweep:
            # It keeps its place in the line, but no slot waits longer for it than for others: its bucket may hang.
            self._slots.leave(key, memory.uid, failed=False)
        return seen, plan


def _soonest(*waits: float | None) -> float | None:
    """The shortest wait; None where there is none."""
    return min((each for each in waits if each is not None), default=None)


async def _decided(seen: Observation) -> Plan:
    """The decision, off the event loop where there is much to decide."""
    large = seen.resolved is not None and seen.resolved.total > _LARGE
    return await asyncio.to_thread(decide, seen) if large else decide(seen)
