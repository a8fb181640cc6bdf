"""The only place with effects: a plan is carried out in the one order in which a crash at any point costs nothing.

1. A done.json that does not verify goes before its unit is launched, or it would refuse the remake.
2. Pods are created; what was created and not yet seen is an expectation.
3. Status is written once: verdicts and the UIDs they stand for in the same write.
4. Pods are deleted that the written status has recorded, never before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from carryon_core.messages import ASSIGNMENT_INLINE
from carryon_core.spec import Stage
from carryon_operator import pods
from carryon_operator.config import Config
from carryon_operator.jobs import JobCache
from carryon_operator.kube.client import Client
from carryon_operator.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from carryon_operator.kube.events import EventRecorder
from carryon_operator.kube.expectations import Expectations
from carryon_operator.kube.resources import GENERATION_JOBS, PODS
from carryon_operator.observe import JobMemory
from carryon_operator.plan.model import Observation, Plan, PodCreate, PodDelete
from carryon_store.records import put_assignment

WRITE_INTERVAL: Final = 1.0
"""Seconds between two writes of one job's status."""

log = logging.getLogger(__name__)


class Applier:
    """Carries plans out."""

    def __init__(
        self,
        config: Config,
        client: Client,
        jobs: JobCache,
        expectations: Expectations,
        recorder: EventRecorder,
    ) -> None:
        self._config = config
        self._client = client
        self._jobs = jobs
        self._expectations = expectations
        self._recorder = recorder

    async def apply(self, raw: Mapping[str, Any], seen: Observation, plan: Plan, memory: JobMemory) -> float | None:
        """Carry out a plan.

        Returns:
            Seconds until the rest of it can be done, None if nothing is left.

        Raises:
            ApiError, StoreError: Something did not work; the next reconcile starts over from what is then.
        """
        if plan.discard:
            assert memory.store is not None
            for bad in plan.discard:
                log.warning(
                    "%s/%s: %s does not verify (%s) and is removed", seen.namespace, seen.name, bad.prefix, bad.reason
                )
                await asyncio.to_thread(memory.bucket.discard, memory.store, bad)
        await self._create(seen, plan.create, memory)

        status = plan.status.model_dump(by_alias=True, mode="json", exclude_none=True)
        changes = merge_patch(raw.get("status") or {}, status)
        if changes:
            wait = memory.wrote_at + WRITE_INTERVAL - seen.now
            if wait > 0:
                return wait
            await self._write(raw, changes)
            memory.wrote_at = seen.now
        memory.retry_at = plan.retry_at
        for event in plan.events:
            self._recorder.event(raw, event.type, event.reason, event.message)
        await self._delete(seen, plan.delete)
        return None

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

    async def _create(self, seen: Observation, wanted: Sequence[PodCreate], memory: JobMemory) -> None:
        """Create pods in batches of 1, 2, 4, ...: a mistake that fails every one of them costs one request, not 500."""
        at, size = 0, 1
        while at < len(wanted):
            batch = wanted[at : at + size]
            results = await asyncio.gather(
                *(self._create_one(seen, each, memory) for each in batch), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            at, size = at + size, size * 2

    async def _create_one(self, seen: Observation, wanted: PodCreate, memory: JobMemory) -> None:
        assert seen.resolved is not None
        assert seen.spec is not None
        stage = seen.spec.stages[wanted.stage]
        body = pods.build(
            resolved=seen.resolved,
            spec=seen.spec,
            job_uid=seen.uid,
            pod=wanted,
            assigned=await self._assignment(seen, wanted, memory),
            image=self._config.worker_image,
            default_resources=self._default_resources(stage),
        )
        self._expectations.expect_create(seen.uid, wanted.name)
        try:
            await self._client.create(PODS, body, namespace=seen.namespace)
        except AlreadyExists:
            # Made by another operator, or by this one before its cache knew: it will be seen either way.
            self._expectations.cancel_create(seen.uid, wanted.name)
        except ApiError:
            self._expectations.cancel_create(seen.uid, wanted.name)
            raise

    async def _assignment(self, seen: Observation, wanted: PodCreate, memory: JobMemory) -> str:
        """Value of CARRYON_ASSIGNMENT: the assignment, or a pointer to where it lies in the bucket."""
        assert seen.resolved is not None
        assert seen.spec is not None
        assert memory.config is not None
        made = pods.assignment(seen.resolved, seen.spec, memory.config, wanted)
        text = made.model_dump_json(by_alias=True, exclude_none=True)
        if len(text.encode()) > ASSIGNMENT_INLINE:
            assert memory.store is not None
            pointer = await asyncio.to_thread(put_assignment, memory.store, made)
            text = pointer.model_dump_json(by_alias=True, exclude_none=True)
        # The kubelet expands $(NAME) in values; JSON can say a dollar sign without one.
        return text.replace("$", "\\u0024")

    def _default_resources(self, stage: Stage) -> Mapping[str, Any]:
        return self._config.default_resources if stage.generate.diffusers is not None else {}

    async def _delete(self, seen: Observation, wanted: Sequence[PodDelete]) -> None:
        async def one(pod: PodDelete) -> None:
            self._expectations.expect_delete(seen.uid, pod.uid)
            try:
                await self._client.delete(PODS, pod.name, namespace=seen.namespace, uid=pod.uid)
            except (NotFound, Conflict):
                self._expectations.cancel_delete(seen.uid, pod.uid)
            except ApiError:
                self._expectations.cancel_delete(seen.uid, pod.uid)
                raise

        await asyncio.gather(*map(one, wanted))


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
