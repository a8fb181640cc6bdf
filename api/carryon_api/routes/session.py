"""Signing in and out, and what one finds after it."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Body, Request
from pydantic import Field
from starlette.responses import Response

from carryon_api.access import Caller, CallerOf, ClusterOf, sessions
from carryon_api.access.dependencies import ConfigOf
from carryon_api.cluster import Cluster
from carryon_api.problems import Problem, responses
from carryon_api.reviews import Access
from carryon_api.shapes import Asked, Shape

router = APIRouter(prefix="/api/v1/session", tags=["session"])
_DEFAULT = "default"


class Session(Shape):
    """Who has signed in, and where."""

    user: str = Field(examples=["alice@example.com"])
    mode: str = Field(description="standalone or cluster.", examples=["cluster"])
    version: str = Field(description="Of Carryon.", examples=["0.1.0"])
    namespaces: list[str] = Field(description="With jobs that the caller may list.", examples=[["default"]])
    can_create: dict[str, bool] = Field(description="By namespace: whether the caller may create jobs there.")
    can_edit: dict[str, bool] = Field(description="By namespace: whether the caller may act on jobs there.")
    can_delete: dict[str, bool] = Field(description="By namespace: whether the caller may delete jobs there.")


class Credentials(Asked):
    """What one signs in with."""

    token: str = Field(
        description="A Kubernetes bearer token.",
        min_length=1,
        max_length=sessions.TOKEN_LONGEST,
        # Longer ones are refused in words of our own.
        json_schema_extra={"maxLength": sessions.COOKIE_LONGEST},
        examples=["eyJhbGciOiJSUzI1NiIsImtpZCI6..."],
    )


@router.get("", responses=responses())
async def get_session(caller: CallerOf, cluster: ClusterOf, config: ConfigOf) -> Session:
    """Who has signed in, and what is there for them."""
    namespaces = await visible_namespaces(caller, cluster)
    may = [await _by_namespace(verb, namespaces, caller, cluster) for verb in ("create", "patch", "delete")]
    return Session(
        user=caller.name,
        mode=config.mode,
        version=config.version,
        namespaces=namespaces,
        can_create=may[0],
        can_edit=may[1],
        can_delete=may[2],
    )


@router.post("", status_code=204, responses=responses(400, 422), openapi_extra={"security": []})
async def sign_in(
    request: Request, credentials: Annotated[Credentials, Body()], cluster: ClusterOf, config: ConfigOf
) -> Response:
    """Sign in with a token, which the browser then keeps in a cookie that no script can read."""
    sessions.check_change(request, "POST", config)
    token = sessions.checked(credentials.token.strip())
    if len(token) > sessions.COOKIE_LONGEST:
        raise Problem("invalid", "this token is too long for a cookie: sign in with one of a service account")
    await cluster.reviews.caller(token, sessions.address_of(request, config))
    answer = Response(status_code=204)
    secure = sessions.is_secure(request, config)
    name = sessions.cookie_name(request, secure=secure)
    answer.set_cookie(name, token, path="/", secure=secure, httponly=True, samesite="strict")
    return answer


@router.delete("", status_code=204, responses=responses(), openapi_extra={"security": []})
async def sign_out(request: Request, config: ConfigOf) -> Response:
    """Sign out: the browser forgets the token. Whether anybody had signed in makes no difference."""
    sessions.check_change(request, "DELETE", config)
    answer = Response(status_code=204)
    for secure in (True, False):
        name = sessions.cookie_name(request, secure=secure)
        answer.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="strict")
    return answer


async def visible_namespaces(caller: Caller, cluster: Cluster) -> list[str]:
    """Namespaces with jobs, and those configured, whose jobs a caller may list."""
    known = {job.namespace for job in cluster.jobs()} | set(cluster.config.namespaces)
    if cluster.config.standalone or not known:
        known.add(_DEFAULT)
    named = sorted(known)
    if await cluster.reviews.may(caller, Access("list", None)):
        return named
    allowed = await asyncio.gather(*(cluster.reviews.may(caller, Access("list", each)) for each in named))
    return [each for each, may in zip(named, allowed, strict=True) if may]


async def listable(caller: Caller, cluster: Cluster, namespace: str | None) -> frozenset[str]:
    """Whose jobs a list may have: those of the namespace that was asked for; None: of all where the caller may list.

    Raises:
        Problem: The caller may not list those of that namespace.
    """
    if namespace is None:
        return frozenset(await visible_namespaces(caller, cluster))
    await cluster.reviews.demand(caller, Access("list", namespace))
    return frozenset((namespace,))


async def _by_namespace(verb: str, namespaces: list[str], caller: Caller, cluster: Cluster) -> dict[str, bool]:
    if await cluster.reviews.may(caller, Access(verb, None)):
        return dict.fromkeys(namespaces, True)
    allowed = await asyncio.gather(*(cluster.reviews.may(caller, Access(verb, each)) for each in namespaces))
    return dict(zip(namespaces, allowed, strict=True))
