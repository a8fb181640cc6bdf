"""What goes wrong, as RFC 9457 has it: `application/problem+json`, with the sentence people see in `detail`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from carryon_api.shapes import Shape
from carryon_jobs.errors import BadRequest, JobError, NotPossible, OutOfReach, Unknown
from carryon_kube import errors as kube
from carryon_store import NotFound, StoreError

MEDIA_TYPE: Final = "application/problem+json"
PREFIX: Final = "tag:carryon.dev,2026:problem/"

log = logging.getLogger(__name__)


class FieldProblem(Shape):
    """One field that is wrong."""

    field: str = Field(description="Its path, such as spec.stages[0].name.", examples=["spec.parallelism"])
    message: str = Field(description="What is wrong with it.", examples=["should be at most 10000"])


class ProblemBody(Shape):
    """Why a request was not carried out (RFC 9457)."""

    type: str = Field(examples=["tag:carryon.dev,2026:problem/not-possible"])
    title: str = Field(examples=["The job does not allow it now"])
    status: int = Field(examples=[409])
    detail: str = Field(description="A sentence for people.", examples=["reel-42: no unit has failed for good"])
    action: str | None = Field(default=None, description="What would help, where that is known.")
    errors: list[FieldProblem] | None = Field(default=None, description="Which fields are wrong, where some are.")


TITLES: Final[Mapping[str, tuple[int, str]]] = {
    "bad-request": (400, "The request can't be understood"),
    "unauthorized": (401, "Nobody has signed in"),
    "forbidden": (403, "You may not do this"),
    "cross-site": (403, "The request came from another site"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "This path has no such method"),
    "conflict": (409, "Somebody else changed it meanwhile"),
    "exists": (409, "The name is taken"),
    "not-possible": (409, "The job does not allow it now"),
    "too-large": (413, "The request is too large"),
    "unsupported-media-type": (415, "The body is of another kind"),
    "range-not-satisfiable": (416, "The file has no such part"),
    "invalid": (422, "Some values are wrong"),
    "too-many-requests": (429, "Too many requests"),
    "internal": (500, "The API has made a mistake"),
    "out-of-reach": (502, "The bucket gives no answer that helps"),
    "unavailable": (503, "Kubernetes does not answer"),
    "busy": (503, "Too much waits for this"),
}
"""Every problem type, its status and its title."""
_BY_STATUS: Final = {
    status: next(each for each, (code, _) in TITLES.items() if code == status) for status, _ in TITLES.values()
}


class Problem(Exception):
    """A request that is not carried out.

    Attributes:
        kind: Key of `TITLES`.
        detail: A sentence for people: what happened, and what to do next.
        more: Further members of the answer.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.status = status or TITLES[kind][0]
        self.headers = dict(headers or {})
        self.more = {name: value for name, value in more.items() if value is not None}

    def response(self) -> Response:
        """The answer."""
        body = {"type": PREFIX + self.kind, "title": TITLES[self.kind][1], "status": self.status, "detail": self.detail}
        content = orjson.dumps({**body, **self.more})
        return Response(content, self.status, {"Cache-Control": "no-store", **self.headers}, MEDIA_TYPE)


