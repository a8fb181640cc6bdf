"""What the API server may refuse, as a short tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson


class ApiError(Exception):
    """A request that did not work.

    Attributes:
        status: HTTP status; 0 where no answer came.
        reason: `reason` of the Status that the server answered, e.g. "AlreadyExists".
        message: What the server said.
        details: `details` of that Status: the object, causes, retryAfterSeconds.
        retry_after: Seconds that the server asks to wait, None if it named none.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{message} ({status} {reason})" if status else message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.retry_after = retry_after


class NotFound(ApiError):
    """404: the object, or its kind, is not there."""


class Conflict(ApiError):
    """409: changed meanwhile (resourceVersion), or it is another object of that name (uid)."""


class AlreadyExists(ApiError):
    """409: an object of that name is there."""


class Gone(ApiError):
    """410: the server no longer remembers that resourceVersion or continue token: list again."""


class Invalid(ApiError):
    """422: the object breaks its schema; the same request will never work."""


class Forbidden(ApiError):
    """403: RBAC, admission or a quota refuses."""


class TooManyRequests(ApiError):
    """429: the server is busy; nothing was done."""


class Unavailable(ApiError):
    """5xx, a broken connection or no answer in time: whether anything was done is not known."""


class Fenced(ApiError):
    """Nothing was sent: whoever asked may not write, or not any more. See `fence.Fence`."""

    def __init__(self, message: str) -> None:
        super().__init__(0, "Fenced", message)


_BY_STATUS: Mapping[int, type[ApiError]] = {
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def from_status(status: Mapping[str, Any], retry_after: float | None = None) -> ApiError:
    """The error that a Status object (meta/v1) stands for."""
    code, reason = status.get("code") or 0, status.get("reason") or "Unknown"
    kind = Unavailable if code >= 500 else _BY_STATUS.get(code, ApiError)
    if reason == "AlreadyExists":
        kind = AlreadyExists
    details = status.get("details") or {}
    if retry_after is None:
        retry_after = details.get("retryAfterSeconds")
    return kind(code, reason, status.get("message") or reason, details, retry_after)


def from_answer(code: int, body: bytes, headers: Mapping[str, str]) -> ApiError:
    """The error that an HTTP answer stands for; not every proxy on the way answers with a Status."""
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        status = {"message": body[:200].decode(errors="replace").strip() or f"HTTP {code}"}
    wait = headers.get("Retry-After", "")
    # The other form of Retry-After is a date; Kubernetes never sends it.
    return from_status({**status, "code": code}, float(wait) if wait.isdigit() else None)
