"""`output.onDelete: Delete`: the end of a job takes its artifacts along.

A finalizer holds the job until that is done: pods first, for who is at work writes, then everything below the job's
prefix. It never holds a namespace for long: what can't be deleted within a while stays, and an Event says so.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

from pydantic import ValidationError

from carryon_core import layout, names
from carryon_core.errors import SpecError
from carryon_core.spec import JobSpec
from carryon_kube.client import Client
from carryon_kube.errors import Forbidden, NotFound
from carryon_kube.resources import GENERATION_JOBS, NAMESPACES
from carryon_operator.jobs import Job, JobCache
from carryon_operator.kube.events import EventRecorder
from carryon_operator.looks import Busy, Looks
from carryon_operator.memory import JobMemory
from carryon_operator.observe import Observer
from carryon_operator.plan.counting import DEAD_AFTER, is_dead
from carryon_operator.plan.model import PodDelete, PodRecord
from carryon_operator.podcontrol import PodControl
from carryon_store import StoreError
from carryon_store.deleting import DELETED_AT_ONCE, delete_prefix

PATIENCE: Final = 600.0
"""Seconds after the deletion of a job until artifacts that can't be deleted stay."""
_RETRY: Final = 10.0

log = logging.getLogger(__name__)


def wants_finalizer(job: Job) -> bool:
    """Whether the artifacts are to go with the job."""
    output = (job.get("spec") or {}).get("output") or {}
    return bool(output.get("onDelete") == "Delete")


def has_finalizer(job: Job) -> bool:
    """Whether the job waits for us when it is deleted."""
    return names.FINALIZER in (job["metadata"].get("finalizers") or ())


class Deletion:
    """Sets the finalizer while it is wanted, and does what it stands for."""

    def __init__(
        self,
        client: Client,
        jobs: JobCache,
        pod_control: PodControl,
        recorder: EventRecorder,
        looks: Looks,
        observer: Observer,
    ) -> None:
        self._client = client
        self._jobs = jobs
        self._pod_control = pod_control
        self._recorder = recorder
        self._looks = looks
        self._observer = observer

    async def prepare(self, raw: Job) -> Job | None:
        """See that a job has the finalizer exactly while it wants it.

        Returns:
            The job as it is then, None if it is gone.

        Raises:
            Conflict: Somebody changed it meanwhile.
            ApiError: It did not work; no pod may be created for a job that wants it.
        """
        wanted = wants_finalizer(raw)
        if wanted == has_finalizer(raw):
            return raw
        return await self._set_finalizer(raw, wanted)

    async def carry_out(self, raw: Job, pods: Sequence[PodRecord], memory: JobMemory, now: float) -> float | None:
        """Bring the deletion of a job one step further.

        Args:
            raw: A job that is being deleted and has the finalizer.
            pods: That are still there.
            memory: Of the job.
            now: Seconds since the epoch.

        Returns:
            Seconds until the next step, None if a change brings it, or nothing is left to do.

        Raises:
            ApiError: It did not work; the next reconcile goes on from what is then.
        """
        if not wants_finalizer(raw):
            await self._set_finalizer(raw, False)
            return None
        # Make sure that nobody writes behind our back: pods that have ended don't, nor those on nodes that are lost.
        left = [pod for pod in pods if not pod.terminal and not is_dead(pod, now)]
        if left:
            return await self._end(raw, left, now)
        try:
            spec = JobSpec.model_validate(raw.get("spec") or {})
            resolved = ((raw.get("status") or {}).get("resolved") or {}).get("output")
            metadata = raw["metadata"]
            await self._observer.open_store(metadata["namespace"], spec, resolved, memory)
            deleted = await self._delete_artifacts(raw, memory)
        except Busy:
            return 1.0
        except ValidationError:
            return await self._put_off(raw, memory, now, "its spec can't be read")
        except (SpecError, StoreError, Forbidden) as error:
            memory.store = None  # The Secret may come back, with other keys.
            return await self._put_off(raw, memory, now, str(error))
        if deleted == DELETED_AT_ONCE:
            return 0.0
        log.info("%s/%s: artifacts are deleted", metadata["namespace"], metadata["name"])
        await self._set_finalizer(raw, False)
        return None

    async def _end(self, raw: Job, pods: Sequence[PodRecord], now: float) -> float | None:
        """Delete the job's pods; their ends ring, but for those whose nodes are lost."""
        namespace, uid = raw["metadata"]["namespace"], raw["metadata"]["uid"]
        for pod in pods:
            if pod.gone_by is None:
                await self._pod_control.delete(namespace, uid, PodDelete(pod.name, pod.uid))
        ends = [pod.gone_by + DEAD_AFTER - now for pod in pods if pod.gone_by is not None]
        return min(ends, default=None)

    async def _delete_artifacts(self, raw: Job, memory: JobMemory) -> int:
        assert memory.store is not None
        assert memory.config is not None
        prefix = layout.job_prefix(raw["metadata"]["namespace"], raw["metadata"]["name"])
        return await self._looks.run(memory.config, partial(delete_prefix, memory.store, prefix))

    async def _put_off(self, raw: Job, memory: JobMemory, now: float, why: str) -> float | None:
        """Artifacts can't be deleted now: try again for a while, and never hold up the end of a namespace."""
        metadata = raw["metadata"]
        asked = datetime.fromisoformat(metadata["deletionTimestamp"]).timestamp()
        if now < asked + PATIENCE and not await self._namespace_ends(metadata["namespace"]):
            log.warning("%s/%s: artifacts are not deleted yet: %s", metadata["namespace"], metadata["name"], why)
            return min(_RETRY, asked + PATIENCE - now)
        where = f"{memory.config.uri}/" if memory.config is not None else "its output, below "
        prefix = f"{where}{layout.job_prefix(metadata['namespace'], metadata['name'])}"
        told = f"spec.output.onDelete is Delete, but {prefix} stays: {why}"
        self._recorder.event(raw, "Warning", "ArtifactsKept", told)
        log.warning("%s/%s: %s", metadata["namespace"], metadata["name"], told)
        await self._set_finalizer(raw, False)
        return None

    async def _namespace_ends(self, namespace: str) -> bool:
        """Whether the whole namespace is being deleted: what the job needs may be gone for good."""
        try:
            found = await self._client.get(NAMESPACES, namespace)
        except NotFound:
            return True
        except Forbidden:
            return False  # An operator of a few namespaces may not look: then the wait is all there is.
        return "deletionTimestamp" in found["metadata"]

    async def _set_finalizer(self, raw: Job, wanted: bool) -> Job | None:
        metadata = raw["metadata"]
        others = [each for each in metadata.get("finalizers") or () if each != names.FINALIZER]
        # With the version: a merge patch sets the whole list, also over what others put into it meanwhile.
        patch = {
            "metadata": {
                "resourceVersion": metadata["resourceVersion"],
                "finalizers": [*others, names.FINALIZER] if wanted else others,
            }
        }
        try:
            written = await self._client.patch(
                GENERATION_JOBS, metadata["name"], patch, namespace=metadata["namespace"]
            )
        except NotFound:
            self._jobs.remove(raw)
            return None
        self._jobs.put(written)
        return written
