"""How far a job is, and whether it can go on."""

from __future__ import annotations

import time
from functools import partial

from fastapi import APIRouter, Request

from carryon_api.access import ClusterOf, ReadableJob
from carryon_api.measuring import Measurements
from carryon_api.problems import responses
from carryon_api.progress import ProcessStatus, ResumeStatus, process_status, resume_status
from carryon_api.records import JobRecord
from carryon_api.routes.jobs import ONE

router = APIRouter(prefix="/api/v1", tags=["progress"])


@router.get(f"{ONE}/process-status", responses=responses(404, 422))
async def get_process_status(job: ReadableJob, cluster: ClusterOf, request: Request) -> ProcessStatus:
    """Phase, stages, counters, times, estimate, and what can be done now."""
    return await status_of(job, cluster, request.app.state.measurements)


@router.get(f"{ONE}/resume-status", responses=responses(404, 422))
async def get_resume_status(job: ReadableJob, cluster: ClusterOf) -> ResumeStatus:
    """Whether the job can go on by a person's word, why or why not, and what that person would do."""
    return resume_status(cluster.summaries.of(job))


async def status_of(job: JobRecord, cluster: ClusterOf, measurements: Measurements) -> ProcessStatus:
    """How far a job is, with what was measured of it."""
    known = await measurements.of(job)
    summary, pods = cluster.summaries.of(job), cluster.pods_of(job)
    # Index sets of 10,000 units may have thousands of parts: they are read beside the event loop.
    return await cluster.compute(partial(process_status, job, summary, pods, known.means, known.approvals, time.time()))
