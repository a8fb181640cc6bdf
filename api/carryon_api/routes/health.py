"""Whether this replica works, for the kubelet and for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from carryon_api.access import CallerOf, ClusterOf
from carryon_api.metrics import CONTENT_TYPE
from carryon_api.problems import responses
from carryon_api.reviews import Access

router = APIRouter(tags=["health"])
_PUBLIC: Final[dict[str, Any]] = {"security": []}


@router.get(
    "/livez",
    openapi_extra=_PUBLIC,
    response_class=PlainTextResponse,
    responses={503: {"description": "A restart would help."}},
)
async def livez(request: Request, cluster: ClusterOf) -> Response:
    """Whether this process still does its work; nothing in here depends on Kubernetes."""
    pages = {"pages": "nothing is told to them any more"} if request.app.state.live.broken() else {}
    return _answer({**cluster.broken(), **pages})


@router.get(
    "/readyz",
    openapi_extra=_PUBLIC,
    response_class=PlainTextResponse,
    responses={503: {"description": "Not all is known yet."}},
)
async def readyz(cluster: ClusterOf) -> Response:
    """Whether this replica knows all jobs and hears of changes."""
    return _answer(cluster.wrong())


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={**responses(), 200: {"content": {"text/plain": {}}}},
)
async def metrics(request: Request, caller: CallerOf, cluster: ClusterOf) -> Response:
    """What this replica counts, for Prometheus; it takes the right to get /metrics, as of other parts of a cluster."""
    await cluster.reviews.demand(caller, Access("get", path="/metrics"))
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE)


def _answer(wrong: Mapping[str, str]) -> Response:
    text = "".join(f"{part}: {what}\n" for part, what in wrong.items())
    return PlainTextResponse(text or "ok\n", 503 if wrong else 200)
