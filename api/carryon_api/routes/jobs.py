"""Jobs as a list, and each by itself: read, made, edited, deleted."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field

from carryon_api.access import CallerOf, ClusterOf, ReadableJob
from carryon_api.listing import Filter, page
from carryon_api.problems import Problem, responses
from carryon_api.records import JobRecord
from carryon_api.reviews import Access
from carryon_api.routes.session import visible_namespaces
from carryon_api.shapes import Shape
from carryon_api.summaries import JobSummary
from carryon_core import names

router = APIRouter(prefix="/api/v1", tags=["jobs"])
ONE: Final = "/namespaces/{namespace}/jobs/{name}"


class JobList(Shape):
    """A page of jobs: those at work first, then the most recent."""

    items: list[JobSummary]
    continue_: str | None = Field(alias="continue", description="Where the next page begins; null on the last one.")
    total: int = Field(description="Jobs on all pages.", examples=[42])


class JobDetail(JobSummary):
    """A job with its manifest."""

    object: dict[str, Any] = Field(description="As Kubernetes has it, without managedFields.")


@router.get("/jobs", responses=responses(400, 422))
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
) -> JobList:
    """The jobs that the caller may list."""
    known(cluster)
    if namespace is not None:
        await cluster.reviews.demand(caller, Access("list", namespace))
        allowed = {namespace}
    else:
        allowed = set(await visible_namespaces(caller, cluster))
    wanted = Filter.of(phase=phase, label_selector=label_selector, search=search, active=active)
    found = page((job for job in cluster.jobs() if job.namespace in allowed), wanted, limit, continue_)
    return JobList(
        items=[cluster.summaries.of(job) for job in found.items], continue_=found.continue_, total=found.total
    )


@router.get(ONE, responses=responses(404, 422))
async def get_job(job: ReadableJob, cluster: ClusterOf) -> JobDetail:
    """A job with its manifest, as Kubernetes has it at this moment."""
    fresh = await cluster.fresh(job.namespace, job.name)
    if fresh is None:
        raise Problem("not-found", f'there is no job "{job.name}" in namespace "{job.namespace}"')
    return detail(cluster, fresh)


def detail(cluster: ClusterOf, job: JobRecord) -> JobDetail:
    """The detail of a job."""
    shown = {"apiVersion": names.API_VERSION, "kind": names.KIND, **job.raw}
    summary = cluster.summaries.of(job)
    return JobDetail(**{name: getattr(summary, name) for name in JobSummary.model_fields}, object=shown)


def known(cluster: ClusterOf) -> None:
    """Make sure that nobody takes the beginning of a list for all of it.

    Raises:
        Problem: 503.
    """
    wrong = cluster.wrong()
    if "jobs" in wrong and "listed" in wrong["jobs"]:
        raise Problem("unavailable", "jobs are not listed yet: try again in a moment", headers={"Retry-After": "1"})
