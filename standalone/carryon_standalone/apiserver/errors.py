"""What the API server refuses, as Kubernetes `Status` objects with the words a real server uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson


class ApiError(Exception):
    """A request that ends in a `Status` of failure.

    Args:
        code: HTTP status.
        reason: Kubernetes' machine-readable reason, such as `NotFound`.
        message: A sentence for a person.
        details: `Status.details`, left out where None.
        headers: Further response headers, such as `Retry-After`.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details
        self.headers = headers or {}

    def status(self) -> dict[str, Any]:
        """The `Status` object."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
        }
        if self.details is not None:
            status["details"] = self.details
        return {**status, "code": self.code}


class PageNotFound(Exception):
    """A path that no resource serves: answered in plain text, as a real server does."""


@dataclass(frozen=True, slots=True)
class Named:
    """How an error speaks of an object: `kind` is the plural or the Kind, as the real message has it."""

    group: str
    kind: str
    name: str

    @property
    def qualified(self) -> str:
        """`mediajobs.media.example.com`, or `pods` in the core group."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    def details(self) -> dict[str, Any]:
        """`Status.details` that names the object."""
        return {key: value for key, value in (("name", self.name), ("group", self.group), ("kind", self.kind)) if value}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is wrong: `reason` is a Kubernetes cause such as `FieldValueInvalid`."""

    reason: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def invalid_value(field: str, value: Any, message: str) -> FieldError:
    """`Invalid value: 0: must be ...`."""
    return FieldError("FieldValueInvalid", field, f"Invalid value: {quoted(value)}: {message}")


def required_value(field: str, message: str = "") -> FieldError:
    """`Required value`, with a remark where there is one."""
    return FieldError("FieldValueRequired", field, f"Required value: {message}" if message else "Required value")


def forbidden_value(field: str, message: str) -> FieldError:
    """`Forbidden: ...`."""
    return FieldError("FieldValueForbidden", field, f"Forbidden: {message}")


def not_supported(field: str, value: str, *allowed: str) -> FieldError:
    """`Unsupported value: ...`, with those that are."""
    listed = ", ".join(quoted(each) for each in allowed)
    return FieldError(
        "FieldValueNotSupported", field, f"Unsupported value: {quoted(value)}: supported values: {listed}"
    )


def duplicate_value(field: str, value: Any) -> FieldError:
    """`Duplicate value: ...`."""
    return FieldError("FieldValueDuplicate", field, f"Duplicate value: {quoted(value)}")


def quoted(value: Any) -> str:
    """A value as Go's field errors print it: strings quoted, containers as JSON."""
    if value is None:
        return "null"
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def invalid(named: Named, errors: Sequence[FieldError]) -> ApiError:
    """422 with one cause for each field."""
    sentences = list(dict.fromkeys(map(str, errors)))
    listed = sentences[0] if len(sentences) == 1 else f"[{', '.join(sentences)}]"
    causes = [{"reason": error.reason, "message": error.message, "field": error.field} for error in errors]
    return ApiError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Invalid",
        f'{named.qualified} "{named.name}" is invalid: {listed}',
        {**named.details(), "causes": causes},
    )


def not_found(named: Named) -> ApiError:
    """404 for an object."""
    return ApiError(HTTPStatus.NOT_FOUND, "NotFound", f'{named.qualified} "{named.name}" not found', named.details())


def already_exists(named: Named) -> ApiError:
    """409 for a name that is taken."""
    message = f'{named.qualified} "{named.name}" already exists'
    return ApiError(HTTPStatus.CONFLICT, "AlreadyExists", message, named.details())


def conflict(named: Named, why: str) -> ApiError:
    """409 for a write that does not fit what is stored."""
    message = f'Operation cannot be fulfilled on {named.qualified} "{named.name}": {why}'
    return ApiError(HTTPStatus.CONFLICT, "Conflict", message, named.details())


def modified(named: Named) -> ApiError:
    """409 for a stale resourceVersion."""
    return conflict(
        named, "the object has been modified; please apply your changes to the latest version and try again"
    )


def forbidden(named: Named, why: str) -> ApiError:
    """403 for a write that a rule of the cluster forbids."""
    message = f'{named.qualified} "{named.name}" is forbidden: {why}'
    return ApiError(HTTPStatus.FORBIDDEN, "Forbidden", message, named.details())


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(HTTPStatus.BAD_REQUEST, "BadRequest", message)


def rejected() -> ApiError:
    """422 without a field, as for a JSON patch that does not fit."""
    message = "the server rejected our request due to an error in our request"
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", message, {})


def method_not_allowed() -> ApiError:
    """405."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", message, {})


def unsupported_media_type(message: str) -> ApiError:
    """415."""
    return ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)


def internal(message: str) -> ApiError:
    """500 for what is not the client's fault."""
    details = {"causes": [{"message": message}]}
    return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", f"Internal error occurred: {message}", details)


def unauthorized() -> ApiError:
    """401."""
    return ApiError(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Unauthorized")


def expired(message: str) -> ApiError:
    """410 for a resourceVersion whose history is gone."""
    return ApiError(HTTPStatus.GONE, "Expired", message)


def too_large_version(asked: int, current: int) -> ApiError:
    """504 for a list at a resourceVersion that lies ahead."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiError(HTTPStatus.GATEWAY_TIMEOUT, "Timeout", message, details, {"Retry-After": "1"})
