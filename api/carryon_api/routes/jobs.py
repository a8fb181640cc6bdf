"""Jobs as a list, and each by itself: read, made, edited, deleted."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field
from starlette.responses import Response

from carryon_api import carrying, manifests
from carryon_api.access import CallerOf, ClusterOf, ReadableJob, require
from carryon_api.access.dependencies import NamePath, NamespacePath
from carryon_api.carrying import Done
from carryon_api.listing import Filter, page
from carryon_api.problems import Problem, responses
from carryon_api.records import JobRecord
from carryon_api.routes.session import listable
from carryon_api.shapes import Shape
from carryon_api.summaries import JobSummary, summary
from carryon_core import names
from carryon_kube.resources import GENERATION_JOBS

router = APIRouter(prefix="/api/v1", tags=["jobs"])
ONE: Final = "/namespaces/{namespace}/jobs/{name}"
MANAGER: Final = "carryon"
"""Owner of the fields of jobs that are made here, as of those that the command makes."""
EXAMPLE: Final = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND,
    "metadata": {"name": "reel-42"},
    "spec": {
        "items": {"count": 15},
        "stages": [{"name": "clip", "generate": {"command": {"args": ["python", "clip.py"]}}}],
    },
}
MANIFEST: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"$ref": "#/components/schemas/GenerationJob"}, "example": EXAMPLE}
            for kind in (manifests.JSON, manifests.YAML)
        },
    }
}
"""What OpenAPI says of a body that is a manifest."""


class JobList(Shape):
    """A page of jobs: those at work first, then the most recent."""

    items: list[JobSummary]
    continue_: str | None = Field(alias="continue", description="Where the next page begins; null on the last one.")
    total: int = Field(description="Jobs on all pages.", examples=[42])


class JobDetail(JobSummary):
    """A job with its manifest."""

    object: dict[str, Any] = Field(description="As Kubernetes has it, without managedFields.")


@router.get("/jobs", response_model=JobList, responses=responses(400, 422))
async def list_jobs(
    caller: CallerOf,
    cluster: ClusterOf,
    namespace: Annotated[str | None, Query(description="Only of this namespace.", max_length=63)] = None,
    phase: Annotated[list[str] | None, Query(description="Only in one of these phases.", max_length=16)] = None,
    label_selector: Annotated[
        str, Query(alias="labelSelector", description="As kubectl takes it.", max_length=2048, examples=["team=art"])
    ] = "",
    search: Annotated[str, Query(description="Only with this in name, namespace or message.", max_length=253)] = "",
    active: Annotated[bool | None, Query(description="Only those not ended (true), or ended (false).")] = None,
    limit: Annotated[int, Query(description="Jobs on a page.", ge=1, le=500)] = 100,
    continue_: Annotated[str | None, Query(alias="continue", description="Of the page before.", max_length=600)] = None,
) -> Response:
    """The jobs that the caller may list."""
    known(cluster)
    allowed = await listable(caller, cluster, namespace)
    wanted = Filter.of(phase=phase, label_selector=label_selector, search=search, active=active)
    found = page((job for job in cluster.jobs() if job.namespace in allowed), wanted, limit, continue_)
    # Each summary was made into JSON when its job changed: a list costs what it takes to put them together.
    items = b",".join(cluster.summaries.json_of(job) for job in found.items)
    rest = orjson.dumps({"continue": found.continue_, "total": found.total})
    return Response(b'{"items":[' + items + b"]," + rest[1:], media_type=manifests.JSON)


@router.get(ONE, response_model=JobDetail, responses=responses(404, 422))
async def get_job(job: ReadableJob, cluster: ClusterOf) -> Response:
    """A job with its manifest, as Kubernetes has it at this moment."""
    fresh = await cluster.fresh(job.namespace, job.name)
    if fresh is None:
        raise Problem("not-found", f'there is no job "{job.name}" in namespace "{job.namespace}"')
    return await _told(cluster, fresh)


@router.post(
    "/namespaces/{namespace}/jobs",
    status_code=201,
    response_model=JobDetail,
    dependencies=[Depends(require("create"))],
    responses=responses(400, 404, 409, 415, 422),
    openapi_extra=MANIFEST,
)
async def create_job(
    request: Request,
    caller: CallerOf,
    cluster: ClusterOf,
    namespace: NamespacePath,
    dry_run: Annotated[bool, Query(alias="dryRun", description="Only have Kubernetes check it.")] = False,
) -> Response:
    """Make a job from a manifest. An exported one will do: what belonged to the other job is left out."""
    manifest = manifests.fresh(manifests.placed(await manifests.read(request), namespace))
    manifests.named(manifest)
    made = await cluster.as_caller(caller).create(
        GENERATION_JOBS, manifest, namespace=namespace, strict=True, dry_run=dry_run, manager=MANAGER
    )
    return await _told(cluster, JobRecord.of(made), 201)


@router.put(
    ONE,
    response_model=JobDetail,
    dependencies=[Depends(require("update"))],
    responses=responses(400, 404, 409, 415, 422),
    openapi_extra=MANIFEST,
)
async def edit_job(
    request: Request, caller: CallerOf, cluster: ClusterOf, namespace: NamespacePath, name: NamePath
) -> Response:
    """Put a whole manifest in the place of the one that is there: what it changes is made anew, all else is kept.

    It holds the resourceVersion that it was made from, so that what somebody else changed meanwhile is not lost.
    """
    manifest = manifests.placed(await manifests.read(request), namespace)
    if manifests.named(manifest) != name:
        raise wrong("metadata.name", f"is {manifest['metadata']['name']}: a job keeps its name")
    if not manifest["metadata"].get("resourceVersion"):
        raise wrong("metadata.resourceVersion", "is missing: begin with the manifest as GET shows it")
    made = await cluster.as_caller(caller).update(GENERATION_JOBS, name, manifest, namespace=namespace, strict=True)
    return await _told(cluster, JobRecord.of(made))


@router.delete(
    ONE,
    status_code=202,
    dependencies=[Depends(require("delete"))],
    responses=responses(404, 409, 422),
    tags=["actions"],
)
async def delete_job(caller: CallerOf, cluster: ClusterOf, namespace: NamespacePath, name: NamePath) -> Done:
    """Delete a job. Its pods stop; its artifacts stay unless output.onDelete says otherwise."""
    return await carrying.delete(cluster, caller, namespace, name)


def detail(job: JobRecord) -> JobDetail:
    """The detail of a job."""
    shown = {"apiVersion": names.API_VERSION, "kind": names.KIND, **job.raw}
    made = summary(job, time.time())
    return JobDetail(**{name: getattr(made, name) for name in JobSummary.model_fields}, object=shown)


async def _told(cluster: ClusterOf, job: JobRecord, status: int = 200) -> Response:
    """The detail of a job as an answer, made beside the event loop: its spec may hold a thousand items."""
    content = await cluster.compute(lambda: detail(job).model_dump_json(by_alias=True))
    return Response(content, status, media_type=manifests.JSON)


def wrong(field: str, message: str) -> Problem:
    """422 for one field."""
    return Problem("invalid", f"{field} {message}", errors=[{"field": field, "message": message}])


def known(cluster: ClusterOf) -> None:
    """Make sure that nobody takes the beginning of a list for all of it.

    Raises:
        Problem: 503.
    """
    wrong = cluster.wrong()
    if "jobs" in wrong and "listed" in wrong["jobs"]:
        raise Problem("unavailable", "jobs are not listed yet: try again in a moment", headers={"Retry-After": "1"})
