"""Live events."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request

from carryon_api.access import CallerOf, ClusterOf
from carryon_api.access.dependencies import ConfigOf
from carryon_api.access.sessions import address_of
from carryon_api.live.readers import ReviewedReader
from carryon_api.live.service import STREAMS_MOST, STREAMS_OF_ONE, Live
from carryon_api.live.sse import EventStream
from carryon_api.live.view import Expired, Unanswered, View
from carryon_api.problems import Problem, responses, too_many, unauthorized
from carryon_api.reviews import Access
from carryon_api.routes.jobs import known

router = APIRouter(prefix="/api/v1", tags=["events"])
_EXAMPLE: Final = """\
event: snapshot
id: 4711-8f4e1c02
data: {"jobs":[{"namespace":"default","name":"reel-42","phase":"Running","progress":"9/15"}]}

event: job
id: 4712-8f4e1c02
data: {"namespace":"default","name":"reel-42","phase":"Running","progress":"10/15"}

"""
_EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["snapshot", "job", "deleted", "status", "progress", "expired"]},
        "id": {"type": "string"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events, until either side ends them.",
        "content": {"text/event-stream": {"schema": _EVENT, "example": _EXAMPLE}},
    }
}


@router.get("/events", response_class=EventStream, responses={**_STREAM, **responses(404, 422)})
async def events(
    request: Request,
    caller: CallerOf,
    cluster: ClusterOf,
    config: ConfigOf,
    namespace: Annotated[str | None, Query(description="Only jobs of this namespace.", max_length=63)] = None,
    job: Annotated[
        str | None,
        Query(
            description="Only this job, as namespace/name, with its process status and its workers' progress.",
            pattern="^[^/]+/[^/]+$",
            max_length=317,
            examples=["default/reel-42"],
        ),
    ] = None,
    follow: Annotated[
        bool, Query(description="false: end once all is told that there is now.", examples=[False])
    ] = True,
    last_event_id: Annotated[str, Header(description="Id of the last event that came.", max_length=100)] = "",
) -> EventStream:
    """What changes, as server-sent events: all jobs first, or what changed since the last event that came.

    `snapshot` holds all jobs, `job` one that is new or has changed, `deleted` one that is gone. With `job=` there are
    also `status`, the job's process status, and `progress`, how far its units at work are. A comment comes every 15
    seconds where nothing else does. The stream ends with `expired` when the token does.
    """
    known(cluster)
    live: Live = request.app.state.live
    closely = None
    if job is not None:
        of, _, name = job.partition("/")
        closely = (of, name)
        await cluster.reviews.demand(caller, Access("get", of, name=name))
        if await cluster.seek(of, name) is None:
            raise Problem("not-found", f'there is no job "{name}" in namespace "{of}"')
    elif namespace is not None:
        await cluster.reviews.demand(caller, Access("list", namespace))
    if live.hub.pages >= STREAMS_MOST or live.hub.pages_of(caller.key) >= STREAMS_OF_ONE:
        raise too_many("too many live pages are open: close some", 10.0)
    view = View(ReviewedReader(cluster.reviews, caller, address_of(request, config)), namespace, closely)
    try:
        await view.review(live.hub.feed.namespaces)
    except Expired as error:
        raise unauthorized(str(error)) from error
    except Unanswered as error:
        raise Problem("unavailable", str(error), headers={"Retry-After": "2"}) from error
    return EventStream(live.hub.stream(view, last_event_id, caller.key, follow=follow))
