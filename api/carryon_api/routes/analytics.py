"""What came of the jobs that exist."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query

from carryon_api.access import CallerOf, ClusterOf
from carryon_api.access.dependencies import NAME
from carryon_api.problems import responses
from carryon_api.routes.jobs import known
from carryon_api.routes.session import listable
from carryon_jobs.analytics import Analytics, analytics

router = APIRouter(prefix="/api/v1", tags=["progress"])


@router.get("/analytics", responses=responses(422))
async def get_analytics(
    caller: CallerOf,
    cluster: ClusterOf,
    namespace: Annotated[
        str | None, Query(description="Only of this namespace.", pattern=NAME, max_length=63, examples=["default"])
    ] = None,
) -> Analytics:
    """Success rate, retries by cause, time per stage and work saved by resuming, over the jobs that exist."""
    known(cluster)
    allowed = await listable(caller, cluster, namespace)
    jobs = [job.raw for job in cluster.jobs() if job.namespace in allowed]
    return await cluster.compute(partial(analytics, jobs))
