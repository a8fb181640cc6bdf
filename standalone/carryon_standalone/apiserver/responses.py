"""HTTP responses: JSON in the form a client asked for, with the headers a real server sends."""

from __future__ import annotations

from typing import Any, Final

import orjson
from aiohttp import web

from carryon_standalone.apiserver import openapi, tables
from carryon_standalone.apiserver.errors import ApiError
from carryon_standalone.apiserver.negotiation import JSON, PLAIN, Form, encode
from carryon_standalone.apiserver.resources import Resource
from carryon_standalone.apiserver.storage import Object, Stored
from carryon_standalone.apiserver.writes import Written, warning_header

HEADERS: Final = {"Cache-Control": "no-cache, private"}


def load(resource: Resource, stored: Stored) -> Object:
    """An object in the version that was asked for."""
    value = stored.load()
    value["apiVersion"] = resource.api_version
    return value


def raw(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON that is encoded already."""
    given = {**HEADERS, "Content-Type": JSON, **(headers or {})}
    return web.Response(body=body, status=status, headers=given)


def json(value: Any, status: int = 200, form: Form = PLAIN, headers: dict[str, str] | None = None) -> web.Response:
    """A value in a form."""
    return raw(encode(value, form), status, {"Content-Type": form.media_type, **(headers or {})})


def cached(
    request: web.BaseRequest, value: dict[str, Any], media_type: str, keep: str = "public", tag: str = ""
) -> web.Response:
    """A document with its ETag, or 304 where the client has it.

    Args:
        request: What was asked.
        value: The document.
        media_type: Of the document.
        keep: Cache-Control.
        tag: The document's hash, where it is known.
    """
    quoted = f'"{tag or openapi.etag(value)}"'
    headers = {"Cache-Control": keep, "Content-Type": media_type, "ETag": quoted, "Vary": "Accept"}
    if request.headers.get("If-None-Match") == quoted:
        return web.Response(status=304, headers=headers)
    return raw(orjson.dumps(value), headers=headers)


def status_response(error: ApiError) -> web.Response:
    """A refusal."""
    return raw(orjson.dumps(error.status()), error.code, error.headers)


def written_response(resource: Resource, written: Written, form: Form) -> web.Response:
    """The answer to a create, update or patch."""
    headers = {"Warning": warning_header(written.warnings)} if written.warnings else {}
    status = 201 if written.created else 200
    if form is PLAIN:
        return raw(written.raw, status, headers)
    value = orjson.loads(written.raw)
    if form.kind == "Table":
        version = {"resourceVersion": value["metadata"].get("resourceVersion", "")}
        value = tables.table(resource, form.version, [value], version, "Metadata")
    elif form.kind:
        value = tables.partial(value, form.version)
    return json(value, status, form, headers)
