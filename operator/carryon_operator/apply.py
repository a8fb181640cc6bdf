"""The only place with effects: a plan is carried out in the one order in which a crash at any point costs nothing.

1. A done.json that does not verify goes before its unit is launched, or it would refuse the remake.
2. Ends of logs of failed pods go into the bucket, while those pods are still there.
3. Status is written once: verdicts and the UIDs they stand for in the same write.
4. Pods are deleted that the written status has recorded, never before.
5. Pods are created; what was created and not yet seen is an expectation. Last, so that a create that is refused hides
   nothing; and not held up by the pace of writes, so that a free slot is filled at once.

Journals that nobody goes on from any more are deleted after that. Of a job that has ended, outdated artifacts go once
that is written, and the job itself when its time is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

from carryon_core.messages import ASSIGNMENT_INLINE, Assignment, StoreConfig
from carryon_core.spec import JobSpec, Output
from carryon_core.standing import Standing
from carryon_core.status import ConditionType, JobStatus
from carryon_kube.client import Body, Client
from carryon_kube.errors import AlreadyExists, ApiError, NotFound, Unavailable
from carryon_kube.ratelimit import Backoff
from carryon_kube.resources import GENERATION_JOBS
from carryon_operator import pods, tails
from carryon_operator.config import Config
from carryon_operator.jobs import JobCache
from carryon_operator.kube.events import EventRecorder
from carryon_operator.looks import Busy, Looks
from carryon_operator.memory import Doubtful, JobMemory
from carryon_operator.metrics import Metrics
from carryon_operator.plan import conditions
from carryon_operator.plan.model import Observation, Plan, PodCreate
from carryon_operator.podcontrol import PodControl
from carryon_operator.refusals import INVALID, PodRefused, explain, is_final
from carryon_store import Store, StoreError
from carryon_store.pruning import prune
from carryon_store.records import put_assignment

WRITE_INTERVAL: Final = 1.0
"""Seconds between two writes of one job's status."""
TURN: Final = 2.0
"""Seconds after which a job begins to create or delete no more pods until other jobs have had their turn: a worker that
waits for the rate of writes is missed by them."""
_AT_ONCE: Final = 32
"""Pods created or deleted at a time, at most."""

_KEEP_OUTDATED: Final[int] = Output.model_fields["keep_outdated"].default

T = TypeVar("T")

log = logging.getLogger(__name__)


