"""Whether this replica works, for the kubelet and for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from carryon_api.access import ClusterOf

router = APIRouter(tags=["health"])
_PUBLIC: Final[dict[str, Any]] = {"security": []}


@router.get(
    "/livez",
    openapi_extra=_PUBLIC,
    response_class=PlainTextResponse,
    responses={503: {"description": "A restart would help."}},
)
async def livez(cluster: ClusterOf) -> Response:
    """Whether this process still does its work; nothing in here depends on Kubernetes."""
    return _answer({"watches": "nothing is followed any more"} if cluster.broken() else {})


@router.get(
    "/readyz",
    openapi_extra=_PUBLIC,
    response_class=PlainTextResponse,
    responses={503: {"description": "Not all is known yet."}},
)
async def readyz(cluster: ClusterOf) -> Response:
    """Whether this replica knows all jobs and hears of changes."""
    return _answer(cluster.wrong())


def _answer(wrong: Mapping[str, str]) -> Response:
    text = "".join(f"{part}: {what}\n" for part, what in wrong.items())
    return PlainTextResponse(text or "ok\n", 503 if wrong else 200)