def unauthorized(detail: str) -> Problem:
    """401, with the scheme that would help."""
    return Problem("unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="carryon"'})


def too_many(detail: str, seconds: float) -> Problem:
    """429, with when to try again."""
    return Problem("too-many-requests", detail, headers={"Retry-After": str(max(1, round(seconds + 0.5)))})


def of_kubernetes(error: kube.ApiError) -> Problem:
    """The problem that an answer of Kubernetes stands for."""
    causes = error.details.get("causes") or ()
    fields = [{"field": cause.get("field") or "", "message": cause.get("message") or ""} for cause in causes]
    if isinstance(error, kube.Unavailable):
        return Problem("unavailable", f"Kubernetes does not answer: {error.message}", headers={"Retry-After": "2"})
    if isinstance(error, kube.TooManyRequests):
        return too_many("Kubernetes has too much to do: try again in a moment", error.retry_after or 1.0)
    if error.status == 401:
        return unauthorized("Kubernetes does not accept this token any more: sign in again")
    kinds: Sequence[tuple[type[kube.ApiError], str]] = (
        (kube.AlreadyExists, "exists"),
        (kube.Conflict, "conflict"),
        (kube.NotFound, "not-found"),
        (kube.Forbidden, "forbidden"),
        (kube.Invalid, "invalid"),
        (kube.Gone, "conflict"),
    )
    kind = next((name for each, name in kinds if isinstance(error, each)), None)
    if kind is not None:
        return Problem(kind, error.message, errors=fields or None)
    return Problem(_BY_STATUS.get(error.status, "bad-request"), error.message, errors=fields or None)


def of_job(error: JobError) -> Problem:
    """The problem that something said about a job stands for."""
    kinds: Sequence[tuple[type[JobError], str]] = (
        (BadRequest, "bad-request"),
        (Unknown, "not-found"),
        (NotPossible, "not-possible"),
        (OutOfReach, "out-of-reach"),
    )
    return Problem(next((name for kind, name in kinds if isinstance(error, kind)), "not-possible"), str(error))


def install(app: FastAPI) -> None:
    """Have every failure answered as a problem."""

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return error.response()

    async def kubernetes(_: Request, error: Exception) -> Response:
        assert isinstance(error, kube.ApiError)
        return of_kubernetes(error).response()

    async def job(_: Request, error: Exception) -> Response:
        assert isinstance(error, JobError)
        return of_job(error).response()

    async def store(_: Request, error: Exception) -> Response:
        assert isinstance(error, StoreError)
        kind = "not-found" if isinstance(error, NotFound) else "out-of-reach"
        return Problem(kind, str(error)).response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, Problem):
            # Raised while FastAPI read the body, and hidden by it.
            return error.__cause__.response()
        kind = _BY_STATUS.get(error.status_code, "bad-request" if error.status_code < 500 else "internal")
        detail = "there is nothing at this path" if error.status_code == 404 else str(error.detail)
        headers = dict(error.headers or {})
        if error.status_code == 405:
            # The router names those of the first route with this path only.
            headers["Allow"] = ", ".join(sorted(_methods(request)))
            detail = f"this path takes {headers['Allow']}"
        return Problem(kind, detail, headers=headers, status=error.status_code).response()

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _invalid(error).response()

    async def internal(request: Request, error: Exception) -> Response:
        log.error("%s %s", request.method, request.url.path, exc_info=error)
        return Problem("internal", "something went wrong here: the log of the API says what").response()

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(kube.ApiError, kubernetes)
    app.add_exception_handler(JobError, job)
    app.add_exception_handler(StoreError, store)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, internal)


def _methods(request: Request) -> set[str]:
    """What all routes with this path take together."""
    found: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.methods and (pattern := getattr(route, "path_regex", None)) and pattern.match(request.url.path):
            found |= set(route.methods)
    return found


def _invalid(error: RequestValidationError) -> Problem:
    # What may be left out is a union with None to pydantic, which names each side of it; nobody meant the None.
    optional = {each["loc"][:-1] for each in error.errors() if each["type"] == "none_required"}

    def field(where: tuple[str | int, ...]) -> str:
        parts = [part for at, part in enumerate(where) if where[:at] not in optional]
        return ".".join(str(part) for part in parts[1:]) or str(parts[0])

    found = [
        {"field": field(each["loc"]), "message": each["msg"]}
        for each in error.errors()
        if each["type"] != "none_required"
    ]
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return Problem("bad-request", "the body is no JSON")
    said = "; ".join(f"{each['field']}: {each['message']}" for each in found)
    return Problem("invalid", said, errors=found)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these statuses; those that any request may meet are always among them."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
        }
        for status in sorted({401, 403, 413, 429, 503, *statuses})
    }