class Applier:
    """Carries plans out."""

    def __init__(
        self,
        config: Config,
        client: Client,
        jobs: JobCache,
        pod_control: PodControl,
        recorder: EventRecorder,
        looks: Looks,
        monotonic: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._metrics = metrics
        self._config = config
        self._client = client
        self._jobs = jobs
        self._pod_control = pod_control
        self._recorder = recorder
        self._looks = looks
        self._monotonic = monotonic
        self._backoff = Backoff(1.0, 30.0)

    async def apply(self, raw: Mapping[str, Any], seen: Observation, plan: Plan, memory: JobMemory) -> float | None:
        """Carry out a plan.

        Returns:
            Seconds until the rest of it can be done, None if nothing is left.

        Raises:
            ApiError, StoreError, Busy: Something did not work; the next reconcile starts over from what is then.
        """
        for bad in plan.discard:
            log.warning(
                "%s/%s: %s does not verify (%s) and is removed", seen.namespace, seen.name, bad.prefix, bad.reason
            )
            await self._at_bucket(memory, partial(memory.bucket.discard, bad=bad))
        try:
            waits = [await self._report(raw, seen, plan, memory)]
        except NotFound:
            # Deleted, and the doorbell has not told yet: its pods go with it.
            self._jobs.remove(raw)
            return None
        # Make sure that what is counted once is told before it has consequences: a unit that failed may be done by the
        # next write, and then nobody would know.
        if waits[0] is not None and _counted(seen.status, plan.status):
            return waits[0]
        waits.append(await self._launch(raw, seen, plan, memory))
        # Last: nobody waits for it.
        if plan.garbage:
            await self._collect(seen, memory)
        if plan.remove:
            await self._remove(raw)
        return min((wait for wait in waits if wait is not None), default=None)

    def forget(self, uid: str) -> None:
        """A job is gone: nobody waits for its next try."""
        self._backoff.forget(uid)

    async def settle(self, raw: Mapping[str, Any], memory: JobMemory) -> None:
        """Find out what became of writes that were never answered, before anything is decided on.

        Raises:
            ApiError: That can't be known yet.
        """
        self._settle_write(raw, memory)
        for name in sorted(memory.unanswered):
            try:
                await self._settle_create(raw["metadata"]["namespace"], name, memory)
            except PodRefused as refusal:
                self._refuse(raw, memory, refusal)

    async def _report(self, raw: Mapping[str, Any], seen: Observation, plan: Plan, memory: JobMemory) -> float | None:
        """Write status, then delete what it has recorded; seconds until that can be done, or go on."""
        changes = merge_patch(raw.get("status") or {}, _dumped(plan.status))
        if changes:
            wait = memory.wrote_at + WRITE_INTERVAL - self._monotonic()
            # Make sure that a job which was taken up again is seen so: its next end is another one.
            if wait > 0 and not _taken_up(seen.status, plan.status):
                return wait
            await self._keep_tails(seen, plan, memory)
            try:
                await self._write(raw, changes)
            except Unavailable:
                memory.doubtful = Doubtful(raw["metadata"]["resourceVersion"], seen.status, plan)
                raise
            memory.wrote_at = self._monotonic()
        self._written(raw, seen.status, plan, memory)
        deleted = await self._by_and_by(plan.delete, partial(self._pod_control.delete, seen.namespace, seen.uid))
        if plan.prune:
            await self._prune(seen, plan, memory)
        return 0.0 if deleted < len(plan.delete) else None

    def _settle_write(self, raw: Mapping[str, Any], memory: JobMemory) -> None:
        """Do what follows a status write that was never answered, once it shows that it was done."""
        doubtful = memory.doubtful
        if doubtful is None or raw["metadata"]["resourceVersion"] == doubtful.version:
            return
        memory.doubtful = None
        if (raw.get("status") or {}) == _dumped(doubtful.plan.status):
            self._written(raw, doubtful.before, doubtful.plan, memory)

    def _written(self, raw: Mapping[str, Any], before: JobStatus, plan: Plan, memory: JobMemory) -> None:
        """Status holds what was decided: tell of it, and count it, once."""
        memory.doubtful = None
        memory.retry_at, memory.stopped = plan.retry_at, plan.stopped
        self._metrics.wrote(before, plan.status)
        self._metrics.book(plan.spending)
        self._metrics.notified(plan.notified)
        for event in plan.events:
            self._recorder.event(raw, event.type, event.reason, event.message)

    async def _at_bucket(self, memory: JobMemory, work: Callable[[Store], T]) -> T:
        """Do something with the job's bucket, in a thread of those that are for it.

        Raises:
            StoreError, Busy: It did not work, or can't be begun now.
        """
        assert memory.store is not None
        assert memory.config is not None
        return await self._looks.run(memory.config, partial(work, memory.store))

    async def _keep_tails(self, seen: Observation, plan: Plan, memory: JobMemory) -> None:
        """Keep what failed pods logged last. Worth a try, and no more: no verdict waits for it."""
        for batch in tails.batches(plan.tails):
            found = await tails.read(self._client, seen.name, batch, seen.done)
            try:
                await self._at_bucket(memory, partial(tails.keep, tails=found))
            except (StoreError, Busy) as error:
                log.warning("%s/%s: logs of failed pods are not kept: %s", seen.namespace, seen.name, error)
                return

    async def _collect(self, seen: Observation, memory: JobMemory) -> None:
        """Delete what nobody goes on from any more. What is left is found again by the next look."""
        try:
            count = await self._at_bucket(memory, memory.bucket.collect)
        except (StoreError, Busy) as error:
            log.warning("%s/%s: journals that nobody goes on from stay: %s", seen.namespace, seen.name, error)
        else:
            log.info(
                "%s/%s: %d objects of journals that nobody goes on from are gone", seen.namespace, seen.name, count
            )

    async def _prune(self, seen: Observation, plan: Plan, memory: JobMemory) -> None:
        """Delete outdated artifacts. What is left goes when the job ends another time."""
        assert seen.spec is not None
        if plan.standing is None:
            return
        keep = seen.spec.output.keep_outdated if seen.spec.output else _KEEP_OUTDATED
        work = partial(prune, job=plan.standing.job, keep=keep, now=datetime.fromtimestamp(seen.now, UTC))
        try:
            await self._at_bucket(memory, work)
        except (StoreError, Busy) as error:
            log.warning("%s/%s: outdated artifacts stay: %s", seen.namespace, seen.name, error)

    async def _remove(self, raw: Mapping[str, Any]) -> None:
        """Delete the job, if it is still as it was when that was decided.

        Raises:
            Conflict: It is not: somebody may want more of it.
        """
        metadata = raw["metadata"]
        with suppress(NotFound):
            await self._client.delete(
                GENERATION_JOBS,
                metadata["name"],
                namespace=metadata["namespace"],
                uid=metadata["uid"],
                version=metadata["resourceVersion"],
                propagation="Background",
            )

    async def _write(self, raw: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        metadata = raw["metadata"]
        written = await self._client.patch(
            GENERATION_JOBS,
            metadata["name"],
            {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": changes},
            namespace=metadata["namespace"],
            subresource="status",
        )
        self._jobs.put(written)

    async def _launch(self, raw: Mapping[str, Any], seen: Observation, plan: Plan, memory: JobMemory) -> float | None:
        """Create pods; seconds until what was refused is tried again, or what was learned from it is told."""
        try:
            created = await self._by_and_by(plan.create, lambda pod: self._create(seen, plan, pod, memory))
        except PodRefused as refusal:
            return self._refuse(raw, memory, refusal)
        self._backoff.forget(seen.uid)
        memory.refused = None
        if created < len(plan.create):
            return 0.0
        return None if seen.refused is None else WRITE_INTERVAL

    async def _by_and_by(self, items: Sequence[T], do: Callable[[T], Awaitable[None]]) -> int:
        """Do something with items, 1, 2, 4, ... at a time: what goes wrong with all of them costs one request, not 500.

        Returns:
            How many it was done with; fewer than all where that takes longer than a job's turn.

        Raises:
            Exception: The first of the batch that something went wrong in; nothing after it is begun.
        """
        at, size, over = 0, 1, self._monotonic() + TURN
        while at < len(items) and (not at or self._monotonic() < over):
            results = await asyncio.gather(*map(do, items[at : at + size]), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            at, size = min(at + size, len(items)), min(size * 2, _AT_ONCE)
        return at

    def _refuse(self, raw: Mapping[str, Any], memory: JobMemory, refusal: PodRefused) -> float:
        """Remember a refusal for the next observation, which tells of it; seconds until the next try."""
        memory.refused, memory.refusal = str(refusal), refusal.reason
        self._metrics.refused(refusal.reason)
        wait = self._backoff.next(memory.uid)
        log.warning("%s/%s: %s; again in %.1f s", raw["metadata"]["namespace"], raw["metadata"]["name"], refusal, wait)
        return wait

    async def _create(self, seen: Observation, plan: Plan, wanted: PodCreate, memory: JobMemory) -> None:
        """Create a pod; its name says what it is for, so that asking twice makes one.

        Raises:
            PodRefused: Nor would the next attempt work.
            ApiError: It may work another time.
        """
        assert seen.spec is not None
        assert plan.standing is not None
        assigned = await self._assignment(plan.standing, seen.spec, wanted, memory)
        body = self._body(seen, plan.standing, wanted, assigned)
        try:
            await self._pod_control.create(seen.namespace, seen.uid, body)
        except AlreadyExists:
            memory.unanswered.add(wanted.name)
            await self._settle_create(seen.namespace, wanted.name, memory)
        except Unavailable:
            memory.unanswered.add(wanted.name)
            raise
        except ApiError as error:
            if is_final(error):
                raise explain(error, seen.spec.stages[wanted.stage].name) from error
            raise

    async def _settle_create(self, namespace: str, name: str, memory: JobMemory) -> None:
        """Find out whether a pod that may be there is ours.

        Raises:
            PodRefused: Another of that name is in the way.
            ApiError: That can't be known yet.
        """
        refusal = await self._pod_control.settle(namespace, memory.uid, name)
        memory.unanswered.discard(name)
        if refusal is not None:
            raise refusal

    def _body(self, seen: Observation, standing: Standing, wanted: PodCreate, assigned: str) -> Body:
        assert seen.spec is not None
        try:
            return pods.build(
                standing=standing,
                spec=seen.spec,
                job_uid=seen.uid,
                pod=wanted,
                assigned=assigned,
                config=self._config,
            )
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # The template is free-form: the API server has not looked inside.
            raise PodRefused(INVALID, f"no pod can be made with spec.podTemplate: {error}; correct it") from error

    async def _assignment(self, standing: Standing, spec: JobSpec, wanted: PodCreate, memory: JobMemory) -> str:
        """Value of CARRYON_ASSIGNMENT: the assignment, or a pointer to where it lies in the bucket."""
        assert memory.config is not None
        # Off the event loop: units are rendered anew, and one that gathers may have 100,000 inputs.
        made, text = await asyncio.to_thread(_assigned, standing, spec, memory.config, wanted)
        if len(text.encode()) > ASSIGNMENT_INLINE:
            pointer = await self._at_bucket(memory, partial(put_assignment, assignment=made))
            text = pointer.model_dump_json(by_alias=True, exclude_none=True)
        # The kubelet expands $(NAME) in values; JSON can say a dollar sign without one.
        return text.replace("$", "\\u0024")


def _dumped(status: JobStatus) -> dict[str, Any]:
    return status.model_dump(by_alias=True, mode="json", exclude_none=True)


def _taken_up(before: JobStatus, after: JobStatus) -> bool:
    """Whether a job that had ended has something to do again."""
    finished = ConditionType.FINISHED
    return conditions.holds(before, finished) and not conditions.holds(after, finished)


def _counted(before: JobStatus, after: JobStatus) -> bool:
    """Whether a decision counts something or answers a request."""
    return before.counters != after.counters or before.handled != after.handled


def _assigned(standing: Standing, spec: JobSpec, store: StoreConfig, wanted: PodCreate) -> tuple[Assignment, str]:
    """An assignment, and as JSON."""
    made = pods.assignment(standing, spec, store, wanted)
    return made, made.model_dump_json(by_alias=True, exclude_none=True)


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that makes `new` of `old`; empty where they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif isinstance(value, Mapping) and isinstance(old[key], Mapping):
            if inner := merge_patch(old[key], value):
                patch[key] = inner
        elif old[key] != value:
            patch[key] = value
    return patch
