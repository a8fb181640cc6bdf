"""A job's items and units, and what they log."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import PlainTextResponse, Response

from carryon_api.access import CallerOf, ClusterOf, ReadableJob, require
from carryon_api.live.progress import Reading, first_reading, reading
from carryon_api.live.service import Live
from carryon_api.problems import Problem, responses
from carryon_api.records import PodSummary
from carryon_api.routes.jobs import ONE
from carryon_api.units import reading as seen
from carryon_api.units.shapes import ItemPage, UnitDetail, UnitPage
from carryon_core import layout, names
from carryon_jobs.errors import OutOfReach
from carryon_jobs.made import Place, attempts
from carryon_jobs.states import UnitState
from carryon_kube import errors as kube
from carryon_store import NotFound, Store, StoreError

router = APIRouter(prefix=f"/api/v1{ONE}", tags=["units"])
PAGE_MOST: Final = 500
LOG_BYTES: Final = 4 * 2**20
"""Bytes of a log that are passed on: the first of the lines that were asked for, if they are more."""

StagePath = Annotated[
    str,
    Path(
        description="Name of the stage.", pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63, examples=["clip"]
    ),
]
ItemPath = Annotated[
    str,
    Path(
        description="Id of the item, `job` where the stage gathers; or ~ and its index, for ids with slashes in them.",
        min_length=1,
        max_length=512,
        examples=["dunes"],
    ),
]
Offset = Annotated[int, Query(description="How many to leave out.", ge=0, le=1_000_000)]
Limit = Annotated[int, Query(description="How many to show.", ge=1, le=PAGE_MOST)]


@router.get("/items", responses=responses(404, 409, 422, 502))
async def list_items(job: ReadableJob, cluster: ClusterOf, offset: Offset = 0, limit: Limit = 100) -> ItemPage:
    """The ids that the index sets of status refer to."""
    outside = await cluster.outside(job)
    return await cluster.in_thread(job.namespace, partial(seen.items, outside, offset, limit))


@router.get("/units", responses=responses(404, 409, 422, 502))
async def list_units(
    request: Request,
    job: ReadableJob,
    cluster: ClusterOf,
    stage: Annotated[str | None, Query(description="Only of this stage.", max_length=63, examples=["clip"])] = None,
    state: Annotated[
        UnitState | None, Query(description="Only in this state; skipped finds those that were filtered too.")
    ] = None,
    offset: Offset = 0,
    limit: Limit = 100,
) -> UnitPage:
    """Units, stage by stage, with their artifacts. Those that are not shown cost nothing, however many there are."""
    live: Live = request.app.state.live
    pods = cluster.pods_of(job)
    readings = {pod.uid: known for pod in pods if (known := live.poller.known(pod.uid)) is not None}
    sight = seen.Sight(await live.outside(job), live.made, pods, readings)
    return await cluster.in_thread(job.namespace, partial(seen.units, sight, stage, state, offset, limit))


@router.get("/units/{stage}/{item}", responses=responses(404, 409, 422, 502))
async def get_unit(
    request: Request, job: ReadableJob, cluster: ClusterOf, stage: StagePath, item: ItemPath
) -> UnitDetail:
    """All about one unit: how far it is, what was tried, and how it was made."""
    live: Live = request.app.state.live
    outside = await live.outside(job)
    place = await cluster.in_thread(job.namespace, partial(live.made.named, outside, stage, item))
    pods = cluster.pods_of(job)
    readings = await _readings(live, [pod for pod in pods if pod.stage == stage and place.item in pod.units])
    sight = seen.Sight(outside, live.made, pods, readings)
    return await cluster.in_thread(job.namespace, partial(seen.unit, sight, stage, item))


@router.get(
    "/units/{stage}/{item}/log",
    response_class=PlainTextResponse,
    responses=responses(404, 409, 422, 502),
    dependencies=[Depends(require("get", "pods", "log"))],
)
async def get_log(
    request: Request,
    job: ReadableJob,
    caller: CallerOf,
    cluster: ClusterOf,
    stage: StagePath,
    item: ItemPath,
    attempt: Annotated[
        str, Query(description="UID of the attempt's pod; without it, the newest.", max_length=253)
    ] = "",
    tail_lines: Annotated[int, Query(alias="tailLines", description="Last lines to show.", ge=1, le=10_000)] = 1_000,
) -> Response:
    """What an attempt logged last: from its pod while that is there, with the caller's own rights; else as kept."""
    live: Live = request.app.state.live
    outside = await live.outside(job)
    place = await cluster.in_thread(job.namespace, partial(live.made.named, outside, stage, item))
    pods = [pod for pod in cluster.pods_of(job) if pod.stage == stage and place.item in pod.units and pod.started]
    if attempt:
        pods = [pod for pod in pods if pod.uid == attempt]
    for pod in sorted(pods, key=lambda pod: pod.created, reverse=True):
        try:
            text = await cluster.as_caller(caller).pod_log(
                pod.name,
                namespace=pod.namespace,
                container=names.CONTAINER,
                tail_lines=tail_lines,
                limit_bytes=LOG_BYTES,
            )
        except kube.NotFound:
            continue  # It has gone this moment: its last lines are kept, if it failed.
        return PlainTextResponse(text)
    store = outside.store if place.prefix else None
    if store is not None:
        saved = await cluster.in_thread(job.namespace, partial(_saved, store, place, attempt))
        if saved is not None:
            return PlainTextResponse("".join(saved.splitlines(keepends=True)[-tail_lines:]))
    what = f"of the attempt {attempt} at" if attempt else "of"
    raise Problem("not-found", f"there is no log {what} {stage}/{place.item}: logs are kept of attempts that failed")


def _saved(store: Store, place: Place, attempt: str) -> str | None:
    """The last lines that were kept of an attempt at a unit, or of the newest; None where none were."""
    uids = [each.pod_uid for each in attempts(store, place.prefix) if each.log and attempt in ("", each.pod_uid)]
    if not uids:
        return None
    try:
        return store.get(layout.attempt_log_key(place.prefix, uids[0]), max_bytes=LOG_BYTES).decode(errors="replace")
    except NotFound:
        return None
    except StoreError as error:
        raise OutOfReach(str(error)) from None


async def _readings(live: Live, pods: list[PodSummary]) -> dict[str, Reading]:
    """What the few pods at one unit say, asked now unless they are asked anyway."""
    found: dict[str, Reading] = {}
    for pod in pods:
        known = live.poller.known(pod.uid)
        if known is None and live.asker.address(pod) is not None:
            known = reading(first_reading(pod), await live.asker.ask(pod))
        if known is not None:
            found[pod.uid] = known
    return found
