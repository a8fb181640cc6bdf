"""The report on a job, for whoever helps with it: the same as `carryon support` makes."""

from __future__ import annotations

import asyncio
import base64
import platform
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from fastapi import APIRouter
from starlette.responses import Response

from carryon_api.access import Caller, CallerOf, ClusterOf, ReadableJob
from carryon_api.cluster import Cluster, JobRecord
from carryon_api.problems import responses
from carryon_api.routes.jobs import ONE
from carryon_core import names
from carryon_jobs import support
from carryon_jobs.errors import JobError
from carryon_kube.client import Client
from carryon_kube.errors import ApiError
from carryon_kube.resources import EVENTS, PODS, Resource

router = APIRouter(prefix="/api/v1", tags=["jobs"])
_DEFINITIONS: Final = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
_LOGS_AT_ONCE: Final = 4
T = TypeVar("T")


@router.get(
    f"{ONE}/support",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}, "description": "The report."}, **responses(404, 422)},
)
async def report(job: ReadableJob, caller: CallerOf, cluster: ClusterOf) -> Response:
    """What helps to find out what is wrong with the job: status, events, logs, versions; no prompts, no secrets.

    Pods, Events and logs are read with the caller's own rights; what may not be read is named in the report.
    """
    evidence = await _evidence(job, caller, cluster)
    outside = await cluster.outside(job)
    packed = await cluster.in_thread(job.namespace, lambda: support.pack(outside, evidence))
    disposition = f'attachment; filename="{job.name}-support.zip"'
    return Response(packed, media_type="application/zip", headers={"Content-Disposition": disposition})


async def _evidence(job: JobRecord, caller: Caller, cluster: Cluster) -> support.Evidence:
    client = cluster.as_caller(caller)
    problems: list[str] = []

    async def asked(what: str, ask: Awaitable[T], otherwise: T) -> T:
        try:
            return await ask
        except (ApiError, JobError) as error:
            problems.append(f"{what}: {error}")
            return otherwise

    selector = f"{names.LABEL_JOB_UID}={job.uid}"
    pods = await asked("pods", _listed(client, PODS, job.namespace, selector), [])
    events = await asked("events", _listed(client, EVENTS, job.namespace), [])
    uids = {job.uid, *(pod["metadata"]["uid"] for pod in pods)}
    newest = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))[-support.PODS_MOST :]
    room = asyncio.Semaphore(_LOGS_AT_ONCE)

    async def log_of(name: str) -> tuple[str, str | None]:
        async with room:
            read = client.pod_log(
                name,
                namespace=job.namespace,
                container=names.CONTAINER,
                tail_lines=support.TAIL_LINES,
                limit_bytes=support.TAIL_BYTES,
            )
            return name, await asked(f"the log of {name}", read, "") or None

    logs = await asyncio.gather(*(log_of(pod["metadata"]["name"]) for pod in newest if support.wrote(pod)))
    secrets: list[str] = []
    unread: list[str] = []
    for secret in support.secrets_of(job.raw, pods, cluster.config.default_store_secret):
        found = await asked("a Secret that the job names", cluster.secret(job.namespace, secret), None)
        if found is None:
            unread.append(secret)
        else:
            secrets += [base64.b64decode(value).decode(errors="replace") for value in found.values()]
    definition = await asked("conditions of the CRD", client.get(_DEFINITIONS, names.CRD_NAME), None)
    return support.Evidence(
        pods=pods,
        events=[event for event in events if support.about(event, uids, job.name)],
        logs={name: log for name, log in logs if log is not None},
        operator=[] if definition is None else [{**definition, "kind": "CustomResourceDefinition"}],
        versions={
            "carryon": cluster.config.version,
            "Python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        secrets=secrets,
        unread=unread,
        problems=problems,
    )


async def _listed(client: Client, resource: Resource, namespace: str, selector: str = "") -> list[dict[str, Any]]:
    pages = client.list_pages(resource, namespace=namespace, label_selector=selector)
    return [item async for page in pages for item in page.items]
