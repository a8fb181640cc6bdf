"""Creates and deletes pods, and expects to see that: the informer shows it later than the server has answered.

The PodControl of the Kubernetes controllers (pkg/controller/controller_utils.go), with expectations in the same place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carryon_core import names
from carryon_kube.client import Body, Client
from carryon_kube.errors import AlreadyExists, ApiError, Conflict, NotFound, Unavailable
from carryon_kube.informer import Informer
from carryon_kube.resources import PODS
from carryon_operator.kube.expectations import Expectations
from carryon_operator.metrics import Metrics
from carryon_operator.plan.model import PodDelete, PodRecord
from carryon_operator.podstatus import project
from carryon_operator.refusals import NAME_TAKEN, PodRefused


class PodControl:
    """Writes pods of jobs."""

    def __init__(self, client: Client, pods: Informer[PodRecord], expectations: Expectations, metrics: Metrics) -> None:
        self._client = client
        self._pods = pods
        self._expectations = expectations
        self._metrics = metrics

    async def create(self, namespace: str, job_uid: str, body: Body) -> None:
        """Create a pod of a job.

        Raises:
            AlreadyExists, Unavailable: There is one of that name, or may be; it is expected until `settle` is asked.
            ApiError: There is none.
        """
        name = body["metadata"]["name"]
        self._expectations.expect_create(job_uid, name)
        try:
            await self._client.create(PODS, body, namespace=namespace)
        except (AlreadyExists, Unavailable):
            raise
        except ApiError:
            self._expectations.cancel_create(job_uid, name)
            raise
        self._metrics.created()

    async def settle(self, namespace: str, job_uid: str, name: str) -> PodRefused | None:
        """Expect a pod that may be there already only if it will be shown to us, and was not yet.

        Returns:
            That a pod of that name is in the way, None if none is.

        Raises:
            ApiError: It can't be known.
        """
        try:
            found = await self._client.get(PODS, name, namespace=namespace)
        except NotFound:
            self._expectations.cancel_create(job_uid, name)
            return None
        shown = any(pod.name == name for pod in self._pods.get_by_owner(job_uid))
        if not shown and _will_be_shown(found, job_uid):
            self._metrics.created()
            return None
        self._expectations.cancel_create(job_uid, name)
        if shown:
            return None
        return PodRefused(NAME_TAKEN, f'pod "{name}" exists already but is not known as one of this job: delete it')

    async def delete(self, namespace: str, job_uid: str, pod: PodDelete) -> None:
        """Delete a pod of a job, if it is still there.

        Raises:
            ApiError: It did not work.
        """
        self._expectations.expect_delete(job_uid, pod.uid)
        try:
            await self._client.delete(PODS, pod.name, namespace=namespace, uid=pod.uid, grace_seconds=pod.grace)
        except (NotFound, Conflict):
            self._expectations.cancel_delete(job_uid, pod.uid)
        except ApiError:
            self._expectations.cancel_delete(job_uid, pod.uid)
            raise
        else:
            self._metrics.deleted()


def _will_be_shown(pod: Mapping[str, Any], job_uid: str) -> bool:
    """Whether our informer shows a pod as one of this job."""
    labels = pod["metadata"].get("labels") or {}
    return labels.get(names.MANAGED_BY) == names.MANAGED_BY_CARRYON and project(pod).job_uid == job_uid
